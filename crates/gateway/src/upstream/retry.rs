//! Whether and with what a request may be tried again. No I/O and no clock of its own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use polygate_pipeline::{Body, BodyStream, Bytes, Failure, Frame, Headers, Known, Method, Reason, Response};
use polygate_plan::{Retries, RetryOn};
use tokio::time::Instant;

/// Retries that can be saved up.
const MAX_SAVED: u32 = 1000;
/// What one retry costs; a request pays in the budget's percentage.
const PRICE: u32 = 100;
/// A wait before a retry is never longer.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// RFC 9110 9.2.2.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// What a try's outcome is as a cause of another one.
pub(super) fn cause(outcome: &Result<Response, Failure>) -> Option<RetryOn> {
    match outcome {
        Ok(response) => Some(RetryOn::Status(response.status)),
        Err(failure) => match failure.reason() {
            Reason::UpstreamRefused | Reason::UpstreamConnectTimeout | Reason::UpstreamTls => {
                Some(RetryOn::ConnectFailure)
            }
            Reason::UpstreamClosed => Some(RetryOn::Reset),
            Reason::UpstreamTimeout => Some(RetryOn::Timeout),
            _ => None,
        },
    }
}

/// Whether the request may be sent once more after that outcome: it is harmless to repeat, or nothing of it was sent.
pub(super) fn is_safe(outcome: &Result<Response, Failure>, method: &Method) -> bool {
    is_idempotent(method) || outcome.as_ref().is_err_and(Failure::is_retryable)
}

/// How long to wait before the retry of that number, from 1 on: drawn from nothing to twice the mean, which doubles.
pub(super) fn backoff(mean: Duration, number: u32, random: f64) -> Duration {
    let doublings = number.saturating_sub(1).min(16);
    (mean.saturating_mul(1 << doublings).min(MAX_BACKOFF / 2) * 2).mul_f64(random.clamp(0.0, 1.0))
}

/// `Retry-After` in seconds (RFC 9110 10.2.3); a date is not waited for.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let value = std::str::from_utf8(response.headers.get("retry-after")?).ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// An upstream's retry budget on one worker: each request pays in a part of a retry, each retry takes one out.
#[derive(Debug, Default)]
pub(super) struct Budget {
    saved: Cell<u32>,
    /// Until when the reserve was filled up; `None` before the first retry.
    filled: Cell<Option<Instant>>,
}

impl Budget {
    /// A request is sent.
    pub(super) fn pay_in(&self, retries: &Retries) {
        self.saved.set((self.saved.get() + retries.budget_percent).min(MAX_SAVED * PRICE));
    }

    /// Takes a retry out, when there is one.
    pub(super) fn take(&self, retries: &Retries, now: Instant) -> bool {
        let reserve = retries.budget_reserve.saturating_mul(PRICE);
        let saved = self.saved.get();
        let saved = match self.filled.get() {
            None => {
                self.filled.set(Some(now));
                saved.saturating_add(reserve)
            }
            Some(filled) => {
                let seconds = now.saturating_duration_since(filled).as_secs();
                self.filled.set(Some(filled + Duration::from_secs(seconds)));
                // One a second comes back, up to the reserve.
                let back = (seconds.min(u64::from(MAX_SAVED)) as u32).saturating_mul(PRICE);
                saved.max(saved.saturating_add(back).min(reserve))
            }
        };
        let left = saved.checked_sub(PRICE);
        self.saved.set(left.unwrap_or(saved));
        left.is_some()
    }
}

/// A request's body in a form that can be sent more than once, as far as that is possible.
pub(super) enum Repeat {
    /// It is in memory.
    Whole(Bytes),
    /// There is none.
    Empty,
    /// It streams, and what was read is kept.
    Kept(Rc<RefCell<Kept>>),
    /// It streams and can be sent only if nothing was read from it.
    Once,
}

/// A streaming body with what was read from it.
pub(super) struct Kept {
    rest: Body,
    frames: VecDeque<Bytes>,
    trailers: Option<Headers>,
    bytes: u64,
    cap: u64,
    /// More than the cap was read: the frames are gone.
    overflowed: bool,
    ended: bool,
}

impl Repeat {
    /// Looks at a body and, if `keep` says so and it streams, puts one in its place that keeps what is read.
    pub(super) fn of(body: &mut Body, keep: Option<u64>) -> Self {
        if let Some(bytes) = body.as_full() {
            return Self::Whole(bytes.clone());
        }
        if body.is_empty() {
            return Self::Empty;
        }
        // A body that is known to be longer need not be kept at all.
        match keep.filter(|&cap| cap > 0 && body.length().is_none_or(|length| length <= cap)) {
            Some(cap) => {
                let rest = std::mem::take(body);
                let kept = Rc::new(RefCell::new(Kept {
                    rest,
                    frames: VecDeque::new(),
                    trailers: None,
                    bytes: 0,
                    cap,
                    overflowed: false,
                    ended: false,
                }));
                *body = Reader::body(&kept);
                Self::Kept(kept)
            }
            None => Self::Once,
        }
    }

    /// The body once more; `None` when it cannot be had. `left` is what the try has left of it.
    pub(super) fn again(&self, left: Body, taken: bool) -> Option<Body> {
        match self {
            Self::Whole(bytes) => Some(Body::full(bytes.clone())),
            Self::Empty => Some(Body::empty()),
            Self::Kept(kept) => (!kept.borrow().overflowed).then(|| Reader::body(kept)),
            Self::Once => (!taken).then_some(left),
        }
    }
}

/// Reads a kept body from its beginning.
struct Reader {
    kept: Rc<RefCell<Kept>>,
    next: usize,
    length: Option<u64>,
    trailers_read: bool,
}

impl Reader {
    fn body(kept: &Rc<RefCell<Kept>>) -> Body {
        let length = {
            let kept = kept.borrow();
            if kept.ended { Some(kept.bytes) } else { kept.rest.length().map(|rest| rest + kept.bytes) }
        };
        Body::stream(Self { kept: kept.clone(), next: 0, length, trailers_read: false })
    }
}

impl BodyStream for Reader {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        let mut kept = self.kept.borrow_mut();
        if let Some(frame) = kept.frames.get(self.next) {
            self.next += 1;
            self.length = self.length.map(|length| length.saturating_sub(frame.len() as u64));
            return Poll::Ready(Some(Ok(Frame::Data(frame.clone()))));
        }
        if kept.ended {
            let trailers =
                kept.trailers.clone().filter(|_| !std::mem::replace(&mut self.trailers_read, true));
            return Poll::Ready(trailers.map(|fields| Ok(Frame::Trailers(fields))));
        }
        let polled = kept.rest.poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                kept.bytes += data.len() as u64;
                self.length = self.length.map(|length| length.saturating_sub(data.len() as u64));
                if kept.bytes > kept.cap {
                    kept.overflowed = true;
                    kept.frames.clear();
                    self.next = 0;
                } else {
                    kept.frames.push_back(data.clone());
                    self.next += 1;
                }
            }
            Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => {
                self.trailers_read = true;
                kept.trailers = Some(fields.clone());
            }
            Poll::Ready(None) => kept.ended = true,
            // A body that broke cannot be had again.
            Poll::Ready(Some(Err(_))) => kept.overflowed = true,
            Poll::Pending => {}
        }
        polled
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

/// `Known::Cookie` values of a request, taken apart: the value of the cookie of that name.
pub(super) fn cookie<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    headers.all_known(Known::Cookie).flat_map(|line| line.split(|&b| b == b';')).find_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|&b| b == b'=')?;
        (pair[..at] == *name.as_bytes()).then(|| &pair[at + 1..])
    })
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use polygate_pipeline::StatusCode;

    use super::*;

    #[test]
    fn budgets_are_a_percentage_and_a_reserve() {
        let retries = Retries { budget_percent: 20, budget_reserve: 2, ..Retries::default() };
        let budget = Budget::default();
        let start = Instant::now();
        assert!(budget.take(&retries, start) && budget.take(&retries, start), "the reserve");
        assert!(!budget.take(&retries, start));
        for _ in 0..10 {
            budget.pay_in(&retries);
        }
        assert!(budget.take(&retries, start) && budget.take(&retries, start), "20 % of ten");
        assert!(!budget.take(&retries, start));
        let later = start + Duration::from_millis(1500);
        assert!(budget.take(&retries, later), "one a second");
        assert!(!budget.take(&retries, later));
        assert!(budget.take(&retries, start + Duration::from_secs(2)), "half seconds are not lost");
        let much_later = start + Duration::from_secs(1000);
        assert!(budget.take(&retries, much_later) && budget.take(&retries, much_later));
        assert!(!budget.take(&retries, much_later), "no more than the reserve comes back");
        let none = Retries { budget_percent: 0, budget_reserve: 0, ..retries };
        let budget = Budget::default();
        budget.pay_in(&none);
        assert!(!budget.take(&none, start) && !budget.take(&none, much_later));
    }

    #[test]
    fn only_what_is_safe_is_repeated() {
        let failed = |reason| Err::<Response, _>(Failure::new(reason));
        let unsent = Err::<Response, _>(Failure::new(Reason::UpstreamClosed).retryable());
        assert!(is_safe(&failed(Reason::UpstreamClosed), &Method::PUT));
        assert!(!is_safe(&failed(Reason::UpstreamClosed), &Method::POST));
        assert!(!is_safe(&failed(Reason::UpstreamClosed), &Method::PATCH));
        assert!(is_safe(&unsent, &Method::POST));
        assert!(!is_safe(&Ok(Response::new(StatusCode::SERVICE_UNAVAILABLE)), &Method::POST));
        assert_eq!(cause(&failed(Reason::UpstreamTls)), Some(RetryOn::ConnectFailure));
        assert_eq!(cause(&failed(Reason::UpstreamTimeout)), Some(RetryOn::Timeout));
        assert_eq!(cause(&failed(Reason::UpstreamProtocol)), None, "what it says would not get better");
        assert_eq!(cause(&failed(Reason::BodyTimeout)), None, "the client's fault");
    }

    #[test]
    fn waits_double_and_end() {
        let mean = Duration::from_millis(25);
        assert_eq!(backoff(mean, 1, 0.5), mean);
        assert_eq!(backoff(mean, 3, 0.5), 4 * mean);
        assert_eq!(backoff(mean, 1, 0.0), Duration::ZERO);
        assert_eq!(backoff(mean, 60, 1.0), MAX_BACKOFF);
        assert_eq!(backoff(Duration::ZERO, 5, 1.0), Duration::ZERO);
    }

    struct Parts(Vec<Frame>);

    impl BodyStream for Parts {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
            Poll::Ready((!self.0.is_empty()).then(|| Ok(self.0.remove(0))))
        }
    }

    fn next(body: &mut Body) -> Option<String> {
        match body.poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(Frame::Data(data)))) => Some(String::from_utf8(data.to_vec()).unwrap()),
            Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => Some(format!("{} trailers", fields.len())),
            Poll::Ready(None) => None,
            other => panic!("{other:?}"),
        }
    }

    fn stream() -> Body {
        let mut trailers = Headers::new();
        trailers.append("x-sum", b"1").unwrap();
        let data = |text: &'static str| Frame::Data(Bytes::from_static(text.as_bytes()));
        Body::stream(Parts(vec![data("ab"), data("cd"), Frame::Trailers(trailers)]))
    }

    #[test]
    fn a_kept_body_is_read_again_from_its_beginning() {
        let mut first = stream();
        let repeat = Repeat::of(&mut first, Some(4));
        assert_eq!(next(&mut first).as_deref(), Some("ab"));
        let mut second = repeat.again(Body::empty(), true).unwrap();
        drop(first);
        let all: Vec<_> = std::iter::from_fn(|| next(&mut second)).collect();
        assert_eq!(all, ["ab", "cd", "1 trailers"]);
        let mut third = repeat.again(Body::empty(), true).unwrap();
        assert_eq!(third.length(), Some(4));
        let all: Vec<_> = std::iter::from_fn(|| next(&mut third)).collect();
        assert_eq!(all, ["ab", "cd", "1 trailers"]);
    }

    #[test]
    fn a_body_beyond_the_cap_is_sent_once() {
        let mut body = stream();
        let repeat = Repeat::of(&mut body, Some(3));
        let all: Vec<_> = std::iter::from_fn(|| next(&mut body)).collect();
        assert_eq!(all, ["ab", "cd", "1 trailers"]);
        assert!(repeat.again(Body::empty(), true).is_none());
        let mut body = stream();
        let repeat = Repeat::of(&mut body, None);
        assert!(matches!(repeat, Repeat::Once));
        assert!(repeat.again(Body::empty(), true).is_none());
        assert!(repeat.again(body, false).is_some(), "nothing was read");
    }

    #[test]
    fn cookies_are_taken_apart() {
        let mut headers = Headers::new();
        headers.append("Cookie", b"a=1; b=x=y;c").unwrap();
        headers.append("cookie", b"d=").unwrap();
        assert_eq!(cookie(&headers, "b"), Some(&b"x=y"[..]));
        assert_eq!(cookie(&headers, "d"), Some(&b""[..]));
        assert_eq!((cookie(&headers, "c"), cookie(&headers, "A")), (None, None));
    }
}
