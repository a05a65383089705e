//! The servers as processes, and what the kernel knows of each.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use testkit::webhook;

/// Which server.
#[derive(Clone, Copy)]
pub enum Kind {
    Floor,
    Ordinary,
    Ours,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Floor, Self::Ordinary, Self::Ours];

    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Ordinary => "ordinary",
            Self::Ours => "ours",
        }
    }

    fn command(self) -> Command {
        match self {
            Self::Floor | Self::Ordinary => {
                let mut command = Command::new(env::current_exe().unwrap());
                command.arg(self.name());
                command
            }
            Self::Ours => {
                let program = env::var("OURS")
                    .expect("OURS must name the program; make bench-server has that of the image");
                let mut command = webhook::command_of(&program);
                command
                    .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
                    .env_remove("RUST_LOG");
                command
            }
        }
    }
}

/// A server that runs, until it is dropped.
pub struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one and waits until it listens.
    pub fn start(kind: Kind) -> Self {
        let mut process = kind.command().stderr(Stdio::piped()).spawn().unwrap();
        // What waits in the pipe is read at once, as a container runtime does.
        let mut stderr = BufReader::with_capacity(64 * 1024, process.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "{} does not listen", kind.name());
            if let Some((_, rest)) = line.split_once("Listening on https://") {
                break rest.split('/').next().unwrap().parse().unwrap();
            }
        };
        thread::spawn(move || io::copy(&mut stderr, &mut io::sink()));
        Self { process, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CPU time that its threads have used, when they have come to rest: what a request leaves
    /// to others, such as its line of the log, belongs to the request.
    pub fn cpu_at_rest(&self) -> Duration {
        /// The kernel brings the counter of a thread that runs up to date at each tick, of which
        /// there are 100 a second or more.
        const TICK: Duration = Duration::from_millis(10);
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut cpu = self.cpu();
        loop {
            thread::sleep(TICK);
            let now = self.cpu();
            if now == cpu || Instant::now() > deadline {
                return now;
            }
            cpu = now;
        }
    }

    /// Of each thread in nanoseconds; `/proc/PID/stat` would say it in steps of 10 ms, in which a
    /// thousand requests are answered.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        // A thread may end in between.
        let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("schedstat")).ok();
        let on_cpu = |stat: String| -> u64 { stat.split(' ').next().unwrap().parse().unwrap() };
        Duration::from_nanos(tasks.filter_map(|task| of_task(task.ok()?)).map(on_cpu).sum())
    }

    /// Resident memory, in megabytes.
    pub fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .unwrap();
        kib.parse::<f64>().unwrap() * 1024.0 / 1e6
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
