//! TLS with a client, with bounds on the memory and time that the client can take.
//!
//! rustls buffers a handshake message until it is complete, up to 64 KiB, and buffers bytes until
//! the client receives them. This stream ends a connection that sends too much without any byte of
//! a request, and one whose client does not receive an answer in time.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The maximum bytes of unencrypted handshake records: several times a `ClientHello` of today's
/// clients.
pub(super) const MAX_HANDSHAKE: usize = 16 * 1024;

/// The maximum bytes in a row that hold no byte of a request: one record of at most 18 KiB, and
/// messages of TLS itself, such as a client's chain of certificates.
pub(super) const MAX_WITHOUT_DATA: usize = 32 * 1024;

/// The maximum bytes that rustls buffers until the client receives them.
const MAX_UNSENT: usize = 8 * 1024;

/// A client receives an answer within this time: the API server waits no longer for a webhook.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The TCP connection below TLS; it counts the bytes that TLS reads.
struct Metered {
    stream: TcpStream,
    records: Records,
    /// Bytes of handshake records so far.
    handshake: usize,
    /// Bytes since the last byte of a request.
    without_data: usize,
}

impl Metered {
    fn count(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.handshake += self.records.handshake_bytes(bytes);
        self.without_data += bytes.len();
        if self.handshake > MAX_HANDSHAKE || self.without_data > MAX_WITHOUT_DATA {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the client's handshake is too large",
            ));
        }
        Ok(())
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        Poll::Ready(this.count(buffer.filled().get(before..).unwrap_or_default()))
    }
}

/// Finds the TLS records in a stream of bytes.
#[derive(Default)]
struct Records {
    header: [u8; HEADER],
    /// How many bytes of the header are known.
    come: usize,
    /// How many bytes of the record follow.
    left: usize,
    is_data: bool,
}

/// The type of a record, its version and its length.
const HEADER: usize = 5;

/// The type of encrypted records in TLS 1.3, and of data in TLS 1.2.
const APPLICATION_DATA: u8 = 23;

impl Records {
    /// How many of the next bytes belong to records other than application data.
    fn handshake_bytes(&mut self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let (content, rest) = bytes.split_at(bytes.len().min(self.left));
                self.left -= content.len();
                count += if self.is_data { 0 } else { content.len() };
                bytes = rest;
                continue;
            }
            if let Some(place) = self.header.get_mut(self.come) {
                *place = byte;
            }
            self.come += 1;
            bytes = rest;
            if self.come == HEADER {
                let [kind, _, _, high, low] = self.header;
                *self = Self {
                    left: u16::from_be_bytes([high, low]).into(),
                    is_data: kind == APPLICATION_DATA,
                    ..Self::default()
                };
            }
        }
        count
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// TLS with a client.
pub(super) struct ClientStream {
    stream: TlsStream<Metered>,
    /// The time by which the client must have received the bytes that wait; absent while none wait.
    taken_by: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    /// Does the handshake.
    pub(super) async fn accept(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<Self> {
        let stream = Metered { stream, records: Records::default(), handshake: 0, without_data: 0 };
        let stream = acceptor
            .accept_with(stream, |connection| connection.set_buffer_limit(Some(MAX_UNSENT)))
            .await?;
        Ok(Self { stream, taken_by: None })
    }

    /// The connection without TLS.
    pub(super) fn into_tcp(self) -> TcpStream {
        self.stream.into_inner().0.stream
    }

    /// Passes the result of sending on, or an error if the client has not received the bytes in
    /// time.
    fn within_time<T>(
        &mut self,
        context: &mut Context<'_>,
        sent: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            return sent;
        }
        let taken_by =
            self.taken_by.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
        taken_by.as_mut().poll(context).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not receive its answer"))
        })
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A record at a time. The stream's own `poll_read` fills the buffer, and reads as many
        // records for that as it takes.
        let stream = &mut self.get_mut().stream;
        let data = ready!(Pin::new(&mut *stream).poll_fill_buf(context))?;
        let count = data.len().min(buffer.remaining());
        buffer.put_slice(data.get(..count).unwrap_or_default());
        Pin::new(&mut *stream).consume(count);
        if count > 0 {
            stream.get_mut().0.without_data = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.within_time(context, sent)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.within_time(context, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.stream).poll_flush(context);
        if sent.is_ready() {
            // All of it.
            this.taken_by = None;
        }
        this.within_time(context, sent)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.stream).poll_shutdown(context);
        this.within_time(context, sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: u16) -> Vec<u8> {
        let mut record = vec![kind, 3, 3];
        record.extend_from_slice(&length.to_be_bytes());
        record.resize(HEADER + usize::from(length), 23);
        record
    }

    #[test]
    fn what_is_in_records_of_a_handshake_is_counted_however_they_are_cut() {
        let records = [
            record(22, 300),
            record(20, 1),
            record(23, 500),
            record(22, 0),
            record(21, 2),
            record(23, 0),
            record(22, 7),
        ];
        let bytes = records.concat();
        for size in [1, 2, 4, 5, 6, 299, 305, 306, bytes.len()] {
            let mut records = Records::default();
            let count: usize = bytes.chunks(size).map(|bytes| records.handshake_bytes(bytes)).sum();
            assert_eq!(count, 300 + 1 + 2 + 7, "in pieces of {size}");
        }
    }
}
