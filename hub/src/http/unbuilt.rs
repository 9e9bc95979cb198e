//! Paths that the documentation names and this release does not have: said so, never ignored.

use std::sync::Arc;

use axum::{Router, routing::any};
use http::{StatusCode, Uri};

use super::{problem::Problem, service::Service};
use crate::protocol::error_code::ErrorCode;

const PATHS: [&str; 2] = ["/admin/drain", "/admin/rebalance"];

/// Adds the paths that are not built yet.
pub(super) fn add_to(router: Router<Arc<Service>>) -> Router<Arc<Service>> {
    PATHS.iter().fold(router, |router, path| router.route(path, any(not_built)))
}

async fn not_built(uri: Uri) -> Problem {
    Problem::not_found(format!("{} is not built yet in this release", uri.path()))
}

pub(super) async fn no_such_method() -> Problem {
    Problem::new(ErrorCode::BadRequest, "this path does not know this method; Allow names those it knows")
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
}

pub(super) async fn no_such_path(uri: Uri) -> Problem {
    Problem::not_found(format!("there is no path {}", uri.path()))
}
