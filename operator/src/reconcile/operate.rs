//! The part of a pass that works on the pods: what is there, what is decided, and the steps carried out.

use std::net::IpAddr;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::api::status::WscClusterStatus;
use crate::desired::{self, Inputs, labels};
use crate::hub_admin::port::{DrainCall, ExpectedNode, HubAdminError, RebalanceCall};
use crate::observed::fleet::{Fleet, HeldBack};
use crate::observed::pod::HubPod;
use crate::observed::world::{Ongoing, World};
use crate::plan::decide::decide;
use crate::plan::drain_order::DrainOrder;
use crate::plan::operation::Plan;
use crate::plan::step::{Step, StepKind, Victim};
use crate::plan::wish::Wish;

use super::act;
use super::children::Children;
use super::error::ReconcileError;
use super::events::Action;
use super::memory::ClusterMemory;
use super::pass::Pass;
use super::secrets::Secrets;
use super::template::{self, TemplateHold};

impl Pass<'_> {
    /// Everything that is known of the pods now.
    pub(super) fn world(
        &self,
        fleet: Option<Fleet>,
        pods: Vec<HubPod>,
        previous: &WscClusterStatus,
        memory: &ClusterMemory,
    ) -> World {
        let ongoing = previous.operation.as_ref().map(|operation| Ongoing {
            id: operation.id.clone(),
            started_at: operation.started_at.0,
            total: operation.total,
        });
        let takes_down = [StepKind::Drain.word(), StepKind::Delete.word()];
        let recorded = previous.operation.iter().flat_map(|operation| &operation.pods);
        let mut world = World::new(fleet, pods, memory.hubs.views.clone(), ongoing);
        world.last_wish = (previous.observed_generation >= 0).then_some(previous.desired_replicas);
        world.claimed = recorded
            .filter(|pod| takes_down.contains(&pod.step.as_str()))
            .map(|pod| pod.uid.clone())
            .collect();
        world.listed = memory.hubs.listed.clone();
        world.rebalanced = memory.rebalanced.clone().or_else(|| previous.rebalanced.clone());
        world
    }

    /// Decides. Caches may be a moment behind and the hubs' answers half a minute old; what takes somebody's connections
    /// away is decided on what is there now.
    pub(super) async fn decide(
        &self,
        wish: &Wish,
        world: World,
        previous: &WscClusterStatus,
        secrets: &Secrets,
        memory: &mut ClusterMemory,
    ) -> Result<(World, Plan), ReconcileError> {
        let plan = decide(wish, &world, Timestamp::now());
        if !plan.needs_fresh_world() {
            return Ok((world, plan));
        }
        let selector = labels::selector_string(self.cluster);
        let pods = act::fresh_pods(self.applier.client, self.applier.namespace, &selector).await?;
        self.ask_hubs(secrets, &pods, memory).await;
        let world = self.world(world.fleet, pods, previous, memory);
        let plan = decide(wish, &world, Timestamp::now());
        Ok((world, plan))
    }

    /// Carries out the steps. What a hub refuses is seen by the next look at it.
    pub(super) async fn act(
        &self,
        plan: &Plan,
        world: &World,
        inputs: &Inputs,
        secrets: &Secrets,
        memory: &mut ClusterMemory,
    ) -> Result<(), ReconcileError> {
        for step in &plan.steps {
            let (namespace, cluster, kind) = (self.applier.namespace, self.name, step.kind().word());
            let pods: Vec<&str> = step.victims().iter().map(|victim| victim.name.as_str()).collect();
            tracing::info!(namespace, cluster, pods = pods.join(","), "{kind}");
            self.take(step, world, inputs, secrets, memory).await?;
            memory.hubs.expire();
        }
        Ok(())
    }

    async fn take(
        &self,
        step: &Step,
        world: &World,
        inputs: &Inputs,
        secrets: &Secrets,
        memory: &mut ClusterMemory,
    ) -> Result<(), ReconcileError> {
        match step {
            Step::Drain { victim, order } => self.drain(victim, order, world, secrets).await,
            Step::CancelDrain { victim } => self.cancel(victim, world, secrets).await,
            Step::Delete { victim } => {
                act::delete_pod(
                    self.applier.client,
                    self.applier.metrics,
                    self.applier.namespace,
                    victim,
                    false,
                )
                .await?;
                self.normal(Action::Pods, "ReplacingPod", format!("deleting pod {}", victim.name)).await;
            }
            Step::ForceDelete { victim } => {
                act::delete_pod(
                    self.applier.client,
                    self.applier.metrics,
                    self.applier.namespace,
                    victim,
                    true,
                )
                .await?;
                let note = format!(
                    "pod {} was removed: its Kubernetes node does not answer and its lease is gone",
                    victim.name
                );
                self.warning(Action::Pods, "LostPodRemoved", note).await;
            }
            Step::SetReplicas { from, to, .. } => {
                self.set_replicas(*to, inputs, memory).await?;
                let reason = if to > from { "ScalingUp" } else { "ScalingDown" };
                self.normal(Action::Pods, reason, format!("replicas {from} -> {to}")).await;
            }
            Step::PutBack { revision, victim, cause } => {
                self.put_back(revision, victim, cause, inputs, memory).await?;
            }
            Step::Rebalance { run, excess, rate } => {
                if self.rebalance(excess, *rate, world, secrets).await {
                    memory.rebalanced = Some(run.clone());
                }
            }
        }
        Ok(())
    }

    async fn drain(&self, victim: &Victim, order: &DrainOrder, world: &World, secrets: &Secrets) {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let call = DrainCall {
            id: order.id.clone(),
            expect: ExpectedNode { node_id: order.node_id.clone(), incarnation: order.incarnation.clone() },
            rate_per_second: order.rate,
            deadline_ms: millis(order.deadline).max(1),
            retry_after_max_ms: millis(order.retry_after_max),
        };
        let Some((ip, key)) = target(victim, world, secrets) else { return };
        let answer = self.shared.hub_admin.drain(ip, key, &call).await;
        if self.told(victim, &answer) {
            let note = format!("moving the clients of {} to other nodes", victim.name);
            self.normal(Action::Pods, "DrainingPod", note).await;
        }
    }

    async fn cancel(&self, victim: &Victim, world: &World, secrets: &Secrets) {
        let Some((ip, key)) = target(victim, world, secrets) else { return };
        let answer = self.shared.hub_admin.cancel_drain(ip, key).await;
        if self.told(victim, &answer) {
            let note = format!("{} may stay, its drain was taken back", victim.name);
            self.normal(Action::Pods, "DrainTakenBack", note).await;
        }
    }

    /// Returns whether every node was told.
    async fn rebalance(
        &self,
        excess: &[(Victim, u32)],
        rate_per_second: u32,
        world: &World,
        secrets: &Secrets,
    ) -> bool {
        let mut all = true;
        for (victim, close) in excess {
            let Some((ip, key)) = target(victim, world, secrets) else { return false };
            let call = RebalanceCall { close: *close, rate_per_second };
            let answer = self.shared.hub_admin.rebalance(ip, key, &call).await;
            if self.told(victim, &answer) {
                let note = format!("moving {close} connections of {} to other nodes", victim.name);
                self.normal(Action::Pods, "Rebalancing", note).await;
            } else {
                all = false;
            }
        }
        all
    }

    fn told(&self, victim: &Victim, answer: &Result<(), HubAdminError>) -> bool {
        self.applier.metrics.hub_call(answer.is_ok());
        if let Err(error) = answer {
            tracing::warn!(namespace = self.applier.namespace, pod = victim.name, "{error}");
        }
        answer.is_ok()
    }

    async fn set_replicas(
        &self,
        replicas: i32,
        inputs: &Inputs,
        memory: &mut ClusterMemory,
    ) -> Result<(), ReconcileError> {
        let inputs = Inputs { replicas, ..inputs.clone() };
        let children = desired::children(self.cluster, &inputs)
            .map_err(|error| ReconcileError::Spec(error.to_string()))?;
        let mut found = Children::default();
        for child in children.iter().filter(|child| self.is_hub_set(child)) {
            self.child(child, &mut found, memory).await?;
        }
        Ok(())
    }

    async fn put_back(
        &self,
        revision: &str,
        victim: &Victim,
        cause: &str,
        inputs: &Inputs,
        memory: &mut ClusterMemory,
    ) -> Result<(), ReconcileError> {
        let Some(template) = template::of_revision(&self.applier, revision).await? else {
            let name = self.name;
            return Err(ReconcileError::Spec(format!(
                "the last good template of {name} cannot be put back: ControllerRevision {revision} is gone"
            )));
        };
        let children = desired::children(self.cluster, inputs)
            .map_err(|error| ReconcileError::Spec(error.to_string()))?;
        let Some(child) = children.iter().find(|child| self.is_hub_set(child)) else { return Ok(()) };
        let asked: Value = child
            .to_json()
            .map_err(|source| ReconcileError::Json { what: "the StatefulSet".to_owned(), source })?;
        let held = HeldBack {
            refused: template::fingerprint(&asked["spec"]["template"]),
            revision: revision.to_owned(),
            pod: victim.name.clone(),
            cause: cause.chars().take(CAUSE_LENGTH).collect(),
        };
        memory.template = Some(TemplateHold::put_back(template, held));
        self.child(child, &mut Children::default(), memory).await?;
        let note = format!("{} {cause}: the template of revision {revision} was put back", victim.name);
        self.warning(Action::Pods, "TemplatePutBack", note).await;
        Ok(())
    }
}

/// Characters of a cause that are kept on the StatefulSet at most.
const CAUSE_LENGTH: usize = 500;

/// Where a pod's hub is asked, and the key for it.
fn target<'a>(victim: &Victim, world: &World, secrets: &'a Secrets) -> Option<(IpAddr, &'a str)> {
    let pod = world.pods.iter().find(|pod| pod.uid == victim.uid)?;
    Some((pod.ip.as_ref()?.parse().ok()?, secrets.admin_key.as_deref()?))
}
