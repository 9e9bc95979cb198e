//! Waiting for a condition with a deadline, instead of sleeping.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long `eventually` rests between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What a look at a condition found.
pub enum Look<T> {
    /// The condition holds.
    Holds(T),
    /// It does not hold yet, and what was seen instead.
    NotYet(String),
}

impl<T> Look<T> {
    /// `Holds(value)` when `holds`, else what was seen.
    pub fn when(holds: bool, value: T, seen: impl Display) -> Self {
        if holds { Self::Holds(value) } else { Self::NotYet(seen.to_string()) }
    }
}

/// Looks again and again until the condition holds.
///
/// # Errors
/// After `within`, with what was waited for and what was seen last; an error of a look ends the wait at once.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    look: impl AsyncFnMut() -> Result<Look<T>>,
) -> Result<T> {
    eventually_each(PAUSE, what, within, look).await
}

/// The same with a pause of the caller's own between two looks, for looks that cost the machine something.
///
/// # Errors
/// As `eventually`.
pub async fn eventually_each<T>(
    pause: Duration,
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<Look<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut seen = String::from("nothing, the look itself did not end");
    loop {
        let left = within.saturating_sub(start.elapsed());
        match tokio::time::timeout(left.max(pause), look()).await {
            Ok(Ok(Look::Holds(value))) => return Ok(value),
            Ok(Ok(Look::NotYet(now))) => seen = now,
            Ok(Err(error)) => return Err(error.context(format!("while waiting until {what}"))),
            // The time is over; what was seen before it says more.
            Err(_) => {}
        }
        if start.elapsed() >= within {
            bail!("not within {within:?}: {what}; seen last: {seen}");
        }
        tokio::time::sleep(pause).await;
    }
}

/// Waits for a future, at most `within`.
///
/// # Errors
/// After `within`, with what was waited for.
pub async fn at_most<T>(what: &str, within: Duration, future: impl Future<Output = T>) -> Result<T> {
    match tokio::time::timeout(within, future).await {
        Ok(value) => Ok(value),
        Err(_) => bail!("not within {within:?}: {what}"),
    }
}
