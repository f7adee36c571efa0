//! The router: which route takes a request. The first one in the plan's order wins.
//!
//! Paths of OpenAPI's form are kept in a tree of segments, so that the cost of a lookup does not grow with the
//! number of routes; URL patterns are tried in order, after a comparison of what they must start with.

use std::collections::HashMap;

use polygate_pipeline::Method;
use polygate_plan::{Params, PathPattern, Route, Segment};
use smallvec::SmallVec;

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
    literals: Literals,
    param: Option<Box<Node>>,
    mixed: Vec<(Segment, Node)>,
    /// Routes that end here, in order.
    ends: SmallVec<[End; 1]>,
}

/// A route that ends at a node. Its methods stand here as well: with many routes each place that is looked at is one that no
/// cache holds.
struct End {
    route: usize,
    /// One bit for each method that is looked up by it; see [`bit`].
    methods: u16,
}

/// Nodes by a segment's text.
enum Literals {
    /// A few: compared one after the other.
    Few(Vec<(Box<str>, Node)>),
    /// Many.
    Many(HashMap<Box<str>, Node>),
}

/// With more literals than this a node has a map.
const FEW: usize = 8;

impl Default for Literals {
    fn default() -> Self {
        Literals::Few(Vec::new())
    }
}

impl Literals {
    fn get(&self, text: &str) -> Option<&Node> {
        match self {
            Literals::Few(few) => few.iter().find(|(own, _)| **own == *text).map(|(_, node)| node),
            Literals::Many(many) => many.get(text),
        }
    }

    fn get_or_insert(&mut self, text: &str) -> &mut Node {
        if let Literals::Few(few) = self
            && few.len() == FEW
            && few.iter().all(|(own, _)| **own != *text)
        {
            *self = Literals::Many(std::mem::take(few).into_iter().collect());
        }
        match self {
            Literals::Few(few) => {
                let at = few.iter().position(|(own, _)| **own == *text).unwrap_or_else(|| {
                    few.push((text.into(), Node::default()));
                    few.len() - 1
                });
                &mut few[at].1
            }
            Literals::Many(many) => many.entry(text.into()).or_default(),
        }
    }
}

/// The bit of a method; none for those that are compared by name.
fn bit(method: &Method) -> u16 {
    match *method {
        Method::GET => 1,
        Method::POST => 1 << 1,
        Method::PUT => 1 << 2,
        Method::DELETE => 1 << 3,
        Method::PATCH => 1 << 4,
        Method::HEAD => 1 << 5,
        Method::OPTIONS => 1 << 6,
        Method::TRACE => 1 << 7,
        Method::CONNECT => 1 << 8,
        _ => 0,
    }
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
            let methods = route.info.methods.iter().fold(0, |bits, method| bits | bit(method));
            match &route.pattern {
                PathPattern::OpenApi(segments) => router.root.insert(segments, index, methods),
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
        let wanted = bit(method);
        let ends = |end: &End| if wanted == 0 { takes(end.route) } else { end.methods & wanted != 0 };
        let mut best = None;
        if let Some(rest) = path.strip_prefix('/') {
            self.root.search(rest, &ends, &mut best);
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
    fn insert(&mut self, segments: &[Segment], route: usize, methods: u16) {
        let Some((first, rest)) = segments.split_first() else {
            self.ends.push(End { route, methods });
            return;
        };
        let node = match first {
            Segment::Literal(text) => self.literals.get_or_insert(text),
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
        node.insert(rest, route, methods);
    }

    /// Looks for the lowest route that takes `rest`, what follows a slash.
    fn search(&self, rest: &str, takes: &impl Fn(&End) -> bool, best: &mut Option<usize>) {
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        let mut visit = |node: &Node| match rest {
            Some(rest) => node.search(rest, takes, best),
            None => {
                let found = node.ends.iter().find(|end| takes(end)).map(|end| end.route);
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
            body_limit: Default::default(),
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

    #[test]
    fn literals_are_found_as_their_number_grows_and_so_are_methods_of_all_kinds() {
        let own: Method = "PURGE".parse().unwrap();
        let count = 2 * FEW;
        let mut routes: Vec<_> = (0..count).map(|n| open(&format!("/{n}"))).collect();
        let path = |text: &str| PathPattern::open_api(text).unwrap();
        routes.push(route(&[Method::POST, own.clone()], path("/0")));
        for known in 0..=count {
            let router = Router::new(&routes[..known]);
            for n in 0..count {
                assert_eq!(found(&router, &format!("/{n}")), (n < known).then_some(n), "{n} of {known}");
            }
        }
        let router = Router::new(&routes);
        let by = |method: &Method| router.find(method, "/0").map(|found| found.route);
        assert_eq!((by(&own), by(&Method::POST), by(&Method::PUT)), (Some(count), Some(count), None));
        assert_eq!(by(&"LOCK".parse().unwrap()), None);
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
