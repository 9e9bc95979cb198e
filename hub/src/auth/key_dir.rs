//! Directories of key files, as Kubernetes mounts Secrets: one file a key, swapped as a whole by a link.

use std::{collections::BTreeMap, path::Path, time::Duration};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

/// How often a directory is looked at for changes.
const POLL: Duration = Duration::from_secs(2);
/// Key files are small; a larger one is a mistake, bytes. A key set of an identity provider has a few KiB.
const LARGEST: u64 = 64 * 1024;

/// Why keys cannot be used: a sentence for each that is wrong. Never holds a key's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("; "))]
pub struct AuthError {
    problems: Vec<String>,
}

impl AuthError {
    /// Some problems, each naming its file.
    pub(super) fn new(problems: Vec<String>) -> Self {
        Self { problems }
    }

    /// A sentence for each key that is wrong.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The problems of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.problems.extend(other.problems);
        self
    }
}

/// Name and trimmed content of each file.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// The files of a directory. Names that begin with a dot are passed over (the links that Kubernetes swaps), as are
/// directories.
pub(super) fn read(dir: &Path) -> Result<Files, AuthError> {
    let unreadable = |path: &Path, error: std::io::Error| {
        AuthError::new(vec![format!("cannot read {}: {error}", path.display())])
    };
    let (mut files, mut problems) = (Files::new(), Vec::new());
    for entry in std::fs::read_dir(dir).map_err(|error| unreadable(dir, error))? {
        let path = entry.map_err(|error| unreadable(dir, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(ToOwned::to_owned) else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        match content(&path) {
            Ok(Some(content)) => drop(files.insert(name, content)),
            Ok(None) => {}
            Err(what) => problems.push(format!("{}: {what}", path.display())),
        }
    }
    if problems.is_empty() { Ok(files) } else { Err(AuthError::new(problems)) }
}

/// The trimmed content of a file; none of anything else. Follows links, as the files of a mounted Secret are.
fn content(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Ok(None);
    }
    if metadata.len() > LARGEST {
        return Err(format!("has {} bytes, a key has at most {LARGEST}", metadata.len()));
    }
    Ok(Some(std::fs::read(path).map_err(unreadable)?.trim_ascii().to_vec()))
}

/// A directory's content as one number, to see changes without keeping secrets twice.
pub(super) fn digest(files: &Files) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (name, content) in files {
        for part in [name.as_bytes(), content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}

/// Looks at a directory until `shutdown` and gives each new content to `take`, which puts it in force and says how
/// many keys there are now. What cannot be used leaves the old keys in force and is said once. `known`: the
/// content that is in force.
pub(super) async fn watch(
    what: &'static str,
    dir: &Path,
    mut known: [u8; 32],
    shutdown: CancellationToken,
    take: impl Fn(&Files) -> Result<usize, AuthError>,
) {
    let mut complaint = None;
    while shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
        let taken = read(dir).and_then(|files| {
            let found = digest(&files);
            // Content that was refused before is not judged again.
            if found != known {
                known = found;
                let keys = take(&files)?;
                tracing::info!(keys, "{what} changed");
                complaint = None;
            }
            Ok(())
        });
        if let Err(error) = taken {
            if complaint.as_ref() != Some(&error) {
                tracing::error!(%error, "{what} not reread, the old ones stay in force");
            }
            complaint = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_cannot_be_read_is_named() {
        let dir = std::env::temp_dir().join(format!("wsc-key-dir-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("folder")).unwrap();
        std::fs::write(dir.join("good"), " key \n").unwrap();
        std::fs::write(dir.join(".hidden"), "x").unwrap();
        let files = read(&dir).unwrap();
        assert_eq!(files, Files::from([("good".to_owned(), b"key".to_vec())]));
        let one = digest(&files);
        std::fs::write(dir.join("large"), vec![b'x'; 70_000]).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", dir.join("dangling")).unwrap();
        let error = read(&dir).unwrap_err();
        assert_eq!(error.problems().len(), 2, "{error}");
        assert!(
            error.to_string().contains("large: has 70000 bytes") && error.to_string().contains("dangling")
        );
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(read(&dir).unwrap_err().to_string().starts_with("cannot read "));
        assert_ne!(one, digest(&Files::from([("goodk".to_owned(), b"ey".to_vec())])));
        assert_eq!(error.clone().and(error).problems().len(), 4);
    }
}
