use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::skip::CHUNK;
use super::*;
use crate::pod::Pod;

fn value<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    read(text).ok().map(|reading| reading.value)
}

#[test]
fn what_is_skipped_has_an_end_and_is_looked_at_where_it_is_no_array_or_object() {
    for (text, is_read, is_json) in [
        ("null", true, true),
        ("[]\n", true, true),
        (r#"{"a":[1,{"b":{}}],"c":[[],[]]}"#, true, true),
        (r#"["]","\"]","\\",{"}\\\"":"{"}]"#, true, true),
        (r#""\"\\\/\b\f\n\r\té""#, true, true),
        ("-0.5e+10", true, true),
        ("1E9", true, true),
        (" []", true, true),
        ("\t\r\n [ ] \n", true, true),
        ("", false, false),
        (" ", false, false),
        ("\u{b}[]", false, false),
        ("\u{a0}[]", false, false),
        ("nul", false, false),
        ("[", false, false),
        ("[[]", false, false),
        (r#"["]"#, false, false),
        (r#"["\"]"#, false, false),
        ("[]]", false, false),
        ("1 1", false, false),
        ("01", false, false),
        ("1.", false, false),
        (".1", false, false),
        ("-", false, false),
        ("1e", false, false),
        ("+1", false, false),
        (r#""\x""#, false, false),
        (r#""\u12g4""#, false, false),
        (r#""\u123"#, false, false),
        ("\"\u{1}\"", false, false),
        (r#"""#, false, false),
        // Nobody looks into it.
        ("[,1 2}", true, false),
    ] {
        assert_eq!(read::<IgnoredAny>(text).is_ok(), is_read, "{text}");
        assert_eq!(serde_json::from_str::<IgnoredAny>(text).is_ok(), is_json, "{text}");
    }
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(read::<IgnoredAny>(&nested(1_000_000)).is_ok());
}

#[test]
fn values_are_what_is_written_or_an_error_that_says_where() {
    type Values = BTreeMap<String, (Option<i64>, Vec<bool>)>;
    for (text, error) in [
        (r#"{"a":[1,[true]],"b\n":[null,[]],"":[-9223372036854775808,[false,true]]}"#, ""),
        ("\n{ \"a\" : [ 1 ,\t[ true , false ] ] ,\r\n \"b\":[null,[ ]] } ", ""),
        (r#"{"\ud83d\ude00\u0041":[1,[]]}"#, ""),
        (r#"{"a":[9223372036854775808,[]]}"#, "expected an integer in a at byte 6"),
        (r#"{"a":[1.0,[]]}"#, "expected an integer in a at byte 6"),
        (r#"{"a":[-0,[]]}"#, "expected an integer in a at byte 6"),
        (r#"{"a":["1",[]]}"#, "a value is wrong or missing in a at byte 9"),
        (r#"{"a":[1]}"#, "a value is wrong or missing in a at byte 7"),
        (r#"{"a":[1,[],2]}"#, "expected `,` or `]` in a at byte 10"),
        (r#"{"a":[1,[]],}"#, "a value is wrong or missing at byte 12"),
        (r#"{,"a":[1,[]]}"#, "a value is wrong or missing at byte 1"),
        (r#"{"a" [1,[]]}"#, "expected `:` in a at byte 5"),
        (r#"{"a"}"#, "expected `:` in a at byte 4"),
        (r#"{"a":}"#, "a value is wrong or missing in a at byte 5"),
        (r"{a:[1,[]]}", "a value is wrong or missing at byte 1"),
        (r#"{"a":[1,[true,]]}"#, "a value is wrong or missing in a at byte 14"),
        (r#"{"a":[1,[,true]]}"#, "a value is wrong or missing in a at byte 9"),
        (r#"{"a":[1,[true true]]}"#, "expected `,` or `]` in a at byte 14"),
        (r#"{"a":[1,[true}}"#, "expected `,` or `]` in a at byte 13"),
        (r#"{"a":[1,[]]]"#, "expected `,` or `}` in a at byte 11"),
        (r#"{"a":[1,[]]"#, "expected `,` or `}` in a at byte 11"),
        (r#"{"a":[1,[]]} x"#, "expected nothing more in a at byte 13"),
        (r#"{"\ud800":[1,[]]}"#, r"expected a string with right escapes in \ud800 at byte 1"),
        (r#"{"\x":[1,[]]}"#, "expected a string with right escapes at byte 1"),
        (r#"{"\"#, "a value is wrong or missing at byte 1"),
        ("{\"\u{1}\":[1,[]]}", "expected the end of a string at byte 1"),
        ("", "expected a value at byte 0"),
        ("7", "a value is wrong or missing at byte 1"),
    ] {
        let expected: Option<Values> = serde_json::from_str(text).ok();
        assert_eq!(expected.is_some(), error.is_empty(), "{text}");
        match read::<Values>(text) {
            Ok(Reading { value, too_many: None }) => {
                assert_eq!(Some(value), expected, "{text}");
            }
            Ok(reading) => panic!("{reading:?}"),
            Err(found) => assert_eq!(found.to_string(), error, "{text}"),
        }
    }
}

#[test]
fn of_an_array_or_map_so_many_elements_are_read_and_no_more_in_all_than_there_is_room_for() {
    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default)]
    struct Fields {
        one: Vec<i64>,
        many: Vec<Vec<i64>>,
        map: BTreeMap<String, i64>,
        text: String,
    }
    let array = |element: &str, count: usize| format!("[{}]", vec![element; count].join(","));
    let map = |count: usize| {
        let pairs: Vec<String> = (0..count).map(|number| format!(r#""{number:04}":1"#)).collect();
        format!("{{{}}}", pairs.join(","))
    };
    let escaped = |length: usize| format!(r#""\n{}""#, "x".repeat(length - 1));
    let all = MAX_ELEMENTS;
    // In all, a vector of 64 for each of them is too much: it is not those of the last.
    let most = MAX_VIEW / (64 * size_of::<i64>());
    for (text, one, many, entries, length, too_many) in [
        (format!(r#"{{"one":{}}}"#, array("1", all)), all, 0, 0, 0, None),
        (format!(r#"{{"one":{},"many":[[1]]}}"#, array("1", all + 1)), all, 1, 0, 0, Some("one")),
        (
            format!(r#"{{"one":{},"many":{}}}"#, array(" 1 ", 5 * all), array("[]", 5 * all)),
            all,
            all,
            0,
            0,
            Some("one"),
        ),
        (format!(r#"{{"many":{},"one":[1]}}"#, array(&array("1", 9), all)), 1, all, 0, 0, None),
        (format!(r#"{{"map":{}}}"#, map(all)), 0, 0, all, 0, None),
        // All of them, because which of them matter is not known here.
        (format!(r#"{{"map":{},"one":[1]}}"#, map(all + 1)), 1, 0, all + 1, 0, Some("map")),
        (format!(r#"{{"text":{}}}"#, escaped(MAX_VIEW - 10)), 0, 0, 0, MAX_VIEW - 10, None),
        (format!(r#"{{"text":{},"one":[1]}}"#, escaped(MAX_VIEW)), 1, 0, 0, 0, Some("text")),
    ] {
        let Reading { value, too_many: found } = read::<Fields>(&text).unwrap();
        let lengths = (value.one.len(), value.many.len(), value.map.len(), value.text.len());
        assert_eq!(
            (lengths, found.map(|found| found.field)),
            ((one, many, entries, length), too_many)
        );
    }
    let text = format!(r#"{{"many":{}}}"#, array(&array("1", 64), all));
    let Reading { value, too_many } = read::<Fields>(&text).unwrap();
    let found: usize = value.many.iter().map(Vec::len).sum();
    assert!(
        too_many.is_some() && found > most * 48 && found <= most * 64,
        "{found} of {too_many:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Reviews with a few of their bytes exchanged for others that mean something in JSON.
    #[test]
    fn what_is_read_of_json_serde_json_reads_the_same(changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(br#"{}[]",:\ 0-.eutn/"#.to_vec())), 0..4)) {
        for review in ["pyspark.spark-3.5.driver", "unicode-values.driver", "template-many-containers.spark-4.1.executor"] {
            let mut body = std::fs::read(format!("tests/golden/{review}.json")).unwrap();
            for (index, byte) in &changes {
                let place = index.index(body.len());
                if body[place].is_ascii() {
                    body[place] = *byte;
                }
            }
            let text = String::from_utf8(body).unwrap();
            match (read::<Around>(&text), serde_json::from_str::<Around>(&text)) {
                (Ok(reading), Ok(expected)) => prop_assert_eq!(format!("{:?}", reading.value), format!("{expected:?}")),
                (Err(error), Ok(_)) => prop_assert!(false, "{} is read: {}", review, error),
                (_, Err(_)) => prop_assert!(!changes.is_empty(), "{} is read", review),
            }
            // Where all of it is looked at, nothing that is no JSON is read.
            if let Some(value) = value::<Value>(&text) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
            }
        }
    }

    /// Any value is skipped to its end and no further, wherever that is.
    #[test]
    fn what_is_skipped_ends_where_serde_json_ends_it(skipped in values(), moved in 0..CHUNK) {
        let skipped = serde_json::to_string(&("x".repeat(moved), skipped)).unwrap();
        let (IgnoredAny, seven) = value::<(IgnoredAny, i64)>(&format!("[{skipped},7]")).unwrap();
        prop_assert_eq!(seven, 7);
        let cut = &skipped[..skipped.len() - 1];
        prop_assert!(read::<IgnoredAny>(cut).is_err() && read::<(IgnoredAny, i64)>(&format!("[{cut},7]")).is_err(), "{}", cut);
    }
}

/// Values with brackets, quotation marks and backslashes in their strings.
fn values() -> impl Strategy<Value = Value> {
    let text = || {
        prop::collection::vec(
            prop::sample::select(r#"{}[]",:\ aé"#.chars().collect::<Vec<_>>()),
            0..90,
        )
    };
    let text = move || text().prop_map(String::from_iter);
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from)
    ];
    scalar.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

#[derive(Debug, serde::Deserialize)]
struct Around<'a> {
    #[serde(borrow)]
    #[expect(dead_code, reason = "compared as text")]
    request: Inner<'a>,
}

#[derive(Debug, serde::Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    #[expect(dead_code, reason = "compared as text")]
    object: Pod<'a>,
}
