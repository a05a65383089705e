//! Properties as keys of a Secret.
//!
//! A key has only letters, digits, `-`, `.` and `_`, so spark8t encodes all other characters.

/// The property of a key, as spark8t decodes it; `None` if spark8t writes no such key.
///
/// Since 1.5, each other byte is `_` and two hexadecimal digits. Before, it was as in a URL, with
/// `_` for `%` and `__` for `_`. A key that is not valid in the new form is read in the old one.
pub(super) fn property(key: &str) -> Option<String> {
    decoded(key, false).or_else(|| decoded(key, true))
}

fn decoded(key: &str, is_old: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    loop {
        rest = match rest {
            [b'_', b'_', rest @ ..] if is_old => {
                bytes.push(b'_');
                rest
            }
            [b'_', high, low, rest @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                rest
            }
            [b'_', ..] => return None,
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
            [] => return String::from_utf8(bytes).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/cluster/neighbours/spark8t.rs` has spark8t itself write keys.
    #[test]
    fn keys_are_read_in_the_new_way_and_else_in_the_old_one() {
        for (key, expected) in [
            ("spark.driver.memory", Some("spark.driver.memory")),
            (
                "a.annotation.spark-operator.k8s.io_2fsecret.x_5fy",
                Some("a.annotation.spark-operator.k8s.io/secret.x_y"),
            ),
            ("a_2Fb", Some("a/b")),
            ("a__b", Some("a_b")),
            ("a__2fb", Some("a_2fb")),
            ("a_24__b", Some("a$_b")),
            ("a_c3_a4", Some("aä")),
            ("a_", None),
            ("a_1", None),
            ("a_zz", None),
            ("a_ff", None),
        ] {
            assert_eq!(property(key).as_deref(), expected, "{key}");
        }
    }
}
