//! Which exchanges are traced, and what is told of them when they are over. Spans are made of it elsewhere, off the
//! workers.

use polygate_pipeline::{CallRecord, Exchange, Parent, Request, Trace};

use crate::record::ExchangeRecord;

/// Which exchanges are traced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tracing {
    /// Share of the traces begun here that are sampled, 0 to 1.
    pub sample: f64,
    /// Whether the trace of any client is continued, and not of trusted proxies alone.
    pub trust_parents: bool,
}

/// A traced exchange that is over.
#[derive(Debug)]
pub struct TraceRecord {
    /// The trace's id.
    pub trace: u128,
    /// The id of the exchange's own span.
    pub span: u64,
    /// The client's span.
    pub parent: Option<u64>,
    /// What other tracing systems had to say (`tracestate`).
    pub state: Option<String>,
    /// Ids of the layers' spans, in the order of the exchange's steps.
    pub layers: Vec<u64>,
    /// Whether the client's connection was encrypted.
    pub tls: bool,
    /// The exchange.
    pub exchange: ExchangeRecord,
    /// Requests that it sent.
    pub calls: Vec<CallRecord>,
}

impl Tracing {
    /// Continues the trace of a request, or begins one.
    pub(crate) fn begin(&self, request: &Request, trusted: bool, random: &mut fastrand::Rng) -> Box<Trace> {
        let parent = if trusted || self.trust_parents { Parent::of(&request.headers) } else { None };
        let ids = (random.u128(1..), random.u64(1..));
        Box::new(Trace::begin(parent, &request.headers, self.sample, ids))
    }
}

impl TraceRecord {
    /// What is told of an exchange that is over; `None` when it is not sampled.
    pub(crate) fn of(exchange: &Exchange, record: impl FnOnce() -> ExchangeRecord) -> Option<Box<Self>> {
        let trace = exchange.trace().filter(|trace| trace.is_sampled())?;
        let record = record();
        Some(Box::new(Self {
            trace: trace.id(),
            span: trace.span(),
            parent: trace.parent(),
            state: trace.state().map(str::to_owned),
            layers: (0..record.steps.len()).map(|index| trace.layer_span(index)).collect(),
            tls: exchange.client().tls.is_some(),
            exchange: record,
            calls: trace.take_calls(),
        }))
    }
}
