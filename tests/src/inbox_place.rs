//! How far a client is in its user's inbox, as the documentation asks of clients: what came before is dropped by its offset.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How far a client is in its user's inbox.
#[derive(Debug, Clone, Default)]
pub struct InboxPlace {
    last: Option<(String, u64, u64)>,
    /// Messages that came again after they had come.
    pub doubled: usize,
    /// Gaps that the hub told of.
    pub gaps: Vec<Value>,
    /// From each connect to its `resume_done`.
    pub replays: Vec<Duration>,
    connected: Option<Instant>,
}

impl InboxPlace {
    /// The offset to connect with.
    #[must_use]
    pub fn offset(&self) -> Option<String> {
        self.last.as_ref().map(|(epoch, ms, seq)| format!("{epoch}:{ms}-{seq}"))
    }

    /// A connect begins.
    pub fn connecting(&mut self) {
        self.connected = Some(Instant::now());
    }

    /// Takes a frame. None: the client has it already. Some: what to answer, if anything.
    pub fn take(&mut self, frame: &Value) -> Option<Option<Value>> {
        match frame["message_type"].as_str() {
            Some("resume_gap") => self.gaps.push(frame["data"].clone()),
            Some("resume_done") => {
                self.replays.extend(self.connected.take().map(|connected| connected.elapsed()));
            }
            _ => {}
        }
        let Some(text) = frame["offset"].as_str() else { return Some(None) };
        let offset = parse(text)?;
        let is_old = self
            .last
            .as_ref()
            .is_some_and(|last| last.0 == offset.0 && (offset.1, offset.2) <= (last.1, last.2));
        if is_old {
            self.doubled += 1;
            return None;
        }
        self.last = Some(offset);
        Some(Some(json!({"message_type": "ack", "offset": text})))
    }
}

fn parse(offset: &str) -> Option<(String, u64, u64)> {
    let (epoch, id) = offset.split_once(':')?;
    let (ms, seq) = id.split_once('-')?;
    Some((epoch.to_owned(), ms.parse().ok()?, seq.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_once_and_acknowledged() {
        let mut place = InboxPlace::default();
        let frame = |offset: &str| json!({"message_type": "text", "offset": offset});
        for (offset, taken) in [("e:9-0", true), ("e:10-0", true), ("e:9-5", false), ("e:10-0", false)] {
            assert_eq!(place.take(&frame(offset)).is_some(), taken, "{offset}");
        }
        assert_eq!((place.offset().as_deref(), place.doubled), (Some("e:10-0"), 2));
        assert_eq!(place.take(&frame("f:1-0")).unwrap().unwrap()["offset"], "f:1-0");
        assert_eq!(place.take(&json!({"message_type": "text"})), Some(None));
    }
}
