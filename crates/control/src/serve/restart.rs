//! What a reload cannot change.

use std::net::SocketAddr;

use polygate_plan::{LogFormat, Plan, Settings};

use super::XRAY_SAMPLE;

/// Settings that a running process cannot change, and what they would be.
pub(super) fn needed(before: &Plan, after: &Plan) -> Vec<(&'static str, String)> {
    let (old, new) = (&before.settings, &after.settings);
    let address = |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |a| a.to_string());
    let mut changes = Vec::new();
    if old.listen.address != new.listen.address {
        changes.push(("the listener's address", new.listen.address.to_string()));
    }
    if old.listen.tls_address != new.listen.tls_address {
        changes.push(("the address of the listener for TLS", address(new.listen.tls_address)));
    }
    if old.listen.http2 != new.listen.http2 {
        let change = if new.listen.http2 { "served" } else { "off" };
        changes.push(("HTTP/2 without TLS", change.to_owned()));
    }
    if old.listen.admin != new.listen.admin {
        changes.push(("the admin API's address", address(new.listen.admin)));
    }
    if old.listen.workers != new.listen.workers {
        let workers = new.listen.workers.map_or_else(|| "one a core".to_owned(), |n| n.to_string());
        changes.push(("the number of workers", workers));
    }
    if old.listen.upgrade_socket != new.listen.upgrade_socket {
        let path = new.listen.upgrade_socket.as_ref();
        let path = path.map_or_else(|| "off".to_owned(), |path| path.display().to_string());
        changes.push(("the upgrade socket", path));
    }
    if old.dev_echo != new.dev_echo {
        changes.push(("the echo service's address", address(new.dev_echo)));
    }
    // These hold for each exchange, and for the stop, as the newest deployment says.
    let wire = |settings: &Settings| {
        let (mut limits, mut timeouts) = (settings.limits, settings.timeouts);
        (limits.body, limits.tunnels, limits.exchanges) = Default::default();
        (timeouts.drain, timeouts.ready_delay) = Default::default();
        (limits, timeouts)
    };
    if wire(old) != wire(new) {
        changes.push(("what stands in [limits] and [timeouts]", "in force".to_owned()));
    }
    if old.log.xray_sample != new.log.xray_sample {
        changes.push(("the X-ray's sample", new.log.xray_sample.unwrap_or(XRAY_SAMPLE).to_string()));
    }
    if old.log.level != new.log.level {
        changes.push(("the log's level", "in force; PUT /log changes it at once".to_owned()));
    }
    let (before, after) = (&old.log.access, &new.log.access);
    if before.format != after.format || before.file != after.file {
        changes.push(("format or file of the access log", "in force".to_owned()));
    }
    if old.telemetry != new.telemetry {
        changes.push(("what stands in [telemetry]", "in force".to_owned()));
    }
    if old.log.format != new.log.format {
        let format = match new.log.format {
            Some(LogFormat::Pretty) => "pretty",
            Some(LogFormat::Json) => "json",
            None => "the command's own",
        };
        changes.push(("the log's format", format.to_owned()));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_need_a_restart_are_named() {
        let plan = |settings| Plan {
            root: "/".into(),
            settings,
            variables: Default::default(),
            policies: Vec::new(),
            routes: Vec::new(),
        };
        let (before, mut after) = (Settings::default(), Settings::default());
        after.listen.admin = None;
        after.listen.workers = Some(2);
        let changes = needed(&plan(before.clone()), &plan(after));
        assert_eq!(
            changes,
            [("the admin API's address", "off".to_owned()), ("the number of workers", "2".to_owned())]
        );
        assert!(needed(&plan(before.clone()), &plan(before)).is_empty());
    }
}
