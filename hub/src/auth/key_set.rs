//! The keys that verify tokens, by `kid`.

use std::{collections::HashMap, path::Path};

use super::{
    jwks,
    key_dir::{AuthError, Files},
    verifying_key::VerifyingKey,
};

/// File with a key set (RFC 7517).
const JWKS: &str = "jwks.json";

/// The keys that verify tokens.
#[derive(Default)]
pub struct KeySet {
    named: HashMap<String, VerifyingKey>,
    /// Keys of a JWKS without `kid`: usable by a token that names none when there is no other key.
    nameless: Vec<VerifyingKey>,
    skipped: Vec<String>,
}

/// Why no key fits a token's `kid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoKey {
    #[error("the token names a key (kid) that is not loaded")]
    Unknown,
    #[error("several keys are loaded, so the token must name one (kid)")]
    Ambiguous,
    #[error("no key is loaded")]
    Empty,
}

impl KeySet {
    /// Reads files, name and content: `<kid>.key` holds a secret of 32 bytes or more for HS256, HS384 and HS512,
    /// `<kid>.pem` a public key (RSA of 2048 to 4096 bits for RS256, P-256 for ES256, Ed25519 for EdDSA), `jwks.json`
    /// a set of public keys. Other names are passed over.
    ///
    /// # Errors
    /// [`AuthError`] with a sentence for each file or key that cannot be used; also when there is no key at all.
    pub fn from_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, AuthError> {
        let (mut keys, mut problems) = (Self::default(), Vec::new());
        for (name, content) in files {
            let found = match (Path::new(name).extension().and_then(|extension| extension.to_str()), name) {
                (_, JWKS) => jwks::read(content).map(|jwks| {
                    keys.skipped.extend(jwks.skipped);
                    jwks.keys
                }),
                (Some("key"), _) => one(name, VerifyingKey::from_secret(content)),
                (Some("pem"), _) => one(name, VerifyingKey::from_pem(content)),
                _ => continue,
            };
            let wrong = match found {
                Ok(found) => found.into_iter().filter_map(|(kid, key)| keys.add(kid, key).err()).collect(),
                Err(wrong) => wrong,
            };
            problems.extend(wrong.into_iter().map(|what| format!("{name}: {what}")));
        }
        if keys.len() == 0 && problems.is_empty() {
            let skipped = keys.skipped.iter().map(|what| format!(" ({JWKS}: {what})")).collect::<String>();
            problems.push(format!("holds no <kid>.key, no <kid>.pem and no key in {JWKS}{skipped}"));
        }
        if problems.is_empty() { Ok(keys) } else { Err(AuthError::new(problems)) }
    }

    pub(super) fn from_dir(dir: &Path, files: &Files) -> Result<Self, AuthError> {
        Self::from_files(files.iter().map(|(name, content)| (name.as_str(), content.as_slice()))).map_err(
            |error| {
                AuthError::new(
                    error.problems().iter().map(|what| format!("{}: {what}", dir.display())).collect(),
                )
            },
        )
    }

    fn add(&mut self, kid: Option<String>, key: VerifyingKey) -> Result<(), String> {
        let Some(kid) = kid else {
            self.nameless.push(key);
            return Ok(());
        };
        if self.named.contains_key(&kid) {
            return Err(format!("another key is named {kid:?} too"));
        }
        self.named.insert(kid, key);
        Ok(())
    }

    /// How many keys there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is no empty set")]
    pub fn len(&self) -> usize {
        self.named.len() + self.nameless.len()
    }

    /// Keys of `jwks.json` that are for something else, a sentence each.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The key that a token names; without a name the only one.
    pub(super) fn select(&self, kid: Option<&str>) -> Result<&VerifyingKey, NoKey> {
        match (kid, self.len()) {
            (Some(kid), _) => self.named.get(kid).ok_or(NoKey::Unknown),
            (None, 0) => Err(NoKey::Empty),
            (None, 1) => self.named.values().chain(&self.nameless).next().ok_or(NoKey::Empty),
            (None, _) => Err(NoKey::Ambiguous),
        }
    }
}

/// A file with one key, named after the file.
fn one(file: &str, key: Result<VerifyingKey, String>) -> Result<Vec<jwks::Named>, Vec<String>> {
    let kid = Path::new(file).file_stem().and_then(|kid| kid.to_str()).unwrap_or_default();
    if kid.is_empty() {
        return Err(vec!["the name before the dot is the key's name (kid) and is missing".to_owned()]);
    }
    key.map(|key| vec![(Some(kid.to_owned()), key)]).map_err(|what| vec![what])
}
