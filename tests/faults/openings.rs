//! What clients send that is neither TLS nor HTTP, or that only looks like it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use testkit::http::{ANONYMOUS, connect, exchange, post, try_connect};
use testkit::soak::{Row, scale};
use testkit::webhook::Webhook;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::rustls::ClientConnection;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::{AtRest, alone, assert_memory, assert_nothing_is_left, review};

/// How many there are at once.
const CLIENTS: u64 = 16;

/// Whoever ends a connection has ended it soon after that: before the server's first deadline, that
/// of a handshake.
const END: Duration = Duration::from_secs(9);

/// What the replies to a shape may take where the machine has much else to do.
const WHOLE_WITHIN: Duration = Duration::from_secs(20);

/// The same numbers for the same seed, so that a case that fails can be found again (`SplitMix64`).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Some bytes made others, taken away, doubled, or the rest cut off.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(16)).min(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                3 => drop(bytes.splice(at..at, self.bytes(16))),
                4 => bytes[at] ^= 1 << self.below(8),
                _ => bytes[at] = b"\0\r\n \t:,;\x7f\xff0"[self.below(11)],
            }
        }
    }
}

/// What a client would send first.
fn client_hello() -> Vec<u8> {
    let mut connection =
        ClientConnection::new(ANONYMOUS.clone(), ServerName::try_from("localhost").unwrap())
            .unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

/// Bytes instead of a handshake.
fn instead_of_tls(chance: &mut Chance) -> Vec<u8> {
    let mut hello = client_hello();
    match chance.below(7) {
        0 => chance.bytes(2_000),
        1 => {
            let record =
                [20 + chance.next().to_le_bytes()[0] % 5, 3, chance.next().to_le_bytes()[0] % 5];
            [&record[..], &chance.bytes(2_000)].concat()
        }
        2 => post(&review()),
        3 => {
            // An alert, data or another message of a handshake where an answer is due.
            let length = u8::try_from(chance.below(256)).unwrap();
            let record = [20 + chance.next().to_le_bytes()[0] % 4, 3, 3, 0, length];
            [&hello[..], &record, &chance.bytes(300)].concat()
        }
        4 => {
            hello.truncate(chance.below(hello.len()));
            hello
        }
        _ => {
            chance.spoil(&mut hello);
            hello
        }
    }
}

/// Bytes instead of a request.
fn instead_of_http(chance: &mut Chance) -> Vec<u8> {
    let mut request = post(b"{}");
    match chance.below(6) {
        0 => chance.bytes(2_000),
        1 => SHAPES[chance.below(SHAPES.len())].1.clone(),
        2 => {
            let mut shape = SHAPES[chance.below(SHAPES.len())].1.clone();
            chance.spoil(&mut shape);
            shape
        }
        3 => {
            // Not of the text that is refused as such, but of the review.
            let mut review = review();
            chance.spoil(&mut review);
            post(&review)
        }
        _ => {
            chance.spoil(&mut request);
            request
        }
    }
}

/// Known ways in which two readers of the same bytes see different requests, with the answers to
/// each. 200 is an answer to the review, 404 to what is behind it, and 400 with nothing after it
/// says that the connection ended there.
#[expect(clippy::type_complexity, reason = "a table")]
static SHAPES: LazyLock<Vec<(&str, Vec<u8>, &[u16])>> = LazyLock::new(|| {
    let body = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE","resource":{"group":"","version":"v1","resource":"services"}}}"#;
    let (length, hex) = (body.len(), format!("{:x}", body.len()));
    let next = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let head = "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    // A review with these lines in its head, these bytes as its body, and another request behind
    // it.
    let with = |lines: &str, body: &str| format!("{head}{lines}\r\n\r\n{body}{next}").into_bytes();
    let sized = |lines: &str| with(&format!("Content-Length: {length}\r\n{lines}"), body);
    let chunked = |chunks: &str| with("Transfer-Encoding: chunked", chunks);
    let whole = format!("{hex}\r\n{body}\r\n0\r\n\r\n");
    let line = |first: &str| {
        format!("{first}\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}{next}")
            .into_bytes()
    };
    vec![
        ("as it should be", sized("X: y"), &[200, 404]),
        ("in chunks, as it should be", chunked(&whole), &[200, 404]),
        ("two of them", [post(body.as_bytes()), post(body.as_bytes())].concat(), &[200, 200]),
        (
            "length and chunks",
            with(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked", whole.len() + next.len()), &whole),
            &[200],
        ),
        ("chunks and length", with("Transfer-Encoding: chunked\r\nContent-Length: 3", &whole), &[200]),
        ("two lengths", sized("Content-Length: 0"), &[400]),
        ("the same length twice", sized(&format!("Content-Length: {length}")), &[200, 404]),
        ("a list of lengths", with(&format!("Content-Length: {length}, {length}"), body), &[400]),
        ("a length with a sign", with(&format!("Content-Length: +{length}"), body), &[400]),
        ("a negative length", with("Content-Length: -1", body), &[400]),
        ("a hexadecimal length", with(&format!("Content-Length: 0x{hex}"), body), &[400]),
        ("a length beyond all numbers", with("Content-Length: 99999999999999999999999", body), &[400]),
        ("an empty length", with("Content-Length:", body), &[400]),
        ("a length with a blank before the colon", with(&format!("Content-Length : {length}"), body), &[400]),
        ("a length after a tab", with(&format!("Content-Length:\t{length}"), body), &[200, 404]),
        ("no length", with("X: y", body), &[400, 400]),
        ("another encoding", with("Transfer-Encoding: identity", &whole), &[400]),
        ("an encoding that looks like chunks", with("Transfer-Encoding: xchunked", &whole), &[400]),
        ("an encoding in capitals", with("Transfer-Encoding: CHUNKED", &whole), &[200, 404]),
        ("chunks, then another encoding", with("Transfer-Encoding: chunked, identity", &whole), &[400]),
        ("another encoding, then chunks", with("Transfer-Encoding: gzip, chunked", &whole), &[200, 404]),
        ("chunks twice", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", &whole), &[200, 404]),
        ("two encodings", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", &whole), &[400]),
        ("an encoding after a vertical tab", with("Transfer-Encoding: \u{b}chunked", &whole), &[400]),
        ("a blank before the encoding's colon", with("Transfer-Encoding : chunked", &whole), &[400]),
        ("a folded encoding", with("Transfer-Encoding:\r\n chunked", &whole), &[400]),
        ("a folded header", sized("X: y\r\n z"), &[400]),
        (
            "chunks in HTTP/1.0",
            format!("POST /mutate HTTP/1.0\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{whole}{next}")
                .into_bytes(),
            &[400],
        ),
        ("a chunk extension", chunked(&whole.replacen("\r\n", ";a=b\r\n", 1)), &[200, 404]),
        ("a chunk extension with a bare LF", chunked(&whole.replacen("\r\n", ";a\n\r\n", 1)), &[400]),
        ("a huge chunk extension", chunked(&whole.replacen("\r\n", &format!(";{}\r\n", "x".repeat(100_000)), 1)), &[400]),
        ("a negative chunk", chunked(&format!("-{whole}")), &[400]),
        ("a chunk with a sign", chunked(&format!("+{whole}")), &[400]),
        ("a chunk with 0x", chunked(&format!("0x{whole}")), &[400]),
        ("a chunk with blanks", chunked(&whole.replacen("\r\n", "  \r\n", 1)), &[200, 404]),
        ("a chunk beyond all numbers", chunked(&format!("fffffffffffffffff\r\n{body}\r\n0\r\n\r\n")), &[400]),
        ("a chunk as large as numbers get", chunked(&format!("ffffffffffffffff\r\n{body}\r\n0\r\n\r\n")), &[]),
        ("a chunk longer than it says", chunked(&format!("3\r\n{body}\r\n0\r\n\r\n")), &[400]),
        ("a chunk ended by LF", chunked(&whole.replacen("\r\n", "\n", 1)), &[400]),
        ("a chunk's data ended by LF", chunked(&format!("{hex}\r\n{body}\n0\r\n\r\n")), &[400]),
        ("an empty chunk size", chunked(&format!("\r\n{body}\r\n0\r\n\r\n")), &[400]),
        ("trailers", chunked(&format!("{hex}\r\n{body}\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n")), &[200, 404]),
        ("huge trailers", chunked(&format!("{hex}\r\n{body}\r\n0\r\nX: {}\r\n\r\n", "x".repeat(100_000))), &[400]),
        ("a last chunk of many zeros", chunked(&format!("{hex}\r\n{body}\r\n0000000\r\n\r\n")), &[200, 404]),
        ("lines ended by LF", sized("X: y").iter().copied().filter(|&byte| byte != b'\r').collect(), &[200, 404]),
        ("a bare CR in a header", sized("X: y\rContent-Length: 0"), &[400]),
        ("a bare LF in a header", sized("X: y\nContent-Length: 0"), &[400]),
        ("NUL in a header", sized("X: y\0z"), &[400]),
        ("NUL in a header's name", sized("X\0: y"), &[400]),
        ("a header without a name", sized(": y"), &[400]),
        ("a header without a colon", sized("X"), &[400]),
        ("a byte beyond ASCII in a header's name", sized("\u{e9}: y"), &[400]),
        ("an absolute target", line("POST http://other/mutate HTTP/1.1"), &[200, 404]),
        ("a target of another scheme", line("POST file:///mutate HTTP/1.1"), &[400]),
        ("an authority as target", line("CONNECT mutate:443 HTTP/1.1"), &[404]),
        ("an asterisk as target", line("OPTIONS * HTTP/1.1"), &[404]),
        ("a target with dots", line("POST /x/../mutate HTTP/1.1"), &[404]),
        ("a target with a blank", line("POST /mutate x HTTP/1.1"), &[400]),
        ("a target with NUL", line("POST /mutate\0 HTTP/1.1"), &[400]),
        ("a huge target", line(&format!("POST /{} HTTP/1.1", "x".repeat(100_000))), &[431]),
        ("a huge header", sized(&format!("X: {}", "x".repeat(1_000_000))), &[431]),
        ("a thousand headers", sized(&"X: y\r\n".repeat(1_000)), &[431]),
        (
            "no host",
            format!("POST /mutate HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}{next}")
                .into_bytes(),
            &[200, 404],
        ),
        ("two hosts", sized("Host: y"), &[200, 404]),
        ("HTTP/0.9", b"GET /mutate\r\n".to_vec(), &[400]),
        ("HTTP/1.2", line("POST /mutate HTTP/1.2"), &[400]),
        ("HTTP/2 by prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), &[]),
        (
            "HTTP/2 by upgrade",
            sized("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
            &[200, 404],
        ),
        (
            "a websocket",
            sized("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
            &[200, 404],
        ),
        ("empty lines first", [b"\r\n\r\n".to_vec(), sized("X: y")].concat(), &[200, 404]),
        ("a blank first", [b" ".to_vec(), sized("X: y")].concat(), &[400]),
        ("a method in small letters", line("post /mutate HTTP/1.1"), &[405]),
        ("a method with NUL", line("PO\0ST /mutate HTTP/1.1"), &[400]),
        ("a GET with a body", line("GET /mutate HTTP/1.1"), &[405]),
        ("an expectation of another kind", sized("Expect: 200-maybe"), &[200, 404]),
        ("TLS within TLS", client_hello(), &[400]),
    ]
});

/// The status of each whole reply in what came, and what is left of it.
fn statuses(mut received: &[u8]) -> (Vec<u16>, &[u8]) {
    let mut statuses = Vec::new();
    while let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&received[..end + 2]).into_owned();
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .or(head.strip_prefix("HTTP/1.0 "))
            .unwrap_or_else(|| panic!("{head:?}"));
        let status = status[..3].parse().unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |text| text.parse().unwrap());
        let Some(rest) = received.get(end + 4 + length..) else { break };
        received = rest;
        statuses.push(status);
    }
    (statuses, received)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_where_it_says_or_its_connection_ends_there() {
    let _alone = alone().await;
    let started = Instant::now();
    let webhook = Webhook::start(&[]);
    let address = webhook.address();
    assert_eq!(exchange(&mut connect(address).await, &post(&review())).await.status, 200);
    let before = AtRest::of(&webhook);
    let mut answers = JoinSet::new();
    for (what, bytes, expected) in SHAPES.iter() {
        answers.spawn(async move {
            let mut stream = connect(address).await;
            let mut received = Vec::new();
            // What ends the connection may end it while this is being sent.
            let _ = stream.write_all(bytes).await;
            let _ = stream.flush().await;
            let whole = async {
                while statuses(&received).0.len() < expected.len()
                    && stream.read_buf(&mut received).await.is_ok_and(|count| count > 0)
                {
                }
            };
            let _ = tokio::time::timeout(WHOLE_WITHIN, whole).await;
            // Where it stays open, nothing more comes.
            let ended =
                tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut received))
                    .await
                    .is_ok();
            let (statuses, rest) = statuses(&received);
            assert!(rest.is_empty(), "{what}: {:?}", String::from_utf8_lossy(rest));
            (*what, statuses, ended, *expected)
        });
    }
    let mut wrong = Vec::new();
    for (what, statuses, ended, expected) in answers.join_all().await {
        if statuses != expected {
            wrong.push(format!("{what}: {statuses:?} {ended} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_nothing_is_left(&webhook, before, Duration::from_secs(10)).await;
    let count = SHAPES.len();
    Row {
        what: "shapes of smuggling",
        attempts: count,
        answered: count,
        memory_kib: Some(webhook.peak_kib()),
        started,
    }
    .print();
}

/// Sends a case, by its number, and waits for the end of its connection; whether that came.
async fn send(address: SocketAddr, number: u64) -> bool {
    let mut chance = Chance(number);
    let over_tls = number.is_multiple_of(2);
    let bytes = if over_tls { instead_of_http(&mut chance) } else { instead_of_tls(&mut chance) };
    // Some end their side and wait for the other, as the polite do, and some are just gone.
    let waits = chance.below(4) > 0;
    let mut received = Vec::new();
    // The server may end it at any byte, so failures to send mean nothing.
    let exchanged = async {
        if over_tls {
            let Ok(mut stream) = try_connect(address, &ANONYMOUS).await else { return };
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            if waits {
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut received).await;
            }
        } else {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(&bytes).await;
            if waits {
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut received).await;
            }
        }
    };
    tokio::time::timeout(END, exchanged).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_openings_leave_nothing_behind() {
    let _alone = alone().await;
    let started = Instant::now();
    let count = scale(2_000, 100_000);
    let webhook = Webhook::start(&[]);
    let address = webhook.address();
    assert_eq!(exchange(&mut connect(address).await, &post(&review())).await.status, 200);
    let before = AtRest::of(&webhook);

    let next = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let next = next.clone();
        clients.spawn(async move {
            let mut lost = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return lost;
                }
                if !send(address, number).await {
                    lost.push(number);
                }
                if number.is_multiple_of(100) {
                    assert_eq!(
                        exchange(&mut connect(address).await, &post(&review())).await.status,
                        200
                    );
                }
            }
        });
    }
    let lost = clients.join_all().await.concat();
    let count = usize::try_from(count).unwrap();
    Row {
        what: "malformed openings, of TLS and of HTTP",
        attempts: count,
        answered: count - lost.len(),
        memory_kib: Some(webhook.peak_kib()),
        started,
    }
    .print();
    assert!(lost.is_empty(), "connections that did not end: {lost:?}");
    assert_nothing_is_left(&webhook, before, Duration::from_secs(15)).await;
    assert_memory(&webhook);
    // Neither is a task left: it would be waited for, for 20 s.
    webhook.signal("TERM");
    assert_eq!(webhook.wait().code(), Some(0));
}
