//! What a run of the tests said, and what triage made of it.
//!
//! Touches: nothing.
//! Change here: when a report can tell more, or triage can find something new.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Oid;

/// Which tree of the change was tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Head,
    /// The head once more, to tell a flaky test from a broken one.
    HeadAgain,
    Base,
    /// The branch's tip at delivery, where it is no longer the head.
    Tip,
    MergeResult,
}

/// One run of a project's test command on one tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    pub commit: Option<Oid>,
    pub tree: Oid,
    pub source: ReportSource,
    pub exit: Exit,
    /// Every test the report names, by id.
    pub tests: BTreeMap<String, Outcome>,
    /// Details of the tests that did not pass; at most 50, each capped.
    pub failures: Vec<TestFailure>,
    /// The end of what the command printed; at most 16 KiB.
    pub output: String,
    /// Why the run cannot be taken at its word: setup failed, no test ran, unreadable report, the exit
    /// code contradicts the report.
    pub problem: Option<String>,
    pub seconds: f64,
    /// The layers of the sandbox that held; none where it ran without one.
    #[serde(default)]
    pub sandbox: BTreeSet<Layer>,
    /// Only some tests were asked for: what it does not name says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl TestReport {
    /// Green means: it ran to its end, at least one test passed, none failed, and exit code and report agree.
    pub fn is_green(&self) -> bool {
        self.exit == Exit::Code(0)
            && self.problem.is_none()
            && match self.source {
                ReportSource::ExitCode => true,
                ReportSource::Junit
                | ReportSource::GoTest
                | ReportSource::Tap
                | ReportSource::Libtest => {
                    self.tests.values().any(|o| *o == Outcome::Passed)
                        && self.tests.values().all(|o| !o.is_bad())
                }
            }
    }

    /// Whether something stood between the tests and the machine.
    pub fn is_confined(&self) -> bool {
        self.sandbox.contains(&Layer::Namespaces)
    }

    pub fn passed(&self) -> BTreeSet<&str> {
        self.tests
            .iter()
            .filter(|(_, o)| **o == Outcome::Passed)
            .map(|(id, _)| id.as_str())
            .collect()
    }

    pub fn bad(&self) -> BTreeSet<&str> {
        self.tests
            .iter()
            .filter(|(_, o)| o.is_bad())
            .map(|(id, _)| id.as_str())
            .collect()
    }

    pub fn failure(&self, id: &str) -> Option<&TestFailure> {
        self.failures.iter().find(|f| f.id == id)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportSource {
    Junit,
    /// The events of `go test -json`.
    GoTest,
    /// The Test Anything Protocol.
    Tap,
    /// The text `cargo test` prints.
    Libtest,
    /// No report: only "all passed" or "something failed" is known. Never merged on.
    ExitCode,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    Code(i32),
    Signal(i32),
    TimedOut {
        after_seconds: u64,
    },
    /// The command could not be started, or the workspace could not be made.
    NotStarted,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
            Exit::TimedOut { after_seconds } => write!(f, "stopped after {after_seconds} s"),
            Exit::NotStarted => f.write_str("not started"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    Failed,
    /// Could not run: import, collection, setup or teardown error.
    Errored,
    Skipped,
    /// Failed and passed within one run of the command (reruns, retries).
    Flaky,
}

impl Outcome {
    pub fn is_bad(self) -> bool {
        matches!(self, Outcome::Failed | Outcome::Errored)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestFailure {
    pub id: String,
    /// The one-line complaint; at most 500 characters.
    pub message: String,
    /// Traceback or captured output; at most 8 KiB, head and tail kept.
    pub detail: String,
    pub file: Option<String>,
    /// From 1.
    pub line: Option<u32>,
}

/// What stood between a command and the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Own users, processes, network, mounts and names, by bubblewrap.
    Namespaces,
    /// A user of its own, where the daemon is root.
    Identity,
    /// Limits on memory, processes and files.
    Limits,
    Landlock,
    Seccomp,
}

impl Layer {
    pub fn name(self) -> &'static str {
        match self {
            Layer::Namespaces => "namespaces",
            Layer::Identity => "identity",
            Layer::Limits => "limits",
            Layer::Landlock => "landlock",
            Layer::Seccomp => "seccomp",
        }
    }
}

/// What triage found out about a red head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Triage {
    pub finding: Finding,
    /// Tests that fail because of the change: bad every time at head, and not bad at base.
    pub failing: BTreeSet<String>,
    /// Bad once and not bad another time on the same tree.
    pub flaky: BTreeSet<String>,
    /// Bad at base already.
    pub red_before: BTreeSet<String>,
    /// Passed at base, or at head: what a candidate may not lose.
    pub to_keep: BTreeSet<String>,
    /// One sentence for people.
    pub because: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    Green,
    Flaky,
    RedBefore,
    /// The change broke it.
    Real,
    /// The tests cannot be run on this machine at all, at base neither.
    CannotTell,
}

impl Finding {
    pub fn name(self) -> &'static str {
        match self {
            Finding::Green => "green",
            Finding::Flaky => "flaky",
            Finding::RedBefore => "red-before",
            Finding::Real => "real",
            Finding::CannotTell => "cannot-tell",
        }
    }
}
