//! A twin of the host for tests: everything a plugin may ask for, out of strings, with no host and no model.
//!
//! Touches: nothing.
//! Change here: when the WIT offers a new import; the twin stays complete, so that authors never need a mock.
//!
//! [`Bench`] stands in for a strategy's world, [`Arena`] for a scorer's or an escalation's. Both record what the
//! plugin did, so a test can ask about its prompts, its probes and its log.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    Commit, Completion, Contender, Edit, Escalation, Failure, Fault, FaultKind, Hit, Host, Level,
    Outcome, Patch, Prompt, Report, Scored, Scorer, SearchOpts, Services, Strategy, ToolReport,
    Tournament, Tree, edits,
};

/// Content by path.
pub type Files = BTreeMap<String, String>;

/// What tests say where all is well.
pub fn passes() -> Report {
    Report {
        fixed: true,
        ..Report::default()
    }
}

/// What tests say where these still fail.
pub fn still_fails(tests: &[&str]) -> Report {
    let ids: Vec<String> = tests.iter().map(|t| t.to_string()).collect();
    let messages = ids
        .iter()
        .map(|id| (id.clone(), format!("{id} still fails")))
        .collect();
    Report {
        still_failing: ids,
        messages,
        ..Report::default()
    }
}

/// What tests say where the failing ones pass and these do not any more.
pub fn breaks(tests: &[&str]) -> Report {
    let broken = tests.iter().map(|t| t.to_string()).collect();
    Report {
        fixed: true,
        broken,
        ..Report::default()
    }
}

#[derive(Default)]
struct Common {
    config: Option<String>,
    history: BTreeMap<(String, String, String), f64>,
    logs: RefCell<Vec<(Level, String)>>,
}

impl Common {
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: String = fields.iter().map(|(k, v)| format!(" {k}={v}")).collect();
        self.logs
            .borrow_mut()
            .push((level, format!("{message}{fields}")));
    }

    fn config_json(&self) -> String {
        self.config.clone().unwrap_or_else(|| "{}".to_owned())
    }

    fn history(&self, scope: &str, key: &str, metric: &str) -> Option<f64> {
        let key = (scope.to_owned(), key.to_owned(), metric.to_owned());
        self.history.get(&key).copied()
    }
}

macro_rules! common_setup {
    () => {
        /// The `config` table.
        pub fn config(mut self, config: serde_json::Value) -> Self {
            self.common.config = Some(config.to_string());
            self
        }

        pub fn history(mut self, scope: &str, key: &str, metric: &str, value: f64) -> Self {
            let key = (scope.to_owned(), key.to_owned(), metric.to_owned());
            self.common.history.insert(key, value);
            self
        }

        /// What the plugin logged: level, and message with its fields.
        pub fn logs(&self) -> Vec<(Level, String)> {
            self.common.logs.borrow().clone()
        }
    };
}

macro_rules! common_services {
    ($twin:ty) => {
        impl Services for $twin {
            fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
                self.common.log(level, message, fields);
            }

            fn config_json(&self) -> String {
                self.common.config_json()
            }

            fn history(&self, scope: &str, key: &str, metric: &str) -> Option<f64> {
                self.common.history(scope, key, metric)
            }
        }
    };
}

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

    /// What is left of a meter. `llm.calls` and `probe.runs` count down; so does `llm.usd-micros`, by a cent an answer.
    pub fn budget(self, meter: &str, left: u64) -> Bench {
        self.budget.borrow_mut().insert(meter.to_owned(), left);
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

    /// Answers cost nothing unless the test counts money.
    fn paid(&self) -> BTreeMap<String, u64> {
        const CENT: u64 = 10_000;
        let mut budget = self.budget.borrow_mut();
        let Some(left) = budget.get_mut("llm.usd-micros") else {
            return BTreeMap::new();
        };
        *left = left.saturating_sub(CENT);
        BTreeMap::from([("usd-micros".to_owned(), CENT)])
    }

    fn case(&self, id: &str) -> Option<&TestCase> {
        self.failing.iter().find(|t| t.id == id)
    }
}

fn apply(files: &mut Files, edit: &Edit) -> Result<(), Fault> {
    match edit {
        Edit::Write { path, content } => {
            let text = String::from_utf8(content.clone())
                .map_err(|_| Fault::new(FaultKind::Invalid, "patch.not-text", path.clone()))?;
            files.insert(path.clone(), text);
        }
        Edit::Replace {
            path,
            search,
            replacement,
        } => replace(files, path, search, replacement)?,
        Edit::Delete { path } => {
            if files.remove(path).is_none() {
                return Err(Fault::new(
                    FaultKind::NotFound,
                    "patch.no-file",
                    path.clone(),
                ));
            }
        }
        Edit::UnifiedDiff { text } => apply_diff(files, text)?,
    }
    Ok(())
}

fn replace(files: &mut Files, path: &str, search: &str, replacement: &str) -> Result<(), Fault> {
    let kind = edits::Kind::Replace {
        search: search.to_owned(),
        replacement: replacement.to_owned(),
    };
    let block = edits::Block {
        path: path.to_owned(),
        kind,
    };
    let no_match = |misses: Vec<edits::BlockMiss>| {
        let why: Vec<String> = misses.iter().map(ToString::to_string).collect();
        Fault::new(FaultKind::Conflict, "patch.no-match", why.join("; "))
    };
    let applied = edits::apply(|path| files.get(path).cloned(), &[block]).map_err(no_match)?;
    files.extend(
        applied
            .files
            .into_iter()
            .filter_map(|(path, text)| Some((path, text?))),
    );
    Ok(())
}

/// Each hunk is a replacement of its old lines by its new ones.
fn apply_diff(files: &mut Files, diff: &str) -> Result<(), Fault> {
    let (mut old_path, mut path) = (None, None);
    let mut hunk: Option<(String, String)> = None;
    for line in diff.lines().chain(["diff end"]) {
        let sign = line.chars().next();
        match (&mut hunk, sign) {
            (Some((old, _)), Some('-')) if !line.starts_with("--- ") => push_line(old, line),
            (Some((_, new)), Some('+')) if !line.starts_with("+++ ") => push_line(new, line),
            (Some((old, new)), Some(' ') | None) => {
                push_line(old, line);
                push_line(new, line);
            }
            (_, Some('\\')) => {}
            _ => {
                if let Some((old, new)) = hunk.take() {
                    apply_hunk(files, old_path.as_deref(), path.as_deref(), &old, &new)?;
                }
                if let Some(name) = line.strip_prefix("--- ") {
                    old_path = diff_path(name);
                } else if let Some(name) = line.strip_prefix("+++ ") {
                    path = diff_path(name);
                } else if line.starts_with("@@") {
                    hunk = Some(Default::default());
                }
            }
        }
    }
    Ok(())
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.get(1..).unwrap_or_default());
    text.push('\n');
}

fn diff_path(name: &str) -> Option<String> {
    let name = name.split('\t').next().unwrap_or(name);
    let stripped = name.strip_prefix("a/").or_else(|| name.strip_prefix("b/"));
    (name != "/dev/null").then(|| stripped.unwrap_or(name).to_owned())
}

fn apply_hunk(
    files: &mut Files,
    old_path: Option<&str>,
    path: Option<&str>,
    old: &str,
    new: &str,
) -> Result<(), Fault> {
    match (old_path, path) {
        (Some(path), None) => {
            files.remove(path);
            Ok(())
        }
        (_, Some(path)) => replace(files, path, old, new),
        (None, None) => Err(Fault::new(
            FaultKind::Invalid,
            "patch.bad-diff",
            "a hunk without a file",
        )),
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
            usage: self.paid(),
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

fn changed(before: &Files, after: &Files) -> Vec<String> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |path: &&&String| before.get(**path) != after.get(**path);
    paths
        .iter()
        .filter(differs)
        .map(|p| p.to_string())
        .collect()
}

/// Every changed file as one hunk.
fn whole_diff(before: &Files, after: &Files) -> String {
    let mut diff = String::new();
    for path in changed(before, after) {
        let (old, new) = (before.get(&path), after.get(&path));
        let name = |side, file: Option<&String>| match file {
            Some(_) => format!("{side}/{path}"),
            None => "/dev/null".to_owned(),
        };
        let signed = |sign, file: Option<&String>| -> String {
            let lines = file.iter().flat_map(|text| text.lines());
            lines.map(|line| format!("{sign}{line}\n")).collect()
        };
        diff += &format!("--- {}\n+++ {}\n@@\n", name('a', old), name('b', new));
        diff += &(signed('-', old) + &signed('+', new));
    }
    diff
}

/// A tree out of strings.
#[derive(Clone, Debug, Default)]
pub struct TestTree {
    revision: String,
    files: Files,
}

impl TestTree {
    fn new(revision: String) -> TestTree {
        TestTree {
            revision,
            files: Files::new(),
        }
    }

    fn file(&self, path: &str) -> Result<&String, Fault> {
        let missing = || {
            Fault::new(
                FaultKind::NotFound,
                "file.not-found",
                format!("{path} is not in the tree"),
            )
        };
        self.files.get(path).ok_or_else(missing)
    }
}

impl Tree for TestTree {
    fn revision(&self) -> String {
        self.revision.clone()
    }

    fn size(&self, path: &str) -> Result<u64, Fault> {
        self.file(path).map(|text| text.len() as u64)
    }

    fn read(&self, path: &str, offset: u64, max_bytes: u32) -> Result<Vec<u8>, Fault> {
        let bytes = self.file(path)?.as_bytes();
        let from = (offset as usize).min(bytes.len());
        let to = (from + max_bytes as usize).min(bytes.len());
        Ok(bytes[from..to].to_vec())
    }

    fn glob(&self, pattern: &str, limit: u32) -> Result<Vec<String>, Fault> {
        let glob = matcher(pattern)?;
        let paths = self.files.keys().filter(|path| glob.is_match(path));
        Ok(paths.take(limit as usize).cloned().collect())
    }

    fn search(
        &self,
        pattern: &str,
        opts: SearchOpts,
        path_glob: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Hit>, Fault> {
        let regex = search_regex(pattern, opts)?;
        let glob = path_glob.map(matcher).transpose()?;
        let files = self
            .files
            .iter()
            .filter(|(path, _)| glob.as_ref().is_none_or(|g| g.is_match(path)));
        let hits = files.flat_map(|(path, text)| {
            let matching = text
                .lines()
                .enumerate()
                .filter(|(_, line)| regex.is_match(line));
            matching.map(|(at, line)| Hit {
                path: path.clone(),
                line: at as u32 + 1,
                text: line.to_owned(),
            })
        });
        Ok(hits.take(limit as usize).collect())
    }
}

fn matcher(pattern: &str) -> Result<globset::GlobMatcher, Fault> {
    let glob = globset::GlobBuilder::new(pattern)
        .literal_separator(true)
        .build();
    let invalid =
        |e: globset::Error| Fault::new(FaultKind::Invalid, "workspace.bad-glob", e.to_string());
    Ok(glob.map_err(invalid)?.compile_matcher())
}

fn search_regex(pattern: &str, opts: SearchOpts) -> Result<regex::Regex, Fault> {
    let body = if opts.regex {
        pattern.to_owned()
    } else {
        regex::escape(pattern)
    };
    let body = if opts.word {
        format!(r"\b(?:{body})\b")
    } else {
        body
    };
    let built = regex::RegexBuilder::new(&body)
        .case_insensitive(opts.ignore_case)
        .build();
    built.map_err(|e| Fault::new(FaultKind::Invalid, "workspace.bad-pattern", e.to_string()))
}

/// A scorer's or an escalation's world.
#[derive(Default)]
pub struct Arena {
    common: Common,
    attributes: BTreeMap<String, String>,
    entrants: Vec<Entrant>,
    ambiguity: Vec<String>,
    asked: Cell<u32>,
}

common_services!(Arena);

impl Arena {
    /// With the published thresholds: 75 points and a confidence of 0.7.
    pub fn new() -> Arena {
        Arena::default()
            .attribute("merge-threshold", "75")
            .attribute("min-confidence", "0.7")
    }

    common_setup!();

    pub fn attribute(mut self, key: &str, value: &str) -> Arena {
        self.attributes.insert(key.to_owned(), value.to_owned());
        self
    }

    /// In the order of the configuration, or best first for an escalation.
    pub fn contender(mut self, entrant: Entrant) -> Arena {
        self.entrants.push(entrant);
        self
    }

    /// Why the choice between the best contenders is not clear.
    pub fn ambiguous(mut self, why: &str) -> Arena {
        self.ambiguity.push(why.to_owned());
        self
    }

    /// Scores twice, as the host may. Panics where the answers differ: a scorer depends on its input alone.
    pub fn score<S: Scorer>(&self, scorer: &S) -> Result<Vec<Scored>, String> {
        let scored = scorer.score(self, self);
        assert_eq!(
            scored,
            scorer.score(self, self),
            "the scorer answered twice the same question differently"
        );
        scored
    }

    pub fn decide<E: Escalation>(&self, escalation: &E) -> Result<crate::Decision, String> {
        escalation.decide(self, self)
    }

    /// How often the plugin asked for the contenders.
    pub fn asked(&self) -> u32 {
        self.asked.get()
    }

    fn entrant(&self, id: &str) -> Option<&Entrant> {
        self.entrants.iter().find(|e| e.id == id)
    }
}

impl Tournament for Arena {
    type Contender = Entrant;

    fn project(&self) -> String {
        "bench".to_owned()
    }

    fn base(&self) -> String {
        "b".repeat(40)
    }

    fn head(&self) -> String {
        "a".repeat(40)
    }

    fn attribute(&self, key: &str) -> Option<String> {
        self.attributes.get(key).cloned()
    }

    fn contenders(&self) -> Vec<Entrant> {
        self.asked.set(self.asked.get() + 1);
        self.entrants.clone()
    }

    fn score(&self, contender: &str) -> Option<f64> {
        self.entrant(contender)?.score
    }

    fn confidence(&self, contender: &str) -> Option<f64> {
        self.entrant(contender)?.evidence
    }

    fn security(&self, contender: &str) -> Vec<String> {
        self.entrant(contender)
            .map(|e| e.security.clone())
            .unwrap_or_default()
    }

    fn ambiguity(&self) -> Vec<String> {
        self.ambiguity.clone()
    }
}

/// A contender out of plain values.
#[derive(Clone, Debug, Default)]
pub struct Entrant {
    id: String,
    strategy: String,
    rationale: String,
    diff: String,
    paths: Vec<String>,
    own_confidence: f32,
    metrics: BTreeMap<String, f64>,
    broken_gates: Vec<String>,
    failing: Vec<String>,
    security: Vec<String>,
    score: Option<f64>,
    evidence: Option<f64>,
}

impl Entrant {
    pub fn new(id: &str) -> Entrant {
        Entrant {
            id: id.to_owned(),
            ..Entrant::default()
        }
    }

    /// One that fixes the only failing test with one line changed for another, applied exactly.
    pub fn fixing(id: &str) -> Entrant {
        let metrics = [
            ("tests.to-fix", 1.0),
            ("tests.fixed", 1.0),
            ("tests.regressed", 0.0),
            ("tests.missing", 0.0),
            ("diff.files", 1.0),
            ("diff.insertions", 1.0),
            ("diff.deletions", 1.0),
            ("apply.quality", 1.0),
        ];
        metrics
            .iter()
            .fold(Entrant::new(id), |entrant, (name, value)| {
                entrant.metric(name, *value)
            })
    }

    pub fn strategy(mut self, name: &str) -> Entrant {
        self.strategy = name.to_owned();
        self
    }

    pub fn rationale(mut self, text: &str) -> Entrant {
        self.rationale = text.to_owned();
        self
    }

    pub fn diff(mut self, text: &str, paths: &[&str]) -> Entrant {
        self.diff = text.to_owned();
        self.paths = paths.iter().map(|p| p.to_string()).collect();
        self
    }

    pub fn own_confidence(mut self, value: f32) -> Entrant {
        self.own_confidence = value;
        self
    }

    pub fn metric(mut self, name: &str, value: f64) -> Entrant {
        self.metrics.insert(name.to_owned(), value);
        self
    }

    pub fn breaks_gate(mut self, why: &str) -> Entrant {
        self.broken_gates.push(why.to_owned());
        self
    }

    pub fn failing(mut self, test: &str) -> Entrant {
        self.failing.push(test.to_owned());
        self
    }

    pub fn security(mut self, why: &str) -> Entrant {
        self.security.push(why.to_owned());
        self
    }

    /// What the scorer and the host's evidence said of it.
    pub fn scored(mut self, score: f64, confidence: f64) -> Entrant {
        self.score = Some(score);
        self.evidence = Some(confidence);
        self
    }
}

impl Contender for Entrant {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn strategy(&self) -> String {
        self.strategy.clone()
    }

    fn rationale(&self) -> String {
        self.rationale.clone()
    }

    fn confidence(&self) -> f32 {
        self.own_confidence
    }

    fn unified_diff(&self, max_bytes: u32) -> String {
        self.diff.chars().take(max_bytes as usize).collect()
    }

    fn paths(&self) -> Vec<String> {
        self.paths.clone()
    }

    fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).copied()
    }

    fn broken_gates(&self) -> Vec<String> {
        self.broken_gates.clone()
    }

    fn failing(&self) -> Vec<String> {
        self.failing.clone()
    }
}
