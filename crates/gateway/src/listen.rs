//! Listening sockets: one a worker on the same address, so that the kernel spreads connections.
//!
//! A closed listening socket takes the connections in its backlog with it. So that a new process can follow an old one
//! without losing any, it gets the very sockets of the old one, and leaves none of them unserved.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that may wait to be accepted, per socket; the kernel caps it further.
const BACKLOG: i32 = 4096;

/// Listening sockets that another process opened: the version that ran before, or systemd. What nobody takes is closed
/// with it.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, TcpListener)>);

impl Inherited {
    /// Sockets with what each is for; the name may be empty when it is not known.
    pub fn new(sockets: Vec<(String, TcpListener)>) -> Self {
        Self(sockets)
    }

    /// Adds those of another process.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// How many nobody has taken.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Addresses of those that nobody has taken.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|(_, socket)| socket.local_addr().ok()).collect()
    }

    /// Takes those that listen on `address`. Port 0 means the port that sockets of this name and IP address have.
    pub fn take(&mut self, name: &str, address: SocketAddr) -> Vec<TcpListener> {
        let of = |socket: &TcpListener| socket.local_addr().ok();
        let same_ip = |found: &SocketAddr| found.ip() == address.ip();
        let wanted = match address.port() {
            0 => self.0.iter().filter(|(known, _)| known == name).find_map(|(_, s)| of(s).filter(same_ip)),
            _ => Some(address),
        };
        let is_wanted = |socket: &TcpListener| wanted.is_some() && of(socket) == wanted;
        self.0.extract_if(.., |(_, socket)| is_wanted(socket)).map(|(_, socket)| socket).collect()
    }
}

/// The sockets of one address, spread over workers.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Those of each worker, at least one each.
    pub(crate) workers: Vec<Vec<TcpListener>>,
    /// One handle to each socket, to be handed on to the next process.
    pub(crate) sockets: Vec<TcpListener>,
}

/// Listens on one address for `count` workers, with the inherited sockets first. With port 0 the kernel chooses one
/// for all. Every inherited socket is served, also when there are more of them than workers; where one does not share
/// its port, workers without a socket of their own share it.
///
/// # Errors
/// When the address is not ours or is taken, also by another process that shares ports as we do.
pub(crate) fn bind(address: SocketAddr, count: usize, inherited: Vec<TcpListener>) -> io::Result<Bound> {
    let count = count.max(1);
    let mut sockets = inherited;
    if sockets.is_empty() {
        // A listener that shares its port would be let in beside another process's; this one tells whether it is free.
        drop(socket(address, false)?);
        sockets.push(socket(address, true)?);
    }
    let shares_port = SockRef::from(&sockets[0]).reuse_port()?;
    let address = sockets[0].local_addr()?;
    while sockets.len() < count && shares_port {
        sockets.push(socket(address, true)?);
    }
    let mut workers: Vec<Vec<TcpListener>> = (0..count).map(|_| Vec::new()).collect();
    for number in 0..count.max(sockets.len()) {
        let socket = &sockets[number % sockets.len()];
        socket.set_nonblocking(true)?;
        workers[number % count].push(socket.try_clone()?);
    }
    Ok(Bound { workers, sockets })
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn of_each(bound: &Bound) -> Vec<usize> {
        bound.workers.iter().map(Vec::len).collect()
    }

    #[test]
    fn all_listen_on_one_port_and_a_taken_port_is_refused() {
        let bound = bind(ANY, 2, Vec::new()).unwrap();
        let address = bound.sockets[0].local_addr().unwrap();
        assert_eq!(bound.workers[1][0].local_addr().unwrap(), address);
        assert_eq!((bound.sockets.len(), of_each(&bound)), (2, vec![1, 1]));
        assert_eq!(bind(address, 1, Vec::new()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn every_inherited_socket_is_served_and_every_worker_has_one() {
        let three = bind(ANY, 3, Vec::new()).unwrap();
        let address = three.sockets[0].local_addr().unwrap();
        // Fewer workers than before: none of the old sockets may be left unserved.
        let two = bind(address, 2, three.sockets).unwrap();
        assert_eq!((two.sockets.len(), of_each(&two)), (3, vec![2, 1]));
        // More workers than before: further sockets on the same port.
        let four = bind(address, 4, two.sockets).unwrap();
        assert_eq!((four.sockets.len(), of_each(&four)), (4, vec![1, 1, 1, 1]));
        assert!(four.sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        // One that does not share its port is shared by the workers.
        let alone = TcpListener::bind(ANY).unwrap();
        let shared = bind(alone.local_addr().unwrap(), 2, vec![alone]).unwrap();
        assert_eq!((shared.sockets.len(), of_each(&shared)), (1, vec![1, 1]));
    }

    #[test]
    fn sockets_are_taken_by_address_and_name() {
        let sockets: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind(ANY).unwrap()).collect();
        let addresses: Vec<SocketAddr> = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
        let names = ["gateway", "admin", ""];
        let mut inherited =
            Inherited::new(names.iter().map(|name| (*name).to_owned()).zip(sockets).collect());
        let taken = |found: Vec<TcpListener>| -> Vec<SocketAddr> {
            found.iter().map(|socket| socket.local_addr().unwrap()).collect()
        };
        assert_eq!(taken(inherited.take("admin", ANY)), [addresses[1]]);
        assert_eq!(taken(inherited.take("gateway", addresses[2])), [addresses[2]]);
        assert!(inherited.take("admin", ANY).is_empty(), "that is the gateway's");
        assert_eq!((inherited.len(), inherited.addresses()), (1, vec![addresses[0]]));
        assert_eq!(taken(inherited.take("gateway", ANY)), [addresses[0]]);
        assert!(inherited.is_empty());
    }
}
