//! The router: which route takes a request. The first one in the plan's order wins.
//!
//! Paths of OpenAPI's form are kept in a tree of segments, so that the cost of a lookup does not grow with the
//! number of routes; URL patterns are tried in order, after a comparison of what they must start with.

use std::collections::HashMap;

use polygate_pipeline::Method;
use polygate_plan::{Params, PathPattern, Route, Segment};

/// Finds routes.
pub struct Router {
    root: Node,
    /// Routes whose path is a URL pattern.
    url_patterns: Vec<usize>,
    routes: Vec<Entry>,
}

struct Entry {
    methods: Vec<Method>,
    pattern: PathPattern,
    /// Whether the pattern has parameters to take out of a path.
    has_params: bool,
}

#[derive(Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    param: Option<Box<Node>>,
    mixed: Vec<(Segment, Node)>,
    /// Routes that end here, in order.
    ends: Vec<usize>,
}

/// A route that takes the request.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Its index in the plan.
    pub route: usize,
    /// Its path parameters.
    pub params: Params,
}

impl Router {
    /// A router for these routes.
    pub fn new(routes: &[Route]) -> Self {
        let mut router = Self { root: Node::default(), url_patterns: Vec::new(), routes: Vec::new() };
        for (index, route) in routes.iter().enumerate() {
            match &route.pattern {
                PathPattern::OpenApi(segments) => router.root.insert(segments, index),
                PathPattern::UrlPattern(_) => router.url_patterns.push(index),
            }
            router.routes.push(Entry {
                methods: route.info.methods.clone(),
                pattern: route.pattern.clone(),
                has_params: !route.pattern.names().is_empty(),
            });
        }
        router
    }

    /// The route that takes `method` on `path` (percent-encoded, without query).
    pub fn find(&self, method: &Method, path: &str) -> Option<Found> {
        let takes = |index: usize| self.routes[index].methods.contains(method);
        let mut best = None;
        if let Some(rest) = path.strip_prefix('/') {
            self.root.search(rest, &takes, &mut best);
        }
        for &index in self.url_patterns.iter().take_while(|&&index| best.is_none_or(|best| index < best)) {
            if takes(index)
                && let Some(params) = self.routes[index].pattern.matches(path)
            {
                return Some(Found { route: index, params });
            }
        }
        let route = best?;
        let entry = &self.routes[route];
        let params = if entry.has_params { entry.pattern.matches(path)? } else { Params::new() };
        Some(Found { route, params })
    }

    /// Routes that take `path`, whatever the method, in order.
    pub fn by_path(&self, path: &str) -> Vec<usize> {
        (0..self.routes.len()).filter(|&index| self.routes[index].pattern.matches(path).is_some()).collect()
    }
}

impl Node {
    fn insert(&mut self, segments: &[Segment], route: usize) {
        let Some((first, rest)) = segments.split_first() else {
            self.ends.push(route);
            return;
        };
        let node = match first {
            Segment::Literal(text) => self.literals.entry(text.as_str().into()).or_default(),
            Segment::Param(_) => self.param.get_or_insert_default(),
            Segment::Mixed(_) => {
                let at = match self.mixed.iter().position(|(segment, _)| segment == first) {
                    Some(at) => at,
                    None => {
                        self.mixed.push((first.clone(), Node::default()));
                        self.mixed.len() - 1
                    }
                };
                &mut self.mixed[at].1
            }
        };
        node.insert(rest, route);
    }

    /// Looks for the lowest route that takes `rest`, what follows a slash.
    fn search(&self, rest: &str, takes: &impl Fn(usize) -> bool, best: &mut Option<usize>) {
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        let mut visit = |node: &Node| match rest {
            Some(rest) => node.search(rest, takes, best),
            None => {
                let found = node.ends.iter().copied().find(|&index| takes(index));
                *best = match (*best, found) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        };
        if let Some(node) = self.literals.get(segment) {
            visit(node);
        }
        if let Some(node) = &self.param
            && !segment.is_empty()
        {
            visit(node);
        }
        for (pattern, node) in &self.mixed {
            if pattern.matches(segment, &mut Params::new()) {
                visit(node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use polygate_pipeline::RouteInfo;
    use polygate_plan::{AmbiguousPaths, Handler};

    use super::*;

    fn route(methods: &[Method], pattern: PathPattern) -> Route {
        let info = RouteInfo {
            path: String::new(),
            methods: methods.to_vec(),
            operation_id: None,
            summary: None,
            handler: Default::default(),
            inbound: vec![],
            outbound: vec![],
            file: String::new(),
            raw: Arc::default(),
            label: Arc::from(""),
        };
        let ambiguous_paths = AmbiguousPaths::default();
        Route {
            info: Arc::new(info),
            pattern,
            ambiguous_paths,
            layers: vec![],
            handler: Handler::Function(0),
        }
    }

    fn open(path: &str) -> Route {
        route(&[Method::GET], PathPattern::open_api(path).unwrap())
    }

    fn found(router: &Router, path: &str) -> Option<usize> {
        router.find(&Method::GET, path).map(|found| found.route)
    }

    #[test]
    fn the_first_route_in_order_wins() {
        let all = PathPattern::url_pattern("/a/(.*)").unwrap();
        let routes = [
            open("/a/{x}"),
            open("/a/b"),
            route(&[Method::POST], PathPattern::open_api("/a/b").unwrap()),
            route(&[Method::GET], all),
            open("/a/{x}/c"),
            open("/"),
            open("/f.{ext}"),
        ];
        let router = Router::new(&routes);
        assert_eq!(found(&router, "/a/b"), Some(0));
        assert_eq!(router.find(&Method::POST, "/a/b").unwrap().route, 2);
        assert_eq!(found(&router, "/a/b/c"), Some(3));
        assert_eq!(found(&router, "/"), Some(5));
        assert_eq!(found(&router, "/f.txt"), Some(6));
        assert_eq!(found(&router, "/b"), None);
        assert_eq!(router.by_path("/a/b"), [0, 1, 2, 3]);
        let params = router.find(&Method::GET, "/a/x%20y").unwrap().params;
        assert_eq!(params, [(Arc::from("x"), "x y".to_owned())]);
    }

    #[test]
    fn many_routes_are_found() {
        let routes: Vec<_> = (0..10_000).map(|n| open(&format!("/api/r{n}/{{id}}"))).collect();
        let router = Router::new(&routes);
        assert_eq!(found(&router, "/api/r9999/1"), Some(9999));
        assert_eq!(found(&router, "/api/r10000/1"), None);
    }

    /// The dearest way to find one of many: another one each time, so that nothing of it is in the caches.
    #[test]
    #[ignore = "a measurement: cargo test --release -p polygate-gateway router::tests::speed -- --ignored --nocapture"]
    fn speed() {
        let nanos = |count: usize| {
            let routes: Vec<_> = (0..count).map(|n| open(&format!("/api/r{n}/orders/{{id}}"))).collect();
            let router = Router::new(&routes);
            let mut random = fastrand::Rng::with_seed(1);
            let paths: Vec<String> =
                (0..100_000).map(|_| format!("/api/r{}/orders/17", random.usize(..count))).collect();
            let best = (0..5).map(|_| {
                let began = std::time::Instant::now();
                assert!(paths.iter().all(|path| router.find(&Method::GET, path).is_some()));
                began.elapsed().as_nanos() as f64 / paths.len() as f64
            });
            best.fold(f64::INFINITY, f64::min)
        };
        let (one, many) = (nanos(1), nanos(10_000));
        println!("a lookup: {one:.0} ns with 1 route, {many:.0} ns with 10,000");
        // An exchange costs 15 us at least: 5 % of it.
        assert!(many - one < 750.0, "{one:.0} {many:.0}");
    }
}
