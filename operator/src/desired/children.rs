//! All applied children of a resource.

use std::time::Duration;

use super::child::Child;
use super::error::SpecError;
use super::inputs::Inputs;
use super::{
    autoscaler, disruption, hot_settings, http_route, hub_env, ingress, network_policy, pod_monitor,
    prometheus_rule, redis, service_account, services, statefulset,
};
use crate::api::WscCluster;
use crate::api::autoscaling::AutoscalingMode;
use crate::api::exposure::ExposureType;
use crate::api::hub::{AuthMode, HubSpec};
use crate::api::limits::FRAME_OVERHEAD;
use crate::api::monitoring::MonitoringMode;
use crate::api::redis::{ExternalRedis, RedisMode};

/// Shortest grace that leaves the hub time to close its connections.
const MIN_GRACE: Duration = Duration::from_secs(35);
/// What the grace must leave after the settling.
const CLOSING_TIME: Duration = Duration::from_secs(30);

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
    let hot = hot_settings::config_map(cluster);
    children.push(hot.map_err(|error| SpecError::HotSettings(error.to_string()))?.into());
    if let Some(managed) = &spec.redis.managed {
        children.push(redis::service(cluster).into());
        children.push(redis::statefulset(cluster, managed, inputs)?.into());
    }
    children.push(statefulset::hub(cluster, inputs).into());
    if spec.autoscaling.mode == AutoscalingMode::Hpa {
        children.push(autoscaler::hub(cluster).into());
    }
    if spec.monitoring.mode == MonitoringMode::Auto {
        if inputs.served.pod_monitor {
            children.push(pod_monitor::hub(cluster).into());
        }
        if inputs.served.prometheus_rule {
            children.push(prometheus_rule::hub(cluster).into());
        }
    }
    match spec.exposure.type_ {
        ExposureType::Ingress => children.push(ingress::ingress(cluster).into()),
        ExposureType::Gateway if inputs.served.http_route => {
            children.extend(http_route::routes(cluster).into_iter().map(Child::from));
        }
        ExposureType::Gateway | ExposureType::None => {}
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
    if spec.autoscaling.min_replicas > spec.autoscaling.max_replicas {
        return Err(SpecError::AutoscalingBounds);
    }
    match (&spec.redis.managed, &spec.redis.external) {
        (Some(_), None) => {}
        (None, Some(external)) => check_redis(external)?,
        (None, None) | (Some(_), Some(_)) => return Err(SpecError::RedisChoice),
    }
    check_hub(&spec.hub)?;
    if let Some(entry) = hub_env::first_managed(&spec.hub.env) {
        return Err(SpecError::ManagedEnv(entry.to_owned()));
    }
    let grace = &spec.drain.termination_grace_period;
    if grace.get() < MIN_GRACE.max(spec.drain.settle.get() + CLOSING_TIME) {
        return Err(SpecError::GraceTooShort(grace.to_string()));
    }
    if spec.exposure.type_ == ExposureType::Ingress && spec.exposure.hosts.is_empty() {
        return Err(SpecError::NoHost);
    }
    if spec.exposure.type_ == ExposureType::Gateway && spec.exposure.gateway_ref.is_none() {
        return Err(SpecError::NoGateway);
    }
    Ok(())
}

fn check_redis(external: &ExternalRedis) -> Result<(), SpecError> {
    match (external.mode, external.addresses.len()) {
        (RedisMode::Standalone, 1) | (RedisMode::Sentinel | RedisMode::Cluster, 1..) => {}
        (RedisMode::Standalone, addresses) => return Err(SpecError::RedisAddresses(addresses)),
        (RedisMode::Sentinel | RedisMode::Cluster, _) => return Err(SpecError::NoRedisAddress),
    }
    if (external.mode == RedisMode::Sentinel) != external.sentinel.is_some() {
        return Err(SpecError::SentinelMaster);
    }
    if external.mode == RedisMode::Cluster && external.database != 0 {
        return Err(SpecError::ClusterDatabase);
    }
    Ok(())
}

fn check_hub(hub: &HubSpec) -> Result<(), SpecError> {
    if hub.limits.outbound_queue_bytes < hub.limits.max_message_bytes.saturating_add(FRAME_OVERHEAD) {
        return Err(SpecError::QueueTooSmall);
    }
    if hub_env::inbox_bytes(&hub.inbox).is_none() {
        return Err(SpecError::InboxBytes(hub.inbox.max_bytes.clone()));
    }
    let proxy = hub.auth.proxy.as_ref();
    let named = proxy.is_some_and(|proxy| proxy.user_header.is_some() && !proxy.trusted_cidrs.is_empty());
    if hub.auth.mode == AuthMode::Proxy && !named {
        return Err(SpecError::ProxyIncomplete);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SpecDuration;
    use crate::api::exposure::{GatewayRef, HostSpec};
    use crate::api::hub::HubEnv;
    use crate::api::redis::{ExternalRedis, ManagedRedis};
    use crate::desired::fixture::{cluster, inputs};
    use crate::desired::optional::Served;

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
                "ConfigMap/chat-hot",
                "Service/chat-redis",
                "StatefulSet/chat-redis",
                "StatefulSet/chat",
                "PodMonitor/chat",
                "PrometheusRule/chat",
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
        cluster.spec.monitoring.mode = MonitoringMode::Disabled;
        cluster.spec.pod.service_account_name = Some("mine".into());
        cluster.spec.autoscaling.mode = AutoscalingMode::Hpa;
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
                "ConfigMap/chat-hot",
                "StatefulSet/chat",
                "HorizontalPodAutoscaler/chat",
                "Ingress/chat",
            ]
        );
    }

    #[test]
    fn optional_kinds_are_made_only_where_they_are_served() {
        let mut cluster = cluster();
        cluster.spec.exposure.type_ = ExposureType::Gateway;
        cluster.spec.exposure.gateway_ref =
            Some(GatewayRef { name: "edge".into(), namespace: None, section_name: None });
        assert!(
            kinds(&cluster)
                .ends_with(&["PodMonitor/chat", "PrometheusRule/chat", "HTTPRoute/chat"].map(str::to_owned))
        );
        let bare = Inputs { served: Served::default(), ..inputs() };
        let made = children(&cluster, &bare).unwrap();
        assert!(made.iter().all(|child| !Served::ALL.has(child.kind())), "{made:?}");
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

    /// What makes a good resource a bad one, and a word of the refusal.
    type Row<'a> = (&'a dyn Fn(&mut WscCluster), &'a str);

    #[test]
    fn contradictions_are_refused_with_the_field() {
        let external = |c: &mut WscCluster, redis: ExternalRedis| {
            c.spec.redis.managed = None;
            c.spec.redis.external = Some(redis);
        };
        let rows: [Row<'_>; 17] = [
            (&|c| c.spec.autoscaling.min_replicas = 11, "autoscaling.minReplicas"),
            (
                &|c| external(c, ExternalRedis { mode: RedisMode::Cluster, ..ExternalRedis::default() }),
                "at least one",
            ),
            (
                &|c| {
                    let redis = ExternalRedis { mode: RedisMode::Sentinel, ..ExternalRedis::default() };
                    external(c, ExternalRedis { addresses: vec!["a:1".into(), "b:1".into()], ..redis });
                },
                "masterName",
            ),
            (
                &|c| {
                    let redis = ExternalRedis { mode: RedisMode::Cluster, ..ExternalRedis::default() };
                    external(c, ExternalRedis { addresses: vec!["a:1".into()], database: 1, ..redis });
                },
                "database must be 0",
            ),
            (&|c| c.spec.hub.limits.outbound_queue_bytes = 65_536, "outboundQueueBytes"),
            (&|c| c.spec.hub.inbox.max_bytes = "257Mi".into(), "inbox.maxBytes '257Mi'"),
            (&|c| c.spec.hub.auth.mode = AuthMode::Proxy, "auth.proxy.userHeader"),
            (&|c| c.spec.drain.settle = SpecDuration::from_secs(91), "longer than drain.settle"),
            (&|c| c.metadata.uid = None, "metadata.uid"),
            (&|c| c.metadata.namespace = Some(String::new()), "metadata.namespace"),
            (&|c| c.spec.redis.managed = None, "spec.redis.managed"),
            (&|c| c.spec.redis.external = Some(ExternalRedis::default()), "exactly one"),
            (&|c| external(c, ExternalRedis::default()), "it holds 0"),
            (
                &|c| {
                    c.spec.redis.managed =
                        Some(ManagedRedis { max_memory: "lots".into(), ..ManagedRedis::default() });
                },
                "maxMemory 'lots'",
            ),
            (
                &|c| {
                    c.spec.hub.env = vec![HubEnv { name: "WSC_LEASE".into(), value: None, value_from: None }];
                },
                "WSC_LEASE",
            ),
            (&|c| c.spec.drain.termination_grace_period = SpecDuration::from_secs(20), "shorter than 35s"),
            (&|c| c.spec.exposure.type_ = ExposureType::Ingress, "at least one entry"),
        ];
        for (change, expected) in rows {
            let mut cluster = cluster();
            change(&mut cluster);
            let error = children(&cluster, &inputs()).unwrap_err().to_string();
            assert!(error.contains(expected), "'{error}' should contain '{expected}'");
        }
    }
}
