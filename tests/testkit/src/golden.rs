//! The golden reviews, and what their index says about each.
//!
//! The table in `tests/golden/INDEX.md` has a row for each review. Tests read its columns, so that
//! no test infers a fact from the name of a file.

use std::fs;

use serde_json::Value;

use crate::REPOSITORY;
use crate::contract::golden;

/// The first line of the table.
const HEADER: &str = "| case | role | ours | Spark | what it has | made with | was |";

/// A row of the table.
pub struct Case {
    /// The name of the review's file, without `.json`.
    pub name: String,
    /// The value of the label `spark-role`; empty without that label.
    pub role: String,
    /// Whether the webhook is responsible for the pod. It never changes any other.
    pub is_ours: bool,
    /// The version of the Spark that created the pod; empty if another client did.
    pub spark: String,
}

impl Case {
    pub fn review(&self) -> Value {
        golden(&self.name)
    }

    /// The object that the request creates, changes or deletes.
    pub fn object(&self) -> Value {
        let mut review = self.review();
        let request = &mut review["request"];
        let field = if request["object"].is_null() { "oldObject" } else { "object" };
        request[field].take()
    }
}

/// The rows of the table, in its order.
pub fn cases() -> Vec<Case> {
    let index = fs::read_to_string(format!("{REPOSITORY}/tests/golden/INDEX.md")).unwrap();
    let mut lines = index.lines().skip_while(|line| *line != HEADER);
    assert!(lines.next().is_some(), "INDEX.md has the table {HEADER}");
    lines.skip(1).take_while(|line| line.starts_with('|')).map(case).collect()
}

fn case(line: &str) -> Case {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let ["", name, role, ours, spark, _, _, _, ""] = cells[..] else {
        panic!("the row has seven cells: {line}");
    };
    let is_ours = match ours {
        "yes" => true,
        "no" => false,
        _ => panic!("the column ours is yes or no: {line}"),
    };
    Case { name: name.to_owned(), role: role.to_owned(), is_ours, spark: spark.to_owned() }
}
