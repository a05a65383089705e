//! The findings of all checks, as text for people and as JSON for scripts.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::finding::{Finding, Status};
use crate::text::Excerpt;

/// Longer than any text of a finding, unless it quotes a name without end.
const MAX_CHARS: usize = 4096;

/// The findings, in the order in which a person should read them.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Row>);

#[derive(Debug)]
struct Row {
    check: &'static str,
    finding: Finding,
}

/// The result of all checks; the number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed = 0,
    Failed = 1,
    /// No check could tell. A script must not take that for a success. Status 2 is that of errors.
    Unknown = 3,
}

impl Report {
    /// Adds the findings of a check.
    pub(super) fn add(&mut self, check: &'static str, findings: Vec<Finding>) {
        self.0.extend(findings.into_iter().map(|finding| Row { check, finding }));
    }

    /// The result of all checks. If it is strict, an unknown finding counts as a failure.
    pub(crate) fn verdict(&self, is_strict: bool) -> Verdict {
        if self.has(Status::Failed) || (is_strict && self.has(Status::Unknown)) {
            Verdict::Failed
        } else if self.has(Status::Passed) {
            Verdict::Passed
        } else {
            Verdict::Unknown
        }
    }

    fn has(&self, status: Status) -> bool {
        self.0.iter().any(|row| row.finding.status == status)
    }

    /// The checks that keep the exit status from being 0, each once.
    pub(crate) fn awaited(&self, is_strict: bool) -> String {
        let is_awaited = |status: Status| match status {
            Status::Passed => false,
            Status::Failed => true,
            Status::Unknown => is_strict || !self.has(Status::Failed),
        };
        let rows = self.0.iter().filter(|row| is_awaited(row.finding.status));
        let mut checks: Vec<&str> = rows.map(|row| row.check).collect();
        checks.dedup();
        checks.join(", ")
    }

    /// An array with an object for each finding.
    pub(crate) fn to_json(&self) -> Value {
        let rows = self.0.iter().map(|Row { check, finding }| {
            let Finding { status, message, advice } = finding;
            json!({"check": check, "status": status.as_str(), "message": message, "advice": advice})
        });
        rows.collect()
    }

    /// A line for each finding, its advice below it, and how many there are of each status.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        for Row { check, finding: Finding { status, message, advice } } in &self.0 {
            let style = match status {
                Status::Passed => AnsiColor::Green.on_default(),
                Status::Failed => AnsiColor::Red.on_default().bold(),
                Status::Unknown => AnsiColor::Yellow.on_default(),
            };
            // They quote what anybody may have written into the cluster, and this may be a
            // terminal.
            let [message, advice] =
                [message, advice].map(|text| Excerpt::new(text, MAX_CHARS).to_string());
            writeln!(out, "{style}{:<7}{style:#}  {check:<13}  {message}", status.as_str())?;
            if !advice.is_empty() {
                let dimmed = Style::new().dimmed();
                writeln!(out, "{:24}{dimmed}→ {advice}{dimmed:#}", "")?;
            }
        }
        let count =
            |wanted: Status| self.0.iter().filter(|row| row.finding.status == wanted).count();
        let [passed, failed, unknown] =
            [Status::Passed, Status::Failed, Status::Unknown].map(count);
        writeln!(out, "\n{passed} passed, {failed} failed, {unknown} unknown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rows: &[(&'static str, Status, &str, &str)]) -> Report {
        let rows = rows.iter().map(|(check, status, message, advice)| Row {
            check,
            finding: Finding {
                status: *status,
                message: (*message).to_owned(),
                advice: (*advice).to_owned(),
            },
        });
        Report(rows.collect())
    }

    #[test]
    fn what_fails_is_named_once_and_advice_stands_below() {
        let unknown = ("c", Status::Unknown, "m", "");
        let all = report(&[
            ("a", Status::Failed, "m", "do"),
            ("a", Status::Failed, "m", ""),
            ("b", Status::Passed, "m", ""),
            unknown,
        ]);
        assert_eq!(all.awaited(false), "a");
        assert_eq!(all.awaited(true), "a, c");
        assert_eq!(report(&[unknown]).awaited(false), "c");
        let mut text = anstream::StripStream::new(Vec::new());
        all.write_text(&mut text).unwrap();
        let text = String::from_utf8(text.into_inner()).unwrap();
        let expected = "failed   a              m\n                        → do\nfailed   a              m\npassed   b              m\nunknown  c              m\n\n1 passed, 2 failed, 1 unknown\n";
        assert_eq!(text, expected);
        assert_eq!(
            all.to_json()[0],
            json!({"check": "a", "status": "failed", "message": "m", "advice": "do"})
        );
    }

    #[test]
    fn the_exit_status_is_0_only_where_something_passed() {
        use Status::{Failed, Passed, Unknown};
        for (statuses, expected, strict) in [
            (&[Passed][..], 0, 0),
            (&[Passed, Unknown], 0, 1),
            (&[Passed, Failed], 1, 1),
            (&[Unknown, Failed], 1, 1),
            (&[Unknown, Unknown], 3, 1),
            (&[], 3, 3),
        ] {
            let rows: Vec<_> = statuses.iter().map(|status| ("a", *status, "", "")).collect();
            let exit_status = [false, true].map(|strict| report(&rows).verdict(strict) as u8);
            assert_eq!(exit_status, [expected, strict], "{statuses:?}");
        }
    }

    #[test]
    fn what_a_cluster_says_does_not_reach_the_terminal_as_escapes() {
        let mut text = Vec::new();
        let rows = [("a", Status::Failed, "\u{1b}[2J", "\u{1b}]0;x\u{7}")];
        report(&rows).write_text(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(r"\u{1b}[2J") && text.contains(r"\u{1b}]0;x\u{7}"), "{text:?}");
    }
}
