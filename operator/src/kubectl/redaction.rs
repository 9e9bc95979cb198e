//! How secrets stay out of the support bundle: what holds them is left out, and whatever of them shows up elsewhere is
//! blotted out, in every form in which Kubernetes and logs write it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use k8s_openapi::ByteString;
use serde_json::Value;

use crate::api::hub::MANAGED_ENV;

/// What stands where something was taken out.
pub const BLOT: &str = "[redacted]";

/// Shorter values are too common to be blotted out of whole texts.
const SHORTEST: usize = 6;

/// Annotations that repeat a whole object.
const COPIES: [&str; 1] = ["kubectl.kubernetes.io/last-applied-configuration"];

/// Entries of Secrets that are meant to be public.
const PUBLIC_ENTRIES: [&str; 5] = ["username", "ca.crt", "tls.crt", "jwks.json", "tls.ca"];

/// Everything that must not be in the bundle.
#[derive(Debug, Clone, Default)]
pub struct Redaction {
    needles: Vec<String>,
}

impl Redaction {
    /// Adds the values of a Secret.
    pub fn learn(&mut self, data: &BTreeMap<String, ByteString>) {
        for (entry, value) in data {
            let public = PUBLIC_ENTRIES.contains(&entry.as_str()) || entry.ends_with(".pem");
            if !public || String::from_utf8_lossy(&value.0).contains("PRIVATE KEY") {
                self.learn_value(&value.0);
            }
        }
    }

    /// Adds one value.
    pub fn learn_value(&mut self, value: &[u8]) {
        for form in [value, value.trim_ascii()] {
            if form.len() < SHORTEST {
                continue;
            }
            self.add(STANDARD.encode(form));
            self.add(STANDARD_NO_PAD.encode(form));
            self.add(URL_SAFE.encode(form));
            self.add(URL_SAFE_NO_PAD.encode(form));
            if let Ok(text) = std::str::from_utf8(form) {
                self.add(text.to_owned());
                self.add(Value::from(text).to_string().trim_matches('"').to_owned());
                for line in text.lines().filter(|line| !line.starts_with("-----")) {
                    self.add(line.trim().to_owned());
                }
            }
        }
        // Longest first, so that no needle cuts another in two.
        self.needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
    }

    fn add(&mut self, needle: String) {
        if needle.len() >= SHORTEST && !self.needles.contains(&needle) {
            self.needles.push(needle);
        }
    }

    /// The text without anything that was learned, and without passwords in addresses.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for needle in &self.needles {
            if text.contains(needle.as_str()) {
                text = text.replace(needle.as_str(), BLOT);
            }
        }
        without_credentials(&text)
    }
}

/// `scheme://user:password@host` as `scheme://[redacted]@host`.
fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        clean.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'<>\\,".contains(c)).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => {
                clean.push_str(BLOT);
                &after[at..]
            }
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

/// Takes out of an object what may hold secrets by its place: values of variables that users set, and copies of the
/// object in annotations; and book-keeping that only makes it long.
pub fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            for name in COPIES {
                annotations.remove(name);
            }
        }
    }
    strip_variables(object);
}

fn strip_variables(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(strip_variables),
        Value::Object(fields) => {
            if let Some(Value::Array(variables)) = fields.get_mut("env") {
                for variable in variables {
                    let managed = variable["name"].as_str().is_some_and(|name| MANAGED_ENV.contains(&name));
                    if let Some(value) = variable.get_mut("value").filter(|_| !managed) {
                        *value = Value::from(BLOT);
                    }
                }
            }
            fields.values_mut().for_each(strip_variables);
        }
        _ => {}
    }
}

/// A Secret's name and entries, with the length of each.
#[must_use]
pub fn outline(name: &str, data: &BTreeMap<String, ByteString>) -> Value {
    let entries = data.iter().map(|(entry, value)| (entry.clone(), Value::from(value.0.len()))).collect();
    serde_json::json!({"name": name, "bytesOfEntries": Value::Object(entries)})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::{BLOT, Redaction, strip};

    #[test]
    fn a_secret_is_blotted_out_in_every_form() {
        let mut redaction = Redaction::default();
        let secret = "pa\"ss/word-123\n";
        redaction.learn(&BTreeMap::from([
            ("password".to_owned(), ByteString(secret.as_bytes().to_vec())),
            ("username".to_owned(), ByteString(b"default".to_vec())),
            ("redis.conf".to_owned(), ByteString(b"requirepass hunter2hunter2\nport 1\n".to_vec())),
        ]));
        let text = [
            secret.to_owned(),
            STANDARD.encode(secret),
            STANDARD.encode(secret.trim()),
            json!({"p": secret.trim()}).to_string(),
            "said requirepass hunter2hunter2 to default".to_owned(),
        ]
        .join(" | ");
        let clean = redaction.clean(&text);
        for needle in ["word-123", "hunter2", &STANDARD.encode(secret)] {
            assert!(!clean.contains(needle), "{needle} is in {clean}");
        }
        assert!(clean.contains("to default"), "{clean}");
    }

    #[test]
    fn credentials_in_addresses_go_whether_known_or_not() {
        let redaction = Redaction::default();
        assert_eq!(
            redaction.clean("redis://me:pw@host:1/0,rediss://:p@b and http://plain/x?y=a@b ://"),
            "redis://[redacted]@host:1/0,rediss://[redacted]@b and http://plain/x?y=a@b ://"
        );
    }

    #[test]
    fn variables_of_users_lose_their_values_and_those_of_the_operator_keep_them() {
        let mut pod = json!({
            "metadata": {
                "managedFields": [{}],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"}
            },
            "spec": {"containers": [{"env": [
                {"name": "WSC_NODE_ID", "value": "chat-0"}, {"name": "TOKEN", "value": "t"},
                {"name": "REF", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
            ]}]}
        });
        strip(&mut pod);
        let expected = json!({
            "metadata": {"annotations": {"mine": "1"}},
            "spec": {"containers": [{"env": [
                {"name": "WSC_NODE_ID", "value": "chat-0"}, {"name": "TOKEN", "value": BLOT},
                {"name": "REF", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
            ]}]}
        });
        assert_eq!(pod, expected);
    }
}
