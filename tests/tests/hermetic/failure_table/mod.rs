//! The table "When things fail" of the cluster's contract, row by row, with real processes.
//!
//! | row | shown by |
//! |---|---|
//! | Redis away | `redis_loss::without_redis_connections_stay_and_same_node_sends_work`, `redis_loss::a_redis_that_hangs_holds_no_send_beyond_its_time`, `redis_loss::a_client_that_leaves_while_redis_is_away_is_forgotten_after_it_returns`, `redis_faults::*`, `away::redis_away_for_longer_than_the_lease_closes_nobody_and_all_is_registered_again`, `away::redis_that_hangs_for_longer_than_the_lease_and_keeps_its_data_has_no_user_reaped` |
//! | one primary of a Redis Cluster away | `shard_death::*`, `redis_forms::what_is_confirmed_while_a_shard_of_a_redis_cluster_fails_over_was_received` |
//! | Redis flushed or replaced | `redis_loss::a_flushed_redis_is_filled_again_and_nobody_is_disconnected` |
//! | node killed | `node_death::a_killed_nodes_users_are_offline_in_time_and_no_send_meanwhile_is_called_delivered`, `crash::*` |
//! | node paused, resumed | `node_death::a_node_that_slept_longer_than_its_lease_drops_what_it_buffered_and_is_no_ghost` |
//! | slow reader | `slow_readers::one_percent_of_stalled_readers_is_closed_within_5_s_and_the_others_lose_less_than_5_percent`, `limits::a_slow_reader_is_closed_with_4004_and_others_lose_nothing` |
//! | subscription silently dead | `redis_faults::a_subscription_that_is_silent_but_not_closed_is_built_again` |
//! | bad bytes on a channel | `bad_bytes::bad_bytes_are_counted_logged_at_most_once_and_ignored`, `redis_loss::bad_bytes_on_the_channels_are_ignored` |
//! | too much of anything | `bounds::*`, `queue_memory::*`, `limits::*`, `rfc6455::limits::*` |

mod away;
mod bad_bytes;
mod bounds;
pub(crate) mod crowd;
mod node_death;
mod shard_death;
