//! What a connection asks of the gateway: an answer to each request, and to be told how it went.

use std::net::IpAddr;

use polygate_pipeline::{Client, Failure, Interim, Method, Request, Response, Target, Version};

use crate::overload::Valve;

/// Answers the requests of connections.
pub(crate) trait Service: 'static {
    /// Told how the exchange went. Dropped unused, it counts as a client that went away.
    type Finish: Finish;

    /// Whether a connection of `peer` begins with a header of the PROXY protocol.
    fn is_introduced(&self, peer: IpAddr) -> bool;

    /// Whether `peer` is a trusted proxy, whose connections are those of many clients.
    fn is_trusted(&self, peer: IpAddr) -> bool;

    /// What the worker is told of overload.
    fn valve(&self) -> &Valve;

    /// Answers a request. Does not fail: a failure is an error response already. Dropping the future means that the
    /// client went away. Interim responses are put into `interim` by then; without it the client is sent none.
    fn call(
        &self,
        request: Request,
        client: Client,
        interim: Option<Interim>,
    ) -> impl Future<Output = (Response, Self::Finish)>;

    /// Answers what could not be read as a request: limits, malformed heads, timeouts.
    fn refuse(&self, refusal: Refusal, client: Client) -> (Response, Self::Finish);
}

/// A request that could not be read, with as much of it as could be.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Why: holds the reason and the status.
    pub failure: Failure,
    /// The method, if it could be read.
    pub method: Option<Method>,
    /// The target, if it could be read.
    pub target: Option<Target>,
    /// The version of its connection.
    pub version: Version,
}

/// Takes the end of an exchange: called after the last byte, or when it broke off.
pub(crate) trait Finish: 'static {
    /// Takes the end.
    fn finish(self, end: End);
}

/// How the transfer of a response ended.
#[derive(Debug)]
pub(crate) struct End {
    /// Bytes of the request's body that were read.
    pub received: u64,
    /// Bytes of the response's body that were sent.
    pub sent: u64,
    /// Why it broke off, if it did. `None` when the response was sent whole.
    pub failure: Option<Failure>,
}
