//! Connections to upstreams. SKETCH of the interface that the rest uses; the client replaces it.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use polygate_pipeline::{Failure, Outbound, OutboundOptions, Reason, Request, Response};
use polygate_plan::{Connection, Settings};

/// A worker's client: pools connections per target.
pub(crate) struct Client;

impl Client {
    /// A client with the settings' defaults and address policy.
    pub(crate) fn new(_settings: &Settings) -> Rc<Self> {
        Rc::new(Self)
    }

    /// Sends a request to its target (no address policy: the operator configured it).
    pub(crate) async fn send_to(
        &self,
        _request: Request,
        _connection: &Rc<Connection>,
    ) -> Result<Response, Failure> {
        Err(Failure::new(Reason::Internal))
    }
}

impl Outbound for Client {
    fn send(
        &self,
        _request: Request,
        _options: OutboundOptions,
    ) -> LocalBoxFuture<'static, Result<Response, Failure>> {
        Box::pin(std::future::ready(Err(Failure::new(Reason::Internal))))
    }
}
