//! Reads what a test command reported: JUnit XML, `go test -json`, TAP, or the text `cargo test` prints.
//!
//! Touches: nothing.
//! Change here: when reports come in another format, or when the same test reported twice must mean
//! something else. The dialects are in `reports/`.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;

use super::clip::clip;
use crate::event::{Outcome, ReportSource, TestFailure};

mod gotest;
mod junit;
mod libtest;
mod place;
mod tap;

/// What the text is that a command printed or wrote, where it is a report at all.
pub fn told(text: &str) -> Option<ReportSource> {
    let start = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if start.starts_with('<') {
        Some(ReportSource::Junit)
    } else if gotest::is_gotest(text) {
        Some(ReportSource::GoTest)
    } else if libtest::is_libtest(text) {
        Some(ReportSource::Libtest)
    } else {
        tap::is_tap(text).then_some(ReportSource::Tap)
    }
}

/// Reads a report of that kind.
///
/// # Errors
/// Where it is not of that kind; only XML has a form to hold it to.
pub fn read(source: ReportSource, report: &[u8], scrub: &Scrub) -> Result<Tests, ReportError> {
    let text = || String::from_utf8_lossy(report);
    match source {
        ReportSource::Junit => junit::junit(report, scrub),
        ReportSource::GoTest => Ok(gotest::gotest(&text(), scrub)),
        ReportSource::Tap => Ok(tap::tap(&text(), scrub)),
        ReportSource::Libtest => Ok(libtest::libtest(&text(), scrub)),
        ReportSource::ExitCode => Ok(Tests::default()),
    }
}

/// Details kept of one run.
pub const MOST_FAILURES: usize = 50;
const MOST_MESSAGE: usize = 500;
const MOST_DETAIL: usize = 8 << 10;
/// A report beyond this is not read.
pub const MOST_BYTES: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(
        "the report is not well-formed XML at byte {at}: {why}; let the test command write JUnit XML"
    )]
    Malformed { at: u64, why: String },
    #[error("the report declares a document type, which JUnit XML has no use for")]
    DocumentType,
    #[error("the report nests elements deeper than {limit}")]
    TooDeep { limit: usize },
    #[error(
        "the report's root is <{root}>, not <testsuites> or <testsuite>; let the test command write JUnit XML"
    )]
    NotJunit { root: String },
}

/// What one report says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tests {
    /// By id.
    pub outcomes: BTreeMap<String, Outcome>,
    /// In the order of the report; at most [`MOST_FAILURES`], each capped.
    pub failures: Vec<TestFailure>,
    /// Why the report cannot be taken at its word, such as a test binary that ended without a result.
    pub problem: Option<String>,
}

impl Tests {
    /// Takes in the tests of another report of the same run; the worse outcome counts for an id in both.
    pub fn absorb(&mut self, other: Tests) {
        for (id, outcome) in other.outcomes {
            self.outcomes
                .entry(id)
                .and_modify(|known| *known = worse(*known, outcome))
                .or_insert(outcome);
        }
        for failure in other.failures {
            self.add_failure(failure);
        }
        self.problem = self.problem.take().or(other.problem);
    }

    /// Keeps the first failure of an id, as long as there is room.
    fn add_failure(&mut self, failure: TestFailure) {
        if self.failures.len() < MOST_FAILURES && self.failures.iter().all(|f| f.id != failure.id) {
            self.failures.push(failure);
        }
    }
}

/// Tells apart what differs between two runs and means nothing: where the workspace lies.
#[derive(Clone, Debug, Default)]
pub struct Scrub {
    replaced: Vec<(String, String)>,
}

impl Scrub {
    /// Paths below `root` become relative to it.
    pub fn root(root: &Path) -> Scrub {
        let root = root.display().to_string();
        Scrub {
            replaced: vec![
                (format!("file://{root}/"), String::new()),
                (format!("{root}/"), String::new()),
                (root, ".".into()),
            ],
        }
    }

    /// Paths below `dir` become paths below `name`.
    pub fn and(mut self, dir: &Path, name: &str) -> Scrub {
        self.replaced.push((dir.display().to_string(), name.into()));
        self
    }

    pub fn clean(&self, text: &str) -> String {
        self.replaced
            .iter()
            .fold(text.to_owned(), |text, (from, to)| {
                if text.contains(from.as_str()) {
                    text.replace(from.as_str(), to)
                } else {
                    text
                }
            })
    }
}

/// The outcome that must not be overlooked, of two tests that bear the same id.
fn worse(a: Outcome, b: Outcome) -> Outcome {
    let rank = |outcome: Outcome| match outcome {
        Outcome::Skipped => 0,
        Outcome::Passed => 1,
        Outcome::Flaky => 2,
        Outcome::Errored => 3,
        Outcome::Failed => 4,
    };
    if rank(b) > rank(a) { b } else { a }
}

fn fixed(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that the tests compile")
}

/// One line for people from however many.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    clip(&words.join(" "), MOST_MESSAGE)
}
