//! Bodies of requests, bounded in bytes and in time.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    extract::{FromRequest, Request},
};
use futures::StreamExt;
use http::{StatusCode, header};

use super::{problem::Problem, service::Service};
use crate::protocol::error_code::ErrorCode;

/// Room for the fields around a message.
const ENVELOPE: usize = 64 * 1024;
/// A body that takes longer holds a socket for nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read of a body that is too large, and for how long: a client that writes all before it reads would
/// otherwise meet a reset instead of the answer (RFC 9112 section 9.6).
const DISCARDED: usize = 8 * 1024 * 1024;
const DISCARDING: Duration = Duration::from_secs(5);

/// Largest body of a call with many messages.
const BATCH: usize = 4 * 1024 * 1024;

/// A whole body, not larger than a message and what is around it.
pub struct RequestBody(pub Vec<u8>);

/// A whole body of many messages, at most 4 MiB.
pub struct BatchBody(pub Vec<u8>);

impl FromRequest<Arc<Service>> for RequestBody {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, Problem> {
        let limit = service.edge.hot.now().limits.max_message_bytes.saturating_add(ENVELOPE);
        whole_body(request, limit).await.map(Self)
    }
}

impl FromRequest<Arc<Service>> for BatchBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<Service>) -> Result<Self, Problem> {
        whole_body(request, BATCH).await.map(Self)
    }
}

async fn whole_body(request: Request, limit: usize) -> Result<Vec<u8>, Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|n| n > limit as u64) {
        // A client that asks first has not sent anything yet.
        if !request.headers().contains_key(header::EXPECT) {
            discard(request.into_body().into_data_stream()).await;
        }
        return Err(too_large(limit));
    }
    let room = announced.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    read_within(request.into_body(), (limit, room), PATIENCE).await
}

/// Reads a body of at most `limit` bytes, of which `room` are announced.
async fn read_within(
    body: Body,
    (limit, room): (usize, usize),
    patience: Duration,
) -> Result<Vec<u8>, Problem> {
    match tokio::time::timeout(patience, read(body, limit, room)).await {
        Ok(read) => read,
        Err(_) => {
            let detail = format!("the body did not come in {} s", patience.as_secs_f64());
            Err(Problem::new(ErrorCode::BadRequest, detail).with_status(StatusCode::REQUEST_TIMEOUT))
        }
    }
}

async fn read(body: Body, limit: usize, room: usize) -> Result<Vec<u8>, Problem> {
    // A caller who announces much and sends nothing shall not take memory.
    let mut whole = Vec::with_capacity(room.min(ENVELOPE));
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| Problem::new(ErrorCode::BadRequest, "the body was cut short"))?;
        if whole.len() + part.len() > limit {
            discard(parts).await;
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole)
}

async fn discard(mut parts: BodyDataStream) {
    let bounded = async {
        let mut read = 0;
        while let Some(Ok(part)) = parts.next().await {
            read += part.len();
            if read > DISCARDED {
                break;
            }
        }
    };
    // The answer is the same whether all of it came or not.
    let _ended = tokio::time::timeout(DISCARDING, bounded).await;
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ErrorCode::PayloadTooLarge, format!("a body may have at most {limit} bytes"))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use futures::stream;

    use super::*;

    type Part = Result<&'static str, std::io::Error>;

    #[tokio::test]
    async fn a_body_is_bounded_in_bytes_and_in_time() {
        let patience = Duration::from_millis(200);
        let whole = Body::from_stream(stream::iter([Part::Ok("abc"), Part::Ok("def")]));
        assert_eq!(read_within(whole, (6, 0), patience).await.unwrap(), b"abcdef");
        let large = Body::from_stream(stream::iter([Part::Ok("abc"), Part::Ok("defg")]));
        let refused = read_within(large, (6, 0), patience).await.unwrap_err().into_response();
        assert_eq!(refused.status(), 413);
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Part::Ok("a"), ()))
        });
        let refused =
            read_within(Body::from_stream(drip), (1000, 0), patience).await.unwrap_err().into_response();
        assert_eq!(refused.status(), 408);
        let cut = Body::from_stream(stream::iter([
            Part::Ok("a"),
            Part::Err(std::io::ErrorKind::ConnectionReset.into()),
        ]));
        assert_eq!(read_within(cut, (6, 0), patience).await.unwrap_err().into_response().status(), 400);
    }
}
