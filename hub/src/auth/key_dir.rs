//! Directories of key files, as Kubernetes mounts Secrets: one file a key, swapped as a whole by a link.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

/// How often a directory is looked at for changes.
pub(super) const POLL: Duration = Duration::from_secs(2);
/// Key files are small; a larger one is a mistake, bytes.
const LARGEST: u64 = 64 * 1024;

/// Why keys cannot be used. Never names a key's content.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The directory or a file in it cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// What was read.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A file that is not a key of a known kind.
    #[error("{path}: {what}")]
    BadKey {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

/// The files of a directory: name and trimmed content. Names that begin with a dot are passed over (the links that
/// Kubernetes swaps), as are directories.
pub(super) fn read(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, AuthError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| AuthError::Read { path, source }
    };
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(ToOwned::to_owned) else {
            continue;
        };
        // Follows links, as the files of a mounted Secret are.
        let metadata = std::fs::metadata(&path).map_err(failed(&path))?;
        if name.starts_with('.') || !metadata.is_file() {
            continue;
        }
        if metadata.len() > LARGEST {
            let what = format!("has {} bytes, a key has at most {LARGEST}", metadata.len());
            return Err(AuthError::BadKey { path: path.display().to_string(), what });
        }
        let content = std::fs::read(&path).map_err(failed(&path))?;
        files.insert(name, content.trim_ascii().to_vec());
    }
    Ok(files)
}
