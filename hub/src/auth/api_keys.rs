//! Keys of the control API.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};
use tokio_util::sync::CancellationToken;

use super::key_dir::{self, AuthError, Files};

/// Shortest key, in characters.
const SHORTEST: usize = 24;

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// `/v1` and `/nodes`.
    Api,
    /// That and `/admin`.
    Admin,
}

/// A key that was presented and is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The file that holds it: names the caller without saying the key.
    pub name: Arc<str>,
    /// What it allows.
    pub scope: Scope,
}

/// A key is kept as its hash only.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hash: [u8; 32],
    key: ApiKey,
}

/// Keys of the control API, by hash.
pub struct ApiKeys {
    /// Where the keys come from and what was read there.
    source: Option<(PathBuf, [u8; 32])>,
    entries: RwLock<Arc<[Entry]>>,
}

impl ApiKeys {
    /// Reads `api*` and `admin*` of a directory; without one nobody is let in.
    ///
    /// # Errors
    /// [`AuthError`] naming each file that is wrong.
    pub fn load(dir: Option<&Path>) -> Result<Self, AuthError> {
        let Some(dir) = dir else {
            return Ok(Self { source: None, entries: RwLock::new(Arc::from([])) });
        };
        let files = key_dir::read(dir)?;
        let entries = read(dir, &files)?;
        Ok(Self {
            source: Some((dir.to_owned(), key_dir::digest(&files))),
            entries: RwLock::new(entries.into()),
        })
    }

    /// One key with every scope, as in `--dev`.
    #[must_use]
    pub fn single(key: &str) -> Self {
        let known = ApiKey { name: Arc::from("dev"), scope: Scope::Admin };
        Self {
            source: None,
            entries: RwLock::new(Arc::from([Entry { hash: hash(key.as_bytes()), key: known }])),
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.read().len()
    }

    /// Whether nobody is let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which key was presented; of files that hold the same key the first with the widest scope. The time taken
    /// depends neither on how much of it is right nor on which key it is.
    #[must_use]
    pub fn find(&self, presented: &str) -> Option<ApiKey> {
        let presented = hash(presented.trim().as_bytes());
        let entries = Arc::clone(&self.entries.read());
        let (mut rank, mut place) = (0u8, 0u64);
        for (index, entry) in (0u64..).zip(entries.iter()) {
            let its_rank = 1 + u8::from(entry.key.scope == Scope::Admin);
            let better: Choice = entry.hash.ct_eq(&presented) & its_rank.ct_gt(&rank);
            rank.conditional_assign(&its_rank, better);
            place.conditional_assign(&index, better);
        }
        let found = usize::try_from(place).ok().and_then(|place| entries.get(place));
        found.filter(|_| rank > 0).map(|entry| entry.key.clone())
    }

    /// Reads the directory again whenever it changes; keys that cannot be used leave the old ones in force, which is
    /// said once. Runs until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let Some((dir, known)) = &self.source else { return };
        let take = |files: &Files| {
            let entries = read(dir, files)?;
            let count = entries.len();
            *self.entries.write() = entries.into();
            Ok(count)
        };
        key_dir::watch("api keys", dir, *known, shutdown, take).await;
    }
}

fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

fn read(dir: &Path, files: &Files) -> Result<Vec<Entry>, AuthError> {
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for (name, key) in files {
        let scope = if name.starts_with("admin") {
            Scope::Admin
        } else if name.starts_with("api") {
            Scope::Api
        } else {
            continue;
        };
        match unusable(key) {
            Some(what) => problems.push(format!("{}: {what}", dir.join(name).display())),
            None => {
                let key_of_file = ApiKey { name: name.as_str().into(), scope };
                entries.push(Entry { hash: hash(key), key: key_of_file });
            }
        }
    }
    if problems.is_empty() { Ok(entries) } else { Err(AuthError::new(problems)) }
}

/// Why nobody could, or should, call with this key.
fn unusable(key: &[u8]) -> Option<String> {
    // A header carries nothing else (RFC 9110 section 5.5), so such a key would match nothing.
    if !key.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return Some("an api key is one line of ASCII characters".to_owned());
    }
    (key.len() < SHORTEST)
        .then(|| format!("an api key has at least {SHORTEST} characters, this one has {}", key.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_gives_the_scope() {
        let dir = std::env::temp_dir().join(format!("wsc-api-keys-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (api, admin) = ("a".repeat(24), "b".repeat(30));
        std::fs::write(dir.join("api-1"), format!("{api}\n")).unwrap();
        std::fs::write(dir.join("admin"), &admin).unwrap();
        std::fs::write(dir.join("notes"), "short").unwrap();
        let keys = ApiKeys::load(Some(&dir)).unwrap();
        assert_eq!(keys.len(), 2);
        let cases = [
            (api.as_str(), Some(("api-1", Scope::Api))),
            (&admin, Some(("admin", Scope::Admin))),
            ("", None),
            ("aaaa", None),
            ("short", None),
        ];
        for (key, expected) in cases {
            let found = keys.find(key);
            assert_eq!(found.as_ref().map(|key| (&*key.name, key.scope)), expected, "{key}");
        }
        std::fs::write(dir.join("admin-same"), &api).unwrap();
        let widest = ApiKeys::load(Some(&dir)).unwrap().find(&api).unwrap();
        assert_eq!((&*widest.name, widest.scope), ("admin-same", Scope::Admin));
        std::fs::write(dir.join("api-2"), "too-short").unwrap();
        let error = ApiKeys::load(Some(&dir)).err().unwrap().to_string();
        assert!(
            error.contains("api-2") && error.contains("at least 24") && !error.contains("too-short"),
            "{error}"
        );
        std::fs::write(dir.join("admin-2"), "two lines of characters\nare more than one key").unwrap();
        let error = ApiKeys::load(Some(&dir)).err().unwrap();
        assert!(error.problems().len() == 2 && error.to_string().contains("admin-2: an api key is one line"));
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(ApiKeys::load(None).unwrap().find("anything").is_none());
        assert_eq!(ApiKeys::single("k").find("k").unwrap().scope, Scope::Admin);
    }
}
