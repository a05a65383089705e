//! The server beside two others, over the same load: what an admission costs from the network to
//! the network.
//!
//! `make bench-server` takes some three minutes, a third of it for a million reviews. With the path
//! of a program in `OURS`, `cargo bench --bench server -- quick` takes twenty seconds and is for
//! work on the server: too few rounds to trust, and no million.
//!
//! - `floor` is hyper and rustls, set up as ours are, on tokio's ordinary runtime, and answers
//!   every body with the same bytes unread: what any webhook in Rust pays before it has looked at
//!   anything, as most are built.
//! - `ordinary` is what a webhook written with axum, kube's types and `json_patch` pays for the
//!   same mounts.
//! - `ours` is the program of the image, which is what clusters run, with the log as users run it:
//!   each admission is a line, and the lines are read from a pipe.
//!
//! Others work on the machine too, and what a request costs changes from minute to minute. So the
//! three take turns in rounds of a fraction of a second, what is compared are the rounds of one
//! turn, and what is told is the median of all turns. The load is one thread of this process: with
//! two cores, the server always has one to itself.

mod floor;
mod https;
mod load;
mod ordinary;
mod process;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use load::{Clients, Round};
use process::{Kind, Server};
use testkit::http;

/// A driver's review by a real API server, with six annotations of ours.
const REVIEW: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/all-kinds.spark-3.5.driver.json");

/// Open connections. An API server has one for each review that is on its way; 128 is a busy
/// cluster.
const CONNECTIONS: [usize; 4] = [1, 8, 32, 128];

const MILLION: usize = 1_000_000;

/// How much is measured.
struct Effort {
    starts: usize,
    turns: usize,
    round: Duration,
    reviews: usize,
}

impl Effort {
    const WHOLE: Self =
        Self { starts: 11, turns: 41, round: Duration::from_millis(150), reviews: MILLION };
    const QUICK: Self = Self { starts: 3, turns: 7, round: Duration::from_millis(150), reviews: 0 };
}

fn main() -> ExitCode {
    // Cargo's own argument is `--bench`.
    match env::args().nth(1).as_deref() {
        Some("floor") => floor::serve(&fs::read(REVIEW).unwrap()),
        Some("ordinary") => ordinary::serve(),
        _ => {
            let effort = if env::args().any(|argument| argument == "quick") {
                Effort::QUICK
            } else {
                Effort::WHOLE
            };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            return runtime.block_on(measure(&effort));
        }
    }
    ExitCode::SUCCESS
}

/// Measures everything and prints it; fails where something that should hold does not.
async fn measure(effort: &Effort) -> ExitCode {
    let request: Arc<[u8]> = http::post(&fs::read(REVIEW).unwrap()).into();
    let mut claims = Vec::new();

    let starts = starts(effort.starts, &request).await;
    println!("{:<10} {:>16} {:>16}", "server", "first answer ms", "MB after it");
    for kind in Kind::ALL {
        let [first_answer, resident] = starts[kind as usize];
        println!("{:<10} {first_answer:>16.1} {resident:>16.2}", kind.name());
    }
    let [first_answer, resident] = starts[Kind::Ours as usize];
    claims.push(Claim::at_most("ms from the start to the first answer", first_answer, 50.0));
    claims.push(Claim::at_most("MB after the first answer", resident, 8.0));

    println!(
        "\n{:>11} {:<10} {:>11} {:>9} {:>9} {:>15} {:>9}",
        "connections", "server", "requests/s", "p50 µs", "p99 µs", "CPU µs/request", "MB"
    );
    let servers = Kind::ALL.map(Server::start);
    for connections in CONNECTIONS {
        let rounds = rounds(&servers, connections, effort, &request).await;
        for kind in Kind::ALL {
            let of = |figure: fn(&Round) -> f64| median(rounds[kind as usize].iter().map(figure));
            println!(
                "{connections:>11} {:<10} {:>11.0} {:>9.1} {:>9.1} {:>15.1} {:>9.2}",
                kind.name(),
                of(|round| round.rate),
                of(|round| round.p50),
                of(|round| round.p99),
                of(|round| round.cpu),
                of(|round| round.resident),
            );
        }
        let [floor, ordinary, ours] = &rounds;
        let at = format!("at {connections} connection{}", if connections == 1 { "" } else { "s" });
        let cpu = ratio(ours, floor, |round| round.cpu);
        claims.push(Claim::at_most(
            &format!("× the floor's CPU a request {at} (aim: 1.7)"),
            cpu,
            2.2,
        ));
        // The floor's share is hyper's, rustls' and the kernel's, and the same for any webhook.
        let [floor_cpu, ordinary_cpu, our_cpu] =
            [floor, ordinary, ours].map(|rounds| median(rounds.iter().map(|round| round.cpu)));
        let in_all = ratio(ordinary, ours, |round| round.cpu);
        claims.push(Claim::at_most(
            &format!("% of the ordinary's CPU above the floor {at} ({in_all:.2} × less in all)"),
            (our_cpu - floor_cpu) / (ordinary_cpu - floor_cpu) * 100.0,
            6.5,
        ));
        if connections == 1 {
            claims.push(Claim::at_most(
                &format!("× the floor's p50 {at}"),
                ratio(ours, floor, |round| round.p50),
                1.6,
            ));
        }
    }
    drop(servers);

    if effort.reviews > 0 {
        let server = Server::start(Kind::Ours);
        let connections = 128;
        let mut clients = Clients::connect(&server, connections).await;
        let started = Instant::now();
        clients.exchange_each(&request, effort.reviews.div_ceil(connections)).await;
        let resident = server.resident();
        println!(
            "\nours: {resident:.2} MB after {} reviews in {:.0} s",
            effort.reviews,
            started.elapsed().as_secs_f64()
        );
        claims.push(Claim::at_most(
            "MB after a million reviews over 128 connections",
            resident,
            16.0,
        ));
    }

    println!();
    for claim in &claims {
        println!("{:<6} {}", if claim.holds { "holds" } else { "MISSED" }, claim.text);
    }
    if claims.iter().all(|claim| claim.holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Of each server, from the start of its process to its first answer, and resident memory then:
/// milliseconds and megabytes.
async fn starts(times: usize, request: &Arc<[u8]>) -> [[f64; 2]; 3] {
    let mut seen = [const { (Vec::new(), Vec::new()) }; 3];
    for _ in 0..times {
        for kind in Kind::ALL {
            let started = Instant::now();
            let server = Server::start(kind);
            let mut clients = Clients::connect(&server, 1).await;
            clients.exchange_each(request, 1).await;
            let (first_answers, resident) = &mut seen[kind as usize];
            first_answers.push(started.elapsed().as_secs_f64() * 1e3);
            resident.push(server.resident());
        }
    }
    seen.map(|(first_answers, resident)| [median(first_answers), median(resident)])
}

/// Of each server, its rounds: the first ones were turn one, and so on.
async fn rounds(
    servers: &[Server; 3],
    connections: usize,
    effort: &Effort,
    request: &Arc<[u8]>,
) -> [Vec<Round>; 3] {
    let mut rounds = [const { Vec::new() }; 3];
    let mut clients = Vec::new();
    for server in servers {
        let mut of_server = Clients::connect(server, connections).await;
        of_server.exchange_each(request, 2_000_usize.div_ceil(connections)).await;
        clients.push(of_server);
    }
    for turn in 0..effort.turns {
        // Another one begins each time, so that nobody always follows the same neighbour.
        for place in 0..servers.len() {
            let which = (turn + place) % servers.len();
            rounds[which].push(clients[which].round(&servers[which], request, effort.round).await);
        }
    }
    rounds
}

/// How one server compares with another: in each turn, and of all turns the median.
fn ratio(one: &[Round], other: &[Round], figure: fn(&Round) -> f64) -> f64 {
    median(one.iter().zip(other).map(|(one, other)| figure(one) / figure(other)))
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What is to hold, and whether it does.
struct Claim {
    text: String,
    holds: bool,
}

impl Claim {
    fn at_most(what: &str, is: f64, bound: f64) -> Self {
        Self { text: format!("{is:.2} {what}, at most {bound}"), holds: is <= bound }
    }
}
