//! All applied children of a resource.

use super::child::Child;
use super::error::SpecError;
use super::inputs::Inputs;
use super::{disruption, hub_env, ingress, network_policy, redis, service_account, services, statefulset};
use crate::api::WscCluster;
use crate::api::exposure::ExposureType;

/// Shortest grace that leaves the hub time to close its connections, in seconds.
const MIN_GRACE_SECONDS: u64 = 35;

/// All children but the generated Secrets, in the order to apply: what pods need before the pods, the way in from
/// outside last.
///
/// # Errors
/// When the spec contradicts itself; see [`SpecError`].
pub fn children(cluster: &WscCluster, inputs: &Inputs) -> Result<Vec<Child>, SpecError> {
    check(cluster)?;
    let spec = &cluster.spec;
    let mut children: Vec<Child> = Vec::with_capacity(11);
    if spec.pod.service_account_name.is_none() {
        children.push(service_account::hub(cluster).into());
    }
    children.push(services::nodes(cluster).into());
    children.push(services::client(cluster).into());
    children.push(services::api(cluster).into());
    if spec.security.network_policy.enabled {
        children.push(network_policy::hub(cluster).into());
        if spec.redis.managed.is_some() {
            children.push(network_policy::redis(cluster).into());
        }
    }
    children.push(disruption::hub(cluster).into());
    if let Some(managed) = &spec.redis.managed {
        children.push(redis::service(cluster).into());
        children.push(redis::statefulset(cluster, managed, inputs)?.into());
    }
    children.push(statefulset::hub(cluster, inputs).into());
    if spec.exposure.type_ == ExposureType::Ingress {
        children.push(ingress::ingress(cluster).into());
    }
    Ok(children)
}

fn check(cluster: &WscCluster) -> Result<(), SpecError> {
    let metadata = &cluster.metadata;
    for (field, value) in
        [("name", &metadata.name), ("namespace", &metadata.namespace), ("uid", &metadata.uid)]
    {
        if value.as_deref().unwrap_or_default().is_empty() {
            return Err(SpecError::Incomplete(field));
        }
    }
    let spec = &cluster.spec;
    match (&spec.redis.managed, &spec.redis.external) {
        (Some(_), None) => {}
        (None, Some(external)) if external.addresses.len() == 1 => {}
        (None, Some(external)) => return Err(SpecError::RedisAddresses(external.addresses.len())),
        (None, None) | (Some(_), Some(_)) => return Err(SpecError::RedisChoice),
    }
    if let Some(entry) = hub_env::first_managed(&spec.hub.env) {
        return Err(SpecError::ManagedEnv(entry.to_owned()));
    }
    let grace = &spec.drain.termination_grace_period;
    if grace.get().as_secs() < MIN_GRACE_SECONDS {
        return Err(SpecError::GraceTooShort(grace.to_string()));
    }
    if spec.exposure.type_ == ExposureType::Ingress && spec.exposure.hosts.is_empty() {
        return Err(SpecError::NoHost);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SpecDuration;
    use crate::api::exposure::HostSpec;
    use crate::api::hub::HubEnv;
    use crate::api::redis::{ExternalRedis, ManagedRedis};
    use crate::desired::fixture::{cluster, inputs};

    fn kinds(cluster: &WscCluster) -> Vec<String> {
        children(cluster, &inputs())
            .unwrap()
            .iter()
            .map(|child| format!("{}/{}", child.kind(), child.name()))
            .collect()
    }

    #[test]
    fn the_smallest_resource_has_everything_but_an_ingress() {
        assert_eq!(
            kinds(&cluster()),
            [
                "ServiceAccount/chat-hub",
                "Service/chat-nodes",
                "Service/chat",
                "Service/chat-api",
                "NetworkPolicy/chat-hub",
                "NetworkPolicy/chat-redis",
                "PodDisruptionBudget/chat",
                "Service/chat-redis",
                "StatefulSet/chat-redis",
                "StatefulSet/chat",
            ]
        );
    }

    #[test]
    fn what_is_not_asked_for_is_not_made() {
        let mut cluster = cluster();
        cluster.spec.redis.managed = None;
        cluster.spec.redis.external =
            Some(ExternalRedis { addresses: vec!["redis:6379".into()], ..ExternalRedis::default() });
        cluster.spec.security.network_policy.enabled = false;
        cluster.spec.pod.service_account_name = Some("mine".into());
        cluster.spec.exposure.type_ = ExposureType::Ingress;
        cluster.spec.exposure.hosts =
            vec![HostSpec { host: "chat.example.com".into(), paths: vec!["/ws".into()] }];
        assert_eq!(
            kinds(&cluster),
            [
                "Service/chat-nodes",
                "Service/chat",
                "Service/chat-api",
                "PodDisruptionBudget/chat",
                "StatefulSet/chat",
                "Ingress/chat",
            ]
        );
    }

    #[test]
    fn every_child_is_owned_labelled_and_in_the_namespace() {
        for child in children(&cluster(), &inputs()).unwrap() {
            let metadata = child.metadata();
            assert_eq!(metadata.namespace.as_deref(), Some("demo"));
            let labels = metadata.labels.as_ref().unwrap();
            assert_eq!(labels["wsc.dev/cluster"], "chat");
            assert_eq!(labels["app.kubernetes.io/managed-by"], "wsc-operator");
            let owner = &metadata.owner_references.as_ref().unwrap()[0];
            assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("WscCluster", "uid-1"));
            assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(false)));
            let json = child.to_json().unwrap();
            assert_eq!(json["kind"], child.kind());
            assert_eq!(json["apiVersion"], child.api_version());
        }
    }

    type Change = fn(&mut WscCluster);

    #[test]
    fn contradictions_are_refused_with_the_field() {
        let rows: [(Change, &str); 9] = [
            (|c| c.metadata.uid = None, "metadata.uid"),
            (|c| c.metadata.namespace = Some(String::new()), "metadata.namespace"),
            (|c| c.spec.redis.managed = None, "spec.redis.managed"),
            (|c| c.spec.redis.external = Some(ExternalRedis::default()), "exactly one"),
            (
                |c| {
                    c.spec.redis.managed = None;
                    c.spec.redis.external = Some(ExternalRedis::default());
                },
                "it holds 0",
            ),
            (
                |c| {
                    c.spec.redis.managed =
                        Some(ManagedRedis { max_memory: "lots".into(), ..ManagedRedis::default() });
                },
                "maxMemory 'lots'",
            ),
            (
                |c| {
                    c.spec.hub.env = vec![HubEnv { name: "WSC_LEASE".into(), value: None, value_from: None }];
                },
                "WSC_LEASE",
            ),
            (|c| c.spec.drain.termination_grace_period = SpecDuration::from_secs(20), "shorter than 35s"),
            (|c| c.spec.exposure.type_ = ExposureType::Ingress, "at least one entry"),
        ];
        for (change, expected) in rows {
            let mut cluster = cluster();
            change(&mut cluster);
            let error = children(&cluster, &inputs()).unwrap_err().to_string();
            assert!(error.contains(expected), "'{error}' should contain '{expected}'");
        }
    }
}
