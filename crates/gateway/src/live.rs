//! A deployment live on one worker: its instances, its routes' chains, its router.

use std::rc::Rc;
use std::sync::Arc;

use polygate_pipeline::{Chain, Diagnostic, Instance, Layer, Role, RouteInfo, Services, Step};
use polygate_plan::{Connection, Handler, Plan, Route};

use crate::access::Access;
use crate::deployment::{Deployment, Place};
use crate::forward::Forwarder;
use crate::redirect::Redirect;
use crate::router::Router;
use crate::upstream::{Client, Named, Watching};

/// The world of the gateway's own layers.
pub(crate) const OWN_WORLD: &str = "gateway";

/// A deployment live on one worker. Dropped when the last exchange on it is over.
pub(crate) struct Live {
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) services: Services,
    pub(crate) router: Router,
    pub(crate) routes: Vec<LiveRoute>,
    pub(crate) access: Access,
    instances: Vec<Rc<dyn Instance>>,
    /// Held for those that others of them name.
    _upstreams: Vec<Rc<Named>>,
}

/// What handlers are made with.
struct Handlers<'a> {
    upstreams: &'a [Rc<Named>],
    client: &'a Rc<Client>,
    connection: &'a Rc<Connection>,
}

/// A route live on one worker.
pub(crate) struct LiveRoute {
    pub(crate) info: Rc<RouteInfo>,
    pub(crate) chain: Chain,
}

impl Live {
    /// Spawns the deployment's programs on the calling worker and lays out its routes.
    pub(crate) async fn spawn(
        deployment: Arc<Deployment>,
        services: Services,
        client: Rc<Client>,
        watching: &[Watching],
    ) -> Result<Self, Vec<Diagnostic>> {
        let instances = deployment.spawn(&services).await?;
        let plan = deployment.plan();
        let places = deployment.places();
        let connection = Rc::new(plan.settings.connection.clone());
        let upstreams = client.named(&plan.settings, watching);
        let handlers = Handlers { upstreams: &upstreams, client: &client, connection: &connection };
        let mut routes = Vec::with_capacity(plan.routes.len());
        let mut diagnostics = Vec::new();
        for route in &plan.routes {
            match steps(plan, route, &places, &instances, &handlers) {
                Ok(steps) => {
                    let info = Rc::new(RouteInfo::clone(&route.info));
                    routes.push(LiveRoute { info, chain: Chain::new(steps) });
                }
                Err(diagnostic) => diagnostics.push(*diagnostic),
            }
        }
        if !diagnostics.is_empty() {
            return Err(diagnostics);
        }
        let router = Router::new(&plan.routes);
        let access = Access::new(&plan.settings.log.access);
        Ok(Self { deployment, services, router, routes, access, instances, _upstreams: upstreams })
    }

    /// Memory of the plugins' virtual machines, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.instances.iter().map(|instance| instance.memory()).sum()
    }
}

fn steps(
    plan: &Plan,
    route: &Route,
    places: &[Option<Place>],
    instances: &[Rc<dyn Instance>],
    handlers: &Handlers<'_>,
) -> Result<Vec<Step>, Box<Diagnostic>> {
    let mut steps = Vec::with_capacity(route.layers.len() + 1);
    for planned in &route.layers {
        steps.push(policy_step(plan, planned.policy, planned.role, places, instances)?);
    }
    let own = |layer: Rc<dyn Layer>, name: &str| Step {
        policy: Arc::from(name),
        world: Arc::from(OWN_WORLD),
        role: Role::Handler,
        budget: None,
        layer,
    };
    steps.push(match &route.handler {
        Handler::Forward(forward) => {
            let Handlers { upstreams, client, connection } = handlers;
            let forwarder = Forwarder::new(forward, upstreams, Rc::clone(client), connection);
            let missing = || Box::new(Diagnostic::error("internal", "a route's upstream is missing"));
            own(Rc::new(forwarder.ok_or_else(missing)?), "forward")
        }
        Handler::Redirect { location, status } => {
            own(Rc::new(Redirect { location: location.clone(), status: *status }), "redirect")
        }
        Handler::Function(policy) => policy_step(plan, *policy, Role::Handler, places, instances)?,
    });
    Ok(steps)
}

fn policy_step(
    plan: &Plan,
    index: usize,
    role: Role,
    places: &[Option<Place>],
    instances: &[Rc<dyn Instance>],
) -> Result<Step, Box<Diagnostic>> {
    let missing = || Box::new(Diagnostic::error("internal", format!("policy {index} has no instance")));
    let policy = plan.policies.get(index).ok_or_else(missing)?;
    let place = places.get(index).copied().flatten().ok_or_else(missing)?;
    let instance = instances.get(place.instance).ok_or_else(missing)?;
    Ok(Step {
        policy: Arc::from(&*policy.spec.name),
        // Copies of this worker's own: counting references to shared ones would be a cache line shared by workers.
        world: Arc::from(&*policy.world),
        role,
        budget: Some(policy.spec.budget),
        layer: instance.layer(place.policy, role)?,
    })
}
