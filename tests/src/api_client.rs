//! A client of the hub's HTTP interfaces, as thin as a backend's would be.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use crate::scrape::Scrape;

/// An answer over HTTP.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("not JSON: {} {:?}", self.status, self.text))
    }

    /// The JSON body of a 200.
    ///
    /// # Errors
    /// When the status is another or the body is not JSON.
    pub fn ok(&self) -> Result<Value> {
        ensure!(self.status == StatusCode::OK, "status {} instead of 200: {}", self.status, self.text);
        self.json()
    }

    /// Checks that this is a problem document (RFC 9457) with this status and code, and gives its `detail`.
    ///
    /// # Errors
    /// When anything about it differs.
    pub fn problem(&self, status: u16, code: &str) -> Result<String> {
        ensure!(self.status.as_u16() == status, "status {} instead of {status}: {}", self.status, self.text);
        let content_type =
            self.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("");
        ensure!(content_type == "application/problem+json", "content type {content_type:?}: {}", self.text);
        let body = self.json()?;
        ensure!(body["code"] == code, "code {} instead of {code}: {}", body["code"], self.text);
        ensure!(body["status"] == status, "status in the body: {}", self.text);
        for field in ["type", "title", "detail"] {
            ensure!(body[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {}", self.text);
        }
        Ok(body["detail"].as_str().unwrap_or_default().to_owned())
    }
}

/// A client of one address.
#[derive(Debug, Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
    headers: HeaderMap,
}

impl ApiClient {
    /// A client that gives up after 30 s.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(address: SocketAddr, key: Option<&str>) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?;
        Ok(Self {
            http,
            base: format!("http://{address}"),
            key: key.map(str::to_owned),
            headers: HeaderMap::new(),
        })
    }

    /// The same address with another key, or none.
    #[must_use]
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), ..self.clone() }
    }

    /// The same, with a header more in each request.
    ///
    /// # Errors
    /// When it is none.
    pub fn with_header(&self, name: &'static str, value: &str) -> Result<Self> {
        let mut client = self.clone();
        client.headers.append(name, value.parse().with_context(|| format!("no header: {value:?}"))?);
        Ok(client)
    }

    /// Sends a request; `body` goes as it is, labelled as JSON.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn request(&self, method: Method, path: &str, body: Option<String>) -> Result<Answer> {
        let mut request =
            self.http.request(method.clone(), format!("{}{path}", self.base)).headers(self.headers.clone());
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.with_context(|| format!("no answer to {method} {path}"))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.with_context(|| format!("no body of {method} {path}"))?;
        Ok(Answer { status, headers, text })
    }

    /// `GET`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.request(Method::GET, path, None).await
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.request(Method::POST, path, Some(body.to_string())).await
    }

    /// Sends a text to a user and gives the SendResult.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub async fn send(&self, user: &str, content: &str) -> Result<Value> {
        self.post(&format!("/v1/users/{user}/messages"), &serde_json::json!({"content": content})).await?.ok()
    }

    /// Sends a text to everyone and gives the BroadcastResult.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub async fn broadcast(&self, content: &str) -> Result<Value> {
        self.post("/v1/broadcast", &serde_json::json!({"content": content})).await?.ok()
    }

    /// Kicks a user and gives the KickResult.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub async fn kick(&self, user: &str, reason: &str) -> Result<Value> {
        self.post(&format!("/v1/users/{user}/kick"), &serde_json::json!({"reason": reason})).await?.ok()
    }

    /// Where a user is.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub async fn user(&self, user: &str) -> Result<Value> {
        self.get(&format!("/v1/users/{user}")).await?.ok()
    }

    /// A count at `/metrics`: the value of one series, named with its labels, or the sum of all series of a metric, named
    /// without.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn metric(&self, series: &str) -> Result<u64> {
        let scrape = Scrape::of(self).await?;
        let value = scrape.value(series)?;
        value.map(whole).with_context(|| format!("no metric {series} in\n{}", scrape.text))
    }

    /// The same of a counter with labels, whose series is not there before it has counted: then 0.
    ///
    /// # Errors
    /// When the metrics cannot be read.
    pub async fn counted(&self, series: &str) -> Result<u64> {
        Ok(Scrape::of(self).await?.value(series)?.map_or(0, whole))
    }

    /// The ids of the live nodes, sorted.
    ///
    /// # Errors
    /// When the answer is not 200 or not a list of nodes.
    pub async fn node_ids(&self) -> Result<Vec<String>> {
        let nodes = self.get("/nodes").await?.ok()?;
        let rows = nodes.as_array().with_context(|| format!("not a list: {nodes}"))?;
        let mut ids: Vec<String> =
            rows.iter().map(|row| row["id"].as_str().unwrap_or("?").to_owned()).collect();
        ids.sort();
        Ok(ids)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
fn whole(value: f64) -> u64 {
    value as u64
}
