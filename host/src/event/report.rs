//! What a run of the tests said, and what triage made of it.
//!
//! Touches: nothing.
//! Change here: when a report can tell more, or triage can find something new.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FailureClass, Oid, RunId};

/// Which tree of the change was tested.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Head,
    /// The head once more, to tell a flaky test from a broken one.
    HeadAgain,
    Base,
    /// The base once more, to tell a test that always passed there from one that did so by chance.
    BaseAgain,
    /// A commit between base and head, to find the one that broke it.
    Between,
    /// The branch's tip at delivery, where it is no longer the head.
    Tip,
    MergeResult,
}

/// How the `problem` of a report begins whose tests were never started, because setup failed.
pub const SETUP_FAILED: &str = "setup failed";

/// One run of a project's test command on one tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
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

/// How often a test was seen to flip: bad and not bad on one and the same tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flips {
    pub flips: u32,
    /// Of the project's last runs, that many were looked at.
    pub runs: u32,
}

/// What triage found out about a red head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Triage {
    pub finding: Finding,
    /// Tests that fail because of the change: bad every time at head, and not bad at base. Where that could not be told,
    /// those it could not be told of.
    pub failing: BTreeSet<String>,
    /// Bad once and not bad another time on the same tree, head or base.
    pub flaky: BTreeSet<String>,
    /// Bad at base already.
    pub red_before: BTreeSet<String>,
    /// Passed at base, or at head: what a candidate may not lose.
    pub to_keep: BTreeSet<String>,
    /// One sentence for people.
    pub because: String,
    /// Of every test that is not flaky and fails at the head: what tells its failure from another one of the same test.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prints: BTreeMap<String, String>,
    /// The run that has this failure in hand already, or gave it to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<RunId>,
    /// What kind of failure it is; only of one that is real.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
    /// What the change is written in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// What became of the search for the commit that broke it, among several that came at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bisection {
    /// Oldest first; more than one where it could not be told which.
    pub suspects: Vec<Oid>,
    /// Passed over, because the tests could not be run there.
    pub untestable: Vec<Oid>,
    /// Commits that were searched, and how many of them were tested for it.
    pub among: u32,
    pub tested: u32,
    /// Every failing test fails since the last suspect; else later commits broke more.
    pub all: bool,
}

impl Bisection {
    /// The one commit that is to blame for all of it, if there is one.
    pub fn culprit(&self) -> Option<&Oid> {
        match self.suspects.as_slice() {
            [one] if self.all => Some(one),
            _ => None,
        }
    }

    /// What came of it, as half a sentence; `named` gives a commit's words.
    pub fn sentence(&self, named: impl Fn(&Oid) -> String) -> String {
        let among = format!("of {} commits", self.among);
        let skipped = match self.untestable.len() {
            0 => String::new(),
            n => format!(" ({n} could not be tested)"),
        };
        match (self.suspects.as_slice(), self.all) {
            ([one], true) => format!("{among}, {} broke it{skipped}", named(one)),
            ([one], false) => format!(
                "{among}, {} was the first to break something, and later ones broke more{skipped}",
                named(one)
            ),
            ([first, .., last], _) => format!(
                "{among}, one from {} to {} broke it, and which of them could not be told{skipped}",
                named(first),
                named(last)
            ),
            ([], _) => format!("which {among} broke it could not be told"),
        }
    }
}

/// A run that works on a failure, or gave it to people.
#[derive(Clone, Debug, PartialEq)]
pub struct InHand {
    pub run: RunId,
    pub head: Oid,
    /// By test, what tells its failure from another one.
    pub prints: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    Green,
    Flaky,
    RedBefore,
    /// Another run has the same failure in hand, or gave it to people.
    Known,
    /// The change broke it.
    Real,
    /// The tests cannot be judged, or what is known does not suffice to call them broken or flaky.
    CannotTell,
    /// What runs the tests failed, not the tests: no disk, no memory, a command that cannot be started, a setup or a
    /// whole suite that does not come to its end at the base either.
    Infrastructure,
}

impl Finding {
    pub fn name(self) -> &'static str {
        match self {
            Finding::Green => "green",
            Finding::Flaky => "flaky",
            Finding::RedBefore => "red-before",
            Finding::Known => "known",
            Finding::Real => "real",
            Finding::CannotTell => "cannot-tell",
            Finding::Infrastructure => "infrastructure",
        }
    }
}
