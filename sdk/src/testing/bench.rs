//! A strategy's world out of strings.
//!
//! Touches: nothing.
//! Change here: when strategies may ask the host for something new.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::common::{Common, common_services, common_setup};
use super::patching::{apply, changed, whole_diff};
use super::tree::matcher;
use super::{Files, TestTree};
use crate::{
    Commit, Completion, Failure, Fault, FaultKind, Host, Level, Outcome, Patch, Prompt, Report,
    Services, Strategy, ToolReport,
};

#[derive(Clone, Debug, Default)]
struct TestCase {
    id: String,
    message: Option<String>,
    detail: Option<String>,
    location: Option<(String, u32)>,
}

type Oracle = Box<dyn Fn(&Files) -> Report>;
type Tool = Box<dyn Fn(Files) -> Files>;

/// When the bench's clock starts: the first moment of 2026.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// A strategy's world. Set it up by chaining, run the strategy with [`Bench::run`], then ask what happened.
#[derive(Default)]
pub struct Bench {
    common: Common,
    base: TestTree,
    head: TestTree,
    failing: Vec<TestCase>,
    commits: Vec<Commit>,
    protected: Vec<(globset::GlobMatcher, String)>,
    attributes: BTreeMap<String, String>,
    suite_output: String,
    answers: RefCell<VecDeque<Result<String, Fault>>>,
    prompts: RefCell<Vec<Prompt>>,
    oracle: Option<Oracle>,
    probed: RefCell<Vec<Files>>,
    tools: BTreeMap<String, Tool>,
    /// Answers of the host that took time, so far.
    waited: Cell<u64>,
    drawn: Cell<u8>,
    budget: RefCell<BTreeMap<String, u64>>,
    refused: BTreeSet<String>,
}

common_services!(Bench);

impl Bench {
    pub fn new() -> Bench {
        Bench {
            base: TestTree::new("b".repeat(40)),
            head: TestTree::new("a".repeat(40)),
            ..Bench::default()
        }
    }

    common_setup!();

    /// A file as it stood before the change.
    pub fn base(mut self, path: &str, text: &str) -> Bench {
        self.base.files.insert(path.to_owned(), text.to_owned());
        self
    }

    /// A file as it stands in the failing commit.
    pub fn head(mut self, path: &str, text: &str) -> Bench {
        self.head.files.insert(path.to_owned(), text.to_owned());
        self
    }

    /// A file that the change did not touch.
    pub fn both(self, path: &str, text: &str) -> Bench {
        self.base(path, text).head(path, text)
    }

    /// A test that fails because of the change.
    pub fn failing(mut self, id: &str, message: &str, detail: &str) -> Bench {
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        self.failing.push(TestCase {
            id: id.to_owned(),
            message: said(message),
            detail: said(detail),
            location: None,
        });
        self.failing.sort_by(|a, b| a.id.cmp(&b.id));
        self
    }

    /// Where a failing test stands.
    pub fn located(mut self, id: &str, path: &str, line: u32) -> Bench {
        for test in self.failing.iter_mut().filter(|t| t.id == id) {
            test.location = Some((path.to_owned(), line));
        }
        self
    }

    /// A commit of the change; the one named first is the newest.
    pub fn commit(mut self, message: &str) -> Bench {
        self.commits.push(Commit {
            id: format!("{:x}", self.commits.len() + 0xc1).repeat(20),
            author: "Ada".to_owned(),
            message: message.to_owned(),
        });
        self
    }

    /// Paths that a patch may not touch, by glob. Panics on a glob that is none.
    pub fn protect(mut self, glob: &str, why: &str) -> Bench {
        self.protected.push((
            matcher(glob).expect("a glob of the test's own"),
            why.to_owned(),
        ));
        self
    }

    pub fn attribute(mut self, key: &str, value: &str) -> Bench {
        self.attributes.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn suite_output(mut self, text: &str) -> Bench {
        self.suite_output = text.to_owned();
        self
    }

    /// The next answer of the model.
    pub fn answer(self, text: &str) -> Bench {
        self.answers.borrow_mut().push_back(Ok(text.to_owned()));
        self
    }

    /// The next answer of the model is none.
    pub fn answer_fault(self, kind: FaultKind, code: &str, message: &str) -> Bench {
        self.answers
            .borrow_mut()
            .push_back(Err(Fault::new(kind, code, message)));
        self
    }

    /// What the tests say of a patched tree. Without it, a probe is `probe.unavailable`.
    pub fn tests(mut self, oracle: impl Fn(&Files) -> Report + 'static) -> Bench {
        self.oracle = Some(Box::new(oracle));
        self
    }

    /// A command of the project: what it makes of the files. It ends well and prints nothing.
    pub fn tool(mut self, name: &str, run: impl Fn(Files) -> Files + 'static) -> Bench {
        self.tools.insert(name.to_owned(), Box::new(run));
        self
    }

    /// What is left of a meter; `llm.calls` and `probe.runs` count down.
    pub fn budget(self, meter: &str, left: u64) -> Bench {
        self.budget.borrow_mut().insert(meter.to_owned(), left);
        self
    }

    /// A capability the operator does not grant, `llm`, `probe` or `tools`: each use of it is a fault.
    pub fn refuse(mut self, capability: &str) -> Bench {
        self.refused.insert(capability.to_owned());
        self
    }

    /// The failing commit's tree.
    pub fn tree(&self) -> &TestTree {
        &self.head
    }

    pub fn run<S: Strategy>(&self, strategy: &S) -> Result<Outcome, String> {
        strategy.run(self, &self.head, self)
    }

    /// The prompts that were sent, in order.
    pub fn prompts(&self) -> Vec<Prompt> {
        self.prompts.borrow().clone()
    }

    /// The patched trees that were probed, in order.
    pub fn probed(&self) -> Vec<Files> {
        self.probed.borrow().clone()
    }

    /// The failing commit's files with a patch applied, as the host would apply it.
    pub fn patched(&self, patch: &Patch) -> Result<Files, Fault> {
        let mut files = self.head.files.clone();
        for edit in &patch.edits {
            apply(&mut files, edit)?;
        }
        Ok(files)
    }

    /// The files after a proposal. Panics where the outcome is a refusal or does not apply: tests call it on
    /// what must be a proposal.
    pub fn files_after(&self, outcome: &Outcome) -> Files {
        match outcome {
            Outcome::Propose(proposal) => {
                self.patched(&proposal.patch).expect("a patch that applies")
            }
            Outcome::Decline(reason) => panic!("declined: {reason}"),
        }
    }

    fn granted(&self, capability: &str) -> Result<(), Fault> {
        if self.refused.contains(capability) {
            return Err(Fault::new(
                FaultKind::Denied,
                &format!("grant.{capability}"),
                format!("the operator does not let this plugin use `{capability}`"),
            ));
        }
        Ok(())
    }

    fn spend(&self, meter: &str, code: &str) -> Result<(), Fault> {
        match self.budget.borrow_mut().get_mut(meter) {
            Some(0) => Err(Fault::new(
                FaultKind::Budget,
                code,
                format!("no {meter} left"),
            )),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn case(&self, id: &str) -> Option<&TestCase> {
        self.failing.iter().find(|t| t.id == id)
    }
}

impl Failure for Bench {
    type Before = TestTree;

    fn project(&self) -> String {
        "bench".to_owned()
    }

    fn base(&self) -> String {
        self.base.revision.clone()
    }

    fn head(&self) -> String {
        self.head.revision.clone()
    }

    fn failing_tests(&self) -> Vec<String> {
        self.failing.iter().map(|t| t.id.clone()).collect()
    }

    fn message(&self, test: &str) -> Option<String> {
        self.case(test)?.message.clone()
    }

    fn detail(&self, test: &str, max_bytes: u32) -> Option<String> {
        let mut detail = self.case(test)?.detail.clone()?;
        let most = (0..=max_bytes as usize)
            .rev()
            .find(|&at| detail.is_char_boundary(at))
            .unwrap_or(0);
        detail.truncate(most);
        Some(detail)
    }

    fn location(&self, test: &str) -> Option<(String, u32)> {
        self.case(test)?.location.clone()
    }

    fn suite_output(&self, max_bytes: u32) -> String {
        let from = self.suite_output.len().saturating_sub(max_bytes as usize);
        let from = (from..=self.suite_output.len())
            .find(|&at| self.suite_output.is_char_boundary(at))
            .unwrap_or(0);
        self.suite_output[from..].to_owned()
    }

    fn commits(&self, limit: u32) -> Vec<Commit> {
        self.commits.iter().take(limit as usize).cloned().collect()
    }

    fn changed_paths(&self) -> Vec<String> {
        let paths: BTreeSet<&String> = self
            .base
            .files
            .keys()
            .chain(self.head.files.keys())
            .collect();
        let changed = |path: &&&String| self.base.files.get(**path) != self.head.files.get(**path);
        paths
            .iter()
            .filter(changed)
            .map(|path| path.to_string())
            .collect()
    }

    fn diff(&self, path: Option<&str>, context_lines: u32, max_bytes: u32) -> String {
        let paths = match path {
            Some(path) => vec![path.to_owned()],
            None => self.changed_paths(),
        };
        let sides = |path: &String| {
            (
                self.base.files.get(path).cloned(),
                self.head.files.get(path).cloned(),
            )
        };
        let diffs = paths.iter().map(|path| {
            let (old, new) = sides(path);
            crate::diff::unified(path, old.as_deref(), new.as_deref(), context_lines as usize)
        });
        let mut diff: String = diffs.collect();
        let most = (0..=max_bytes as usize)
            .rev()
            .find(|&at| diff.is_char_boundary(at))
            .unwrap_or(0);
        diff.truncate(most);
        diff
    }

    fn before(&self) -> TestTree {
        self.base.clone()
    }

    fn protected(&self, path: &str) -> Option<String> {
        self.protected
            .iter()
            .find(|(glob, _)| glob.is_match(path))
            .map(|(_, why)| why.clone())
    }

    fn attribute(&self, key: &str) -> Option<String> {
        self.attributes.get(key).cloned()
    }
}

impl Host for Bench {
    fn remaining(&self, meter: &str) -> Option<u64> {
        self.budget.borrow().get(meter).copied()
    }

    fn complete(&self, prompt: &Prompt) -> Result<Completion, Fault> {
        self.granted("llm")?;
        self.waited.set(self.waited.get() + 1);
        self.spend("llm.calls", "llm.budget")?;
        self.prompts.borrow_mut().push(prompt.clone());
        let no_answer = || {
            Err(Fault::new(
                FaultKind::Unavailable,
                "llm.unavailable",
                "no answer is scripted",
            ))
        };
        let text = self
            .answers
            .borrow_mut()
            .pop_front()
            .unwrap_or_else(no_answer)?;
        Ok(Completion {
            text,
            stop_reason: "end_turn".to_owned(),
            model: "scripted".to_owned(),
            usage: BTreeMap::new(),
        })
    }

    fn probe(&self, patch: &Patch) -> Result<Report, Fault> {
        let no_tests = || {
            Fault::new(
                FaultKind::Unavailable,
                "probe.unavailable",
                "the bench has no tests",
            )
        };
        self.granted("probe")?;
        self.waited.set(self.waited.get() + 1);
        let oracle = self.oracle.as_ref().ok_or_else(no_tests)?;
        self.spend("probe.runs", "probe.spent")?;
        let files = self.patched(patch)?;
        let report = oracle(&files);
        self.probed.borrow_mut().push(files);
        Ok(report)
    }

    fn tools(&self) -> Vec<String> {
        self.tools.keys().cloned().collect()
    }

    fn run_tool(&self, name: &str, patch: &Patch) -> Result<ToolReport, Fault> {
        self.granted("tools")?;
        self.waited.set(self.waited.get() + 1);
        let unknown = || {
            Fault::new(
                FaultKind::NotFound,
                "tool.unknown",
                format!("the bench has no tool `{name}`"),
            )
        };
        let tool = self.tools.get(name).ok_or_else(unknown)?;
        self.spend("probe.runs", "probe.spent")?;
        let before = self.patched(patch)?;
        let after = tool(before.clone());
        Ok(ToolReport {
            exit_code: Some(0),
            output: String::new(),
            changed: changed(&before, &after),
            diff: whole_diff(&self.head.files, &after),
        })
    }

    /// A second for every answer that took time.
    fn now_ms(&self) -> u64 {
        EPOCH_MS + 1000 * self.waited.get()
    }

    /// Counts up, so that a test can tell the draws apart.
    fn random(&self, len: u32) -> Vec<u8> {
        let next = |_| {
            self.drawn.set(self.drawn.get().wrapping_add(1));
            self.drawn.get()
        };
        (0..len.min(1024)).map(next).collect()
    }
}
