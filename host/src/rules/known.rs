//! Tells whether a failure is one that another run has in hand already, or gave to people.
//!
//! Touches: nothing.
//! Change here: when two failures of a test should count as the same, or no longer.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::event::{Finding, InHand, RunId, TestReport, Triage};

/// Of a complaint, in characters; what follows repeats, or varies from run to run.
const LOOKED_AT: usize = 300;
/// So many digits in a row name a moment, a process, a port or an address, not a value that a test is about.
const DIGITS: usize = 5;

/// What tells each failure from another one of the same test: what the test complains of, but for what differs each time.
pub fn prints(triage: &Triage, head: &TestReport) -> BTreeMap<String, String> {
    let bad = triage.failing.union(&triage.red_before);
    bad.map(|id| {
        let said = head.failure(id).map_or("", |failure| &failure.message);
        (id.clone(), print(id, said))
    })
    .collect()
}

fn print(id: &str, said: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(id);
    hash.update([0]);
    hash.update(steady(said));
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A complaint without addresses, times and what else differs from run to run.
fn steady(said: &str) -> String {
    let words = said.split_whitespace().map(|word| {
        let hex = word.contains("0x");
        let digits = word.split(|c: char| !c.is_ascii_digit());
        let long = digits.map(str::len).max().unwrap_or(0) >= DIGITS;
        if hex || long || is_duration(word) {
            "#"
        } else {
            word
        }
    });
    let steady = words.collect::<Vec<_>>().join(" ");
    steady.chars().take(LOOKED_AT).collect()
}

/// `0.03s`, `12ms`, `1.5` before a unit of its own is left alone: it may be what the test is about.
fn is_duration(word: &str) -> bool {
    let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
    let number = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &word[number.len()..];
    matches!(unit, "s" | "ms" | "us" | "ns" | "sec" | "secs") && number.parse::<f64>().is_ok()
}

/// The newest of these runs that has every failure of this one in hand.
pub fn in_hand<'a>(triage: &Triage, runs: &'a [InHand]) -> Option<&'a InHand> {
    if triage.prints.is_empty() || !matches!(triage.finding, Finding::Real | Finding::RedBefore) {
        return None;
    }
    let covers = |run: &&InHand| {
        let same = |(id, print): (&String, &String)| run.prints.get(id) == Some(print);
        triage.prints.iter().all(same)
    };
    runs.iter().find(covers)
}

/// The finding once it is known which run has the failure in hand.
pub fn attached(triage: Triage, to: &RunId) -> Triage {
    Triage {
        finding: Finding::Known,
        because: format!(
            "known since run {to}: it fails the same way, and that run works on it or gave it to people; nothing is \
             started again"
        ),
        known: Some(to.clone()),
        ..triage
    }
}

#[cfg(test)]
mod tests {
    use super::super::triage::tests::{found, report};
    use super::*;
    use crate::event::{Oid, TestFailure};

    fn failing(text: &str, said: &[(&str, &str)]) -> Triage {
        let mut head = report(text);
        head.failures = said
            .iter()
            .map(|(id, message)| TestFailure {
                id: (*id).to_owned(),
                message: (*message).to_owned(),
                detail: String::new(),
                file: None,
                line: None,
            })
            .collect();
        let green = report(&text.replace('-', "+"));
        found(&head, &green)
    }

    fn run(name: &str, triage: &Triage) -> InHand {
        InHand {
            run: RunId(name.into()),
            head: Oid(format!("head of {name}")),
            prints: triage.prints.clone(),
        }
    }

    #[test]
    fn the_same_complaint_of_the_same_test_is_the_same_failure() {
        let first = failing("a- b+", &[("a", "assert 3 == 4")]);
        let again = failing("a- b+", &[("a", "assert 3 == 4")]);
        let runs = [run("r1", &first)];
        assert_eq!(in_hand(&again, &runs).map(|r| &r.run.0[..]), Some("r1"));
    }

    #[test]
    fn another_value_or_another_test_is_another_failure() {
        let first = failing("a- b+", &[("a", "assert 3 == 4")]);
        let runs = [run("r1", &first)];
        let value = failing("a- b+", &[("a", "assert 2 == 4")]);
        assert_eq!(in_hand(&value, &runs), None);
        let more = failing("a- b-", &[("a", "assert 3 == 4"), ("b", "no")]);
        assert_eq!(in_hand(&more, &runs), None);
    }

    #[test]
    fn what_is_left_of_a_failure_in_hand_is_in_hand() {
        let first = failing("a- b-", &[("a", "no"), ("b", "no")]);
        let runs = [run("r1", &first)];
        assert!(in_hand(&failing("a+ b-", &[("b", "no")]), &runs).is_some());
    }

    #[test]
    fn addresses_times_and_ports_do_not_make_a_failure_another_one() {
        let told = |said: &str| print("a", said);
        assert_eq!(
            told("<Order object at 0x7f3a> refused after 0.031s on port 48213"),
            told("<Order object at 0x7f99> refused after 1.2s on port 50911")
        );
        assert_ne!(told("expected 12 orders"), told("expected 13 orders"));
    }

    #[test]
    fn nothing_is_attached_to_anything_where_nothing_fails() {
        let green = Triage {
            finding: Finding::Flaky,
            ..failing("a+", &[])
        };
        assert_eq!(in_hand(&green, &[run("r1", &green)]), None);
    }
}
