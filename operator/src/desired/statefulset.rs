//! The StatefulSet of the hub.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, LocalObjectReference, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, SeccompProfile, SecurityContext, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::inputs::Inputs;
use super::labels::{self, Component};
use super::services::{API_PORT, API_PORT_NAME, CLIENT_PORT, CLIENT_PORT_NAME};
use super::volumes::{Content, DEFAULT_REDIS_USER, SecretMount, secret_mounts};
use super::{hot_settings, hub_env, image, metadata, names};
use crate::api::WscCluster;

/// Name of the hub's container.
pub const HUB_CONTAINER: &str = "hub";

/// User and group the hub runs as: the conventional "nonroot".
const NONROOT: i64 = 65_532;

/// The StatefulSet. `OnDelete`, because the operator chooses which pod goes next; `Parallel`, because nodes need no
/// order to start.
pub fn hub(cluster: &WscCluster, inputs: &Inputs) -> StatefulSet {
    let image = image::hub(cluster, inputs);
    let annotations = BTreeMap::from([
        (labels::TEMPLATE_VERSION.to_owned(), inputs.operator_version.clone()),
        (labels::IMAGE.to_owned(), image.clone()),
    ]);
    StatefulSet {
        metadata: metadata::annotated(cluster, names::statefulset(cluster), Component::Hub, annotations),
        spec: Some(StatefulSetSpec {
            replicas: Some(inputs.replicas),
            service_name: Some(names::nodes_service(cluster)),
            selector: labels::label_selector(cluster, Component::Hub),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            min_ready_seconds: Some(cluster.spec.rollout.min_ready_seconds),
            revision_history_limit: Some(10),
            template: template(cluster, image),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn template(cluster: &WscCluster, image: String) -> PodTemplateSpec {
    let pod = &cluster.spec.pod;
    let mut template_labels = pod.labels.clone();
    template_labels.extend(labels::all(cluster, Component::Hub));
    let mut annotations = pod.annotations.clone();
    let restart = cluster.metadata.annotations.as_ref().and_then(|all| all.get(labels::RESTART));
    if let Some(restart) = restart {
        annotations.insert(labels::RESTART.to_owned(), restart.clone());
    }
    let mounts = secret_mounts(cluster);
    if mounts.iter().any(|mount| mount.content == Content::Credentials) {
        annotations.insert(labels::REDIS_USER.to_owned(), DEFAULT_REDIS_USER.to_owned());
    }
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(template_labels),
            annotations: metadata::non_empty(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(
                pod.service_account_name.clone().unwrap_or_else(|| names::service_account(cluster)),
            ),
            automount_service_account_token: Some(false),
            // Old-style variables for every Service of the namespace are of no use and slow down starts.
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(grace_seconds(cluster)),
            security_context: Some(pod_security(NONROOT)),
            image_pull_secrets: pull_secrets(cluster),
            node_selector: metadata::non_empty(pod.node_selector.clone()),
            affinity: pod.affinity.clone(),
            tolerations: Some(tolerations(&pod.tolerations)),
            topology_spread_constraints: Some(spread(cluster)),
            priority_class_name: pod.priority_class_name.clone(),
            volumes: Some(
                mounts.iter().map(SecretMount::volume).chain([hot_settings::volume(cluster)]).collect(),
            ),
            containers: vec![container(cluster, image, &mounts)],
            ..PodSpec::default()
        }),
    }
}

fn container(cluster: &WscCluster, image: String, mounts: &[SecretMount]) -> Container {
    Container {
        name: HUB_CONTAINER.to_owned(),
        image: Some(image),
        image_pull_policy: Some(cluster.spec.image.pull_policy.as_str().to_owned()),
        ports: Some(vec![
            container_port(CLIENT_PORT_NAME, CLIENT_PORT),
            container_port(API_PORT_NAME, API_PORT),
        ]),
        env: Some(hub_env::hub(cluster)),
        resources: Some(cluster.spec.pod.resources.clone()),
        startup_probe: Some(http_probe("/livez", 2, 60, 2)),
        liveness_probe: Some(http_probe("/livez", 10, 6, 5)),
        // One miss takes a draining node out of the Services at once.
        readiness_probe: Some(http_probe("/health", 2, 1, 2)),
        security_context: Some(container_security()),
        volume_mounts: Some(mounts.iter().map(SecretMount::mount).chain([hot_settings::mount()]).collect()),
        ..Container::default()
    }
}

pub(super) fn container_port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn http_probe(path: &str, period: i32, failures: i32, timeout: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(CLIENT_PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(timeout),
        ..Probe::default()
    }
}

fn grace_seconds(cluster: &WscCluster) -> i64 {
    i64::try_from(cluster.spec.drain.termination_grace_period.get().as_secs()).unwrap_or(i64::MAX)
}

/// Nobody's user, whose group may read the mounted Secrets; the runtime's default system call filter.
pub(super) fn pod_security(id: i64) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(id),
        run_as_group: Some(id),
        fs_group: Some(id),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// No privileges, no writable root.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

pub(super) fn pull_secrets(cluster: &WscCluster) -> Option<Vec<LocalObjectReference>> {
    let secrets = &cluster.spec.image.pull_secrets;
    (!secrets.is_empty())
        .then(|| secrets.iter().map(|secret| LocalObjectReference { name: secret.name.clone() }).collect())
}

/// The user's tolerations, and 30 s instead of Kubernetes' five minutes on a lost node, unless the user said otherwise:
/// clients of a lost node should be able to come back soon.
pub(super) fn tolerations(own: &[Toleration]) -> Vec<Toleration> {
    let mut all = own.to_vec();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !own.iter().any(|toleration| toleration.key.as_deref() == Some(key)) {
            all.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(30),
                ..Toleration::default()
            });
        }
    }
    all
}

fn spread(cluster: &WscCluster) -> Vec<TopologySpreadConstraint> {
    let selector = labels::label_selector(cluster, Component::Hub);
    let own = &cluster.spec.pod.topology_spread_constraints;
    if own.is_empty() {
        return ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
            .into_iter()
            .map(|key| TopologySpreadConstraint {
                max_skew: 1,
                topology_key: key.to_owned(),
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                label_selector: Some(selector.clone()),
                ..TopologySpreadConstraint::default()
            })
            .collect();
    }
    own.iter()
        .map(|constraint| TopologySpreadConstraint {
            label_selector: constraint.label_selector.clone().or_else(|| Some(selector.clone())),
            ..constraint.clone()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture::{cluster, inputs};

    fn pod_spec(cluster: &WscCluster) -> PodSpec {
        hub(cluster, &inputs()).spec.unwrap().template.spec.unwrap()
    }

    #[test]
    fn a_new_operator_changes_the_stateful_set_but_not_the_template() {
        let old = hub(&cluster(), &inputs());
        let new = hub(&cluster(), &Inputs { operator_version: "9.9.9".into(), ..inputs() });
        assert_ne!(old.metadata.annotations, new.metadata.annotations);
        assert_eq!(old.spec.unwrap().template, new.spec.unwrap().template);
    }

    #[test]
    fn replicas_and_pacing_stay_out_of_the_template() {
        let mut changed = cluster();
        changed.spec.replicas = 7;
        changed.spec.rollout.min_ready_seconds = 60;
        changed.spec.disruption.max_unavailable = 2;
        let old = hub(&cluster(), &inputs()).spec.unwrap();
        let new = hub(&changed, &Inputs { replicas: 7, ..inputs() }).spec.unwrap();
        assert_eq!((new.replicas, new.min_ready_seconds), (Some(7), Some(60)));
        assert_eq!(old.template, new.template);
    }

    #[test]
    fn the_operators_labels_win_over_the_users() {
        let mut cluster = cluster();
        cluster.spec.pod.labels.insert(labels::NAME.into(), "mine".into());
        cluster.spec.pod.labels.insert("team".into(), "chat".into());
        let template = hub(&cluster, &inputs()).spec.unwrap().template;
        let labels = template.metadata.unwrap().labels.unwrap();
        assert_eq!(labels[labels::NAME], "wsc-hub");
        assert_eq!(labels["team"], "chat");
        for (key, value) in super::labels::selector(&cluster) {
            assert_eq!(labels[&key], value, "the selector must find the pods");
        }
    }

    #[test]
    fn the_restart_annotation_reaches_the_template() {
        let mut cluster = cluster();
        cluster.metadata.annotations = Some(BTreeMap::from([(labels::RESTART.to_owned(), "1".to_owned())]));
        let template = hub(&cluster, &inputs()).spec.unwrap().template;
        assert_eq!(template.metadata.unwrap().annotations.unwrap()[labels::RESTART], "1");
    }

    #[test]
    fn a_users_toleration_of_a_lost_node_replaces_ours() {
        let mut cluster = cluster();
        cluster.spec.pod.tolerations = vec![Toleration {
            key: Some("node.kubernetes.io/unreachable".into()),
            operator: Some("Exists".into()),
            effect: Some("NoExecute".into()),
            toleration_seconds: Some(300),
            ..Toleration::default()
        }];
        let seconds: Vec<_> = pod_spec(&cluster)
            .tolerations
            .unwrap()
            .iter()
            .map(|t| (t.key.clone().unwrap(), t.toleration_seconds))
            .collect();
        assert_eq!(
            seconds,
            [
                ("node.kubernetes.io/unreachable".to_owned(), Some(300)),
                ("node.kubernetes.io/not-ready".to_owned(), Some(30)),
            ]
        );
    }

    #[test]
    fn a_users_spread_replaces_ours_and_counts_our_pods() {
        let mut cluster = cluster();
        cluster.spec.pod.topology_spread_constraints = vec![TopologySpreadConstraint {
            max_skew: 2,
            topology_key: "rack".into(),
            when_unsatisfiable: "DoNotSchedule".into(),
            ..TopologySpreadConstraint::default()
        }];
        let constraints = pod_spec(&cluster).topology_spread_constraints.unwrap();
        assert_eq!(constraints.len(), 1);
        assert_eq!(constraints[0].topology_key, "rack");
        assert!(constraints[0].label_selector.is_some());
    }

    #[test]
    fn every_volume_is_mounted_read_only_and_whole() {
        let pod = pod_spec(&cluster());
        let volumes: Vec<_> = pod.volumes.unwrap().into_iter().map(|volume| volume.name).collect();
        let mounts = pod.containers[0].volume_mounts.clone().unwrap();
        assert_eq!(volumes, mounts.iter().map(|mount| mount.name.clone()).collect::<Vec<_>>());
        assert!(mounts.iter().all(|mount| mount.read_only == Some(true) && mount.sub_path.is_none()));
    }
}
