//! The forward handler: sends the request to its upstream and gives back the response.

use std::future::ready;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use polygate_pipeline::{
    Body, Exchange, Failure, InvalidTarget, Known, Layer, Method, Next, Reason, Request, Response, Scheme,
    StatusCode, Target, boxed, leads_out,
};
use polygate_plan::{Connection, Expression, Forward, ForwardTo, Template, Variables};

use crate::upstream::{self, Client, Named};

/// Redirects that are followed before the last one is handed on.
const MAX_REDIRECTS: usize = 10;

/// Forwards requests of one route.
pub(crate) struct Forwarder {
    to: Destination,
    search: bool,
    follow_redirects: bool,
    connection: Rc<Connection>,
    /// The same for where redirects lead that leave the origin: encrypted as by default, so that what we show to one
    /// upstream, and whom we believe to be it, is not shown to and believed of others.
    elsewhere: Rc<Connection>,
    client: Rc<Client>,
}

enum Destination {
    /// A base without expressions, parsed once; its authority, and where its connections wait.
    Fixed(Target, Rc<str>, upstream::Destination),
    Base(Template),
    Url(Template),
    /// A named upstream.
    Named(Rc<Named>),
    Exchange,
}

impl Forwarder {
    /// Makes a route's forward handler live on a worker. None when it names an upstream that there is not.
    pub(crate) fn new(
        forward: &Forward,
        upstreams: &[Rc<Named>],
        client: Rc<Client>,
        default: &Rc<Connection>,
    ) -> Option<Self> {
        let connection = match forward.upstream {
            Some(index) => upstreams.get(index)?.connection().clone(),
            None => default.clone(),
        };
        let to = match &forward.to {
            ForwardTo::Base(template) => match template.as_text().map(Target::parse) {
                // Only a base whose path can be continued as it stands.
                Some(Ok(target)) if target.query().is_none() => {
                    let along = client.destination(&target, &connection);
                    let authority = target.authority().into();
                    Destination::Fixed(target, authority, along)
                }
                _ => Destination::Base(template.clone()),
            },
            ForwardTo::Url(template) => Destination::Url(template.clone()),
            ForwardTo::Upstream(index) => Destination::Named(upstreams.get(*index)?.clone()),
            ForwardTo::Exchange => Destination::Exchange,
        };
        let elsewhere = match connection.tls == default.tls {
            true => connection.clone(),
            false => Rc::new(Connection { tls: default.tls.clone(), ..Connection::clone(&connection) }),
        };
        Some(Self {
            to,
            search: forward.search,
            follow_redirects: forward.follow_redirects,
            connection,
            elsewhere,
            client,
        })
    }

    fn target(&self, request: &Request, exchange: &Exchange) -> Result<Target, Failure> {
        let incoming = &request.target;
        let invalid =
            |error| Failure::new(Reason::PolicyResult).detail(format!("the upstream's URL: {error}"));
        match &self.to {
            Destination::Fixed(base, ..) => self.join(base, incoming).map_err(invalid),
            Destination::Base(template) => {
                let mut url = self.render(template, request, exchange);
                if url.ends_with('/') {
                    url.pop();
                }
                refuse_leading_out(&url)?;
                url.push_str(incoming.path());
                self.append_search(&mut url, incoming);
                // The incoming path may hold dot segments, where the route takes raw paths.
                match Target::parse(&url) {
                    Err(_) => built(&url),
                    Ok(target) => Ok(target),
                }
            }
            Destination::Url(template) => {
                let mut url = self.render(template, request, exchange);
                self.append_search(&mut url, incoming);
                built(&url)
            }
            // The upstream joins it to the endpoint's base.
            Destination::Named(_) => Ok(incoming.clone()),
            Destination::Exchange => {
                let none = || Failure::new(Reason::Internal).detail("no layer has chosen the upstream's URL");
                exchange.take_upstream_target().ok_or_else(none)
            }
        }
    }

    fn join(&self, base: &Target, incoming: &Target) -> Result<Target, InvalidTarget> {
        let prefix = base.path().trim_end_matches('/');
        let search = if self.search { incoming.search() } else { "" };
        if prefix.is_empty() && search.len() == incoming.search().len() {
            return Target::new(base.scheme(), base.authority(), incoming.path_and_query());
        }
        Target::new(base.scheme(), base.authority(), &[prefix, incoming.path(), search].concat())
    }

    fn append_search(&self, url: &mut String, incoming: &Target) {
        let Some(query) = incoming.query().filter(|query| self.search && !query.is_empty()) else { return };
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(query);
    }

    fn render(&self, template: &Template, request: &Request, exchange: &Exchange) -> String {
        let mut url = String::with_capacity(128);
        template.render(&RequestVariables { request, exchange }, &mut url);
        url
    }

    /// Sends the request on. Each way is a future of its own, which is put on the heap: none has to hold the room that
    /// another one needs.
    fn send<'a>(
        &'a self,
        mut request: Request,
        exchange: &'a Exchange,
    ) -> LocalBoxFuture<'a, Result<Response, Failure>> {
        request.headers.remove_known(Known::Host);
        if request.upgrade.is_some() && request.headers.known(Known::Upgrade).is_none() {
            // A policy took the field away, and the wish with it.
            request.upgrade = None;
        }
        if self.follow_redirects {
            return Box::pin(self.send_and_follow(request, exchange));
        }
        if let Destination::Named(named) = &self.to {
            return Box::pin(async move { named.send(&mut request, self.search, exchange).await });
        }
        request.target = match self.target(&request, exchange) {
            Ok(target) => target,
            Err(failure) => return Box::pin(ready(Err(failure))),
        };
        if let Destination::Fixed(_, authority, along) = &self.to {
            exchange.set_upstream(authority.clone());
            return boxed(|| self.client.send_along(request, along, exchange));
        }
        exchange.set_upstream(request.target.authority());
        boxed(|| self.client.send_to(request, &self.connection, Some(exchange)))
    }

    async fn send_and_follow(&self, mut request: Request, exchange: &Exchange) -> Result<Response, Failure> {
        request.target = self.target(&request, exchange)?;
        let mut left = MAX_REDIRECTS;
        let mut followed = false;
        let mut connection = &self.connection;
        loop {
            let mut again = request.clone_head();
            // Only a body that is in memory can be sent twice.
            let replay = request
                .body
                .is_empty()
                .then(Body::empty)
                .or_else(|| request.body.as_full().cloned().map(Body::full));
            // The operator chose the first target; where an upstream points to is held to the address policy.
            let response = match &self.to {
                _ if followed => self.client.follow(request, connection, exchange).await?,
                Destination::Named(named) => {
                    let response = named.send(&mut request, self.search, exchange).await?;
                    again.target = request.target;
                    response
                }
                _ => {
                    exchange.set_upstream(request.target.authority());
                    self.client.send_to(request, &self.connection, Some(exchange)).await?
                }
            };
            let next = redirect_target(&response, &again.target);
            let (Some(next), Some(body), true) = (next, replay, left > 0) else { return Ok(response) };
            left -= 1;
            again.body = body;
            if !redirect(&mut again, response.status, next) {
                // Also when a later one leads back: that is where somebody else wants us to go.
                connection = &self.elsewhere;
            }
            exchange.set_upstream(again.target.authority());
            request = again;
            followed = true;
        }
    }
}

impl Layer for Forwarder {
    fn handle<'a>(
        &'a self,
        request: Request,
        exchange: &'a Exchange,
        _next: Next<'a>,
    ) -> LocalBoxFuture<'a, Result<Response, Failure>> {
        self.send(request, exchange)
    }
}

/// The target of a URL that was made from a request. Parameters stand in it decoded, as in JavaScript: characters that
/// a URL cannot hold are encoded as the URL standard does it, but dot segments are refused, because they would lead out
/// of the path that the route was made for.
fn built(url: &str) -> Result<Target, Failure> {
    refuse_leading_out(url)?;
    let parsed = match Target::parse(url) {
        Err(InvalidTarget::Path) => {
            // The standard drops some characters before it reads on (URL 4.4): what they hid must be looked at as well.
            let bare: String = url.trim_matches(|c| c <= ' ').replace(['\t', '\n', '\r'], "");
            refuse_leading_out(&bare)?;
            match url::Url::parse(&bare) {
                Ok(encoded) => Target::parse(encoded.as_str()),
                Err(_) => Err(InvalidTarget::Path),
            }
        }
        parsed => parsed,
    };
    parsed.map_err(|error| {
        Failure::new(Reason::PolicyResult).detail(format!("the upstream's URL {url:?}: {error}"))
    })
}

fn refuse_leading_out(url: &str) -> Result<(), Failure> {
    let path = url.split(['?', '#']).next().unwrap_or("");
    if leads_out(path) {
        return Err(Failure::new(Reason::PathRefused).detail("a parameter leads out of the upstream's path"));
    }
    Ok(())
}

/// Where a response redirects to, when it does and it can be followed.
fn redirect_target(response: &Response, current: &Target) -> Option<Target> {
    if !matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = std::str::from_utf8(response.headers.known(Known::Location)?).ok()?;
    let base = url::Url::parse(&current.to_string()).ok()?;
    Target::parse(base.join(location).ok()?.as_str()).ok()
}

/// The request after a redirect (Fetch standard, HTTP-redirect fetch). Says whether it stays within the origin.
fn redirect(request: &mut Request, status: StatusCode, target: Target) -> bool {
    let post = request.method == Method::POST;
    let safe = matches!(request.method, Method::GET | Method::HEAD);
    if (matches!(status.as_u16(), 301 | 302) && post) || (status.as_u16() == 303 && !safe) {
        request.method = Method::GET;
        request.body = Body::empty();
        for name in
            ["content-encoding", "content-language", "content-location", "content-type", "content-length"]
        {
            request.headers.remove(name);
        }
    }
    let same_origin = request.target.scheme() == target.scheme()
        && request.target.port() == target.port()
        && request.target.host().eq_ignore_ascii_case(target.host());
    if !same_origin {
        request.headers.remove_known(Known::Authorization);
        request.headers.remove_known(Known::Cookie);
        request.headers.remove_known(Known::ProxyAuthorization);
    }
    request.target = target;
    same_origin
}

/// What templates of URLs are rendered from.
pub(crate) struct RequestVariables<'a> {
    pub(crate) request: &'a Request,
    pub(crate) exchange: &'a Exchange,
}

impl Variables for RequestVariables<'_> {
    fn write(&self, expression: &Expression, out: &mut String) -> bool {
        let target = &self.request.target;
        let mut push = |text: &str| out.push_str(text);
        match expression {
            Expression::Env(name) => match self.exchange.services().variables().get(name) {
                Some(value) => push(value),
                None => return false,
            },
            Expression::Param(name) => {
                match self.exchange.params().iter().find(|(known, _)| **known == **name) {
                    Some((_, value)) => push(value),
                    None => return false,
                }
            }
            Expression::Query(name) => {
                let query = target.query().unwrap_or("");
                let pair =
                    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name.as_str());
                match pair {
                    Some((_, value)) => push(&value),
                    None => return false,
                }
            }
            Expression::Header(name) => match self.request.headers.get_str(name) {
                Some(value) => push(value),
                None => return false,
            },
            Expression::Url => push(&target.to_string()),
            Expression::Origin => {
                push(target.scheme().as_str());
                push("://");
                push(target.authority());
            }
            Expression::Protocol => {
                push(target.scheme().as_str());
                push(":");
            }
            Expression::Host => push(target.authority()),
            Expression::Hostname => push(target.host()),
            Expression::Port => {
                let default = match target.scheme() {
                    Scheme::Http => 80,
                    Scheme::Https => 443,
                };
                if target.port() != default {
                    push(&target.port().to_string());
                }
            }
            Expression::Pathname => push(target.path()),
            Expression::Search => push(target.search()),
            Expression::Method => push(self.request.method.as_str()),
            Expression::Encode(_) => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_cannot_lead_out_of_a_path() {
        assert_eq!(built("http://up/orders/a b/\u{fc}").unwrap().path(), "/orders/a%20b/%C3%BC");
        assert_eq!(built("http://up/orders/\u{fc}").unwrap().path(), "/orders/%C3%BC");
        assert_eq!(built("http://up/x?next=/../y").unwrap().search(), "?next=/../y");
        for url in ["http://up/orders/../admin", "http://up/orders/..", "http://up/a/%2e%2e/b"] {
            assert_eq!(built(url).unwrap_err().reason(), Reason::PathRefused, "{url}");
        }
        // What the URL standard drops before it reads a URL hides nothing.
        for id in ["..\t", ".\t.", ".\r\n.", "\t..\t/x", "a/.\n./.\t./x", ".. ", "..\u{1}", ". "] {
            let url = format!("http://up/orders/{id}");
            assert_eq!(built(&url).unwrap_err().reason(), Reason::PathRefused, "{id:?}");
        }
        assert_eq!(built("http://up/orders/.. /x y").unwrap().path(), "/orders/..%20/x%20y");
        assert_eq!(built("http://up/orders/a\tb ").unwrap().path(), "/orders/ab");
        assert_eq!(built("ftp://up/").unwrap_err().reason(), Reason::PolicyResult);
    }
}
