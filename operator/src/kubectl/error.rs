//! What can go wrong, as sentences for whoever typed the command.

/// Exit code for wrong use (`EX_USAGE` of sysexits).
pub const EXIT_USAGE: u8 = 64;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum KubectlError {
    /// No cluster is configured, or it does not answer.
    #[error(
        "no Kubernetes cluster to talk to: {0}; check --kubeconfig, --context and `kubectl config current-context`"
    )]
    NoCluster(String),
    /// The resource type is not installed.
    #[error(
        "this cluster knows no WscCluster: install the operator (its chart brings the definition), or apply crds/wscclusters.wsc.dev.yaml"
    )]
    NoDefinition,
    /// No resource of that name.
    #[error("there is no WscCluster {name} in namespace {namespace}{}", among(.others))]
    Unknown {
        /// As asked for.
        name: String,
        /// Where.
        namespace: String,
        /// Those that are there.
        others: Vec<String>,
    },
    /// The namespace has none.
    #[error("there is no WscCluster in namespace {0}; name the namespace with -n")]
    Empty(String),
    /// The namespace has several.
    #[error("namespace {namespace} has several WscClusters, name one of them: {}", .names.join(", "))]
    Ambiguous {
        /// Where.
        namespace: String,
        /// Their names.
        names: Vec<String>,
    },
    /// The caller lacks a right.
    #[error("you may not do this: {doing}: {message}")]
    Forbidden {
        /// What was attempted.
        doing: String,
        /// The API server's sentence, which names the right.
        message: String,
    },
    /// The API server refused or failed.
    #[error("{doing}: {message}")]
    Api {
        /// What was attempted.
        doing: String,
        /// What it said.
        message: String,
    },
    /// A hub could not be reached.
    #[error("pod {pod} does not answer: {cause}")]
    Silent {
        /// The pod.
        pod: String,
        /// Why.
        cause: String,
    },
    /// A hub refused.
    #[error("pod {pod} refused ({status}): {detail}")]
    Refused {
        /// The pod.
        pod: String,
        /// HTTP status.
        status: u16,
        /// The hub's sentence.
        detail: String,
    },
    /// A Secret lacks what is needed.
    #[error("{0}")]
    Key(String),
    /// The command cannot be meant like this.
    #[error("{0}")]
    Usage(String),
    /// The state of the cluster does not allow it.
    #[error("{0}")]
    NotNow(String),
    /// A file cannot be written.
    #[error("cannot write {file}: {source}")]
    File {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// An object cannot be expressed as JSON.
    #[error("{what} cannot be turned into JSON: {source}")]
    Json {
        /// What.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

fn among(names: &[String]) -> String {
    if names.is_empty() {
        "; it has none, name another with -n".to_owned()
    } else {
        format!("; it has: {}", names.join(", "))
    }
}

impl KubectlError {
    /// Exit code of the program.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { EXIT_USAGE } else { 1 }
    }

    /// Says what a client error means.
    pub fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |error| match error {
            kube::Error::Api(status) if status.code == 403 => {
                Self::Forbidden { doing, message: status.message.clone() }
            }
            kube::Error::Api(status) if status.code == 401 => Self::NoCluster(format!(
                "the API server does not accept your credentials ({})",
                status.message
            )),
            kube::Error::Api(status) => Self::Api { doing, message: status.message.clone() },
            kube::Error::Service(error) => Self::NoCluster(innermost(error.as_ref())),
            kube::Error::HyperError(error) => Self::NoCluster(innermost(&error)),
            other => Self::Api { doing, message: innermost(&other) },
        }
    }
}

/// The last cause, which is the one that says something.
#[must_use]
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::KubectlError;

    fn status(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(kube::core::Status::failure(message, "Any").with_code(code)))
    }

    #[test]
    fn refusals_say_what_was_attempted_and_what_would_help() {
        let forbidden = KubectlError::api("reading Secret chat-auth")(status(403, "cannot get secrets"));
        assert_eq!(
            forbidden.to_string(),
            "you may not do this: reading Secret chat-auth: cannot get secrets"
        );
        let stranger = KubectlError::api("reading")(status(401, "Unauthorized")).to_string();
        assert!(stranger.contains("credentials") && stranger.contains("--context"), "{stranger}");
        let unknown = KubectlError::Unknown {
            name: "chta".into(),
            namespace: "demo".into(),
            others: vec!["chat".into(), "news".into()],
        };
        assert_eq!(unknown.to_string(), "there is no WscCluster chta in namespace demo; it has: chat, news");
        assert_eq!((unknown.exit_code(), KubectlError::Usage(String::new()).exit_code()), (1, 64));
    }
}
