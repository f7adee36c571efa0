//! The X-ray: what each step of an exchange was given, compared with what it passed on.

use std::cell::RefCell;

use crate::{Body, Edit, Headers, Request, Response};

/// What the steps of one exchange were given and got back.
#[derive(Default)]
pub(crate) struct Xray(RefCell<Vec<Given>>);

#[derive(Default)]
struct Given {
    request: Option<(Request, Identity)>,
    response: Option<(Response, Identity)>,
}

/// What tells a body from another one that was put in its place.
type Identity = (usize, usize);

impl Xray {
    /// Notes what a step is given.
    pub(crate) fn gives(&self, step: usize, request: &Request) {
        let mut all = self.0.borrow_mut();
        if all.len() <= step {
            all.resize_with(step + 1, Given::default);
        }
        all[step] = Given { request: Some((request.clone_head(), request.body.identity())), response: None };
    }

    /// What a step changed of the request that it passes on.
    pub(crate) fn passes_on(&self, step: usize, request: &Request) -> Vec<Edit> {
        let mut edits = Vec::new();
        if let Some(Given { request: Some((before, identity)), .. }) = self.0.borrow().get(step) {
            request_edits(before, request, &mut edits);
            body_edit("request", *identity, &request.body, &mut edits);
        }
        edits
    }

    /// What a step changed of the response that it got from within and gives back; noted for the step around.
    pub(crate) fn gives_back(&self, step: usize, response: &Response) -> Vec<Edit> {
        let mut edits = Vec::new();
        let mut all = self.0.borrow_mut();
        if let Some(Given { response: Some((before, identity)), .. }) = all.get(step) {
            response_edits(before, response, &mut edits);
            body_edit("response", *identity, &response.body, &mut edits);
        }
        if let Some(around) = step.checked_sub(1).and_then(|around| all.get_mut(around)) {
            around.response = Some((response.clone_head(), response.body.identity()));
        }
        edits
    }
}

/// Values of these fields are shown as `(redacted)`: neither the X-ray nor a log may collect credentials.
const SECRET: &[&str] = &["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"];

/// Whether the header of this name holds credentials, which no log and no X-ray may show.
pub fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|secret| secret.eq_ignore_ascii_case(name))
}

fn request_edits(before: &Request, after: &Request, edits: &mut Vec<Edit>) {
    if before.method != after.method {
        edits.push(edit("request", ":method", Some(before.method.as_str()), Some(after.method.as_str())));
    }
    if before.target != after.target {
        let (b, a) = (before.target.to_string(), after.target.to_string());
        edits.push(edit("request", ":target", Some(&b), Some(&a)));
    }
    header_edits("request", &before.headers, &after.headers, edits);
}

fn response_edits(before: &Response, after: &Response, edits: &mut Vec<Edit>) {
    if before.status != after.status {
        edits.push(edit("response", ":status", Some(before.status.as_str()), Some(after.status.as_str())));
    }
    header_edits("response", &before.headers, &after.headers, edits);
}

fn edit(message: &'static str, name: &str, before: Option<&str>, after: Option<&str>) -> Edit {
    Edit {
        message,
        name: name.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    }
}

fn header_edits(message: &'static str, before: &Headers, after: &Headers, edits: &mut Vec<Edit>) {
    let joined = |headers: &Headers, name: &str| {
        let values: Vec<_> = headers.get_all(name).map(String::from_utf8_lossy).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in before.iter().chain(after.iter()) {
        if !names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            names.push(name);
        }
    }
    for name in names {
        let (mut b, mut a) = (joined(before, name), joined(after, name));
        if a == b {
            continue;
        }
        if is_secret(name) {
            for value in [&mut b, &mut a].into_iter().flatten() {
                *value = "(redacted)".to_owned();
            }
        }
        edits.push(Edit { message, name: name.to_ascii_lowercase(), before: b, after: a });
    }
}

fn body_edit(message: &'static str, before: Identity, after: &Body, edits: &mut Vec<Edit>) {
    if before != after.identity() {
        edits.push(edit(message, ":body", None, Some("replaced")));
    }
}
