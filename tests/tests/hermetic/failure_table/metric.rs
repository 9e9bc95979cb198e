//! Numbers of `/metrics`.

use anyhow::{Context as _, Result};
use wsc_tests::api_client::ApiClient;

/// The value of one line, named with its labels, or the sum of all lines of a metric, named without; 0 when there is
/// none yet.
pub(super) async fn metric(api: &ApiClient, name: &str) -> Result<u64> {
    let text = api.get("/metrics").await?.text;
    let mut sum = 0.0;
    for line in text.lines() {
        let Some((found, value)) = line.rsplit_once(' ') else { continue };
        if found == name || found.strip_prefix(name).is_some_and(|labels| labels.starts_with('{')) {
            sum += value.parse::<f64>().with_context(|| format!("no number: {line}"))?;
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    Ok(sum as u64)
}
