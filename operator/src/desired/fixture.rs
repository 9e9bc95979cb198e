//! The resource that unit tests start from.

use super::inputs::Inputs;
use super::optional::Served;
use crate::api::redis::{ManagedRedis, RedisSpec};
use crate::api::{WscCluster, WscClusterSpec};

/// `chat` in namespace `demo`, with a managed Redis and every default.
pub(crate) fn cluster() -> WscCluster {
    let redis = RedisSpec { managed: Some(ManagedRedis::default()), ..RedisSpec::default() };
    let mut cluster = WscCluster::new("chat", WscClusterSpec::with_redis(redis));
    cluster.metadata.namespace = Some("demo".into());
    cluster.metadata.uid = Some("uid-1".into());
    cluster
}

/// Inputs of an operator with fixed default images and three replicas.
pub(crate) fn inputs() -> Inputs {
    Inputs {
        operator_version: "0.1.0".into(),
        default_hub_image: "wsc-hub:0.1.0".into(),
        default_redis_image: "redis:7".into(),
        redis_auth_version: Some("secret-uid-1".into()),
        replicas: 3,
        held_image: None,
        served: Served::ALL,
    }
}
