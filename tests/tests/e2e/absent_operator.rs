//! The operator without a pod, until it is put back.

use anyhow::{Context as _, Result};
use serde_json::Value;
use wsc_tests::{
    kubernetes::{kubectl::Kubectl, namespace::Namespace, resource::POD},
    wait::{Look, eventually},
};

use crate::stage::{STARTED, Stage, operator_is_available};

const NAMESPACE: &str = "wsc-system";
const DEPLOYMENT: &str = "deployment/wsc-operator";

/// The operator's Deployment, scaled to 0. Dropping it has it scaled back.
pub(crate) struct AbsentOperator {
    kubectl: Kubectl,
    replicas: String,
}

impl AbsentOperator {
    /// Ends the operator. The stage must be [`Stage::alone`].
    pub(crate) async fn of(stage: &Stage) -> Result<Self> {
        let access = &stage.ns.access;
        let deployment = operator_is_available(access).await?;
        let replicas = deployment["spec"]["replicas"].as_i64().context("a Deployment without replicas")?;
        let kubectl = access.kubectl(NAMESPACE)?;
        let absent = Self { kubectl, replicas: format!("--replicas={replicas}") };
        absent.kubectl.run(&["scale", DEPLOYMENT, "--replicas=0"]).await?;
        let system = Namespace::new(access, NAMESPACE).await?;
        eventually("the operator has no pod", STARTED, async || {
            let mut pods = system.list(POD).await?;
            pods.retain(|pod| pod["metadata"]["labels"]["app.kubernetes.io/name"] == "wsc-operator");
            let names: Vec<&Value> = pods.iter().map(|pod| &pod["metadata"]["name"]).collect();
            Ok(Look::when(names.is_empty(), (), format!("{names:?}")))
        })
        .await?;
        Ok(absent)
    }

    /// Puts it back, and waits until it is there.
    pub(crate) async fn comes_back(&self) -> Result<()> {
        self.kubectl.run(&["scale", DEPLOYMENT, &self.replicas]).await?;
        self.kubectl.run(&["rollout", "status", DEPLOYMENT, "--timeout=180s"]).await.map(|_| ())
    }
}

impl Drop for AbsentOperator {
    fn drop(&mut self) {
        self.kubectl.attempt(&["scale", DEPLOYMENT, &self.replicas]);
    }
}
