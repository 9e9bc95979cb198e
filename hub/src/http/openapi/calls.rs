//! Every call that the API's listener answers.

use utoipa::openapi::{HttpMethod, ObjectBuilder, Type};

use super::{
    bodies::{
        BatchRequest, BroadcastRequest, DrainRequest, GroupSendRequest, KickRequest, QueryRequest,
        RebalanceRequest, RevokeRequest, SendRequest,
    },
    call::Call,
};
use crate::{
    http::{
        admin::AdminStatus,
        drain::{DrainAnswer, RebalanceAnswer},
        health::Health,
        messages::BatchResult,
        stats::Stats,
    },
    identity::{GroupName, UserId},
    protocol::{
        error_code::ErrorCode::{
            BadRequest, Draining, InvalidUserId, NotFound, Overloaded, RegistryUnavailable,
        },
        event::Event,
        group_answer::{GroupListing, MembershipResult},
        send_result::{BroadcastResult, KickResult, RevokeResult, SendResult, UserLocation, UsersOnline},
    },
    routing::ports::NodeRecord,
};

use HttpMethod::{Delete, Get, Post, Put};

/// Every call, one entry each.
pub(super) fn all() -> Vec<Call> {
    [messages(), users(), groups(), cluster(), admin(), node()].into_iter().flatten().collect()
}

const TRUTHFUL: &str = "A truthful no is a 200 as well: the status says what happened.";

fn messages() -> Vec<Call> {
    let tag = "messages";
    vec![
        Call::for_backends(
            (Post, "/v1/users/{user}/messages"),
            tag,
            "send_to_user",
            "Sends a message to every connection of a user, on all nodes, with retries",
        )
        .note("A truthful no is a 200 as well: the status says what happened. Only a message that was to be kept and certainly was \
               not is a problem.")
        .path_part::<UserId>("user", InvalidUserId)
        .body::<SendRequest>(true)
        .answer::<SendResult>("What happened")
        .problem(Overloaded)
        .problem(RegistryUnavailable),
        Call::for_backends(
            (Post, "/v1/messages"),
            tag,
            "send_many",
            "Sends many messages at once; those for one receiver keep their order",
        )
        .note("The body may have 4 MiB.")
        .body::<BatchRequest>(true)
        .answer::<BatchResult>("What happened to each, in the order of the messages"),
        Call::for_backends(
            (Post, "/v1/broadcast"),
            tag,
            "broadcast",
            "Sends a message to every connection of every node, each at most once",
        )
        .note(TRUTHFUL)
        .body::<BroadcastRequest>(true)
        .answer::<BroadcastResult>("What happened"),
        Call::for_backends(
            (Post, "/v1/groups/{group}/messages"),
            tag,
            "send_to_group",
            "Sends a message to the members of a group on all nodes, each at most once",
        )
        .note(TRUTHFUL)
        .path_part::<GroupName>("group", BadRequest)
        .body::<GroupSendRequest>(true)
        .answer::<BroadcastResult>("What happened"),
    ]
}

fn users() -> Vec<Call> {
    let tag = "users";
    vec![
        Call::for_backends((Get, "/v1/users/{user}"), tag, "locate_user", "Where a user is")
            .path_part::<UserId>("user", InvalidUserId)
            .answer::<UserLocation>("The user's connections")
            .problem(RegistryUnavailable),
        Call::for_backends(
            (Get, "/v1/users/query"),
            tag,
            "locate_user_query",
            "Where the user is whose name is `query`; `POST` here asks for many users",
        )
        .answer::<UserLocation>("The user's connections")
        .problem(RegistryUnavailable),
        Call::for_backends((Post, "/v1/users/query"), tag, "query_users", "Which of many users are online")
            .body::<QueryRequest>(true)
            .answer::<UsersOnline>("Those who are")
            .problem(RegistryUnavailable),
        Call::for_backends(
            (Post, "/v1/users/{user}/kick"),
            tag,
            "kick_user",
            "Closes a user's connections on all nodes, with a ban first if one is wanted",
        )
        .path_part::<UserId>("user", InvalidUserId)
        .body::<KickRequest>(false)
        .answer::<KickResult>("What was closed")
        .problem(RegistryUnavailable),
        Call::for_backends((Delete, "/v1/users/{user}/ban"), tag, "lift_ban", "Lifts a user's ban")
            .path_part::<UserId>("user", InvalidUserId)
            .nothing("There is no ban any more")
            .problem(RegistryUnavailable),
        Call::for_backends(
            (Post, "/v1/users/{user}/revoke"),
            tag,
            "revoke_tokens",
            "Refuses a user's older tokens and closes what was opened with them",
        )
        .path_part::<UserId>("user", InvalidUserId)
        .body::<RevokeRequest>(false)
        .answer::<RevokeResult>("What was closed")
        .problem(RegistryUnavailable),
    ]
}

fn groups() -> Vec<Call> {
    let tag = "groups";
    let member = |method, name, what| {
        Call::for_backends((method, "/v1/groups/{group}/members/{user}"), tag, name, what)
            .note("Membership lasts for the connection.")
            .path_part::<GroupName>("group", BadRequest)
            .path_part::<UserId>("user", InvalidUserId)
            .answer::<MembershipResult>("Whose memberships changed")
    };
    // As for a user, or nothing: from the first one.
    let after = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^([A-Za-z0-9._:+=~-][A-Za-z0-9._@:+=~-]{0,127})?$"));
    vec![
        Call::for_backends((Get, "/v1/groups/{group}"), tag, "list_group", "Who is in a group")
            .path_part::<GroupName>("group", BadRequest)
            .query("after", "Only users after this one: `next` of the answer before", after)
            .problem(InvalidUserId)
            .answer::<GroupListing>("At most 1,000 users, sorted")
            .problem(RegistryUnavailable),
        member(Put, "join_group", "Makes a user's connections on all nodes members of a group"),
        member(Delete, "leave_group", "Ends the memberships of a user's connections on all nodes"),
    ]
}

fn cluster() -> Vec<Call> {
    let tag = "cluster";
    let nodes = |path, name| {
        Call::for_backends((Get, path), tag, name, "The nodes whose leases are held")
            .list::<NodeRecord>("Sorted by id")
            .problem(RegistryUnavailable)
    };
    let position =
        ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{1,19}(-[0-9]{1,19})?$"));
    vec![
        nodes("/v1/nodes", "list_nodes"),
        nodes("/nodes", "list_nodes_unversioned"),
        Call::for_backends((Get, "/v1/stats"), tag, "stats", "The cluster in six numbers")
            .answer::<Stats>("Sums over the live nodes"),
        Call::for_backends(
            (Get, "/v1/events"),
            tag,
            "events",
            "What happens in the cluster, for as long as the reader stays",
        )
        .note(
            "One `Event` per line, with its `stream_id` in front; `{\"type\":\"gap\",\"from\":..,\"to\":..}` where some are \
             gone; an empty line after 15 s of silence. 404 while events are off (`WSC_EVENTS`).",
        )
        .query("after", "A `stream_id`, or 0 for the beginning; from now on when left out", position)
        .text("application/x-ndjson", "Lines of JSON, without an end")
        .with_schema::<Event>()
        .problem(NotFound)
        .problem(Overloaded)
        .problem(RegistryUnavailable),
    ]
}

fn admin() -> Vec<Call> {
    let tag = "admin";
    vec![
        Call::for_admins((Get, "/admin/status"), tag, "status", "What the operator reads of a node")
            .answer::<AdminStatus>("The node's state"),
        Call::for_admins(
            (Post, "/admin/drain"),
            tag,
            "drain",
            "Begins to send all clients of the node elsewhere, or changes how",
        )
        .note(
            "The same id again changes the parameters and does not restart the clock; another id replaces the order and \
             begins a clock of its own. Both are refused once the node was told to end.",
        )
        .body::<DrainRequest>(true)
        .answer::<DrainAnswer>("It drains")
        .problem_with(409, BadRequest)
        .problem_with(409, Draining),
        Call::for_admins(
            (Delete, "/admin/drain"),
            tag,
            "cancel_drain",
            "Takes a drain back: possible until the last connection is gone",
        )
        .answer::<DrainAnswer>("Nobody is sent away any more, if anybody was")
        .problem_with(409, Draining),
        Call::for_admins(
            (Post, "/admin/rebalance"),
            tag,
            "rebalance",
            "Sends the most idle clients of the node elsewhere; the node stays active",
        )
        .body::<RebalanceRequest>(true)
        .answer::<RebalanceAnswer>("It has begun")
        .problem_with(409, Draining),
    ]
}

fn node() -> Vec<Call> {
    let tag = "node";
    vec![
        Call::new((Get, "/health"), tag, "health", "Whether the node takes clients")
            .answer::<Health>("It does")
            .answer_with::<Health>(503, "It starts, drains or is closed"),
        Call::new(
            (Get, "/livez"),
            tag,
            "livez",
            "Whether the process makes progress; never depends on Redis",
        )
        .text("text/plain", "It does"),
        Call::new((Get, "/metrics"), tag, "metrics", "Numbers for Prometheus; no label names a user")
            .text("application/openmetrics-text", "OpenMetrics 1.0.0"),
        Call::new((Get, "/openapi.json"), tag, "openapi", "This description")
            .answer::<serde_json::Value>("OpenAPI 3.1"),
    ]
}
