//! Pods that are created all the time, and what becomes of them.
//!
//! They are dry runs: the API server does everything but store them, so each that asks for
//! something is sent to the webhook, and none has to be cleaned up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Between two pods of a task: some 50 in a second, with all tasks.
const PAUSE: Duration = Duration::from_millis(30);

/// A running stream.
pub struct Stream {
    parts: Arc<Mutex<Vec<Part>>>,
    is_over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

/// What happens meanwhile, and the pods whose creation began then.
pub struct Part {
    pub what: &'static str,
    began: Instant,
    pub took: Duration,
    /// Those that ask and have got it.
    pub mounted: usize,
    /// Those that ask and were created without.
    pub without: usize,
    /// Those that ask and were not created: since when the part lasted when they were, and why.
    pub refused: Vec<(Duration, String)>,
    /// Those that ask for nothing, Spark's and others.
    pub others: usize,
    pub others_refused: Vec<String>,
    pub slowest: Duration,
}

impl Stream {
    /// Begins with a first part.
    pub fn start(client: &Client, namespace: &str, what: &'static str) -> Self {
        let parts = Arc::new(Mutex::new(vec![Part::new(what)]));
        let is_over = Arc::new(AtomicBool::new(false));
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let spark = json!({"spark-role": "driver"});
        let asks = json!({"spark-operator.k8s.io/secret.s": "/mnt/s"});
        // More than one at a time, as on a cluster.
        let kinds = [
            (&spark, &asks),
            (&spark, &asks),
            (&spark, &Value::Null),
            (&Value::Null, &Value::Null),
        ];
        let tasks = kinds.map(|(labels, annotations)| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": "p", "labels": labels, "annotations": annotations},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            }))
            .unwrap();
            let (pods, parts, is_over) = (pods.clone(), parts.clone(), is_over.clone());
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    create(&pods, &pod, &parts).await;
                    tokio::time::sleep(PAUSE).await;
                }
            })
        });
        Self { parts, is_over, tasks: tasks.into() }
    }

    /// The next part begins.
    pub fn part(&self, what: &'static str) {
        let mut parts = self.parts.lock().unwrap();
        let last = parts.last_mut().unwrap();
        last.took = last.began.elapsed();
        parts.push(Part::new(what));
    }

    pub async fn end(self) -> Vec<Part> {
        self.part("");
        self.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let mut parts = std::mem::take(&mut *self.parts.lock().unwrap());
        parts.pop();
        parts
    }
}

async fn create(pods: &Api<Pod>, pod: &Pod, parts: &Mutex<Vec<Part>>) {
    let (number, began) = (parts.lock().unwrap().len() - 1, Instant::now());
    let created = pods.create(&PostParams { dry_run: true, ..PostParams::default() }, pod).await;
    let mut parts = parts.lock().unwrap();
    let part = &mut parts[number];
    part.slowest = part.slowest.max(began.elapsed());
    let is_mounted = |pod: &Pod| {
        let annotations = pod.metadata.annotations.as_ref();
        annotations
            .is_some_and(|annotations| annotations.contains_key("spark-operator.k8s.io/injected"))
    };
    match (pod.metadata.annotations.is_some(), created) {
        (true, Ok(created)) if is_mounted(&created) => part.mounted += 1,
        (true, Ok(_)) => part.without += 1,
        (true, Err(error)) => part.refused.push((part.began.elapsed(), reason(&error))),
        (false, Ok(_)) => part.others += 1,
        (false, Err(error)) => part.others_refused.push(reason(&error)),
    }
}

/// What the API server says; of a webhook that it could not call, what it met there.
fn reason(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else { return error.to_string() };
    let message = &status.message;
    let met = message.split_once("?timeout=").and_then(|(_, rest)| rest.split_once("\": "));
    met.map_or(message.as_str(), |(_, met)| met).to_owned()
}

impl Part {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            began: Instant::now(),
            took: Duration::ZERO,
            mounted: 0,
            without: 0,
            refused: Vec::new(),
            others: 0,
            others_refused: Vec::new(),
            slowest: Duration::ZERO,
        }
    }
}

/// A row of the table, and why what was refused was.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            took,
            mounted,
            without,
            refused,
            others,
            others_refused,
            slowest,
            began: _,
        } = self;
        write!(
            f,
            "{what:<32} {:>6.1} s {mounted:>8} {without:>8} {:>8} {others:>8} {:>8} {:>7} ms",
            took.as_secs_f64(),
            refused.len(),
            others_refused.len(),
            slowest.as_millis()
        )?;
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in refused.iter().map(|(_, reason)| reason).chain(others_refused) {
            *reasons.entry(reason).or_default() += 1;
        }
        for (reason, count) in reasons {
            write!(f, "\n  {count} × {reason}")?;
        }
        Ok(())
    }
}

/// The heads of the table's columns.
pub fn heads() -> String {
    format!(
        "{:<32} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "", "took", "mounted", "without", "refused", "others", "refused", "slowest"
    )
}
