//! Reads the lines of `go test -json`.
//!
//! Touches: nothing.
//! Change here: when go words its events anew.
//!
//! The id of a test is `<package>::<test>`: `example.com/shop::TestPay/a_little`. A test with subtests is counted only
//! where it failed and none of them did; a package that did not build or failed outside of its tests has an id of its
//! own. What is no event is passed over, but for the words of the compiler that older versions of go print in between.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use super::place::{place, steady};
use super::{MOST_DETAIL, Scrub, Tests, fixed, one_line, worse};
use crate::event::{Outcome, TestFailure};
use crate::outside::clip::clip;

/// What follows a package whose tests could not be built, and the heading of what the compiler said of it.
static NOT_BUILT: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"^FAIL\t(\S+) \[(?:build|setup) failed\]$"));
static HEADING: LazyLock<Regex> = LazyLock::new(|| fixed(r"^# (\S+)(?: \[\S+\])?$"));
/// The test's own announcements in its output.
static ANNOUNCED: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"^\s*(?:=== \w+\s|--- (?:FAIL|PASS|SKIP): )"));
static PLACE: LazyLock<Regex> = LazyLock::new(|| fixed(r"^\s*\S+\.go:(?:\d+:)+ "));
/// What differs from run to run in the trace of a panic.
static UNSTEADY: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"\(0x[^)]*\)|\(\{0x[^)]*\)| \+0x[0-9a-f]+|goroutine \d+"));

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    action: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    test: String,
    #[serde(default)]
    output: String,
    /// Of a build: `example.com/shop [example.com/shop.test]`.
    #[serde(default)]
    import_path: String,
}

fn event(line: &str) -> Option<Line> {
    line.starts_with('{')
        .then(|| serde_json::from_str(line).ok())
        .flatten()
}

/// True where the text holds at least one event of a package.
pub fn is_gotest(output: &str) -> bool {
    output
        .lines()
        .filter_map(event)
        .any(|line| !line.package.is_empty())
}

/// Reads all of the output; there is nothing it fails on, but it may find no test.
pub fn gotest(output: &str, scrub: &Scrub) -> Tests {
    let mut reading = Reading::default();
    for line in output.lines() {
        match event(line) {
            Some(event) => reading.event(event),
            None => reading.words(line),
        }
    }
    reading.end(scrub)
}

#[derive(Default)]
struct Reading {
    /// In the order of their first event.
    order: Vec<String>,
    packages: BTreeMap<String, Package>,
    /// What the compiler said, by package.
    compiler: BTreeMap<String, String>,
    heading: Option<String>,
}

#[derive(Default)]
struct Package {
    order: Vec<String>,
    tests: BTreeMap<String, Test>,
    output: String,
    ended: Option<Outcome>,
    not_built: bool,
}

#[derive(Default)]
struct Test {
    /// One for each time it ran to its end.
    outcomes: Vec<Outcome>,
    running: bool,
    output: String,
}

impl Test {
    /// One that never came to its end was running when its package panicked or was stopped.
    fn outcome(&self) -> Outcome {
        let open = self.running.then_some(Outcome::Failed);
        let all = || self.outcomes.iter().copied().chain(open);
        let worst = all().fold(Outcome::Skipped, worse);
        if worst.is_bad() && all().any(|outcome| outcome == Outcome::Passed) {
            return Outcome::Flaky;
        }
        worst
    }
}

impl Reading {
    fn package(&mut self, name: &str) -> &mut Package {
        if !self.packages.contains_key(name) {
            self.order.push(name.to_owned());
        }
        self.packages.entry(name.to_owned()).or_default()
    }

    fn event(&mut self, line: Line) {
        match line.action.as_str() {
            "build-output" => {
                let said = self.compiler.entry(first_word(&line.import_path));
                push(said.or_default(), &line.output);
            }
            "build-fail" => {
                let package = first_word(&line.import_path);
                self.package(&package).not_built = true;
            }
            _ if line.package.is_empty() => {}
            action => {
                let outcome = outcome(action);
                let package = self.package(&line.package);
                if line.test.is_empty() {
                    package.ended = outcome.or(package.ended);
                    push(&mut package.output, &line.output);
                } else {
                    package.test(&line, outcome);
                }
            }
        }
    }

    /// Before 1.24 go prints what the compiler says beside its events.
    fn words(&mut self, line: &str) {
        if let Some(package) = NOT_BUILT.captures(line) {
            self.heading = None;
            self.package(&package[1]).not_built = true;
        } else if let Some(heading) = HEADING.captures(line) {
            self.heading = Some(heading[1].to_owned());
        } else if let Some(package) = &self.heading {
            let said = self.compiler.entry(package.clone()).or_default();
            push(said, line);
            said.push('\n');
        }
    }

    fn end(self, scrub: &Scrub) -> Tests {
        let mut tests = Tests::default();
        for name in &self.order {
            let package = &self.packages[name];
            package.count(name, scrub, &mut tests);
            let compiler = self.compiler.get(name).map_or("", String::as_str);
            package.count_itself(name, compiler, scrub, &mut tests);
        }
        tests
    }
}

impl Package {
    fn test(&mut self, line: &Line, outcome: Option<Outcome>) {
        if !self.tests.contains_key(&line.test) {
            self.order.push(line.test.clone());
        }
        let test = self.tests.entry(line.test.clone()).or_default();
        match (line.action.as_str(), outcome) {
            ("run", _) => test.running = true,
            (_, Some(outcome)) => {
                test.running = false;
                test.outcomes.push(outcome);
            }
            _ => push(&mut test.output, &line.output),
        }
    }

    fn count(&self, package: &str, scrub: &Scrub, tests: &mut Tests) {
        for name in &self.order {
            let (test, below) = (&self.tests[name], format!("{name}/"));
            let outcome = test.outcome();
            let mut subtests = self.tests.range(below.clone()..);
            let subtests: Vec<Outcome> = subtests
                .by_ref()
                .take_while(|(name, _)| name.starts_with(&below))
                .map(|(_, test)| test.outcome())
                .collect();
            let by_itself = outcome.is_bad() && !subtests.iter().any(|o| o.is_bad());
            if subtests.is_empty() || by_itself {
                let id = scrub.clean(&format!("{package}::{name}"));
                add(tests, id, outcome, &test.output, scrub);
            }
        }
    }

    /// A package that failed although none of its tests did: it did not build, or ended before or after them.
    fn count_itself(&self, package: &str, compiler: &str, scrub: &Scrub, tests: &mut Tests) {
        let ended_badly = self.ended.is_some_and(Outcome::is_bad);
        let explained = self.tests.values().any(|test| test.outcome().is_bad());
        let id = |what: &str| scrub.clean(&format!("{package}::({what})"));
        if self.not_built || (ended_badly && !compiler.is_empty() && self.tests.is_empty()) {
            add(tests, id("build"), Outcome::Errored, compiler, scrub);
        } else if ended_badly && !explained {
            add(tests, id("package"), Outcome::Errored, &self.output, scrub);
        } else if self.ended.is_none() && !self.tests.is_empty() {
            let why = format!("package {package} ended without a result");
            tests.problem.get_or_insert(why);
        }
    }
}

fn add(tests: &mut Tests, id: String, outcome: Outcome, output: &str, scrub: &Scrub) {
    tests
        .outcomes
        .entry(id.clone())
        .and_modify(|known| *known = worse(*known, outcome))
        .or_insert(outcome);
    if !outcome.is_bad() {
        return;
    }
    let own: Vec<&str> = output.lines().filter(|l| !ANNOUNCED.is_match(l)).collect();
    let detail = steady(&scrub.clean(own.join("\n").trim_end()));
    let detail = UNSTEADY.replace_all(&detail, "…").into_owned();
    let first = detail.lines().find(|line| !line.trim().is_empty());
    let says = PLACE.replace(first.unwrap_or("failed without a word"), "");
    let (file, line) = place(&detail).unzip();
    tests.add_failure(TestFailure {
        id,
        message: one_line(&says),
        detail: clip(&detail, MOST_DETAIL),
        file,
        line,
    });
}

fn outcome(action: &str) -> Option<Outcome> {
    match action {
        "pass" | "bench" => Some(Outcome::Passed),
        "fail" => Some(Outcome::Failed),
        "skip" => Some(Outcome::Skipped),
        _ => None,
    }
}

fn first_word(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Of one test's output, more than is ever shown is not kept.
fn push(kept: &mut String, more: &str) {
    if kept.len() < 2 * MOST_DETAIL {
        kept.push_str(more);
    }
}

#[cfg(test)]
mod tests;
