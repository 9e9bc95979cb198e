//! What the hub keeps for those who are not there: messages for users, events for the backend.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::SpecDuration;

/// Messages kept for users who are away. Changing it replaces the pods: all nodes must keep to the same bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InboxSpec {
    /// Whether messages can be stored, default true. When false, who asks for it is answered 400.
    pub enabled: bool,
    /// Messages kept for one user: 1 to 100000, default 1000. The oldest go first.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_messages: i32,
    /// Bytes kept for one user: a whole number of bytes or with Ki or Mi, from 1Ki to 256Mi, default 1Mi. The oldest go
    /// first.
    #[schemars(length(max = 16), extend("pattern" = "^[1-9][0-9]*(Ki|Mi)?$"))]
    pub max_bytes: String,
    /// How long a message is kept: a duration from 1s to 8760h, default 168h.
    pub ttl: SpecDuration,
}

impl Default for InboxSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            max_messages: 1000,
            max_bytes: "1Mi".to_owned(),
            ttl: SpecDuration::from_hours(168),
        }
    }
}

/// What happens to connections, and what clients send to `@backend`, kept for `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EventsSpec {
    /// Whether they are kept. Default false. Changing it replaces the pods.
    pub enabled: bool,
}
