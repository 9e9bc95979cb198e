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
        let samples = self.samples()?;
        let wanted = |sample: &&Sample<'_>| {
            sample.name == name && labels.iter().all(|label| sample.labels.contains(label))
        };
        Ok(samples.iter().filter(wanted).map(|sample| sample.value).sum())
    }

    /// The value of one series, named with its labels, or the sum of all series of a metric, named without; none when
    /// there is none.
    ///
    /// # Errors
    /// When a line is not in the text format.
    pub fn value(&self, series: &str) -> Result<Option<f64>> {
        let samples = self.samples()?;
        let mut found = samples.iter().filter(|sample| sample.series == series || sample.name == series);
        let first = found.next().map(|sample| sample.value);
        Ok(first.map(|first| found.fold(first, |sum, sample| sum + sample.value)))
    }

    fn samples(&self) -> Result<Vec<Sample<'_>>> {
        let lines = self.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(Sample::read).collect()
    }
}

/// One line with a number.
struct Sample<'a> {
    series: &'a str,
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Result<Self> {
        let (series, value) = line.rsplit_once(' ').with_context(|| format!("no value: {line}"))?;
        let value = value.parse().with_context(|| format!("no number: {line}"))?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        ensure!(labels.ends_with('}'), "labels do not end: {line}");
        ensure!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'), "bad name: {line}");
        Ok(Self { series, name, labels, value })
    }
}
