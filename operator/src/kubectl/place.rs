//! Cluster, namespace, resource, pods and Secrets, with the rights of the caller.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Client, Config, ResourceExt};

use crate::api::WscCluster;
use crate::desired::{labels, names};

use super::arguments::Target;
use super::error::{KubectlError, innermost};

/// How long the API server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A namespace of a Kubernetes.
#[derive(Clone)]
pub struct Place {
    /// Client with the caller's rights.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Place {
    /// Finds the cluster that the command line, the kubeconfig or the pod this runs in names.
    ///
    /// # Errors
    /// [`KubectlError::NoCluster`] when there is none.
    pub async fn reach(target: &Target) -> Result<Self, KubectlError> {
        let options = KubeConfigOptions { context: target.context.clone(), ..KubeConfigOptions::default() };
        let none = |error: &(dyn std::error::Error + 'static)| KubectlError::NoCluster(innermost(error));
        let mut config = if let Some(file) = &target.kubeconfig {
            let kubeconfig = Kubeconfig::read_from(file).map_err(|error| none(&error))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| none(&error))?
        } else if target.context.is_some() {
            Config::from_kubeconfig(&options).await.map_err(|error| none(&error))?
        } else {
            Config::infer().await.map_err(|error| none(&error))?
        };
        config.connect_timeout = Some(CONNECT_LIMIT);
        config.read_timeout = Some(ANSWER_LIMIT);
        let namespace = target.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| none(&error))?;
        Ok(Self { client, namespace })
    }

    /// Access to a kind in the namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Every resource of the namespace, as it stands there; a resource of a newer release may not be readable.
    async fn listed(&self) -> Result<Vec<DynamicObject>, KubectlError> {
        let resource = ApiResource::erase::<WscCluster>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        match api.list(&ListParams::default()).await {
            Ok(list) => Ok(list.items),
            // Without the definition the whole path is unknown; an empty namespace is an empty list.
            Err(kube::Error::Api(status)) if status.code == 404 => Err(KubectlError::NoDefinition),
            Err(error) => {
                Err(KubectlError::api(format!("listing WscClusters in namespace {}", self.namespace))(error))
            }
        }
    }

    /// Every resource of the namespace, by name.
    ///
    /// # Errors
    /// When they may not be read, or one cannot be read by this release.
    pub async fn clusters(&self) -> Result<Vec<WscCluster>, KubectlError> {
        self.listed().await?.into_iter().map(readable).collect()
    }

    /// The resource of a name, or the only one.
    ///
    /// # Errors
    /// When there is none of that name, or no name was given and there are several.
    pub async fn cluster(&self, name: Option<&str>) -> Result<WscCluster, KubectlError> {
        if let Some(name) = name {
            // Reading one needs fewer rights than listing all.
            match self.api::<WscCluster>().get(name).await {
                Ok(cluster) => return Ok(cluster),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(KubectlError::api(format!("reading WscCluster {name}"))(error)),
            }
        }
        let mut found = match (name, self.listed().await) {
            (Some(_), Err(KubectlError::Forbidden { .. })) => Vec::new(),
            (_, listed) => listed?,
        };
        let names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
        let namespace = self.namespace.clone();
        match (name, found.len()) {
            (Some(name), _) => Err(KubectlError::Unknown { name: name.to_owned(), namespace, others: names }),
            (None, 0) => Err(KubectlError::Empty(namespace)),
            (None, 1) => readable(found.remove(0)),
            (None, _) => Err(KubectlError::Ambiguous { namespace, names }),
        }
    }

    /// The resource that a hub pod belongs to.
    ///
    /// # Errors
    /// When there is no such pod, or it is no hub.
    pub async fn cluster_of(&self, pod: &str) -> Result<WscCluster, KubectlError> {
        let found = self
            .api::<Pod>()
            .get_opt(pod)
            .await
            .map_err(KubectlError::api(format!("reading pod {pod}")))?
            .ok_or_else(|| {
                KubectlError::NotNow(format!("there is no pod {pod} in namespace {}", self.namespace))
            })?;
        let is_hub = found.labels().get(labels::NAME).map(String::as_str) == Some(labels::HUB_NAME);
        match found.labels().get(labels::CLUSTER) {
            Some(name) if is_hub => self.cluster(Some(name)).await,
            _ => Err(KubectlError::Usage(format!("pod {pod} is not a hub of a WscCluster"))),
        }
    }

    /// The hub pods of a resource, by ordinal.
    ///
    /// # Errors
    /// When they may not be listed.
    pub async fn hub_pods(&self, cluster: &WscCluster) -> Result<Vec<Pod>, KubectlError> {
        let selector = ListParams::default().labels(&labels::selector_string(cluster));
        let mut pods = self
            .api::<Pod>()
            .list(&selector)
            .await
            .map_err(KubectlError::api(format!("listing the pods of {}", names::cluster(cluster))))?
            .items;
        pods.sort_by_key(|pod| (pod.name_any().len(), pod.name_any()));
        Ok(pods)
    }

    /// A Secret.
    ///
    /// # Errors
    /// When it is not there, or may not be read.
    pub async fn secret(&self, name: &str) -> Result<Secret, KubectlError> {
        self.api::<Secret>()
            .get_opt(name)
            .await
            .map_err(KubectlError::api(format!("reading Secret {name}")))?
            .ok_or_else(|| {
                KubectlError::Key(format!("there is no Secret {name} in namespace {}", self.namespace))
            })
    }

    /// The key of the hubs' API that may do most: one named `admin...`, else, unless that is needed, one named `api...`.
    ///
    /// # Errors
    /// When the Secret holds none, or may not be read.
    pub async fn api_key(&self, cluster: &WscCluster, admin: bool) -> Result<String, KubectlError> {
        let name = names::effective_api_secret(cluster);
        let data = self.secret(&name).await?.data.unwrap_or_default();
        let of = |prefix: &str| data.iter().find(|(entry, _)| entry.starts_with(prefix));
        let found = of("admin").or_else(|| of("api").filter(|_| !admin));
        let (entry, value) = found.ok_or_else(|| {
            KubectlError::Key(format!(
                "Secret {name} holds no key named {}",
                if admin { "admin*" } else { "api* or admin*" }
            ))
        })?;
        String::from_utf8(value.0.clone())
            .map(|key| key.trim().to_owned())
            .map_err(|_| KubectlError::Key(format!("entry {entry} of Secret {name} is not text")))
    }
}

fn readable(object: DynamicObject) -> Result<WscCluster, KubectlError> {
    let name = object.name_any();
    object.try_parse().map_err(|error| KubectlError::Api {
        doing: format!("reading WscCluster {name}"),
        message: format!("{error}; was it written for another release than {}?", env!("CARGO_PKG_VERSION")),
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::Router;
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use kube::{Client, Config};
    use serde_json::{Value, json};

    use super::Place;
    use crate::kubectl::error::KubectlError;

    /// A namespace of an API server that answers everything with this.
    async fn place(status: StatusCode, body: &'static str) -> Place {
        drop(rustls::crypto::ring::default_provider().install_default());
        let router = Router::new().fallback(move || async move {
            (status, [("content-type", "application/json")], body).into_response()
        });
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = Config::new(format!("http://{address}").parse().unwrap());
        Place { client: Client::try_from(config).unwrap(), namespace: "demo".to_owned() }
    }

    #[tokio::test]
    async fn a_server_that_does_not_know_the_type_is_told_from_an_empty_namespace() {
        let unknown = place(StatusCode::NOT_FOUND, "404 page not found").await;
        for name in [None, Some("chat")] {
            let error = unknown.cluster(name).await.unwrap_err();
            assert!(matches!(error, KubectlError::NoDefinition), "{name:?}: {error}");
        }
        let list: Value =
            json!({"apiVersion": "wsc.dev/v1alpha1", "kind": "WscClusterList", "metadata": {}, "items": []});
        let empty = place(StatusCode::OK, Box::leak(list.to_string().into_boxed_str())).await;
        let error = empty.cluster(None).await.unwrap_err();
        assert!(matches!(error, KubectlError::Empty(_)), "{error}");
    }

    #[tokio::test]
    async fn a_resource_of_another_release_is_named() {
        let list = json!({
            "apiVersion": "wsc.dev/v1alpha1", "kind": "WscClusterList", "metadata": {},
            "items": [{"apiVersion": "wsc.dev/v1alpha1", "kind": "WscCluster", "metadata": {"name": "new"},
                       "spec": {"redis": "by telepathy"}}]
        });
        let place = place(StatusCode::OK, Box::leak(list.to_string().into_boxed_str())).await;
        let error = place.cluster(None).await.unwrap_err().to_string();
        assert!(error.contains("reading WscCluster new") && error.contains("another release"), "{error}");
    }
}
