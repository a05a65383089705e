//! How much of this process its clients may use, so that no client can take it from the API server.
//!
//! Memory and descriptors are bounded by the number of connections and by the bytes that are held
//! at once, see [memory](super::memory). Where a bound is met, what has been of no use for longest
//! gives way, and not what comes: otherwise a client that only holds connections open would shut
//! all others out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::listener::ADMIN_CONNECTIONS;

/// Bounds for all clients together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Bytes of bodies and answers that are held at once.
    pub body_bytes: usize,
}

/// How many connections may be told to end before the next one is accepted. Their threads may be
/// busy for a moment, and a new client does not wait for that.
pub(super) const MAX_LEAVING: usize = 32;

/// Files beside connections of the API server: those connections that are leaving, those of the
/// admin port, and 16 for the ports, the standard streams, signals, and files that are read again.
const OTHER_FILES: usize = (MAX_LEAVING + 1) + (ADMIN_CONNECTIONS + 1) + 16;

/// The files of a thread's runtime (Tokio 1.54): two of epoll, one to be woken, one for signals.
const FILES_PER_THREAD: usize = 4;

impl Limits {
    /// At most as many connections as the limit on open files leaves for them, beside so many
    /// threads.
    pub(super) fn within_open_files(self, threads: usize) -> Self {
        let Some(files) = open_files() else { return self };
        let most = connections_of(files, threads);
        if most < self.connections {
            tracing::warn!(
                connections = most,
                "as only {files} files can be open (ulimit -n), so many connections at most"
            );
        }
        Self { connections: self.connections.min(most), ..self }
    }
}

/// How many connections may be open where so many files may be: without a file for a new one, no
/// old one could give way to it.
fn connections_of(files: usize, threads: usize) -> usize {
    files.saturating_sub(OTHER_FILES + threads * FILES_PER_THREAD).max(files / 2)
}

/// How many files this process may have open; as many as it likes where that cannot be read.
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The open connections.
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Activity>>>,
    next_id: AtomicU64,
    limit: usize,
    max_leaving: usize,
    started: Instant,
    /// Those that have been told to end, and have not ended yet.
    leaving: AtomicUsize,
    gone: Notify,
}

/// What a connection has been good for.
struct Activity {
    /// Milliseconds since the server's start.
    opened: u64,
    /// When its last whole request came, in milliseconds since the server's start; 0 before the
    /// first.
    last_request: AtomicU64,
    /// Requests that are whole and not answered yet: 0 or 1.
    busy: AtomicUsize,
    evicted: Arc<Notify>,
}

impl Connections {
    /// None yet. At the limit, up to so many may be leaving before the next one is accepted.
    pub(super) fn new(limit: usize, max_leaving: usize) -> Self {
        Self {
            open: Mutex::default(),
            next_id: AtomicU64::new(0),
            limit: limit.max(1),
            max_leaving,
            started: Instant::now(),
            leaving: AtomicUsize::new(0),
            gone: Notify::new(),
        }
    }

    /// Enters a connection; at the limit, another one has to give way to it.
    pub(super) fn enter(self: &Arc<Self>) -> OpenConnection {
        let activity = Arc::new(Activity {
            opened: self.now(),
            last_request: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            evicted: Arc::default(),
        });
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut open = lock(&self.open);
        if open.len() >= self.limit && evict_one(&mut open) {
            self.leaving.fetch_add(1, Ordering::Relaxed);
        }
        open.insert(id, activity.clone());
        OpenConnection { id, activity, unread: OnceLock::new(), connections: self.clone() }
    }

    /// Waits while more have to give way than may be leaving at once: otherwise many that come at
    /// once are more than the limit for a moment, and descriptors run out.
    pub(super) async fn make_room(&self) {
        while self.leaving.load(Ordering::Relaxed) > self.max_leaving {
            self.gone.notified().await;
        }
    }

    fn now(&self) -> u64 {
        // A millisecond later than it is, because 0 means never.
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// Ends the connection that has gone longest without a whole request, one that has never had any
/// before one that has.
fn evict_one(open: &mut HashMap<u64, Arc<Activity>>) -> bool {
    let idle = open.iter().filter(|(_, activity)| activity.busy.load(Ordering::Relaxed) == 0);
    let rank =
        |activity: &Activity| (activity.last_request.load(Ordering::Relaxed), activity.opened);
    let Some(id) = idle.min_by_key(|(_, activity)| rank(activity)).map(|(&id, _)| id) else {
        return false;
    };
    if let Some(activity) = open.remove(&id) {
        activity.evicted.notify_one();
    }
    true
}

/// A connection that counts until it is dropped.
pub(super) struct OpenConnection {
    id: u64,
    activity: Arc<Activity>,
    unread: OnceLock<Instant>,
    connections: Arc<Connections>,
}

impl OpenConnection {
    /// Ends the connection.
    pub(super) fn end(&self) -> &Arc<Notify> {
        &self.activity.evicted
    }

    /// Waits until the connection has to end for another.
    pub(super) async fn evicted(&self) {
        self.activity.evicted.notified().await;
    }

    /// A whole request has come; until the guard is dropped, the connection does not give way.
    pub(super) fn serving(&self) -> Serving<'_> {
        self.activity.last_request.store(self.connections.now(), Ordering::Relaxed);
        self.activity.busy.fetch_add(1, Ordering::Relaxed);
        Serving(&self.activity)
    }

    /// The last request was answered before all of it was read; nothing of it has come since a
    /// moment.
    pub(super) fn leave_unread(&self, silent_since: Instant) {
        self.unread.get_or_init(|| silent_since);
    }

    /// Since when nothing has come of a request that was not read to its end.
    pub(super) fn unread(&self) -> Option<Instant> {
        self.unread.get().copied()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if lock(&self.connections.open).remove(&self.id).is_none() {
            self.connections.leaving.fetch_sub(1, Ordering::Relaxed);
            self.connections.gone.notify_one();
        }
    }
}

/// See [`OpenConnection::serving`].
pub(super) struct Serving<'a>(&'a Activity);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The time in which a client's request must be answered: what it says itself (`?timeout=5s`) less
/// what the answer needs to arrive, or what the API server allows at most.
pub(super) fn deadline(query: Option<&str>) -> Duration {
    /// The API server's own upper bound for a webhook.
    const MOST: Duration = Duration::from_secs(30);
    const MARGIN: Duration = Duration::from_millis(250);
    let said = query
        .unwrap_or_default()
        .split('&')
        .find_map(|parameter| parameter.strip_prefix("timeout="));
    let said = said
        .and_then(|text| humantime::parse_duration(text).ok())
        .filter(|timeout| *timeout <= MOST);
    said.unwrap_or(MOST).saturating_sub(MARGIN).max(MARGIN)
}

/// What is protected is consistent at any time, so a panic elsewhere spoils nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of some connections have been told to go.
    fn evicted(connections: &[&OpenConnection]) -> Vec<bool> {
        let is_told = |connection: &&OpenConnection| {
            let mut told = std::pin::pin!(connection.evicted());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            told.as_mut().poll(&mut context).is_ready()
        };
        connections.iter().map(is_told).collect()
    }

    #[test]
    fn at_the_cap_who_has_never_asked_gives_way_first_then_who_has_not_for_longest_and_never_who_is_served()
     {
        let connections = Arc::new(Connections::new(4, MAX_LEAVING));
        let served = connections.enter();
        let guard = served.serving();
        let asked_first = connections.enter();
        drop(asked_first.serving());
        std::thread::sleep(Duration::from_millis(3));
        let asked_then = connections.enter();
        drop(asked_then.serving());
        let silent = connections.enter();
        let one_more = connections.enter();
        let leaving = || connections.leaving.load(Ordering::Relaxed);
        assert_eq!(leaving(), 1);
        assert_eq!(
            evicted(&[&served, &asked_first, &asked_then, &silent]),
            [false, false, false, true]
        );
        drop(one_more.serving());
        let _another = connections.enter();
        assert_eq!(leaving(), 2);
        assert_eq!(
            evicted(&[&served, &asked_first, &asked_then, &one_more]),
            [false, true, false, false]
        );
        // Who has gone by itself makes room.
        drop(guard);
        drop((served, silent, asked_first));
        assert_eq!(leaving(), 0);
        let _last = connections.enter();
        assert_eq!(leaving(), 0);
    }

    #[test]
    fn who_comes_waits_only_while_too_many_others_are_leaving() {
        let connections = Arc::new(Connections::new(1, 2));
        let need_not_wait = || {
            let mut room = std::pin::pin!(connections.make_room());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            room.as_mut().poll(&mut context).is_ready()
        };
        // Two of them are leaving.
        let mut entered: Vec<_> = (0..3).map(|_| connections.enter()).collect();
        assert!(need_not_wait());
        entered.push(connections.enter());
        assert!(!need_not_wait());
        entered.remove(0);
        assert!(need_not_wait());
    }

    #[test]
    fn files_are_left_for_everything_else_but_at_least_half_are_for_connections() {
        for (files, threads, connections) in
            [(1024, 3, 930), (1024, 7, 914), (256, 5, 154), (200, 5, 100), (100, 7, 50), (0, 3, 0)]
        {
            assert_eq!(connections_of(files, threads), connections, "{files} files, {threads}");
        }
    }

    #[test]
    fn connections_need_files_and_each_has_one() {
        let most = connections_of(open_files().unwrap(), 3);
        for (connections, expected) in [(usize::MAX, most), (most, most), (7, 7)] {
            let limits = Limits { connections, ..Limits::default() }.within_open_files(3);
            assert_eq!(limits.connections, expected);
        }
    }

    #[test]
    fn the_deadline_is_what_the_client_says_less_a_margin() {
        for (query, expected) in [
            (Some("timeout=5s"), 4_750),
            (Some("a=b&timeout=1m"), 29_750),
            (Some("timeout=10s&x"), 9_750),
            (Some("timeout=0s"), 250),
            (Some("timeout=x"), 29_750),
            (None, 29_750),
        ] {
            assert_eq!(deadline(query), Duration::from_millis(expected), "{query:?}");
        }
    }
}
