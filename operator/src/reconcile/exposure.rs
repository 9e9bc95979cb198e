//! What can only be known from the cluster about the exposure: the IngressClass.

use k8s_openapi::api::networking::v1::IngressClass;
use kube::Client;
use kube::api::Api;

use crate::api::WscCluster;
use crate::api::conditions::reasons;
use crate::api::exposure::ExposureType;
use crate::desired::profile;

use super::error::{ReconcileError, status_code};
use super::verdicts::Verdict;

/// What is known of the IngressClass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// None is named, or it may not be read.
    Unchecked,
    /// It exists.
    Present {
        /// Its `spec.controller`.
        controller: Option<String>,
    },
    /// It does not exist.
    Missing {
        /// The name asked for.
        name: String,
    },
}

impl Class {
    /// The controller that serves the class.
    #[must_use]
    pub fn controller(&self) -> Option<&str> {
        match self {
            Self::Present { controller } => controller.as_deref(),
            Self::Unchecked | Self::Missing { .. } => None,
        }
    }
}

/// Reads the named IngressClass. `readable` is false where only Roles are given, which cannot
/// allow it.
///
/// # Errors
/// When the API server cannot be reached.
pub async fn class(client: &Client, cluster: &WscCluster, readable: bool) -> Result<Class, ReconcileError> {
    let exposure = &cluster.spec.exposure;
    let name = &exposure.ingress_class_name;
    if exposure.type_ != ExposureType::Ingress || name.is_empty() || !readable {
        return Ok(Class::Unchecked);
    }
    match Api::<IngressClass>::all(client.clone()).get_opt(name).await {
        Ok(Some(class)) => Ok(Class::Present { controller: class.spec.and_then(|spec| spec.controller) }),
        Ok(None) => Ok(Class::Missing { name: name.clone() }),
        Err(error) if status_code(&error) == Some(403) => Ok(Class::Unchecked),
        Err(error) => Err(ReconcileError::api(format!("reading IngressClass {name}"))(error)),
    }
}

/// The `ExposureReady` condition.
#[must_use]
pub fn verdict(cluster: &WscCluster, class: &Class) -> Verdict {
    let exposure = &cluster.spec.exposure;
    let profile = profile::of(cluster);
    if let Some(unsupported) = profile.unsupported {
        return Verdict::new(false, reasons::UNSUPPORTED, unsupported);
    }
    if let Class::Missing { name } = class {
        return Verdict::new(
            false,
            reasons::INGRESS_CLASS_MISSING,
            format!(
                "IngressClass {name} does not exist: install its controller, or correct exposure.ingressClassName"
            ),
        );
    }
    match exposure.type_ {
        ExposureType::None => Verdict::new(
            true,
            reasons::NOT_EXPOSED,
            "no exposure is asked for; the client Service is reached inside the cluster",
        ),
        ExposureType::Ingress => Verdict::new(
            true,
            reasons::AS_EXPECTED,
            profile.warning.unwrap_or_else(|| "the Ingress is as asked for".to_owned()),
        ),
    }
}
