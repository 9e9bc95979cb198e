//! What callers write, and problems: the form of what is read and written by hand elsewhere.
#![expect(dead_code, reason = "only the form is of use here")]

use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Object, ObjectBuilder, Ref, RefOr, Type,
        schema::{OneOfBuilder, Schema, SchemaType},
    },
};

use crate::{
    identity::{Incarnation, MessageId, MessageType, NodeId, UserId},
    protocol::{error_code::ErrorCode, message::Wait},
};

/// A problem (RFC 9457).
#[derive(ToSchema)]
pub(super) struct Problem {
    /// Names the kind of problem: `urn:wsc:problem:` and the code.
    r#type: String,
    /// The same for every occurrence of the code.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What to change. Its words may change from release to release.
    detail: String,
    /// The stable word.
    code: ErrorCode,
}

/// A word of the sender's choice; those that the hub itself uses are refused.
pub(super) struct SentType;

impl PartialSchema for SentType {
    fn schema() -> RefOr<Schema> {
        let reserved = MessageType::RESERVED.join("|");
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A word of the sender's choice; those that the hub itself uses are refused."))
            .pattern(Some(format!("^(?!(?:{reserved})$)[a-z0-9_.-]{{1,32}}$")))
            .build()
            .into()
    }
}

impl ToSchema for SentType {}

/// Nothing, or what says as much.
fn not_stored() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Boolean, Type::Null]))
        .enum_values(Some([Value::Bool(false), Value::Null]))
        .build()
}

fn nothing() -> Object {
    ObjectBuilder::new().schema_type(Type::Null).build()
}

fn stored() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).build()
}

/// How a message is sent that is not kept.
#[derive(ToSchema)]
pub(super) struct LiveOptions {
    /// What to wait for.
    #[schema(inline, default = "delivered")]
    wait: Option<Wait>,
    /// How long to wait and to try again, in milliseconds.
    #[schema(minimum = 1, maximum = 60_000, default = 5000)]
    timeout_ms: Option<u64>,
    /// Repeats after a first try without success.
    #[schema(minimum = 0, maximum = 10, default = 3)]
    max_retries: Option<u32>,
    #[schema(required = false, schema_with = not_stored)]
    store: Option<bool>,
    #[schema(required = false, schema_with = nothing)]
    ttl_seconds: Option<u64>,
}

/// What the sender of a message to many can wait for.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum WaitOfMany {
    /// Nothing: answered as soon as the message is on its way.
    None,
    /// The kernel buffers of the receivers' connections.
    Delivered,
}

/// How a message to many is sent.
#[derive(ToSchema)]
pub(super) struct ManyOptions {
    /// What to wait for.
    #[schema(inline, default = "delivered")]
    wait: Option<WaitOfMany>,
    /// How long to wait, in milliseconds.
    #[schema(minimum = 1, maximum = 60_000, default = 5000)]
    timeout_ms: Option<u64>,
    /// Taken and of no account: a message to many is not tried again.
    #[schema(minimum = 0, maximum = 10, default = 3)]
    max_retries: Option<u32>,
    #[schema(required = false, schema_with = not_stored)]
    store: Option<bool>,
    #[schema(required = false, schema_with = nothing)]
    ttl_seconds: Option<u64>,
}

/// How a message is sent that is kept in its receiver's inbox first.
#[derive(ToSchema)]
pub(super) struct StoreOptions {
    /// What to wait for.
    #[schema(inline, default = "delivered")]
    wait: Option<Wait>,
    /// How long to wait and to try again, in milliseconds.
    #[schema(minimum = 1, maximum = 60_000, default = 5000)]
    timeout_ms: Option<u64>,
    /// Repeats after a first try without success.
    #[schema(minimum = 0, maximum = 10, default = 3)]
    max_retries: Option<u32>,
    #[schema(required = true, schema_with = stored)]
    store: bool,
    /// How long it is kept at most, in seconds, if not as long as others.
    #[schema(minimum = 1, maximum = 31_536_000)]
    ttl_seconds: Option<u64>,
}

/// How a message to one user is sent: either way.
pub(super) struct SendOptions;

impl PartialSchema for SendOptions {
    fn schema() -> RefOr<Schema> {
        let either = OneOfBuilder::new()
            .item(Ref::from_schema_name(LiveOptions::name()))
            .item(Ref::from_schema_name(StoreOptions::name()));
        RefOr::T(Schema::OneOf(either.build()))
    }
}

impl ToSchema for SendOptions {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((LiveOptions::name().into_owned(), LiveOptions::schema()));
        schemas.push((StoreOptions::name().into_owned(), StoreOptions::schema()));
    }
}

/// A message for one user.
#[derive(ToSchema)]
pub(super) struct SendRequest {
    /// `text` when left out.
    message_type: Option<SentType>,
    /// A message with the same one to the same user within a minute is not sent again.
    message_id: Option<MessageId>,
    /// Text.
    content: Option<String>,
    /// Any JSON.
    data: Option<Value>,
    options: Option<SendOptions>,
}

/// A message for the members of a group.
#[derive(ToSchema)]
pub(super) struct GroupSendRequest {
    /// `text` when left out.
    message_type: Option<SentType>,
    message_id: Option<MessageId>,
    /// Text.
    content: Option<String>,
    /// Any JSON.
    data: Option<Value>,
    options: Option<ManyOptions>,
}

/// A message for one of many users.
#[derive(ToSchema)]
pub(super) struct BatchEntry {
    receiver: UserId,
    /// `text` when left out.
    message_type: Option<SentType>,
    /// A message with the same one to the same user within a minute is not sent again.
    message_id: Option<MessageId>,
    /// Text.
    content: Option<String>,
    /// Any JSON.
    data: Option<Value>,
    options: Option<SendOptions>,
}

/// Messages for many users. One that is malformed refuses all.
#[derive(ToSchema)]
pub(super) struct BatchRequest {
    #[schema(max_items = 1000)]
    messages: Vec<BatchEntry>,
}

/// A message for everyone.
#[derive(ToSchema)]
pub(super) struct BroadcastRequest {
    /// `text` when left out.
    message_type: Option<SentType>,
    message_id: Option<MessageId>,
    /// Text.
    content: Option<String>,
    /// Any JSON.
    data: Option<Value>,
    options: Option<ManyOptions>,
    /// Users who get nothing.
    #[schema(max_items = 1000)]
    exclude_users: Option<Vec<UserId>>,
}

/// A wish to close a user's connections.
#[derive(ToSchema)]
pub(super) struct KickRequest {
    /// Why, in the close frame and the notice.
    #[schema(max_length = 1024)]
    reason: Option<String>,
    /// Whether a `kick_out` frame comes before the close.
    notify: Option<bool>,
    /// Text of the notice for people.
    #[schema(max_length = 4096)]
    message: Option<String>,
    /// How long the user is kept out, in seconds; 0 for no ban.
    #[schema(minimum = 0, maximum = 315_360_000)]
    ban_seconds: Option<u64>,
}

/// Which tokens of a user are refused from now on.
#[derive(ToSchema)]
pub(super) struct RevokeRequest {
    /// Those issued before this, in milliseconds since the epoch; now when left out.
    #[schema(minimum = 0, maximum = 253_402_300_799_999_u64)]
    before: Option<u64>,
}

/// Whose nodes are asked for.
#[derive(ToSchema)]
pub(super) struct QueryRequest {
    #[schema(max_items = 1000)]
    users: Vec<UserId>,
}

/// Which life of which node is meant.
#[derive(ToSchema)]
pub(super) struct ExpectedNode {
    node_id: NodeId,
    incarnation: Incarnation,
}

/// An order to send all clients of a node elsewhere. What is left out is as the settings say.
#[derive(ToSchema)]
pub(super) struct DrainRequest {
    /// The caller's name for it.
    #[schema(min_length = 1, max_length = 256)]
    id: String,
    /// Refused by any other node or life than this one.
    expect: Option<ExpectedNode>,
    /// Connections closed per second; more when the deadline could not be met otherwise.
    #[schema(minimum = 1, maximum = 100_000)]
    rate_per_second: Option<u32>,
    /// When all are to be gone, in milliseconds since the start of the drain of this id; whenever that is when left out.
    #[schema(minimum = 1, maximum = 86_400_000)]
    deadline_ms: Option<u64>,
    /// Clients are told to come back after a random time up to this, in milliseconds.
    #[schema(minimum = 0, maximum = 60_000)]
    retry_after_max_ms: Option<u64>,
}

/// An order to send the most idle clients of a node elsewhere.
#[derive(ToSchema)]
pub(super) struct RebalanceRequest {
    /// How many connections.
    #[schema(minimum = 1, maximum = 1_000_000)]
    close: usize,
    /// Connections closed per second; as the settings say when left out.
    #[schema(minimum = 1, maximum = 100_000)]
    rate_per_second: Option<u32>,
}
