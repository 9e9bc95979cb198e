//! `traceparent` of a request, and the span in which such a request is answered.

use std::time::Instant;

use axum::response::Response;
use http::{HeaderMap, Method, Request};

use crate::{
    observe::Hop,
    protocol::trace_context::{TRACEPARENT, TraceContext},
};

/// The trace that a request belongs to; none when it names none, or not as it should: then it begins no trace either.
pub(super) fn of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let first = given.next()?;
    match given.next() {
        // Two are as good as none: nobody knows which one is meant (W3C Trace Context section 4.2).
        Some(_) => None,
        None => first.to_str().ok()?.parse().ok(),
    }
}

/// A request that belongs to a trace, as far as the log tells of it. The query may hold what is secret.
pub(super) struct TracedCall {
    trace: TraceContext,
    method: Method,
    path: String,
}

impl TracedCall {
    /// The request, if it belongs to a trace.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let trace = of(request.headers())?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        Some(Self { trace, method, path })
    }

    /// Answers it within a span of its own.
    pub(super) async fn answer<E>(
        self,
        answer: impl Future<Output = Result<Response, E>>,
    ) -> Result<Response, E> {
        let Self { trace, method, path } = self;
        let began = Instant::now();
        let answered = async {
            let answer = answer.await;
            let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            tracing::debug!(%method, path, status, took_us, "call answered");
            answer
        };
        Hop::after(&trace, "call").scope(answered).await
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::observe::current_trace;

    #[test]
    fn a_request_without_a_trace_costs_no_allocation() {
        let request =
            Request::builder().uri("/v1/users/alice/messages").header("host", "hub").body(()).unwrap();
        let cost = allocation_counter::measure(|| assert!(TracedCall::of(&request).is_none()));
        assert_eq!(cost.count_total, 0);
        assert_eq!(allocation_counter::measure(|| assert!(current_trace().is_none())).count_total, 0);
    }

    #[test]
    fn one_header_that_can_be_read_names_the_trace() {
        let good = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers), None);
        headers.insert(TRACEPARENT, HeaderValue::from_static("00-nonsense"));
        assert_eq!(of(&headers), None);
        headers.insert(TRACEPARENT, HeaderValue::from_bytes(b"00-\xff").unwrap());
        assert_eq!(of(&headers), None);
        headers.insert(TRACEPARENT, good.clone());
        assert_eq!(of(&headers).map(|trace| trace.to_string()).as_deref(), good.to_str().ok());
        headers.append(TRACEPARENT, good);
        assert_eq!(of(&headers), None);
    }
}
