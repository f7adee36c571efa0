//! Deployments: a plan with its compiled plugins, immutable and content-addressed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use polygate_pipeline::{Diagnostic, Instance, LogLine, LogSink, PolicySpec, Program, Services, World};
use polygate_plan::Plan;
use tokio::time::timeout;

use crate::tls::{self, Acceptor, Clients};
use crate::upstream::Client;

/// How long the plugins of one world may take to become live on one worker, waiting included.
const LOAD_WALL: Duration = Duration::from_secs(10);

/// A plan with its compiled plugins.
pub struct Deployment {
    id: String,
    plan: Plan,
    programs: Vec<Compiled>,
}

/// One world's plugins of a deployment.
struct Compiled {
    program: Arc<dyn Program>,
    /// Index in the plan of each policy that was compiled, in the program's order.
    policies: Vec<usize>,
}

/// Where a policy's layers come from: which instance, and the policy's index in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) instance: usize,
    pub(crate) policy: usize,
}

impl Deployment {
    /// Compiles the plan's policies. Runs no plugin code.
    ///
    /// The second part holds all that is wrong; with an error among it there is no deployment.
    pub fn build(plan: Plan, worlds: &[Arc<dyn World>]) -> (Option<Self>, Vec<Diagnostic>) {
        let mut diagnostics = Vec::new();
        let mut by_world: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for (index, policy) in plan.policies.iter().enumerate() {
            by_world.entry(policy.world.clone()).or_default().push(index);
        }
        let project = plan.project();
        let mut programs = Vec::new();
        for (name, policies) in by_world {
            let Some(world) = worlds.iter().find(|world| world.name() == &*name) else {
                diagnostics.push(unknown_world(&plan, &name, &policies, worlds));
                continue;
            };
            let specs: Vec<PolicySpec> =
                policies.iter().map(|&index| plan.policies[index].spec.clone()).collect();
            if let Some(program) = world.compile(&project, &specs, &mut diagnostics) {
                programs.push(Compiled { program, policies });
            }
        }
        if diagnostics.iter().any(Diagnostic::is_error) {
            return (None, diagnostics);
        }
        let id = content_id(&plan, &programs);
        (Some(Self { id, plan, programs }), diagnostics)
    }

    /// Its content address: equal for equal configuration and code.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Reads the files of certificates, spawns the programs aside, on a runtime of the calling thread's own, and drops
    /// both again: what fails here never reaches a worker.
    pub fn trial(&self) -> Vec<Diagnostic> {
        let tls = self.plan.settings.tls.as_ref();
        let mut found = tls.map(|tls| Acceptor::load(tls, None).1).unwrap_or_default();
        let (clients, problems) = tls::load_clients(&self.plan.settings);
        found.extend(problems);
        found.extend(self.trial_of_programs(&clients.unwrap_or_default()));
        found
    }

    fn trial_of_programs(&self, clients: &Clients) -> Vec<Diagnostic> {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
        {
            Ok(runtime) => runtime,
            Err(error) => return vec![Diagnostic::error("internal", format!("no event loop: {error}"))],
        };
        runtime.block_on(async {
            let client = Client::new(&self.plan.settings);
            client.equip(clients);
            let variables = self.plan.variables.clone();
            let services = Services::new(client, Rc::new(Silent), variables, usize::MAX);
            match self.spawn(&services).await {
                Ok(_) => Vec::new(),
                Err(diagnostics) => diagnostics,
            }
        })
    }

    /// Makes the programs live on the calling worker, and checks that each policy can stand where the plan wants it.
    pub(crate) async fn spawn(&self, services: &Services) -> Result<Vec<Rc<dyn Instance>>, Vec<Diagnostic>> {
        let mut instances = Vec::new();
        let mut diagnostics = Vec::new();
        for compiled in &self.programs {
            // A module that waits for what never comes must not hold up reloads and stops.
            let spawned = match timeout(LOAD_WALL, compiled.program.spawn(services)).await {
                Ok(spawned) => spawned,
                Err(_) => Err(vec![self.too_slow(compiled)]),
            };
            match spawned {
                Ok(instance) => {
                    for (policy, &index) in compiled.policies.iter().enumerate() {
                        for &role in &self.plan.policies[index].spec.roles {
                            if let Err(diagnostic) = instance.layer(policy, role) {
                                diagnostics.push(*diagnostic);
                            }
                        }
                    }
                    instances.push(instance);
                }
                Err(problems) => diagnostics.extend(problems),
            }
        }
        if diagnostics.is_empty() { Ok(instances) } else { Err(diagnostics) }
    }

    fn too_slow(&self, compiled: &Compiled) -> Diagnostic {
        let world = compiled.policies.first().map_or("", |&index| &*self.plan.policies[index].world);
        let message = format!("the modules of world {world:?} did not finish loading within {LOAD_WALL:?}");
        Diagnostic::error("load-timeout", message)
            .expected("modules whose top level, and whose start-up hook, come to an end")
    }

    /// Where the layers of the plan's policies come from, by the policies' index.
    pub(crate) fn places(&self) -> Vec<Option<Place>> {
        let mut places = vec![None; self.plan.policies.len()];
        for (instance, compiled) in self.programs.iter().enumerate() {
            for (policy, &index) in compiled.policies.iter().enumerate() {
                places[index] = Some(Place { instance, policy });
            }
        }
        places
    }
}

fn unknown_world(plan: &Plan, name: &str, policies: &[usize], worlds: &[Arc<dyn World>]) -> Diagnostic {
    let names: Vec<&str> = worlds.iter().map(|world| world.name()).collect();
    let diagnostic = Diagnostic::error("unknown-world", format!("world {name:?} is not part of this build"))
        .expected(names.join(", "))
        .nearest(name, names);
    match policies.first().and_then(|&index| plan.policies.get(index)) {
        Some(policy) => diagnostic.at(policy.spec.file.clone(), policy.spec.span),
        None => diagnostic,
    }
}

fn content_id(plan: &Plan, programs: &[Compiled]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(format!("{plan:?}").as_bytes());
    for compiled in programs {
        context.update(&compiled.program.fingerprint());
    }
    context.finish().as_ref().iter().take(8).fold(String::new(), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    })
}

/// A trial has no log: what its plugins say is said again when they run.
struct Silent;

impl LogSink for Silent {
    fn log(&self, _line: LogLine) {}
}
