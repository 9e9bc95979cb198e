//! `GET /v1/events`: what happens in the cluster, one JSON object per line, for as long as the reader stays.

use std::{convert::Infallible, fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{api_key::ApiCaller, problem::Problem, service::Service};
use crate::{
    protocol::error_code::ErrorCode,
    routing::{
        event_tail::{EventGap, EventTail},
        ports::LoggedEvent,
    },
};

/// Readers of events on one node.
pub const READERS: usize = 32;
/// An empty line after so much silence, so that nobody takes the connection for dead.
const SILENCE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
pub(super) struct From {
    after: Option<String>,
}

pub(super) async fn events(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    from: Result<Query<From>, QueryRejection>,
) -> Result<Response, Problem> {
    let Some(writer) = service.edge.router.events() else {
        return Err(Problem::not_found("events are off, set WSC_EVENTS=true"));
    };
    let bad = |what: String| Problem::new(ErrorCode::BadRequest, what);
    let Query(from) = from.map_err(|error| bad(error.body_text()))?;
    let after = from.after.map(|text| text.parse().map_err(|e| bad(format!("after: {e}")))).transpose()?;
    let seat = Arc::clone(&service.event_readers).try_acquire_owned().map_err(|_| {
        Problem::new(ErrorCode::Overloaded, format!("{READERS} readers of events are here already"))
    })?;
    let (tail, gap) = EventTail::open(Arc::clone(writer.log()), after).await?;
    let reader = Reader { tail, ended: service.stopping.clone(), _seat: seat };
    let told = stream::iter(gap.map(|gap| gap_line(&gap)));
    let lines = stream::unfold(reader, |mut reader| async {
        let lines = reader.next().await?;
        Some((lines, reader))
    });
    let body = Body::from_stream(told.chain(lines).map(Ok::<_, Infallible>));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

struct Reader {
    tail: EventTail,
    ended: CancellationToken,
    _seat: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            () = self.ended.cancelled() => None,
            events = tokio::time::timeout(SILENCE, self.tail.next()) => {
                Some(events.map_or(Bytes::from_static(b"\n"), |events| lines(&events)))
            }
        }
    }
}

/// What a reader is told first who asks for events that are gone.
fn gap_line(gap: &EventGap) -> Bytes {
    Bytes::from(format!("{{\"type\":\"gap\",\"from\":\"{}\",\"to\":\"{}\"}}\n", gap.from, gap.to))
}

/// Every event is an object with fields, so its place can stand before the first of them.
fn lines(events: &[LoggedEvent]) -> Bytes {
    let mut text = String::new();
    for event in events {
        let fields = event.json.strip_prefix('{').unwrap_or("}");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{{\"stream_id\":\"{}\",{fields}", event.position);
    }
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::EventPosition;

    #[test]
    fn lines_are_json_with_the_place_in_front() {
        let position = EventPosition { ms: 9, number: 1 };
        let event = LoggedEvent { position, json: r#"{"event_id":"online:a:1"}"#.to_owned() };
        let text = lines(&[event.clone(), event]);
        let line = "{\"stream_id\":\"9-1\",\"event_id\":\"online:a:1\"}\n";
        assert_eq!(text, Bytes::from(line.repeat(2)));
        let gap = gap_line(&EventGap { from: EventPosition::BEGINNING, to: position });
        assert_eq!(gap, Bytes::from_static(b"{\"type\":\"gap\",\"from\":\"0-0\",\"to\":\"9-1\"}\n"));
    }
}
