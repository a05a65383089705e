//! Clients that hold connections and never ask for anything whole.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spark_webhook::server::Limits;
use spark_webhook::server::memory::CONNECTION;
use testkit::http::{ANONYMOUS, connect, exchange, metric, post, try_connect, try_handshake};
use testkit::soak::{Row, allow_descriptors, is_soak, median, scale};
use testkit::wait::wait_until;
use testkit::webhook::Webhook;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::{AtRest, alone, assert_memory, assert_nothing_is_left, review};

/// What such a client does first, before it does nothing more or next to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Begins a TLS handshake and does not go on.
    Handshake,
    /// Sends 60 kB of a `ClientHello`, and not its end.
    Hello,
    /// Sends a header, a byte a second.
    Header,
    /// Sends nearly as much of a header as the server reads, and not its end.
    LargeHeader,
    /// Sends the head of a request and the first bytes of its body.
    Body,
    /// Sends a review whose answer is large, and does not read it.
    Answer,
}

/// How one of them ended.
struct Held {
    time: Duration,
    received: Vec<u8>,
}

/// How long the body's client says that it waits.
const TIMEOUT: Duration = Duration::from_secs(15);

impl Holder {
    /// Holds a connection until the server ends it. `opened` gets a permit when there is nothing
    /// more to come soon.
    async fn hold(self, address: SocketAddr, opened: Arc<Semaphore>) -> Held {
        let mut started = Instant::now();
        let mut received = Vec::new();
        match self {
            Self::Handshake => {
                let mut stream = TcpStream::connect(address).await.unwrap();
                // A record of a handshake, of which a part comes.
                let _ = stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
                opened.add_permits(1);
                let _ = stream.read_to_end(&mut received).await;
            }
            Self::Hello => {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let _ = stream.write_all(&large_hello()).await;
                opened.add_permits(1);
                let _ = stream.read_to_end(&mut received).await;
            }
            Self::Answer => {
                let mut stream = begin_a_large_answer(address).await.unwrap();
                opened.add_permits(1);
                started = Instant::now();
                until_it_is_closed(&mut stream).await;
            }
            Self::Header | Self::LargeHeader | Self::Body => {
                let stream = try_connect(address, &ANONYMOUS).await;
                let Ok(mut stream) = stream else {
                    // It had to give way to another one already.
                    opened.add_permits(1);
                    return Held { time: started.elapsed(), received };
                };
                let head = match self {
                    Self::Body => {
                        let rest = "Host: x\r\nContent-Type: application/json\r\nContent-Length: 7000000\r\n\r\n";
                        format!(
                            "POST /mutate?timeout={}s HTTP/1.1\r\n{rest}{}",
                            TIMEOUT.as_secs(),
                            " ".repeat(4096)
                        )
                    }
                    Self::LargeHeader => {
                        format!("POST /mutate HTTP/1.1\r\nX: {}", "x".repeat(16_000))
                    }
                    _ => "POST /mutate HTTP/1.1\r\nX: ".to_owned(),
                };
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.flush().await;
                opened.add_permits(1);
                match self {
                    Self::Header => drip(&mut stream).await,
                    _ => drop(stream.read_to_end(&mut received).await),
                }
            }
        }
        Held { time: started.elapsed(), received }
    }

    /// The time after which none is left, counted from its beginning.
    fn deadline(self) -> Duration {
        match self {
            Self::Handshake | Self::Hello => Duration::from_secs(10),
            Self::Header | Self::LargeHeader => Duration::from_secs(120),
            Self::Body => TIMEOUT,
            Self::Answer => Duration::from_secs(30),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "never finish TLS",
            Self::Hello => "never finish a large ClientHello",
            Self::Header => "send a header byte a second",
            Self::LargeHeader => "never finish a large header",
            Self::Body => "stop in the body",
            Self::Answer => "do not read their answers",
        }
    }

    /// How many there are, in the quick form and in the long one.
    fn count(self) -> u32 {
        match self {
            Self::Handshake | Self::Header | Self::Body => scale(300, 2_000),
            Self::Hello | Self::LargeHeader => 3_900,
            Self::Answer => scale(200, 1_800),
        }
    }

    /// How many of them there are at once, at least.
    fn at_once(self) -> u32 {
        match self {
            // Below the maximum number of connections: at the maximum, the oldest give way.
            Self::Handshake | Self::Header | Self::Body => self.count().min(700),
            // Most of them give way, or their answers exceed the bytes in transit.
            Self::Hello | Self::LargeHeader | Self::Answer => 0,
        }
    }
}

/// Records of a handshake with most of a message.
fn large_hello() -> Vec<u8> {
    let mut hello = vec![1, 0, 0xfd, 0xe8, 3, 3];
    hello.resize(60_000, 0);
    let record = |piece: &[u8]| {
        [&[22, 3, 1], &u16::try_from(piece.len()).unwrap().to_be_bytes()[..], piece].concat()
    };
    hello.chunks(16_384).flat_map(record).collect()
}

/// A request for as many mounts as a pod may have, with long paths, which stand in the answer
/// twice.
static LARGE_ANSWER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut review: Value = serde_json::from_slice(&review()).unwrap();
    let annotations = (0..256).map(|number| {
        let path = format!("/{}", "d".repeat(200)).repeat(3);
        (
            format!("spark-operator.k8s.io/configMap.c{number}"),
            json!(format!("{path}/{number}:env=V{number}")),
        )
    });
    review["request"]["object"]["metadata"]["annotations"] = annotations.collect();
    post(&serde_json::to_vec(&review).unwrap())
});

/// A connection of which the large answer has begun, and whose client has hardly any room for the
/// rest.
async fn begin_a_large_answer(address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    loop {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(32 * 1024)?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let mut stream = try_handshake(stream, &ANONYMOUS).await?;
        stream.write_all(&LARGE_ANSWER).await?;
        stream.flush().await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        match &status {
            b"HTTP/1.1 200" => return Ok(stream),
            // Others are before it.
            b"HTTP/1.1 503" => tokio::time::sleep(Duration::from_millis(200)).await,
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }
}

/// Waits for the end of a connection without reading from it: what is sent then fails.
async fn until_it_is_closed(stream: &mut TlsStream<TcpStream>) {
    while stream.write_all(b"\r").await.is_ok() && stream.flush().await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Sends a byte a second until the other side ends the connection.
async fn drip(stream: &mut TlsStream<TcpStream>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut answer = [0; 512];
    loop {
        tokio::select! {
            _ = second.tick() => {
                if stream.write_all(b"x").await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            read = stream.read(&mut answer) => match read {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// A client is connected as soon as the kernel has its connection; the server accepts it a moment
/// later. Less than the deadline of a handshake.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(5);

/// Starts clients that hold connections, and waits until each of them is as far as it gets.
async fn open(holders: &[Holder], count: u32, address: SocketAddr) -> JoinSet<(Holder, Held)> {
    let opened = Arc::new(Semaphore::new(0));
    let mut held = JoinSet::new();
    for number in 0..count {
        for &holder in holders {
            let opened = opened.clone();
            held.spawn(async move { (holder, holder.hold(address, opened).await) });
        }
        // All at once would be more than waits for being accepted.
        if number % 100 == 99 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let all = count * u32::try_from(holders.len()).unwrap();
    opened.acquire_many(all).await.unwrap().forget();
    held
}

/// A client as the API server is one, and the times of its requests.
pub struct Good {
    address: SocketAddr,
    kept: TlsStream<TcpStream>,
    request: Vec<u8>,
    pub on_kept: Vec<Duration>,
    pub on_fresh: Vec<Duration>,
}

impl Good {
    pub async fn new(address: SocketAddr) -> Self {
        let request = post(&review());
        let mut kept = connect(address).await;
        assert_eq!(exchange(&mut kept, &request).await.status, 200);
        Self { address, kept, request, on_kept: Vec::new(), on_fresh: Vec::new() }
    }

    /// One request on the connection that is kept, and one on a fresh connection.
    pub async fn ask(&mut self) {
        let started = Instant::now();
        assert_eq!(exchange(&mut self.kept, &self.request).await.status, 200);
        self.on_kept.push(started.elapsed());
        let started = Instant::now();
        assert_eq!(exchange(&mut connect(self.address).await, &self.request).await.status, 200);
        self.on_fresh.push(started.elapsed());
    }
}

/// Below this, twice the time is the noise of a machine that has two cores for the server, its
/// clients and everything else.
const NOISE: Duration = Duration::from_micros(250);

/// How often more answers are timed before the medians of all of them decide. A neighbour of the
/// machine can slow down one server for longer than a few answers take; hostile clients slow it
/// down for as long as they are there.
const MOST_SAMPLES: usize = 5;

/// Asks a server with hostile clients and one without in turn, so that both meet the same noise.
pub async fn assert_good_clients_do_not_suffer(good: &mut Good, quiet: &mut Good, rounds: usize) {
    let mut slow = Vec::new();
    for _ in 0..MOST_SAMPLES {
        for _ in 0..rounds {
            good.ask().await;
            quiet.ask().await;
        }
        slow.clear();
        for (connection, with, without) in [
            ("kept", &mut good.on_kept, &mut quiet.on_kept),
            ("fresh", &mut good.on_fresh, &mut quiet.on_fresh),
        ] {
            let (with, without) = (median(with), median(without));
            println!(
                "on a {connection} connection: {with:?} beside them, {without:?} without them"
            );
            if with > (without * 2).max(without + NOISE) {
                slow.push(format!("{connection}: {with:?} instead of {without:?}"));
            }
        }
        if slow.is_empty() {
            return;
        }
    }
    panic!("{slow:?}");
}

async fn beside(holder: Holder) {
    let _alone = alone().await;
    allow_descriptors(16_384);
    let started = Instant::now();
    let (count, rounds) = (holder.count(), scale(100, 1_000));
    let (webhook, other) = (Webhook::start(&[]), Webhook::start(&[]));
    let (mut good, mut quiet) =
        (Good::new(webhook.address()).await, Good::new(other.address()).await);
    let before = AtRest::of(&webhook).without_one_connection();

    let opened = Instant::now();
    let mut held = open(&[holder], count, webhook.address()).await;
    println!("{count} that {} after {:?}", holder.as_str(), opened.elapsed());
    let at_once = f64::from(holder.at_once());
    let admin = webhook.admin_address();
    wait_until("they are there at once", ACCEPTED_WITHIN, async || {
        metric(admin, "connections").await > at_once
    })
    .await;
    assert_good_clients_do_not_suffer(&mut good, &mut quiet, rounds).await;
    println!("memory: {} KiB", webhook.resident_kib());

    // Two minutes are too long for the quick form.
    if !matches!(holder, Holder::Header | Holder::LargeHeader) || is_soak() {
        let slack = opened.elapsed().min(Duration::from_secs(5)) + Duration::from_secs(5);
        while let Some(ended) = held.join_next().await {
            let (_, Held { time, received }) = ended.unwrap();
            assert!(time < holder.deadline() + slack, "one was held for {time:?}");
            if holder == Holder::Body {
                let answer = String::from_utf8_lossy(&received);
                assert!(
                    answer.starts_with("HTTP/1.1 503 ")
                        && answer.contains("\r\nretry-after: 1\r\n"),
                    "{answer:?}"
                );
            }
        }
        println!("all gone after {:?}", opened.elapsed());
    }
    let asked = good.on_kept.len() + good.on_fresh.len();
    drop((held, good));
    assert_nothing_is_left(&webhook, before, Duration::from_secs(10)).await;
    println!(
        "memory: {} KiB in the end, {} KiB at most",
        webhook.resident_kib(),
        webhook.peak_kib()
    );
    assert_memory(&webhook);
    if !matches!(holder, Holder::Body | Holder::Answer) {
        let most = Limits::default().connections.min(count as usize) * CONNECTION / 1024;
        let taken = webhook.peak_kib() - before.resident_kib;
        assert!(taken <= most as u64, "{taken} KiB for connections, {most} KiB in the budget");
    }
    Row {
        what: &format!("good client beside {count} that {}", holder.as_str()),
        attempts: asked,
        answered: asked,
        memory_kib: Some(webhook.peak_kib()),
        started,
    }
    .print();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_client_does_not_suffer_from_handshakes_that_are_never_finished() {
    beside(Holder::Handshake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_client_does_not_suffer_from_headers_that_come_byte_by_byte() {
    beside(Holder::Header).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_client_does_not_suffer_from_bodies_that_never_come() {
    beside(Holder::Body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_client_does_not_suffer_from_large_hellos_that_are_never_finished() {
    beside(Holder::Hello).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_client_does_not_suffer_from_large_headers_that_are_never_finished() {
    beside(Holder::LargeHeader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_client_does_not_suffer_from_answers_that_are_never_read() {
    beside(Holder::Answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_cap_of_connections_a_good_client_is_served_and_who_only_holds_one_gives_way() {
    let _alone = alone().await;
    allow_descriptors(16_384);
    let started = Instant::now();
    let (count, rounds, cap) = scale((300, 100, 150), (2_000, 1_000, 1_000));
    let webhook = Webhook::start(&["--max-connections", &cap.to_string()]);
    let other = Webhook::start(&[]);
    let (mut good, mut quiet) =
        (Good::new(webhook.address()).await, Good::new(other.address()).await);
    let before = AtRest::of(&webhook).without_one_connection();

    let kinds = [Holder::Handshake, Holder::Header, Holder::Body];
    let mut held = open(&kinds, count, webhook.address()).await;
    let all = f64::from(count) * 3.0;
    let cap = f64::from(cap);
    let admin = webhook.admin_address();
    let gave_way = async || metric(admin, "connections_evicted_total").await >= all - cap;
    wait_until("what is more than the cap gave way", ACCEPTED_WITHIN, gave_way).await;
    let open_now = metric(admin, "connections").await;
    assert!(open_now <= cap, "{open_now} connections");
    assert_good_clients_do_not_suffer(&mut good, &mut quiet, rounds).await;

    let asked = good.on_kept.len() + good.on_fresh.len();
    held.shutdown().await;
    drop(good);
    assert_nothing_is_left(&webhook, before, Duration::from_secs(10)).await;
    println!(
        "memory: {} KiB in the end, {} KiB at most",
        webhook.resident_kib(),
        webhook.peak_kib()
    );
    assert_memory(&webhook);
    Row {
        what: &format!("good client beside {all} of these, {cap} connections at most"),
        attempts: asked,
        answered: asked,
        memory_kib: Some(webhook.peak_kib()),
        started,
    }
    .print();
}
