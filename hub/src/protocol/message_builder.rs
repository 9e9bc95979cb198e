//! Messages from Rust values, for programs that carry a hub.

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::message::Message;
use crate::identity::{MessageId, MessageType};

impl Message {
    /// A message of type `text`.
    ///
    /// ```
    /// use wsc_hub::{identity::MessageId, protocol::message::Message};
    ///
    /// let message = Message::text("tea is ready")
    ///     .with_id(MessageId::new("m1")?)
    ///     .with_data(&serde_json::json!({"cups": 2}))?;
    /// assert_eq!(message.content.unwrap().get(), "\"tea is ready\"");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn text(content: &str) -> Self {
        Self { content: to_raw_value(content).ok(), ..Self::default() }
    }

    /// The same of another type.
    #[must_use]
    pub fn with_type(self, message_type: MessageType) -> Self {
        Self { message_type, ..self }
    }

    /// The same under the caller's own id: results and repeats are known by it.
    #[must_use]
    pub fn with_id(self, message_id: MessageId) -> Self {
        Self { message_id: Some(message_id), ..self }
    }

    /// The same with a structured payload.
    ///
    /// # Errors
    /// When the value has no JSON form, for example a map whose keys are no strings.
    pub fn with_data(self, data: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self { data: Some(to_raw_value(data)?), ..self })
    }
}
