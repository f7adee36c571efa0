//! Distributed traces: the context of an exchange (W3C Trace Context), its way into the requests that the exchange
//! sends, and a record of each of them. An exchange has none when nobody exports traces.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::time::Duration;

use crate::{Exchange, Failure, Headers, Reason, Request, Response};

/// Calls of one exchange that are recorded; further ones carry the context, but get no span.
const MAX_CALLS: usize = 128;

/// Bytes of a `tracestate` that are kept (W3C Trace Context 3.3.1.5).
const MAX_STATE: usize = 512;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// Where an exchange stands in its trace.
#[derive(Debug)]
pub struct Trace {
    trace: u128,
    span: u64,
    parent: Option<u64>,
    sampled: bool,
    state: Option<String>,
    next: Cell<u64>,
    calls: RefCell<Vec<CallRecord>>,
}

/// What a client said of the trace that its request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    trace: u128,
    span: u64,
    sampled: bool,
}

impl Parent {
    /// Reads `traceparent`; `None` when there is none, several, or one that is malformed: a new trace begins then.
    pub fn of(headers: &Headers) -> Option<Self> {
        let mut values = headers.get_all(PARENT);
        let (value, None) = (values.next()?, values.next()) else { return None };
        let value = std::str::from_utf8(value).ok()?;
        let (version, rest) = value.split_at_checked(2)?;
        // Later versions may say more, after a further dash.
        let ends = rest.len() == 53 || (version != "00" && rest.as_bytes().get(53) == Some(&b'-'));
        if !ends || version == "ff" || hex(version).is_none() {
            return None;
        }
        let mut fields = rest.get(..53)?.strip_prefix('-')?.split('-');
        let mut field = |length| fields.next().filter(|text| text.len() == length).and_then(hex);
        let (trace, span, flags) = (field(32)?, field(16)?, field(2)?);
        let parent = Self { trace, span: span as u64, sampled: flags & 1 == 1 };
        (trace != 0 && span != 0).then_some(parent)
    }
}

/// Lower-case hexadecimal digits.
fn hex(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if digits { u128::from_str_radix(text, 16).ok() } else { None }
}

impl Trace {
    /// Continues a client's trace, or begins one, of which `ratio` (0 to 1) are sampled. `random` makes the ids.
    pub fn begin(parent: Option<Parent>, headers: &Headers, ratio: f64, random: (u128, u64)) -> Self {
        let (trace, span) = (random.0.max(1), random.1.max(1));
        let (trace, sampled) = match parent {
            Some(parent) => (parent.trace, parent.sampled),
            None => (trace, is_sampled(trace, ratio)),
        };
        let state = parent.and_then(|_| {
            let joined: Vec<&str> =
                headers.get_all(STATE).filter_map(|value| std::str::from_utf8(value).ok()).collect();
            let joined = joined.join(",");
            (sampled && !joined.is_empty() && joined.len() <= MAX_STATE).then_some(joined)
        });
        Self {
            trace,
            span,
            parent: parent.map(|parent| parent.span),
            sampled,
            state,
            next: Cell::new(0),
            calls: RefCell::default(),
        }
    }

    /// The trace's id.
    pub fn id(&self) -> u128 {
        self.trace
    }

    /// The id of the exchange's own span.
    pub fn span(&self) -> u64 {
        self.span
    }

    /// The span that the client's request came from.
    pub fn parent(&self) -> Option<u64> {
        self.parent
    }

    /// Whether spans are recorded.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// What other tracing systems had to say.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The id of the span of the layer at `index`. It follows from the exchange's own, so that nothing is kept for it.
    pub fn layer_span(&self, index: usize) -> u64 {
        self.derived(index as u64)
    }

    /// Takes the calls that were made.
    pub fn take_calls(&self) -> Vec<CallRecord> {
        self.calls.take()
    }

    fn derived(&self, number: u64) -> u64 {
        // SplitMix64: a bijection of `number`, so no two spans of an exchange are alike.
        let mut z = self.span.wrapping_add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).max(1)
    }

    /// Spans of calls are numbered behind those that layers can have.
    fn next_call(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        self.derived((1 << 32) + number)
    }
}

/// Decides by the trace's id, so that all who sample this share of traces keep the same ones.
fn is_sampled(trace: u128, ratio: f64) -> bool {
    ratio >= 1.0 || (trace as u64) >> 1 < (ratio * (1u64 << 63) as f64) as u64
}

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller<'a> {
    /// The handler forwards: one try of possibly several.
    Handler,
    /// The policy of this name, by itself.
    Policy(Option<&'a str>),
}

/// A request that an exchange sent, or tried to.
#[derive(Debug, Clone)]
pub struct CallRecord {
    /// Its span's id.
    pub span: u64,
    /// The span of the layer that sent it.
    pub parent: u64,
    /// When it was begun, from the exchange's beginning.
    pub begun: Duration,
    /// When the response's head was there, or it was clear that none comes.
    pub ended: Duration,
    /// The method.
    pub method: http::Method,
    /// The URL without query.
    pub url: String,
    /// The host that was asked.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How many tries of the handler came before it.
    pub resends: u32,
    /// The response's status.
    pub status: Option<u16>,
    /// Why there is no response; `None` also for one that was given up.
    pub failure: Option<Reason>,
}

/// A call under way. Dropped, it counts as given up.
#[must_use = "a call that is dropped at once has no duration"]
pub struct Call {
    exchange: Exchange,
    /// Its place among the recorded ones.
    index: Option<usize>,
    over: bool,
}

impl Call {
    /// Begins a call: writes the context into the request. `None` when the exchange has no trace.
    pub fn begin(exchange: &Exchange, request: &mut Request, caller: Caller<'_>) -> Option<Self> {
        let trace = exchange.trace()?;
        let span = if trace.sampled { trace.next_call() } else { trace.span };
        let mut value = String::with_capacity(55);
        let flags = u8::from(trace.sampled);
        let _ = write!(value, "00-{:032x}-{span:016x}-{flags:02x}", trace.trace);
        // Name and value are well-formed as they stand.
        let _ = request.headers.set(PARENT, value.as_bytes());
        if trace.parent.is_none() {
            // It belongs to a context that was not understood.
            request.headers.remove(STATE);
        }
        let mut calls = trace.calls.borrow_mut();
        let index = (trace.sampled && calls.len() < MAX_CALLS).then_some(calls.len());
        if index.is_some() {
            let steps = exchange.steps();
            let layer = match caller {
                Caller::Handler => steps.len().checked_sub(1),
                Caller::Policy(name) => steps.iter().rposition(|step| name == Some(&*step.policy)),
            };
            let parent = layer.map_or(trace.span, |layer| trace.layer_span(layer));
            let tries = |call: &&CallRecord| call.parent == parent;
            let resends = match caller {
                Caller::Handler => calls.iter().filter(tries).count() as u32,
                Caller::Policy(_) => 0,
            };
            let target = &request.target;
            let begun = exchange.elapsed();
            calls.push(CallRecord {
                span,
                parent,
                begun,
                ended: begun,
                method: request.method.clone(),
                url: format!("{}://{}{}", target.scheme().as_str(), target.authority(), target.path()),
                host: target.host().to_owned(),
                port: target.port(),
                resends,
                status: None,
                failure: None,
            });
        }
        drop(calls);
        Some(Self { exchange: exchange.clone(), index, over: false })
    }

    /// The call is over: its response's head is there, or it failed.
    pub fn end(mut self, result: &Result<Response, Failure>) {
        self.over = true;
        self.settle(Some(result));
    }

    fn settle(&self, result: Option<&Result<Response, Failure>>) {
        let (Some(trace), Some(index)) = (self.exchange.trace(), self.index) else { return };
        if let Some(record) = trace.calls.borrow_mut().get_mut(index) {
            record.ended = self.exchange.elapsed();
            match result {
                Some(Ok(response)) => record.status = Some(response.status.as_u16()),
                Some(Err(failure)) => record.failure = Some(failure.reason()),
                None => {}
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.over {
            self.settle(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(value: &str) -> Option<Parent> {
        Parent::of(&[("Traceparent", value)].into_iter().collect())
    }

    #[test]
    fn parents_are_read_strictly() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = parent(good).unwrap();
        assert_eq!(read.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!((read.span, read.sampled), (0xb7ad_6b71_6920_3331, true));
        assert!(!parent(&good.replace("-01", "-02")).unwrap().sampled);
        // A later version, with and without more.
        assert!(parent(&good.replace("00-0a", "cc-0a")).is_some());
        assert!(parent(&format!("{}-what-ever", good.replace("00-0a", "cc-0a"))).is_some());
        for bad in [
            "",
            "00",
            &good.replace("00-0a", "ff-0a"),
            &good.replace("00-0a", "0x-0a"),
            &good.to_uppercase(),
            &format!("{good}-more"),
            &format!("{}.more", good.replace("00-0a", "cc-0a")),
            &good.replace("b7ad6b7169203331", "0000000000000000"),
            &good.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &good.replace("-b7", "b7-"),
            &good.replace("0af7", "0äf"),
        ] {
            assert_eq!(parent(bad), None, "{bad}");
        }
        let twice: Headers = [("traceparent", good), ("traceparent", good)].into_iter().collect();
        assert_eq!(Parent::of(&twice), None);
    }

    #[test]
    fn parents_decide_and_ratios_decide_without_one() {
        let none = Headers::new();
        let begun = |ratio: f64, trace: u128| Trace::begin(None, &none, ratio, (trace, 7)).is_sampled();
        assert!(begun(1.0, u128::MAX) && begun(1.0, 1) && !begun(0.0, 0) && !begun(0.0, u128::MAX));
        let mut random = fastrand::Rng::with_seed(7);
        let sampled = (0..10_000).filter(|_| begun(0.1, random.u128(..))).count();
        assert!((800..1_200).contains(&sampled), "{sampled}");

        let value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers: Headers =
            [("traceparent", value), ("tracestate", "a=1"), ("tracestate", "b=2")].into_iter().collect();
        let trace = Trace::begin(Parent::of(&headers), &headers, 0.0, (1, 7));
        assert!(trace.is_sampled());
        assert_eq!((trace.parent(), trace.state()), (Some(0xb7ad_6b71_6920_3331), Some("a=1,b=2")));
        let ids: std::collections::HashSet<u64> =
            (0..100).map(|n| trace.layer_span(n)).chain((0..100).map(|_| trace.next_call())).collect();
        assert_eq!(ids.len(), 200);
    }
}
