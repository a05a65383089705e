//! Reads the administrator's rules again when their file changes.
//!
//! A bad file is rejected as a whole: the old rules stay in force, and the log, `/readyz` and a
//! metric report the problem.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio_util::sync::CancellationToken;

use crate::admission::Settings;
use crate::config::{self, Rules};
use crate::metrics::{Metrics, Reload};
use crate::trial;
use crate::watched::{self, WatchedFile};

/// Keeps the rules of the settings those of a file.
pub(super) struct RulesWatcher {
    /// Without it, the rules never change.
    file: Option<PathBuf>,
    settings: Arc<ArcSwap<Settings>>,
    problem: ArcSwapOption<String>,
    metrics: Arc<Metrics>,
}

impl RulesWatcher {
    pub(super) fn new(
        file: Option<PathBuf>,
        settings: Arc<ArcSwap<Settings>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { file, settings, problem: ArcSwapOption::empty(), metrics }
    }

    /// Why the old rules are in force instead of those of the file.
    pub(super) fn problem(&self) -> Option<Arc<String>> {
        self.problem.load_full()
    }

    /// Follows the file until the server shuts down.
    pub(super) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let Some(path) = self.file.clone() else { return };
        let mut following = Following {
            // The registration that was written at start has the namespaces of these rules.
            registered: self.settings.load_full(),
            file: WatchedFile::new(path, config::read_text),
            is_first: true,
        };
        while shutdown.run_until_cancelled(tokio::time::sleep(watched::INTERVAL)).await.is_some() {
            self.follow(&mut following).await;
        }
    }

    /// Takes the rules of the file if it has changed.
    async fn follow(&self, following: &mut Following) {
        let Following { file, registered, is_first } = following;
        if !file.read_again().await {
            return;
        }
        let is_first = std::mem::take(is_first);
        let name = file.path().display();
        let rules = match file.contents() {
            Ok(text) => parse(text.clone()).await,
            Err(reason) => Err(reason.to_owned()),
        };
        match rules {
            Ok(rules) => {
                let old = self.settings.load_full();
                let is_reload = !is_first || rules != old.rules;
                let has_more = rules.default_namespaces().any(|globs| {
                    !registered.rules.default_namespaces().any(|known| known == globs)
                });
                self.settings.store(Arc::new(Settings { on_problem: old.on_problem, rules }));
                self.problem.store(None);
                self.metrics.config_problem.set(0);
                // Whoever reads the line relies on it.
                if is_reload {
                    self.metrics.count_config_reload(Reload::Done);
                    tracing::info!(file = %name, "the rules were read again");
                }
                if has_more {
                    tracing::warn!(
                        "the rules have namespaces that the registration written at start does not send; write and apply it again"
                    );
                }
            }
            Err(reason) => {
                let reason = Arc::new(format!("{name}: {reason}"));
                self.problem.store(Some(reason.clone()));
                self.metrics.count_config_reload(Reload::Failed);
                self.metrics.config_problem.set(1);
                tracing::error!(%reason, "the rules were not read again, the old ones stay in force");
            }
        }
    }
}

/// The file while it is followed.
struct Following {
    file: WatchedFile<String>,
    registered: Arc<Settings>,
    /// The rules in force may be those of the file: they were read from it at start.
    is_first: bool,
}

/// Parses in a thread that may block: the rules of a large file take a while to try.
async fn parse(text: String) -> Result<Rules, String> {
    let parse = move || trial::load(&text).map_err(|error| error.to_string());
    tokio::task::spawn_blocking(parse).await.unwrap_or_else(|error| Err(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A metric's value, as `/metrics` shows it.
    fn metric(metrics: &Metrics, name: &str) -> String {
        let text = metrics.write().unwrap();
        let line =
            text.lines().find_map(|line| line.strip_prefix(&format!("spark_webhook_{name} ")));
        line.unwrap_or_else(|| panic!("{name} is missing in {text}")).to_owned()
    }

    #[tokio::test]
    async fn rules_of_a_changed_file_are_taken_and_a_bad_file_changes_nothing_but_the_problem() {
        let rules = |name: &str| {
            format!(
                "apiVersion: spark-webhook/v1\ndefaults: [{{annotations: {{spark-operator.k8s.io/sparkConfigMap: {name}}}}}]\n"
            )
        };
        let parsed = |name: &str| trial::load(&rules(name)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rules.yaml");
        fs::write(&path, rules("first")).unwrap();
        let settings = Settings { rules: parsed("first"), ..Settings::default() };
        let metrics = Arc::new(Metrics::new(Box::new(|| 0)));
        let watcher = RulesWatcher::new(
            Some(path.clone()),
            Arc::new(ArcSwap::from_pointee(settings)),
            metrics.clone(),
        );
        let mut following = Following {
            registered: watcher.settings.load_full(),
            file: WatchedFile::new(path.clone(), config::read_text),
            is_first: true,
        };
        for (text, expected, has_problem, reloads, failures) in [
            // These are the rules in force already.
            (rules("first"), "first", false, "0", "0"),
            (rules("second"), "second", false, "1", "0"),
            (rules("second"), "second", false, "1", "0"),
            ("garbage".to_owned(), "second", true, "1", "1"),
            ("garbage".to_owned(), "second", true, "1", "1"),
            (rules("second"), "second", false, "2", "1"),
        ] {
            fs::write(&path, &text).unwrap();
            watcher.follow(&mut following).await;
            assert_eq!(watcher.settings.load().rules, parsed(expected), "{text}");
            let problem = watcher.problem();
            assert_eq!(problem.is_some(), has_problem, "{problem:?}");
            assert_eq!(metric(&metrics, "config_problem"), u8::from(has_problem).to_string());
            let counted = ["done", "failed"].map(|result| {
                metric(&metrics, &format!("config_reloads_total{{result=\"{result}\"}}"))
            });
            assert_eq!(counted, [reloads, failures], "{text}");
        }
    }
}
