//! The memory that clients can make this process use: what costs memory, its size, and how many of
//! it there can be.
//!
//! The budget (`budget.rs`) counts the bytes of requests and answers when it takes their memory.
//! Everything else is bounded by a constant size and a maximum number: `tests/it/allocations.rs`
//! measures an admission, and `tests/faults` a connection and the sum. The default limits follow
//! from these rows, and `serve --help` and docs/operations.md show them.

use super::{Limits, threads};
use crate::json;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The maximum of the whole process with the default limits, in bytes: half of the chart's memory
/// limit.
pub const MAX_MEMORY: usize = 128 * MIB;

/// The program, its log, the last decisions and the admin port, in bytes.
const PROGRAM: usize = 12 * MIB;

/// The buffers of TLS and HTTP of one connection, in bytes. A handshake needs less, and ends before
/// there are buffers for HTTP.
pub const CONNECTION: usize = 44 * KIB;

/// The thread of a connection reads requests up to this size, in bytes; [`READERS`] read larger
/// ones.
pub(super) const SMALL: usize = 256 * KIB;

/// The maximum size of a request, in bytes. A review can hold two objects of 3 MiB, the API
/// server's own limit, and some fields around them.
pub(super) const MAX_BODY: usize = 7 * MIB;

/// How many larger requests are read at once. Two leave CPUs for small requests, even while both of
/// them are busy.
pub(super) const READERS: usize = 2;

/// The maximum that an admission allocates for a request, both in bytes: the parsed view and
/// vectors while they grow, problems and answer; and copies of text with escapes and of paths,
/// which are together as long as the request.
#[must_use]
pub const fn admission(request: usize) -> usize {
    2 * json::MAX_VIEW + request
}

/// The bytes of requests until they are read, and of answers until clients take them: as much as
/// four of the largest requests.
const BODIES: usize = 4 * MAX_BODY;

const SMALL_READ: usize = threads::MOST * (SMALL + admission(SMALL));
const LARGE_READ: usize = READERS * (MAX_BODY + admission(MAX_BODY));

/// As many connections as the rest of the memory allows, rounded down.
const CONNECTIONS: usize =
    (MAX_MEMORY - PROGRAM - BODIES - SMALL_READ - LARGE_READ) / CONNECTION / 50 * 50;

impl Default for Limits {
    fn default() -> Self {
        Self { connections: CONNECTIONS, body_bytes: BODIES }
    }
}

/// The table of `serve --help` and docs/operations.md: what takes memory, and the maximum in MiB.
/// The last row is the sum.
#[must_use]
pub fn rows() -> Vec<(String, usize)> {
    let mut rows: Vec<(String, usize)> = [
        ("the program, its log and the admin port".to_owned(), PROGRAM),
        (
            format!(
                "{CONNECTIONS} connections (`--max-connections`), {} KiB each",
                CONNECTION / KIB
            ),
            CONNECTIONS * CONNECTION,
        ),
        ("requests and answers in transit (`--max-body-bytes`)".to_owned(), BODIES),
        (
            format!("{} requests up to {} KiB that are read at once", threads::MOST, SMALL / KIB),
            SMALL_READ,
        ),
        (
            format!(
                "{READERS} larger requests, up to {} MiB, that are read at once",
                MAX_BODY / MIB
            ),
            LARGE_READ,
        ),
    ]
    .into_iter()
    .map(|(what, bytes)| (what, bytes.div_ceil(MIB)))
    .collect();
    rows.push(("together".to_owned(), rows.iter().map(|(_, mib)| mib).sum()));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_shows_the_table_and_its_sum_is_the_maximum() {
        let page = std::fs::read_to_string("docs/operations.md").unwrap();
        let rows = rows();
        let table = rows
            .iter()
            .map(|(what, mib)| format!("| {what} | {mib} MiB |"))
            .collect::<Vec<_>>()
            .join("\n");
        assert!(page.contains(&table), "docs/operations.md lacks these rows:\n{table}");
        let (_, together) = rows.last().unwrap();
        assert!(together * MIB <= MAX_MEMORY, "{together} MiB");
        let Limits { connections, body_bytes } = Limits::default();
        for limit in [
            format!("| {connections} connections"),
            format!("| {} MiB of requests and answers", body_bytes / MIB),
        ] {
            assert!(page.contains(&limit), "docs/operations.md lacks {limit}");
        }
    }
}
