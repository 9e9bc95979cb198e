//! What `docs/reference/metrics.md` says there is at `/metrics`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use crate::source_tree;

/// The metrics of the reference, with their types and labels.
#[derive(Debug)]
pub struct MetricsReference(BTreeMap<String, (String, BTreeSet<String>)>);

impl MetricsReference {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not there or lists next to nothing.
    pub fn read() -> Result<Self> {
        let text = std::fs::read_to_string(source_tree::root().join("docs/reference/metrics.md"))?;
        let words = |cell: &str| cell.split(", ").map(|word| word.trim_matches('`').to_owned()).collect();
        let rows = text.lines().filter(|line| line.starts_with("| `")).filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let (name, kind, labels) = (cells.next()?, cells.next()?, cells.next()?);
            let labels = if labels.is_empty() { BTreeSet::new() } else { words(labels) };
            Some((name.trim_matches('`').to_owned(), (kind.to_owned(), labels)))
        });
        let metrics: BTreeMap<_, _> = rows.collect();
        ensure!(metrics.len() > 50, "the reference has {} metrics", metrics.len());
        Ok(Self(metrics))
    }

    /// Whatever an answer of `/metrics` has that is not as the reference says.
    #[must_use]
    pub fn differences(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut kinds = BTreeMap::new();
        for line in text.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                kinds.insert(name, kind);
            } else if !line.starts_with('#') && !line.is_empty() && !self.has(line, &kinds) {
                found.push(line.to_owned());
            }
        }
        found
    }

    fn has(&self, line: &str, kinds: &BTreeMap<&str, &str>) -> bool {
        let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let mut parts = ["_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
        let name = parts.find(|base| kinds.get(base) == Some(&"histogram")).unwrap_or(name);
        let kind = kinds.get(name).or_else(|| kinds.get(name.strip_suffix("_total")?));
        let labels: BTreeSet<String> = labels
            .trim_end_matches('}')
            .split("\",")
            .filter_map(|label| Some(label.split_once('=')?.0.to_owned()))
            .filter(|label| label != "le")
            .collect();
        self.0
            .get(name)
            .is_some_and(|(told, told_labels)| Some(&told.as_str()) == kind && *told_labels == labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reference_does_not_say_is_found() {
        let row = |kind: &str, labels: &[&str]| {
            (kind.to_owned(), labels.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<_>>())
        };
        let reference = MetricsReference(BTreeMap::from([
            ("a_total".to_owned(), row("counter", &["code", "reason"])),
            ("b_seconds".to_owned(), row("histogram", &[])),
            ("c".to_owned(), row("gauge", &[])),
        ]));
        let good = "# TYPE a counter\na_total{code=\"1\",reason=\"x y\"} 1\n# TYPE b_seconds histogram\n\
                    b_seconds_bucket{le=\"0.1\"} 0\nb_seconds_sum 1\n# TYPE c gauge\nc 1\n# EOF\n";
        assert_eq!(reference.differences(good), Vec::<String>::new());
        for bad in [
            "# TYPE d gauge\nd 1\n",
            "# TYPE c counter\nc 1\n",
            "# TYPE c gauge\nc{x=\"1\"} 1\n",
            "# TYPE a counter\na_total{code=\"1\"} 1\n",
            "# TYPE b_seconds histogram\nb_seconds_bucket{le=\"0.1\",y=\"1\"} 0\n",
        ] {
            assert_eq!(reference.differences(bad).len(), 1, "{bad}");
        }
    }
}
