//! Settings that may change while the hub runs, and the file that changes them.

use std::{path::Path, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use serde_yaml::Value;
use sha2::{Digest, Sha256};

use super::{
    drain::{DRAIN_FIELDS, DrainSettings},
    effective::ClientSend,
    limits::{BOUNDS, Limits, whole_number},
    parse::log_directives,
    parse_auth::origin,
};

/// A larger file is a mistake, bytes.
const LARGEST_FILE: u64 = 256 * 1024;
/// What the file may hold.
const KEYS: &str = "allowed_origins, log_level, client_send, max_connections, limits, drain";

/// Settings that may change while the hub runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotSettings {
    /// Origins besides the same host.
    pub allowed_origins: Vec<String>,
    /// A level or directives, known to be valid.
    pub log_directives: String,
    /// To whom clients may send; holds for the frames that come after a change.
    pub client_send: ClientSend,
    /// Connections on this node: the smaller of the setting and `possible_connections`.
    pub max_connections: usize,
    /// What the open-files limit allows.
    pub possible_connections: usize,
    /// Bounds of the node and of each connection.
    pub limits: Limits,
    /// How clients are sent away.
    pub drain: DrainSettings,
}

/// Why the file of hot settings is not applied: every mistake in it, a sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct BadHotSettings(pub Vec<String>);

/// A file of hot settings that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotFile {
    /// The settings it makes of those of flags and variables.
    pub settings: HotSettings,
    /// SHA-256 of the file's bytes, in 64 hexadecimal digits.
    pub hash: String,
}

impl HotFile {
    /// Reads the file over `base`, the settings of flags and variables.
    ///
    /// # Errors
    /// [`BadHotSettings`]; nothing of the file is to be applied then.
    pub fn read(path: &Path, base: &HotSettings) -> Result<Self, BadHotSettings> {
        let failed = |error: &dyn std::fmt::Display| {
            BadHotSettings(vec![format!("cannot read {}: {error}", path.display())])
        };
        let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
        if size > LARGEST_FILE {
            return Err(failed(&format!("it has {size} bytes, at most {LARGEST_FILE} are expected")));
        }
        let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| failed(&error))?;
        let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { settings: overlay(base, text)?, hash })
    }
}

/// The settings as they are now, and where they come from.
#[derive(Debug)]
pub struct Hot {
    settings: ArcSwap<HotSettings>,
    file: ArcSwap<FileState>,
}

/// What became of the file of hot settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileState {
    /// Hash of the file that is applied; none without a file.
    pub applied: Option<String>,
    /// Why the file as it is now is not applied.
    pub error: Option<BadHotSettings>,
}

impl Hot {
    /// Begins with these settings and no file.
    #[must_use]
    pub fn new(settings: HotSettings) -> Self {
        Self { settings: ArcSwap::from_pointee(settings), file: ArcSwap::default() }
    }

    /// The settings now, without a lock. Ask again for each decision.
    #[must_use]
    pub fn now(&self) -> Guard<Arc<HotSettings>> {
        self.settings.load()
    }

    /// What became of the file.
    #[must_use]
    pub fn file(&self) -> Arc<FileState> {
        self.file.load_full()
    }

    /// From now on these settings hold.
    pub fn apply(&self, file: HotFile) {
        self.settings.store(Arc::new(file.settings));
        self.file.store(Arc::new(FileState { applied: Some(file.hash), error: None }));
    }

    /// The file is not good: what was applied stays. Returns whether this was not known yet.
    pub fn refuse(&self, error: BadHotSettings) -> bool {
        let before = self.file.load();
        if before.error.as_ref() == Some(&error) {
            return false;
        }
        self.file.store(Arc::new(FileState { applied: before.applied.clone(), error: Some(error) }));
        true
    }
}

/// The settings that a file makes of `base`. What the file leaves out is as in `base`.
fn overlay(base: &HotSettings, text: &str) -> Result<HotSettings, BadHotSettings> {
    let bad = |problem: String| BadHotSettings(vec![problem]);
    let value: Value = serde_yaml::from_str(text).map_err(|error| bad(format!("not YAML: {error}")))?;
    let entries = match value {
        Value::Null => return Ok(base.clone()),
        Value::Mapping(entries) => entries,
        _ => return Err(bad(format!("expected names and values ({KEYS})"))),
    };
    let mut settings = base.clone();
    let mut problems = Vec::new();
    for (key, value) in &entries {
        let key = word(key);
        let taken = match key.as_str() {
            "allowed_origins" => origins(value).map(|list| settings.allowed_origins = list),
            "log_level" => log_directives(&word(value)).map(|text| settings.log_directives = text),
            "client_send" => match word(value).as_str() {
                "" => Ok(()),
                text => ClientSend::read(text).map(|who| settings.client_send = who),
            },
            "max_connections" => whole_number(&word(value), 1, 1_000_000).map(|n| {
                let wanted = usize::try_from(n).unwrap_or(usize::MAX);
                settings.max_connections = wanted.min(base.possible_connections);
            }),
            "limits" => {
                problems.extend(limits(value, &mut settings.limits));
                Ok(())
            }
            "drain" => {
                problems.extend(drain(value, &mut settings.drain));
                Ok(())
            }
            _ => Err(format!("there is no such setting, known are {KEYS}")),
        };
        problems.extend(taken.err().map(|what| format!("{key}: {what}")));
    }
    if problems.is_empty() {
        problems.extend(settings.limits.contradictions().into_iter().map(|(variable, what)| {
            let key = BOUNDS.iter().find(|bound| bound.variable == variable).map(super::limits::Bound::key);
            format!("limits.{}: {what}", key.unwrap_or_default())
        }));
    }
    if problems.is_empty() { Ok(settings) } else { Err(BadHotSettings(problems)) }
}

fn limits(value: &Value, limits: &mut Limits) -> Vec<String> {
    let entries = match value {
        Value::Null => return Vec::new(),
        Value::Mapping(entries) => entries,
        _ => return vec!["limits: expected names and values".to_owned()],
    };
    let mut problems = Vec::new();
    for (key, value) in entries {
        let key = word(key);
        let read = match BOUNDS.iter().find(|bound| bound.key() == key) {
            Some(bound) => bound.read(&word(value), limits),
            None => {
                let known: Vec<_> = BOUNDS.iter().map(super::limits::Bound::key).collect();
                Err(format!("there is no such limit, known are {}", known.join(", ")))
            }
        };
        problems.extend(read.err().map(|what| format!("limits.{key}: {what}")));
    }
    problems
}

fn drain(value: &Value, drain: &mut DrainSettings) -> Vec<String> {
    let entries = match value {
        Value::Null => return Vec::new(),
        Value::Mapping(entries) => entries,
        _ => return vec!["drain: expected names and values".to_owned()],
    };
    let mut problems = Vec::new();
    for (key, value) in entries {
        let key = word(key);
        let read = match DRAIN_FIELDS.iter().find(|field| field.key == key) {
            Some(field) => (field.read)(drain, &word(value)),
            None => {
                let known: Vec<_> = DRAIN_FIELDS.iter().map(|field| field.key).collect();
                Err(format!("there is no such setting, known are {}", known.join(", ")))
            }
        };
        problems.extend(read.err().map(|what| format!("drain.{key}: {what}")));
    }
    problems
}

fn origins(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Sequence(list) => list.iter().map(|value| origin(&word(value))).collect(),
        _ => Err("expected a list of origins".to_owned()),
    }
}

/// A scalar as it would stand in a variable; what is no scalar becomes a word that fits nowhere.
fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        Value::Sequence(_) => "(a list)".to_owned(),
        Value::Mapping(_) => "(names and values)".to_owned(),
        Value::Tagged(tagged) => tagged.tag.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn base() -> HotSettings {
        HotSettings {
            allowed_origins: vec!["https://base.example".to_owned()],
            log_directives: "info".to_owned(),
            client_send: ClientSend::Granted,
            max_connections: 1000,
            possible_connections: 5000,
            limits: Limits::of_memory(1 << 30),
            drain: DrainSettings::default(),
        }
    }

    #[test]
    fn what_the_file_names_replaces_what_the_variables_say() {
        let text = "
            allowed_origins: [\"https://A.example/\", '*']
            log_level: info,wsc_hub=debug
            client_send: groups
            max_connections: 9000
            limits: {max_message_bytes: 1000, client_rate: '7', accept_rate: 3}
            drain: {settle: 250ms, rate_per_second: 70}";
        let settings = overlay(&base(), text).unwrap();
        assert_eq!(settings.allowed_origins, ["https://a.example", "*"]);
        assert_eq!(settings.log_directives, "info,wsc_hub=debug");
        assert_eq!((settings.client_send, settings.max_connections), (ClientSend::Groups, 5000));
        let limits = &settings.limits;
        assert_eq!((limits.max_message_bytes, limits.client_rate, limits.accept_rate), (1000, 7, 3));
        assert_eq!(limits.queue, base().limits.queue);
        let drain = DrainSettings { settle: Duration::from_millis(250), rate_per_second: 70, ..base().drain };
        assert_eq!(settings.drain, drain);
    }

    #[test]
    fn an_empty_file_changes_nothing_and_an_empty_list_allows_only_the_same_host() {
        for text in ["", "# nothing\n", "{}", "client_send: ''\nlimits:\ndrain:\n"] {
            assert_eq!(overlay(&base(), text).unwrap(), base(), "{text}");
        }
        assert!(overlay(&base(), "allowed_origins: []").unwrap().allowed_origins.is_empty());
    }

    #[test]
    fn every_mistake_is_named() {
        let text = "
            allowed_origins: [nowhere, {a: b}]
            log_level: loud
            client_send: some
            max_connections: 0
            limits: {max_message_bytes: 1, colour: red, client_rate: [1]}
            drain: {rate_per_second: 0, speed: 7}
            allowed_origin: []";
        let problems = overlay(&base(), text).unwrap_err().0;
        let begins = [
            "allowed_origins: expected an origin",
            "log_level: expected a level",
            "client_send: expected none",
            "max_connections: expected a whole number from 1",
            "limits.max_message_bytes: expected a whole number from 128",
            "limits.colour: there is no such limit, known are max_message_bytes,",
            "limits.client_rate: expected a whole number",
            "drain.rate_per_second: expected a whole number from 1",
            "drain.speed: there is no such setting, known are settle, rate_per_second, retry_after_max",
            "allowed_origin: there is no such setting, known are allowed_origins,",
        ];
        assert_eq!(problems.len(), begins.len(), "{problems:#?}");
        for begin in begins {
            assert!(problems.iter().any(|problem| problem.starts_with(begin)), "{begin} in {problems:#?}");
        }
    }

    #[test]
    fn limits_must_fit_together_and_the_text_must_be_yaml() {
        let cases = [
            ("limits: {outbound_queue_bytes: 2048}", "limits.outbound_queue_bytes: 2048 cannot hold"),
            ("limits: 7", "limits: expected names"),
            ("- a", "expected names and values"),
            ("a: [", "not YAML"),
            ("client_send: all\nclient_send: none", "not YAML"),
            ("allowed_origins: https://a.example", "allowed_origins: expected a list"),
        ];
        for (text, begin) in cases {
            let problems = overlay(&base(), text).unwrap_err().0;
            assert!(problems.len() == 1 && problems[0].starts_with(begin), "{text}: {problems:?}");
        }
    }

    #[test]
    fn a_bad_file_leaves_what_was_applied() {
        let hot = Hot::new(base());
        let settings = HotSettings { max_connections: 7, ..base() };
        hot.apply(HotFile { settings: settings.clone(), hash: "abc".to_owned() });
        let error = BadHotSettings(vec!["wrong".to_owned()]);
        assert!(hot.refuse(error.clone()) && !hot.refuse(error.clone()), "said once");
        assert_eq!(**hot.now(), settings);
        assert_eq!(*hot.file(), FileState { applied: Some("abc".to_owned()), error: Some(error) });
    }
}
