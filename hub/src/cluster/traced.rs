//! Envelopes that belong to a trace: handled within a span of their own, which is a child of the sender's.

use std::time::Instant;

use futures::FutureExt;
use tracing::Instrument as _;

use crate::{
    identity::NodeInstance,
    observe::Hop,
    protocol::{envelope::Envelope, trace_context::TraceContext},
    routing::ports::{Answer, Handling, Inbound},
};

/// Hands an envelope to routing and says in the log what became of it: for whom it was and what it held is not said.
pub(super) fn handle(
    inbound: &dyn Inbound,
    source: &NodeInstance,
    envelope: Envelope,
    parent: &TraceContext,
) -> Handling {
    let (began, kind) = (Instant::now(), envelope.kind);
    let span = Hop::after(parent, "envelope").span().clone();
    let entered = span.enter();
    let say = move |source: &NodeInstance, answer: Option<Answer>| {
        let status = answer.map(|answer| answer.status);
        let connections = answer.map_or(0, |answer| answer.count);
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(?kind, %source, ?status, connections, took_us, "envelope handled");
    };
    match inbound.handle(source, envelope) {
        Handling::Ignored => {
            say(source, None);
            Handling::Ignored
        }
        Handling::Done(answer) => {
            say(source, Some(answer));
            Handling::Done(answer)
        }
        Handling::Waiting(answer) => {
            drop(entered);
            let source = source.clone();
            let answer = answer.inspect(move |answer| say(&source, *answer));
            Handling::Waiting(answer.instrument(span).boxed())
        }
    }
}
