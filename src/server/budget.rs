//! Counts the bytes that clients make the server hold: request bodies until they are read, and
//! answers until clients receive them.
//!
//! A body that comes in one piece, as nearly every review does, is in the buffer that its
//! connection has anyway. One that comes in more is copied into blocks of one size, which serve one
//! body after another: pieces would keep the buffers that they were read into, however small they
//! are, and memory that grows with each body would leave gaps that are too small for the next.
//!
//! If all together exceed the limit, the largest has to go, and one that makes no progress before
//! one that does. So neither a few large ones nor many stalled ones shut out new ones. The client
//! of a body that goes gets 503 with `Retry-After`; the connection of an answer that goes is
//! closed.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::Notify;

use super::limits::lock;

/// The size of a TLS record: the most that arrives at once, and the part of an answer that a
/// connection holds itself.
const BLOCK: usize = 16 * 1024;

/// A body or answer without progress for so many milliseconds has stopped: API servers send and
/// receive at once.
const STOPPED: u64 = 250;

/// All of it.
pub(super) struct Budget {
    held: AtomicUsize,
    /// Those of the bytes whose holders were told to go and have not gone yet.
    going: AtomicUsize,
    limit: usize,
    holders: Mutex<Holders>,
    next_id: AtomicU64,
    started: Instant,
}

/// Who can be told to go.
#[derive(Default)]
struct Holders {
    all: HashMap<u64, Arc<Holder>>,
    /// How many of them are bodies.
    bodies: usize,
    /// Blocks that are free, until there is no body left.
    free: Vec<Vec<u8>>,
}

struct Holder {
    bytes: AtomicUsize,
    /// When something of it came last, in milliseconds since the server's start.
    moved: AtomicU64,
    /// As many as were counted when it was told to go.
    going: AtomicUsize,
    /// Which goes only when it has stopped: a request in progress is not dropped.
    is_answer: bool,
    /// Tells it.
    go: Arc<Notify>,
}

impl Holder {
    /// The one with the highest is the first to go; `None` where it stays.
    fn rank(&self, now: u64) -> Option<(bool, usize)> {
        let has_stopped = now.saturating_sub(self.moved.load(Ordering::Relaxed)) >= STOPPED;
        (has_stopped || !self.is_answer).then(|| (has_stopped, self.bytes.load(Ordering::Relaxed)))
    }
}

/// Whether there is room for bytes that are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Enough,
    /// Somebody else has been told to go.
    Soon,
    /// Who has just been counted has to go.
    None,
}

impl Budget {
    /// Nothing yet; so many bytes at most.
    pub(super) fn new(limit: usize) -> Self {
        let (held, going, next_id) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
        Self { held, going, limit, holders: Mutex::default(), next_id, started: Instant::now() }
    }

    /// A body of which more is to come than one piece.
    pub(super) fn body(self: &Arc<Self>) -> HeldBody {
        let mut share = Share::new(self);
        share.register(false, Arc::new(Notify::new()));
        HeldBody { share, blocks: Vec::new(), len: 0 }
    }

    /// An answer that is held until the client has taken it; `None` where there is no room for it.
    /// `end` is told where it has to go.
    pub(super) fn answer(
        self: &Arc<Self>,
        answer: Vec<u8>,
        end: &Arc<Notify>,
    ) -> Option<HeldAnswer> {
        if answer.len() <= BLOCK {
            return Some(HeldAnswer::from(answer));
        }
        let mut share = Share::new(self);
        share.register(true, end.clone());
        let mut blocks = VecDeque::with_capacity(answer.len().div_ceil(BLOCK));
        for piece in answer.chunks(BLOCK) {
            if share.count(BLOCK) == Room::None {
                return None;
            }
            let mut block = self.block();
            block.extend_from_slice(piece);
            blocks.push_back(block);
        }
        Some(HeldAnswer { share: Some(share), left: answer.len(), blocks })
    }

    fn block(&self) -> Vec<u8> {
        let free = lock(&self.holders).free.pop();
        free.unwrap_or_else(|| Vec::with_capacity(BLOCK))
    }

    /// Tells another holder than the one of so many bytes to go, unless those that were told before
    /// are enough.
    fn make_room(&self, own: Option<u64>, bytes: usize) -> Room {
        let mut holders = lock(&self.holders);
        let held = self.held.load(Ordering::Relaxed);
        if held.saturating_sub(self.going.load(Ordering::Relaxed)) <= self.limit {
            return Room::Soon;
        }
        let now = self.now();
        let others = holders.all.iter().filter(|(id, _)| Some(**id) != own);
        let ranks = others.filter_map(|(&id, other)| Some((other.rank(now)?, id)));
        let Some((rank, id)) = ranks.max() else { return Room::None };
        if rank < (false, bytes) {
            return Room::None;
        }
        if let Some(other) = holders.all.remove(&id) {
            let (_, bytes) = rank;
            other.going.store(bytes, Ordering::Relaxed);
            self.going.fetch_add(bytes, Ordering::Relaxed);
            other.go.notify_one();
        }
        Room::Soon
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Bytes that count until this is dropped.
struct Share {
    budget: Arc<Budget>,
    counted: usize,
    holder: Option<(u64, Arc<Holder>)>,
}

impl Share {
    fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: budget.clone(), counted: 0, holder: None }
    }

    /// From now on, it can be told to go.
    fn register(&mut self, is_answer: bool, go: Arc<Notify>) {
        let [bytes, going] = [0, 0].map(AtomicUsize::new);
        let holder = Arc::new(Holder {
            bytes,
            moved: AtomicU64::new(self.budget.now()),
            going,
            is_answer,
            go,
        });
        let id = self.budget.next_id.fetch_add(1, Ordering::Relaxed);
        let mut holders = lock(&self.budget.holders);
        holders.all.insert(id, holder.clone());
        holders.bodies += usize::from(!is_answer);
        self.holder = Some((id, holder));
    }

    /// Counts more bytes.
    fn count(&mut self, bytes: usize) -> Room {
        self.counted += bytes;
        let held = self.budget.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let id = self.holder.as_ref().map(|(id, holder)| {
            holder.bytes.store(self.counted, Ordering::Relaxed);
            *id
        });
        if held <= self.budget.limit {
            Room::Enough
        } else {
            self.budget.make_room(id, self.counted)
        }
    }

    /// Counts fewer bytes.
    fn uncount(&mut self, bytes: usize) {
        self.counted -= bytes;
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some((_, holder)) = &self.holder {
            holder.bytes.store(self.counted, Ordering::Relaxed);
        }
    }

    /// Something of it has moved.
    fn move_at(&self, now: u64) {
        if let Some((_, holder)) = &self.holder {
            holder.moved.store(now, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some((id, holder)) = &self.holder {
            let mut holders = lock(&self.budget.holders);
            holders.all.remove(id);
            if !holder.is_answer {
                holders.bodies -= 1;
                if holders.bodies == 0 {
                    holders.free = Vec::new();
                }
            }
            self.budget.going.fetch_sub(holder.going.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.budget.held.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// An answer on its way out, of which the connection takes a block when it has sent the one before.
pub(super) struct HeldAnswer {
    /// Of one that is larger than what a connection has on its way.
    share: Option<Share>,
    blocks: VecDeque<Vec<u8>>,
    left: usize,
}

impl From<Vec<u8>> for HeldAnswer {
    /// One that is not counted.
    fn from(answer: Vec<u8>) -> Self {
        Self { share: None, left: answer.len(), blocks: VecDeque::from([answer]) }
    }
}

impl Body for HeldAnswer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let block = self.blocks.pop_front();
        self.left -= block.as_ref().map_or(0, Vec::len);
        if let Some(share) = &mut self.share {
            share.uncount(BLOCK.min(share.counted));
            share.move_at(share.budget.now());
        }
        Poll::Ready(block.map(|block| Ok(Frame::data(block.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

/// A body on its way in.
pub(super) struct HeldBody {
    share: Share,
    blocks: Vec<Vec<u8>>,
    len: usize,
}

impl HeldBody {
    /// Keeps a copy of a piece of the body; `false` where the body has to go because all together
    /// are too many. Where there is another that is at least as large, or has stopped, that one has
    /// to go instead.
    pub(super) async fn keep(&mut self, mut piece: &[u8]) -> bool {
        self.len += piece.len();
        self.share.move_at(self.share.budget.now());
        while !piece.is_empty() {
            if let Some(block) = self.blocks.last_mut().filter(|block| block.len() < BLOCK) {
                let (now, later) = piece.split_at(piece.len().min(BLOCK - block.len()));
                block.extend_from_slice(now);
                piece = later;
                continue;
            }
            match self.share.count(BLOCK) {
                Room::Enough => {}
                // Who was told to go goes before more is read here.
                Room::Soon => tokio::task::yield_now().await,
                Room::None => return false,
            }
            self.blocks.push(self.share.budget.block());
        }
        true
    }

    /// How many bytes are kept.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All of it has come, and now it waits for the server.
    pub(super) fn wait(&self) {
        self.share.move_at(u64::MAX);
    }

    /// The whole body in one piece, which is no longer counted.
    pub(super) fn into_whole(mut self) -> Bytes {
        if self.blocks.len() <= 1 {
            return self.blocks.pop().unwrap_or_default().into();
        }
        let mut whole = Vec::with_capacity(self.len);
        self.append_to(&mut whole);
        whole.into()
    }

    /// Copies the whole body into a buffer; it is no longer counted then.
    pub(super) fn append_to(self, buffer: &mut Vec<u8>) {
        self.blocks.iter().for_each(|block| buffer.extend_from_slice(block));
    }

    /// Waits until the body has to go for another.
    pub(super) async fn shed(&self) {
        match &self.share.holder {
            Some((_, holder)) => holder.go.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.blocks.iter_mut().for_each(Vec::clear);
        lock(&self.share.budget.holders).free.append(&mut self.blocks);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn budget(limit: usize) -> Arc<Budget> {
        let mut budget = Budget::new(limit);
        budget.started -= Duration::from_millis(STOPPED);
        Arc::new(budget)
    }

    const JUST_NOW: u64 = u64::MAX;
    const LONG_AGO: u64 = 0;

    fn is_told(notify: &Notify) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(notify.notified()).poll(&mut context).is_ready()
    }

    fn is_shed(body: &HeldBody) -> bool {
        is_told(&body.share.holder.as_ref().unwrap().1.go)
    }

    fn assert_is_empty(budget: &Budget) {
        assert_eq!(
            (budget.held.load(Ordering::Relaxed), budget.going.load(Ordering::Relaxed)),
            (0, 0)
        );
        let Holders { all, bodies, free } = &*lock(&budget.holders);
        assert!(all.is_empty() && *bodies == 0 && free.is_empty());
    }

    #[tokio::test]
    async fn of_bodies_that_are_too_many_the_largest_goes_and_before_that_what_has_stopped() {
        let budget = budget(10 * MIB);
        let mut large = budget.body();
        assert!(large.keep(&vec![0; 6 * MIB]).await);
        large.share.move_at(JUST_NOW);
        let mut small = budget.body();
        assert!(small.keep(&vec![0; MIB]).await);
        small.share.move_at(JUST_NOW);
        let mut active = budget.body();
        assert!(active.keep(&vec![0; 4 * MIB]).await, "the large one has to go instead");
        assert!(is_shed(&large) && !is_shed(&small) && !is_shed(&active));
        assert!(active.keep(&[0]).await, "the one that was told to go is enough");
        drop(large);
        active.share.move_at(JUST_NOW);
        let mut larger = budget.body();
        assert!(larger.keep(&vec![0; 9 * MIB / 2]).await);
        assert!(!larger.keep(&vec![0; MIB]).await, "it is itself the largest");
        assert!(!is_shed(&small) && !is_shed(&active) && !is_shed(&larger));
        drop(larger);
        assert!(active.keep(&vec![0; 3 * MIB]).await);
        small.share.move_at(LONG_AGO);
        assert!(active.keep(&vec![0; 5 * MIB / 2]).await, "another one has stopped");
        assert!(is_shed(&small) && !is_shed(&active));
        drop(small);
        // One that is whole has not stopped, however long it waits, but is as large as it is.
        active.wait();
        let mut next = budget.body();
        assert!(next.keep(&vec![0; MIB]).await);
        assert!(is_shed(&active));
        drop((active, next));
        assert_is_empty(&budget);
    }

    #[tokio::test]
    async fn an_answer_counts_until_it_is_taken_and_goes_only_when_it_has_stopped() {
        let budget = budget(MIB);
        let end = Arc::new(Notify::new());
        let mut answer = budget.answer(vec![1; MIB / 2], &end).unwrap();
        assert!(budget.answer(vec![0; MIB * 3 / 4], &Arc::default()).is_none(), "it is on its way");
        let mut body = budget.body();
        assert!(!body.keep(&vec![0; MIB * 3 / 4]).await, "it is on its way");
        drop(body);
        let first = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, vec![1; BLOCK]);
        assert_eq!(
            (answer.size_hint().exact(), answer.is_end_stream()),
            (Some((MIB / 2 - BLOCK) as u64), false)
        );
        assert_eq!(budget.held.load(Ordering::Relaxed), MIB / 2 - BLOCK);
        answer.share.as_ref().unwrap().move_at(LONG_AGO);
        let mut body = budget.body();
        assert!(body.keep(&vec![0; MIB * 3 / 4]).await, "nobody takes it");
        assert!(is_told(&end));
        drop(answer);
        // What is on its way at once stays.
        let small = budget.answer(vec![0; BLOCK], &end).unwrap();
        assert_eq!(lock(&budget.holders).all.len(), 1);
        drop((small, body));
        assert_is_empty(&budget);
    }

    #[tokio::test]
    async fn an_answer_of_any_size_is_what_it_was() {
        let budget = budget(MIB);
        for size in [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let expected: Vec<u8> = (0..size).map(|number| number.to_le_bytes()[0]).collect();
            let answer = budget.answer(expected.clone(), &Arc::default()).unwrap();
            assert_eq!(answer.is_end_stream(), size == 0);
            assert_eq!(answer.collect().await.unwrap().to_bytes(), expected);
        }
        assert_is_empty(&budget);
    }

    #[tokio::test]
    async fn pieces_of_any_size_make_the_same_body_and_blocks_are_used_again() {
        let budget = budget(MIB);
        let mut other = budget.body();
        assert!(other.keep(b"x").await);
        let expected: Vec<u8> = (0..100_000).map(|number: u32| number.to_le_bytes()[0]).collect();
        for size in [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, expected.len()] {
            let mut body = budget.body();
            for piece in expected.chunks(size) {
                assert!(body.keep(piece).await);
            }
            assert_eq!(body.len(), expected.len());
            assert_eq!(body.into_whole(), expected);
            assert_eq!(lock(&budget.holders).free.len(), expected.len().div_ceil(BLOCK));
        }
        assert_eq!(budget.body().into_whole(), b""[..]);
        drop(other);
        assert_is_empty(&budget);
    }
}
