//! The webhook's own binary, as a process of the test.
#![allow(dead_code, reason = "each user has a part of it")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A running `spark-webhook serve`; ends with the test, also when that panics.
pub struct Webhook {
    process: Child,
    lines: Receiver<String>,
    address: SocketAddr,
    admin_address: SocketAddr,
}

impl Webhook {
    /// Starts it on free ports, with more arguments, and waits until it listens.
    pub fn start(arguments: &[&str]) -> Self {
        let mut process = command()
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env("SPARK_WEBHOOK_DRAIN_DELAY", "0s")
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut seen = Vec::new();
        let listening = loop {
            match lines.recv_timeout(Duration::from_secs(10)) {
                Ok(line) if line.starts_with("Listening on ") => break line,
                Ok(line) => seen.push(line),
                Err(_) => {
                    let _ = process.kill();
                    panic!("it does not listen: {seen:#?}");
                }
            }
        };
        let address = |scheme: &str| {
            let rest = listening.split(scheme).nth(1).unwrap();
            rest.split(['/', ')']).next().unwrap().parse().unwrap()
        };
        Self { address: address("https://"), admin_address: address("http://"), process, lines }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The first line of the log that contains a text, waiting up to 10 s for it.
    pub fn log_line(&self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no log line contains {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits up to 10 s for its end.
    pub fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resident memory in KiB, from the kernel.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.process.id().to_string()).join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().split(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The binary, without any `SPARK_WEBHOOK_…` of the caller's environment.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spark-webhook"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SPARK_WEBHOOK_")) {
        command.env_remove(name);
    }
    command
}
