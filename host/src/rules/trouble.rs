//! Tells a failure of what runs the tests from a failure of the tests: disk, memory, setup, time, start.
//!
//! Touches: nothing.
//! Change here: when the machine can fail in another way, or an operator should be told to do something else about it.

use crate::event::{Exit, SETUP_FAILED, TestReport};

/// What went wrong around the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    NotStarted,
    NoRoom,
    Killed,
    Setup,
    TimedOut,
}

/// How programs, shells and languages say that a disk is full.
const NO_ROOM: [&str; 4] = [
    "no space left on device",
    "enospc",
    "disk quota exceeded",
    "disk is full",
];
/// Of the output, at its end: what is said there ended the run.
const END: usize = 4096;

/// A report that names tests which failed speaks of the tests, whatever else went wrong.
pub fn of(report: &TestReport) -> Option<Trouble> {
    report
        .problem
        .as_deref()
        .filter(|_| report.bad().is_empty())
        .and_then(|problem| {
            if report.exit == Exit::NotStarted {
                return Some(Trouble::NotStarted);
            }
            if is_out_of_room(report) {
                return Some(Trouble::NoRoom);
            }
            match report.exit {
                _ if problem.starts_with(SETUP_FAILED) => Some(Trouble::Setup),
                Exit::TimedOut { .. } => Some(Trouble::TimedOut),
                Exit::Signal(9) => Some(Trouble::Killed),
                _ => None,
            }
        })
}

fn is_out_of_room(report: &TestReport) -> bool {
    let start = report.output.len().saturating_sub(END);
    let end = report.output.as_bytes()[start..].to_ascii_lowercase();
    let end = String::from_utf8_lossy(&end);
    NO_ROOM.iter().any(|words| end.contains(words))
}

/// The last trouble, where every one of these runs ended in one.
pub fn of_all(samples: &[TestReport]) -> Option<Trouble> {
    let troubles: Option<Vec<Trouble>> = samples.iter().map(of).collect();
    troubles?.last().copied()
}

impl Trouble {
    /// What happened, and what an operator has to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Trouble::NotStarted => {
                "the test command could not be started: see that the machine has what `test` and `setup` name, and that \
                 its process and file limits leave room"
            }
            Trouble::NoRoom => {
                "the disk is full: make room where host.state and the temporary files lie"
            }
            Trouble::Killed => {
                "the test command was killed, as happens when memory runs out: give the machine more, lower \
                 host.trials_at_once, or raise sandbox.total_memory_mib where that is named"
            }
            Trouble::Setup => {
                "`setup` fails at the base commit too: run it by hand on this machine; a registry or a mirror it needs \
                 may be away"
            }
            Trouble::TimedOut => {
                "the test command does not come to its end at the base commit either: see what it waits for, or raise \
                 test_timeout_seconds"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::triage::tests::report;
    use super::*;

    fn broken(exit: Exit, problem: &str, output: &str) -> TestReport {
        TestReport {
            exit,
            problem: Some(problem.into()),
            output: output.into(),
            ..report("")
        }
    }

    #[test]
    fn each_kind_of_trouble_is_told_from_the_others_and_from_a_failing_test() {
        let timed_out = Exit::TimedOut { after_seconds: 9 };
        for (report, trouble) in [
            (
                broken(Exit::NotStarted, "sh: not found", ""),
                Some(Trouble::NotStarted),
            ),
            (
                broken(Exit::Code(1), "setup failed (exit code 1)", "E404"),
                Some(Trouble::Setup),
            ),
            (
                broken(
                    Exit::Code(1),
                    "setup failed (exit code 1)",
                    "write: No space left on device",
                ),
                Some(Trouble::NoRoom),
            ),
            (
                broken(timed_out, "the test command was stopped after 9 s", ""),
                Some(Trouble::TimedOut),
            ),
            (
                broken(Exit::Signal(9), "the test command was killed", ""),
                Some(Trouble::Killed),
            ),
            (
                broken(Exit::Signal(11), "the test command was killed", ""),
                None,
            ),
            (
                broken(Exit::Code(2), "no test ran (exit code 2)", "SyntaxError"),
                None,
            ),
            (report("a- b+"), None),
        ] {
            assert_eq!(of(&report), trouble, "{report:?}");
        }
    }

    #[test]
    fn a_test_that_failed_before_time_was_up_is_a_failing_test() {
        let timed_out = Exit::TimedOut { after_seconds: 9 };
        let report = TestReport {
            problem: Some("stopped".into()),
            exit: timed_out,
            ..report("a- b+")
        };
        assert_eq!(of(&report), None);
    }
}
