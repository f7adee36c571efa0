//! The redirect handler.

use futures_util::future::LocalBoxFuture;
use polygate_pipeline::{Exchange, Failure, Layer, Next, Reason, Request, Response, StatusCode};
use polygate_plan::Template;

use crate::forward::RequestVariables;

/// Answers with a redirect.
pub(crate) struct Redirect {
    pub(crate) location: Template,
    pub(crate) status: StatusCode,
}

impl Layer for Redirect {
    fn handle<'a>(
        &'a self,
        request: Request,
        exchange: &'a Exchange,
        _next: Next<'a>,
    ) -> LocalBoxFuture<'a, Result<Response, Failure>> {
        let mut location = String::new();
        self.location.render(&RequestVariables { request: &request, exchange }, &mut location);
        let mut response = Response::new(self.status);
        let result = match response.headers.append("location", location.as_bytes()) {
            Ok(()) => Ok(response),
            Err(_) => Err(Failure::new(Reason::PolicyResult).detail("the location holds control characters")),
        };
        Box::pin(std::future::ready(result))
    }
}
