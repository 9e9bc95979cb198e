//! Traces that callers carry through the hub: which one this task works for, and a span for each hop.
//!
//! Only a call that brings a `traceparent` makes a span. All others pay a look at a task's variable per envelope.

use std::future::Future;

use futures::future::Either;
use tracing::{Instrument as _, Span};

use crate::protocol::trace_context::TraceContext;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// The trace that this task works for, to be handed on to other nodes.
#[must_use]
pub fn current_trace() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok()
}

/// One hop of a trace: what `name` does for whoever sent `parent`. Its log lines carry `trace_id`, `span_id` and
/// `parent_id`, at level info and finer.
pub struct Hop {
    context: TraceContext,
    span: Span,
}

impl Hop {
    /// The next hop after `parent`.
    #[must_use]
    pub fn after(parent: &TraceContext, name: &'static str) -> Self {
        let context = parent.child(rand::random());
        let span = tracing::info_span!(
            "hop",
            of = name,
            trace_id = %context.trace_id(),
            span_id = %context.span_id(),
            parent_id = %parent.span_id()
        );
        Self { context, span }
    }

    /// Its span, for work that hands nothing on.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Does `work` within the hop: its envelopes carry the trace.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.context, work).instrument(self.span)
    }
}

/// Takes the trace of this task along to another, which is about to be spawned.
pub fn follow_trace<F: Future>(work: F) -> impl Future<Output = F::Output> {
    match current_trace() {
        None => Either::Left(work),
        Some(context) => Either::Right(CURRENT.scope(context, work.in_current_span())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trace_is_there_within_its_hop_and_follows_into_tasks() {
        let parent: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        assert_eq!(current_trace(), None);
        assert_eq!(follow_trace(async { current_trace() }).await, None);
        let seen = Hop::after(&parent, "test").scope(async {
            let followed = tokio::spawn(follow_trace(async { current_trace() })).await.unwrap();
            let left_alone = tokio::spawn(async { current_trace() }).await.unwrap();
            (current_trace(), followed, left_alone)
        });
        let (own, followed, left_alone) = seen.await;
        let own = own.unwrap();
        assert_eq!(own.trace_id().to_string(), parent.trace_id().to_string());
        assert_ne!(own.span_id().to_string(), parent.span_id().to_string());
        assert_eq!((followed, left_alone), (Some(own), None));
    }
}
