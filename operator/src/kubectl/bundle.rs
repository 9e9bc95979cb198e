//! The files of a support bundle, packed.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::redaction::{Redaction, strip};

/// Files in the order in which they were put in, cleaned when they are packed, since secrets may be learned late.
#[derive(Debug, Default)]
pub struct Bundle {
    files: Vec<(String, String)>,
    problems: Vec<String>,
}

impl Bundle {
    /// Adds a text.
    pub fn text(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.files.push((path.into(), text.into()));
    }

    /// Adds an object, without what may hold secrets by its place.
    pub fn object(&mut self, path: impl Into<String>, mut object: Value) {
        match &mut object {
            Value::Array(objects) => objects.iter_mut().for_each(strip),
            other => strip(other),
        }
        match serde_yaml::to_string(&object) {
            Ok(text) => self.text(path, text),
            Err(error) => self.problem(format!("{}: {error}", path.into())),
        }
    }

    /// Notes what could not be read.
    pub fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    /// What could not be read.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Names of the files.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        self.files.iter().map(|(path, _)| path.as_str()).collect()
    }

    /// Everything as a gzipped tar with one folder at its top, cleaned. `at` is the time of the files, in seconds since
    /// the epoch.
    ///
    /// # Errors
    /// When a path is too long for the format.
    pub fn pack(mut self, folder: &str, at: u64, redaction: &Redaction) -> std::io::Result<Vec<u8>> {
        if !self.problems.is_empty() {
            let problems = self.problems.join("\n") + "\n";
            self.text("problems.txt", problems);
        }
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (path, text) in &self.files {
            let text = redaction.clean(text);
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(at);
            archive.append_data(&mut header, format!("{folder}/{path}"), text.as_bytes())?;
        }
        let mut packed = archive.into_inner()?;
        packed.flush()?;
        packed.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use serde_json::json;

    use super::{Bundle, Redaction};

    #[test]
    fn a_bundle_unpacks_to_what_was_put_in_without_secrets() {
        let mut redaction = Redaction::default();
        redaction.learn_value(b"s3cr3t-key");
        let mut bundle = Bundle::default();
        bundle.text("hubs/chat-0/log.txt", "the key is s3cr3t-key\n");
        bundle.object("pods.yaml", json!([{"metadata": {"name": "chat-0", "managedFields": []}}]));
        bundle.problem("events: forbidden");
        let packed = bundle.pack("wsc-demo", 1, &redaction).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let files: Vec<(String, String)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (entry.path().unwrap().display().to_string(), text)
            })
            .collect();
        let wanted = [
            ("wsc-demo/hubs/chat-0/log.txt", "the key is [redacted]\n"),
            ("wsc-demo/pods.yaml", "- metadata:\n    name: chat-0\n"),
            ("wsc-demo/problems.txt", "events: forbidden\n"),
        ]
        .map(|(path, text)| (path.to_owned(), text.to_owned()));
        assert_eq!(files, wanted);
    }
}
