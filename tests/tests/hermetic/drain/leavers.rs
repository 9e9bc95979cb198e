//! Clients that stay until they are sent away, and remember when and how.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use wsc_tests::{
    api_client::ApiClient,
    hub_fleet::ADMIN_KEY,
    hub_process::HubProcess,
    wait::{Look, eventually},
    ws_client::{Incoming, WsClient, WsRequest},
};

/// Upgrades at the same time.
const AT_A_TIME: usize = 64;
/// Longest a client reads without a frame; the hub pings more often.
const SILENCE: Duration = Duration::from_secs(120);

/// How a client was sent away.
#[derive(Debug, Clone)]
pub(super) struct Departure {
    pub(super) user: String,
    pub(super) at: Instant,
    /// The close code, or how it ended without one.
    pub(super) end: Result<u16, String>,
    /// `data` of `going_away`.
    pub(super) notice: Option<Value>,
}

/// Clients of one hub, `<name>-<number>`.
#[derive(Debug)]
pub(super) struct Leavers {
    gone: Arc<Mutex<Vec<Departure>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Drop for Leavers {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

impl Leavers {
    pub(super) async fn connect(address: SocketAddr, name: &str, count: usize) -> Result<Self> {
        let connecting = stream::iter((0..count).map(|number| format!("{name}-{number}")))
            .map(|user| async move {
                let client = WsClient::connect(address, &WsRequest::user(&user)).await?;
                anyhow::Ok((user, client))
            })
            .buffered(AT_A_TIME);
        let gone = Arc::new(Mutex::new(Vec::new()));
        let readers = connecting
            .map_ok(|(user, client)| tokio::spawn(stay(user, client, Arc::clone(&gone))))
            .try_collect()
            .await?;
        Ok(Self { gone, readers })
    }

    /// Those that are gone, in the order of their going.
    pub(super) fn gone(&self) -> Vec<Departure> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many are gone.
    pub(super) async fn are_gone(&self, count: usize, within: Duration) -> Result<Vec<Departure>> {
        eventually(&format!("{count} clients are gone"), within, async || {
            let gone = self.gone();
            let found = gone.len();
            Ok(Look::when(found >= count, gone, format!("{found} are gone")))
        })
        .await
    }

    /// Checks that each that is gone was told to come back, and closed with 1012.
    pub(super) fn were_sent_away(gone: &[Departure], reason: &str, longest_hint: u64) -> Result<()> {
        for departure in gone {
            ensure!(departure.end == Ok(1012), "{departure:?}");
            let notice = departure.notice.as_ref();
            ensure!(notice.is_some_and(|notice| notice["reason"] == reason), "{departure:?}");
            let hint = notice.and_then(|notice| notice["retry_after_ms"].as_u64());
            ensure!(hint.is_some_and(|hint| hint <= longest_hint), "{departure:?}");
        }
        Ok(())
    }
}

async fn stay(user: String, mut client: WsClient, gone: Arc<Mutex<Vec<Departure>>>) {
    let mut notice = None;
    let end = loop {
        match client.next(SILENCE).await {
            Ok(Incoming::Frame(frame)) if frame["message_type"] == "going_away" => {
                notice = Some(frame["data"].clone());
            }
            Ok(Incoming::Frame(_)) => {}
            Ok(Incoming::Close { code, .. }) => break Ok(code),
            Ok(Incoming::Ended(how)) => break Err(format!("{how:?}")),
            Err(error) => break Err(format!("{error:#}")),
        }
    };
    let departure = Departure { user, at: Instant::now(), end, notice };
    gone.lock().unwrap_or_else(PoisonError::into_inner).push(departure);
}

/// The admin API of a hub.
pub(super) fn admin(hub: &HubProcess) -> Result<ApiClient> {
    hub.api(ADMIN_KEY)
}

/// Orders a drain; gives the answer.
pub(super) async fn drain(hub: &HubProcess, body: Value) -> Result<Value> {
    admin(hub)?.post("/admin/drain", &body).await?.ok()
}

/// Waits until a hub is in this phase; gives its status.
pub(super) async fn phase(hub: &HubProcess, phase: &str, within: Duration) -> Result<Value> {
    let admin = admin(hub)?;
    eventually(&format!("the hub is {phase}"), within, async || {
        let status = admin.get("/admin/status").await?.ok()?;
        Ok(Look::when(status["phase"] == phase, status.clone(), status))
    })
    .await
}

/// A message to a user by the API, with options.
pub(super) async fn send(api: &ApiClient, user: &str, content: &str, options: Value) -> Result<Value> {
    let body = json!({"content": content, "options": options});
    api.post(&format!("/v1/users/{user}/messages"), &body).await?.ok()
}
