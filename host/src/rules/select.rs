//! Makes of a project's test command one that runs just some of its tests, where the runner is known and the way from
//! the ids of a report back to its own names is certain.
//!
//! Touches: nothing.
//! Change here: when another runner should be told to run single tests; it is a file in `select/` and a line in
//! `command`.
//!
//! What comes out runs at least the tests that are asked for, and may run more. It is a shell line that holds text
//! from reports, which anybody may have written: every word of it is quoted, and an id that holds control characters
//! is not used at all. Whether the tests asked for did run is for the reader of the report to see.

use std::collections::BTreeSet;

pub mod canary;
mod go;
mod java;
mod javascript;
mod line;
mod near;
mod python;
mod rust;

pub use line::quote;
pub use near::near;

use crate::event::{Exit, Outcome, TestReport};
use line::{Segment, Word};

/// A shell takes one argument of 128 KiB; the line is one.
const LONGEST: usize = 96 << 10;

/// The paths of a tree.
pub type Paths = BTreeSet<String>;

/// The command that runs these tests. None where nobody can say: then the whole suite has to run.
pub fn command(test: &str, wanted: &BTreeSet<String>, paths: &Paths) -> Option<String> {
    let is_plain = |id: &String| !id.is_empty() && !id.contains(char::is_control);
    if wanted.is_empty() || !wanted.iter().all(is_plain) {
        return None;
    }
    let segments = line::read(test)?;
    let runner = line::the_runner(&segments, is_runner)?;
    let words = runner.unwrapped()?;
    let edit = match Runner::of(words)? {
        Runner::Pytest => python::select(words, wanted, paths),
        Runner::Cargo | Runner::Nextest => rust::cargo(words, wanted),
        Runner::Go => go::test(words, wanted),
        Runner::Node => javascript::node(words, wanted),
        Runner::Jest => javascript::jest(words, wanted, paths),
        Runner::Vitest => javascript::vitest(words, wanted, paths),
        Runner::Maven => java::maven(words, wanted),
    }?;
    let made = edit.of(test);
    (made.len() <= LONGEST).then_some(made)
}

/// Whether a run of these tests alone says what became of them. Where it does not even name them, or skips them, the
/// command was understood otherwise than it was meant; a test that fails, and a run that has to be stopped, are an
/// answer all the same.
pub fn is_an_answer(report: &TestReport, wanted: &BTreeSet<String>) -> bool {
    let stopped = matches!(report.exit, Exit::Signal(_) | Exit::TimedOut { .. });
    let names = |id: &String| report.tests.get(id).is_some_and(|o| *o != Outcome::Skipped);
    let passes = report.problem.is_none() && wanted.iter().all(names);
    stopped || passes || !report.bad().is_empty()
}

/// What runs the tests, as far as the command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    Pytest,
    Cargo,
    Nextest,
    Go,
    Node,
    Jest,
    Vitest,
    Maven,
}

impl Runner {
    /// The words begin with the command.
    fn of(words: &[Word<'_>]) -> Option<Runner> {
        Some(match words.first()?.command()? {
            "pytest" | "py.test" => Runner::Pytest,
            name if python::is_python(name) => Runner::Pytest,
            "cargo" if rust::is_nextest(words) => Runner::Nextest,
            "cargo" => Runner::Cargo,
            "go" => Runner::Go,
            "node" => Runner::Node,
            "jest" => Runner::Jest,
            "vitest" => Runner::Vitest,
            "mvn" | "mvnw" => Runner::Maven,
            _ => return None,
        })
    }
}

fn runner(test: &str) -> Option<Runner> {
    let segments = line::read(test)?;
    let segment = line::the_runner(&segments, is_runner)?;
    Runner::of(segment.unwrapped()?)
}

fn is_runner(segment: &Segment<'_>) -> bool {
    let words = segment.unwrapped();
    words.is_some_and(|words| Runner::of(words).is_some())
}

#[cfg(test)]
mod tests;
