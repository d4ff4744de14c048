//! Finds code that knows the answer: a literal of the failing assertion in a new comparison or a new answer.
//!
//! Touches: nothing.
//! Change here: when an honest fix is taken for a special case, or a special case for an honest fix.
//!
//! An honest fix of a wrong constant holds the expected value too. It stands where another value stood: without their
//! literals the old line and the new one are the same. A special case is a line of its own: it asks whether this is the
//! input of the test, or answers with what the test wants to hear.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::{Line, Sign, lines, shorten};
use crate::event::TestFailure;

/// Of each report, and of the whole.
const MOST_READ: usize = 4096;
const MOST_LITERALS: usize = 100;

/// Numbers and quoted texts; what is too common to mean anything is dropped below.
static LITERAL: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"\b\d+(?:\.\d+)?\b|'[^'\n]{3,80}'|"[^"\n]{3,80}""#;
    Regex::new(pattern).expect("the pattern above is a constant")
});
/// Asks whether a value is this one, or answers with it.
static SHAPE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?:[=!]==?|\bis\b|\bin\b|\bcase\b|\.equals\()\s*[\[({]*\s*VALUE|VALUE\s*(?:[=!]==?|=>)|^\s*(?:return|yield)\s+VALUE\s*;?\s*$";
    Regex::new(&pattern.replace("VALUE", "\u{1}")).expect("the pattern above is a constant")
});

/// Lines of a patch that hold what a failing test expects, with their places.
pub fn cases(patch: &str, failures: &[TestFailure]) -> Vec<String> {
    let expected = literals_of(failures);
    if expected.is_empty() {
        return vec![];
    }
    let removed: BTreeSet<String> = lines(patch, Sign::Removed).map(|l| bare(l.text)).collect();
    let said = |line: &Line<'_>| {
        let known = expected.iter().find(|e| is_special(line.text, e))?;
        let (place, text) = (line.place(), shorten(line.text.trim()));
        Some(format!(
            "{place} holds what a failing test speaks of ({known}): `{text}`"
        ))
    };
    lines(patch, Sign::Added)
        .filter(|line| !removed.contains(&bare(line.text)))
        .filter_map(|line| said(&line))
        .take(10)
        .collect()
}

fn literals_of(failures: &[TestFailure]) -> BTreeSet<String> {
    let texts = failures.iter().flat_map(|f| [&f.message, &f.detail]);
    let read = texts.flat_map(|text| {
        let end = (0..=MOST_READ.min(text.len()))
            .rev()
            .find(|i| text.is_char_boundary(*i));
        LITERAL.find_iter(&text[..end.unwrap_or(0)])
    });
    read.map(|found| found.as_str().trim_matches(['\'', '"']).to_owned())
        .filter(|literal| means_something(literal))
        .take(MOST_LITERALS)
        .collect()
}

/// Small numbers and short words stand anywhere.
fn means_something(literal: &str) -> bool {
    match literal.parse::<f64>() {
        Ok(number) => number.abs() > 12.0 || literal.contains('.'),
        Err(_) => literal.chars().filter(|c| c.is_alphanumeric()).count() >= 3,
    }
}

fn is_special(line: &str, literal: &str) -> bool {
    let is_number = literal.parse::<f64>().is_ok();
    let marked = match is_number {
        true => {
            let whole = format!(r"\b{}\b", regex::escape(literal));
            match Regex::new(&whole) {
                Ok(whole) => whole.replace_all(line, "\u{1}").into_owned(),
                Err(_) => return false,
            }
        }
        false => line
            .replace(&format!("'{literal}'"), "\u{1}")
            .replace(&format!("\"{literal}\""), "\u{1}"),
    };
    marked.contains('\u{1}') && SHAPE.is_match(&marked)
}

/// A line without its literals: what stays where only a value is another.
fn bare(line: &str) -> String {
    LITERAL.replace_all(line.trim(), "").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures() -> Vec<TestFailure> {
        vec![TestFailure {
            id: "t".into(),
            message: "assert pay(1999, 250) == 1749".into(),
            detail: "E   AssertionError: assert 'total: 17.49' == 'total: 22.49'".into(),
            file: None,
            line: None,
        }]
    }

    fn found(body: &str) -> usize {
        let patch =
            format!("diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,3 @@\n{body}\n");
        cases(&patch, &failures()).len()
    }

    #[test]
    fn code_that_knows_the_tests_input_or_its_answer_is_shown() {
        for body in [
            "+    if price == 1999:",
            "+    if (price === 1999) return 3;",
            "+        1999 => 1749,",
            "+    return 1749",
            "+    return 'total: 17.49'",
            "+    case 1999:",
            "+    if price in (1999, 7):",
        ] {
            assert_eq!(found(body), 1, "{body}");
        }
    }

    #[test]
    fn an_honest_fix_of_a_constant_or_of_a_sum_is_not() {
        for body in [
            "-    return 1750\n+    return 1749",
            "-LIMIT = 1999\n+LIMIT = 2000",
            "-    return price + off\n+    return price - off",
            "+    return round(price * 1.0, 2)",
            "+    # seen with 1999",
            "+    TABLE = [1749, 1999]",
        ] {
            assert_eq!(found(body), 0, "{body}");
        }
    }
}
