//! A node that `kubectl drain` has emptied, until it is put back.

use anyhow::Result;

use super::kubectl::Kubectl;

/// How long `kubectl` asks for evictions and waits for pods to go.
const PATIENCE: &str = "--timeout=240s";

/// A node to which nothing is scheduled. Dropping it has the node take pods again.
#[derive(Debug)]
pub struct DrainedNode {
    kubectl: Kubectl,
    name: String,
}

impl DrainedNode {
    /// Cordons a node and evicts the pods that a label selector names, in all namespaces, until they are gone.
    ///
    /// # Errors
    /// When they are not gone after four minutes; the node takes pods again then.
    pub async fn drain(kubectl: &Kubectl, name: &str, selector: &str) -> Result<Self> {
        // Before the first step, so that the node is put back wherever this ends.
        let node = Self { kubectl: kubectl.clone(), name: name.to_owned() };
        let which = ["--pod-selector", selector, "--ignore-daemonsets", "--delete-emptydir-data", PATIENCE];
        kubectl.run(&[&["drain", name][..], &which].concat()).await?;
        Ok(node)
    }
}

impl Drop for DrainedNode {
    fn drop(&mut self) {
        self.kubectl.attempt(&["uncordon", &self.name]);
    }
}
