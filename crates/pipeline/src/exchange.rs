//! The exchange: one request and its response, with what plugins of all worlds share about it.

use std::any::{Any, TypeId};
use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::Method;
use serde::Serialize;
use smallvec::SmallVec;

use crate::xray::Xray;
use crate::{
    Failure, Interim, LogLevel, LogLine, Reason, Services, StepRecord, Target, Tls, Trace, Version, clock,
};

/// A world's own state of an exchange: one world is usual.
type Extension = (TypeId, Rc<dyn Any>);

/// A request's id: a version 4 UUID in its 36-character form, or what a trusted client sent in its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    text: [u8; Self::MAX],
    len: u8,
}

/// The form of a UUID.
const UUID: &[u8; 36] = b"........-....-....-....-............";

/// Where the digits of each of its bytes stand.
const UUID_BYTES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// The two digits of each byte.
static HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 0xf]];
        byte += 1;
    }
    table
};

impl RequestId {
    /// Longest id, in bytes.
    pub const MAX: usize = 64;

    /// A version 4 UUID of these random bits.
    pub fn from_random(bits: u128) -> Self {
        let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let mut text = [0; Self::MAX];
        text[..UUID.len()].copy_from_slice(UUID);
        for (byte, at) in bits.to_be_bytes().into_iter().zip(UUID_BYTES) {
            let [high, low] = HEX[byte as usize];
            (text[at], text[at + 1]) = (high, low);
        }
        Self { text, len: UUID.len() as u8 }
    }

    /// Somebody else's id: 1 to 64 visible ASCII characters.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > Self::MAX || !text.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut copy = [0; Self::MAX];
        copy[..text.len()].copy_from_slice(text);
        Some(Self { text: copy, len: text.len() as u8 })
    }

    /// The id's characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }

    /// The same as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len as usize]
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// Who sent the request. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Client {
    /// The address to act on: the peer's, or what a trusted proxy says.
    pub ip: IpAddr,
    /// The other end of the connection, as the PROXY protocol has it where that is spoken.
    pub peer: SocketAddr,
    /// Our end of the connection, as the PROXY protocol has it where that is spoken.
    pub local: SocketAddr,
    /// Facts of the encryption; `None` on a cleartext connection.
    pub tls: Option<Arc<Tls>>,
}

/// What plugins may know of the route that matched.
#[derive(Debug, Clone, Serialize)]
pub struct RouteInfo {
    /// The path as configured.
    pub path: String,
    /// The methods it serves.
    #[serde(serialize_with = "method_names")]
    pub methods: Vec<Method>,
    /// The operation's id.
    pub operation_id: Option<String>,
    /// The operation's summary.
    pub summary: Option<String>,
    /// The handler's module as written, and its export.
    pub handler: (String, String),
    /// Names of the inbound policies, in order.
    pub inbound: Vec<Arc<str>>,
    /// Names of the outbound policies, in order.
    pub outbound: Vec<Arc<str>>,
    /// The file that configures it, relative to the root.
    pub file: String,
    /// The whole operation as configured.
    #[serde(skip)]
    pub raw: Arc<serde_json::Value>,
    /// The metric label: methods and path, such as `GET /orders/{id}`.
    pub label: Arc<str>,
}

fn method_names<S: serde::Serializer>(methods: &[Method], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(methods.iter().map(Method::as_str))
}

/// Who the client is, as an authentication policy of any world found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Identity {
    /// The subject: consumer name, user id.
    pub subject: String,
    /// Claims, consumer metadata and the like.
    pub data: serde_json::Value,
}

/// A handle to one exchange; cloning it is cheap. Single-threaded, as everything on a worker.
#[derive(Clone)]
pub struct Exchange(Rc<Inner>);

struct Inner {
    parts: ExchangeParts,
    route: RefCell<Option<Rc<RouteInfo>>>,
    params: RefCell<Vec<(Arc<str>, String)>>,
    identity: RefCell<Option<Rc<Identity>>>,
    metadata: RefCell<BTreeMap<&'static str, serde_json::Map<String, serde_json::Value>>>,
    extensions: RefCell<SmallVec<[Extension; 1]>>,
    upstream_target: RefCell<Option<Target>>,
    upstream: RefCell<Option<Rc<str>>>,
    upstream_address: Cell<Option<SocketAddr>>,
    tries: Cell<u32>,
    failure: RefCell<Option<Failure>>,
    answered: Cell<bool>,
    steps: RefCell<Vec<StepRecord>>,
    clock: Cell<Instant>,
    subrequests: Cell<u32>,
    xray: Option<Xray>,
}

/// What an exchange begins with.
pub struct ExchangeParts {
    /// Its id.
    pub id: RequestId,
    /// When the head was complete.
    pub started: Instant,
    /// Who sent it.
    pub client: Client,
    /// The method as received.
    pub method: Method,
    /// The target as received.
    pub target: Target,
    /// The version as received.
    pub version: Version,
    /// Whether layers' edits are recorded.
    pub xray: bool,
    /// Where it stands in a trace; `None` when nobody exports traces.
    pub trace: Option<Box<Trace>>,
    /// Where interim responses go; `None` when the client cannot be sent any.
    pub interim: Option<Interim>,
    /// What plugins may reach.
    pub services: Services,
}

impl Exchange {
    /// Begins an exchange.
    pub fn new(parts: ExchangeParts) -> Self {
        let clock = Cell::new(parts.started);
        let xray = parts.xray.then(Xray::default);
        Self(Rc::new(Inner {
            parts,
            route: RefCell::default(),
            params: RefCell::default(),
            identity: RefCell::default(),
            metadata: RefCell::default(),
            extensions: RefCell::default(),
            upstream_target: RefCell::default(),
            upstream: RefCell::default(),
            upstream_address: Cell::default(),
            tries: Cell::default(),
            failure: RefCell::default(),
            answered: Cell::default(),
            steps: RefCell::default(),
            clock,
            subrequests: Cell::default(),
            xray,
        }))
    }

    /// The request's id.
    pub fn id(&self) -> &RequestId {
        &self.0.parts.id
    }

    /// When the request's head was complete.
    pub fn started(&self) -> Instant {
        self.0.parts.started
    }

    /// The time since then.
    pub fn elapsed(&self) -> Duration {
        clock::now().saturating_duration_since(self.started())
    }

    /// When that was on the wall clock.
    pub fn started_at(&self) -> SystemTime {
        clock::wall(self.0.parts.started)
    }

    /// Who sent it.
    pub fn client(&self) -> &Client {
        &self.0.parts.client
    }

    /// The method as received.
    pub fn method(&self) -> &Method {
        &self.0.parts.method
    }

    /// The target as received, whatever layers did to the request since.
    pub fn target(&self) -> &Target {
        &self.0.parts.target
    }

    /// The version as received.
    pub fn version(&self) -> Version {
        self.0.parts.version
    }

    /// Whether edits are recorded.
    pub fn xray(&self) -> bool {
        self.0.parts.xray
    }

    /// Where it stands in a trace; `None` when nobody exports traces.
    pub fn trace(&self) -> Option<&Trace> {
        self.0.parts.trace.as_deref()
    }

    /// Where interim responses go; `None` when the client cannot be sent any.
    pub fn interim(&self) -> Option<&Interim> {
        self.0.parts.interim.as_ref()
    }

    /// What plugins may reach.
    pub fn services(&self) -> &Services {
        &self.0.parts.services
    }

    /// The route that matched; `None` before routing and when none did.
    pub fn route(&self) -> Option<Rc<RouteInfo>> {
        self.0.route.borrow().clone()
    }

    /// Sets the route and its path parameters, percent-decoded.
    pub fn set_route(&self, route: Rc<RouteInfo>, params: Vec<(Arc<str>, String)>) {
        *self.0.route.borrow_mut() = Some(route);
        *self.0.params.borrow_mut() = params;
    }

    /// Path parameters in the order of the pattern, percent-decoded.
    pub fn params(&self) -> Ref<'_, [(Arc<str>, String)]> {
        Ref::map(self.0.params.borrow(), Vec::as_slice)
    }

    /// Who the client is.
    pub fn identity(&self) -> Option<Rc<Identity>> {
        self.0.identity.borrow().clone()
    }

    /// Says who the client is, or that it is not known.
    pub fn set_identity(&self, identity: Option<Identity>) {
        *self.0.identity.borrow_mut() = identity.map(Rc::new);
    }

    /// Reads or writes a world's namespace of metadata, which the log and other worlds can see.
    pub fn with_metadata<T>(
        &self,
        namespace: &'static str,
        f: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>) -> T,
    ) -> T {
        f(self.0.metadata.borrow_mut().entry(namespace).or_default())
    }

    /// A world's own state for this exchange, made on first use.
    pub fn extension<T: 'static>(&self, make: impl FnOnce() -> T) -> Rc<T> {
        if let Some(found) = self.get_extension::<T>() {
            return found;
        }
        let made = Rc::new(make());
        self.0.extensions.borrow_mut().push((TypeId::of::<T>(), made.clone()));
        made
    }

    /// A world's own state for this exchange, if it was made.
    pub fn get_extension<T: 'static>(&self) -> Option<Rc<T>> {
        let extensions = self.0.extensions.borrow();
        let (_, found) = extensions.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        found.clone().downcast().ok()
    }

    /// Chooses where a forward handler sends the request, in place of its configured target.
    pub fn set_upstream_target(&self, target: Target) {
        *self.0.upstream_target.borrow_mut() = Some(target);
    }

    /// Takes what [`set_upstream_target`](Self::set_upstream_target) chose.
    pub fn take_upstream_target(&self) -> Option<Target> {
        self.0.upstream_target.borrow_mut().take()
    }

    /// Notes the authority that the request was forwarded to.
    pub fn set_upstream(&self, authority: impl Into<Rc<str>>) {
        *self.0.upstream.borrow_mut() = Some(authority.into());
    }

    /// The authority that the request was forwarded to.
    pub fn upstream(&self) -> Option<Rc<str>> {
        self.0.upstream.borrow().clone()
    }

    /// Notes the address that the request was sent to last.
    pub fn set_upstream_address(&self, address: SocketAddr) {
        self.0.upstream_address.set(Some(address));
    }

    /// The address that the request was sent to last, or was to be sent to.
    pub fn upstream_address(&self) -> Option<SocketAddr> {
        self.0.upstream_address.get()
    }

    /// Counts one more try to forward the request.
    pub fn count_try(&self) {
        self.0.tries.set(self.0.tries.get().saturating_add(1));
    }

    /// How often the request was forwarded, or was to be: also after redirects.
    pub fn tries(&self) -> u32 {
        self.0.tries.get()
    }

    /// Counts one more request that a plugin sends for this exchange; false when `cap` are sent already.
    pub fn count_subrequest(&self, cap: u32) -> bool {
        let sent = self.0.subrequests.get();
        self.0.subrequests.set(sent.saturating_add(1));
        sent < cap
    }

    /// Notes why the exchange fails. The first failure is the one that counts.
    pub fn fail(&self, failure: &Failure) {
        self.0.failure.borrow_mut().get_or_insert_with(|| failure.clone());
    }

    /// Why the exchange failed.
    pub fn failure(&self) -> Option<Failure> {
        self.0.failure.borrow().clone()
    }

    /// Why the exchange ended as it did, as far as it is known now.
    pub fn reason(&self) -> Reason {
        match &*self.0.failure.borrow() {
            Some(failure) => failure.reason(),
            None if self.0.answered.get() => Reason::PolicyAnswered,
            None => Reason::Completed,
        }
    }

    /// Writes a log line about this exchange.
    pub fn log(&self, level: LogLevel, policy: Option<&Arc<str>>, message: impl Into<String>) {
        self.0.parts.services.log(LogLine {
            time: SystemTime::now(),
            level,
            request_id: Some(self.0.parts.id),
            policy: policy.cloned(),
            message: message.into(),
            fields: serde_json::Map::new(),
        });
    }

    /// What the layers did so far, outermost first.
    pub fn steps(&self) -> Ref<'_, [StepRecord]> {
        Ref::map(self.0.steps.borrow(), Vec::as_slice)
    }

    /// Adds CPU time that an engine measured for the step (see [`Next::step`](crate::Next::step)).
    pub fn charge(&self, step: usize, cpu: Duration) {
        if let Some(record) = self.0.steps.borrow_mut().get_mut(step) {
            record.cpu += cpu;
        }
    }

    /// The X-ray, when edits are recorded.
    pub(crate) fn xray_of(&self) -> Option<&Xray> {
        self.0.xray.as_ref()
    }

    pub(crate) fn set_answered(&self) {
        self.0.answered.set(true);
    }

    pub(crate) fn with_steps<T>(&self, f: impl FnOnce(&mut Vec<StepRecord>) -> T) -> T {
        f(&mut self.0.steps.borrow_mut())
    }

    /// Time since the clock was last read here.
    pub(crate) fn lap(&self) -> Duration {
        let now = clock::now();
        now.saturating_duration_since(self.0.clock.replace(now))
    }

    /// When the clock was last read here, from the exchange's beginning.
    pub(crate) fn lapped(&self) -> Duration {
        self.0.clock.get().saturating_duration_since(self.0.parts.started)
    }

    pub(crate) fn since_lap(&self) -> Duration {
        clock::now().saturating_duration_since(self.0.clock.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_4_uuids() {
        assert_eq!(RequestId::from_random(0).as_str(), "00000000-0000-4000-8000-000000000000");
        let counted = RequestId::from_random(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(counted.as_str(), "01234567-89ab-4def-8123-456789abcdef");
        assert_eq!(RequestId::from_random(u128::MAX).as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert!(RequestId::from_text(b"abc 1").is_none() && RequestId::from_text(&[b'a'; 65]).is_none());
        assert_eq!(RequestId::from_text(b"abc-1").unwrap().as_str(), "abc-1");
    }
}
