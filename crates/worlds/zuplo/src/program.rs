//! The program: compiled modules and the policies that they serve, shared by all workers.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use polygate_engine_js::Program as Modules;
use polygate_pipeline::{Diagnostic, Instance, Layer, PolicySpec, Program, Role, Services};

use crate::layer::PolicyLayer;
use crate::live::Live;
use crate::seat::Seat;
use crate::template::Template;

/// A compiled project.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) modules: Arc<Modules>,
    pub(crate) policies: Vec<PolicySpec>,
    /// What runs each policy, in the same order.
    pub(crate) entries: Vec<Entry>,
    pub(crate) init: Option<Init>,
    /// Hash of code and options: tells this program from others.
    pub(crate) fingerprint: [u8; 16],
    /// The same, shorter, for problem responses.
    pub(crate) build_id: String,
}

/// What runs a policy.
#[derive(Debug)]
pub(crate) enum Entry {
    /// An export of this module.
    Module(String),
    /// The module that a template became.
    Template(String, Template),
    /// Nothing but the project's hooks.
    Hooks,
}

/// The module with the project's `runtimeInit`.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) module: String,
    /// Relative to the root.
    pub(crate) file: String,
}

/// A compiled project, as the contract sees it.
pub(crate) struct ZuploProgram(pub(crate) Arc<Compiled>);

impl Program for ZuploProgram {
    fn spawn<'a>(
        &'a self,
        services: &'a Services,
    ) -> LocalBoxFuture<'a, Result<Rc<dyn Instance>, Vec<Diagnostic>>> {
        Box::pin(async move {
            let live = Live::load(&self.0, services).await?;
            let seat = Seat::new(self.0.clone(), services.clone(), live);
            Ok(Rc::new(ZuploInstance { seat }) as Rc<dyn Instance>)
        })
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.0.fingerprint.to_vec()
    }
}

/// A project live on one worker.
struct ZuploInstance {
    seat: Rc<Seat>,
}

impl Instance for ZuploInstance {
    fn layer(&self, policy: usize, role: Role) -> Result<Rc<dyn Layer>, Box<Diagnostic>> {
        let program = self.seat.program();
        let (Some(spec), Some(entry)) = (program.policies.get(policy), program.entries.get(policy)) else {
            return Err(Box::new(Diagnostic::error(
                "unknown-policy",
                format!("no policy has the index {policy}"),
            )));
        };
        let fits = match entry {
            Entry::Hooks | Entry::Template(..) => role == Role::Inbound,
            Entry::Module(_) => spec.roles.contains(&role),
        };
        if !fits {
            let message = format!("the policy {:?} cannot stand as {}", spec.name, role.as_str());
            return Err(Box::new(Diagnostic::error("wrong-role", message).at(spec.file.as_str(), spec.span)));
        }
        Ok(Rc::new(PolicyLayer::new(self.seat.clone(), policy, role)))
    }

    fn memory(&self) -> u64 {
        self.seat.memory()
    }
}
