//! Reads the administrator's rules again when their file changes.
//!
//! The kubelet swaps a ConfigMap's files by a symlink, for which watches on the file fire once or
//! never; so the contents are compared, every few seconds. A file that is bad is refused as a
//! whole, and the old rules stay in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio_util::sync::CancellationToken;

use crate::admission::Policy;
use crate::metrics::{self, Metrics};
use crate::rules::{self, Rules};

/// A change is to be noticed within 15 s.
const INTERVAL: Duration = Duration::from_secs(5);

/// The file, and what became of its last change.
pub(super) struct Reload {
    file: Option<PathBuf>,
    policy: Arc<ArcSwap<Policy>>,
    problem: ArcSwapOption<String>,
    metrics: Arc<Metrics>,
}

impl Reload {
    pub(super) fn new(
        file: Option<PathBuf>,
        policy: Arc<ArcSwap<Policy>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { file, policy, problem: ArcSwapOption::empty(), metrics }
    }

    /// Why the rules in force are not those of the file, if so.
    pub(super) fn problem(&self) -> Option<Arc<String>> {
        self.problem.load_full()
    }

    /// Compares until the server shuts down.
    pub(super) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let Some(file) = self.file.clone() else { return };
        let registered = self.policy.load().rules.default_namespaces().cloned().collect::<Vec<_>>();
        let mut seen = None;
        while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            let path = file.clone();
            let read = tokio::task::spawn_blocking(move || {
                rules::read_text(&path).map_err(|error| error.to_string())
            })
            .await;
            let text = read.unwrap_or_else(|error| Err(error.to_string()));
            if seen.as_ref() == Some(&text) {
                continue;
            }
            // Elsewhere, too: the rules of a large file take a while to try.
            let parse = |text: String| {
                tokio::task::spawn_blocking(move || {
                    Rules::parse(&text).map_err(|error| error.to_string())
                })
            };
            let rules = match text.clone() {
                Ok(text) => parse(text).await.unwrap_or_else(|error| Err(error.to_string())),
                Err(reason) => Err(reason),
            };
            match rules {
                Ok(rules) => {
                    let old = self.policy.load_full();
                    let is_reload = seen.is_some() || rules != old.rules;
                    let has_more =
                        rules.default_namespaces().any(|globs| !registered.contains(globs));
                    self.policy.store(Arc::new(Policy { on_problem: old.on_problem, rules }));
                    self.problem.store(None);
                    self.metrics.config_problem.set(0);
                    // Whoever reads the line relies on it.
                    if is_reload {
                        self.metrics.count_config_reload(metrics::Reload::Done);
                        tracing::info!(file = %file.display(), "the rules were read again");
                    }
                    if has_more {
                        tracing::warn!(
                            "the rules have namespaces that the registration written at start does not send; write and apply it again"
                        );
                    }
                }
                Err(reason) => {
                    let reason = Arc::new(format!("{}: {reason}", file.display()));
                    self.problem.store(Some(reason.clone()));
                    self.metrics.count_config_reload(metrics::Reload::Failed);
                    self.metrics.config_problem.set(1);
                    tracing::error!(%reason, "the rules were not read again, the old ones stay in force");
                }
            }
            seen = Some(text);
        }
    }
}
