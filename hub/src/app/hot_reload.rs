//! Watches the file of hot settings and applies what changed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{observe, session::edge::Edge, settings::HotFile};

/// How often the file is read. Reading it again sees every way in which files are replaced: written in place, renamed
/// over, or, as in a mounted ConfigMap, by another target of the link that the folder of the file is.
const LOOK: Duration = Duration::from_secs(1);

/// Applies the file whenever it changes, as a whole or not at all, until `shutdown`.
pub(super) async fn run(path: PathBuf, edge: Arc<Edge>, shutdown: CancellationToken) {
    apply_log_level(&edge);
    while shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let (hot, base) = (&edge.hot, &edge.settings.hot);
        match HotFile::read(&path, base) {
            Ok(file) => {
                let before = hot.file();
                if before.applied.as_deref() == Some(&file.hash) && before.error.is_none() {
                    continue;
                }
                tracing::info!(hash = %file.hash, "hot settings applied");
                let level = hot.now().log_directives.clone();
                hot.apply(file);
                edge.queue_budget.set_limit(hot.now().limits.queue_memory);
                if hot.now().log_directives != level {
                    apply_log_level(&edge);
                }
            }
            Err(bad) => {
                if hot.refuse(bad.clone()) {
                    edge.metrics.hot_settings_refused.inc();
                    for problem in &bad.0 {
                        tracing::error!(%problem, "hot settings are not applied, the old ones stay in force");
                    }
                }
            }
        }
    }
}

fn apply_log_level(edge: &Edge) {
    if !observe::change_log_directives(&edge.hot.now().log_directives) {
        tracing::warn!("log_level is not applied: another program's logging is in use");
    }
}
