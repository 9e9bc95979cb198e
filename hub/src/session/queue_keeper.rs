//! Keeps what waits for all clients within the node's budget: the largest queues go first.

use std::{cmp::Reverse, future::poll_fn, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    local::{connection_table::ConnectionTable, queue_budget::QueueBudget},
    protocol::close_reason::CloseReason,
};

/// Share of the budget that is freed at a time, one in so many, so that not every frame above the bound costs a look at
/// all queues.
const FREED_SHARE: usize = 16;
/// Least time between two looks at all queues.
const PAUSE: Duration = Duration::from_millis(10);

/// Closes the largest queues while more waits than may, until `shutdown`.
pub async fn run(budget: Arc<QueueBudget>, local: Arc<ConnectionTable>, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(poll_fn(|cx| budget.poll_over(cx))).await.is_some() {
        let closed = relieve(&budget, &local);
        tracing::warn!(
            closed,
            limit = budget.limit(),
            "the memory for queues is used up, the largest queues were closed"
        );
        if shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

/// Closes the largest queues until a sixteenth of the budget is free, and returns how many. Queues are looked at shard by
/// shard, each under its own lock only.
fn relieve(budget: &QueueBudget, local: &ConnectionTable) -> usize {
    let mut held = Vec::new();
    for shard in 0..local.shard_count() {
        held.extend(local.of_shard(shard).into_iter().filter_map(|connection| {
            let bytes = connection.queue.held();
            (bytes > 0).then_some((bytes, connection))
        }));
    }
    held.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
    let enough = budget.limit() - budget.limit() / FREED_SHARE;
    let mut closed = 0;
    for (_, connection) in held {
        if budget.bytes() <= enough {
            break;
        }
        closed += usize::from(connection.queue.close_dropping(CloseReason::QueueMemory));
    }
    closed
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        identity::{ClientId, ConnectionId, UserId},
        local::{connection::Connection, outbound_queue::QueueLimits},
        protocol::wire_frame::WireFrame,
    };

    fn connection(number: u64, budget: &Arc<QueueBudget>) -> Arc<Connection> {
        let connection = Connection::new(
            ConnectionId::new(ulid::Ulid::from_parts(number, 0)),
            UserId::new(format!("u{number}")).unwrap(),
            ClientId::new("phone").unwrap(),
            "127.0.0.1:1".into(),
            SystemTime::UNIX_EPOCH,
            QueueLimits { bytes: 1 << 20, messages: 1000 },
        );
        Arc::new(connection.within(Arc::clone(budget)))
    }

    #[test]
    fn the_largest_queues_go_first_and_no_more_than_needed() {
        let budget = QueueBudget::new(1600);
        let table = ConnectionTable::default();
        // 100, 200, .. 700 bytes: 2800 in all. Down to 1500 or less go 700 and 600.
        let connections: Vec<_> = (1..=7).map(|number| connection(number, &budget)).collect();
        for (connection, frames) in connections.iter().zip(1..) {
            table.insert(Arc::clone(connection));
            for _ in 0..frames {
                connection.queue.push(WireFrame::new("x".repeat(100)), None).unwrap();
            }
        }
        assert_eq!(budget.bytes(), 2800);
        assert_eq!(relieve(&budget, &table), 2);
        assert_eq!(budget.bytes(), 1500);
        let closing: Vec<_> = connections.iter().map(|c| c.queue.closing().is_some()).collect();
        assert_eq!(closing, [false, false, false, false, false, true, true]);
        assert_eq!(connections[6].queue.closing(), Some(CloseReason::QueueMemory));
        assert_eq!(relieve(&budget, &table), 0);
    }
}
