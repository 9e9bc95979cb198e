//! One pass over one resource, step by step: Secrets, children, hubs, plan, status, action.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::{Api, DynamicObject};
use kube::runtime::controller::Action as Requeue;

use crate::api::WscCluster;
use crate::api::conditions;
use crate::api::exposure::ExposureType;
use crate::api::status::{OperationType, WscClusterStatus};
use crate::desired::{Inputs, labels, names};
use crate::observed::fleet::Fleet;
use crate::observed::pod::HubPod;
use crate::plan::operation::Plan;
use crate::plan::wish::{DrainWish, Wish};

use super::act;
use super::apply::Applier;
use super::children::Children;
use super::context::{Context, Shared};
use super::error::ReconcileError;
use super::exposure::{self, Class};
use super::gateway;
use super::hubs;
use super::memory::ClusterMemory;
use super::secrets::{self, Checked, Secrets};
use super::status;
use super::template::TemplateHold;
use super::verdicts::{Findings, Standstill, Verdict};

/// Annotation on the resource: `disabled` makes the operator look on only.
const RECONCILE: &str = "wsc.dev/reconcile";

/// Annotation on the resource: a new value moves connections above the mean to other nodes, once.
const REBALANCE: &str = "wsc.dev/rebalance";

/// Characters of a run id that count.
const RUN_LENGTH: usize = 200;

/// Pause before another look while something is on its way that no watch will tell.
const SOON: Duration = Duration::from_secs(2);

/// Pause before another look at a fault in the spec, which may be mended by a Secret that is not
/// watched.
const FAULTY: Duration = Duration::from_secs(5);

/// Shortest pause between two looks.
const AT_ONCE: Duration = Duration::from_millis(200);

/// One pass.
pub struct Pass<'a> {
    pub(super) shared: &'a Shared,
    pub(super) applier: Applier<'a>,
    pub(super) cluster: &'a WscCluster,
    pub(super) name: &'a str,
    pub(super) about: ObjectReference,
    pub(super) standstill: Option<Standstill>,
}

impl<'a> Pass<'a> {
    /// A pass over a resource.
    ///
    /// # Errors
    /// When the resource lacks name, namespace or uid.
    pub fn new(context: &'a Context, cluster: &'a WscCluster) -> Result<Self, ReconcileError> {
        let metadata = &cluster.metadata;
        let name = metadata.name.as_deref().ok_or(ReconcileError::Incomplete("name"))?;
        let namespace = metadata.namespace.as_deref().ok_or(ReconcileError::Incomplete("namespace"))?;
        let owner = metadata.uid.as_deref().ok_or(ReconcileError::Incomplete("uid"))?;
        let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key));
        let standstill = if annotation(RECONCILE).is_some_and(|value| value == "disabled") {
            Some(Standstill::Disabled)
        } else {
            cluster.spec.paused.then_some(Standstill::Paused)
        };
        Ok(Self {
            shared: &context.shared,
            applier: Applier {
                client: &context.shared.client,
                caches: &context.caches,
                metrics: &context.shared.metrics,
                namespace,
                owner,
            },
            cluster,
            name,
            about: cluster.object_ref(&()),
            standstill,
        })
    }

    /// Runs the pass and says when to look again.
    ///
    /// # Errors
    /// When a request fails in a way that another attempt may mend.
    pub async fn run(&self, memory: &mut ClusterMemory) -> Result<Requeue, ReconcileError> {
        let running = self.running_set().await?;
        let secrets = self.secrets(running.is_some(), memory).await?;
        let class =
            exposure::class(self.applier.client, self.cluster, self.shared.defaults.cluster_scope).await?;
        let previous = status::current(self.cluster);
        let scaling = self.scaling(&previous, &self.pods(), memory);
        let wish = self.wish(scaling.replicas);
        let inputs = self.inputs(&wish, running.as_ref(), &secrets);
        let scaling_up =
            previous.operation.as_ref().is_some_and(|going| going.type_ == OperationType::ScaleUp);
        memory.template =
            TemplateHold::of(&self.applier, running.as_ref(), &wish, scaling_up, memory.template.take())
                .await?;
        let children = self.children(&inputs, &secrets, memory).await?;
        let hub_set = children.hub_set.as_ref().map(|object| read_set(object)).transpose()?;
        let fleet = hub_set.as_ref().or(running.as_ref()).map(Fleet::read);

        let pods = self.pods();
        let asked = memory.hubs.is_due(&pods, Instant::now());
        if asked {
            self.ask_hubs(&secrets, &pods, memory).await;
        }
        let world = self.world(fleet, pods, &previous, memory);
        let decision = Wish { paused: wish.paused || children.hub_set.is_none(), ..wish.clone() };
        let (world, plan) = self.decide(&decision, world, &previous, &secrets, memory).await?;

        let newer_image = inputs
            .held_image
            .as_ref()
            .filter(|held| **held != inputs.default_hub_image)
            .map(|_| inputs.default_hub_image.as_str());
        let findings = Findings {
            cluster: self.cluster,
            world: &world,
            plan: &plan,
            wish: &wish,
            standstill: self.standstill,
            faults: &children.faults,
            refusals: &children.refusals,
            pending: &children.pending,
            exposure: self.exposure(&class, &children),
            autoscaling: scaling.verdict,
            newer_image,
        };
        let next = self.write_status(&previous, &findings, memory).await?;
        self.act(&plan, &world, &inputs, &secrets, memory).await?;
        self.tell(&previous, &next, &children, &secrets).await;
        self.hurry(&findings, &secrets, memory).await?;

        let settled = conditions::is_true(&next.conditions, conditions::READY);
        memory.hubs.pause = if plan.operation.is_some() && plan.stuck.is_none() {
            hubs::DURING_OPERATION
        } else if settled || wish.replicas == 0 {
            hubs::WHEN_QUIET
        } else {
            hubs::WHILE_UNSETTLED
        };
        // What the hubs said just now may ask for another number of nodes than what they said before.
        let rescale = asked && self.scaling(&next, &world.pods, memory).replicas != wish.replicas;
        let pause = self.pause(&plan, &children, memory);
        Ok(Requeue::requeue(if rescale { AT_ONCE } else { pause }))
    }

    /// The hub StatefulSet before this pass, if it is ours.
    async fn running_set(&self) -> Result<Option<StatefulSet>, ReconcileError> {
        let name = names::statefulset(self.cluster);
        let object = match self.applier.caches.child("StatefulSet", self.applier.namespace, &name) {
            Some(object) => Some(read_set(&object)?),
            None => Api::<StatefulSet>::namespaced(self.applier.client.clone(), self.applier.namespace)
                .get_opt(&name)
                .await
                .map_err(ReconcileError::api(format!("reading StatefulSet {name}")))?,
        };
        Ok(object.filter(|set| {
            let owners = set.metadata.owner_references.as_deref().unwrap_or_default();
            owners.iter().any(|owner| owner.uid == self.applier.owner)
        }))
    }

    async fn secrets(
        &self,
        established: bool,
        memory: &mut ClusterMemory,
    ) -> Result<Secrets, ReconcileError> {
        let generation = self.cluster.metadata.generation;
        if let Some(checked) = &memory.checked
            && checked.is_fresh(generation, Instant::now())
        {
            return Ok(checked.found.clone());
        }
        let found = secrets::ensure(
            self.applier.client,
            self.applier.metrics,
            self.cluster,
            secrets::Mode { create: self.standstill.is_none(), established },
            memory,
        )
        .await?;
        memory.checked = Some(Checked::new(generation, &found));
        Ok(found)
    }

    fn wish(&self, replicas: i32) -> Wish {
        let spec = &self.cluster.spec;
        Wish {
            replicas,
            paused: self.standstill.is_some(),
            min_ready: Duration::from_secs(u64::try_from(spec.rollout.min_ready_seconds).unwrap_or_default()),
            max_unavailable: usize::try_from(spec.rollout.max_unavailable).unwrap_or(1),
            progress_deadline: spec.rollout.progress_deadline.get(),
            drain: DrainWish {
                rate: u32::try_from(spec.drain.rate_per_second).unwrap_or(1).max(1),
                timeout: spec.drain.timeout.get(),
                retry_after_max: spec.drain.retry_after_max.get(),
            },
            rebalance: self.annotation(REBALANCE).map(|run| run.chars().take(RUN_LENGTH).collect()),
        }
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        let all = self.cluster.metadata.annotations.as_ref()?;
        all.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn inputs(&self, wish: &Wish, running: Option<&StatefulSet>, secrets: &Secrets) -> Inputs {
        let fleet = running.map(Fleet::read);
        Inputs {
            operator_version: env!("CARGO_PKG_VERSION").to_owned(),
            default_hub_image: self.shared.defaults.hub_image.clone(),
            default_redis_image: self.shared.defaults.redis_image.clone(),
            redis_auth_version: secrets.redis_auth_version.clone(),
            replicas: fleet.as_ref().map_or(wish.replicas, |fleet| fleet.replicas),
            held_image: self.held_image(running, fleet.as_ref()),
            served: self.applier.caches.served(),
        }
    }

    /// The image that runs, while the spec names none and no restart is asked for: a newer default
    /// of the operator restarts nobody.
    fn held_image(&self, running: Option<&StatefulSet>, fleet: Option<&Fleet>) -> Option<String> {
        if self.cluster.spec.image.is_chosen() {
            return None;
        }
        let template = running?.spec.as_ref()?.template.metadata.as_ref();
        let restarted = template
            .and_then(|metadata| metadata.annotations.as_ref())
            .and_then(|annotations| annotations.get(labels::RESTART));
        let asked = self
            .cluster
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(labels::RESTART));
        (restarted == asked)
            .then(|| fleet.map(|fleet| fleet.image.clone()))
            .flatten()
            .filter(|image| !image.is_empty())
    }

    fn exposure(&self, class: &Class, children: &Children) -> Verdict {
        let refused = children.ingress_refused;
        if self.cluster.spec.exposure.type_ == ExposureType::Gateway {
            let (caches, namespace) = (self.applier.caches, self.applier.namespace);
            let children = caches.children_of(namespace, self.name);
            let routes = children.iter().filter(|(kind, _)| kind.kind == "HTTPRoute");
            let routes: Vec<&DynamicObject> = routes.map(|(_, route)| route.as_ref()).collect();
            return gateway::verdict(self.cluster, caches.served().http_route, &routes, refused);
        }
        let name = names::client_service(self.cluster);
        let service = self.applier.caches.child("Service", self.applier.namespace, &name);
        let address = service.as_deref().and_then(exposure::address);
        exposure::verdict(self.cluster, class, address.as_deref(), refused)
    }

    fn pods(&self) -> Vec<HubPod> {
        self.applier
            .caches
            .pods_of(self.applier.namespace, self.name)
            .iter()
            .filter_map(|pod| HubPod::read(pod))
            .collect()
    }

    pub(super) async fn ask_hubs(&self, secrets: &Secrets, pods: &[HubPod], memory: &mut ClusterMemory) {
        let missing = format!("Secret {} holds no admin key", names::effective_api_secret(self.cluster));
        let key = secrets.admin_key.as_deref().ok_or(missing.as_str());
        hubs::ask(self.shared.hub_admin.as_ref(), self.applier.metrics, key, pods, &mut memory.hubs).await;
    }

    async fn write_status(
        &self,
        previous: &WscClusterStatus,
        findings: &Findings<'_>,
        memory: &mut ClusterMemory,
    ) -> Result<WscClusterStatus, ReconcileError> {
        let mut next = status::build(previous, findings, Timestamp::now());
        let now = Instant::now();
        if status::hold_connections(previous, &mut next, memory.connections_written, now) {
            memory.connections_written = Some(now);
        }
        act::write_status(
            self.applier.client,
            self.applier.metrics,
            self.cluster,
            previous,
            &next,
            findings.plan.acts(),
        )
        .await?;
        Ok(next)
    }

    fn pause(&self, plan: &Plan, children: &Children, memory: &ClusterMemory) -> Duration {
        let mut pause = self.shared.defaults.resync.min(memory.hubs.pause);
        if let Some(wait) = &plan.wait {
            pause = pause.min(wait.after);
        }
        if plan.acts() {
            pause = pause.min(SOON);
        }
        if !children.pending.is_empty() {
            pause = pause.min(SOON);
        }
        if !children.faults.is_empty() || !children.refusals.is_empty() {
            pause = pause.min(FAULTY);
        }
        pause.max(AT_ONCE)
    }
}

fn read_set(object: &DynamicObject) -> Result<StatefulSet, ReconcileError> {
    object
        .clone()
        .try_parse()
        .map_err(|error| ReconcileError::Spec(format!("a StatefulSet cannot be read: {error}")))
}
