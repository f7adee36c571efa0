//! From an accepted socket to a connection that requests can be read from: the header of the PROXY protocol, the TLS
//! handshake, each within its time, and the protocol that was agreed on.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use polygate_pipeline::Client;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::addresses::{Full, Place};
use super::proxy::{self, NoHeader};
use super::stop::Open;
use super::transport::Transport;
use super::{Common, connection, http2};
use crate::service::Service;
use crate::tls::{Acceptor, is_challenge};

/// How long, and for how many bytes, a client that failed in its handshake is listened to, so that it learns why.
const FAREWELL: (Duration, u64) = (Duration::from_millis(500), 16 << 10);

/// What a worker makes handshakes with. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Secure(Rc<Inner>);

struct Inner {
    acceptor: RefCell<Arc<Acceptor>>,
    under_way: Cell<usize>,
}

impl Secure {
    pub(crate) fn new(acceptor: Arc<Acceptor>) -> Self {
        Self(Rc::new(Inner { acceptor: RefCell::new(acceptor), under_way: Cell::new(0) }))
    }

    /// Makes new handshakes with another acceptor; those under way go on with theirs.
    pub(crate) fn replace(&self, acceptor: Arc<Acceptor>) {
        self.0.acceptor.replace(acceptor);
    }

    /// What new handshakes are made with.
    pub(crate) fn acceptor(&self) -> Arc<Acceptor> {
        self.0.acceptor.borrow().clone()
    }

    /// Counts a handshake in, unless so many are under way.
    fn begin(&self, most: usize) -> Option<UnderWay> {
        let under_way = self.0.under_way.get();
        if under_way >= most {
            return None;
        }
        self.0.under_way.set(under_way + 1);
        Some(UnderWay(self.clone()))
    }
}

/// A handshake; dropping it counts it out.
struct UnderWay(Secure);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let under_way = &self.0.0.under_way;
        under_way.set(under_way.get() - 1);
    }
}

/// Serves a socket of the cleartext listener to its end.
pub(super) async fn plain<S: Service>(
    mut stream: TcpStream,
    peer: SocketAddr,
    common: Rc<Common<S>>,
    open: Open,
) {
    let Some((client, _place)) = greet(&mut stream, peer, &common).await else { return };
    connection::serve(Transport::Plain(stream), client, common, open).await;
}

/// Serves a socket of the listener for TLS to its end.
pub(super) async fn encrypted<S: Service>(
    mut stream: TcpStream,
    peer: SocketAddr,
    secure: Secure,
    common: Rc<Common<S>>,
    open: Open,
) {
    let Some((mut client, _place)) = greet(&mut stream, peer, &common).await else { return };
    let Some(under_way) = secure.begin(common.handshakes) else {
        common.metrics.with(|metrics| metrics.handshakes.refused += 1);
        return;
    };
    common.metrics.with(|metrics| metrics.handshakes.running += 1);
    let acceptor = secure.acceptor();
    // Boxed: what it needs is not held by the connection for the rest of its life.
    let outcome = Box::pin(timeout(common.timeouts.handshake, handshake(&acceptor, stream))).await;
    drop(under_way);
    common.metrics.with(|metrics| {
        let counts = &mut metrics.handshakes;
        counts.running = counts.running.saturating_sub(1);
        match &outcome {
            Ok(Ok((_, facts))) if facts.resumed => counts.resumed += 1,
            Ok(Ok(_)) => counts.full += 1,
            Ok(Err(error)) if is_challenge(error) => counts.full += 1,
            Ok(Err(_)) => counts.failed += 1,
            Err(_) => counts.timed_out += 1,
        }
    });
    let (stream, facts) = match outcome {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS handshake"),
        Err(_) => return tracing::debug!(%peer, "no TLS handshake in time"),
    };
    client.tls = Some(Arc::new(facts));
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let transport = Transport::Tls(Box::new(stream));
    if http2 {
        // Boxed: of connections of HTTP/1.1 none has to hold the room for it.
        return Box::pin(http2::serve(transport, BytesMut::new(), client, common, open)).await;
    }
    connection::serve(transport, client, common, open).await;
}

/// What is known of a client by its socket, or by what the proxy before it says, and its place among the connections of its
/// address, unless no such are counted. `None` when the connection is to be closed.
async fn greet<S: Service>(
    stream: &mut TcpStream,
    mut peer: SocketAddr,
    common: &Common<S>,
) -> Option<(Client, Option<Place>)> {
    let mut local = stream.local_addr().ok()?;
    // Responses leave in as few writes as they can; waiting for acknowledgements only delays them.
    let _ = stream.set_nodelay(true);
    if common.service.is_introduced(peer.ip()) {
        // Boxed: of connections that come without, none has to hold the room for it.
        let header = Box::pin(timeout(common.timeouts.proxy_header, proxy::read(stream)));
        let refused = match header.await {
            Ok(Ok(None)) => None,
            Ok(Ok(Some(ends))) => {
                (peer, local) = (ends.source, ends.destination);
                None
            }
            Ok(Err(NoHeader::Closed)) => return None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(late) => Some(late.to_string()),
        };
        if let Some(error) = refused {
            common.metrics.with(|metrics| metrics.proxy_headers_refused += 1);
            tracing::debug!(%peer, error, "no PROXY header");
            return None;
        }
    }
    let ip = peer.ip().to_canonical();
    let place = match common.settings.connections_per_address {
        Some(most) if !common.service.is_trusted(ip) => {
            let place = common.stop.addresses().take(ip, most);
            Some(place.map_err(|full| turn_away(ip, &full, common)).ok()?)
        }
        _ => None,
    };
    Some((Client { ip, peer, local, tls: None }, place))
}

/// Counts a connection of an address that has too many. The log is told once, and not for each attempt.
#[cold]
fn turn_away<S>(ip: IpAddr, full: &Full, common: &Common<S>) {
    common.metrics.with(|metrics| metrics.refused_per_address += 1);
    if full.first {
        tracing::debug!(client = %ip, "connections are refused: their address has too many");
    }
}

type Handshaken = (tokio_rustls::server::TlsStream<TcpStream>, polygate_pipeline::Tls);

async fn handshake(acceptor: &Acceptor, stream: TcpStream) -> io::Result<Handshaken> {
    match acceptor.accept(stream).await {
        Ok(done) => Ok(done),
        Err((error, stream)) => {
            if let Some(stream) = stream.filter(|_| error.kind() == io::ErrorKind::InvalidData) {
                see_off(stream).await;
            }
            Err(error)
        }
    }
}

/// Lets a client read the alert that it was sent: closing a socket with unread bytes resets it.
async fn see_off(mut stream: TcpStream) {
    use tokio::io::AsyncWriteExt;
    let (time, bytes) = FAREWELL;
    let _ = stream.shutdown().await;
    let _ = timeout(time, tokio::io::copy(&mut stream.take(bytes), &mut tokio::io::sink())).await;
}
