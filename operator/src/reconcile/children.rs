//! The part of a pass that makes the children.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use kube::api::DynamicObject;

use crate::api::conditions::reasons;
use crate::desired::{self, Child, Inputs, names};

use super::apply::Outcome;
use super::error::ReconcileError;
use super::memory::ClusterMemory;
use super::pass::Pass;
use super::secrets::{Secrets, SpecFault};
use super::sweep::sweep;

/// What became of the children.
#[derive(Debug, Default)]
pub struct Children {
    /// What is wrong with the spec.
    pub faults: Vec<SpecFault>,
    /// What the API server refused, with its sentence.
    pub refusals: Vec<String>,
    /// Whether the Ingress or an HTTPRoute is among what was refused.
    pub ingress_refused: bool,
    /// What is on its way.
    pub pending: Vec<String>,
    /// What was created, as kind and name.
    pub created: Vec<String>,
    /// The hub StatefulSet as the pass left it; `None` keeps the plan from acting.
    pub hub_set: Option<Arc<DynamicObject>>,
}

impl Pass<'_> {
    /// Makes all children as they should be and removes those no longer wanted.
    ///
    /// # Errors
    /// When a request fails in a way that another attempt may mend.
    pub(super) async fn children(
        &self,
        inputs: &Inputs,
        secrets: &Secrets,
        memory: &mut ClusterMemory,
    ) -> Result<Children, ReconcileError> {
        let mut found = Children { faults: secrets.faults.clone(), ..Children::default() };
        if let Some(name) = &secrets.leftover {
            found.pending.push(format!(
                "waiting for Secret {name} of an earlier resource of this name to be collected"
            ));
        }
        let desired = match desired::children(self.cluster, inputs) {
            Ok(desired) => desired,
            Err(error) => {
                found.faults.push(SpecFault { reason: reasons::INVALID, message: error.to_string() });
                return Ok(found);
            }
        };
        if self.standstill.is_some() || secrets.leftover.is_some() {
            return Ok(found);
        }
        // A template that names a missing Secret would only make pods that cannot start.
        let hold_hub = !secrets.faults.is_empty();
        let mut wanted = BTreeSet::new();
        for child in &desired {
            wanted.insert((child.kind().to_owned(), child.name().to_owned()));
            if hold_hub && self.is_hub_set(child) {
                continue;
            }
            self.child(child, &mut found, memory).await?;
        }
        sweep(&self.applier, self.name, &wanted, memory).await?;
        Ok(found)
    }

    pub(super) fn is_hub_set(&self, child: &Child) -> bool {
        child.kind() == "StatefulSet" && child.name() == names::statefulset(self.cluster)
    }

    /// Makes one child as it should be.
    pub(super) async fn child(
        &self,
        child: &Child,
        found: &mut Children,
        memory: &mut ClusterMemory,
    ) -> Result<(), ReconcileError> {
        let (kind, name) = (child.kind(), child.name());
        let mut json = child
            .to_json()
            .map_err(|source| ReconcileError::Json { what: format!("{kind} {name}"), source })?;
        if self.is_hub_set(child)
            && let Some(hold) = &memory.template
        {
            hold.impose(&mut json);
        }
        let outcome = self.applier.ensure(kind, name, &json, memory).await?;
        if self.is_hub_set(child) {
            found.hub_set = outcome.object().cloned();
        }
        if kind == "ConfigMap" && matches!(outcome, Outcome::Created(_) | Outcome::Changed(_)) {
            memory.hubs.settings_written(Instant::now());
        }
        match outcome {
            Outcome::Unchanged(_) | Outcome::Changed(_) => {}
            Outcome::Created(_) => found.created.push(format!("{kind} {name}")),
            Outcome::Ending => found.pending.push(format!(
                "waiting for {kind} {name} to end before it is made again"
            )),
            Outcome::Taken { owner } => found.faults.push(SpecFault {
                reason: reasons::NAME_TAKEN,
                message: format!(
                    "{kind} {name} belongs to {owner} and is left alone: delete or rename it, or give this resource another name"
                ),
            }),
            Outcome::Refused { message } => {
                found.ingress_refused |= matches!(kind, "Ingress" | "HTTPRoute");
                found.refusals.push(format!("the API server refused {kind} {name}: {message}"));
            }
        }
        Ok(())
    }
}
