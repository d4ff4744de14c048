//! Stands between the generated bindings and the SDK's own types, inside a component.
//!
//! Touches: wasm.
//! Change here: when the WIT changes. Nothing else in the SDK names a generated type.

use crate::bindings::escalation::exports::changebus::escalation::gate;
use crate::bindings::scorer::changebus::host::arena;
use crate::bindings::scorer::exports::changebus::scorer::judge;
use crate::bindings::strategy::changebus::host::{
    budget, clock, config, history, llm, log, patching, probe, random, tools, workspace,
};
pub use crate::bindings::strategy::changebus::strategy::failure::Context;
use crate::bindings::strategy::changebus::types::errors;
use crate::bindings::strategy::exports::changebus::strategy::fix;
use crate::edits::one_by_one;
use crate::{
    Action, Commit, Completion, Contender, Decision, Edit, Episode, Escalation, Failure, Fault,
    FaultKind, Hit, Host, Level, Outcome, Patch, Prompt, Report, Role, Scored, Scorer, SearchOpts,
    Services, Strategy, ToolReport, Tournament, Tree,
};

pub use arena::Tournament as Arena;
pub use fix::{Guest as FixGuest, Outcome as FixOutcome};
pub use gate::{Decision as GateDecision, Guest as GateGuest};
pub use judge::{Guest as JudgeGuest, Scored as JudgeScored};
pub use workspace::Tree as WorkTree;

/// Ids fetched with one call, and in all: a suite that breaks as a whole must not flood a guest.
const PAGE: u32 = 500;
const MOST: usize = 5000;
/// Tests of a probe whose messages are fetched.
const TOLD: usize = 50;
const OUTPUT: u32 = 8 << 10;

/// The host as a component sees it.
pub struct Outside;

pub fn run<S: Strategy>(ctx: Context, ws: WorkTree) -> Result<fix::Outcome, String> {
    tell_panics();
    S::default().run(&ctx, &ws, &Outside).map(outcome)
}

pub fn score<S: Scorer>(t: Arena) -> Result<Vec<judge::Scored>, String> {
    tell_panics();
    let scored = S::default().score(&t, &Outside)?;
    Ok(scored.into_iter().map(mark).collect())
}

pub fn decide<E: Escalation>(t: Arena) -> Result<gate::Decision, String> {
    tell_panics();
    E::default().decide(&t, &Outside).map(decision)
}

/// A trap carries no text on this target; the host's log is where the reason can survive.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        log::emit(
            log::Level::Error,
            &panic.to_string(),
            &[("event".to_owned(), "panic".to_owned())],
        );
    }));
}

impl Services for Outside {
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let level = match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        log::emit(level, message, &fields);
    }

    fn config_json(&self) -> String {
        config::get_json()
    }

    fn history(&self, scope: &str, key: &str, metric: &str) -> Option<f64> {
        history::metric(scope, key, metric)
    }

    fn similar(&self, limit: u32) -> Vec<Episode> {
        history::similar(limit).iter().map(episode).collect()
    }

    fn rejections(&self, limit: u32) -> Vec<String> {
        history::rejections(limit)
    }
}

fn episode(told: &history::Episode) -> Episode {
    Episode {
        run: told.run(),
        likeness: told.likeness(),
        class: told.class(),
        failing: told.failing(),
        message: told.message(),
        strategy: told.strategy(),
        rationale: told.rationale(),
        diff: told.unified_diff(OUTPUT),
        fate: told.fate(),
        rejections: told.rejections(),
    }
}

impl Host for Outside {
    fn remaining(&self, meter: &str) -> Option<u64> {
        budget::remaining(meter)
    }

    fn complete(&self, prompt: &Prompt) -> Result<Completion, Fault> {
        let request = llm::Prompt::new(prompt.max_output_tokens);
        for (text, shared) in &prompt.system {
            request.system(text, *shared);
        }
        for (role, text) in &prompt.messages {
            let role = match role {
                Role::User => llm::Role::User,
                Role::Assistant => llm::Role::Assistant,
            };
            request.message(role, text);
        }
        for (key, value) in &prompt.options {
            request.set_option(key, &value.to_string()).map_err(fault)?;
        }
        request
            .send()
            .map(|answer| completion(&answer))
            .map_err(fault)
    }

    fn probe(&self, patch: &Patch) -> Result<Report, Fault> {
        probe::run(&wire_patch(patch))
            .map(|found| report(&found))
            .map_err(fault)
    }

    fn tools(&self) -> Vec<String> {
        tools::names()
    }

    fn run_tool(&self, name: &str, patch: &Patch) -> Result<ToolReport, Fault> {
        let report = tools::run(name, &wire_patch(patch)).map_err(fault)?;
        Ok(ToolReport {
            exit_code: report.exit_code(),
            output: report.output(OUTPUT),
            changed: report.changed_paths(),
            diff: report.diff(),
        })
    }

    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    fn random(&self, len: u32) -> Vec<u8> {
        random::bytes(len)
    }
}

fn completion(answer: &llm::Completion) -> Completion {
    let meters = [
        "input-tokens",
        "output-tokens",
        "cache-read-tokens",
        "cache-write-tokens",
        "usd-micros",
    ];
    let usage = meters
        .iter()
        .filter_map(|m| Some((m.to_string(), answer.usage(m)?)));
    Completion {
        text: answer.text(),
        stop_reason: answer.stop_reason(),
        model: answer.model(),
        usage: one_by_one(usage),
    }
}

fn report(found: &probe::Report) -> Report {
    let still_failing = all(|offset, limit| found.still_failing(offset, limit));
    let broken = all(|offset, limit| found.broken(offset, limit));
    let told = still_failing.iter().chain(&broken).take(TOLD);
    let messages = told.filter_map(|id| Some((id.clone(), found.message(id)?)));
    let whole = |name: &str| found.metric(name).map(|n| n as u64);
    Report {
        fixed: found.fixed(),
        messages: one_by_one(messages),
        output: found.output(OUTPUT),
        passed: whole("tests.passed"),
        failed: whole("tests.failed"),
        seconds: found.metric("seconds"),
        still_failing,
        broken,
    }
}

fn all(page: impl Fn(u32, u32) -> Vec<String>) -> Vec<String> {
    let mut ids: Vec<String> = vec![];
    while ids.len() < MOST {
        let more = page(ids.len() as u32, PAGE);
        let last = (more.len() as u32) < PAGE;
        ids.extend(more);
        if last {
            break;
        }
    }
    ids
}

fn wire_patch(patch: &Patch) -> patching::Patch {
    let wire = patching::Patch::new();
    for edit in &patch.edits {
        match edit {
            Edit::Replace {
                path,
                search,
                replacement,
            } => wire.replace(path, search, replacement),
            Edit::Write { path, content } => wire.write(path, content),
            Edit::Delete { path } => wire.delete(path),
            Edit::UnifiedDiff { text } => wire.unified_diff(text),
        }
    }
    wire
}

fn outcome(outcome: Outcome) -> fix::Outcome {
    match outcome {
        Outcome::Decline(reason) => fix::Outcome::Decline(reason),
        Outcome::Propose(proposal) => fix::Outcome::Propose(fix::Proposal {
            patch: wire_patch(&proposal.patch),
            rationale: proposal.rationale,
            confidence: proposal.confidence,
            notes: proposal.notes,
        }),
    }
}

fn mark(scored: Scored) -> judge::Scored {
    judge::Scored {
        id: scored.id,
        total: scored.total,
        disqualified: scored.disqualified,
        marks: scored.marks,
    }
}

fn decision(decision: Decision) -> gate::Decision {
    let action = match decision.action {
        Action::Human => gate::Action::Human,
        Action::PullRequest => gate::Action::PullRequest,
        Action::Merge => gate::Action::Merge,
    };
    let reasons = decision.reasons.into_iter();
    gate::Decision {
        action,
        contender: decision.contender,
        reasons: reasons
            .map(|(code, message)| gate::Reason { code, message })
            .collect(),
    }
}

fn fault(fault: errors::Fault) -> Fault {
    let kind = match fault.kind {
        errors::FaultKind::Denied => FaultKind::Denied,
        errors::FaultKind::Budget => FaultKind::Budget,
        errors::FaultKind::Invalid => FaultKind::Invalid,
        errors::FaultKind::NotFound => FaultKind::NotFound,
        errors::FaultKind::Conflict => FaultKind::Conflict,
        errors::FaultKind::Unavailable => FaultKind::Unavailable,
        errors::FaultKind::Timeout => FaultKind::Timeout,
        errors::FaultKind::Cancelled => FaultKind::Cancelled,
        errors::FaultKind::Internal => FaultKind::Internal,
    };
    Fault {
        kind,
        code: fault.code,
        message: fault.message,
        retry_after_ms: fault.retry_after_ms,
    }
}

impl Tree for workspace::Tree {
    fn revision(&self) -> String {
        workspace::Tree::revision(self)
    }

    fn size(&self, path: &str) -> Result<u64, Fault> {
        workspace::Tree::size(self, path).map_err(fault)
    }

    fn read(&self, path: &str, offset: u64, max_bytes: u32) -> Result<Vec<u8>, Fault> {
        workspace::Tree::read(self, path, offset, max_bytes).map_err(fault)
    }

    fn glob(&self, pattern: &str, limit: u32) -> Result<Vec<String>, Fault> {
        workspace::Tree::glob(self, pattern, limit).map_err(fault)
    }

    fn search(
        &self,
        pattern: &str,
        opts: SearchOpts,
        path_glob: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Hit>, Fault> {
        let flag = |on: bool, flag| {
            if on {
                flag
            } else {
                workspace::SearchOpts::empty()
            }
        };
        let flags = flag(opts.regex, workspace::SearchOpts::REGEX)
            | flag(opts.ignore_case, workspace::SearchOpts::IGNORE_CASE)
            | flag(opts.word, workspace::SearchOpts::WORD);
        let hits =
            workspace::Tree::search(self, pattern, flags, path_glob, limit).map_err(fault)?;
        let plain = |hit: workspace::Hit| Hit {
            path: hit.path,
            line: hit.line,
            text: hit.text,
        };
        Ok(hits.into_iter().map(plain).collect())
    }
}

impl Failure for Context {
    type Before = workspace::Tree;

    fn project(&self) -> String {
        Context::project(self)
    }

    fn base(&self) -> String {
        Context::base(self)
    }

    fn head(&self) -> String {
        Context::head(self)
    }

    fn failing_tests(&self) -> Vec<String> {
        all(|offset, limit| Context::failing_tests(self, offset, limit))
    }

    fn message(&self, test: &str) -> Option<String> {
        Context::message(self, test)
    }

    fn detail(&self, test: &str, max_bytes: u32) -> Option<String> {
        Context::detail(self, test, max_bytes)
    }

    fn location(&self, test: &str) -> Option<(String, u32)> {
        Context::location(self, test)
    }

    fn suite_output(&self, max_bytes: u32) -> String {
        Context::suite_output(self, max_bytes)
    }

    fn commits(&self, limit: u32) -> Vec<Commit> {
        let commits = Context::commits(self, limit).into_iter();
        commits
            .map(|(id, author, message)| Commit {
                id,
                author,
                message,
            })
            .collect()
    }

    fn changed_paths(&self) -> Vec<String> {
        Context::changed_paths(self)
    }

    fn diff(&self, path: Option<&str>, context_lines: u32, max_bytes: u32) -> String {
        Context::diff(self, path, context_lines, max_bytes)
    }

    fn before(&self) -> workspace::Tree {
        Context::before(self)
    }

    fn protected(&self, path: &str) -> Option<String> {
        Context::protected(self, path)
    }

    fn attribute(&self, key: &str) -> Option<String> {
        Context::attribute(self, key)
    }
}

impl Contender for arena::Contender {
    fn id(&self) -> String {
        arena::Contender::id(self)
    }

    fn strategy(&self) -> String {
        arena::Contender::strategy(self)
    }

    fn rationale(&self) -> String {
        arena::Contender::rationale(self)
    }

    fn confidence(&self) -> f32 {
        arena::Contender::confidence(self)
    }

    fn unified_diff(&self, max_bytes: u32) -> String {
        arena::Contender::unified_diff(self, max_bytes)
    }

    fn paths(&self) -> Vec<String> {
        arena::Contender::paths(self)
    }

    fn metric(&self, name: &str) -> Option<f64> {
        arena::Contender::metric(self, name)
    }

    fn broken_gates(&self) -> Vec<String> {
        arena::Contender::broken_gates(self)
    }

    fn failing(&self) -> Vec<String> {
        all(|offset, limit| arena::Contender::failing(self, offset, limit))
    }
}

impl Tournament for arena::Tournament {
    type Contender = arena::Contender;

    fn project(&self) -> String {
        arena::Tournament::project(self)
    }

    fn base(&self) -> String {
        arena::Tournament::base(self)
    }

    fn head(&self) -> String {
        arena::Tournament::head(self)
    }

    fn attribute(&self, key: &str) -> Option<String> {
        arena::Tournament::attribute(self, key)
    }

    fn contenders(&self) -> Vec<arena::Contender> {
        arena::Tournament::contenders(self)
    }

    fn score(&self, contender: &str) -> Option<f64> {
        arena::Tournament::score(self, contender)
    }

    fn confidence(&self, contender: &str) -> Option<f64> {
        arena::Tournament::confidence(self, contender)
    }

    fn security(&self, contender: &str) -> Vec<String> {
        arena::Tournament::security(self, contender)
    }

    fn ambiguity(&self) -> Vec<String> {
        arena::Tournament::ambiguity(self)
    }
}
