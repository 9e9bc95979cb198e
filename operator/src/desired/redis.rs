//! The managed Redis, and how any Redis is addressed.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, ExecAction, KeyToPath, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PodSpec, PodTemplateSpec, Probe, SecretVolumeSource, Service, ServiceSpec, TCPSocketAction, Volume,
    VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use sha2::{Digest, Sha256};

use super::error::SpecError;
use super::inputs::Inputs;
use super::labels::{self, Component};
use super::services::port;
use super::statefulset::{container_port, container_security, pod_security, pull_secrets, tolerations};
use super::{metadata, names};
use crate::api::WscCluster;
use crate::api::redis::{ManagedRedis, Persistence};

/// Port of the managed Redis.
pub const REDIS_PORT: i32 = 6379;
/// Name of that port.
pub const REDIS_PORT_NAME: &str = "redis";
/// Name of the Redis container.
pub const REDIS_CONTAINER: &str = "redis";
/// Key of the generated Secret with the lines Redis reads at start; the password is in it, so that it stands neither in
/// the arguments nor in the environment.
pub const CONFIG_KEY: &str = "redis.conf";

const CONFIG_DIR: &str = "/etc/wsc-redis";
const DATA_DIR: &str = "/data";
const DATA_VOLUME: &str = "data";
const CONFIG_VOLUME: &str = "config";
/// User and group of the official Redis images.
const REDIS_USER: i64 = 999;

/// URL of the Redis a resource uses, without credentials.
pub fn redis_url(cluster: &WscCluster) -> String {
    match &cluster.spec.redis.external {
        Some(external) => {
            let scheme = if external.tls.enabled { "rediss" } else { "redis" };
            format!("{scheme}://{}/{}", external.addresses.join(","), external.database)
        }
        None => {
            let (name, namespace) = (names::redis(cluster), names::namespace(cluster));
            format!("redis://{name}.{namespace}.svc:{REDIS_PORT}/0")
        }
    }
}

/// Longest prefix the hub accepts, in bytes.
const MAX_PREFIX: usize = 64;

/// Prefix of every key and channel: the spec's, or one that no other resource of the Kubernetes cluster has. Names that
/// are too long together are told apart by a hash, which a new resource of the same name has again.
pub fn key_prefix(cluster: &WscCluster) -> String {
    let own = &cluster.spec.redis.key_prefix;
    if !own.is_empty() {
        return own.clone();
    }
    let (namespace, name) = (names::namespace(cluster), names::cluster(cluster));
    let plain = format!("wsc:{namespace}:{name}:");
    if plain.len() <= MAX_PREFIX {
        return plain;
    }
    let digest = Sha256::digest(format!("{namespace}/{name}"));
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("wsc:{name}:{hash}:")
}

/// Service of the managed Redis.
pub fn service(cluster: &WscCluster) -> Service {
    Service {
        metadata: metadata::child(cluster, names::redis(cluster), Component::Redis),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(labels::matching(cluster, Component::Redis)),
            ports: Some(vec![port(REDIS_PORT_NAME, REDIS_PORT, REDIS_PORT_NAME)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// StatefulSet of the managed Redis: one pod.
///
/// # Errors
/// When `maxMemory` is not a size.
pub fn statefulset(
    cluster: &WscCluster,
    managed: &ManagedRedis,
    inputs: &Inputs,
) -> Result<StatefulSet, SpecError> {
    let durable = managed.persistence == Persistence::Aof;
    let mut template_annotations = BTreeMap::new();
    if let Some(uid) = &inputs.redis_auth_version {
        template_annotations.insert(labels::AUTH_SECRET.to_owned(), uid.clone());
    }
    let mut volumes = vec![config_volume(cluster)];
    if !durable {
        volumes.push(Volume {
            name: DATA_VOLUME.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        });
    }
    Ok(StatefulSet {
        metadata: metadata::child(cluster, names::redis(cluster), Component::Redis),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(names::redis(cluster)),
            selector: labels::label_selector(cluster, Component::Redis),
            pod_management_policy: Some("OrderedReady".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: None,
            }),
            revision_history_limit: Some(10),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels::all(cluster, Component::Redis)),
                    annotations: metadata::non_empty(template_annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    automount_service_account_token: Some(false),
                    enable_service_links: Some(false),
                    termination_grace_period_seconds: Some(30),
                    security_context: Some(pod_security(REDIS_USER)),
                    image_pull_secrets: pull_secrets(cluster),
                    tolerations: Some(tolerations(&[])),
                    volumes: Some(volumes),
                    containers: vec![container(cluster, managed, inputs)?],
                    ..PodSpec::default()
                }),
            },
            volume_claim_templates: durable.then(|| vec![claim(cluster, managed)]),
            persistent_volume_claim_retention_policy: durable.then(|| {
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some("Delete".to_owned()),
                    when_scaled: Some("Retain".to_owned()),
                }
            }),
            ..StatefulSetSpec::default()
        }),
        status: None,
    })
}

fn container(cluster: &WscCluster, managed: &ManagedRedis, inputs: &Inputs) -> Result<Container, SpecError> {
    Ok(Container {
        name: REDIS_CONTAINER.to_owned(),
        image: Some(managed.image.clone().unwrap_or_else(|| inputs.default_redis_image.clone())),
        image_pull_policy: Some(cluster.spec.image.pull_policy.as_str().to_owned()),
        // Named instead of left to the image, whose entry point may be a shell script that wants to be root.
        command: Some(vec!["redis-server".to_owned()]),
        args: Some(arguments(managed)?),
        ports: Some(vec![container_port(REDIS_PORT_NAME, REDIS_PORT)]),
        resources: Some(managed.resources.clone()),
        startup_probe: Some(connect_probe(2, 60)),
        readiness_probe: Some(connect_probe(5, 2)),
        liveness_probe: Some(answer_probe()),
        security_context: Some(container_security()),
        volume_mounts: Some(vec![
            VolumeMount {
                name: CONFIG_VOLUME.to_owned(),
                mount_path: CONFIG_DIR.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: DATA_VOLUME.to_owned(),
                mount_path: DATA_DIR.to_owned(),
                ..VolumeMount::default()
            },
        ]),
        ..Container::default()
    })
}

fn arguments(managed: &ManagedRedis) -> Result<Vec<String>, SpecError> {
    let memory =
        bytes(&managed.max_memory).ok_or_else(|| SpecError::MaxMemory(managed.max_memory.clone()))?;
    let append_only = if managed.persistence == Persistence::Aof { "yes" } else { "no" };
    let config = format!("{CONFIG_DIR}/{CONFIG_KEY}");
    let (port, memory) = (REDIS_PORT.to_string(), memory.to_string());
    let arguments: [&str; 18] = [
        &config,
        "--port",
        &port,
        "--dir",
        DATA_DIR,
        // No snapshots: they fork, which needs twice the memory under load.
        "--save",
        "",
        "--appendonly",
        append_only,
        "--maxmemory",
        &memory,
        // Directory entries and leases must never be evicted; a full Redis refuses writes instead.
        "--maxmemory-policy",
        "noeviction",
        "--client-output-buffer-limit",
        // Bursts on the bus may wait this long for a busy node before Redis cuts it off.
        "pubsub",
        "256mb",
        "64mb",
        "30",
    ];
    Ok(arguments.into_iter().map(str::to_owned).collect())
}

/// A size with Ki, Mi, Gi or without a unit, in bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, factor) = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)]
        .into_iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, factor)))
        .unwrap_or((text, 1));
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn connect_probe(period: i32, failures: i32) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction {
            port: IntOrString::String(REDIS_PORT_NAME.to_owned()),
            host: None,
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

/// Any answer counts, the refusal of an unauthenticated client too: it shows that the server's loop turns, and needs
/// no password in the pod's environment.
fn answer_probe() -> Probe {
    Probe {
        exec: Some(ExecAction {
            command: Some(["redis-cli", "-p", "6379", "ping"].map(str::to_owned).to_vec()),
        }),
        period_seconds: Some(20),
        failure_threshold: Some(3),
        timeout_seconds: Some(10),
        ..Probe::default()
    }
}

fn config_volume(cluster: &WscCluster) -> Volume {
    Volume {
        name: CONFIG_VOLUME.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(names::redis_secret(cluster)),
            default_mode: Some(0o440),
            items: Some(vec![KeyToPath {
                key: CONFIG_KEY.to_owned(),
                path: CONFIG_KEY.to_owned(),
                mode: None,
            }]),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn claim(cluster: &WscCluster, managed: &ManagedRedis) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA_VOLUME.to_owned()),
            labels: Some(labels::matching(cluster, Component::Redis)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: managed.storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    Quantity(managed.storage.size.clone()),
                )])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::redis::StorageSpec;
    use crate::desired::fixture::{cluster, inputs};

    #[test]
    fn sizes_are_bytes() {
        for (text, expected) in [
            ("1048576", Some(1_048_576)),
            ("64Ki", Some(65_536)),
            ("256Mi", Some(268_435_456)),
            ("2Gi", Some(2_147_483_648)),
            ("1.5Gi", None),
            ("99999999999999Gi", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn the_prefix_is_the_resources_own_unless_given() {
        let mut cluster = cluster();
        assert_eq!(key_prefix(&cluster), "wsc:demo:chat:");
        cluster.spec.redis.key_prefix = "mine:".into();
        assert_eq!(key_prefix(&cluster), "mine:");
    }

    #[test]
    fn the_longest_names_still_make_a_prefix_the_hub_accepts() {
        let mut cluster = cluster();
        cluster.metadata.namespace = Some("n".repeat(63));
        cluster.metadata.name = Some("c".repeat(40));
        let first = key_prefix(&cluster);
        assert!(first.len() <= MAX_PREFIX, "{first}");
        cluster.metadata.namespace = Some("m".repeat(63));
        assert_ne!(key_prefix(&cluster), first);
    }

    #[test]
    fn persistence_decides_between_memory_and_a_volume() {
        let cluster = cluster();
        let memory = statefulset(&cluster, &ManagedRedis::default(), &inputs()).unwrap().spec.unwrap();
        assert!(memory.volume_claim_templates.is_none());
        assert!(
            memory.template.spec.unwrap().volumes.unwrap().iter().any(|volume| volume.empty_dir.is_some())
        );

        let managed = ManagedRedis {
            persistence: Persistence::Aof,
            storage: StorageSpec { size: "5Gi".into(), storage_class_name: Some("fast".into()) },
            ..ManagedRedis::default()
        };
        let durable = statefulset(&cluster, &managed, &inputs()).unwrap().spec.unwrap();
        let claim = durable.volume_claim_templates.unwrap().remove(0).spec.unwrap();
        assert_eq!(claim.storage_class_name.as_deref(), Some("fast"));
        assert_eq!(claim.resources.unwrap().requests.unwrap()["storage"].0, "5Gi");
        let pod = durable.template.spec.unwrap();
        assert!(pod.volumes.unwrap().iter().all(|volume| volume.empty_dir.is_none()));
        let args = pod.containers[0].args.clone().unwrap();
        assert!(args.windows(2).any(|pair| pair == ["--appendonly", "yes"]), "{args:?}");
    }

    #[test]
    fn a_new_password_secret_restarts_redis() {
        let cluster = cluster();
        let template = |uid: &str| {
            let inputs = Inputs { redis_auth_version: Some(uid.into()), ..inputs() };
            statefulset(&cluster, &ManagedRedis::default(), &inputs).unwrap().spec.unwrap().template
        };
        assert_ne!(template("a"), template("b"));
    }
}
