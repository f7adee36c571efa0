//! `polygate.toml` and `zuplo.jsonc`: what is not per route.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use polygate_pipeline::{Budget, ByteSize, Diagnostic, LogLevel, Span, Target, Upgrade, is_token};
use polygate_plan::{self as plan, AccessLog, LogFormat, Settings};

use crate::access_log;
use crate::check::decode;
use crate::env;
use crate::raw::routes::ProjectFile;
use crate::raw::settings as raw;
use crate::raw::settings::SettingsFile;
use crate::schema;
use crate::source::{MAX_FILE, Project, Syntax};
use crate::tls;
use crate::tree::{Node, child};
use crate::{upstream_http2, upstream_tls, upstreams};

/// The settings' file.
pub(crate) const FILE: &str = "polygate.toml";
const PROJECT_FILE: &str = "zuplo.jsonc";

/// How a certificate begins in a PEM file.
pub(crate) const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Reads `polygate.toml`; the defaults when there is none or it is wrong, which is reported.
pub(crate) fn load(project: &mut Project<'_>) -> Settings {
    let Some(tree) = project.tree(FILE, Syntax::Toml) else { return Settings::default() };
    env::refuse_elsewhere(&tree, FILE, "", &|_| false, &mut project.found);
    let Some(file) = decode::<SettingsFile>(&tree, FILE, "", &mut project.found) else {
        // The names of upstreams are still good for checking routes.
        let names = tree.get("upstreams").map(Node::members).unwrap_or_default();
        let upstream = |name: &str| plan::Upstream { name: name.to_owned(), ..plan::Upstream::default() };
        let upstreams = names.iter().map(|member| upstream(&member.key)).collect();
        return Settings { upstreams, ..Settings::default() };
    };
    let mut settings = Settings::default();
    let listen = &mut settings.listen;
    set(&mut listen.address, file.listen.address.map(|address| address.0));
    listen.tls_address = file.listen.tls_address.map(|address| address.0);
    set(&mut listen.http2, file.listen.http2);
    listen.workers = file.listen.workers;
    listen.trusted_proxies = file.listen.trusted_proxies.iter().map(|network| network.0).collect();
    set(&mut listen.ambiguous_paths, file.listen.ambiguous_paths.map(Into::into));
    set(&mut listen.proxy_protocol, file.listen.proxy_protocol);
    if listen.proxy_protocol && listen.trusted_proxies.is_empty() {
        let node = tree.get("listen").and_then(|listen| listen.get("proxy-protocol"));
        let problem = Diagnostic::error("missing-field", "no proxy is trusted to speak the PROXY protocol");
        let problem = problem.at(FILE, node.map(|node| node.span)).field("listen.trusted-proxies");
        project.report(problem.expected("trusted-proxies = [\"10.0.0.0/8\"] in [listen]"));
    }
    if let Some(name) = file.listen.request_id_header {
        if name.is_empty() || !name.bytes().all(is_token) {
            let node = tree.get("listen").and_then(|listen| listen.get("request-id-header"));
            let problem = Diagnostic::error("bad-value", format!("{name:?} is no header's name"));
            let problem = problem.at(FILE, node.map(|node| node.span)).field("listen.request-id-header");
            project.report(problem.expected("a header's name such as x-request-id"));
        }
        listen.request_id_header = name;
    }
    if let Some(names) = file.listen.upgrades {
        listen.upgrades = upgrades(&names, &tree, project);
    }
    listen.upgrade_socket = file.listen.upgrade_socket.map(|path| project.root.join(path));
    settings.tls = tls::load(project, file.tls, &settings.listen, &tree);
    let listen = &mut settings.listen;
    match file.admin.address {
        Some(raw::AddressOrOff::On(address)) => listen.admin = Some(address.0),
        Some(raw::AddressOrOff::Off(_)) => listen.admin = None,
        None => {}
    }
    apply_limits(&mut settings.limits, &file.limits);
    http2_limits(&mut settings.limits.http2, &file.limits.http2, &tree, project);
    let (to, from) = (&mut settings.timeouts, &file.timeouts);
    set(&mut to.proxy_header, from.proxy_header.map(|d| d.0));
    set(&mut to.handshake, from.handshake.map(|d| d.0));
    set(&mut to.head, from.head.map(|d| d.0));
    set(&mut to.body, from.body.map(|d| d.0));
    set(&mut to.write, from.write.map(|d| d.0));
    set(&mut to.idle, from.idle.map(|d| d.0));
    set(&mut to.tunnel_idle, from.tunnel_idle.map(|d| d.0));
    set(&mut to.ready_delay, from.ready_delay.map(|d| d.0));
    set(&mut to.drain, from.drain.map(|d| d.0));
    settings.overload = overload(&file.overload, tree.get("overload").unwrap_or(&tree), project);
    settings.budget = budget(&file.budget);
    let connection = (tree.get("connection").unwrap_or(&tree), "connection");
    apply_connection(&mut settings.connection, &file.connection);
    let tls = (file.connection.ca_file.as_ref(), file.connection.tls.as_ref());
    upstream_http2::check(&settings.connection.http2, connection, project);
    upstream_tls::apply(&mut settings.connection.tls, tls, connection, project);
    set(&mut settings.outbound.link_local, file.outbound.link_local);
    set(&mut settings.outbound.private, file.outbound.private);
    settings.compression = compression(file.compression, tree.get("compression").unwrap_or(&tree), project);
    settings.log.format = file.log.format.map(|format| match format {
        raw::LogFormat::Pretty => LogFormat::Pretty,
        raw::LogFormat::Json => LogFormat::Json,
    });
    settings.log.level = file.log.level.map(|level| match level {
        raw::LogLevelName::Debug => LogLevel::Debug,
        raw::LogLevelName::Info => LogLevel::Info,
        raw::LogLevelName::Warn => LogLevel::Warn,
        raw::LogLevelName::Error => LogLevel::Error,
    });
    settings.log.access = access_log::load(file.access_log, tree.get("access-log").unwrap_or(&tree), project);
    settings.log.access.which = match file.log.access {
        None | Some(raw::AccessLog::All) => AccessLog::All,
        Some(raw::AccessLog::Errors) => AccessLog::Errors,
        Some(raw::AccessLog::Off) => AccessLog::Off,
    };
    settings.log.xray_sample = file.log.xray_sample;
    settings.telemetry = telemetry(file.telemetry, tree.get("telemetry").unwrap_or(&tree), project);
    settings.dev_echo = file.dev.echo.map(|address| address.0);
    settings.dns = upstreams::dns(&file.dns);
    let nodes = tree.get("upstreams");
    settings.upstreams = upstreams::load(project, file.upstreams, nodes, &settings.connection);
    settings
}

/// Protocols that clients may go on with. HTTP itself is none: what is asked for in it would be seen by no policy.
fn upgrades(names: &[String], tree: &Node, project: &mut Project<'_>) -> Vec<Upgrade> {
    let is_http = |protocol: &Upgrade| {
        let name = protocol.as_str().to_ascii_lowercase();
        name == "h2c" || name == "h2" || name == "http" || name.starts_with("http/")
    };
    let mut protocols = Vec::new();
    for name in names {
        match Upgrade::new(name).filter(|protocol| !is_http(protocol)) {
            Some(protocol) => protocols.push(protocol),
            None => {
                let node = tree.get("listen").and_then(|listen| listen.get("upgrades"));
                let problem =
                    Diagnostic::error("bad-value", format!("{name:?} is no protocol to go on with"));
                let problem = problem.at(FILE, node.map(|node| node.span)).field("listen.upgrades");
                project.report(problem.expected("a protocol other than HTTP, such as websocket"));
            }
        }
    }
    protocols
}

fn compression(raw: raw::Compression, node: &Node, project: &mut Project<'_>) -> Option<plan::Compression> {
    let mut to = plan::Compression::default();
    if let Some(algorithms) = raw.algorithms {
        to.codings.clear();
        for algorithm in algorithms {
            let coding = match algorithm {
                raw::Algorithm::Zstd => plan::Coding::Zstd,
                raw::Algorithm::Br => plan::Coding::Brotli,
                raw::Algorithm::Gzip => plan::Coding::Gzip,
            };
            if !to.codings.contains(&coding) {
                to.codings.push(coding);
            }
        }
    }
    if let Some(types) = raw.types {
        let is_type = |text: &str| {
            let part = |part: &str| !part.is_empty() && part.bytes().all(is_token);
            text.split_once('/').is_some_and(|(kind, name)| part(kind) && !kind.contains('*') && part(name))
        };
        for bad in types.iter().filter(|text| !is_type(text)) {
            let node = node.get("types").unwrap_or(node);
            let problem = Diagnostic::error("bad-value", format!("{bad:?} is no media type"));
            let problem = problem.at(FILE, Some(node.span)).field("compression.types");
            project.report(problem.expected("a media type such as application/json or text/*"));
        }
        to.types = types.into_iter().map(|text| text.to_ascii_lowercase()).collect();
    }
    set(&mut to.min_size, raw.min_size.map(|size| size.0));
    set(&mut to.gzip_level, raw.gzip_level);
    set(&mut to.brotli_level, raw.brotli_level);
    set(&mut to.zstd_level, raw.zstd_level);
    (raw.enabled == Some(true)).then_some(to)
}

fn overload(from: &raw::Overload, node: &Node, project: &mut Project<'_>) -> plan::Overload {
    let mut to = plan::Overload::default();
    set(&mut to.enabled, from.enabled);
    to.memory = from.memory.map(|size| size.0);
    if to.memory.is_some_and(|memory| memory.bytes() == 0) {
        let place = node.get("memory").unwrap_or(node);
        let problem =
            Diagnostic::error("out-of-range", "nothing runs without memory").at(FILE, Some(place.span));
        project.report(problem.field("overload.memory").expected("a size such as 512MiB"));
    }
    set(&mut to.close_at, from.close_at);
    set(&mut to.shed_at, from.shed_at);
    set(&mut to.pause_at, from.pause_at);
    set(&mut to.lag, from.lag.map(|d| d.0));
    set(&mut to.retry_after, from.retry_after.map(|d| d.0));
    for (name, low, other, high) in
        [("shed-at", to.close_at, "close-at", to.shed_at), ("pause-at", to.shed_at, "shed-at", to.pause_at)]
    {
        if low > high {
            let place = node.get(name).or(node.get(other)).unwrap_or(node);
            let problem =
                Diagnostic::error("bad-value", format!("{name} ({high}) is less than {other} ({low})"));
            let problem = problem.at(FILE, Some(place.span)).field(child("overload", name));
            project.report(problem.expected("close-at, shed-at and pause-at that do not decrease"));
        }
    }
    to
}

/// The shortest time between two exports of metrics.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

fn telemetry(raw: raw::Telemetry, node: &Node, project: &mut Project<'_>) -> Option<plan::Telemetry> {
    let interval = raw.metrics_interval.map_or(Duration::from_secs(60), |interval| interval.0);
    if interval < LEAST_INTERVAL {
        let place = node.get("metrics-interval").unwrap_or(node);
        let problem = Diagnostic::error("out-of-range", "metrics cannot be exported that often");
        let problem = problem.at(FILE, Some(place.span)).field("telemetry.metrics-interval");
        project.report(problem.expected("100ms or more"));
    }
    let node = node.get("endpoint").unwrap_or(node);
    let endpoint = match Target::parse(&raw.endpoint?) {
        Ok(target) => target,
        Err(error) => {
            let problem = Diagnostic::error("bad-url", error.to_string()).at(FILE, Some(node.span));
            project
                .report(problem.field("telemetry.endpoint").expected("a URL such as http://127.0.0.1:4318"));
            return None;
        }
    };
    Some(plan::Telemetry {
        endpoint,
        protocol: match raw.protocol {
            None | Some(raw::OtlpProtocol::Http) => plan::OtlpProtocol::Http,
            Some(raw::OtlpProtocol::Grpc) => plan::OtlpProtocol::Grpc,
        },
        sample: raw.sample.unwrap_or(1.0),
        trust_parents: raw.trust_parents.unwrap_or(true),
        traces: raw.traces.unwrap_or(true),
        metrics: (raw.metrics == Some(true)).then_some(interval),
        service_name: raw.service_name.unwrap_or_else(|| "polygate".to_owned()),
        timeout: raw.timeout.map_or(Duration::from_secs(10), |timeout| timeout.0),
    })
}

fn apply_limits(to: &mut plan::Limits, from: &raw::Limits) {
    set(&mut to.uri, from.uri.map(|size| size.0));
    set(&mut to.head, from.head.map(|size| size.0));
    set(&mut to.header_line, from.header_line.map(|size| size.0));
    set(&mut to.header_fields, from.header_fields);
    set(&mut to.body, from.body.map(|size| size.0));
    set(&mut to.drain, from.drain.map(|size| size.0));
    set(&mut to.connections, from.connections);
    let half = to.connections.div_ceil(2);
    to.connections_per_address = NonZeroUsize::new(from.connections_per_address.unwrap_or(half));
    set(&mut to.handshakes, from.handshakes);
    set(&mut to.interim_responses, from.interim_responses);
    set(&mut to.tunnels, from.tunnels);
    set(&mut to.exchanges, from.exchanges);
}

fn http2_limits(to: &mut plan::Http2Limits, from: &raw::Http2Limits, tree: &Node, project: &mut Project<'_>) {
    set(&mut to.streams, from.streams);
    set(&mut to.stream_window, from.stream_window.map(|size| size.0));
    set(&mut to.connection_window, from.connection_window.map(|size| size.0));
    set(&mut to.send_buffer, from.send_buffer.map(|size| size.0));
    set(&mut to.resets, from.resets);
    set(&mut to.pending_resets, from.pending_resets);
    set(&mut to.stream_errors, from.stream_errors);
    set(&mut to.control_frames, from.control_frames);
    set(&mut to.head_frames, from.head_frames);
    set(&mut to.large_heads, from.large_heads);
    // RFC 9113 6.9.2: a connection's window begins at 65,535 bytes and no window is larger than 2^31-1.
    for (name, size, least) in [
        ("stream-window", to.stream_window, ByteSize::kib(1)),
        ("connection-window", to.connection_window, ByteSize::kib(64)),
        ("send-buffer", to.send_buffer, ByteSize::kib(1)),
    ] {
        if !(least.bytes()..=plan::MAX_HTTP2_WINDOW).contains(&size.bytes()) {
            let node = tree.get("limits").and_then(|limits| limits.get("http2")?.get(name));
            let problem = Diagnostic::error("bad-value", format!("{size} is no size for {name}"));
            let problem = problem.at(FILE, node.map(|node| node.span)).field(format!("limits.http2.{name}"));
            project.report(problem.expected(format!("{least} to 2047MiB")));
        }
    }
}

/// Takes over what is written of a connection, apart from its encryption.
pub(crate) fn apply_connection(to: &mut plan::Connection, from: &raw::Connection) {
    set(&mut to.connect, from.connect.map(|d| d.0));
    set(&mut to.response, from.response.map(|d| d.0));
    set(&mut to.idle_body, from.idle_body.map(|d| d.0));
    set(&mut to.keep_alive, from.keep_alive.map(|d| d.0));
    set(&mut to.pool, from.pool);
    upstream_http2::apply(&mut to.http2, &from.http2);
    set(
        &mut to.protocol,
        from.protocol.map(|protocol| match protocol {
            raw::Protocol::Http1 => plan::UpstreamProtocol::Http1,
            raw::Protocol::Http2 => plan::UpstreamProtocol::Http2,
            raw::Protocol::Auto => plan::UpstreamProtocol::Auto,
        }),
    );
}

/// The path of a file of authorities; what is wrong with it is reported.
pub(crate) fn authorities(
    project: &mut Project<'_>,
    written: &str,
    span: Option<Span>,
    field: String,
) -> PathBuf {
    let path = project.root.join(written);
    project.files.push(path.clone());
    if let Some(problem) = bad_pem(&path, written, CERTIFICATE, "certificate") {
        let problem = problem.at(FILE, span).field(field);
        project.report(problem.expected("a PEM file with certificates, relative to the project's folder"));
    }
    path
}

/// What is wrong with a PEM file, as far as it is seen without parsing what is in it.
pub(crate) fn bad_pem(path: &Path, written: &str, begin: &[u8], what: &str) -> Option<Diagnostic> {
    let read = std::fs::metadata(path).and_then(|meta| {
        if !meta.is_file() || meta.len() > MAX_FILE {
            return Err(io::Error::other("no file of a size that is read"));
        }
        std::fs::read(path)
    });
    match read {
        Ok(bytes) if bytes.windows(begin.len()).any(|window| window == begin) => None,
        Ok(_) => Some(Diagnostic::error("bad-value", format!("{written:?} holds no {what}"))),
        Err(error) => Some(Diagnostic::error("unreadable", format!("{written:?} cannot be read: {error}"))),
    }
}

fn budget(from: &raw::Budget) -> Budget {
    let mut to = Budget::default();
    set(&mut to.cpu, from.cpu.map(|d| d.0));
    set(&mut to.memory, from.memory.map(|size| size.0));
    set(&mut to.wall, from.wall.map(|d| d.0));
    set(&mut to.subrequests, from.subrequests);
    set(&mut to.body, from.body.map(|size| size.0));
    set(&mut to.on_failure, from.on_failure);
    to
}

/// Takes what is there.
pub(crate) fn set<T>(to: &mut T, from: Option<T>) {
    if let Some(from) = from {
        *to = from;
    }
}

/// Whether `zuplo.jsonc` allows a method and path to stand twice.
pub(crate) fn allows_duplicate_routes(project: &mut Project<'_>) -> bool {
    let Some(tree) = project.tree(PROJECT_FILE, Syntax::Json) else { return false };
    let schema = schema::of::<ProjectFile>();
    let known: Vec<&str> = schema["properties"]
        .as_object()
        .map(|all| all.keys().map(String::as_str).collect())
        .unwrap_or_default();
    for member in tree.members().iter().filter(|member| !known.contains(&member.key.as_str())) {
        let problem =
            Diagnostic::warning("unknown-field", format!("unknown field {:?} is ignored", member.key));
        let problem = problem.at(PROJECT_FILE, Some(member.key_span)).field(&member.key);
        project.report(problem.nearest(&member.key, known.iter().copied()));
    }
    let file = decode::<ProjectFile>(&tree, PROJECT_FILE, "", &mut project.found);
    file.and_then(|file| file.allow_duplicate_routes).unwrap_or(false)
}
