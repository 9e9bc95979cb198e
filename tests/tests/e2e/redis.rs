//! Redis that somebody else runs: ACL user, wrong password, and what is left after the end.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use wsc_tests::{
    kubernetes::{
        namespace::Namespace,
        port_forward::PortForward,
        resource::{CHILDREN, CONTROLLER_REVISION, POD, SERVICE, VOLUME_CLAIM, WSC_CLUSTER},
        wsc_cluster::{TestCluster, condition, small_spec},
    },
    wait::{Look, eventually},
};

use crate::stage::{STARTED, Stage};

const ADMIN: &str = "admin-password-of-the-test";
const USER: &str = "hub-password-of-the-test";
/// The kubelet brings a changed Secret to its pods within about a minute and a half.
const SECRET_ARRIVES: Duration = Duration::from_secs(180);

/// A Redis with a password for its default user and a user `hub` who may use keys and channels `wsc:*` only.
async fn start_redis(ns: &Namespace) -> Result<()> {
    let user = [
        "--user",
        "hub",
        "on",
        &format!(">{USER}"),
        "~wsc:*",
        "&wsc:*",
        "+@all",
        "-@admin",
        "-@dangerous",
        "+info",
    ]
    .map(str::to_owned);
    let arguments: Vec<String> =
        ["--save", "", "--requirepass", ADMIN].map(str::to_owned).into_iter().chain(user).collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "redis", "labels": {"app": "redis"}},
        "spec": {
            "containers": [{
                "name": "redis", "image": "wsc-redis:dev", "imagePullPolicy": "IfNotPresent",
                "args": arguments, "workingDir": "/data",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "ports": [{"containerPort": 6379}],
                "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1},
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]
            }],
            "securityContext": {
                "runAsUser": 999, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}
            },
            "volumes": [{"name": "data", "emptyDir": {}}]
        }
    });
    ns.create_object(POD, &pod).await?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "redis"},
        "spec": {"selector": {"app": "redis"}, "ports": [{"port": 6379}]}
    });
    ns.create_object(SERVICE, &service).await?;
    let ready = |pod: &Value| condition(pod, "Ready")["status"] == "True";
    ns.until(POD, "redis", "redis is ready", STARTED, ready).await?;
    Ok(())
}

/// The keys in that Redis.
async fn keys(ns: &Namespace) -> Result<Vec<String>> {
    let forward = PortForward::start(&ns.client, &ns.name, "redis", 6379).await?;
    let client = redis::Client::open(format!("redis://:{ADMIN}@{}", forward.address()))?;
    let mut connection = client.get_multiplexed_async_connection().await.context("cannot reach redis")?;
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await?;
    keys.sort();
    Ok(keys)
}

#[tokio::test]
async fn a_wrong_password_is_reported_mended_without_restart_and_nothing_is_left_in_the_end() -> Result<()> {
    let stage = Stage::new("redis").await?;
    let ns = &stage.ns;
    start_redis(ns).await?;
    ns.write_secret("redis-login", &[("username", "hub"), ("password", "not-the-password")]).await?;
    let mut spec = small_spec(2);
    spec["redis"] =
        json!({"external": {"addresses": ["redis:6379"], "authSecretRef": {"name": "redis-login"}}});
    let chat = TestCluster::create(ns, "chat", &spec).await?;
    let object = chat.until("RedisReady", "False", STARTED).await?;
    let found = condition(&object, "RedisReady");
    assert_eq!(found["reason"], "AuthenticationFailed", "{found}");
    assert!(
        found["message"].as_str().is_some_and(|message| !message.contains("not-the-password")),
        "{found}"
    );
    assert_eq!(condition(&object, "Ready")["status"], "False");
    let pods = (chat.pod_uid(0).await?, chat.pod_uid(1).await?);

    ns.write_secret("redis-login", &[("username", "hub"), ("password", USER)]).await?;
    chat.ready(2, SECRET_ARRIVES).await?;
    chat.until("RedisReady", "True", STARTED).await?;
    assert_eq!((chat.pod_uid(0).await?, chat.pod_uid(1).await?), pods, "no pod was replaced for it");
    for ordinal in 0..2 {
        let pod = ns.get(POD, &chat.pod(ordinal)).await?;
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "no container was restarted");
    }

    let mut alice = chat.connect("alice", 0).await?;
    let mut bob = chat.connect("bob", 1).await?;
    assert_eq!(alice.send_to("bob", "over the ACL user").await?, "delivered");
    bob.expect_text("over the ACL user").await?;
    let prefix = format!("wsc:{}:chat:", ns.name);
    let used = keys(ns).await?;
    assert!(used.iter().any(|key| key.starts_with(&format!("{prefix}lease:"))), "{used:?}");
    assert!(used.iter().all(|key| key.starts_with(&prefix)), "{used:?}");

    ns.delete(WSC_CLUSTER, "chat").await?;
    eventually("no key of nodes and users is left", Duration::from_secs(60), async || {
        let left = keys(ns).await?;
        // Who owned the prefix is forgotten after a minute, so that a restart keeps it. The marker stays: it tells those
        // who come back that this Redis has not lost anything. Sessions lapse when nobody has taken them up.
        let lapses = |key: &str| key.ends_with(":owner") || key.contains(":session");
        let stays = |key: &str| lapses(key) || key.ends_with(":registry");
        let left: Vec<&String> = left.iter().filter(|key| !stays(key)).collect();
        Ok(Look::when(left.is_empty(), (), format!("{left:?}")))
    })
    .await?;
    eventually("no object of the cluster is left", Duration::from_secs(90), async || {
        let mut left = Vec::new();
        for resource in CHILDREN.into_iter().chain([POD, CONTROLLER_REVISION, VOLUME_CLAIM]) {
            for object in ns.list(resource).await? {
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                if name.starts_with("chat") {
                    left.push(format!("{} {name}", resource.kind));
                }
            }
        }
        Ok(Look::when(left.is_empty(), (), left.join(", ")))
    })
    .await
}

#[tokio::test]
async fn a_lost_managed_redis_comes_back_and_the_nodes_register_again() -> Result<()> {
    let stage = Stage::new("redis-lost").await?;
    let ns = &stage.ns;
    let chat = TestCluster::create(ns, "chat", &small_spec(2)).await?;
    chat.ready(2, STARTED).await?;
    let mut alice = chat.connect("alice", 0).await?;
    let mut bob = chat.connect("bob", 1).await?;
    ns.kubectl.run(&["delete", "pod", "chat-redis-0", "--grace-period=0", "--force"]).await?;
    let (api, _forward) = chat.api(1).await?;
    eventually("both are known again", STARTED, async || {
        let known = async |user: &str| api.user(user).await.is_ok_and(|found| found["online"] == true);
        let nodes = api.node_ids().await.is_ok_and(|ids| ids.len() == 2);
        Ok(Look::when(nodes && known("alice").await && known("bob").await, (), "not yet"))
    })
    .await?;
    chat.ready(2, STARTED).await?;
    assert_eq!(alice.send_to("bob", "after the loss").await?, "delivered");
    bob.expect_text("after the loss").await?;
    alice.expect_nothing().await
}
