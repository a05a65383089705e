//! The webhook's own binary, as a process of the test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Lines of the log that are kept for the test; beyond them only those that tell of a panic, so
/// that a long one stays small.
const KEPT_LINES: usize = 20_000;

/// What the log says of a panic.
const PANIC: &str = "panic: a bug of spark-webhook";

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
        Self::start_in(&[], arguments)
    }

    /// The same with more environment variables.
    pub fn start_in(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = command();
        command.envs(environment.iter().copied());
        Self::start_by(command, arguments)
    }

    /// As [`Webhook::start`], where no more than so many file descriptors can be open.
    pub fn start_with_descriptors(most: u32, arguments: &[&str]) -> Self {
        let mut shell = command_of("sh");
        shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\""), binary()]);
        Self::start_by(shell, arguments)
    }

    /// As [`Webhook::start`], but on these CPUs only, as `taskset` has them.
    pub fn start_on_cpus(cpus: &str, arguments: &[&str]) -> Self {
        let mut taskset = command_of("taskset");
        taskset.args(["--cpu-list", cpus, binary()]);
        Self::start_by(taskset, arguments)
    }

    /// As [`Webhook::start`], but this program.
    pub fn start_program(program: &str, arguments: &[&str]) -> Self {
        Self::start_by(command_of(program), arguments)
    }

    fn start_by(mut command: Command, arguments: &[&str]) -> Self {
        let mut process = command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env("SPARK_WEBHOOK_DRAIN_DELAY", "0s")
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (sender, lines) = sync_channel(KEPT_LINES + 100);
        thread::spawn(move || {
            for (number, line) in stderr.lines().map_while(Result::ok).enumerate() {
                if number < KEPT_LINES || line.contains(PANIC) {
                    // Who does not listen any more does not mind.
                    let _ = sender.try_send(line);
                }
            }
        });
        let mut seen = Vec::new();
        let listening = loop {
            match lines.recv_timeout(Duration::from_secs(30)) {
                Ok(line)
                    if line.starts_with("Listening on ")
                        || line.contains(r#""message":"listening""#) =>
                {
                    break line;
                }
                Ok(line) => seen.push(line),
                Err(_) => {
                    let _ = process.kill();
                    panic!("it does not listen: {seen:#?}");
                }
            }
        };
        let address = |scheme: &str| {
            let rest = listening.split(scheme).nth(1).unwrap();
            rest.split(['/', ')', '"']).next().unwrap().parse().unwrap()
        };
        Self { address: address("https://"), admin_address: address("http://"), process, lines }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The first line of the log that contains a text, waiting up to 15 s for it: within that,
    /// files that change are followed.
    pub fn log_line(&self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no log line contains {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// How many lines of the log since it was last read contain a text, all others being dropped.
    pub fn logged(&self, text: &str) -> usize {
        self.lines.try_iter().filter(|line| line.contains(text)).count()
    }

    /// The lines of the log so far that tell of a panic, all others being dropped.
    pub fn panics(&self) -> Vec<String> {
        self.lines.try_iter().filter(|line| line.contains(PANIC)).collect()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits up to 15 s for its end: less than it waits itself for what runs.
    pub fn wait(self) -> ExitStatus {
        self.wait_up_to(Duration::from_secs(15))
    }

    /// Waits for its end.
    pub fn wait_up_to(mut self, most: Duration) -> ExitStatus {
        let deadline = Instant::now() + most;
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
        self.status("VmRSS:")
    }

    /// Resident memory without the program's own pages, which are many where it is built for
    /// debugging, in KiB, from the kernel.
    pub fn anonymous_kib(&self) -> u64 {
        self.status("RssAnon:")
    }

    /// The most resident memory that it has ever had, in KiB, from the kernel.
    pub fn peak_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(self.proc().join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().split(' ').next().unwrap().parse().unwrap()
    }

    /// For how long each of its threads of this name has run, from the kernel.
    pub fn threads(&self, name: &str) -> Vec<Duration> {
        let threads =
            fs::read_dir(self.proc().join("task")).unwrap().map(|thread| thread.unwrap().path());
        let of_name = threads
            .filter(|thread| fs::read_to_string(thread.join("comm")).unwrap().trim_end() == name);
        let on_cpu = |thread: PathBuf| {
            let schedstat = fs::read_to_string(thread.join("schedstat")).unwrap();
            Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
        };
        of_name.map(on_cpu).collect()
    }

    /// The CPUs that this process may use, as [`Webhook::start_on_cpus`] takes them.
    pub fn cpus() -> String {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// The file descriptors that are open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.proc().join("fd")).unwrap().count()
    }

    /// The CPU time that it has used, from the kernel, which counts in hundredths of a second.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(self.proc().join("stat")).unwrap();
        // User and system time are the 14th and the 15th field; the second is in brackets and may
        // contain blanks.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
        let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.process.id().to_string())
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
    command_of(binary())
}

/// The path of the binary, which cargo tells the tests and benches that it runs.
pub fn binary() -> &'static str {
    static BINARY: LazyLock<String> = LazyLock::new(|| {
        env::var("CARGO_BIN_EXE_spark-webhook")
            .expect("cargo sets CARGO_BIN_EXE_spark-webhook; run it with cargo test or cargo bench")
    });
    &BINARY
}

/// Any other one, without flags from the environment.
pub fn command_of(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in
        env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SPARK_WEBHOOK_"))
    {
        command.env_remove(name);
    }
    command
}
