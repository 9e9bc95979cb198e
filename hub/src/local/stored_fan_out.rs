//! Gives the news of a stored message to the connections of its user.

use std::sync::Arc;

use super::{
    connection::Connection, connection_table::ConnectionTable, delivery_tally::DeliveryTally,
    fan_out::FanOut, inbox_feed::Noticed,
};
use crate::{identity::UserId, protocol::stored_notice::StoredNotice};

/// Gives the news to every connection of a user. Counted as queued are also those whose replay will come to it. The second
/// part is those whose replay has to begin now.
#[must_use]
pub fn to_user(
    table: &ConnectionTable,
    user: &UserId,
    notice: &StoredNotice,
    confirm: bool,
) -> (FanOut, Vec<Arc<Connection>>) {
    let tally = confirm.then(DeliveryTally::new);
    let (mut fan_out, mut to_replay) = (FanOut::default(), Vec::new());
    fan_out.found = table.for_user(user, |connection| {
        let receipt = tally.as_ref().map(DeliveryTally::receipt);
        match connection.inbox.notice(notice, receipt, &connection.queue) {
            Noticed::Queued | Noticed::Later => fan_out.queued += 1,
            Noticed::Replay => {
                fan_out.queued += 1;
                to_replay.push(Arc::clone(connection));
            }
            Noticed::Old | Noticed::Closed(false) => {}
            Noticed::Closed(true) => fan_out.full += 1,
        }
    });
    fan_out.settled = tally.map(DeliveryTally::settled);
    (fan_out, to_replay)
}
