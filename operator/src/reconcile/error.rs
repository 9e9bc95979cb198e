//! What can go wrong in a pass.

/// An error that ends a pass; it is tried again with back-off.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A request to the API server failed.
    #[error("{doing}: {}", readable(.source))]
    Api {
        /// What was attempted, lower case.
        doing: String,
        /// What the client said.
        source: Box<kube::Error>,
    },
    /// The resource changed since it was read; the next pass sees the newer one.
    #[error("the resource changed meanwhile")]
    Stale,
    /// The namespace is being deleted: nothing can be made in it any more.
    #[error("the namespace is being deleted")]
    NamespaceEnding,
    /// The desired children cannot be made from the spec.
    #[error("the spec cannot be carried out: {0}")]
    Spec(String),
    /// An object cannot be turned into JSON or back.
    #[error("{what} cannot be read: {source}")]
    Json {
        /// Which object.
        what: String,
        /// What the decoder said.
        source: serde_json::Error,
    },
    /// The caches never filled, because the watch ended.
    #[error("the watch ended before the caches were filled")]
    CacheLost,
    /// The pass took too long.
    #[error("the pass took longer than {0} s")]
    Slow(u64),
    /// The resource lacks what every stored object has.
    #[error("the resource has no {0}")]
    Incomplete(&'static str),
}

impl ReconcileError {
    /// Wraps a client error; a conflict becomes [`ReconcileError::Stale`].
    pub fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| {
            if status_code(&source) == Some(409) {
                Self::Stale
            } else if is_ending(&source) {
                Self::NamespaceEnding
            } else {
                Self::Api { doing, source: Box::new(source) }
            }
        }
    }
}

/// The HTTP status of a refusal by the API server.
#[must_use]
pub fn status_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Whether a request was refused because its namespace is being deleted.
#[must_use]
pub fn is_ending(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// The API server's own sentence where there is one.
#[must_use]
pub fn readable(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}
