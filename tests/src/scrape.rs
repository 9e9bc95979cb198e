//! What a hub says at `/metrics`.

use anyhow::{Context as _, Result, ensure};

use crate::api_client::ApiClient;

/// One scrape.
#[derive(Debug, Clone)]
pub struct Scrape {
    /// The answer as it came.
    pub text: String,
}

impl Scrape {
    /// Asks a hub.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub async fn of(api: &ApiClient) -> Result<Self> {
        let answer = api.get("/metrics").await?;
        ensure!(answer.status == 200, "status {}: {}", answer.status, answer.text);
        Ok(Self { text: answer.text })
    }

    /// The sum of the samples whose name is `name` and whose labels hold every one of `labels`, such as
    /// `cause="slow"`; 0 when there is none, as of a counter that has not counted yet.
    ///
    /// # Errors
    /// When a line is not in the text format.
    pub fn sum(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let mut sum = 0.0;
        for line in self.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').with_context(|| format!("no value: {line}"))?;
            let (found, given) = series.split_once('{').unwrap_or((series, ""));
            if found == name && labels.iter().all(|label| given.contains(label)) {
                sum += value.parse::<f64>().with_context(|| format!("no number: {line}"))?;
            }
        }
        Ok(sum)
    }
}
