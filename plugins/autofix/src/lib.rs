//! Has the project's own formatters and linters mend what they complain about; asks no model.
//!
//! Touches: nothing.
//! Change here: when tools should be tried in another order, or put together otherwise.
//!
//! A tool is tried by letting it run on the failing tree and the tests on what it leaves. Whether the failure looks
//! like a tool's only decides which one goes first: a test can run a formatter without saying its name.

mod likely;

use changebus_sdk::diff::by_file;
use changebus_sdk::untrusted::one_line;
use changebus_sdk::{
    Config, Failure, Fault, Host, Level, Outcome, Patch, Proposal, Report, Strategy, Tree,
    export_strategy,
};
use serde::Deserialize;

use likely::in_order;

/// Files a rationale names.
const NAMED: usize = 8;

/// The `config` table; every key may be left out.
#[derive(Debug, Deserialize, Config)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// The project's tools to use, in this order; all of them, likeliest first, where it is left out or empty.
    tools: Vec<String>,
    /// Where no tool is enough by itself, let them run one after the other; true by default.
    combine: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tools: vec![],
            combine: true,
        }
    }
}

#[derive(Default)]
pub struct Autofix;

export_strategy!(Autofix, asks = [probe, tools, workspace], config = Settings);

impl Strategy for Autofix {
    fn run(
        &self,
        failure: &impl Failure,
        _: &impl Tree,
        host: &impl Host,
    ) -> Result<Outcome, String> {
        let settings: Settings = host.config()?;
        let known = host.tools();
        if let Some(missing) = settings.tools.iter().find(|tool| !known.contains(tool)) {
            return Err(format!(
                "config.tools: this project has no tool `{missing}`; it has {}",
                listed(&known)
            ));
        }
        if known.is_empty() {
            return Ok(Outcome::decline(
                "this project has no tools; name its formatters and linters under `tools`",
            ));
        }
        let (tools, why) = match settings.tools.is_empty() {
            true => in_order(known, failure),
            false => (
                settings.tools,
                "in the order of the configuration".to_owned(),
            ),
        };
        host.log(
            Level::Info,
            "tools to try",
            &[("tools", &listed(&tools)), ("order", &why)],
        );
        let mut bench = Workbench {
            failure,
            host,
            tried: vec![format!("{}, {why}", listed(&tools))],
        };
        Ok(match bench.mend(&tools, settings.combine) {
            Some(proposal) => Outcome::Propose(proposal),
            None => Outcome::Decline(bench.tried.join("; ")),
        })
    }
}

struct Workbench<'a, F: Failure, H: Host> {
    failure: &'a F,
    host: &'a H,
    /// What was done and what came of it, for people.
    tried: Vec<String>,
}

/// What tools made of the tree, without what they may not touch.
#[derive(Clone)]
struct Work {
    /// In the order they ran.
    tools: Vec<String>,
    diff: String,
    paths: Vec<String>,
    /// Protected files a tool would have changed too.
    dropped: Vec<String>,
}

impl<F: Failure, H: Host> Workbench<'_, F, H> {
    fn mend(&mut self, tools: &[String], combine: bool) -> Option<Proposal> {
        let mut partial: Vec<Work> = vec![];
        for tool in tools {
            if self.is_out_of_probes(tool) {
                return None;
            }
            let Some(work) = self.work(tool, None) else {
                continue;
            };
            if partial.iter().any(|earlier| earlier.diff == work.diff) {
                self.tried
                    .push(format!("{tool} does the same as an earlier one"));
                continue;
            }
            if let Some(proposal) = self.tested(&work) {
                return Some(proposal);
            }
            partial.push(work);
        }
        match partial.as_slice() {
            [first, rest @ ..] if combine && !rest.is_empty() => self.together(first.clone(), rest),
            _ => None,
        }
    }

    /// One tool after the other, each on what the ones before it left.
    fn together(&mut self, first: Work, rest: &[Work]) -> Option<Proposal> {
        let mut work = first;
        for next in rest.iter().flat_map(|work| &work.tools) {
            if self.is_out_of_probes(next) {
                return None;
            }
            work = self.work(next, Some(&work)).unwrap_or(work);
        }
        let is_new = work.tools.len() > 1;
        is_new.then(|| self.tested(&work)).flatten()
    }

    fn is_out_of_probes(&mut self, next: &str) -> bool {
        let left = self.host.remaining("probe.runs");
        // One for the tool, one for the tests.
        let is_out = left.is_some_and(|left| left < 2);
        if is_out {
            self.tried.push(format!("no probes are left to try {next}"));
        }
        is_out
    }

    /// What a tool changes, if it is anything that may be changed.
    fn work(&mut self, tool: &str, on: Option<&Work>) -> Option<Work> {
        let patch = on.map_or_else(Patch::new, Work::patch);
        let report = match self.host.run_tool(tool, &patch) {
            Ok(report) => report,
            Err(fault) => return self.gave_nothing(tool, &fault),
        };
        let ended = match report.exit_code {
            Some(0) => String::new(),
            Some(code) => format!(" (exit code {code})"),
            None => " (it was killed)".to_owned(),
        };
        let files = by_file(&report.diff);
        let (kept, dropped): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|file| self.failure.protected(&file.path).is_none());
        let mut tools = on.map(|work| work.tools.clone()).unwrap_or_default();
        tools.push(tool.to_owned());
        let work = Work {
            tools,
            diff: kept.iter().map(|file| file.text.as_str()).collect(),
            paths: kept.into_iter().map(|file| file.path).collect(),
            dropped: dropped.into_iter().map(|file| file.path).collect(),
        };
        let before = on.map_or("", |work| &work.diff);
        if work.diff != before {
            return Some(work);
        }
        self.tried.push(match (report.changed.is_empty(), on) {
            (true, None) => format!("{tool} changes nothing{ended}"),
            (false, None) => format!(
                "{tool} changes only what may not be changed, such as {}{ended}",
                short(&work.dropped)
            ),
            (_, Some(_)) => format!("{tool} adds nothing{ended}"),
        });
        None
    }

    fn gave_nothing(&mut self, tool: &str, fault: &Fault) -> Option<Work> {
        let why = one_line(&fault.to_string(), 300);
        self.tried.push(format!("{tool} gave nothing: {why}"));
        None
    }

    fn tested(&mut self, work: &Work) -> Option<Proposal> {
        let tools = work.tools.join(" and then ");
        match self.host.probe(&work.patch()) {
            Ok(report) if report.is_good() => return Some(work.proposal()),
            Ok(report) => self
                .tried
                .push(format!("{tools} is not enough: {}", red(&report))),
            Err(fault) => {
                let why = one_line(&fault.to_string(), 300);
                self.tried
                    .push(format!("{tools} could not be tried: {why}"));
            }
        }
        None
    }
}

impl Work {
    fn patch(&self) -> Patch {
        match self.diff.is_empty() {
            true => Patch::new(),
            false => Patch::new().unified_diff(&self.diff),
        }
    }

    fn proposal(&self) -> Proposal {
        let tools: Vec<String> = self.tools.iter().map(|tool| format!("`{tool}`")).collect();
        let mut rationale = format!(
            "The project's own {} mends this: it changes {}, and nothing was edited by hand.",
            tools.join(", followed by "),
            short(&self.paths)
        );
        if !self.dropped.is_empty() {
            rationale.push_str(&format!(
                " What it would do to {} was left out: that may not be changed.",
                short(&self.dropped)
            ));
        }
        let mut notes = vec![
            ("probe".to_owned(), "passed".to_owned()),
            ("tools".to_owned(), self.tools.join(", ")),
        ];
        let dropped = self.dropped.iter();
        notes.extend(dropped.map(|path| ("dropped-edit".to_owned(), path.clone())));
        Proposal {
            patch: self.patch(),
            rationale,
            confidence: 0.9,
            notes,
        }
    }
}

fn red(report: &Report) -> String {
    let some = |ids: &[String], what: &str| {
        let first = ids.first()?;
        Some(format!(
            "{} {what}, such as {}",
            ids.len(),
            one_line(first, 120)
        ))
    };
    let failing = some(&report.still_failing, "still failing");
    let broken = some(&report.broken, "broken");
    let told: Vec<String> = failing.into_iter().chain(broken).collect();
    match told.is_empty() {
        true => "the tests do not pass".to_owned(),
        false => told.join(", "),
    }
}

fn listed(tools: &[String]) -> String {
    match tools.is_empty() {
        true => "none".to_owned(),
        false => tools.join(", "),
    }
}

fn short(paths: &[String]) -> String {
    let named: Vec<String> = paths
        .iter()
        .take(NAMED)
        .map(|path| format!("`{}`", one_line(path, 120)))
        .collect();
    let more = match paths.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more files"),
    };
    format!("{}{more}", named.join(", "))
}

#[cfg(test)]
mod tests;
