//! Checks of one endpoint's health, over and over.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use polygate_pipeline::{Failure, Known, Method, Request, Target};
use polygate_plan::{Check, Connection};
use tokio::time::{Instant, sleep, timeout};

use super::tend::Tended;
use crate::upstream::Client;
use crate::upstream::health::Tally;
use crate::upstream::view::Checked;

/// The first checks of an upstream's endpoints are spread over this time, or the interval when that is shorter.
const SPREAD: Duration = Duration::from_millis(500);

/// Checks an endpoint until it is dropped, and tells `tended` of each change.
pub(super) async fn keep_checking(tended: Rc<Tended>, client: Rc<Client>, url: Target, address: SocketAddr) {
    let Some(check) = tended.what.check.clone() else { return };
    // Encrypted as the upstream's own connections are.
    let connection = Rc::new(Connection {
        connect: check.timeout,
        response: check.timeout,
        // A check shows that a connection can be made.
        keep_alive: Duration::ZERO,
        pool: 0,
        ..tended.what.connection.clone()
    });
    let mut tally = Tally::new(tended.is_healthy(&url, address));
    sleep(SPREAD.min(check.interval).mul_f64(fastrand::f64())).await;
    loop {
        let outcome = once(&client, &connection, &check, &url, address).await;
        if tally.observe(outcome.is_ok(), &check) {
            let why = outcome.err().unwrap_or_default();
            let name = &*tended.what.name;
            match tally.healthy() {
                true => tracing::info!(upstream = name, endpoint = %address, "an endpoint is healthy again"),
                false => {
                    tracing::warn!(upstream = name, endpoint = %address, why, "an endpoint is unhealthy")
                }
            }
            let since = Some((Instant::now(), SystemTime::now()));
            tended.checked(&url, address, Checked { healthy: tally.healthy(), why: why.into(), since });
        }
        // A tenth more or less, so that checks of many gateways do not fall together.
        sleep(check.interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}

/// One check. The error says what was found.
async fn once(
    client: &Client,
    connection: &Rc<Connection>,
    check: &Check,
    url: &Target,
    address: SocketAddr,
) -> Result<(), String> {
    let asked = ask(client, connection, check, url, address);
    match timeout(check.timeout, asked).await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(status))) if check.statuses.iter().any(|&(low, high)| (low..=high).contains(&status)) => {
            Ok(())
        }
        Ok(Ok(Some(status))) => Err(format!("status {status}")),
        Ok(Err(failure)) => Err(failure.to_string()),
        Err(_) => Err(format!("no answer within {:?}", check.timeout)),
    }
}

/// The status, or `None` when the check only connects.
async fn ask(
    client: &Client,
    connection: &Rc<Connection>,
    check: &Check,
    url: &Target,
    address: SocketAddr,
) -> Result<Option<u16>, Failure> {
    let Some(path) = &check.path else {
        client.connect(url, address.ip(), connection).await?;
        return Ok(None);
    };
    let target = Target::new(url.scheme(), url.authority(), path)
        .map_err(|error| Failure::new(polygate_pipeline::Reason::Internal).detail(error.to_string()))?;
    let mut request = Request::new(Method::GET, target);
    // The names are constant, the host was checked when the plan was made.
    let _ = request.headers.append("User-Agent", b"polygate-check");
    if let Some(host) = &check.host {
        request.headers.remove_known(Known::Host);
        let _ = request.headers.append("Host", host.as_bytes());
    }
    let response = client.send_at(request, address.ip(), connection).await?;
    Ok(Some(response.status.as_u16()))
}
