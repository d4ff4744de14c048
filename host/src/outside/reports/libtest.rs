//! Reads the text `cargo test` prints.
//!
//! Touches: nothing.
//! Change here: when libtest or cargo word their lines anew.
//!
//! The id of a test is `<target>::<path>`: `shop::cart::adds` for a library or an integration test,
//! `shop::bin/till::adds` for a binary, `shop::doc::src/lib.rs - add (line 3)` for a documentation test.
//! The target always stands there where cargo names it, so that an id does not depend on which other
//! targets exist. Two targets of one name share their ids, and the worse outcome counts.

use std::sync::LazyLock;

use regex::Regex;

use super::place::{panic_message, place, steady};
use super::{MOST_DETAIL, Scrub, Tests, fixed, one_line, worse};
use crate::event::{Outcome, TestFailure};
use crate::outside::clip::clip;

static TARGET: LazyLock<Regex> = LazyLock::new(|| {
    fixed(r"^\s+Running (?:unittests )?(\S+) \((?:.*/)?(.+?)-[0-9a-f]{16}(?:\.exe)?\)$")
});
static DOCS: LazyLock<Regex> = LazyLock::new(|| fixed(r"^\s+Doc-tests (\S+)$"));
static STARTS: LazyLock<Regex> = LazyLock::new(|| fixed(r"^running (\d+) tests?$"));
static TEST: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"^test (.+?)(?: - should panic)? \.\.\. ?(.*)$"));
static RESULT: LazyLock<Regex> = LazyLock::new(|| {
    fixed(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored; (\d+) measured;")
});
static SECTION: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"^---- (.+?)(?: - should panic)? stdout ----$"));

/// True where the text holds at least one binary's tests, so that it is worth reading.
pub fn is_libtest(output: &str) -> bool {
    output.lines().any(|line| STARTS.is_match(line))
}

/// Reads all of the output; there is nothing it fails on, but it may find no test.
pub fn libtest(output: &str, scrub: &Scrub) -> Tests {
    let mut reading = Reading {
        scrub,
        target: String::new(),
        binary: None,
        started: None,
        section: None,
        tests: Tests::default(),
    };
    for line in output.lines() {
        reading.line(line.trim_end_matches('\r'));
    }
    reading.end_binary();
    reading.tests
}

struct Reading<'a> {
    scrub: &'a Scrub,
    /// What goes before the test's path, `::` included.
    target: String,
    binary: Option<Binary>,
    /// A test whose result was pushed to a later line by what it printed.
    started: Option<String>,
    /// The failing test whose output is being read.
    section: Option<(String, String)>,
    tests: Tests,
}

/// One test binary between `running` and `test result`.
struct Binary {
    announced: usize,
    read: usize,
}

impl Reading<'_> {
    fn line(&mut self, line: &str) {
        if let Some(target) = target(line) {
            self.end_binary();
            self.target = target;
        } else if let Some(starts) = STARTS.captures(line) {
            self.end_binary();
            self.binary = Some(Binary {
                announced: starts[1].parse().unwrap_or(0),
                read: 0,
            });
        } else if let Some(result) = RESULT.captures(line) {
            self.close_binary(&result);
        } else if let Some(section) = SECTION.captures(line) {
            self.end_section();
            self.section = Some((self.id(&section[1]), String::new()));
        } else if self.section.is_some() {
            self.section_line(line);
        } else {
            self.test_line(line);
        }
    }

    fn id(&self, test: &str) -> String {
        self.scrub.clean(&format!("{}{test}", self.target))
    }

    fn test_line(&mut self, line: &str) {
        if let Some(test) = TEST.captures(line) {
            let id = self.id(&test[1]);
            match outcome(&test[2]) {
                Some(outcome) => self.record(id, outcome),
                None => self.started = Some(id),
            }
        } else if let (Some(outcome), Some(id)) = (
            outcome(line),
            self.started.take_if(|_| outcome(line).is_some()),
        ) {
            self.record(id, outcome);
        }
    }

    fn record(&mut self, id: String, outcome: Outcome) {
        if let Some(binary) = &mut self.binary {
            binary.read += 1;
        }
        self.tests
            .outcomes
            .entry(id)
            .and_modify(|known| *known = worse(*known, outcome))
            .or_insert(outcome);
    }

    fn section_line(&mut self, line: &str) {
        if line == "failures:" {
            return self.end_section();
        }
        if let Some((_, text)) = &mut self.section {
            text.push_str(line);
            text.push('\n');
        }
    }

    fn end_section(&mut self) {
        let Some((id, text)) = self.section.take() else {
            return;
        };
        // `--show-output` gives passing tests a section too, and a garbled line may name a test that never ran.
        if self.tests.outcomes.get(&id) != Some(&Outcome::Failed) {
            return;
        }
        let detail = steady(&self.scrub.clean(text.trim()));
        let first_line = detail
            .lines()
            .find(|l| !l.trim().is_empty())
            .unwrap_or("failed without a word");
        let says = panic_message(&detail).unwrap_or_else(|| first_line.to_owned());
        let (file, line) = place(&detail).unzip();
        self.tests.add_failure(TestFailure {
            id,
            message: one_line(&says),
            detail: clip(&detail, MOST_DETAIL),
            file,
            line,
        });
    }

    /// A binary that said its result; its own count must be what was read.
    fn close_binary(&mut self, result: &regex::Captures<'_>) {
        self.end_section();
        self.started = None;
        let counted: usize = (1..=4)
            .filter_map(|i| result[i].parse::<usize>().ok())
            .sum();
        if let Some(binary) = self.binary.take()
            && binary.read != counted
        {
            let why = format!(
                "{}libtest counted {counted} tests, and {} could be read",
                self.of_target(),
                binary.read
            );
            self.tests.problem.get_or_insert(why);
        }
    }

    /// A binary that ended without a result: aborted, killed, or cut off.
    fn end_binary(&mut self) {
        self.end_section();
        let crashed_in = self.started.take();
        let Some(binary) = self.binary.take() else {
            return;
        };
        let of = self.of_target();
        let (announced, read) = (binary.announced, binary.read);
        self.tests.problem.get_or_insert(format!(
            "{of}a test binary ended without a result after {read} of {announced} tests"
        ));
        if let Some(id) = crashed_in {
            self.tests.outcomes.entry(id).or_insert(Outcome::Errored);
        }
    }

    fn of_target(&self) -> String {
        self.target
            .strip_suffix("::")
            .map_or_else(String::new, |t| format!("{t}: "))
    }
}

/// The prefix of the ids that follow, where the line names a test binary.
fn target(line: &str) -> Option<String> {
    if let Some(docs) = DOCS.captures(line) {
        return Some(format!("{}::doc::", &docs[1]));
    }
    let captures = TARGET.captures(line)?;
    let (source, name) = (&captures[1], &captures[2]);
    let is_binary = source.ends_with("main.rs") || source.contains("src/bin/");
    Some(if is_binary {
        format!("{name}::bin/{name}::")
    } else {
        format!("{name}::")
    })
}

fn outcome(text: &str) -> Option<Outcome> {
    match text.split([' ', ',', '<']).next()? {
        "ok" | "bench:" => Some(Outcome::Passed),
        "FAILED" => Some(Outcome::Failed),
        "ignored" => Some(Outcome::Skipped),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
