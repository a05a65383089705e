//! The threads that read large requests, so that small ones do not wait for them.
//!
//! Each has a lower priority than the threads of connections, and a buffer of its own for the whole
//! request. Freeing such a buffer after each request would leave the memory of several of them with
//! the allocator during a flood.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::budget::HeldBody;
use super::limits::lock;
use super::memory::{MAX_BODY, READERS};
use super::threads;

/// The threads, until this is dropped.
pub(super) struct Readers {
    free: Mutex<Vec<Reader>>,
    /// One for each reader.
    permits: Arc<Semaphore>,
    _stop: DropGuard,
}

struct Reader {
    thread: Handle,
    buffer: Vec<u8>,
}

/// The request was not read: there was no time left, or it had to go to make room for others.
pub(super) struct NotRead;

impl Readers {
    /// Starts the threads, in a runtime, which does their work where none can be started.
    pub(super) fn start() -> Self {
        let stop = CancellationToken::new();
        let mut threads: Vec<Handle> = Vec::new();
        for _ in 0..READERS {
            match threads::start("readers", threads::give_way, stop.clone()) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    tracing::warn!(%error, "a thread could not be started; the others do its work");
                }
            }
        }
        if threads.is_empty() {
            threads.push(Handle::current());
        }
        let free: Vec<Reader> =
            threads.into_iter().map(|thread| Reader { thread, buffer: Vec::new() }).collect();
        Self {
            permits: Arc::new(Semaphore::new(free.len())),
            free: Mutex::new(free),
            _stop: stop.drop_guard(),
        }
    }

    /// Waits for a reader, at most for a time, and has it read a request.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        body: HeldBody,
        within: Duration,
        read: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, NotRead> {
        body.wait();
        let permit = tokio::select! {
            biased;
            () = body.shed() => return Err(NotRead),
            permit = tokio::time::timeout(within, self.permits.clone().acquire_owned()) => permit,
        };
        let Ok(Ok(permit)) = permit else { return Err(NotRead) };
        let Some(mut reader) = lock(&self.free).pop() else { return Err(NotRead) };
        let readers = self.clone();
        // A task of its own, which gives the reader back even if the client has gone.
        let task = reader.thread.clone().spawn(async move {
            reader.buffer.clear();
            reader.buffer.reserve_exact(MAX_BODY);
            body.append_to(&mut reader.buffer);
            let value = read(&reader.buffer);
            if readers.permits.available_permits() + 1 == READERS {
                // Nobody waits, and nobody else reads.
                reader.buffer = Vec::new();
            }
            lock(&readers.free).push(reader);
            drop(permit);
            value
        });
        // It fails only while the process ends: `read` catches panics.
        task.await.map_err(|_| NotRead)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio::task::JoinHandle;

    use super::super::budget::Budget;
    use super::*;

    /// Long, compared with how long a thread takes to begin.
    const LONG: Duration = Duration::from_secs(30);

    /// Reads a body of three bytes, tells so, and does not end before the sender is dropped.
    fn read_until_released(
        readers: &Arc<Readers>,
    ) -> (JoinHandle<Option<usize>>, UnboundedReceiver<()>, mpsc::Sender<()>) {
        let (tell, begun) = unbounded_channel();
        let (release, end) = mpsc::channel::<()>();
        let readers = readers.clone();
        let task = tokio::spawn(async move {
            let mut body = Arc::new(Budget::new(1 << 20)).body();
            assert!(body.keep(b"abc").await);
            let read = move |body: &[u8]| {
                tell.send(()).unwrap();
                let _ = end.recv();
                body.len()
            };
            readers.read(body, LONG, read).await.ok()
        });
        (task, begun, release)
    }

    #[tokio::test]
    async fn as_many_are_read_at_once_as_there_are_readers_also_after_clients_have_gone() {
        let readers = Arc::new(Readers::start());
        for _ in 0..2 {
            let mut reading = Vec::new();
            for _ in 0..READERS {
                let (task, mut begun, release) = read_until_released(&readers);
                begun.recv().await.unwrap();
                reading.push((task, release));
            }
            let body = || Arc::new(Budget::new(1 << 20)).body();
            assert!(
                readers.read(body(), Duration::from_millis(20), |_| ()).await.is_err(),
                "all of them are busy"
            );
            let (waiting, mut begun, _) = read_until_released(&readers);
            // The client of one goes away; its reader is free as soon as it is done.
            let (gone, release) = reading.pop().unwrap();
            gone.abort();
            drop(release);
            begun.recv().await.unwrap();
            assert_eq!(waiting.await.unwrap(), Some(3));
            for (task, release) in reading {
                drop(release);
                assert_eq!(task.await.unwrap(), Some(3));
            }
        }
    }

    #[tokio::test]
    async fn a_request_that_waits_goes_when_others_need_its_room() {
        let readers = Arc::new(Readers::start());
        let mut reading = Vec::new();
        for _ in 0..READERS {
            let (task, mut begun, release) = read_until_released(&readers);
            begun.recv().await.unwrap();
            reading.push((task, release));
        }
        let budget = Arc::new(Budget::new(1 << 20));
        let mut large = budget.body();
        assert!(large.keep(&vec![0; 600_000]).await);
        let mut waiting = std::pin::pin!(readers.read(large, LONG, |_| ()));
        let other = async {
            let mut small = budget.body();
            assert!(small.keep(&vec![0; 500_000]).await);
        };
        let (ended, ()) = tokio::join!(&mut waiting, other);
        assert!(ended.is_err());
    }
}
