//! `GET /v1/events`: what happens in the cluster, one JSON object per line, for as long as the reader stays.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::header;
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, TryAcquireError},
    time::Instant,
};

use super::{api_key::ApiCaller, problem::Problem, service::Service};
use crate::{
    protocol::{error_code::ErrorCode, event::EventPosition},
    routing::ports::{EventLog, LoggedEvent},
};

/// Readers of events on one node.
pub const READERS: usize = 32;
/// Events read at once.
const PAGE: usize = 256;
/// Pause when there is nothing new.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause when the log cannot be read.
const AWAY: Duration = Duration::from_secs(1);
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
    let Query(from) = from.map_err(|e| Problem::new(ErrorCode::BadRequest, e.body_text()))?;
    let log = Arc::clone(writer.log());
    let seat = Arc::clone(&service.event_readers).try_acquire_owned().map_err(|error| match error {
        TryAcquireError::NoPermits | TryAcquireError::Closed => {
            Problem::new(ErrorCode::Overloaded, format!("{READERS} readers of events are here already"))
        }
    })?;
    let ends = log.ends().await?;
    let (position, gap) = match from.after.as_deref() {
        None => (ends.map_or(EventPosition::BEGINNING, |(_, newest)| newest), None),
        Some(text) => {
            let after: EventPosition =
                text.parse().map_err(|e| Problem::new(ErrorCode::BadRequest, format!("after: {e}")))?;
            (after, gap(after, ends))
        }
    };
    let reader = Reader {
        log,
        position,
        lines: gap.into_iter().collect(),
        heard: Instant::now(),
        ended: service.stopping.clone(),
        _seat: seat,
    };
    let lines = futures::stream::unfold(reader, |mut reader| async {
        let line = reader.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), reader))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// What a reader is told first who asks for events that are gone. From the beginning there is nothing to miss.
fn gap(after: EventPosition, ends: Option<(EventPosition, EventPosition)>) -> Option<Bytes> {
    let (oldest, _) = ends?;
    (after != EventPosition::BEGINNING && after < oldest)
        .then(|| Bytes::from(format!("{{\"type\":\"gap\",\"from\":\"{after}\",\"to\":\"{oldest}\"}}\n")))
}

struct Reader {
    log: Arc<dyn EventLog>,
    position: EventPosition,
    lines: VecDeque<Bytes>,
    heard: Instant,
    ended: tokio_util::sync::CancellationToken,
    _seat: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                self.heard = Instant::now();
                return Some(line);
            }
            if self.ended.is_cancelled() {
                return None;
            }
            let pause = match self.log.after(self.position, PAGE).await {
                Ok(events) if !events.is_empty() => {
                    self.take(events);
                    continue;
                }
                Ok(_) => PAUSE,
                // The reader stays: what it has not heard is there when the registry is back.
                Err(_) => AWAY,
            };
            if self.heard.elapsed() >= SILENCE {
                self.lines.push_back(Bytes::from_static(b"\n"));
                continue;
            }
            tokio::select! {
                () = self.ended.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One piece of the body per page.
    fn take(&mut self, events: Vec<LoggedEvent>) {
        let mut page = String::new();
        for event in events {
            self.position = event.position;
            // Every event is an object with fields, so the place can stand before the first of them.
            let Some(fields) = event.json.strip_prefix('{') else { continue };
            page.push_str(&format!("{{\"stream_id\":\"{}\",{fields}\n", event.position));
        }
        self.lines.push_back(Bytes::from(page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_missed_something_is_told() {
        let at = |ms| EventPosition { ms, number: 0 };
        let ends = Some((at(10), at(20)));
        let cases = [
            (EventPosition::BEGINNING, ends, false),
            (at(9), ends, true),
            (at(10), ends, false),
            (at(15), ends, false),
            (at(25), ends, false),
            (at(9), None, false),
        ];
        for (after, ends, told) in cases {
            assert_eq!(gap(after, ends).is_some(), told, "{after} {ends:?}");
        }
        let line = gap(at(9), ends).unwrap();
        assert_eq!(&line[..], b"{\"type\":\"gap\",\"from\":\"9-0\",\"to\":\"10-0\"}\n");
    }
}
