//! A project in a folder of its own, live on this thread, with a fake handler at the end of its route.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use polygate_pipeline::{
    Body, Budget, Chain, Client, Diagnostic, Exchange, ExchangeParts, Failure, Instance, Layer, LogLine,
    LogSink, Method, Next, Outbound, OutboundOptions, PluginRef, PolicySpec, Project, Reason, Request,
    RequestId, Response, Role, RouteInfo, Services, Span, StatusCode, Step, Target, Version, World,
};
use polygate_world_zuplo::ZuploWorld;
use serde_json::Value;

/// Runs a test on a worker's kind of runtime.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// A project to be.
pub(crate) struct Fixture {
    root: PathBuf,
    specs: Vec<PolicySpec>,
    variables: BTreeMap<String, String>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// Where a module's name and an export's name stand in the made-up policies.json.
pub(crate) const SPAN: Span = Span { line: 3, column: 5, length: 7 };
pub(crate) const EXPORT_SPAN: Span = Span { line: 4, column: 5, length: 7 };

impl Fixture {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("polygate-zuplo-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir_all(root.join("modules")).unwrap();
        Self { root, specs: Vec::new(), variables: BTreeMap::new() }
    }

    /// A project of one module.
    pub(crate) fn module(text: &str) -> Self {
        Self::new(&[("modules/m.ts", text)])
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn policy(
        mut self,
        role: Role,
        name: &str,
        module: &str,
        export: &str,
        config: Option<Value>,
    ) -> Self {
        self.specs.push(PolicySpec {
            name: Arc::from(name),
            plugin: PluginRef { module: module.to_owned(), export: export.to_owned() },
            config,
            roles: vec![role],
            budget: Budget::default(),
            file: "config/policies.json".to_owned(),
            span: Some(SPAN),
            export_span: Some(EXPORT_SPAN),
        });
        self
    }

    /// An inbound policy: the export of that name of the project's one module.
    pub(crate) fn inbound(self, export: &str) -> Self {
        self.policy(Role::Inbound, export, "./modules/m", export, None)
    }

    /// An outbound policy.
    pub(crate) fn outbound(self, export: &str) -> Self {
        self.policy(Role::Outbound, export, "./modules/m", export, None)
    }

    /// The handler.
    pub(crate) fn handler(self, export: &str) -> Self {
        self.policy(Role::Handler, export, "./modules/m", export, None)
    }

    /// The export of that name as a policy that stands on no route.
    pub(crate) fn unused(mut self, export: &str) -> Self {
        self = self.inbound(export);
        self.specs.last_mut().unwrap().roles.clear();
        self
    }

    /// Changes the last policy's budget.
    pub(crate) fn budget(mut self, change: impl FnOnce(&mut Budget)) -> Self {
        change(&mut self.specs.last_mut().unwrap().budget);
        self
    }

    /// What is wrong with it.
    pub(crate) async fn problems(self) -> Vec<Diagnostic> {
        match self.try_start().await {
            Ok(_) => Vec::new(),
            Err(problems) => problems,
        }
    }

    pub(crate) async fn start(self) -> Gate {
        self.try_start().await.unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    pub(crate) async fn try_start(self) -> Result<Gate, Vec<Diagnostic>> {
        let variables = Arc::new(self.variables.clone());
        let project = Project { root: self.root.clone(), variables: variables.clone() };
        let mut problems = Vec::new();
        let program = ZuploWorld::new().compile(&project, &self.specs, &mut problems).ok_or(problems)?;
        let log = Rc::new(Log::default());
        let upstream = Rc::new(Upstream::default());
        let services = Services::new(upstream.clone(), log.clone(), variables, 0);
        let instance = program.spawn(&services).await?;
        Gate {
            fixture: self,
            instance,
            services,
            log,
            upstream,
            terminal: Rc::default(),
            route: Rc::new(route()),
            others: Vec::new(),
            chain: None,
        }
        .wired()
    }
}

/// The route of every exchange.
fn route() -> RouteInfo {
    RouteInfo {
        path: "/orders/{id}".to_owned(),
        methods: vec![Method::GET, Method::POST],
        operation_id: Some("getOrder".to_owned()),
        summary: Some("One order".to_owned()),
        handler: ("$import(./modules/m)".to_owned(), "default".to_owned()),
        inbound: vec![Arc::from("a")],
        outbound: Vec::new(),
        file: "config/routes.oas.json".to_owned(),
        raw: Arc::new(serde_json::json!({ "operationId": "getOrder", "x-mine": [1] })),
        label: Arc::from("GET /orders/{id}"),
    }
}

/// A live project.
pub(crate) struct Gate {
    fixture: Fixture,
    pub(crate) instance: Rc<dyn Instance>,
    pub(crate) services: Services,
    pub(crate) log: Rc<Log>,
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) terminal: Rc<Terminal>,
    route: Rc<RouteInfo>,
    others: Vec<Step>,
    chain: Option<Chain>,
}

impl Gate {
    fn wired(mut self) -> Result<Self, Vec<Diagnostic>> {
        let mut inbound = Vec::new();
        let mut outbound = Vec::new();
        let mut handler = None;
        for (index, spec) in self.fixture.specs.iter().enumerate() {
            let Some(&role) = spec.roles.first() else { continue };
            let layer = self.instance.layer(index, role).map_err(|problem| vec![*problem])?;
            let step = Step {
                policy: spec.name.clone(),
                world: Arc::from("zuplo"),
                role,
                budget: Some(spec.budget),
                layer,
            };
            match role {
                Role::Inbound => inbound.push(step),
                Role::Outbound => outbound.insert(0, step),
                Role::Handler => handler = Some(step),
            }
        }
        inbound.append(&mut self.others);
        inbound.extend(outbound);
        inbound.push(handler.unwrap_or_else(|| Step {
            policy: Arc::from("terminal"),
            world: Arc::from("test"),
            role: Role::Handler,
            budget: None,
            layer: self.terminal.clone(),
        }));
        self.chain = Some(Chain::new(inbound));
        Ok(self)
    }

    /// Puts a layer of another world between the inbound and the outbound policies.
    pub(crate) fn with_layer(mut self, layer: Rc<dyn Layer>) -> Self {
        self.others = vec![Step {
            policy: Arc::from("other"),
            world: Arc::from("test"),
            role: Role::Inbound,
            budget: None,
            layer,
        }];
        self.wired().unwrap()
    }

    pub(crate) fn exchange(&self, request: &Request) -> Exchange {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1234);
        let exchange = Exchange::new(ExchangeParts {
            id: RequestId::from_random(7),
            started: Instant::now(),
            client: Client { ip: address.ip(), peer: address, local: address, tls: None },
            method: request.method.clone(),
            target: request.target.clone(),
            version: Version::Http11,
            xray: false,
            trace: None,
            interim: None,
            services: self.services.clone(),
        });
        exchange.set_route(self.route.clone(), vec![(Arc::from("id"), "a b".to_owned())]);
        exchange
    }

    pub(crate) async fn send(&self, request: Request) -> Result<Response, Failure> {
        let exchange = self.exchange(&request);
        self.send_on(request, &exchange).await
    }

    pub(crate) async fn send_on(&self, request: Request, exchange: &Exchange) -> Result<Response, Failure> {
        self.chain.as_ref().unwrap().run(request, exchange).await
    }

    /// Sends a GET and gives the response's status and body.
    pub(crate) async fn get(&self, url: &str) -> (u16, String) {
        let response = self.send(get(url)).await.unwrap_or_else(|failure| panic!("{failure}"));
        (response.status.as_u16(), text(response).await)
    }

    /// Sends a GET and gives the failure that it ends with.
    pub(crate) async fn failure(&self) -> Failure {
        match self.send(get("http://gate.test/orders/1")).await {
            Ok(response) => panic!("answered with {}", response.status),
            Err(failure) => failure,
        }
    }
}

pub(crate) fn get(url: &str) -> Request {
    Request::new(Method::GET, Target::parse(url).unwrap())
}

pub(crate) fn post(url: &str, body: &str) -> Request {
    let mut request = Request::new(Method::POST, Target::parse(url).unwrap());
    request.headers.set("content-type", b"text/plain").unwrap();
    request.body = Body::full(body.as_bytes().to_vec());
    request
}

pub(crate) async fn text(response: Response) -> String {
    let (bytes, _) = response.body.collect(1 << 20).await.unwrap_or_else(|failure| panic!("{failure}"));
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) async fn json(response: Response) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

/// Ends the route: answers `200 terminal` and notes what it was given.
pub(crate) struct Terminal {
    pub(crate) seen: RefCell<Vec<(Request, String)>>,
    pub(crate) delay: Cell<Duration>,
}

impl Default for Terminal {
    fn default() -> Self {
        Self { seen: RefCell::default(), delay: Cell::new(Duration::ZERO) }
    }
}

impl Layer for Terminal {
    fn handle<'a>(
        &'a self,
        mut request: Request,
        _: &'a Exchange,
        _: Next<'a>,
    ) -> LocalBoxFuture<'a, Result<Response, Failure>> {
        Box::pin(async move {
            let (body, _) = std::mem::take(&mut request.body).collect(1 << 20).await?;
            self.seen.borrow_mut().push((request, String::from_utf8_lossy(&body).into_owned()));
            if !self.delay.get().is_zero() {
                tokio::time::sleep(self.delay.get()).await;
            }
            let mut response = Response::new(StatusCode::OK);
            response.headers.set("x-terminal", b"yes").unwrap();
            response.body = Body::full(&b"terminal"[..]);
            Ok(response)
        })
    }
}

/// Collects what is logged.
#[derive(Default)]
pub(crate) struct Log(pub(crate) RefCell<Vec<LogLine>>);

impl LogSink for Log {
    fn log(&self, line: LogLine) {
        self.0.borrow_mut().push(line);
    }
}

impl Log {
    pub(crate) fn text(&self) -> String {
        self.0.borrow().iter().map(|line| format!("{:?} {}\n", line.level, line.message)).collect()
    }
}

/// Answers fetches with the URL that was asked for.
#[derive(Default)]
pub(crate) struct Upstream {
    pub(crate) delay: Cell<Duration>,
    pub(crate) started: Cell<u32>,
    pub(crate) finished: Rc<Cell<u32>>,
}

impl Outbound for Upstream {
    fn send(
        &self,
        request: Request,
        _: OutboundOptions,
    ) -> LocalBoxFuture<'static, Result<Response, Failure>> {
        self.started.set(self.started.get() + 1);
        let (delay, finished) = (self.delay.get(), self.finished.clone());
        Box::pin(async move {
            if request.target.host() == "down.test" {
                return Err(Failure::new(Reason::UpstreamRefused));
            }
            if request.target.host() == "denied.test" {
                return Err(Failure::new(Reason::AddressDenied));
            }
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            finished.set(finished.get() + 1);
            let mut response = Response::new(StatusCode::OK);
            response.body = Body::full(format!("{} {}", request.method, request.target).into_bytes());
            Ok(response)
        })
    }
}
