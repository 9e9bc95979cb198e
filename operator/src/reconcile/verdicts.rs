//! Conditions and the phase: what is so, why, and what to do next.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::api::WscCluster;
use crate::api::conditions::{self, ConditionStatus, reasons};
use crate::api::status::{Phase, WscClusterStatus};
use crate::desired::names;
use crate::observed::redis::{RedisFault, RedisHealth};
use crate::observed::world::{Standing, World};
use crate::plan::census::elapsed;
use crate::plan::operation::{Kind, Plan};
use crate::plan::step::{Hold, Wait};
use crate::plan::wish::Wish;

use super::hot_settings;
use super::redis_verdict;
use super::secrets::SpecFault;

/// Why the operator only looks on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standstill {
    /// `spec.paused`.
    Paused,
    /// Annotation `wsc.dev/reconcile: disabled`.
    Disabled,
}

/// A verdict ready to become a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// Reason.
    pub reason: &'static str,
    /// Message.
    pub message: String,
}

impl Verdict {
    /// A verdict.
    pub fn new(status: impl Into<ConditionStatus>, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: status.into(), reason, message: message.into() }
    }

    fn holds(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

/// Everything a pass found out.
#[derive(Debug)]
pub struct Findings<'a> {
    /// The resource.
    pub cluster: &'a WscCluster,
    /// What is there.
    pub world: &'a World,
    /// What is planned.
    pub plan: &'a Plan,
    /// What is asked for.
    pub wish: &'a Wish,
    /// Why nothing is changed, if so.
    pub standstill: Option<Standstill>,
    /// Faults of the spec that the cluster shows.
    pub faults: &'a [SpecFault],
    /// Children the API server refused: kind, name and its sentence.
    pub refusals: &'a [String],
    /// Children that are on their way, for example being deleted before they are made again.
    pub pending: &'a [String],
    /// The exposure.
    pub exposure: Verdict,
    /// The condition AutoscalingActive.
    pub autoscaling: Verdict,
    /// The operator's default image, when another one is held.
    pub newer_image: Option<&'a str>,
}

/// Sets every condition in `status` and returns the phase.
pub fn conclude(
    status: &mut WscClusterStatus,
    previous: Option<Phase>,
    findings: &Findings<'_>,
    now: Timestamp,
) -> Phase {
    let spec_valid = spec_valid(findings);
    let redis = redis_verdict::redis(findings);
    let progressing = progressing(findings);
    let degraded = degraded(findings, previous, now);
    let available = available(findings);
    let ready = ready(findings, &spec_valid, &redis, &progressing, &degraded);
    let stalled = [
        (!spec_valid.holds()).then_some(&spec_valid),
        (findings.plan.stuck.is_some()
            || !findings.refusals.is_empty()
            || degraded.reason == reasons::SETTINGS_REFUSED)
            .then_some(&degraded),
    ]
    .into_iter()
    .flatten()
    .next();
    let phase = phase(findings, previous, &spec_valid, &ready, &degraded, status.ready_replicas);

    let generation = status.observed_generation;
    let time = Time(now);
    let list: &mut Vec<Condition> = &mut status.conditions;
    for (type_, verdict) in [
        (conditions::READY, &ready),
        (conditions::AVAILABLE, &available),
        (conditions::PROGRESSING, &progressing),
        (conditions::DEGRADED, &degraded),
        (conditions::SPEC_VALID, &spec_valid),
        (conditions::REDIS_READY, &redis),
        (conditions::EXPOSURE_READY, &findings.exposure),
        (conditions::AUTOSCALING_ACTIVE, &findings.autoscaling),
    ] {
        conditions::set(list, type_, verdict.status, verdict.reason, &verdict.message, generation, &time);
    }
    for (type_, verdict) in [
        (conditions::RECONCILING, (stalled.is_none() && progressing.holds()).then_some(&progressing)),
        (conditions::STALLED, stalled),
    ] {
        match verdict {
            Some(verdict) => {
                conditions::set(list, type_, true, verdict.reason, &verdict.message, generation, &time);
            }
            None => conditions::remove(list, type_),
        }
    }
    phase
}

fn spec_valid(findings: &Findings<'_>) -> Verdict {
    match findings.faults.first() {
        None => Verdict::new(true, reasons::AS_EXPECTED, "the spec can be carried out"),
        Some(first) => Verdict::new(
            false,
            first.reason,
            findings.faults.iter().map(|fault| fault.message.as_str()).collect::<Vec<_>>().join("; "),
        ),
    }
}

fn progressing(findings: &Findings<'_>) -> Verdict {
    if let Some(standstill) = findings.standstill {
        return standing_still(standstill, false);
    }
    if let Some(operation) = &findings.plan.operation {
        if findings.plan.stuck.is_some() && operation.kind == Kind::Rollout {
            return Verdict::new(false, reasons::ROLLOUT_STUCK, operation.message.clone());
        }
        let reason = match operation.kind {
            _ if matches!(findings.plan.wait, Some(Wait { hold: Hold::NoRoom, .. })) => reasons::NO_ROOM,
            Kind::ScaleUp | Kind::ScaleDown | Kind::Stop => reasons::SCALING,
            Kind::Rollout | Kind::Repair => reasons::ROLLING_OUT,
            Kind::Resume | Kind::Rebalance => reasons::REBALANCING,
        };
        return Verdict::new(true, reason, operation.message.clone());
    }
    if let Some(fault) = findings.faults.first() {
        return Verdict::new(
            false,
            fault.reason,
            format!("held until the spec can be carried out: {}", fault.message),
        );
    }
    if let Some(refusal) = findings.refusals.first() {
        return Verdict::new(false, reasons::APPLY_FAILED, format!("held: {refusal}"));
    }
    if let Some(first) = findings.pending.first() {
        return Verdict::new(true, reasons::STARTING, first.clone());
    }
    let census = Tally::of(findings);
    if findings.plan.stuck.is_none() && census.starting > 0 {
        return Verdict::new(
            true,
            reasons::STARTING,
            format!(
                "waiting for {} of {} pods to become Ready and register",
                census.starting, findings.wish.replicas
            ),
        );
    }
    if findings.plan.stuck.is_none() && (census.old > 0 || lags(findings)) {
        return Verdict::new(
            true,
            reasons::ROLLING_OUT,
            "waiting for the StatefulSet controller to see the changed template",
        );
    }
    if let Some(verdict) = hot_settings::progressing(&hot_settings::applied(findings), findings.wish.replicas)
    {
        return verdict;
    }
    match findings.newer_image {
        Some(newer) => Verdict::new(
            false,
            reasons::NEWER_TEMPLATE_AVAILABLE,
            format!(
                "nothing in progress; image {newer} is the default by now, the running one is kept until annotation wsc.dev/restart changes or spec.image names one"
            ),
        ),
        None => Verdict::new(false, reasons::IDLE, "nothing in progress"),
    }
}

/// A managed Redis takes a few seconds to start; until then its absence is no fault.
const REDIS_STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Whether a new cluster is still waiting for its own Redis to come up.
fn redis_starts(findings: &Findings<'_>, previous: Option<Phase>, now: Timestamp) -> bool {
    let created = findings.cluster.metadata.creation_timestamp.as_ref();
    findings.cluster.spec.redis.managed.is_some()
        && matches!(previous, None | Some(Phase::Pending))
        && matches!(findings.world.redis, RedisHealth::Down { fault: RedisFault::Unreachable, .. })
        && created.is_some_and(|created| elapsed(now, created.0) < REDIS_STARTS_WITHIN)
}

fn degraded(findings: &Findings<'_>, previous: Option<Phase>, now: Timestamp) -> Verdict {
    if let Some(stuck) = &findings.plan.stuck {
        return Verdict::new(
            true,
            reasons::ROLLOUT_STUCK,
            format!(
                "{} {}; {}: correct the spec, the rollout then goes on by itself",
                stuck.pod,
                stuck.cause,
                if stuck.put_back {
                    "the last good template was put back"
                } else {
                    "nothing more is replaced until it is Ready"
                }
            ),
        );
    }
    if let Some(first) = findings.refusals.first() {
        return Verdict::new(true, reasons::APPLY_FAILED, first.clone());
    }
    if findings.world.redis.is_down() && !redis_starts(findings, previous, now) {
        let verdict = redis_verdict::redis(findings);
        return Verdict::new(true, verdict.reason, verdict.message);
    }
    if let Some(verdict) = hot_settings::refused(&hot_settings::applied(findings)) {
        return verdict;
    }
    Verdict::new(false, reasons::AS_EXPECTED, "nothing is wrong")
}

fn available(findings: &Findings<'_>) -> Verdict {
    let serving = findings.world.pods.iter().filter(|pod| pod.ready && !pod.terminating).count();
    if serving > 0 {
        return Verdict::new(true, reasons::AS_EXPECTED, format!("{serving} nodes serve clients"));
    }
    match no_replicas(findings) {
        Some(verdict) => verdict,
        None => Verdict::new(
            false,
            reasons::NO_NODE,
            "no node serves clients; see Progressing, Degraded and SpecValid for why",
        ),
    }
}

fn no_replicas(findings: &Findings<'_>) -> Option<Verdict> {
    if findings.cluster.spec.stopped {
        return Some(Verdict::new(
            false,
            reasons::STOPPED,
            "stopped; set spec.stopped to false to serve clients again",
        ));
    }
    (findings.wish.replicas == 0)
        .then(|| Verdict::new(false, reasons::NO_REPLICAS, "spec.replicas is 0; raise it to serve clients"))
}

fn standing_still(standstill: Standstill, status: impl Into<ConditionStatus>) -> Verdict {
    Verdict::new(
        status,
        reasons::PAUSED,
        match standstill {
            Standstill::Paused => {
                "paused: nothing is changed and the spec is not compared with what runs; set spec.paused to false to go on"
            }
            Standstill::Disabled => {
                "annotation wsc.dev/reconcile is disabled: nothing is changed and the spec is not compared with what runs; remove it to go on"
            }
        },
    )
}

/// How many of the wanted pods are not yet as they should be, by kind.
struct Tally {
    missing: usize,
    starting: usize,
    old: usize,
    unregistered: usize,
}

impl Tally {
    fn of(findings: &Findings<'_>) -> Self {
        let world = findings.world;
        let revision = world.fleet.as_ref().and_then(|fleet| fleet.update_revision.as_deref());
        let mut tally = Self { missing: 0, starting: 0, old: 0, unregistered: 0 };
        for ordinal in 0..findings.wish.replicas {
            let Some(pod) = world.pod(ordinal) else {
                tally.missing += 1;
                tally.starting += 1;
                continue;
            };
            tally.old += usize::from(revision != Some(pod.revision.as_str()));
            match world.standing(pod) {
                Standing::Active => {}
                Standing::Unregistered | Standing::Unknown => {
                    tally.unregistered += 1;
                    tally.starting += 1;
                }
                _ => tally.starting += 1,
            }
        }
        tally
    }
}

/// Whether the StatefulSet controller has not seen the latest template yet.
fn lags(findings: &Findings<'_>) -> bool {
    findings.world.fleet.as_ref().is_none_or(|fleet| !fleet.current)
}

fn ready(
    findings: &Findings<'_>,
    spec_valid: &Verdict,
    redis: &Verdict,
    progressing: &Verdict,
    degraded: &Verdict,
) -> Verdict {
    if let Some(standstill) = findings.standstill {
        return standing_still(standstill, ConditionStatus::Unknown);
    }
    if let Some(verdict) = no_replicas(findings) {
        return verdict;
    }
    let not = |verdict: &Verdict| Verdict::new(false, verdict.reason, verdict.message.clone());
    if !spec_valid.holds() {
        return not(spec_valid);
    }
    if degraded.holds() {
        return not(degraded);
    }
    let tally = Tally::of(findings);
    let wanted = findings.wish.replicas;
    if tally.missing > 0 {
        return Verdict::new(
            false,
            reasons::PODS_MISSING,
            format!(
                "{} of {wanted} pods are missing; if they stay away, kubectl describe statefulset/{} says why",
                tally.missing,
                names::statefulset(findings.cluster)
            ),
        );
    }
    if progressing.holds() && findings.plan.operation.is_some() {
        return not(progressing);
    }
    if tally.starting > tally.unregistered {
        return Verdict::new(
            false,
            reasons::PODS_NOT_READY,
            format!("{} of {wanted} pods are not Ready", tally.starting - tally.unregistered),
        );
    }
    if tally.unregistered > 0 {
        return Verdict::new(
            false,
            reasons::NOT_REGISTERED,
            format!(
                "{} of {wanted} pods are Ready but not registered with the other nodes",
                tally.unregistered
            ),
        );
    }
    if tally.old > 0 || lags(findings) {
        return Verdict::new(
            false,
            reasons::ROLLING_OUT,
            format!("{} of {wanted} pods run an older template", tally.old),
        );
    }
    for verdict in [redis, &findings.exposure] {
        if !verdict.holds() {
            return not(verdict);
        }
    }
    if progressing.holds() {
        return not(progressing);
    }
    Verdict::new(true, reasons::AS_EXPECTED, format!("all {wanted} pods are Ready, current and registered"))
}

fn phase(
    findings: &Findings<'_>,
    previous: Option<Phase>,
    spec_valid: &Verdict,
    ready: &Verdict,
    degraded: &Verdict,
    serving: i32,
) -> Phase {
    if findings.standstill.is_some() {
        Phase::Paused
    } else if !spec_valid.holds() {
        Phase::Invalid
    } else if findings.wish.replicas == 0 {
        Phase::Stopped
    } else if ready.holds() {
        Phase::Ready
    } else if degraded.holds() {
        Phase::Degraded
    } else if serving == 0 && matches!(previous, None | Some(Phase::Pending | Phase::Invalid)) {
        Phase::Pending
    } else {
        Phase::Progressing
    }
}
