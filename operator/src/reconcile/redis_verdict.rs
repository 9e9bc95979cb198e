//! What is said about Redis, and what to do about it.

use crate::api::WscCluster;
use crate::api::conditions::{ConditionStatus, reasons};
use crate::api::redis::Persistence;
use crate::observed::redis::{RedisFault, RedisHealth};

use super::verdicts::{Findings, Verdict};

/// The condition RedisReady, by the word of the hubs.
pub(super) fn redis(findings: &Findings<'_>) -> Verdict {
    let spec = &findings.cluster.spec.redis;
    match &findings.world.redis {
        RedisHealth::Unknown if findings.wish.replicas == 0 => Verdict::new(
            ConditionStatus::Unknown,
            reasons::UNKNOWN,
            "no node runs, so nobody can say; the nodes report on Redis once there are replicas",
        ),
        RedisHealth::Unknown => {
            let cause = findings.world.hubs.values().find_map(|view| view.answer.as_ref().err()).map_or_else(
                || "no node has reported yet".to_owned(),
                |error| format!("no node has reported yet; {error}"),
            );
            Verdict::new(ConditionStatus::Unknown, reasons::UNKNOWN, cause)
        }
        RedisHealth::Up { nodes } => {
            let kept = match &spec.managed {
                Some(managed) if managed.persistence == Persistence::None => {
                    "; its data lives in memory only (redis.managed.persistence is None) and is lost when its pod ends"
                }
                _ => "",
            };
            Verdict::new(true, reasons::AS_EXPECTED, format!("{nodes} nodes reach Redis{kept}"))
        }
        RedisHealth::Down { fault, error, nodes, answered } => {
            let (reason, advice) = redis_advice(*fault, findings.cluster);
            let listed = nodes.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            Verdict::new(
                false,
                reason,
                format!("{} of {answered} nodes cannot use Redis ({listed}): {error}; {advice}", nodes.len()),
            )
        }
    }
}

fn redis_advice(fault: RedisFault, cluster: &WscCluster) -> (&'static str, String) {
    let external = cluster.spec.redis.external.as_ref();
    match fault {
        RedisFault::AuthenticationFailed => (
            reasons::AUTHENTICATION_FAILED,
            match external.and_then(|external| external.auth_secret_ref.as_ref()) {
                Some(secret) => format!(
                    "correct username and password in Secret {}, the nodes read it again by themselves",
                    secret.name
                ),
                None if external.is_some() => {
                    "the server wants a password: name a Secret in redis.external.authSecretRef".to_owned()
                }
                None => {
                    "the password was changed: Redis restarts with the one in the Secret and the nodes read it again by themselves, within two minutes; if this lasts, delete the pod of Redis".to_owned()
                }
            },
        ),
        RedisFault::PrefixInUse => (
            reasons::PREFIX_IN_USE,
            "another live cluster uses the same redis.keyPrefix on this Redis: give each its own, or end the other one".to_owned(),
        ),
        RedisFault::TlsFailed => (
            reasons::TLS_FAILED,
            "check redis.external.tls: whether the server speaks TLS on this port, and the certificates in the named Secrets".to_owned(),
        ),
        RedisFault::Unreachable => (
            reasons::UNREACHABLE,
            if external.is_some() {
                "check redis.external.addresses, the server, and network policies between".to_owned()
            } else {
                "check the managed Redis pod; the nodes reconnect by themselves".to_owned()
            },
        ),
        RedisFault::Other => (
            reasons::REDIS_ERROR,
            "see the message of the server; the nodes keep trying".to_owned(),
        ),
    }
}
