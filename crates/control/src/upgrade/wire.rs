//! What passes over the upgrade socket: lines of text, and listening sockets as file descriptors (`SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Bytes of a line.
const MAX_LINE: usize = 64 << 10;

/// Descriptors in one message; the kernel takes 253 at most.
const BATCH: usize = 64;

/// Descriptors that come are not handed on to programs that we start; where the kernel cannot see to that, it is done
/// afterwards.
#[cfg(not(target_vendor = "apple"))]
const FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(target_vendor = "apple")]
const FLAGS: RecvFlags = RecvFlags::empty();

/// One connection of two processes.
pub(super) struct Wire(UnixStream);

impl Wire {
    /// Over this stream; the other side may take so long for each step.
    pub(super) fn new(stream: UnixStream, patience: Duration) -> io::Result<Self> {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self(stream))
    }

    /// From now on the other side may take so long to say something.
    pub(super) fn wait(&self, patience: Duration) -> io::Result<()> {
        self.0.set_read_timeout(Some(patience))
    }

    /// Says one line.
    pub(super) fn say(&mut self, line: &str) -> io::Result<()> {
        debug_assert!(!line.contains('\n'), "one line: {line:?}");
        self.0.write_all(format!("{line}\n").as_bytes())
    }

    /// The other side's next line; `None` when it has hung up.
    pub(super) fn hear(&mut self) -> io::Result<Option<String>> {
        // Byte by byte: what follows may have descriptors with it, which a plain read would lose.
        let (mut line, mut byte) = (Vec::new(), [0]);
        while line.len() < MAX_LINE {
            match self.0.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) if byte[0] == b'\n' => {
                    return String::from_utf8(line).map(Some).map_err(|_| io::ErrorKind::InvalidData.into());
                }
                Ok(_) => line.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"))
    }

    /// Gives sockets away; ours stay open.
    pub(super) fn give(&mut self, sockets: &[TcpListener]) -> io::Result<()> {
        for batch in sockets.chunks(BATCH) {
            let descriptors: Vec<_> = batch.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
            let mut rights = SendAncillaryBuffer::new(&mut space);
            if !rights.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(io::Error::other("too many sockets for one message"));
            }
            // Descriptors travel with at least one byte.
            sendmsg(&self.0, &[IoSlice::new(b".")], &mut rights, SendFlags::empty())?;
        }
        Ok(())
    }

    /// Takes so many sockets.
    pub(super) fn take(&mut self, count: usize) -> io::Result<Vec<TcpListener>> {
        let mut sockets = Vec::new();
        while sockets.len() < count {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
            let mut rights = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let mut into = [IoSliceMut::new(&mut byte)];
            let got = recvmsg(&self.0, &mut into, &mut rights, FLAGS)?;
            let before = sockets.len();
            for message in rights.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    sockets.extend(descriptors.map(|descriptor: OwnedFd| {
                        #[cfg(target_vendor = "apple")]
                        let _ = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC);
                        TcpListener::from(descriptor)
                    }));
                }
            }
            if got.bytes == 0 || sockets.len() == before {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "sockets are missing"));
            }
        }
        Ok(sockets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_sockets_pass() {
        let (one, other) = UnixStream::pair().unwrap();
        let patience = Duration::from_secs(10);
        let (mut one, mut other) = (Wire::new(one, patience).unwrap(), Wire::new(other, patience).unwrap());
        // More than one message can carry.
        let mut sockets: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        for _ in 0..BATCH {
            sockets.push(sockets[0].try_clone().unwrap());
        }
        one.say("sockets").unwrap();
        one.give(&sockets).unwrap();
        one.say("and on").unwrap();
        assert_eq!(other.hear().unwrap().as_deref(), Some("sockets"));
        let taken = other.take(sockets.len()).unwrap();
        let address = |socket: &TcpListener| socket.local_addr().unwrap();
        assert_eq!(
            taken.iter().map(address).collect::<Vec<_>>(),
            sockets.iter().map(address).collect::<Vec<_>>()
        );
        assert_eq!(other.hear().unwrap().as_deref(), Some("and on"));
        // The very sockets: they take connections when the giver's own are closed.
        drop(sockets);
        std::net::TcpStream::connect(address(&taken[2])).unwrap();
        drop(one);
        assert_eq!(other.hear().unwrap(), None);
        assert!(other.take(1).is_err());
    }
}
