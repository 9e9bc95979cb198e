//! The project's own sources, found from the folder of this package.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// One Rust file of the project.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Path from the project's root, with `/`.
    pub path: String,
    /// The text.
    pub text: String,
}

/// The project's root folder.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// All Rust files under `folder`, a path from the root, sorted.
///
/// # Errors
/// When the folder cannot be read or holds no Rust file, which would make every rule about it empty.
pub fn rust_files(folder: &str) -> Result<Vec<SourceFile>> {
    let root = root();
    let mut pending = vec![root.join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = pending.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let path = path.strip_prefix(&root)?.to_string_lossy().into_owned();
                files.push(SourceFile { path, text });
            }
        }
    }
    ensure!(!files.is_empty(), "no Rust file under {folder}");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
