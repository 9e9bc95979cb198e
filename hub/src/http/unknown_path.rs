//! Paths and methods that there are not.

use http::{StatusCode, Uri};

use super::problem::Problem;
use crate::protocol::error_code::ErrorCode;

pub(super) async fn no_such_method() -> Problem {
    Problem::new(ErrorCode::BadRequest, "this path does not know this method; Allow names those it knows")
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
}

pub(super) async fn no_such_path(uri: Uri) -> Problem {
    Problem::not_found(format!("there is no path {}", uri.path()))
}
