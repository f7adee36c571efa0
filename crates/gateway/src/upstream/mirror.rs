//! Copies of requests for another upstream. They never hold up the request, and nobody waits for their answers.

use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use polygate_pipeline::{Body, BodyStream, Bytes, Failure, Frame, Request};
use polygate_plan::Mirror;
use tokio::time::timeout;

use super::named::Named;

/// So much of an answer is read, so that its connection can be used again.
const MAX_ANSWER: usize = 1 << 20;

/// A copy on its way.
struct Copy {
    from: Rc<Named>,
    to: Rc<Named>,
    request: Request,
    search: bool,
    client: IpAddr,
}

impl Named {
    /// Sends a copy of the request to `shadow` as well, at once or when its body was read; or not at all, when a cap
    /// is reached.
    pub(super) fn copy(
        self: &Rc<Self>,
        request: &mut Request,
        search: bool,
        client: IpAddr,
        shadow: &Weak<Named>,
        mirror: &Mirror,
    ) {
        if mirror.percent < 100 && fastrand::u8(..100) >= mirror.percent {
            return;
        }
        let vitals = self.vitals();
        let fits = request.body.length().is_none_or(|length| length <= mirror.body.bytes());
        let Some(to) = shadow.upgrade().filter(|_| fits && vitals.mirroring.get() < mirror.in_flight as u64)
        else {
            vitals.unmirrored.add(1);
            return;
        };
        vitals.mirroring.add(1);
        let mut copy = Copy { from: self.clone(), to, request: request.clone_head(), search, client };
        copy.request.upgrade = None;
        if let Some(bytes) = request.body.as_full() {
            copy.request.body = Body::full(bytes.clone());
        } else if !request.body.is_empty() {
            let body = std::mem::take(&mut request.body);
            let tee = Tee { body, copy: Some(copy), read: Vec::new(), left: mirror.body.bytes() };
            request.body = Body::stream(tee);
            return;
        }
        copy.start();
    }
}

impl Copy {
    fn start(self) {
        tokio::task::spawn_local(self.send());
    }

    async fn send(mut self) {
        let to = self.to.clone();
        let key = to.key(&self.request, self.client);
        let sent = to.run(&mut self.request, self.search, key, None).await;
        let count = if sent.is_ok() { &self.from.vitals().mirrored } else { &self.from.vitals().unmirrored };
        count.add(1);
        let Ok(mut response) = sent else { return };
        let drained = async {
            let mut read = 0;
            while let Some(Ok(frame)) = response.body.frame().await {
                if let Frame::Data(data) = frame {
                    read += data.len();
                }
                if read > MAX_ANSWER {
                    return;
                }
            }
        };
        // What is not read by then closes its connection.
        let _ = timeout(self.to.connection().response, drained).await;
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.from.vitals().mirroring.sub(1);
    }
}

/// A body on its way to the upstream, of which a copy is kept until its end.
struct Tee {
    body: Body,
    copy: Option<Copy>,
    read: Vec<Bytes>,
    /// Bytes that may still be kept.
    left: u64,
}

impl Tee {
    fn give_up(&mut self) {
        if let Some(copy) = self.copy.take() {
            copy.from.vitals().unmirrored.add(1);
        }
        self.read = Vec::new();
    }
}

impl Tee {
    fn complete(&mut self) {
        if let Some(mut copy) = self.copy.take() {
            copy.request.body = Body::full(std::mem::take(&mut self.read).concat());
            copy.start();
        }
    }
}

impl BodyStream for Tee {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        let polled = self.body.poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(Frame::Data(data)))) if self.copy.is_some() => {
                match self.left.checked_sub(data.len() as u64) {
                    Some(left) => {
                        self.left = left;
                        self.read.push(data.clone());
                    }
                    None => self.give_up(),
                }
            }
            Poll::Ready(Some(Err(_))) => self.give_up(),
            Poll::Ready(None) => self.complete(),
            _ => {}
        }
        // Who knows the length does not ask for what follows its last byte.
        if matches!(polled, Poll::Ready(Some(Ok(_)))) && self.body.length() == Some(0) {
            self.complete();
        }
        polled
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.give_up();
    }
}
