//! What to write where a text is not YAML, in words of ours: the parser tells what it expected, not
//! what the author meant.

use serde_saphyr::granit_parser::{ErrorKind, Marker, ScanError};

use super::{MAX_DEPTH, Mistake};
use crate::text::Excerpt;

/// The mistake that a parser's error tells of.
pub(super) fn mistake(text: &str, error: &ScanError) -> Mistake {
    Mistake { line: error.marker().line().max(1), text: advice(text, error) }
}

fn advice(text: &str, error: &ScanError) -> String {
    use ErrorKind as Kind;
    let fixed = match error.kind() {
        // They begin with a character that means something to YAML.
        Kind::MissingAnchorOrAliasName
        | Kind::InvalidTagTerminator
        | Kind::MissingTagUri
        | Kind::UndeclaredTagHandle
        | Kind::InvalidGlobalTagCharacter
        | Kind::InvalidTagEscape
        | Kind::UnclosedVerbatimTag
        | Kind::UnexpectedCharacter { .. }
        | Kind::PlainScalarStartsWithDashFlowIndicator => match word_at(text, error.marker()) {
            Some(word) => return needs_quotes(word),
            None => {
                "a value begins with a character that means something to YAML; put the value in quotes"
            }
        },
        Kind::TabNotAllowed
        | Kind::TabInBlockIndentation
        | Kind::TabInIndentation
        | Kind::TabAtBlockScalarStart
        | Kind::TabInPlainScalar => "a tab stands where YAML takes spaces only; write spaces",
        Kind::UnclosedQuotedScalar => "a quote is not closed; add the closing quote",
        // Found out in the next line.
        Kind::InvalidQuotedScalarIndent | Kind::DocumentIndicatorInQuotedScalar => {
            "a quote of the lines above is not closed; add the closing quote there"
        }
        Kind::InvalidTrailingSingleQuotedScalar | Kind::InvalidTrailingDoubleQuotedScalar => {
            "a text follows the closing quote; put all of the value in quotes"
        }
        Kind::UnknownQuotedScalarEscape
        | Kind::InvalidQuotedScalarHexEscape
        | Kind::InvalidLowSurrogateHexEscape
        | Kind::InvalidLowSurrogate
        | Kind::MissingLowSurrogate
        | Kind::UnpairedLowSurrogate
        | Kind::InvalidUnicodeEscape => {
            "YAML does not know this escape; write \\\\ for a backslash, or use single quotes"
        }
        Kind::UnclosedFlowCollection { open } => {
            return format!("\"{open}\" is not closed; add \"{}\"", closing(*open));
        }
        Kind::MismatchedFlowCollectionEnd { open, close } => {
            return format!("\"{open}\" is closed by \"{close}\"; write \"{}\"", closing(*open));
        }
        Kind::MisplacedFlowCollectionEnd => "a bracket is closed that is not open; remove it",
        Kind::ExpectedFlowMappingSeparator | Kind::ExpectedFlowSequenceSeparator => {
            "a comma or a closing bracket is missing; add it"
        }
        Kind::UnexpectedEofFlowSequence
        | Kind::UnexpectedEofFlowMapping
        | Kind::UnexpectedEofImplicitFlowMapping
        | Kind::UnexpectedEofBlockSequence
        | Kind::UnexpectedEofBlockMapping
        | Kind::UnexpectedEof => "the text ends inside of a list or map; complete it",
        Kind::RecursionLimitExceeded => {
            return format!(
                "lists and maps stand in each other more than {MAX_DEPTH} deep; write fewer levels"
            );
        }
        Kind::MappingValueNotAllowed | Kind::InvalidColonPlacement | Kind::MappingKeyNotAllowed => {
            "a colon stands where there can be no key; put the value in quotes, or correct the indentation"
        }
        Kind::InvalidMappingValueWhitespace | Kind::InvalidBlockEntryWhitespace => {
            "write a space after each colon and each dash"
        }
        _ => "this is not YAML; correct the indentation, the quotes or the brackets",
    };
    fixed.to_owned()
}

fn closing(open: char) -> char {
    if open == '[' { ']' } else { '}' }
}

/// What to write for a value that YAML takes for something else.
pub(super) fn needs_quotes(word: &str) -> String {
    let word = excerpt(word);
    let quote = if word.contains(['"', '\\']) { '\'' } else { '"' };
    format!("{word} needs quotes in YAML; write {quote}{word}{quote}")
}

/// Part of the text, to be named in a mistake.
pub(super) fn excerpt(text: &str) -> String {
    Excerpt::new(text, 80).to_string()
}

/// The word around a place, or that ends there.
fn word_at<'t>(text: &'t str, marker: &Marker) -> Option<&'t str> {
    let line = text.lines().nth(marker.line().checked_sub(1)?)?;
    let is_end = |c: char| c.is_whitespace() || ",[]{}".contains(c);
    let place = line.char_indices().nth(marker.col()).map_or(line.len(), |(byte, _)| byte);
    let (before, after) = line.split_at_checked(place)?;
    let start = before.rfind(is_end).map_or(0, |byte| {
        byte + before.get(byte..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
    });
    let end = place + after.find(is_end).unwrap_or(after.len());
    line.get(start..end).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    #[test]
    fn says_what_to_write() {
        for (text, expected) in [
            ("a: [*]", "line 1: * needs quotes in YAML; write \"*\""),
            ("a:\n- *\n", "line 2: * needs quotes in YAML; write \"*\""),
            ("a: [b, !c-*]", "line 1: !c-* needs quotes in YAML; write \"!c-*\""),
            ("a: [!]", "line 1: ! needs quotes in YAML; write \"!\""),
            ("a: @b", "line 1: @b needs quotes in YAML; write \"@b\""),
            ("a: `b`", "line 1: `b` needs quotes in YAML; write \"`b`\""),
            ("a: %b", "line 1: %b needs quotes in YAML; write \"%b\""),
            ("a:\n\t- b", "line 2: a tab stands where YAML takes spaces only; write spaces"),
            (
                "a: \"b\nc: d\n",
                "line 2: a quote of the lines above is not closed; add the closing quote there",
            ),
            ("a: 'b", "line 1: a quote is not closed; add the closing quote"),
            (
                "a: \"b\" c",
                "line 1: a text follows the closing quote; put all of the value in quotes",
            ),
            (
                "a: \"\\d\"",
                "line 1: YAML does not know this escape; write \\\\ for a backslash, or use single quotes",
            ),
            ("a:\n  [b", "line 2: \"[\" is not closed; add \"]\""),
            ("a: {b: c", "line 1: \"{\" is not closed; add \"}\""),
            ("a: [b}", "line 1: \"[\" is closed by \"}\"; write \"]\""),
            ("a: [b]]", "line 1: a bracket is closed that is not open; remove it"),
            (
                "a: b: c",
                "line 1: a colon stands where there can be no key; put the value in quotes, or correct the indentation",
            ),
            (
                "a: b\n c: d",
                "line 2: a colon stands where there can be no key; put the value in quotes, or correct the indentation",
            ),
            (
                "a:\n  b: c\n d: e",
                "line 3: this is not YAML; correct the indentation, the quotes or the brackets",
            ),
            (
                "a: b\nc\n",
                "line 2: this is not YAML; correct the indentation, the quotes or the brackets",
            ),
        ] {
            let result = parse(text).map(|documents| {
                documents.into_iter().flat_map(|document| document.mistakes).collect::<Vec<_>>()
            });
            let mistake = match result {
                Ok(mistakes) => mistakes.first().map(ToString::to_string).unwrap_or_default(),
                Err(mistake) => mistake.to_string(),
            };
            assert_eq!(mistake, expected, "{text:?}");
        }
    }
}
