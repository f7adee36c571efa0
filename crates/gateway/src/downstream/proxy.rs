//! The PROXY protocol, versions 1 and 2: a proxy says at the beginning of a connection whose it is.
//!
//! Source: "The PROXY protocol" by HAProxy Technologies, sections 2.1 (text) and 2.2 (binary). Only as many bytes are
//! read as belong to the header: what follows is the client's own, HTTP or TLS.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How a header of version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1, with its end of line.
const MAX_TEXT: usize = 107;
/// Longest header of version 2 that is taken. Its fields may ask for 64 KiB; no proxy sends a tenth of it.
const MAX_BINARY: usize = 4 << 10;
/// Of version 2: signature, version and command, family, length.
const FIXED: usize = 16;

/// The two ends of a connection, as the proxy has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    /// The client.
    pub(super) source: SocketAddr,
    /// Where it connected to.
    pub(super) destination: SocketAddr,
}

/// What a proxy said. Without ends, it speaks for itself (health checks), or does not know them.
type Said = Option<Ends>;

/// Why there is no header.
#[derive(Debug)]
pub(super) enum NoHeader {
    /// The connection ended before it began.
    Closed,
    /// What came is none, or ended within.
    Malformed,
    /// Reading failed.
    Io(io::Error),
}

impl fmt::Display for NoHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoHeader::Closed => f.write_str("closed before it began"),
            NoHeader::Malformed => f.write_str("it is malformed"),
            NoHeader::Io(error) => write!(f, "it cannot be read: {error}"),
        }
    }
}

impl From<io::Error> for NoHeader {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { NoHeader::Malformed } else { NoHeader::Io(error) }
    }
}

/// Reads a header off the front of a connection, which must begin with one.
pub(super) async fn read(stream: &mut TcpStream) -> Result<Said, NoHeader> {
    let mut header = Vec::with_capacity(MAX_TEXT);
    // The shortest header is longer than the signature: so many bytes are part of it in any case.
    while header.len() < SIGNATURE.len() {
        let room = SIGNATURE.len() - header.len();
        if (&mut *stream).take(room as u64).read_buf(&mut header).await? == 0 {
            return Err(if header.is_empty() { NoHeader::Closed } else { NoHeader::Malformed });
        }
        // What is no header is refused as soon as it shows: it may be all that comes.
        let begins = |with: &[u8]| header.iter().zip(with).all(|(a, b)| a == b);
        if !begins(&SIGNATURE) && !begins(b"PROXY ") {
            return Err(NoHeader::Malformed);
        }
    }
    if header == SIGNATURE { binary(stream, header).await } else { text(stream, header).await }
}

async fn text(stream: &mut TcpStream, mut line: Vec<u8>) -> Result<Said, NoHeader> {
    let mut ahead = [0; MAX_TEXT];
    while !line.ends_with(b"\n") {
        let room = MAX_TEXT - line.len();
        if room == 0 {
            return Err(NoHeader::Malformed);
        }
        let seen = stream.peek(&mut ahead[..room]).await?;
        let own = memchr::memchr(b'\n', &ahead[..seen]).map_or(seen, |end| end + 1);
        if own == 0 {
            return Err(NoHeader::Malformed);
        }
        stream.read_exact(&mut ahead[..own]).await?;
        line.extend_from_slice(&ahead[..own]);
    }
    parse_text(&line).ok_or(NoHeader::Malformed)
}

async fn binary(stream: &mut TcpStream, mut header: Vec<u8>) -> Result<Said, NoHeader> {
    header.resize(FIXED, 0);
    stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if FIXED + length > MAX_BINARY {
        return Err(NoHeader::Malformed);
    }
    header.resize(FIXED + length, 0);
    stream.read_exact(&mut header[FIXED..]).await?;
    parse_binary(header[12], header[13], &header[FIXED..]).ok_or(NoHeader::Malformed)
}

/// A whole line of version 1. The outer `None` means malformed.
fn parse_text(line: &[u8]) -> Option<Said> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?.strip_prefix("PROXY ")?;
    // What follows UNKNOWN must be ignored (2.1).
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let parts: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = parts[..] else { return None };
    let ip = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let port = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| plain)
    };
    Some(Some(Ends {
        source: SocketAddr::new(ip(source)?, port(source_port)?),
        destination: SocketAddr::new(ip(destination)?, port(destination_port)?),
    }))
}

/// What follows the signature in version 2; further fields behind the addresses are not looked at. The outer `None`
/// means malformed.
fn parse_binary(version_command: u8, family: u8, rest: &[u8]) -> Option<Said> {
    match version_command {
        // LOCAL: the proxy speaks for itself, and the rest must be ignored.
        0x20 => return Some(None),
        0x21 => {}
        _ => return None,
    }
    match family {
        // Unspecified: the proxy does not know.
        0x00 => Some(None),
        // TCP over IPv4 and over IPv6.
        0x11 => ends::<4>(rest),
        0x21 => ends::<16>(rest),
        // Of a unix socket's address nothing can be made.
        0x31 => Some(None),
        _ => None,
    }
}

fn ends<const N: usize>(rest: &[u8]) -> Option<Said>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = rest.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (ports, _) = rest.split_first_chunk::<4>()?;
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Some(Some(Ends {
        source: SocketAddr::new((*source).into(), port(0)),
        destination: SocketAddr::new((*destination).into(), port(2)),
    }))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::super::tests::run;
    use super::*;

    fn said(source: &str, destination: &str) -> Option<Said> {
        Some(Some(Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }))
    }

    #[test]
    fn lines_of_version_1() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", said("192.0.2.1:56324", "198.51.100.2:443")),
            ("PROXY TCP6 2001:db8::1 ::2 1 0\r\n", said("[2001:db8::1]:1", "[::2]:0")),
            ("PROXY UNKNOWN\r\n", Some(None)),
            ("PROXY UNKNOWN whatever 1 2 3\r\n", Some(None)),
            ("PROXY UNKNOWNX\r\n", None),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n", None),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n", None),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 9\r\n", None),
            ("PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n", None),
            ("PROXY TCP4 ::1 198.51.100.2 56324 443\r\n", None),
            ("PROXY TCP6 192.0.2.1 ::1 1 2\r\n", None),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", None),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n", None),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n", None),
            ("PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n", None),
            ("PROXY\r\n", None),
        ] {
            assert_eq!(parse_text(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn headers_of_version_2() {
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 1, 0xbb];
        let mut six = [0; 36];
        (six[15], six[31], six[33], six[35]) = (1, 2, 3, 4);
        let expected = said("192.0.2.1:56324", "198.51.100.2:443");
        assert_eq!(parse_binary(0x21, 0x11, &four), expected);
        let more = [&four[..], &[0x04, 0, 2, 0, 0]].concat();
        assert_eq!(parse_binary(0x21, 0x11, &more), expected, "further fields");
        assert_eq!(parse_binary(0x21, 0x21, &six), said("[::1]:3", "[::2]:4"));
        for (version_command, family) in [(0x20, 0x11), (0x20, 0xff), (0x21, 0x00), (0x21, 0x31)] {
            assert_eq!(parse_binary(version_command, family, &[]), Some(None));
        }
        for (version_command, family, rest) in [
            (0x21, 0x11, &four[..11]),
            (0x21, 0x21, &six[..35]),
            (0x21, 0x12, &four[..]),
            (0x21, 0x41, &four[..]),
            (0x22, 0x11, &four[..]),
            (0x11, 0x11, &four[..]),
        ] {
            assert_eq!(parse_binary(version_command, family, rest), None, "{version_command:x} {family:x}");
        }
    }

    /// Sends pieces, and gives what was read with what is left behind it.
    async fn send(pieces: &[&[u8]]) -> (Result<Said, NoHeader>, Vec<u8>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let write = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let (_, found) = tokio::join!(write, read(&mut server));
        let mut rest = Vec::new();
        let _ = server.read_to_end(&mut rest).await;
        (found, rest)
    }

    #[test]
    fn what_follows_a_header_is_left_alone_wherever_it_is_split() {
        run(async {
            let ends = said("192.0.2.1:56324", "198.51.100.2:443").unwrap();
            let text = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec();
            let mut binary = SIGNATURE.to_vec();
            binary.extend([0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 1, 0xbb]);
            for header in [text, binary] {
                let mut all = header.clone();
                all.extend(b"GET / HTTP/1.1\r\n");
                for split in 1..all.len() {
                    let (found, rest) = send(&[&all[..split], &all[split..]]).await;
                    assert_eq!(found.unwrap(), ends, "{split}");
                    assert_eq!(rest, b"GET / HTTP/1.1\r\n", "{split}");
                }
                for cut in 1..header.len() {
                    let (found, _) = send(&[&header[..cut]]).await;
                    assert!(matches!(found, Err(NoHeader::Malformed)), "{cut}: {found:?}");
                }
            }
            assert!(matches!(send(&[]).await.0, Err(NoHeader::Closed)));
        });
    }

    #[test]
    fn headers_have_an_end() {
        run(async {
            let line = |length: usize| [b"PROXY UNKNOWN ", &vec![b'x'; length - 16][..], b"\r\n"].concat();
            assert!(matches!(send(&[&line(MAX_TEXT)]).await.0, Ok(None)));
            assert!(matches!(send(&[&line(MAX_TEXT + 1)]).await.0, Err(NoHeader::Malformed)));
            let binary = |length: u16| {
                let mut header = SIGNATURE.to_vec();
                header.extend([0x20, 0]);
                header.extend(length.to_be_bytes());
                header.resize(FIXED + usize::from(length), 0);
                header
            };
            let most = (MAX_BINARY - FIXED) as u16;
            assert!(matches!(send(&[&binary(most)]).await.0, Ok(None)));
            assert!(matches!(send(&[&binary(most + 1)]).await.0, Err(NoHeader::Malformed)));
            assert!(matches!(send(&[b"GET / HTTP/1.1\r\n\r\n"]).await.0, Err(NoHeader::Malformed)));
            assert!(matches!(send(&[b"P"]).await.0, Err(NoHeader::Malformed)));
        });
    }
}
