//! Making connections: names, the address policy, TCP, TLS.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use polygate_pipeline::{Diagnostic, Failure, Reason, Scheme, Target};
use polygate_plan::{Connection, UpstreamProtocol, UpstreamTls};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::stream::{Connected, Stream};
use crate::tls;

/// How long an answer of the name service is used again: the resolver does not tell its own time to live.
const NAMES_LIVE: Duration = Duration::from_secs(10);
/// Names whose addresses are remembered.
const MAX_NAMES: usize = 1024;
/// Of a name with several addresses, each but the last gets this long.
const ATTEMPT: Duration = Duration::from_secs(2);

/// HTTP/2 as ALPN calls it (RFC 9113 3.1).
const H2: &[u8] = b"h2";

/// Which addresses may be connected to.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddressPolicy {
    pub(super) link_local: bool,
    pub(super) private: bool,
}

impl AddressPolicy {
    /// For targets that the operator configured.
    pub(super) const ALL: Self = Self { link_local: true, private: true };

    /// Whether the address may be connected to.
    pub(super) fn admits(self, ip: IpAddr) -> bool {
        let ip = embedded(ip);
        let link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast() || ip.is_multicast(),
            // fd00:ec2::254 is a cloud's metadata service.
            IpAddr::V6(ip) => {
                ip.is_unicast_link_local() || ip.is_multicast() || ip.segments()[..2] == [0xfd00, 0x0ec2]
            }
        };
        if link_local {
            return self.link_local;
        }
        let private = match ip {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                ip.is_loopback() || ip.is_private() || a == 0 || (a == 100 && b & 0xc0 == 64)
            }
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local(),
        };
        self.private || !private
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, or through NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into();
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => Ipv6Addr::into(v6),
    }
}

/// Addresses of a name, and until when they are used.
type Resolved = (Instant, Rc<[IpAddr]>);

/// What handshakes are made with.
struct Handshakes {
    /// As it was loaded, for all workers.
    shared: Arc<tls::Client>,
    /// The same with sessions of this worker's own: no lock is shared.
    own: Arc<ClientConfig>,
    /// The same again, offering HTTP/2, and HTTP/2 before HTTP/1.1.
    http2: Arc<ClientConfig>,
    auto: Arc<ClientConfig>,
}

impl Handshakes {
    fn new(shared: Arc<tls::Client>) -> Self {
        let mut own = ClientConfig::clone(&shared.config);
        own.resumption = Resumption::default();
        let offering = |protocols: &[&[u8]]| {
            let mut config = own.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        let (http2, auto) = (offering(&[H2]), offering(&[H2, b"http/1.1"]));
        Self { shared, own: Arc::new(own), http2, auto }
    }

    fn offering(&self, protocol: UpstreamProtocol) -> Arc<ClientConfig> {
        match protocol {
            UpstreamProtocol::Http1 => &self.own,
            UpstreamProtocol::Http2 => &self.http2,
            UpstreamProtocol::Auto => &self.auto,
        }
        .clone()
    }
}

/// Makes connections for one worker.
#[derive(Default)]
pub(super) struct Connector {
    names: RefCell<HashMap<Box<str>, Resolved>>,
    tls: RefCell<HashMap<Arc<UpstreamTls>, Handshakes>>,
}

impl Connector {
    /// Connects to the target, to speak `protocol` with it: at that address, or at one that its name has.
    pub(super) async fn connect(
        &self,
        target: &Target,
        at: Option<IpAddr>,
        connection: &Connection,
        protocol: UpstreamProtocol,
        policy: AddressPolicy,
    ) -> Result<Connected, Failure> {
        let deadline = Instant::now() + connection.connect;
        match timeout_at(deadline, self.connect_within(target, at, connection, protocol, policy, deadline))
            .await
        {
            Ok(result) => result,
            Err(_) => Err(timed_out(target, connection)),
        }
    }

    async fn connect_within(
        &self,
        target: &Target,
        at: Option<IpAddr>,
        connection: &Connection,
        protocol: UpstreamProtocol,
        policy: AddressPolicy,
        deadline: Instant,
    ) -> Result<Connected, Failure> {
        let addresses = match at {
            Some(ip) => Rc::new([ip]) as Rc<[IpAddr]>,
            None => self.resolve(target).await?,
        };
        let admitted: Vec<IpAddr> = addresses.iter().copied().filter(|&ip| policy.admits(ip)).collect();
        if admitted.is_empty() {
            let detail = format!("{} has no address that plugins may reach", target.host());
            return Err(Failure::new(Reason::AddressDenied).detail(detail));
        }
        let mut refused = None;
        for (index, &ip) in admitted.iter().enumerate() {
            let attempt = TcpStream::connect(SocketAddr::new(ip, target.port()));
            let left = deadline.saturating_duration_since(Instant::now());
            let time = if index + 1 < admitted.len() { ATTEMPT.min(left / 2) } else { left };
            match timeout(time, attempt).await {
                Ok(Ok(stream)) => {
                    // Without it small writes wait for acknowledgements; a failure costs time alone.
                    let _ = stream.set_nodelay(true);
                    return self.secure(target, connection, protocol, stream, ip).await;
                }
                Ok(Err(error)) => refused = Some(error),
                Err(_) => refused = None,
            }
        }
        Err(match refused {
            Some(error) if error.kind() != io::ErrorKind::TimedOut => Failure::new(Reason::UpstreamRefused)
                .detail(format!("cannot connect to {}", target.authority()))
                .source(error)
                .retryable(),
            _ => timed_out(target, connection),
        })
    }

    async fn secure(
        &self,
        target: &Target,
        connection: &Connection,
        protocol: UpstreamProtocol,
        stream: TcpStream,
        peer: IpAddr,
    ) -> Result<Connected, Failure> {
        if target.scheme() == Scheme::Http {
            let mut connected = Connected::new(Stream::Plain(stream), peer);
            connected.http2 = protocol == UpstreamProtocol::Http2;
            return Ok(connected);
        }
        let failed = |text: String| Failure::new(Reason::UpstreamTls).detail(text).retryable();
        let config = self.config(&connection.tls, protocol).await.map_err(failed)?;
        let name = connection.tls.server_name.as_deref().unwrap_or(target.host());
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| failed(format!("{name} is not a name that a certificate can have")))?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        let stream = handshake
            .await
            .map_err(|error| failed(format!("handshake with {}: {error}", target.authority())))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        if protocol == UpstreamProtocol::Http2 && !http2 {
            return Err(failed(format!("{} does not offer HTTP/2", target.authority())));
        }
        let mut connected = Connected::new(Stream::Tls(Box::new(stream)), peer);
        connected.http2 = http2;
        Ok(connected)
    }

    /// What handshakes of these settings are made with. What no deployment has brought along, because it names no
    /// file or because it has not taken over yet, is read once, off the worker's thread.
    async fn config(
        &self,
        tls: &Arc<UpstreamTls>,
        protocol: UpstreamProtocol,
    ) -> Result<Arc<ClientConfig>, String> {
        if let Some(known) = self.tls.borrow().get(tls) {
            return Ok(known.offering(protocol));
        }
        let settings = tls.clone();
        let read = tokio::task::spawn_blocking(move || tls::Client::load(&settings));
        let client = match read.await.map_err(|error| error.to_string())? {
            (Some(client), _) => client,
            (None, found) => {
                let file = |problem: &Diagnostic| problem.file.clone().unwrap_or_default();
                let texts = found.iter().map(|problem| format!("{}: {}", file(problem), problem.message));
                return Err(texts.collect::<Vec<_>>().join("; "));
            }
        };
        // A deployment may have brought them along by now.
        let mut known = self.tls.borrow_mut();
        let handshakes = known.entry(tls.clone()).or_insert_with(|| Handshakes::new(Arc::new(client)));
        Ok(handshakes.offering(protocol))
    }

    /// Makes new handshakes with what a deployment brings along. Gives the settings whose files hold something new:
    /// connections that were made before are not to be used again.
    pub(super) fn equip(&self, clients: &tls::Clients) -> Vec<Arc<UpstreamTls>> {
        let mut known = self.tls.borrow_mut();
        let mut renewed = Vec::new();
        // Those that name no files stay; those that do, and are gone, are read anew should they come back.
        known.retain(|tls, _| tls.files().next().is_none() || clients.contains_key(tls));
        for (tls, client) in clients {
            match known.get(tls) {
                Some(old) if Arc::ptr_eq(&old.shared, client) => continue,
                Some(_) => renewed.push(tls.clone()),
                None => {}
            }
            known.insert(tls.clone(), Handshakes::new(client.clone()));
        }
        renewed
    }

    async fn resolve(&self, target: &Target) -> Result<Rc<[IpAddr]>, Failure> {
        let host = target.host();
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Rc::new([ip]));
        }
        let known = self.names.borrow().get(host).cloned();
        if let Some((expires, addresses)) = known
            && expires > Instant::now()
        {
            return Ok(addresses);
        }
        let unresolved =
            || Failure::new(Reason::UpstreamUnresolved).detail(format!("no address for {host}")).retryable();
        let found = tokio::net::lookup_host((host, target.port()));
        let found = found.await.map_err(|error| unresolved().source(error))?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in found {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
        if addresses.is_empty() {
            return Err(unresolved());
        }
        let addresses: Rc<[IpAddr]> = addresses.into();
        let mut names = self.names.borrow_mut();
        if names.len() >= MAX_NAMES {
            let now = Instant::now();
            names.retain(|_, (expires, _)| *expires > now);
            if names.len() >= MAX_NAMES {
                names.clear();
            }
        }
        names.insert(host.into(), (Instant::now() + NAMES_LIVE, addresses.clone()));
        Ok(addresses)
    }
}

pub(super) fn timed_out(target: &Target, connection: &Connection) -> Failure {
    let detail = format!("not connected to {} within {:?}", target.authority(), connection.connect);
    Failure::new(Reason::UpstreamConnectTimeout).detail(detail).retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_policy_sees_through_disguises() {
        let careful = AddressPolicy { link_local: false, private: false };
        for denied in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "224.0.0.1",
        ] {
            assert!(!careful.admits(denied.parse().unwrap()), "{denied}");
        }
        for admitted in ["1.1.1.1", "100.128.0.1", "2606:4700::1111", "172.32.0.1"] {
            assert!(careful.admits(admitted.parse().unwrap()), "{admitted}");
        }
        let default = AddressPolicy { link_local: false, private: true };
        assert!(default.admits("127.0.0.1".parse().unwrap()));
        for denied in ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"] {
            assert!(!default.admits(denied.parse().unwrap()), "{denied}");
        }
        assert!(AddressPolicy::ALL.admits("169.254.169.254".parse().unwrap()));
    }
}
