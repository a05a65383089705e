//! How much of this process its clients may use, so that no client can take it from the API server.
//!
//! Memory and descriptors are bounded by the number of connections and by the bytes of bodies that are held at once. Where a
//! bound is met, what has been of no use for longest gives way, and not what comes: otherwise a client that only holds
//! connections open would shut all others out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Bounds for all clients together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Bytes of bodies that are held at once.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, body_bytes: 64 * 1024 * 1024 }
    }
}

/// The open connections.
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Activity>>>,
    next_id: AtomicU64,
    limit: usize,
    started: Instant,
}

/// What a connection has been good for.
struct Activity {
    /// Milliseconds since the server's start.
    opened: u64,
    /// When its last whole request came, in milliseconds since the server's start; 0 before the first.
    last_request: AtomicU64,
    /// Requests that are whole and not answered yet: 0 or 1.
    busy: AtomicUsize,
    evicted: Notify,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Self {
        Self { open: Mutex::default(), next_id: AtomicU64::new(0), limit: limit.max(1), started: Instant::now() }
    }

    /// Enters a connection, and whether another one had to give way to it.
    pub(super) fn enter(self: &Arc<Self>) -> (OpenConnection, bool) {
        let activity = Arc::new(Activity {
            opened: self.now(),
            last_request: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            evicted: Notify::new(),
        });
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut open = lock(&self.open);
        let evicted = if open.len() >= self.limit { evict_one(&mut open) } else { false };
        open.insert(id, activity.clone());
        (OpenConnection { id, activity, is_unread: AtomicBool::new(false), connections: self.clone() }, evicted)
    }

    fn now(&self) -> u64 {
        // A millisecond later than it is, because 0 means never.
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// Ends the connection that has gone longest without a whole request, one that has never had any before one that has.
fn evict_one(open: &mut HashMap<u64, Arc<Activity>>) -> bool {
    let idle = open.iter().filter(|(_, activity)| activity.busy.load(Ordering::Relaxed) == 0);
    let rank = |activity: &Activity| (activity.last_request.load(Ordering::Relaxed), activity.opened);
    let Some(id) = idle.min_by_key(|(_, activity)| rank(activity)).map(|(&id, _)| id) else { return false };
    if let Some(activity) = open.remove(&id) {
        activity.evicted.notify_one();
    }
    true
}

/// A connection that counts until it is dropped.
pub(super) struct OpenConnection {
    id: u64,
    activity: Arc<Activity>,
    is_unread: AtomicBool,
    connections: Arc<Connections>,
}

impl OpenConnection {
    /// Waits until the connection has to give way to another.
    pub(super) async fn evicted(&self) {
        self.activity.evicted.notified().await;
    }

    /// A whole request has come; until the guard is dropped, the connection does not give way.
    pub(super) fn serving(&self) -> Serving<'_> {
        self.activity.last_request.store(self.connections.now(), Ordering::Relaxed);
        self.activity.busy.fetch_add(1, Ordering::Relaxed);
        Serving(&self.activity)
    }
}

impl OpenConnection {
    /// The last request was answered before all of it was read.
    pub(super) fn leave_unread(&self) {
        self.is_unread.store(true, Ordering::Relaxed);
    }

    /// Whether the client may still be sending what nobody reads.
    pub(super) fn is_unread(&self) -> bool {
        self.is_unread.load(Ordering::Relaxed)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        lock(&self.connections.open).remove(&self.id);
    }
}

/// See [`OpenConnection::serving`].
pub(super) struct Serving<'a>(&'a Activity);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that has not come whole holds buffers of TLS and HTTP, beside what has come of it.
const BUFFERS: usize = 48 * 1024;

/// The bytes of bodies that are held.
pub(super) struct Bodies {
    held: AtomicUsize,
    /// Those of them that belong to bodies that were told to go and have not gone yet.
    going: AtomicUsize,
    limit: usize,
    /// Bodies that came in more than one piece, and are not whole yet.
    partial: Mutex<HashMap<u64, Arc<Partial>>>,
    next_id: AtomicU64,
}

struct Partial {
    bytes: AtomicUsize,
    /// As many as were counted when it was told to go.
    going: AtomicUsize,
    shed: Notify,
}

impl Bodies {
    pub(super) fn new(limit: usize) -> Self {
        let (held, going) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { held, going, limit, partial: Mutex::default(), next_id: AtomicU64::new(0) }
    }

    /// A body that begins.
    pub(super) fn begin(&self) -> HeldBody<'_> {
        HeldBody { bodies: self, bytes: 0, partial: None }
    }

    /// Tells the largest body to go, unless those that were told before are enough; `false` where that is the one of so many
    /// bytes, for which there is to be room.
    fn make_room(&self, bytes: usize) -> bool {
        let mut partial = lock(&self.partial);
        let held = self.held.load(Ordering::Relaxed);
        if held.saturating_sub(self.going.load(Ordering::Relaxed)) <= self.limit {
            return true;
        }
        let size = |other: &Partial| other.bytes.load(Ordering::Relaxed);
        let Some((&id, other)) = partial.iter().max_by_key(|(_, other)| size(other)) else { return false };
        let largest = size(other);
        if largest <= bytes {
            return false;
        }
        other.going.store(largest, Ordering::Relaxed);
        self.going.fetch_add(largest, Ordering::Relaxed);
        other.shed.notify_one();
        partial.remove(&id);
        true
    }
}

/// A body whose bytes count until it is dropped.
pub(super) struct HeldBody<'a> {
    bodies: &'a Bodies,
    bytes: usize,
    partial: Option<(u64, Arc<Partial>)>,
}

impl HeldBody<'_> {
    /// Counts bytes that have come; `false` where this body has to go because all together are too many. Where there is a
    /// larger one that is not whole, that one has to go instead, so that a few large bodies do not shut out the small.
    pub(super) async fn add(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let held = self.bodies.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some((_, partial)) = &self.partial {
            partial.bytes.store(self.bytes, Ordering::Relaxed);
        }
        if held <= self.bodies.limit {
            return true;
        }
        if !self.bodies.make_room(self.bytes) {
            return false;
        }
        // Who was told to go goes before more is read here.
        tokio::task::yield_now().await;
        true
    }

    /// More is to come: from here on the body may have to go for another.
    pub(super) fn wait_for_more(&mut self) {
        if self.partial.is_none() {
            self.bytes += BUFFERS;
            self.bodies.held.fetch_add(BUFFERS, Ordering::Relaxed);
            let id = self.bodies.next_id.fetch_add(1, Ordering::Relaxed);
            let (bytes, going) = (AtomicUsize::new(self.bytes), AtomicUsize::new(0));
            let partial = Arc::new(Partial { bytes, going, shed: Notify::new() });
            lock(&self.bodies.partial).insert(id, partial.clone());
            self.partial = Some((id, partial));
        }
    }

    /// Waits until the body has to go for another; for ever where that cannot be.
    pub(super) async fn shed(&self) {
        match &self.partial {
            Some((_, partial)) => partial.shed.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for HeldBody<'_> {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some((id, partial)) = &self.partial {
            lock(&self.bodies.partial).remove(id);
            self.bodies.going.fetch_sub(partial.going.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// The time in which a client's request must be answered: what it says itself (`?timeout=5s`) less what the answer needs to
/// arrive, or what the API server allows at most.
pub(super) fn deadline(query: Option<&str>) -> Duration {
    /// The API server's own upper bound for a webhook.
    const MOST: Duration = Duration::from_secs(30);
    const MARGIN: Duration = Duration::from_millis(250);
    let said = query.unwrap_or_default().split('&').find_map(|parameter| parameter.strip_prefix("timeout="));
    let said = said.and_then(|text| humantime::parse_duration(text).ok()).filter(|timeout| *timeout <= MOST);
    said.unwrap_or(MOST).saturating_sub(MARGIN).max(MARGIN)
}

/// What is protected is consistent at any time, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
    fn at_the_cap_who_has_never_asked_gives_way_first_then_who_has_not_for_longest_and_never_who_is_served() {
        let connections = Arc::new(Connections::new(4));
        let served = connections.enter().0;
        let guard = served.serving();
        let asked_first = connections.enter().0;
        drop(asked_first.serving());
        std::thread::sleep(Duration::from_millis(3));
        let asked_then = connections.enter().0;
        drop(asked_then.serving());
        let silent = connections.enter().0;
        let (one_more, gave_way) = connections.enter();
        assert!(gave_way);
        assert_eq!(evicted(&[&served, &asked_first, &asked_then, &silent]), [false, false, false, true]);
        drop(one_more.serving());
        let (_another, _) = connections.enter();
        assert_eq!(evicted(&[&served, &asked_first, &asked_then, &one_more]), [false, true, false, false]);
        // Who has gone by itself makes room.
        drop(guard);
        drop(served);
        assert!(!connections.enter().1);
    }

    #[tokio::test]
    async fn of_bodies_that_are_too_many_the_largest_goes() {
        const MIB: usize = 1024 * 1024;
        let bodies = Bodies::new(100 * MIB);
        let mut large = bodies.begin();
        assert!(large.add(80 * MIB).await);
        large.wait_for_more();
        let mut small = bodies.begin();
        assert!(small.add(30 * MIB).await, "the large one has to go instead");
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::pin!(large.shed()).poll(&mut context).is_ready());
        small.wait_for_more();
        let mut another = bodies.begin();
        assert!(another.add(20 * MIB).await, "the one that was told to go is enough");
        drop(another);
        drop(large);
        let mut larger = bodies.begin();
        assert!(!larger.add(90 * MIB).await, "it is itself the largest");
        drop(larger);
        assert!(std::pin::pin!(small.shed()).poll(&mut context).is_pending());
        drop(small);
        assert_eq!((bodies.held.load(Ordering::Relaxed), bodies.going.load(Ordering::Relaxed)), (0, 0));
        assert!(lock(&bodies.partial).is_empty());
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
