//! The settings that reach running nodes: a ConfigMap that the hub pods mount and read again when it changes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, Volume, VolumeMount};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::labels::Component;
use super::{metadata, names};
use crate::api::WscCluster;

/// Directory of the file in the hub container. The whole ConfigMap is mounted: below a sub path the kubelet would never
/// bring a change.
const DIRECTORY: &str = "/etc/wsc/hot";
/// Key in the ConfigMap and name of the file.
const FILE: &str = "settings.yaml";
/// Name of the volume.
const VOLUME: &str = "hot";

/// The file as the hub reads it; its names are the hub's.
#[derive(Serialize)]
struct HotFile<'a> {
    log_level: &'static str,
    max_connections: i32,
    allowed_origins: &'a [String],
    client_send: &'static str,
    limits: HotLimits,
    drain: HotDrain,
}

#[derive(Serialize)]
struct HotLimits {
    max_message_bytes: i32,
    outbound_queue_bytes: i32,
    message_buffer_size: i32,
}

#[derive(Serialize)]
struct HotDrain {
    settle: String,
    rate_per_second: i32,
    retry_after_max: String,
}

/// Path of the file in the hub container.
pub fn path() -> String {
    format!("{DIRECTORY}/{FILE}")
}

/// The text of the file: the same for the same spec, so that its hash tells whether a node has it.
///
/// # Errors
/// When the settings cannot be expressed as YAML, which their types rule out.
pub fn text(cluster: &WscCluster) -> Result<String, serde_yaml::Error> {
    let (hub, drain) = (&cluster.spec.hub, &cluster.spec.drain);
    serde_yaml::to_string(&HotFile {
        log_level: hub.log_level.as_str(),
        max_connections: hub.max_connections,
        allowed_origins: &hub.allowed_origins,
        // Empty leaves it to the mode of authentication.
        client_send: hub.client_send.word(),
        limits: HotLimits {
            max_message_bytes: hub.limits.max_message_bytes,
            outbound_queue_bytes: hub.limits.outbound_queue_bytes,
            message_buffer_size: hub.limits.message_buffer_size,
        },
        drain: HotDrain {
            settle: drain.settle.single_unit(),
            rate_per_second: drain.rate_per_second,
            retry_after_max: drain.retry_after_max.single_unit(),
        },
    })
}

/// SHA-256 of the text in 64 hexadecimal digits: what a node reports once it has applied it.
///
/// # Errors
/// As [`text`].
pub fn hash(cluster: &WscCluster) -> Result<String, serde_yaml::Error> {
    Ok(Sha256::digest(text(cluster)?).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The ConfigMap.
///
/// # Errors
/// As [`text`].
pub fn config_map(cluster: &WscCluster) -> Result<ConfigMap, serde_yaml::Error> {
    Ok(ConfigMap {
        metadata: metadata::child(cluster, names::hot_settings(cluster), Component::Hub),
        data: Some(BTreeMap::from([(FILE.to_owned(), text(cluster)?)])),
        ..ConfigMap::default()
    })
}

/// The volume of the hub pods.
pub(super) fn volume(cluster: &WscCluster) -> Volume {
    Volume {
        name: VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::hot_settings(cluster),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// The mount of the hub container.
pub(super) fn mount() -> VolumeMount {
    VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: DIRECTORY.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SpecDuration;
    use crate::api::hub::{ClientSend, LogLevel};
    use crate::desired::fixture::{cluster, inputs};
    use crate::desired::statefulset;

    type Change = fn(&mut WscCluster);

    #[test]
    fn a_hot_setting_changes_the_file_and_not_the_pods() {
        let changes: [(Change, &str); 9] = [
            (|c| c.spec.hub.log_level = LogLevel::Debug, "log_level: debug"),
            (|c| c.spec.hub.max_connections = 7, "max_connections: 7"),
            (|c| c.spec.hub.allowed_origins = vec!["*".into()], "- '*'"),
            (|c| c.spec.hub.client_send = ClientSend::Users, "client_send: users"),
            (|c| c.spec.hub.limits.max_message_bytes = 2048, "max_message_bytes: 2048"),
            (|c| c.spec.hub.limits.outbound_queue_bytes = 99_999, "outbound_queue_bytes: 99999"),
            (|c| c.spec.hub.limits.message_buffer_size = 3, "message_buffer_size: 3"),
            (|c| c.spec.drain.settle = SpecDuration::try_from("1m1s".to_owned()).unwrap(), "settle: 61s"),
            (|c| c.spec.drain.rate_per_second = 9, "rate_per_second: 9"),
        ];
        let before = cluster();
        for (change, line) in changes {
            let mut after = cluster();
            change(&mut after);
            let found = text(&after).unwrap();
            assert!(found.contains(line), "{line} in {found}");
            assert_ne!(hash(&before).unwrap(), hash(&after).unwrap(), "{line}");
            assert_eq!(
                statefulset::hub(&before, &inputs()),
                statefulset::hub(&after, &inputs()),
                "{line} restarts pods"
            );
        }
    }

    #[test]
    fn what_is_not_hot_leaves_the_file() {
        let changes: [Change; 4] = [
            |c| c.spec.replicas = 9,
            |c| c.spec.drain.timeout = SpecDuration::from_secs(30),
            |c| c.spec.hub.limits.max_connections_per_user = 3,
            |c| c.spec.hub.inbox.enabled = false,
        ];
        for change in changes {
            let mut after = cluster();
            change(&mut after);
            assert_eq!(text(&cluster()).unwrap(), text(&after).unwrap());
        }
    }
}
