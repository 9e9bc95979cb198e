//! A backend that reads events: lines of JSON from an answer without an end.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::wait::at_most;

/// An open `GET /v1/events`.
#[derive(Debug)]
pub struct EventReader {
    response: reqwest::Response,
    rest: Vec<u8>,
}

impl EventReader {
    /// Opens it; `after` is a place in the log, none for what happens from now on.
    ///
    /// # Errors
    /// When the answer is not 200 with lines of JSON.
    pub async fn open(api: SocketAddr, key: &str, after: Option<&str>) -> Result<Self> {
        let mut url = format!("http://{api}/v1/events");
        if let Some(after) = after {
            url = format!("{url}?after={after}");
        }
        let http = reqwest::Client::builder().no_proxy().build()?;
        let response = http.get(url).bearer_auth(key).send().await?;
        ensure!(response.status() == 200, "status {}: {}", response.status(), response.text().await?);
        ensure!(response.headers()["content-type"] == "application/x-ndjson", "{:?}", response.headers());
        Ok(Self { response, rest: Vec::new() })
    }

    /// The next event; empty lines are passed over. `None`: the hub ended the answer.
    ///
    /// # Errors
    /// When none comes within 10 s or a line is not JSON.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        at_most("an event", Duration::from_secs(10), self.read()).await?
    }

    /// Events until one of this type about this user, that one included.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn until(&mut self, kind: &str, user: &str) -> Result<Vec<Value>> {
        let mut seen = Vec::new();
        loop {
            let event = self.next().await.with_context(|| format!("{kind} of {user}; seen: {seen:?}"))?;
            let event = event.with_context(|| format!("the end came before {kind} of {user}: {seen:?}"))?;
            let found = event["type"] == kind && event["user_id"] == user;
            seen.push(event);
            if found {
                return Ok(seen);
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Value>> {
        loop {
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if line.len() > 1 {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    return serde_json::from_str(&text)
                        .map(Some)
                        .with_context(|| format!("not JSON: {text}"));
                }
            }
            match self.response.chunk().await? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
