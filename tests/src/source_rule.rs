//! Rules about sources, each a function from text to what breaks it.

use crate::{
    rust_source::{RustSource, Token},
    source_tree::SourceFile,
};

/// Largest number of lines of a file.
pub const MAX_LINES: usize = 500;
/// Largest number of lines of a `main.rs`.
pub const MAX_MAIN_LINES: usize = 60;

/// Names that say nothing about what a file is about.
const EMPTY_NAMES: [&str; 9] =
    ["utils", "util", "helpers", "helper", "common", "types", "manager", "managers", "misc"];

/// Paths that mean I/O, a clock, chance or a scheduler. A path matches when it begins with these segments.
const IMPURE_ROOTS: [&str; 21] = [
    "tokio",
    "tokio_util",
    "redis",
    "axum",
    "hyper",
    "hyper_util",
    "reqwest",
    "rand",
    "futures::executor",
    "tracing",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "kube::Client",
    "kube::Api",
    "kube::client",
    "kube::api::Api",
    "kube::runtime",
];

/// Ends of paths that read a clock.
const CLOCK_READS: [&str; 3] = ["now", "now_utc", "now_local"];

/// Which module may import which, within one crate.
#[derive(Debug, Clone, Copy)]
pub struct ImportTable {
    /// Folder of the crate's sources, from the root.
    pub folder: &'static str,
    /// Module and the modules it may import besides itself. Modules not listed are unknown, which is a violation.
    pub rows: &'static [(&'static str, &'static [&'static str])],
    /// Modules that stay pure.
    pub pure: &'static [&'static str],
}

/// A module path such as `["http", "websocket"]` of a file below `folder`; `lib.rs` and `main.rs` are the crate.
#[must_use]
pub fn module_of(folder: &str, path: &str) -> Vec<String> {
    let inner = path.strip_prefix(folder).unwrap_or(path).trim_start_matches('/').trim_end_matches(".rs");
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if module
        .last()
        .is_some_and(|last| last == "mod" || (module.len() == 1 && (last == "lib" || last == "main")))
    {
        module.pop();
    }
    module
}

/// The files of `files` that are not declared under `#[cfg(test)]`, nor below such a module.
#[must_use]
pub fn without_test_files(files: &[SourceFile]) -> Vec<&SourceFile> {
    let mut prefixes = Vec::new();
    for file in files {
        let stem = file.path.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "mod" | "lib" | "main")) => folder,
            _ => stem,
        };
        prefixes.extend(
            RustSource::parse(&file.text).test_modules().iter().map(|name| format!("{folder}/{name}")),
        );
    }
    let is_test = |path: &str| {
        prefixes.iter().any(|prefix| {
            path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    };
    files.iter().filter(|file| !is_test(&file.path)).collect()
}

/// Imports against the table.
#[must_use]
pub fn import_violations(table: &ImportTable, file: &SourceFile) -> Vec<String> {
    let module = module_of(table.folder, &file.path);
    let Some(own) = module.first().filter(|own| *own != "bin") else { return Vec::new() };
    let Some((_, allowed)) = table.rows.iter().find(|(name, _)| name == own) else {
        return vec![format!("{}: module `{own}` is not in the import table", file.path)];
    };
    let known = |name: &str| table.rows.iter().any(|(row, _)| *row == name);
    RustSource::parse(&file.text)
        .paths(&module)
        .iter()
        .filter(|path| path.segments[0] == "crate")
        .filter(|path| {
            let target = path.segments[1].as_str();
            target != own && known(target) && !allowed.contains(&target)
        })
        .map(|path| format!("{}:{}: `{own}` must not import `{}`", file.path, path.line, path.text()))
        .collect()
}

/// I/O, clocks, chance and schedulers in modules that stay pure.
#[must_use]
pub fn purity_violations(table: &ImportTable, file: &SourceFile) -> Vec<String> {
    let module = module_of(table.folder, &file.path);
    if !module.first().is_some_and(|own| table.pure.contains(&own.as_str())) {
        return Vec::new();
    }
    let source = RustSource::parse(&file.text);
    let paths = source.paths(&module);
    // A module of our own may have the name of a forbidden crate, such as `desired::redis`.
    let own: Vec<&str> = paths
        .iter()
        .filter(|path| path.segments[0] == "crate")
        .filter_map(|path| path.segments.last().map(String::as_str))
        .chain(source.tokens().windows(2).filter(|two| two[0].text == "mod").map(|two| two[1].text.as_str()))
        .collect();
    let mut found: Vec<String> = paths
        .iter()
        .filter(|path| !own.contains(&path.segments[0].as_str()))
        .filter(|path| {
            let text = path.text();
            let begins = |root: &&str| text == **root || text.starts_with(&format!("{root}::"));
            let reads_clock = path.segments.last().is_some_and(|last| CLOCK_READS.contains(&last.as_str()));
            IMPURE_ROOTS.iter().any(begins) || reads_clock
        })
        .map(|path| format!("{}:{}: `{}` in a pure module", file.path, path.line, path.text()))
        .collect();
    found.extend(source.tokens().windows(3).filter(|three| is_method(three, "elapsed")).map(|three| {
        format!("{}:{}: `.elapsed()` reads a clock in a pure module", file.path, three[1].line)
    }));
    found
}

fn is_method(three: &[Token], name: &str) -> bool {
    three[0].text == "." && three[1].text == name && three[2].text == "("
}

/// Length of the file.
#[must_use]
pub fn length_violations(file: &SourceFile) -> Vec<String> {
    let lines = file.text.lines().count();
    let is_main = file.path.ends_with("src/main.rs");
    let limit = if is_main { MAX_MAIN_LINES } else { MAX_LINES };
    if lines > limit { vec![format!("{}: {lines} lines, at most {limit}", file.path)] } else { Vec::new() }
}

/// Files and folders named after nothing.
#[must_use]
pub fn name_violations(file: &SourceFile) -> Vec<String> {
    file.path
        .trim_end_matches(".rs")
        .split('/')
        .filter(|part| EMPTY_NAMES.contains(part))
        .map(|part| format!("{}: `{part}` says nothing about its contents", file.path))
        .collect()
}

/// `lib.rs` and `mod.rs` that hold more than modules and imports.
#[must_use]
pub fn contents_violations(file: &SourceFile) -> Vec<String> {
    if !(file.path.ends_with("/mod.rs") || file.path.ends_with("src/lib.rs")) {
        return Vec::new();
    }
    let source = RustSource::parse(&file.text);
    let tokens = source.tokens();
    let mut at = 0;
    while at < tokens.len() {
        let end = item_end(tokens, at);
        let item = &tokens[at..end];
        let is_attribute = item[0].text == "#";
        let declares = item.iter().any(|token| token.text == "mod" || token.text == "use");
        let closed = item.last().is_some_and(|token| token.text == ";");
        if !(is_attribute || declares && closed) {
            let found: Vec<&str> = item.iter().take(4).map(|token| token.text.as_str()).collect();
            return vec![format!(
                "{}:{}: `{} ..` in a table of contents, which holds modules and imports only",
                file.path,
                item[0].line,
                found.join(" ")
            )];
        }
        at = end;
    }
    Vec::new()
}

/// The index behind the attribute, or the item that ends with `;` or a block.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let is_attribute = tokens[start].text == "#";
    let is_import = tokens[start..].iter().take(6).any(|token| token.text == "use");
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && ((is_attribute && token.text == "]") || (token.text == "}" && !is_import)) {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Notes of work left undone.
#[must_use]
pub fn note_violations(file: &SourceFile) -> Vec<String> {
    // Put together here so that this file does not break its own rule.
    let notes =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!"), concat!("unimplemented", "!")];
    let mut found = Vec::new();
    for (line, text) in file.text.lines().enumerate() {
        let is_note = |note: &&str| {
            text.match_indices(*note).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                let after = text[at + note.len()..].chars().next();
                !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
            })
        };
        if let Some(note) = notes.iter().find(|note| is_note(note)) {
            found.push(format!("{}:{}: `{note}`: finish it or leave it out", file.path, line + 1));
        }
    }
    found
}
