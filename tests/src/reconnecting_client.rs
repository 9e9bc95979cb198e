//! A client that comes back by itself, as the documentation asks of clients: 1 s doubling to 30 s with full jitter,
//! the hub's hint when it gives one, and no return after a kick. One that keeps its place also resumes: it says which offset
//! it has, acknowledges what it gets and drops what it has.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    inbox_place::InboxPlace,
    wait::{Look, eventually},
    ws_client::{Incoming, Upgrade, WsClient},
};

/// First and largest bound of the wait before a new attempt.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LARGEST_WAIT: Duration = Duration::from_secs(30);
/// The hub pings every 25 s by default, so a connection that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(60);

/// Opens a connection; called again for each attempt, so that a token can be new each time.
pub type Connect = Box<dyn Fn() -> BoxFuture<'static, Result<Upgrade>> + Send + Sync>;

/// The same for a client that keeps its place: given the last offset that it has.
pub type Resume = Box<dyn Fn(Option<String>) -> BoxFuture<'static, Result<Upgrade>> + Send + Sync>;

/// What happened to the client, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Connected to this node.
    Connected(String),
    /// A frame other than `welcome`.
    Frame(Value),
    /// The connection ended, with the hub's code if there was one.
    Lost(Option<u16>),
    /// An attempt failed.
    Failed(String),
    /// No further attempt will be made, after this close code.
    Stopped(u16),
}

/// All that happened, with when it did.
type History = Arc<Mutex<Vec<(Instant, Event)>>>;

/// A client that runs until it is dropped or told not to come back.
#[derive(Debug)]
pub struct ReconnectingClient {
    history: History,
    place: Arc<Mutex<InboxPlace>>,
    cuts: mpsc::Sender<Duration>,
    task: JoinHandle<()>,
    _stop: DropGuard,
}

/// What to do after a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Stop(u16),
    Wait(Duration),
}

impl ReconnectingClient {
    /// Starts the client.
    #[must_use]
    pub fn start(connect: Connect) -> Self {
        Self::resuming(Box::new(move |_| connect()))
    }

    /// Starts a client that keeps its place in its user's inbox.
    #[must_use]
    pub fn resuming(connect: Resume) -> Self {
        let stop = CancellationToken::new();
        let (history, place) = (History::default(), Arc::new(Mutex::new(InboxPlace::default())));
        let (cuts, cut) = mpsc::channel(1);
        let task = tokio::spawn(run(connect, Arc::clone(&history), Arc::clone(&place), cut, stop.clone()));
        Self { history, place, cuts, task, _stop: stop.drop_guard() }
    }

    /// Loses the connection without a word, with what is on its way, and is away for so long; nothing more when it is to be
    /// cut already.
    pub fn cut(&self, away: Duration) {
        // A client that has stopped has nothing to lose.
        let _ = self.cuts.try_send(away);
    }

    /// How far it is in its user's inbox.
    #[must_use]
    pub fn place(&self) -> InboxPlace {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The contents of all texts, in their order.
    #[must_use]
    pub fn contents(&self) -> Vec<String> {
        self.look(|history| {
            let texts = history.iter().filter_map(|(_, event)| match event {
                Event::Frame(frame) if frame["message_type"] == "text" => frame["content"].as_str(),
                _ => None,
            });
            texts.map(ToOwned::to_owned).collect()
        })
    }

    /// All that happened until now.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.look(|history| history.iter().map(|(_, event)| event.clone()).collect())
    }

    /// Looks at all that happened until now, and at when it did. The client waits meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&[(Instant, Event)]) -> T) -> T {
        look(&self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The node of the present connection.
    #[must_use]
    pub fn node(&self) -> Option<String> {
        self.look(|history| {
            history.iter().rev().find_map(|(_, event)| match event {
                Event::Connected(node) => Some(Some(node.clone())),
                Event::Frame(_) | Event::Failed(_) => None,
                Event::Lost(_) | Event::Stopped(_) => Some(None),
            })?
        })
    }

    /// How often it connected.
    #[must_use]
    pub fn connects(&self) -> usize {
        self.look(|history| history.iter().filter(|(_, event)| matches!(event, Event::Connected(_))).count())
    }

    /// Waits until it connected `times` times in all and is connected; gives the node.
    ///
    /// # Errors
    /// After `within`, with the last events.
    pub async fn connected(&self, times: usize, within: Duration) -> Result<String> {
        eventually(&format!("the client connected {times} times"), within, async || {
            if self.task.is_finished() {
                return Err(anyhow!("the client stopped: {:?}", self.events().last()));
            }
            let events = self.events();
            let last = format!("{:?}", &events[events.len().saturating_sub(4)..]);
            Ok(match self.node() {
                Some(node) if self.connects() >= times => Look::Holds(node),
                _ => Look::NotYet(last),
            })
        })
        .await
    }

    /// Waits for a text with this content.
    ///
    /// # Errors
    /// After `within`.
    pub async fn received(&self, content: &str, within: Duration) -> Result<()> {
        eventually(&format!("the client receives {content:?}"), within, async || {
            Ok(Look::when(self.count(content) > 0, (), format!("{:?}", self.events().last())))
        })
        .await
    }

    /// How often a text with this content came.
    #[must_use]
    pub fn count(&self, content: &str) -> usize {
        let is_it = |event: &Event| matches!(event, Event::Frame(frame) if frame["content"] == content);
        self.look(|history| history.iter().filter(|(_, event)| is_it(event)).count())
    }

    /// Waits until it stopped for good; gives the close code.
    ///
    /// # Errors
    /// After `within`.
    pub async fn stopped(&self, within: Duration) -> Result<u16> {
        eventually("the client stops", within, async || {
            Ok(match self.events().last() {
                Some(Event::Stopped(code)) => Look::Holds(*code),
                other => Look::NotYet(format!("{other:?}")),
            })
        })
        .await
    }
}

async fn run(
    connect: Resume,
    history: History,
    place: Arc<Mutex<InboxPlace>>,
    mut cuts: mpsc::Receiver<Duration>,
    stop: CancellationToken,
) {
    let at = || place.lock().unwrap_or_else(PoisonError::into_inner);
    let note =
        |event: Event| history.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), event));
    let mut failures = 0;
    let live = async {
        loop {
            let offset = at().offset();
            at().connecting();
            let opened = match connect(offset).await {
                Ok(upgrade) => WsClient::welcomed(upgrade).await.map(WsClient::showing_resume),
                Err(error) => Err(error),
            };
            let next = match opened {
                Ok(mut client) => {
                    note(Event::Connected(client.node().to_owned()));
                    failures = 0;
                    let end = tokio::select! {
                        end = read(&mut client, &place, &note) => Ok(end),
                        Some(away) = cuts.recv() => Err(away),
                    };
                    drop(client);
                    note(Event::Lost(end.as_ref().ok().and_then(|(code, _)| *code)));
                    match end {
                        Ok((code, hint)) => after_close(code, hint, rand::random()),
                        Err(away) => Next::Wait(away),
                    }
                }
                Err(error) => {
                    note(Event::Failed(format!("{error:#}")));
                    let wait = back_off(failures, rand::random());
                    failures += 1;
                    Next::Wait(wait)
                }
            };
            match next {
                Next::Stop(code) => return note(Event::Stopped(code)),
                Next::Wait(wait) => tokio::time::sleep(wait).await,
            }
        }
    };
    tokio::select! {
        () = live => {}
        () = stop.cancelled() => {}
    }
}

/// Reads until the connection ends; gives the close code and the hub's hint when to come back.
async fn read(
    client: &mut WsClient,
    place: &Mutex<InboxPlace>,
    note: &impl Fn(Event),
) -> (Option<u16>, Option<Duration>) {
    let mut hint = None;
    loop {
        match client.next_unless_silent(SILENCE).await {
            Ok(Incoming::Frame(frame)) => {
                if frame["message_type"] == "going_away" {
                    hint = frame["data"]["retry_after_ms"].as_u64().map(Duration::from_millis);
                }
                let taken = place.lock().unwrap_or_else(PoisonError::into_inner).take(&frame);
                let Some(answer) = taken else { continue };
                note(Event::Frame(frame));
                if let Some(answer) = answer
                    && client.send(&answer).await.is_err()
                {
                    return (None, hint);
                }
            }
            Ok(Incoming::Close { code, .. }) => return (Some(code), hint),
            Ok(Incoming::Ended(_)) | Err(_) => return (None, hint),
        }
    }
}

/// Full jitter; `chance` is from 0 to 1.
fn back_off(failures: u32, chance: f64) -> Duration {
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures)).min(LARGEST_WAIT).mul_f64(chance)
}

fn after_close(code: Option<u16>, hint: Option<Duration>, chance: f64) -> Next {
    match code {
        Some(code @ (1000 | 1003 | 1008 | 1009 | 4001 | 4002)) => Next::Stop(code),
        _ => Next::Wait(hint.unwrap_or_else(|| back_off(0, chance))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_thirty_seconds_with_full_jitter() {
        assert_eq!(back_off(0, 1.0), Duration::from_secs(1));
        assert_eq!(back_off(3, 1.0), Duration::from_secs(8));
        assert_eq!(back_off(60, 1.0), Duration::from_secs(30));
        assert_eq!(back_off(3, 0.0), Duration::ZERO);
    }

    #[test]
    fn close_codes_decide_about_the_return() {
        let hint = Some(Duration::from_millis(840));
        for stop in [1000, 1003, 1008, 1009, 4001, 4002] {
            assert_eq!(after_close(Some(stop), hint, 0.5), Next::Stop(stop));
        }
        assert_eq!(after_close(Some(1012), hint, 0.5), Next::Wait(Duration::from_millis(840)));
        for come_back in [Some(1013), Some(4003), Some(4004), Some(4005), None] {
            assert_eq!(after_close(come_back, None, 0.5), Next::Wait(Duration::from_millis(500)));
        }
    }
}
