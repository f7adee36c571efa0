//! `cargo xtask bench --idle N`: what an idle keep-alive connection costs, plain and encrypted.
//!
//! Each connection makes one request, as those of real clients have, and then stays. Clients have addresses of their own
//! (127.0.0.2, 127.0.0.3, ...), so that ports do not run out.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Stream};
use socket2::{Domain, Socket, Type};

use super::measure::memory_kib;
use crate::Outcome;
use crate::certificate::Certificate;
use crate::process::{Running, program};

const PORT: u16 = 18_097;
const TLS_PORT: u16 = 18_098;

/// Connections of one client address; the kernel has about 28,000 ports for each.
const PER_ADDRESS: usize = 20_000;

/// Descriptors that both sides need for other things.
const SPARE: usize = 300;

/// How long connections rest before memory is looked at.
const REST: Duration = Duration::from_secs(4);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n";

/// What each connection may cost in memory of the process.
const MOST_BYTES: f64 = 30.0 * 1024.0;

/// Measures both kinds, each with a process of its own.
pub(super) fn run(wanted: usize, binaries: &[(&str, &Path)]) -> Outcome {
    let limit = descriptors()?;
    let count = wanted.min(limit.saturating_sub(SPARE));
    if count < wanted {
        println!("{wanted} connections need as many descriptors; {limit} are allowed here, so it is {count}");
    }
    let folder = crate::root().join("target/bench/idle");
    let roots = project(&folder, count)?;
    println!("\n{count} idle connections, one worker:\n");
    println!("{:10} {:6} {:>14} {:>12} {:>12} {:>12}", "", "", "a connection", "in all", "accept p50", "p99");
    let mut worst: f64 = 0.0;
    // Each round has client addresses of its own: ports of the round before are not free again at once.
    let mut address = 1;
    for (name, binary) in binaries {
        for (kind, tls) in [("plain", None), ("tls", Some(&roots))] {
            let gateway = start(binary, &folder)?;
            let each = measure(name, kind, gateway.id(), (count, address), tls)?;
            address += count.div_ceil(PER_ADDRESS) + 1;
            worst = worst.max(each);
        }
    }
    if worst > MOST_BYTES {
        Err(format!("{worst:.0} bytes a connection are more than 30 KiB"))
    } else {
        Ok(())
    }
}

fn start(binary: &Path, project: &Path) -> Result<Running, String> {
    let (binary, project) = (binary.to_string_lossy(), project.to_string_lossy());
    let process = program(&*binary, &["run", &*project, "--workers", "1"]).start()?;
    super::servers::wait_for(TLS_PORT)?;
    Ok(process)
}

fn measure(
    name: &str,
    kind: &str,
    process: u32,
    (count, address): (usize, usize),
    tls: Option<&Arc<ClientConfig>>,
) -> Result<f64, String> {
    // What the first connections set up is no cost of each.
    let _first = (0..50).map(|_| Client::connect(address, tls)).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(REST);
    let before = memory_kib(process);
    let mut clients = Vec::with_capacity(count);
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let began = Instant::now();
        clients.push(Client::connect(address + 1 + number / PER_ADDRESS, tls)?);
        times.push(began.elapsed());
    }
    std::thread::sleep(REST);
    let after = memory_kib(process);
    let each = after.saturating_sub(before) as f64 * 1024.0 / count as f64;
    times.sort();
    let at = |share: f64| times[((count - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{name:10} {kind:6} {each:>8.0} bytes {:>8.0} MiB {:>9.3} ms {:>9.3} ms",
        after as f64 / 1024.0,
        at(0.5),
        at(0.99),
    );
    // All of them must still be there.
    let last = clients.last_mut().ok_or("no connection")?;
    last.ask()?;
    let closed = clients.iter().filter(|client| client.is_closed()).count();
    if closed > 0 { Err(format!("{closed} connections were closed")) } else { Ok(each) }
}

/// A connection that has made a request.
struct Client {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Client {
    fn connect(address: usize, tls: Option<&Arc<ClientConfig>>) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot connect: {error}");
        let own = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + address as u32);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(failed)?;
        socket.bind(&SocketAddr::from(SocketAddrV4::new(own, 0)).into()).map_err(failed)?;
        let port = if tls.is_some() { TLS_PORT } else { PORT };
        socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).map_err(failed)?;
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let tls = match tls {
            Some(config) => {
                let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
                let connection = ClientConnection::new(config.clone(), name);
                Some(Box::new(connection.map_err(|error| error.to_string())?))
            }
            None => None,
        };
        let mut client = Self { stream, tls };
        client.ask()?;
        Ok(client)
    }

    /// One request and its answer, which has no body.
    fn ask(&mut self) -> Outcome {
        let talk = |stream: &mut dyn ReadWrite| -> std::io::Result<()> {
            stream.write_all(REQUEST)?;
            let mut answer = Vec::new();
            let mut part = [0; 1024];
            while !answer.ends_with(b"\r\n\r\n") {
                match stream.read(&mut part)? {
                    0 => return Err(ErrorKind::UnexpectedEof.into()),
                    count => answer.extend_from_slice(&part[..count]),
                }
            }
            Ok(())
        };
        let done = match &mut self.tls {
            None => talk(&mut self.stream),
            Some(tls) => talk(&mut Stream::new(&mut **tls, &mut self.stream)),
        };
        done.map_err(|error| format!("no answer: {error}"))
    }

    fn is_closed(&self) -> bool {
        let mut byte = [0];
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut byte));
        matches!(peeked, Ok(0)) || matches!(peeked, Err(error) if error.kind() != ErrorKind::WouldBlock)
    }
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

/// A project that answers by itself, plain and encrypted, and a client's settings that trust it.
fn project(folder: &Path, count: usize) -> Result<Arc<ClientConfig>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder.join("config")).map_err(failed)?;
    let certificate = Certificate::make(folder)?;
    let routes = r#"{ "openapi": "3.1.0", "info": { "title": "idle", "version": "1" }, "paths": { "/": { "get": {
  "x-polygate-route": { "handler": { "export": "redirectHandler", "module": "$import(@polygate/runtime)",
    "options": { "location": "/elsewhere" } } } } } } }"#;
    let settings = format!(
        "[listen]\naddress = \"127.0.0.1:{PORT}\"\ntls-address = \"127.0.0.1:{TLS_PORT}\"\n\
         {}\
         [admin]\naddress = false\n[timeouts]\nidle = \"1h\"\n[limits]\nconnections = {}\nconnections-per-address = 0\n[log]\naccess = \"off\"\nxray-sample = 0\n\
         [overload]\nenabled = false\n",
        certificate.settings(),
        count + SPARE
    );
    fs::write(folder.join("config/routes.oas.json"), routes).map_err(failed)?;
    fs::write(folder.join("polygate.toml"), settings).map_err(failed)?;
    certificate.client(&[])
}

/// How many descriptors a process may have.
fn descriptors() -> Result<usize, String> {
    let limits =
        fs::read_to_string("/proc/self/limits").map_err(|error| format!("/proc/self/limits: {error}"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(soft.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX))
}
