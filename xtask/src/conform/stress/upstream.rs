//! What requests are forwarded to: it answers at once, or after a second, and keeps connections.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::subject::stand_back;

/// Where the answer comes at once.
pub(super) const QUICK: &str = "/quick";
/// Where the answer takes its time.
pub(super) const SLOW: &str = "/slow";
/// Where the answer has 256 KiB, which no socket and no window takes at once from somebody who does not read.
pub(super) const BIG: &str = "/big";

static BIG_BODY: [u8; 256 << 10] = [b'x'; 256 << 10];

/// Starts it on a thread of its own, which ends with the process; with `stands_back` it has what others leave of the core.
pub(super) fn start(stands_back: bool) -> Result<SocketAddr, String> {
    let failed = |error: std::io::Error| format!("the upstream: {error}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    std::thread::spawn(move || {
        if stands_back {
            // Without it it is in the way, which is seen.
            let _ = stand_back();
        }
        runtime.block_on(async {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            loop {
                match listener.accept().await {
                    // Whoever goes away does so in the midst of something.
                    Ok((stream, _)) => _ = tokio::spawn(async { serve(stream).await }),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::new();
    loop {
        let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else {
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
        input.drain(..end + 4);
        // Bodies have a length here.
        let mut left = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())
            .unwrap_or(0);
        while left > input.len() {
            left -= input.len();
            input.clear();
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
        input.drain(..left);
        let path = head.split_whitespace().nth(1).unwrap_or("").to_owned();
        if path == SLOW {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let body = if path == BIG { &BIG_BODY[..] } else { &BIG_BODY[..100] };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        // In one piece: small ones are not to wait for an acknowledgement.
        let first = body.len().min(100);
        stream.write_all(&[head.as_bytes(), &body[..first]].concat()).await?;
        stream.write_all(&body[first..]).await?;
    }
}
