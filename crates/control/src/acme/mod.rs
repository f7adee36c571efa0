//! Certificates by ACME (RFC 8555): obtained when there are none, renewed in time, one domain after the other.
//!
//! All of it happens on a thread of its own. What is obtained is written into files and comes into use as other files
//! of certificates do; so traffic is never touched by an authority that is slow, away, or refuses. Several processes may
//! have one folder: whoever holds its lock speaks with the authority, the others take what they find.

mod account;
mod agent;
mod http;
mod order;
mod schedule;
mod status;
mod storage;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use polygate_gateway::Challenges;
use polygate_plan as plan;
use tokio::sync::mpsc;

use self::agent::Agent;
pub(crate) use self::status::{DomainStatus, Status};
use crate::state::Command;

/// Obtains and renews; ends when dropped.
pub(crate) struct Acme {
    orders: mpsc::UnboundedSender<Option<Assignment>>,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Assignment {
    settings: plan::Acme,
    /// The key of the account that the operator has with the authority, in base64url.
    external_key: Option<String>,
}

impl Acme {
    /// Starts the thread. It tells `commands` when there is a new certificate.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(
        challenges: Arc<Challenges>,
        commands: Sender<Command>,
        status: Arc<Status>,
    ) -> io::Result<Self> {
        let (orders, inbox) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("polygate-acme".to_owned()).spawn(move || {
            runtime.block_on(run(inbox, &challenges, &commands, &status));
            // A request to the authority that is still under way must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Self { orders })
    }

    /// Goes on with these settings; `None` has nothing to do.
    pub(crate) fn assign(&self, settings: Option<&plan::Acme>, variables: &BTreeMap<String, String>) {
        let assignment = settings.map(|settings| Assignment {
            external_key: settings
                .external_account
                .as_ref()
                .and_then(|account| variables.get(&account.key_variable).cloned()),
            settings: settings.clone(),
        });
        // Its thread ends with this handle only.
        let _ = self.orders.send(assignment);
    }
}

async fn run(
    mut inbox: mpsc::UnboundedReceiver<Option<Assignment>>,
    challenges: &Arc<Challenges>,
    commands: &Sender<Command>,
    status: &Arc<Status>,
) {
    let mut current: Option<Assignment> = None;
    loop {
        let agent = async {
            match &current {
                Some(assignment) => Agent::new(assignment, challenges, commands, status).run().await,
                None => {
                    status.clear();
                    std::future::pending::<Infallible>().await
                }
            }
        };
        let next = {
            let mut agent = std::pin::pin!(agent);
            loop {
                tokio::select! {
                    next = inbox.recv() => match next {
                        // A reload that changed other things must not interrupt an order.
                        Some(same) if same == current => {}
                        next => break next,
                    },
                    never = &mut agent => match never {},
                }
            }
        };
        match next {
            Some(next) => current = next,
            None => return,
        }
    }
}
