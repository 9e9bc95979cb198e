//! The root object and the rules that the API server enforces across fields.
#![expect(
    unreachable_pub,
    unused_imports,
    reason = "the schema derive copies the struct into a function and imports its names again"
)]

use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::autoscaling::AutoscalingSpec;
use super::exposure::ExposureSpec;
use super::hub::{HubSpec, MANAGED_ENV};
use super::image::ImageSpec;
use super::monitoring::MonitoringSpec;
use super::pod::PodSpec;
use super::redis::RedisSpec;
use super::rollout::{DisruptionSpec, DrainSpec, RolloutSpec};
use super::security::SecuritySpec;
use super::services::ServicesSpec;
use super::status::WscClusterStatus;

/// Longest name of a resource, in characters; leaves room for the suffixes of its children.
pub const MAX_NAME_LENGTH: usize = 40;

/// The WebSocket hub you want: how many nodes, which Redis connects them, how clients reach it. The smallest useful
/// spec is `{redis: {managed: {}}}`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "wsc.dev",
    version = "v1alpha1",
    kind = "WscCluster",
    plural = "wscclusters",
    shortname = "wsc",
    category = "wsc",
    namespaced,
    derive = "PartialEq",
    status = "WscClusterStatus",
    doc = "A WebSocket hub that Kubernetes runs: a StatefulSet of hub nodes, the Services and the Ingress in front of them, and the Redis that connects them.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether everything is as the spec asks for"
    ),
    printcolumn(
        name = "Nodes",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Hub nodes that are ready"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.desiredReplicas",
        description = "Hub nodes there should be"
    ),
    printcolumn(
        name = "Connections",
        type_ = "integer",
        json_path = ".status.connections.total",
        description = "Client connections of all nodes"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "State in one word"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Operation",
        type_ = "string",
        json_path = ".status.operation.type",
        description = "What the operator is doing to the pods",
        priority = 1
    ),
    printcolumn(
        name = "Redis",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"RedisReady\")].status",
        description = "Whether the nodes can use Redis",
        priority = 1
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoints['external','internal']",
        description = "Where clients connect",
        priority = 1
    ),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".status.image",
        description = "Image of the hub pods",
        priority = 1
    ),
    validation = Rule::new("size(self.metadata.name) <= 40")
        .message("metadata.name must have at most 40 characters: names of pods and Services are derived from it"),
    validation = Rule::new("duration(self.spec.rollout.progressDeadline) > duration(self.spec.drain.timeout) + duration(self.spec.drain.terminationGracePeriod) + duration('60s')")
        .message("spec.rollout.progressDeadline must be longer than drain.timeout + drain.terminationGracePeriod + 60s, or a drain alone would make a rollout count as stuck"),
    validation = Rule::new("self.spec.autoscaling.mode != 'Connections' || self.spec.autoscaling.targetConnectionsPerNode <= self.spec.hub.maxConnections")
        .message("spec.autoscaling.targetConnectionsPerNode must not be greater than hub.maxConnections, or no node would ever be full enough for another one"),
    validation = Rule::new("size(self.metadata.name) > 40 || self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must begin with a letter, end with a letter or digit, and hold only a-z, 0-9 and '-': Services are named after it")
)]
#[serde(rename_all = "camelCase")]
pub struct WscClusterSpec {
    /// Hub nodes to run, 0 to 1000, default 3. `kubectl scale` and autoscalers write it; the operator never does.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,

    /// Whether the operator only observes and reports, and changes nothing. Default false.
    #[serde(default)]
    pub paused: bool,

    /// Whether all hub pods are ended while everything else is kept; the spec's replicas come back when it is false
    /// again. Default false.
    #[serde(default)]
    pub stopped: bool,

    /// Image of the hub pods.
    #[serde(default)]
    pub image: ImageSpec,

    /// Settings of the hub.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("duration(self.heartbeat.interval) >= duration('1s')")
            .message("heartbeat.interval must be at least 1s")
            .field_path(".heartbeat.interval"),
        validation = Rule::new("duration(self.heartbeat.lease) >= duration(self.heartbeat.interval) + duration(self.heartbeat.interval) + duration(self.heartbeat.interval)")
            .message("heartbeat.lease must be at least three times heartbeat.interval, so that two lost heartbeats do not take a node for dead")
            .field_path(".heartbeat.lease"),
        validation = Rule::new("duration(self.heartbeat.lease) <= duration('60s')")
            .message("heartbeat.lease must be at most 60s, so that a dead node is noticed within a minute")
            .field_path(".heartbeat.lease"),
        validation = Rule::new(managed_env_rule())
            .message("env may not name a variable that the operator sets itself (such as WSC_NODE_ID or WSC_REDIS_URL); use the field of the spec")
            .field_path(".env"),
        validation = Rule::new("!has(self.env) || self.env.all(e, !(has(e.value) && has(e.valueFrom)))")
            .message("each entry of env takes value or valueFrom, not both")
            .field_path(".env"),
        validation = Rule::new("self.limits.outboundQueueBytes >= self.limits.maxMessageBytes + 1024")
            .message("limits.outboundQueueBytes must be at least 1024 more than limits.maxMessageBytes, so that a queue can hold one message")
            .field_path(".limits.outboundQueueBytes"),
        validation = Rule::new("quantity(self.inbox.maxBytes).compareTo(quantity('1Ki')) >= 0 && quantity(self.inbox.maxBytes).compareTo(quantity('256Mi')) <= 0")
            .message("inbox.maxBytes must be at least 1Ki and at most 256Mi")
            .field_path(".inbox.maxBytes"),
        validation = Rule::new("duration(self.inbox.ttl) >= duration('1s') && duration(self.inbox.ttl) <= duration('8760h')")
            .message("inbox.ttl must be at least 1s and at most 8760h")
            .field_path(".inbox.ttl"),
        validation = Rule::new("self.auth.mode != 'Proxy' || (has(self.auth.proxy) && has(self.auth.proxy.userHeader) && has(self.auth.proxy.trustedCidrs) && size(self.auth.proxy.trustedCidrs) > 0)")
            .message("auth.mode Proxy needs auth.proxy.userHeader and at least one network in auth.proxy.trustedCidrs")
            .field_path(".auth.proxy"),
        validation = Rule::new("self.auth.mode == 'Proxy' || !has(self.auth.proxy) || !has(self.auth.proxy.userHeader)")
            .message("auth.proxy.userHeader acts in auth.mode Proxy only")
            .field_path(".auth.proxy")
    )]
    pub hub: HubSpec,

    /// The Redis through which the nodes find each other and pass messages. Exactly one of `managed` and `external`;
    /// which one, and the fields that say where data lies, cannot be changed later.
    #[x_kube(
        validation = Rule::new("has(self.managed) != has(self.external)")
            .message("exactly one of redis.managed and redis.external must be set; 'managed: {}' runs a small Redis for you"),
        validation = Rule::new("has(self.managed) == has(oldSelf.managed)")
            .message("redis.managed and redis.external cannot be exchanged later; create a new WscCluster"),
        validation = Rule::new("self.keyPrefix == oldSelf.keyPrefix")
            .message("redis.keyPrefix is immutable; create a new WscCluster")
            .field_path(".keyPrefix"),
        validation = Rule::new("!has(self.managed) || !has(oldSelf.managed) || self.managed.persistence == oldSelf.managed.persistence")
            .message("redis.managed.persistence is immutable; create a new WscCluster")
            .field_path(".managed.persistence"),
        validation = Rule::new("!has(self.managed) || !has(oldSelf.managed) || self.managed.storage == oldSelf.managed.storage")
            .message("redis.managed.storage is immutable; create a new WscCluster")
            .field_path(".managed.storage"),
        validation = Rule::new("!has(self.external) || !has(oldSelf.external) || (self.external.mode == oldSelf.external.mode && self.external.database == oldSelf.external.database)")
            .message("redis.external.mode and redis.external.database are immutable; create a new WscCluster")
            .field_path(".external"),
        validation = Rule::new("!has(self.external) || (has(self.external.addresses) && size(self.external.addresses) > 0)")
            .message("redis.external.addresses must hold at least one address")
            .field_path(".external.addresses"),
        validation = Rule::new("!has(self.external) || self.external.mode != 'Standalone' || !has(self.external.addresses) || size(self.external.addresses) <= 1")
            .message("redis.external.addresses must hold exactly one address in mode Standalone")
            .field_path(".external.addresses"),
        validation = Rule::new("!has(self.external) || (self.external.mode == 'Sentinel') == has(self.external.sentinel)")
            .message("redis.external.sentinel.masterName is needed in mode Sentinel and has no meaning in another")
            .field_path(".external.sentinel"),
        validation = Rule::new("!has(self.external) || self.external.mode != 'Cluster' || self.external.database == 0")
            .message("redis.external.database must be 0 in mode Cluster")
            .field_path(".external.database"),
        validation = Rule::new("!has(self.external) || self.external.tls.enabled || (!has(self.external.tls.caSecretRef) && !has(self.external.tls.clientCertSecretRef))")
            .message("redis.external.tls.caSecretRef and clientCertSecretRef need tls.enabled: true")
            .field_path(".external.tls")
    )]
    pub redis: RedisSpec,

    /// How changed pods are replaced.
    #[serde(default)]
    pub rollout: RolloutSpec,

    /// How clients are moved away from a pod, and how pods end.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("duration(self.terminationGracePeriod) >= duration('35s') && duration(self.terminationGracePeriod) <= duration('1h')")
            .message("drain.terminationGracePeriod must be at least 35s and at most 1h")
            .field_path(".terminationGracePeriod"),
        validation = Rule::new("duration(self.terminationGracePeriod) >= duration(self.settle) + duration('30s')")
            .message("drain.terminationGracePeriod must be at least drain.settle + 30s, so that connections can still be closed in good order")
            .field_path(".terminationGracePeriod"),
        validation = Rule::new("duration(self.timeout) >= duration('1s') && duration(self.timeout) <= duration('24h')")
            .message("drain.timeout must be at least 1s and at most 24h")
            .field_path(".timeout"),
        validation = Rule::new("duration(self.settle) <= duration('5m')")
            .message("drain.settle must be at most 5m")
            .field_path(".settle"),
        validation = Rule::new("duration(self.retryAfterMax) <= duration('1m')")
            .message("drain.retryAfterMax must be at most 1m")
            .field_path(".retryAfterMax")
    )]
    pub drain: DrainSpec,

    /// Whether and how the number of nodes follows the load.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("self.minReplicas <= self.maxReplicas")
            .message("autoscaling.minReplicas must not be greater than autoscaling.maxReplicas")
            .field_path(".minReplicas"),
        validation = Rule::new("duration(self.scaleDown.stabilization) <= duration('1h')")
            .message("autoscaling.scaleDown.stabilization must be at most 1h")
            .field_path(".scaleDown.stabilization")
    )]
    pub autoscaling: AutoscalingSpec,

    /// Protection against evictions.
    #[serde(default)]
    pub disruption: DisruptionSpec,

    /// Services of the cluster.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("!has(self.client.nodePort) || self.client.type != 'ClusterIP'")
            .message("services.client.nodePort needs type NodePort or LoadBalancer")
            .field_path(".client.nodePort"),
        validation = Rule::new("!has(self.client.externalTrafficPolicy) || self.client.type != 'ClusterIP'")
            .message("services.client.externalTrafficPolicy needs type NodePort or LoadBalancer")
            .field_path(".client.externalTrafficPolicy"),
        validation = Rule::new("!has(self.client.loadBalancerClass) || self.client.type == 'LoadBalancer'")
            .message("services.client.loadBalancerClass needs type LoadBalancer")
            .field_path(".client.loadBalancerClass")
    )]
    pub services: ServicesSpec,

    /// How clients outside the Kubernetes cluster reach the hub.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("self.type != 'Ingress' || (has(self.hosts) && size(self.hosts) > 0)")
            .message("exposure.type Ingress needs at least one entry in exposure.hosts")
            .field_path(".hosts"),
        validation = Rule::new("self.type != 'Gateway' || has(self.gatewayRef)")
            .message("exposure.type Gateway needs exposure.gatewayRef")
            .field_path(".gatewayRef")
    )]
    pub exposure: ExposureSpec,

    /// How the hub is watched by Prometheus.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("duration(self.interval) >= duration('1s')")
            .message("monitoring.interval must be at least 1s")
            .field_path(".interval")
    )]
    pub monitoring: MonitoringSpec,

    /// Network isolation of the pods.
    #[serde(default)]
    pub security: SecuritySpec,

    /// The hub pods.
    #[serde(default)]
    pub pod: PodSpec,
}

fn default_replicas() -> i32 {
    3
}

/// The rule that keeps `hub.env` away from what the operator sets, written from the list that the pods are made with.
fn managed_env_rule() -> String {
    let names: Vec<String> = MANAGED_ENV.iter().map(|name| format!("'{name}'")).collect();
    format!("!has(self.env) || !self.env.exists(e, e.name in [{}])", names.join(", "))
}

impl WscClusterSpec {
    /// A spec with every default and the given Redis.
    pub fn with_redis(redis: RedisSpec) -> Self {
        Self {
            replicas: default_replicas(),
            paused: false,
            stopped: false,
            image: ImageSpec::default(),
            hub: HubSpec::default(),
            redis,
            rollout: RolloutSpec::default(),
            drain: DrainSpec::default(),
            autoscaling: AutoscalingSpec::default(),
            disruption: DisruptionSpec::default(),
            services: ServicesSpec::default(),
            exposure: ExposureSpec::default(),
            monitoring: MonitoringSpec::default(),
            security: SecuritySpec::default(),
            pod: PodSpec::default(),
        }
    }
}
