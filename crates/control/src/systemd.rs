//! What systemd wants to hear (`sd_notify(3)`), and the sockets that it opens for us (`sd_listen_fds(3)`). Without
//! systemd nothing happens.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::time::{ClockId, clock_gettime};

use crate::state::State;

/// Ready, with our process id: after an upgrade it is another one than systemd knows.
pub(crate) fn ready() {
    notify(&format!("READY=1\nMAINPID={}", std::process::id()));
}

/// A reload begins; [`ready`] says that it is over.
pub(crate) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec as i128 * 1_000_000 + now.tv_nsec as i128 / 1_000;
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// The stop begins.
pub(crate) fn stopping() {
    notify("STOPPING=1");
}

/// The sockets that systemd opened for this process, with names that say nothing.
pub(crate) fn sockets() -> Vec<(String, TcpListener)> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        match passed.take_tcp_listener(index) {
            Ok(Some(socket)) => {
                // Programs that we start have no business with it.
                let _ = fcntl_setfd(socket.as_fd(), FdFlags::CLOEXEC);
                sockets.push((String::new(), socket));
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, index, "a socket of systemd is no listening TCP socket"),
        }
    }
    sockets
}

/// Tells systemd's watchdog that we live, for as long as every worker answers.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn watchdog(state: Arc<State>) -> io::Result<()> {
    let variable = |name| std::env::var(name).ok();
    let own = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let limit = variable("WATCHDOG_USEC").and_then(|micros| micros.parse().ok()).map(Duration::from_micros);
    let Some(half) = limit.filter(|limit| own && !limit.is_zero()).map(|limit| limit / 2) else {
        return Ok(());
    };
    std::thread::Builder::new().name("polygate-watchdog".to_owned()).spawn(move || {
        loop {
            // A process that stops has until its time limit, whatever its workers still do.
            if state.is_stopping() || state.gateway().is_none_or(|gateway| gateway.answers(half / 2)) {
                notify("WATCHDOG=1");
            }
            std::thread::sleep(half / 2);
        }
    })?;
    Ok(())
}

fn notify(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    // Who does not listen has lost nothing.
    let _ = send(address.as_bytes(), state.as_bytes());
}

fn send(address: &[u8], state: &[u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    match address.split_first() {
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.send_to_addr(state, &address)?;
        }
        _ => {
            socket.send_to(state, std::ffi::OsStr::from_bytes(address))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_addresses_are_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut buffer = [0; 64];
        send(path.as_os_str().as_bytes(), b"READY=1").unwrap();
        let count = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"READY=1");
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            let name = format!("polygate-test-{}", std::process::id());
            let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
            let listener = UnixDatagram::bind_addr(&address).unwrap();
            send(format!("@{name}").as_bytes(), b"STOPPING=1").unwrap();
            let count = listener.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"STOPPING=1");
        }
    }
}
