//! The load: keep-alive connections, each of which sends the same review again as soon as it is
//! answered.

use std::str;
use std::sync::Arc;
use std::time::{Duration, Instant};

use testkit::http;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::process::Server;

/// What one round of load found.
pub struct Round {
    /// Requests a second.
    pub rate: f64,
    /// Latency that half of the requests had at most, in microseconds.
    pub p50: f64,
    /// The same of 99 in 100.
    pub p99: f64,
    /// The server's CPU time for a request, in microseconds.
    pub cpu: f64,
    /// The server's resident memory at the end, in megabytes.
    pub resident: f64,
}

/// The connections to a server.
pub struct Clients(Vec<Client>);

impl Clients {
    pub async fn connect(server: &Server, count: usize) -> Self {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(Client {
                stream: http::connect(server.address()).await,
                reply: vec![0; 16 * 1024],
            });
        }
        Self(clients)
    }

    /// Each connection sends a request so many times.
    pub async fn exchange_each(&mut self, request: &Arc<[u8]>, times: usize) {
        self.exchange_while(request, move |sent| sent < times).await;
    }

    /// All connections send requests for a while.
    pub async fn round(&mut self, server: &Server, request: &Arc<[u8]>, length: Duration) -> Round {
        let cpu_before = server.cpu_at_rest();
        let started = Instant::now();
        let mut latencies = self.exchange_while(request, move |_| started.elapsed() < length).await;
        let elapsed = started.elapsed();
        let cpu = server.cpu_at_rest().saturating_sub(cpu_before);
        latencies.sort_unstable();
        let quantile =
            |percent: usize| latencies[latencies.len() * percent / 100].as_secs_f64() * 1e6;
        let requests = f64::from(u32::try_from(latencies.len()).unwrap());
        Round {
            rate: requests / elapsed.as_secs_f64(),
            p50: quantile(50),
            p99: quantile(99),
            cpu: cpu.as_secs_f64() * 1e6 / requests,
            resident: server.resident(),
        }
    }

    /// Each connection sends requests for as long as it should, by the number of those it has sent;
    /// the latencies of all.
    async fn exchange_while(
        &mut self,
        request: &Arc<[u8]>,
        should: impl Fn(usize) -> bool + Copy + Send + 'static,
    ) -> Vec<Duration> {
        let mut running = JoinSet::new();
        for mut client in self.0.drain(..) {
            let request = request.clone();
            running.spawn(async move {
                let mut latencies = Vec::new();
                while should(latencies.len()) {
                    let sent = Instant::now();
                    client.exchange(&request).await;
                    latencies.push(sent.elapsed());
                }
                (client, latencies)
            });
        }
        let mut all = Vec::new();
        for (client, latencies) in running.join_all().await {
            self.0.push(client);
            all.extend(latencies);
        }
        all
    }
}

struct Client {
    stream: TlsStream<TcpStream>,
    /// Room for a reply, which is not allocated anew for each.
    reply: Vec<u8>,
}

impl Client {
    async fn exchange(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.unwrap();
        self.stream.flush().await.unwrap();
        let mut came = 0;
        loop {
            let count = self.stream.read(&mut self.reply[came..]).await.unwrap();
            assert!(count > 0, "the connection ended, or the reply is larger than any should be");
            came += count;
            match length(&self.reply[..came]) {
                Some(length) if came == length => return,
                Some(length) => assert!(came < length, "nothing follows the reply"),
                None => {}
            }
        }
    }
}

/// How long a reply is, which must be an answer; unknown until its head is there.
fn length(reply: &[u8]) -> Option<usize> {
    let head_length = reply.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = str::from_utf8(&reply[..head_length]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let body_length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap()
        .parse()
        .unwrap();
    Some(head_length + body_length)
}
