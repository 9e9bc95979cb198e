//! `user`: where somebody is connected.

use http::Method;
use serde_json::Value;

use crate::api::WscCluster;

use super::answer::{Answer, table};
use super::error::KubectlError;
use super::hub_call::HubDoor;
use super::place::Place;

/// Longest name of a user, in characters.
const LONGEST: usize = 128;

/// Asks the hubs, one after the other until one answers; each knows about all.
///
/// # Errors
/// When the name cannot be a user's, or no hub answers.
pub async fn find(place: &Place, cluster: &WscCluster, user: &str) -> Result<Answer, KubectlError> {
    check(user)?;
    let door = HubDoor::new(place.api(), place.api_key(cluster, false).await?);
    let mut last = KubectlError::NotNow("no hub pod is there to be asked".to_owned());
    for pod in place.hub_pods(cluster).await? {
        let pod = pod.metadata.name.unwrap_or_default();
        match door.json(&pod, Method::GET, &format!("/v1/users/{user}"), None).await {
            Ok(json) => return Ok(Answer { text: text(user, &json), json }),
            Err(error @ KubectlError::Forbidden { .. }) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The grammar of users, in which every character may stand in a path as it is.
pub(super) fn check(user: &str) -> Result<(), KubectlError> {
    let fits = |character: char| character.is_ascii_alphanumeric() || "._@:+=~-".contains(character);
    if (1..=LONGEST).contains(&user.len()) && user.chars().all(fits) && !user.starts_with('@') {
        return Ok(());
    }
    Err(KubectlError::Usage(format!(
        "{user:?} cannot be a user: 1 to {LONGEST} letters, digits and ._@:+=~-, not beginning with @"
    )))
}

fn text(user: &str, answer: &Value) -> String {
    let cell = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let connections = answer["connections"].as_array().cloned().unwrap_or_default();
    let mut text = if connections.is_empty() {
        format!("{user} is offline\n")
    } else {
        let rows: Vec<[String; 5]> = connections
            .iter()
            .map(|row| {
                ["node_id", "connection_id", "client_id", "connected_at", "remote_address"]
                    .map(|name| cell(row, name))
            })
            .collect();
        table(["NODE", "CONNECTION", "CLIENT", "SINCE", "ADDRESS"], &rows)
    };
    if let Some(until) = answer["banned_until"].as_str() {
        text.push_str(&format!("{user} is banned until {until}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{check, text};

    #[test]
    fn connections_are_listed_and_absence_and_bans_are_said() {
        let offline =
            text("alice", &json!({"user_id": "alice", "online": false, "banned_until": "2026-01-02"}));
        assert_eq!(offline, "alice is offline\nalice is banned until 2026-01-02\n");
        let online = text(
            "alice",
            &json!({"connections": [{"node_id": "chat-1", "connection_id": "01J", "client_id": "phone",
                                     "connected_at": "2026-01-01", "remote_address": "10.0.0.9"}]}),
        );
        assert!(online.contains("chat-1   01J          phone    2026-01-01   10.0.0.9"), "{online}");
    }

    #[test]
    fn names_that_no_user_has_are_refused_before_anybody_is_asked() {
        for user in ["alice", "a.b@example.org", "user:1+2=3~x-y"] {
            check(user).unwrap();
        }
        for user in ["", "@backend", "a/b", "a b", "ä", &"x".repeat(129)] {
            assert!(check(user).is_err(), "{user}");
        }
    }
}
