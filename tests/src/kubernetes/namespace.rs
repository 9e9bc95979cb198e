//! Namespaces and the objects in them; and one that belongs to a test and goes with it.

use std::{ops::Deref, time::Duration};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use super::{
    access::Access,
    kubectl::Kubectl,
    resource::{Resource, SECRET, call},
};
use crate::wait::{Look, eventually_each};

const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";

/// Between two questions about an object that is waited for: some tests at once would keep an API server busy.
const ASK: Duration = Duration::from_millis(80);

/// A namespace of a cluster.
#[derive(Clone)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub access: Access,
    /// A client for the API.
    pub client: Client,
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Namespace({})", self.name)
    }
}

/// A namespace of one test. Dropping it has the namespace deleted.
#[derive(Debug)]
pub struct TestNamespace {
    namespace: Namespace,
    /// `kubectl` bound to it.
    pub kubectl: Kubectl,
}

impl TestNamespace {
    /// Makes `wsc-<purpose>-<random>`.
    ///
    /// # Errors
    /// When there is no cluster, or it refuses.
    pub async fn create(access: &Access, purpose: &str) -> Result<Self> {
        let name = format!("wsc-{purpose}-{:06x}", rand::random::<u32>() & 0xff_ffff);
        let namespace = Namespace::new(access, &name).await?;
        let kubectl = access.kubectl(&name)?;
        namespace.ensure().await?;
        Ok(Self { namespace, kubectl })
    }
}

impl Deref for TestNamespace {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Namespace {
    /// A handle; the namespace need not be there.
    ///
    /// # Errors
    /// When there is no cluster.
    pub async fn new(access: &Access, name: &str) -> Result<Self> {
        let client = access.client().await?;
        Ok(Self { name: name.to_owned(), access: access.clone(), client })
    }

    /// Name of the node on which a fake kubelet runs the pods of this namespace.
    #[must_use]
    pub fn fake_node(&self) -> String {
        format!("node-of-{}", self.name)
    }

    /// Makes the namespace unless it is there.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn ensure(&self) -> Result<()> {
        let path = format!("/api/v1/namespaces/{}", self.name);
        if call(&self.client, Method::GET, &path, None).await?.is_none() {
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}});
            call(&self.client, Method::POST, "/api/v1/namespaces", Some((JSON, &body))).await?;
        }
        Ok(())
    }

    /// Server-side apply of one object.
    ///
    /// # Errors
    /// When the kind is not known to the API server, or it refuses.
    pub async fn apply(&self, resource: Resource, name: &str, body: &Value, manager: &str) -> Result<Value> {
        let path = format!("{}?fieldManager={manager}&force=true", resource.path(&self.name, name));
        let applied = call(&self.client, Method::PATCH, &path, Some((APPLY, body))).await?;
        applied.with_context(|| format!("the cluster knows no {}", resource.kind))
    }

    /// One object, if it is there.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn find(&self, resource: Resource, name: &str) -> Result<Option<Value>> {
        call(&self.client, Method::GET, &resource.path(&self.name, name), None).await
    }

    /// One object that must be there.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn get(&self, resource: Resource, name: &str) -> Result<Value> {
        self.find(resource, name).await?.with_context(|| format!("there is no {} {name}", resource.kind))
    }

    /// All objects of a kind.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn list(&self, resource: Resource) -> Result<Vec<Value>> {
        let path = resource.path(&self.name, "");
        let list = call(&self.client, Method::GET, &path, None).await?.unwrap_or_default();
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Makes an object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create_object(&self, resource: Resource, body: &Value) -> Result<Value> {
        let path = resource.path(&self.name, "");
        call(&self.client, Method::POST, &path, Some((JSON, body))).await?.context("no answer")
    }

    /// Merges changes into an object.
    ///
    /// # Errors
    /// When it is not there, or the API server refuses.
    pub async fn merge(&self, resource: Resource, name: &str, change: &Value) -> Result<Value> {
        let path = resource.path(&self.name, name);
        let changed = call(&self.client, Method::PATCH, &path, Some((MERGE, change))).await?;
        changed.with_context(|| format!("there is no {} {name}", resource.kind))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When it is not there, or the API server refuses.
    pub async fn delete(&self, resource: Resource, name: &str) -> Result<()> {
        let path = resource.path(&self.name, name);
        let deleted = call(&self.client, Method::DELETE, &path, None).await?;
        ensure!(deleted.is_some(), "there is no {} {name} to delete", resource.kind);
        Ok(())
    }

    /// Makes a Secret, or changes one.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn write_secret(&self, name: &str, entries: &[(&str, &str)]) -> Result<()> {
        let text: serde_json::Map<String, Value> =
            entries.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": text
        });
        if self.find(SECRET, name).await?.is_some() {
            self.merge(SECRET, name, &json!({"stringData": text})).await?;
        } else {
            self.create_object(SECRET, &body).await?;
        }
        Ok(())
    }

    /// One entry of a Secret.
    ///
    /// # Errors
    /// When the Secret or the entry is not there.
    pub async fn secret(&self, name: &str, key: &str) -> Result<String> {
        let secret = self.get(SECRET, name).await?;
        let encoded = secret["data"][key].as_str().with_context(|| format!("Secret {name} has no {key}"))?;
        Ok(String::from_utf8(STANDARD.decode(encoded)?)?)
    }

    /// Waits until an object satisfies a condition; gives it.
    ///
    /// # Errors
    /// After `within`, with the object as it was seen last.
    pub async fn until(
        &self,
        resource: Resource,
        name: &str,
        what: &str,
        within: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        eventually_each(ASK, what, within, async || {
            Ok(match self.find(resource, name).await? {
                Some(object) if holds(&object) => Look::Holds(object),
                Some(object) => Look::NotYet(brief(&object)),
                None => Look::NotYet(format!("no {} {name}", resource.kind)),
            })
        })
        .await
    }

    /// Waits until an object is not there.
    ///
    /// # Errors
    /// After `within`.
    pub async fn gone(&self, resource: Resource, name: &str, within: Duration) -> Result<()> {
        eventually_each(ASK, &format!("{} {name} is gone", resource.kind), within, async || {
            Ok(match self.find(resource, name).await? {
                None => Look::Holds(()),
                Some(object) => Look::NotYet(brief(&object)),
            })
        })
        .await
    }
}

/// What of an object helps in a message: no managed fields, spec only where there is no status.
fn brief(object: &Value) -> String {
    let status = &object["status"];
    if status.is_null() { object["spec"].to_string() } else { status.to_string() }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        // A test's result does not depend on it; a namespace that stays is seen by `kubectl get ns`.
        // A node of the test's own goes as well: then its pods are removed although no kubelet ends them.
        let objects = [format!("namespace/{}", self.name), format!("node/{}", self.fake_node())];
        self.kubectl.attempt(&["delete", &objects[0], &objects[1], "--wait=false", "--ignore-not-found"]);
    }
}
