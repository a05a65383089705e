//! The bodies that are held, and how many bytes they are together.
//!
//! What comes in one piece, as nearly every review does, is only counted. What comes in more is
//! copied into blocks of one size, which serve one body after another: pieces would keep the
//! buffers that they were read into, however small they are, and memory that grows with each body
//! would leave gaps that are too small for the next.
//!
//! Where all together are too many, the largest goes, one that has stopped coming before one that
//! has not. So neither a few large ones nor many that stop shut out those that come.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hyper::body::Bytes;
use tokio::sync::Notify;

use super::limits::lock;

/// As much as comes at once, which is at most a TLS record.
const BLOCK: usize = 16 * 1024;

/// What the buffers of TLS and HTTP hold for a body of which more is to come.
const BUFFERS: usize = 64 * 1024;

/// A body of which nothing has come for so many milliseconds has stopped: a review comes at once.
const STOPPED: u64 = 250;

/// All bodies.
pub(super) struct Bodies {
    held: AtomicUsize,
    /// Those of the bytes whose bodies were told to go and have not gone yet.
    going: AtomicUsize,
    limit: usize,
    partial: Mutex<Partials>,
    next_id: AtomicU64,
    started: Instant,
}

/// Bodies of which more is to come.
#[derive(Default)]
struct Partials {
    bodies: HashMap<u64, Arc<Partial>>,
    /// Blocks that are free, until there is no such body left.
    free: Vec<Vec<u8>>,
}

struct Partial {
    bytes: AtomicUsize,
    /// When something came last, in milliseconds since the server's start.
    came: AtomicU64,
    /// As many as were counted when it was told to go.
    going: AtomicUsize,
    shed: Notify,
}

impl Bodies {
    /// None yet; so many bytes at most.
    pub(super) fn new(limit: usize) -> Self {
        let (held, going, next_id) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
        Self { held, going, limit, partial: Mutex::default(), next_id, started: Instant::now() }
    }

    /// A body that begins.
    pub(super) fn begin(&self) -> HeldBody<'_> {
        HeldBody { bodies: self, counted: 0, blocks: Vec::new(), len: 0, partial: None }
    }

    /// Tells a body to go, unless those that were told before are enough; `false` where that should
    /// be the one of so many bytes that have come just now.
    fn make_room(&self, bytes: usize) -> bool {
        let mut partial = lock(&self.partial);
        let held = self.held.load(Ordering::Relaxed);
        if held.saturating_sub(self.going.load(Ordering::Relaxed)) <= self.limit {
            return true;
        }
        let now = self.now();
        let Some((rank, id)) = partial.bodies.iter().map(|(&id, other)| (other.rank(now), id)).max() else { return false };
        if rank < (false, bytes) {
            return false;
        }
        if let Some(other) = partial.bodies.remove(&id) {
            let (_, bytes) = rank;
            other.going.store(bytes, Ordering::Relaxed);
            self.going.fetch_add(bytes, Ordering::Relaxed);
            other.shed.notify_one();
        }
        true
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Partial {
    /// The body with the highest is the first to go.
    fn rank(&self, now: u64) -> (bool, usize) {
        let silent = now.saturating_sub(self.came.load(Ordering::Relaxed));
        (silent >= STOPPED, self.bytes.load(Ordering::Relaxed))
    }
}

/// A body whose bytes count until it is dropped.
pub(super) struct HeldBody<'a> {
    bodies: &'a Bodies,
    counted: usize,
    blocks: Vec<Vec<u8>>,
    len: usize,
    partial: Option<(u64, Arc<Partial>)>,
}

impl HeldBody<'_> {
    /// Counts bytes that have come; `false` where this body has to go because all together are too
    /// many. Where there is one of which more is to come and that is at least as large, or has
    /// stopped coming, that one has to go instead.
    pub(super) async fn count(&mut self, bytes: usize) -> bool {
        self.counted += bytes;
        let held = self.bodies.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some((_, partial)) = &self.partial {
            partial.bytes.store(self.counted, Ordering::Relaxed);
            partial.came.store(self.bodies.now(), Ordering::Relaxed);
        }
        if held <= self.bodies.limit {
            return true;
        }
        if !self.bodies.make_room(self.counted) {
            return false;
        }
        // Who was told to go goes before more is read here.
        tokio::task::yield_now().await;
        true
    }

    /// Keeps a copy of a piece of the body, after which more is to come; `false` as with
    /// [`HeldBody::count`].
    pub(super) async fn keep(&mut self, mut piece: &[u8]) -> bool {
        if self.partial.is_none() {
            let id = self.bodies.next_id.fetch_add(1, Ordering::Relaxed);
            let [bytes, going] = [0, 0].map(AtomicUsize::new);
            let partial = Arc::new(Partial { bytes, came: AtomicU64::new(0), going, shed: Notify::new() });
            lock(&self.bodies.partial).bodies.insert(id, partial.clone());
            self.partial = Some((id, partial));
            if !self.count(BUFFERS).await {
                return false;
            }
        }
        self.len += piece.len();
        while !piece.is_empty() {
            if let Some(block) = self.blocks.last_mut().filter(|block| block.len() < BLOCK) {
                let (now, later) = piece.split_at(piece.len().min(BLOCK - block.len()));
                block.extend_from_slice(now);
                piece = later;
                continue;
            }
            if !self.count(BLOCK).await {
                return false;
            }
            let free = lock(&self.bodies.partial).free.pop();
            self.blocks.push(free.unwrap_or_else(|| Vec::with_capacity(BLOCK)));
        }
        true
    }

    /// How many bytes are kept.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All that is kept, which is no longer counted.
    pub(super) fn into_whole(mut self) -> Bytes {
        if self.blocks.len() <= 1 {
            return self.blocks.pop().unwrap_or_default().into();
        }
        let mut whole = Vec::with_capacity(self.len);
        self.blocks.iter().for_each(|block| whole.extend_from_slice(block));
        whole.into()
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
        if let Some((id, partial)) = &self.partial {
            let mut partials = lock(&self.bodies.partial);
            partials.bodies.remove(id);
            if partials.bodies.is_empty() {
                partials.free = Vec::new();
            } else {
                self.blocks.iter_mut().for_each(Vec::clear);
                partials.free.append(&mut self.blocks);
            }
            self.bodies.going.fetch_sub(partial.going.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.bodies.held.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: usize = 1024 * 1024;

    /// Says when something of a body came last, whatever the clock says.
    fn came(body: &HeldBody<'_>, at: u64) {
        body.partial.as_ref().unwrap().1.came.store(at, Ordering::Relaxed);
    }

    const JUST_NOW: u64 = u64::MAX;
    const LONG_AGO: u64 = 0;

    fn is_shed(body: &HeldBody<'_>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(body.shed()).poll(&mut context).is_ready()
    }

    #[tokio::test]
    async fn of_bodies_that_are_too_many_the_largest_goes_and_before_that_what_has_stopped() {
        let mut bodies = Bodies::new(10 * MIB);
        bodies.started -= Duration::from_millis(STOPPED);
        let mut large = bodies.begin();
        assert!(large.keep(&vec![0; 6 * MIB]).await);
        came(&large, JUST_NOW);
        let mut small = bodies.begin();
        assert!(small.keep(&vec![0; MIB]).await);
        came(&small, JUST_NOW);
        let mut active = bodies.begin();
        assert!(active.keep(&vec![0; 4 * MIB]).await, "the large one has to go instead");
        assert!(is_shed(&large) && !is_shed(&small) && !is_shed(&active));
        assert!(active.keep(&vec![0; MIB]).await, "the one that was told to go is enough");
        drop(large);
        came(&active, JUST_NOW);
        let mut larger = bodies.begin();
        assert!(!larger.count(6 * MIB).await, "it is itself the largest");
        drop(larger);
        came(&small, LONG_AGO);
        assert!(active.keep(&vec![0; 4 * MIB]).await, "another one has stopped");
        assert!(is_shed(&small) && !is_shed(&active));
        drop((small, active));
        assert_eq!((bodies.held.load(Ordering::Relaxed), bodies.going.load(Ordering::Relaxed)), (0, 0));
        assert!(lock(&bodies.partial).bodies.is_empty() && lock(&bodies.partial).free.is_empty());
    }

    #[tokio::test]
    async fn pieces_of_any_size_make_the_same_body_and_blocks_are_used_again() {
        let bodies = Bodies::new(MIB);
        let _other = {
            let mut other = bodies.begin();
            assert!(other.keep(b"x").await);
            other
        };
        let expected: Vec<u8> = (0..100_000).map(|number: u32| number.to_le_bytes()[0]).collect();
        for size in [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, expected.len()] {
            let mut body = bodies.begin();
            for piece in expected.chunks(size) {
                assert!(body.keep(piece).await);
            }
            assert_eq!(body.len(), expected.len());
            assert_eq!(body.into_whole(), expected);
            assert_eq!(lock(&bodies.partial).free.len(), expected.len().div_ceil(BLOCK));
        }
        assert_eq!(bodies.begin().into_whole(), b""[..]);
    }
}
