//! The custom resource of a test.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    namespace::Namespace,
    port_forward::PortForward,
    resource::{POD, WSC_CLUSTER},
};
use crate::{
    api_client::ApiClient,
    tokens,
    wait::{Look, eventually},
    ws_client::{WsClient, WsRequest},
};

/// Port of a hub pod for clients.
pub const CLIENT_PORT: u16 = 8080;
/// Port of a hub pod for the backend.
pub const API_PORT: u16 = 8081;

/// A spec that fits on a small machine, with managed Redis.
#[must_use]
pub fn small_spec(replicas: u32) -> Value {
    let tiny = json!({"requests": {"cpu": "10m", "memory": "16Mi"}});
    json!({
        "replicas": replicas,
        "redis": {"managed": {"resources": tiny}},
        "pod": {"resources": tiny},
        "hub": {"heartbeat": {"interval": "1s", "lease": "5s"}},
        "drain": {"terminationGracePeriod": "35s"},
        "rollout": {"minReadySeconds": 1}
    })
}

/// A manifest of this kind.
#[must_use]
pub fn manifest(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "wsc.dev/v1alpha1", "kind": "WscCluster", "metadata": {"name": name}, "spec": spec})
}

/// A condition of a status, by type.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    object["status"]["conditions"]
        .as_array()
        .and_then(|conditions| conditions.iter().find(|condition| condition["type"] == kind))
        .unwrap_or(&Value::Null)
}

/// Whether a condition has this status, and the whole status is about the present spec.
#[must_use]
pub fn stands(object: &Value, kind: &str, status: &str) -> bool {
    condition(object, kind)["status"] == status
        && object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// A `WscCluster` in a namespace.
#[derive(Debug, Clone, Copy)]
pub struct TestCluster<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// Its name.
    pub name: &'a str,
}

impl<'a> TestCluster<'a> {
    /// Makes it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create(namespace: &'a Namespace, name: &'a str, spec: &Value) -> Result<Self> {
        namespace.create_object(WSC_CLUSTER, &manifest(name, spec)).await?;
        Ok(Self { namespace, name })
    }

    /// The object.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn object(&self) -> Result<Value> {
        self.namespace.get(WSC_CLUSTER, self.name).await
    }

    /// Merges changes into the spec.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn change(&self, spec: &Value) -> Result<()> {
        self.namespace.merge(WSC_CLUSTER, self.name, &json!({"spec": spec})).await.map(|_| ())
    }

    /// Waits until a condition has a status for the present spec; gives the object.
    ///
    /// # Errors
    /// After `within`, with the status as it was seen last.
    pub async fn until(&self, kind: &str, status: &str, within: Duration) -> Result<Value> {
        let what = format!("{kind} is {status}");
        self.namespace
            .until(WSC_CLUSTER, self.name, &what, within, |object| stands(object, kind, status))
            .await
    }

    /// Waits until it is Ready with this many nodes.
    ///
    /// # Errors
    /// After `within`, with the status as it was seen last.
    pub async fn ready(&self, nodes: u32, within: Duration) -> Result<Value> {
        let what = format!("{} is Ready with {nodes} nodes", self.name);
        self.namespace
            .until(WSC_CLUSTER, self.name, &what, within, |object| {
                stands(object, "Ready", "True") && object["status"]["registeredNodes"] == nodes
            })
            .await
    }

    /// Name of a pod.
    #[must_use]
    pub fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.name)
    }

    /// Uid of a pod.
    ///
    /// # Errors
    /// When there is no such pod.
    pub async fn pod_uid(&self, ordinal: u32) -> Result<String> {
        let pod = self.namespace.get(POD, &self.pod(ordinal)).await?;
        Ok(pod["metadata"]["uid"].as_str().context("a pod without uid")?.to_owned())
    }

    /// Waits until a pod is another than the one with this uid, and ready.
    ///
    /// # Errors
    /// After `within`.
    pub async fn replaced(&self, ordinal: u32, old_uid: &str, within: Duration) -> Result<Value> {
        let name = self.pod(ordinal);
        self.namespace
            .until(POD, &name, &format!("{name} is a new pod and ready"), within, |pod| {
                pod["metadata"]["uid"] != old_uid && condition(pod, "Ready")["status"] == "True"
            })
            .await
    }

    /// A port of a pod on loopback.
    ///
    /// # Errors
    /// When no local port is free.
    pub async fn forward(&self, ordinal: u32, port: u16) -> Result<PortForward> {
        PortForward::start(&self.namespace.client, &self.namespace.name, &self.pod(ordinal), port).await
    }

    /// The control API of a pod, with the generated key.
    ///
    /// # Errors
    /// When the key is not there.
    pub async fn api(&self, ordinal: u32) -> Result<(ApiClient, PortForward)> {
        let key = self.namespace.secret(&format!("{}-api", self.name), "api").await?;
        let forward = self.forward(ordinal, API_PORT).await?;
        Ok((ApiClient::new(forward.address(), Some(key.trim()))?, forward))
    }

    /// A token for a user who may send to everyone, by the generated key.
    ///
    /// # Errors
    /// When the key is not there.
    pub async fn token(&self, user: &str) -> Result<String> {
        self.tokens([user]).await?.pop().context("no token")
    }

    /// Such tokens for some users, in their order.
    ///
    /// # Errors
    /// When the key is not there.
    pub async fn tokens(&self, users: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<String>> {
        let secret = self.namespace.secret(&format!("{}-auth", self.name), "default.key").await?;
        let sign = |user: &str| {
            let claims = tokens::claims_with_send(user, &["user:*"]);
            tokens::sign(jsonwebtoken::Algorithm::HS256, Some("default"), secret.trim(), &claims)
        };
        users.into_iter().map(|user| sign(user.as_ref())).collect()
    }

    /// Connects a user to a pod.
    ///
    /// # Errors
    /// When the upgrade is refused.
    pub async fn connect(&self, user: &str, ordinal: u32) -> Result<WsClient> {
        let forward = self.forward(ordinal, CLIENT_PORT).await?;
        let request = WsRequest::token(&self.token(user).await?);
        let client = WsClient::connect(forward.address(), &request).await?;
        ensure!(client.node() == self.pod(ordinal), "{} instead of {}", client.node(), self.pod(ordinal));
        Ok(client.holding(forward))
    }

    /// Waits until a pod's control API lists exactly these nodes.
    ///
    /// # Errors
    /// After `within`, with the ids listed last.
    pub async fn nodes_are(&self, asked: u32, wanted: &[String], within: Duration) -> Result<()> {
        let (api, _forward) = self.api(asked).await?;
        eventually(&format!("/nodes lists {wanted:?}"), within, async || {
            let ids = api.node_ids().await?;
            Ok(Look::when(ids == wanted, (), format!("{ids:?}")))
        })
        .await
    }
}
