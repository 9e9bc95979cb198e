//! The number of nodes wished for, in each mode of autoscaling, and what is said about it.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::api::autoscaling::AutoscalingMode;
use crate::api::conditions::{ConditionStatus, reasons};
use crate::api::status::WscClusterStatus;
use crate::desired::names;
use crate::observed::pod::HubPod;
use crate::plan::autoscale::{Advice, Goal, History, Load, Why, advise};

use super::hubs::HubMemory;
use super::memory::ClusterMemory;
use super::pass::Pass;
use super::verdicts::Verdict;

/// The number of nodes wished for and the condition that explains it.
#[derive(Debug, Clone)]
pub struct Scaling {
    /// Nodes.
    pub replicas: i32,
    /// The condition AutoscalingActive.
    pub verdict: Verdict,
}

impl Pass<'_> {
    /// Decides how many nodes there should be, by the spec, by the HorizontalPodAutoscaler that writes the spec, or by
    /// what the hubs said last.
    pub(super) fn scaling(
        &self,
        previous: &WscClusterStatus,
        pods: &[HubPod],
        memory: &mut ClusterMemory,
    ) -> Scaling {
        let spec = &self.cluster.spec;
        let mode = spec.autoscaling.mode;
        if mode != AutoscalingMode::Connections {
            memory.scaling = History::default();
        }
        if spec.stopped || spec.replicas <= 0 {
            let (reason, message) = match (mode, spec.stopped) {
                (AutoscalingMode::Disabled, _) => (reasons::DISABLED, OFF),
                (_, true) => (reasons::STOPPED, "held: spec.stopped is true"),
                (_, false) => (reasons::NO_REPLICAS, "held: spec.replicas is 0, which no autoscaler changes"),
            };
            return Scaling { replicas: 0, verdict: Verdict::new(false, reason, message) };
        }
        match mode {
            AutoscalingMode::Disabled => {
                Scaling { replicas: spec.replicas, verdict: Verdict::new(false, reasons::DISABLED, OFF) }
            }
            AutoscalingMode::Hpa => {
                let name = names::autoscaler(self.cluster);
                let object =
                    self.applier.caches.child("HorizontalPodAutoscaler", self.applier.namespace, &name);
                Scaling {
                    replicas: spec.replicas.max(spec.autoscaling.min_replicas),
                    verdict: of_autoscaler(object.as_deref().map(|object| &object.data)),
                }
            }
            AutoscalingMode::Connections => self.by_connections(previous, pods, memory),
        }
    }

    fn by_connections(
        &self,
        previous: &WscClusterStatus,
        pods: &[HubPod],
        memory: &mut ClusterMemory,
    ) -> Scaling {
        let spec = &self.cluster.spec;
        let autoscaling = &spec.autoscaling;
        let goal = Goal {
            per_node: autoscaling.target_connections_per_node.into(),
            min: autoscaling.min_replicas,
            max: autoscaling.max_replicas.max(autoscaling.min_replicas),
            stabilization: autoscaling.scale_down.stabilization.get(),
        };
        // What was decided before goes on; the spec is only where it starts.
        let before = previous.desired_replicas;
        let current = if previous.observed_generation >= 0 && before > 0 { before } else { spec.replicas };
        let current = current.clamp(goal.min, goal.max);
        let load = load(pods, &memory.hubs, current);
        if self.standstill.is_some() {
            let message = "held: nothing is changed while the resource is paused";
            return Scaling { replicas: current, verdict: Verdict::new(false, reasons::PAUSED, message) };
        }
        let advice = advise(goal, load, current, &mut memory.scaling, Timestamp::now());
        Scaling { replicas: advice.replicas, verdict: of_connections(goal, load, current, advice) }
    }
}

const OFF: &str = "spec.autoscaling.mode is Disabled: spec.replicas says how many nodes there are";

/// What the hubs said last. A pod whose hub has not started has no clients; one that is missing may have had some.
fn load(pods: &[HubPod], hubs: &HubMemory, current: i32) -> Load {
    let report = |pod: &HubPod| hubs.views.get(&pod.uid).and_then(|view| view.report());
    let connections = pods.iter().filter_map(report).map(|report| report.connections).sum();
    let is_known = |ordinal: i32| {
        let pod = pods.iter().find(|pod| pod.ordinal == ordinal);
        pod.is_some_and(|pod| report(pod).is_some() || (!pod.running && !pod.ready))
    };
    Load { connections, unknown: (0..current).filter(|ordinal| !is_known(*ordinal)).count() }
}

fn of_connections(goal: Goal, load: Load, current: i32, advice: Advice) -> Verdict {
    let (Goal { per_node, min, max, .. }, Load { connections, .. }) = (goal, load);
    let replicas = advice.replicas;
    let sum = format!("{connections} connections at {per_node} a node");
    match advice.why {
        Why::Fits if replicas == current => {
            Verdict::new(true, reasons::FITTING, format!("{sum}: {replicas} nodes fit"))
        }
        Why::Fits => Verdict::new(true, reasons::ADJUSTING, format!("{sum}: {current} -> {replicas} nodes")),
        Why::Limited { needed } => Verdict::new(
            true,
            reasons::LIMITED,
            format!("{sum} ask for {needed} nodes, the spec allows {min} to {max}: {replicas}"),
        ),
        Why::Stabilizing { enough } => Verdict::new(
            true,
            reasons::STABILIZING,
            format!(
                "{sum}: {enough} nodes are enough, {replicas} stay until that has been so for {} s",
                goal.stabilization.as_secs()
            ),
        ),
        Why::Unknown { nodes } => Verdict::new(
            ConditionStatus::Unknown,
            reasons::NODES_UNKNOWN,
            format!(
                "{nodes} of {current} nodes do not say how many connections they have, so none is removed"
            ),
        ),
    }
}

/// What the HorizontalPodAutoscaler says of itself.
fn of_autoscaler(object: Option<&Value>) -> Verdict {
    let conditions = object.and_then(|object| object.pointer("/status/conditions")?.as_array());
    let find = |type_: &str| {
        let condition = conditions?.iter().find(|condition| condition["type"] == type_)?;
        let message = condition["message"].as_str().unwrap_or_default();
        let reason = condition["reason"].as_str().unwrap_or_default();
        Some((condition["status"] == "True", format!("{reason}: {message}")))
    };
    let failed = ["AbleToScale", "ScalingActive"].into_iter().find_map(|type_| {
        let (good, said) = find(type_)?;
        (!good).then_some(said)
    });
    match (failed, find("ScalingActive")) {
        (Some(said), _) => Verdict::new(
            false,
            reasons::AUTOSCALER_FAILS,
            format!(
                "the HorizontalPodAutoscaler cannot scale, {said}; the number of nodes stays; it needs a metrics server and a CPU request on the pods"
            ),
        ),
        (None, Some((_, said))) => {
            Verdict::new(true, reasons::AS_EXPECTED, format!("the HorizontalPodAutoscaler scales, {said}"))
        }
        (None, None) => Verdict::new(
            ConditionStatus::Unknown,
            reasons::UNKNOWN,
            "the HorizontalPodAutoscaler has not reported yet",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::observed::hub::HubView;

    fn pod(ordinal: i32, running: bool) -> HubPod {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": format!("chat-{ordinal}"), "uid": format!("uid-{ordinal}")},
            "status": {"containerStatuses": [{
                "name": "hub", "ready": running, "restartCount": 0, "image": "", "imageID": "",
                "state": if running { json!({"running": {}}) } else { json!({"waiting": {}}) }
            }]}
        }));
        HubPod::read(&pod.unwrap()).unwrap()
    }

    #[test]
    fn a_silent_or_missing_node_is_unknown_and_one_that_never_ran_has_no_clients() {
        let report = json!({"phase": "active", "redis": "up", "connections": 70});
        let view = |answer| HubView { answer, registered: true, absent_since: None };
        let mut hubs = HubMemory::default();
        hubs.views = BTreeMap::from([
            ("uid-0".to_owned(), view(Ok(serde_json::from_value(report.clone()).unwrap()))),
            ("uid-1".to_owned(), view(Err("silent".to_owned()))),
            ("uid-9".to_owned(), view(Ok(serde_json::from_value(report).unwrap()))),
        ]);
        let pods = [pod(0, true), pod(1, true), pod(2, false), pod(9, true)];
        // Clients of nodes that are about to go need room as well.
        assert_eq!(load(&pods, &hubs, 3), Load { connections: 140, unknown: 1 });
        assert_eq!(load(&pods, &hubs, 4), Load { connections: 140, unknown: 2 });
        assert_eq!(load(&pods, &hubs, 1), Load { connections: 140, unknown: 0 });
    }

    #[test]
    fn the_autoscaler_is_believed_about_itself() {
        let object = |able: &str, active: &str| {
            json!({"status": {"conditions": [
                {"type": "AbleToScale", "status": able, "reason": "A", "message": "a"},
                {"type": "ScalingActive", "status": active, "reason": "FailedGetResourceMetric", "message": "no metrics"},
            ]}})
        };
        let said = |object: Option<&Value>| of_autoscaler(object).status;
        assert_eq!(said(None), ConditionStatus::Unknown);
        assert_eq!(said(Some(&json!({}))), ConditionStatus::Unknown);
        assert_eq!(said(Some(&object("True", "True"))), ConditionStatus::True);
        assert_eq!(said(Some(&object("False", "True"))), ConditionStatus::False);
        let failed = of_autoscaler(Some(&object("True", "False")));
        assert_eq!((failed.status, failed.reason), (ConditionStatus::False, reasons::AUTOSCALER_FAILS));
        assert!(failed.message.contains("FailedGetResourceMetric: no metrics"), "{}", failed.message);
    }

    #[test]
    fn every_kind_of_advice_is_told_with_its_numbers() {
        let goal =
            Goal { per_node: 100, min: 2, max: 10, stabilization: std::time::Duration::from_secs(600) };
        for (why, replicas, reason, part) in [
            (Why::Fits, 3, reasons::FITTING, "3 nodes fit"),
            (Why::Fits, 5, reasons::ADJUSTING, "3 -> 5"),
            (Why::Limited { needed: 40 }, 10, reasons::LIMITED, "40 nodes, the spec allows 2 to 10"),
            (Why::Stabilizing { enough: 2 }, 3, reasons::STABILIZING, "2 nodes are enough"),
            (Why::Unknown { nodes: 1 }, 3, reasons::NODES_UNKNOWN, "1 of 3 nodes"),
        ] {
            let verdict =
                of_connections(goal, Load { connections: 7, unknown: 0 }, 3, Advice { replicas, why });
            assert_eq!(verdict.reason, reason);
            assert!(verdict.message.contains(part), "{}", verdict.message);
        }
    }
}
