//! One request to a hub, through the API server's port-forward.
//!
//! Not through its pod proxy, which takes the Authorization header for itself.

use std::pin::pin;
use std::time::Duration;

use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::desired::services::API_PORT;

use super::error::{KubectlError, innermost};

/// A hub that has not answered after this time counts as silent.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Most bytes read from an answer.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// The API of the hubs of one cluster.
#[derive(Clone)]
pub struct HubDoor {
    pods: Api<Pod>,
    key: String,
}

impl HubDoor {
    /// With a key of the hubs' API.
    #[must_use]
    pub fn new(pods: Api<Pod>, key: String) -> Self {
        Self { pods, key }
    }

    /// Sends one request and gives the body of the answer.
    ///
    /// # Errors
    /// When the pod cannot be reached within 10 s, or refuses.
    pub async fn text(
        &self,
        pod: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<String, KubectlError> {
        let silent = |cause: String| KubectlError::Silent { pod: pod.to_owned(), cause };
        let exchange = async {
            let port = u16::try_from(API_PORT).unwrap_or_default();
            let mut forwarder = self.pods.portforward(pod, &[port]).await.map_err(|error| match error {
                kube::Error::Api(status) if status.code == 403 => KubectlError::Forbidden {
                    doing: format!("forwarding a port of pod {pod}"),
                    message: status.message.clone(),
                },
                kube::Error::Api(status) => silent(status.message.clone()),
                kube::Error::UpgradeConnection(error) => {
                    silent(format!("the API server forwards no port of it: {error}"))
                }
                other => silent(innermost(&other)),
            })?;
            let stream = forwarder.take_stream(port).ok_or_else(|| silent("no stream".to_owned()))?;
            let complaint = forwarder.take_error(port);
            let answer = async { self.over(pod, stream, method, path, body).await };
            let complained = async {
                match complaint {
                    Some(complaint) => match complaint.await {
                        Some(text) => text,
                        None => std::future::pending().await,
                    },
                    None => std::future::pending().await,
                }
            };
            let answer = tokio::select! {
                biased;
                answer = answer => answer,
                text = complained => Err(silent(text)),
            };
            forwarder.abort();
            answer
        };
        timeout(TIME_LIMIT, exchange)
            .await
            .unwrap_or_else(|_| Err(silent(format!("no answer within {} s", TIME_LIMIT.as_secs()))))
    }

    /// The same, with a JSON answer.
    ///
    /// # Errors
    /// As [`HubDoor::text`], and when the answer is no JSON.
    pub async fn json(
        &self,
        pod: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, KubectlError> {
        let text = self.text(pod, method, path, body).await?;
        serde_json::from_str(&text).map_err(|error| KubectlError::Silent {
            pod: pod.to_owned(),
            cause: format!("its answer to {path} is not JSON: {error}"),
        })
    }

    /// The exchange itself, over any stream.
    async fn over<S>(
        &self,
        pod: &str,
        stream: S,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<String, KubectlError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let silent = |cause: String| KubectlError::Silent { pod: pod.to_owned(), cause };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, pod)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))
            .map_err(|error| silent(error.to_string()))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| silent(innermost(&error)))?;
        let exchange = async move {
            let answer = sender.send_request(request).await.map_err(|error| silent(innermost(&error)))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), BODY_LIMIT).collect().await;
            let body = body.map_err(|error| silent(error.to_string()))?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
        let mut open = true;
        let (status, text) = loop {
            tokio::select! {
                biased;
                answer = &mut exchange => break answer?,
                // Its end is told to the exchange, which says why.
                _ = &mut connection, if open => open = false,
            }
        };
        if (200..300).contains(&status) {
            return Ok(text);
        }
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let detail = problem["detail"].as_str().map_or_else(|| text.clone(), str::to_owned);
        Err(KubectlError::Refused { pod: pod.to_owned(), status, detail })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::{get, post};
    use http::Method;
    use kube::{Api, Client, Config};
    use serde_json::{Value, json};
    use tokio::net::{TcpListener, TcpStream};

    use super::HubDoor;
    use crate::kubectl::error::KubectlError;

    fn door(key: &str) -> HubDoor {
        drop(rustls::crypto::ring::default_provider().install_default());
        let config = Config::new("http://127.0.0.1:1".parse().unwrap());
        HubDoor::new(Api::namespaced(Client::try_from(config).unwrap(), "demo"), key.to_owned())
    }

    async fn ask(
        key: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<String, KubectlError> {
        let status = |headers: HeaderMap| async move {
            match headers.get("authorization") {
                Some(key) if key == "Bearer right" => Ok("{\"phase\":\"active\"}"),
                _ => Err((
                    axum::http::StatusCode::UNAUTHORIZED,
                    axum::Json(json!({"detail": "the API key is not known"})),
                )),
            }
        };
        let router = Router::new()
            .route("/admin/status", get(status))
            .route("/admin/drain", post(|body: String| async move { body }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let stream = TcpStream::connect(address).await.unwrap();
        door(key).over("chat-0", stream, method, path, body).await
    }

    #[tokio::test]
    async fn the_key_and_the_body_arrive_and_a_refusal_is_the_hubs_own_sentence() {
        assert_eq!(ask("right", Method::GET, "/admin/status", None).await.unwrap(), "{\"phase\":\"active\"}");
        let refused = ask("wrong", Method::GET, "/admin/status", None).await.unwrap_err();
        assert_eq!(refused.to_string(), "pod chat-0 refused (401): the API key is not known");
        let body = json!({"id": "mine"});
        assert_eq!(ask("right", Method::POST, "/admin/drain", Some(&body)).await.unwrap(), body.to_string());
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_silence() {
        let (ours, theirs) = tokio::io::duplex(1024);
        drop(theirs);
        let error = door("k").over("chat-0", ours, Method::GET, "/nodes", None).await.unwrap_err();
        assert!(matches!(error, KubectlError::Silent { .. }), "{error}");
    }
}
