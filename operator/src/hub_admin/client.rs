//! The admin API of the hubs over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::observed::hub::{HubReport, NodeEntry};

use super::port::{DrainCall, HubAdmin, HubAdminError, RebalanceCall};

/// Port of the control and admin API of every hub.
pub const API_PORT: u16 = 8081;

/// A hub that has not answered after this time counts as silent.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Requests under way at most, over all clusters.
const IN_FLIGHT: usize = 16;

/// Most bytes read from an answer; the list of 1,000 nodes stays well below.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// HTTP client of the hubs' admin API. Cheap to share, not to clone.
#[derive(Debug)]
pub struct HubAdminClient {
    http: reqwest::Client,
    permits: Semaphore,
}

impl HubAdminClient {
    /// A client with the limits above. Proxies of the environment are not used: hubs are
    /// addressed by pod IP.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new() -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIME_LIMIT)
            .connect_timeout(TIME_LIMIT)
            .pool_idle_timeout(Duration::from_secs(45))
            .pool_max_idle_per_host(1)
            .user_agent(concat!("wsc-operator/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, permits: Semaphore::new(IN_FLIGHT) })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        address: SocketAddr,
        path: &'static str,
        key: &str,
    ) -> Result<T, HubAdminError> {
        let body = self.send(Method::GET, address, path, key, None).await?;
        serde_json::from_slice(&body).map_err(|error| HubAdminError::Body {
            address: address.to_string(),
            path,
            cause: error.to_string(),
        })
    }

    /// What is told needs no answer but the status.
    async fn tell(
        &self,
        method: Method,
        ip: IpAddr,
        path: &'static str,
        key: &str,
        body: Option<serde_json::Value>,
    ) -> Result<(), HubAdminError> {
        self.send(method, SocketAddr::new(ip, API_PORT), path, key, body).await.map(|_| ())
    }

    async fn send(
        &self,
        method: Method,
        address: SocketAddr,
        path: &'static str,
        key: &str,
        body: Option<serde_json::Value>,
    ) -> Result<Vec<u8>, HubAdminError> {
        let silent = |cause: String| HubAdminError::Silent { address: address.to_string(), path, cause };
        let _permit = self.permits.acquire().await.map_err(|error| silent(error.to_string()))?;
        let mut request = self.http.request(method, format!("http://{address}{path}")).bearer_auth(key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let mut response = request.send().await.map_err(|error| silent(root_cause(&error)))?;
        let status = response.status().as_u16();
        match status {
            200 | 409 => {}
            401 | 403 => {
                return Err(HubAdminError::Refused { address: address.to_string(), path, status });
            }
            _ => {
                return Err(HubAdminError::Status { address: address.to_string(), path, status });
            }
        }
        let unreadable = |cause: String| HubAdminError::Body { address: address.to_string(), path, cause };
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| silent(root_cause(&error)))? {
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(unreadable(format!("longer than {BODY_LIMIT} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        if status == 409 {
            let message = sentence(&body);
            return Err(HubAdminError::Conflict { address: address.to_string(), path, message });
        }
        Ok(body)
    }
}

/// The sentence in a problem body of the hub, cut to a length that fits a log line.
fn sentence(body: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = problem.get("detail").and_then(serde_json::Value::as_str).map(str::to_owned);
    text.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()).chars().take(300).collect()
}

/// The innermost cause: the outer ones only repeat the address.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIME_LIMIT.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl HubAdmin for HubAdminClient {
    fn status<'a>(&'a self, ip: IpAddr, key: &'a str) -> BoxFuture<'a, Result<HubReport, HubAdminError>> {
        self.get(SocketAddr::new(ip, API_PORT), "/admin/status", key).boxed()
    }

    fn nodes<'a>(&'a self, ip: IpAddr, key: &'a str) -> BoxFuture<'a, Result<Vec<NodeEntry>, HubAdminError>> {
        self.get(SocketAddr::new(ip, API_PORT), "/nodes", key).boxed()
    }

    fn drain<'a>(
        &'a self,
        ip: IpAddr,
        key: &'a str,
        call: &'a DrainCall,
    ) -> BoxFuture<'a, Result<(), HubAdminError>> {
        self.tell(Method::POST, ip, "/admin/drain", key, Some(json!(call))).boxed()
    }

    fn cancel_drain<'a>(&'a self, ip: IpAddr, key: &'a str) -> BoxFuture<'a, Result<(), HubAdminError>> {
        self.tell(Method::DELETE, ip, "/admin/drain", key, None).boxed()
    }

    fn rebalance<'a>(
        &'a self,
        ip: IpAddr,
        key: &'a str,
        call: &'a RebalanceCall,
    ) -> BoxFuture<'a, Result<(), HubAdminError>> {
        self.tell(Method::POST, ip, "/admin/rebalance", key, Some(json!(call))).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, post};
    use axum::{Json, Router};
    use serde_json::{Value, json};

    use super::{HubAdminClient, Method};
    use crate::hub_admin::port::{DrainCall, ExpectedNode, HubAdminError};
    use crate::observed::hub::HubReport;

    async fn serve() -> SocketAddr {
        let status = |headers: HeaderMap| async move {
            if headers.get("authorization").is_some_and(|key| key == "Bearer right") {
                Ok(Json(json!({"phase": "active", "registered": true, "redis": "up", "connections": 4})))
            } else {
                Err(StatusCode::UNAUTHORIZED)
            }
        };
        let router = Router::new()
            .route("/admin/status", get(status))
            .route("/admin/drain", post(refuse))
            .route("/broken", get(|| async { Json(Value::Bool(true)) }))
            .route("/failing", get(|| async { StatusCode::BAD_GATEWAY }));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    #[tokio::test]
    async fn answers_and_refusals_are_told_apart() {
        let address = serve().await;
        let client = HubAdminClient::new().unwrap();
        let report: HubReport = client.get(address, "/admin/status", "right").await.unwrap();
        assert_eq!(report.connections, 4);
        let refused = client.get::<HubReport>(address, "/admin/status", "wrong").await;
        assert!(matches!(refused, Err(HubAdminError::Refused { status: 401, .. })));
        let broken = client.get::<HubReport>(address, "/broken", "right").await;
        assert!(matches!(broken, Err(HubAdminError::Body { .. })));
        let failing = client.get::<HubReport>(address, "/failing", "right").await;
        assert!(matches!(failing, Err(HubAdminError::Status { status: 502, .. })));
    }

    async fn refuse(Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
        let detail = format!("this node is b, expected was {}", body["expect"]["node_id"]);
        (StatusCode::CONFLICT, Json(json!({"detail": detail, "status": 409})))
    }

    #[tokio::test]
    async fn a_hub_that_is_not_the_one_that_is_meant_says_so() {
        let address = serve().await;
        let call = DrainCall {
            id: "wsc-operator/x".into(),
            expect: ExpectedNode { node_id: "a".into(), incarnation: "1".into() },
            rate_per_second: 1,
            deadline_ms: 1,
            retry_after_max_ms: 0,
        };
        let client = HubAdminClient::new().unwrap();
        let told = client.send(Method::POST, address, "/admin/drain", "right", Some(json!(call))).await;
        let Err(HubAdminError::Conflict { message, .. }) = told else { panic!("{told:?}") };
        assert_eq!(message, "this node is b, expected was \"a\"");
    }

    #[tokio::test]
    async fn a_closed_port_is_silence_with_a_cause() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let client = HubAdminClient::new().unwrap();
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let error = client.get::<HubReport>(address, "/admin/status", "k").await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
