//! Errors of native operations that a policy let pass: the exchange ends with the operation's own reason.
//!
//! A body over the cap, a denied address and spent sub-requests reach a policy as a `TypeError` whose `cause` has the
//! reason as `code`. When that very error is what the policy fails with, nothing the policy did is to blame. An error
//! that only has it for a `cause` is the policy's own.

use polygate_engine_js::ScriptError;
use polygate_pipeline::{Failure, Reason, StatusCode};

/// Reasons that an uncaught error hands on.
const REASONS: [Reason; 3] = [Reason::BodyTooLarge, Reason::AddressDenied, Reason::PolicySubrequests];

/// The failure that `error` stands for; `None` when it is the policy's own.
pub(crate) fn failure(error: &ScriptError) -> Option<Failure> {
    let cause = error.cause.as_deref()?;
    if error.name != "TypeError" || cause.name != "Error" || !error.properties.is_empty() {
        return None;
    }
    let code = cause.properties.get("code")?.as_str()?;
    let reason = REASONS.into_iter().find(|reason| reason.as_str() == code)?;
    let failure = Failure::new(reason);
    // The reason's own status blames the client, who has not sent a response's body.
    let of_response = cause.properties.get("body").is_some_and(|body| body == "response");
    Some(match reason {
        Reason::BodyTooLarge if of_response => failure.status_code(StatusCode::BAD_GATEWAY),
        _ => failure,
    })
}
