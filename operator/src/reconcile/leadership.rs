//! Leader election by one Lease object.
//!
//! Two clocks keep two leaders apart: a holder stops [`LOCAL_LIMIT`] after the *start* of its last
//! successful renewal, by its own monotonic clock, API server or not; a candidate takes over only
//! after it has watched the same record unchanged for [`LEASE_SECONDS`], by its own.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Written into the lease: how long others must see no renewal before they take over.
pub const LEASE_SECONDS: u32 = 30;

/// Leadership ends here this long after the last successful renewal.
pub const LOCAL_LIMIT: Duration = Duration::from_secs(20);

const RENEW_EVERY: Duration = Duration::from_secs(5);
const RETRY_EVERY: Duration = Duration::from_secs(2);
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// Why a lease request did not succeed.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("lease request failed: {0}")]
    Api(#[from] kube::Error),
    #[error("lease request took longer than {} s", REQUEST_LIMIT.as_secs())]
    Slow,
    #[error("{0} holds the lease")]
    Taken(String),
}

/// The record a candidate watches: who, which renewal, and since when it has not changed.
#[derive(Debug, Clone)]
struct Seen {
    holder: String,
    renewed: Option<Timestamp>,
    version: Option<String>,
    since: Instant,
}

/// One candidate for leadership.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    seen: Option<Seen>,
}

impl Candidate {
    /// A candidate for the lease `name`. `identity` must be unique among replicas.
    #[must_use]
    pub fn new(api: Api<Lease>, name: String, identity: String) -> Self {
        Self { api, name, identity, seen: None }
    }

    /// Waits until this candidate leads. `None` when the shutdown came first.
    pub async fn acquire(&mut self, shutdown: &CancellationToken) -> Option<Instant> {
        let mut complained = String::new();
        loop {
            let started = Instant::now();
            match self.attempt().await {
                Ok(()) => {
                    tracing::info!(lease = %self.name, identity = %self.identity, "leading");
                    return Some(started);
                }
                Err(error) => {
                    let text = error.to_string();
                    if text != complained {
                        tracing::info!(lease = %self.name, "standing by: {text}");
                        complained = text;
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = sleep(RETRY_EVERY) => {}
            }
        }
    }

    /// Renews until leadership is lost or the shutdown comes. Returns when it ended: `true` when
    /// it was lost, `false` on shutdown.
    pub async fn hold(&mut self, acquired: Instant, shutdown: &CancellationToken) -> bool {
        let mut renewed = acquired;
        loop {
            let limit = LOCAL_LIMIT.saturating_sub(renewed.elapsed());
            tokio::select! {
                () = shutdown.cancelled() => return false,
                () = sleep(RENEW_EVERY.min(limit)) => {}
            }
            let left = LOCAL_LIMIT.saturating_sub(renewed.elapsed());
            if left.is_zero() {
                tracing::error!(
                    lease = %self.name,
                    "leadership ended: no renewal succeeded for {} s",
                    LOCAL_LIMIT.as_secs()
                );
                return true;
            }
            let started = Instant::now();
            let attempt = timeout(left, self.attempt()).await.unwrap_or(Err(LeaseError::Slow));
            match attempt {
                Ok(()) => renewed = started,
                Err(LeaseError::Taken(holder)) => {
                    tracing::error!(lease = %self.name, "leadership ended: {holder} took the lease");
                    return true;
                }
                Err(error) => {
                    tracing::warn!(lease = %self.name, "renewal failed, trying again: {error}");
                }
            }
        }
    }

    /// Gives the lease up, so that another replica need not wait for it to lapse.
    pub async fn release(&mut self) {
        let release = async {
            let mut lease = self.api.get(&self.name).await?;
            let Some(spec) = lease.spec.as_mut() else {
                return Ok(());
            };
            if spec.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = None;
            spec.renew_time = None;
            spec.acquire_time = None;
            self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            Ok::<(), kube::Error>(())
        };
        match timeout(REQUEST_LIMIT, release).await {
            Ok(Ok(())) => tracing::info!(lease = %self.name, "lease released"),
            Ok(Err(error)) => tracing::warn!(lease = %self.name, "lease not released: {error}"),
            Err(_) => tracing::warn!(lease = %self.name, "lease not released in time"),
        }
    }

    async fn attempt(&mut self) -> Result<(), LeaseError> {
        timeout(REQUEST_LIMIT, self.take_or_renew()).await.map_err(|_| LeaseError::Slow)?
    }

    async fn take_or_renew(&mut self) -> Result<(), LeaseError> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.record(None, Timestamp::now())),
            };
            self.api.create(&PostParams::default(), &lease).await?;
            return Ok(());
        };
        let spec = lease.spec.take().unwrap_or_default();
        let now = Instant::now();
        self.observe(&spec, lease.metadata.resource_version.clone(), now);
        if !self.may_write(&spec, now) {
            return Err(LeaseError::Taken(spec.holder_identity.unwrap_or_default()));
        }
        lease.spec = Some(self.record(Some(spec), Timestamp::now()));
        // The resourceVersion read above makes this fail if anybody else wrote meanwhile.
        self.api.replace(&self.name, &PostParams::default(), &lease).await?;
        Ok(())
    }

    fn observe(&mut self, spec: &LeaseSpec, version: Option<String>, now: Instant) {
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let renewed = spec.renew_time.as_ref().map(|time| time.0);
        let same = self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.holder == holder && seen.renewed == renewed && seen.version == version);
        if !same {
            self.seen = Some(Seen { holder, renewed, version, since: now });
        }
    }

    fn may_write(&self, spec: &LeaseSpec, now: Instant) -> bool {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        let lease = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(u64::from(LEASE_SECONDS), |seconds| seconds);
        self.seen.as_ref().is_some_and(|seen| now.duration_since(seen.since) >= Duration::from_secs(lease))
    }

    fn record(&self, previous: Option<LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let previous = previous.unwrap_or_default();
        let same = previous.holder_identity.as_deref() == Some(&self.identity);
        let transitions = previous.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE_SECONDS).ok(),
            acquire_time: if same { previous.acquire_time } else { Some(MicroTime(now)) },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if same { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;
    use kube::{Api, Client, Config};

    use super::Candidate;

    fn candidate() -> Candidate {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        Candidate::new(Api::namespaced(client, "n"), "lease".into(), "me".into())
    }

    fn held_by(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(30),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test]
    async fn a_foreign_lease_is_taken_only_after_it_stood_still_for_its_whole_length() {
        let mut me = candidate();
        let start = Instant::now();
        // The holder's clock says that the lease is long past; only our own watching counts.
        let spec = held_by("other", 1);
        me.observe(&spec, Some("7".into()), start);
        assert!(!me.may_write(&spec, start));
        let later = start + Duration::from_secs(29);
        me.observe(&spec, Some("7".into()), later);
        assert!(!me.may_write(&spec, later));
        let renewed = held_by("other", 2);
        me.observe(&renewed, Some("8".into()), later);
        let after = start + Duration::from_secs(31);
        me.observe(&renewed, Some("8".into()), after);
        assert!(!me.may_write(&renewed, after), "a renewal starts the wait anew");
        let long_after = later + Duration::from_secs(30);
        me.observe(&renewed, Some("8".into()), long_after);
        assert!(me.may_write(&renewed, long_after));
    }

    #[tokio::test]
    async fn own_and_released_leases_are_taken_at_once_and_transitions_count() {
        let me = candidate();
        let now = Instant::now();
        assert!(me.may_write(&held_by("me", 1), now));
        assert!(me.may_write(&LeaseSpec::default(), now));
        let first = me.record(Some(held_by("other", 1)), Timestamp::UNIX_EPOCH);
        assert_eq!(first.lease_transitions, Some(1));
        let again = me.record(Some(first), Timestamp::from_second(9).unwrap());
        assert_eq!(again.lease_transitions, Some(1));
        assert_eq!(again.acquire_time.unwrap().0, Timestamp::UNIX_EPOCH);
    }
}
