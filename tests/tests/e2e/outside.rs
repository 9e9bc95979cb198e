//! A cluster as it is seen from outside: by node ports, as behind a load balancer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt;
use http::Method;
use serde_json::{Value, json};
use wsc_tests::{
    api_client::ApiClient,
    kubernetes::{
        resource::{SERVICE, call},
        wsc_cluster::{API_PORT, TestCluster, small_spec},
    },
    returning_clients::{Open, user},
    steady_sends::PickApi,
    wait::{Look, eventually},
    ws_client::{WsClient, WsRequest},
};

use crate::stage::STARTED;

/// Connections of the backend; each goes to one pod.
const BACKENDS: usize = 12;

/// A small spec whose clients come from outside.
pub(crate) fn open_spec(replicas: u32) -> Value {
    let mut spec = small_spec(replicas);
    spec["services"] = json!({"client": {"type": "NodePort"}});
    // What comes by a node port comes from outside, also where policies are enforced.
    spec["security"] = json!({"networkPolicy": {"enabled": false}});
    spec
}

/// The cluster by its node ports.
pub(crate) struct Outside {
    /// Where clients connect.
    clients: Vec<SocketAddr>,
    apis: Vec<ApiClient>,
    tokens: Vec<String>,
}

impl Outside {
    /// For so many clients. The cluster must be made by [`open_spec`].
    pub(crate) async fn of(chat: &TestCluster<'_>, clients: usize) -> Result<Self> {
        let (ns, name) = (chat.namespace, chat.name);
        let list = call(&ns.client, Method::GET, "/api/v1/nodes", None).await?.context("no nodes")?;
        let nodes: Vec<IpAddr> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|node| node["status"]["addresses"].as_array())
            .flatten()
            .filter(|address| address["type"] == "InternalIP")
            .filter_map(|address| address["address"].as_str()?.parse().ok())
            .collect();
        ensure!(!nodes.is_empty(), "no node has an address: {list}");
        let client = node_port(&ns.get(SERVICE, name).await?)?;
        let inner = ns.get(SERVICE, &format!("{name}-api")).await?;
        let body = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "outside-api"},
            "spec": {
                "type": "NodePort", "selector": inner["spec"]["selector"],
                "ports": [{"port": API_PORT, "targetPort": API_PORT}]
            }
        });
        let api = node_port(&ns.create_object(SERVICE, &body).await?)?;
        let key = ns.secret(&format!("{name}-api"), "api").await?;
        let at = |number: usize, port: u16| SocketAddr::new(nodes[number % nodes.len()], port);
        let apis = (0..BACKENDS).map(|number| ApiClient::new(at(number, api), Some(key.trim())));
        let apis = apis.collect::<Result<Vec<_>>>()?;
        let tokens = chat.tokens((0..clients).map(user)).await?;
        Ok(Self { clients: (0..nodes.len()).map(|number| at(number, client)).collect(), apis, tokens })
    }

    /// How clients connect: each time through any node.
    pub(crate) fn open(self: &Arc<Self>) -> Open {
        let outside = Arc::clone(self);
        Arc::new(move |number, offset: Option<String>| {
            let outside = Arc::clone(&outside);
            async move {
                let at = outside.clients[rand::random_range(0..outside.clients.len())];
                let offset = offset.map_or_else(String::new, |offset| format!("&offset={offset}"));
                let request = WsRequest::new(&format!("/ws?client_id=phone{offset}"))
                    .header("Authorization", &format!("Bearer {}", outside.tokens[number]));
                WsClient::upgrade(at, &request).await
            }
            .boxed()
        })
    }

    /// How a backend sends.
    pub(crate) fn api(self: &Arc<Self>) -> PickApi {
        let outside = Arc::clone(self);
        Arc::new(move || Some(outside.apis[rand::random_range(0..outside.apis.len())].clone()))
    }

    /// Waits until it is answered through every node, by a registry that can say who is nowhere.
    pub(crate) async fn is_open(&self) -> Result<()> {
        for api in &self.apis {
            eventually("the API is reached by the node ports", STARTED, async || {
                Ok(match api.get("/v1/users/nobody").await {
                    Ok(answer) => Look::when(answer.status == 200, (), answer.text),
                    Err(error) => Look::NotYet(format!("{error:#}")),
                })
            })
            .await?;
        }
        Ok(())
    }
}

fn node_port(service: &Value) -> Result<u16> {
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("a Service without node port")?;
    Ok(u16::try_from(port)?)
}
