//! Callers of the API, known by their key.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::{header, request::Parts};

use super::{problem::Problem, service::Service};
use crate::{
    auth::{ApiKey, Scope},
    protocol::error_code::ErrorCode,
};

/// A caller with a key of scope `api` or `admin`.
#[derive(Debug, Clone)]
pub struct ApiCaller(ApiKey);

impl ApiCaller {
    /// The file name of the caller's key: who the caller is, without saying the key.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }
}

/// A caller with a key of scope `admin`.
#[derive(Debug, Clone, Copy)]
pub struct AdminCaller;

impl FromRequestParts<Arc<Service>> for ApiCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        let refused = |detail: &str| Problem::new(ErrorCode::InvalidToken, detail);
        let missing = || refused("an API key is needed, as Authorization: Bearer <key>");
        let header = parts.headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
        let text = header.to_str().map_err(|_| missing())?;
        let (scheme, key) = text.split_once(' ').ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        service.api_keys.find(key).map(Self).ok_or_else(|| refused("the API key is not known"))
    }
}

impl FromRequestParts<Arc<Service>> for AdminCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        match ApiCaller::from_request_parts(parts, service).await?.0.scope {
            Scope::Admin => Ok(Self),
            Scope::Api => {
                Err(Problem::new(ErrorCode::NotPermitted, "this path needs an API key of scope admin"))
            }
        }
    }
}
