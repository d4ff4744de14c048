//! Reads the Test Anything Protocol, versions 13 and 14, as node, perl and many others print it.
//!
//! Touches: nothing.
//! Change here: when somebody's TAP is read wrongly.
//!
//! The id of a test is its description, behind those of the tests it stands in: `cart::takes away`. A test with
//! subtests is counted only where it failed and none of them did. Of two that bear one name in the same place the
//! second is `name (2)`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::place::{place, steady};
use super::{MOST_DETAIL, Scrub, Tests, fixed, one_line};
use crate::event::{Outcome, TestFailure};
use crate::outside::clip::clip;

static TEST: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"^(not )?ok\b(?: +(\d+))?(?: +-)?(?: +(.*))?$"));
static PLAN: LazyLock<Regex> = LazyLock::new(|| fixed(r"^1\.\.(\d{1,9})(?: +#.*)?$"));
static DIRECTIVE: LazyLock<Regex> = LazyLock::new(|| fixed(r"(?i)(?:^|\s+)#\s*(skip|todo)\b.*$"));
static VERSION: LazyLock<Regex> = LazyLock::new(|| fixed(r"^TAP version 1[34]$"));
static SAYS: LazyLock<Regex> = LazyLock::new(|| fixed(r"(?m)^ *(?:error|message): *(.*)$"));
/// Of a comparison in perl.
static COMPARED: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"(?m)^# +(got: .*)\n# +(expected: .*)$"));

/// Spaces before the tests in a test.
const STEP: usize = 4;
/// Tests in tests that are told apart.
const DEEPEST: usize = 64;

/// True where the text calls itself TAP, or holds a plan and a test.
pub fn is_tap(output: &str) -> bool {
    let has = |pattern: &Regex| output.lines().any(|line| pattern.is_match(line));
    has(&VERSION) || (has(&PLAN) && has(&TEST))
}

/// Reads all of the output; there is nothing it fails on, but it may find no test.
pub fn tap(output: &str, scrub: &Scrub) -> Tests {
    let mut reading = Reading::default();
    for line in output.lines() {
        reading.line(line.trim_end_matches('\r'));
    }
    reading.end(scrub)
}

/// A test line with what stands beneath it.
struct Test {
    name: String,
    outcome: Outcome,
    detail: String,
    below: Vec<Test>,
}

/// The tests of one depth whose parent has not been seen yet: its own line comes after them.
#[derive(Default)]
struct Level {
    tests: Vec<Test>,
    planned: Option<usize>,
}

#[derive(Default)]
struct Reading {
    levels: Vec<Level>,
    /// Depth of the test whose block is open, and how far the block is indented.
    block: Option<(usize, usize)>,
    /// Depth of the last test, for what is said about it.
    last: Option<usize>,
    problem: Option<String>,
}

impl Reading {
    fn line(&mut self, line: &str) {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        if let Some((depth, at)) = self.block {
            return match text {
                "..." if indent == at => self.block = None,
                _ => self.say(depth, line.get(at..).unwrap_or(text)),
            };
        }
        let depth = indent / STEP;
        let in_place = indent.is_multiple_of(STEP) && depth < DEEPEST;
        if text == "---" && self.last == Some(depth) {
            self.block = Some((depth, indent));
        } else if text.starts_with("Bail out!") {
            self.problem.get_or_insert(one_line(text));
        } else if let Some(plan) = PLAN.captures(text).filter(|_| in_place) {
            let level = self.level(depth);
            let planned = plan[1].parse().unwrap_or(usize::MAX);
            level.planned = Some(level.planned.unwrap_or(0).saturating_add(planned));
        } else if let Some(test) = TEST.captures(text).filter(|_| in_place) {
            self.test(depth, &test);
        } else if text.starts_with('#')
            && !text.starts_with("# Subtest")
            && let Some(depth) = self.last
        {
            self.say(depth, text);
        }
    }

    fn level(&mut self, depth: usize) -> &mut Level {
        while self.levels.len() <= depth {
            self.levels.push(Level::default());
        }
        &mut self.levels[depth]
    }

    fn test(&mut self, depth: usize, line: &regex::Captures<'_>) {
        let words = line.get(3).map_or("", |words| words.as_str());
        let directive = DIRECTIVE.captures(words);
        let skipped = |bad: bool| match directive.as_ref().map(|d| d[1].to_ascii_lowercase()) {
            Some(word) if word == "skip" || bad => Outcome::Skipped,
            _ if bad => Outcome::Failed,
            _ => Outcome::Passed,
        };
        let outcome = skipped(line.get(1).is_some());
        let name = DIRECTIVE.replace(words, "").trim().replace("\\#", "#");
        let number = line.get(2).map_or("", |number| number.as_str());
        let below = self.close(depth + 1);
        self.last = Some(depth);
        self.level(depth).tests.push(Test {
            name: match name.is_empty() {
                true => format!("test {number}").trim().to_owned(),
                false => name,
            },
            outcome,
            detail: String::new(),
            below,
        });
    }

    /// The tests of this depth and below, whose parent has come.
    fn close(&mut self, depth: usize) -> Vec<Test> {
        if depth >= self.levels.len() {
            return vec![];
        }
        let deeper = self.close(depth + 1);
        if !deeper.is_empty() {
            self.problem
                .get_or_insert("a test in a test has no result of its own".to_owned());
        }
        let level = std::mem::take(&mut self.levels[depth]);
        self.levels.truncate(depth);
        self.hold_to_plan(&level);
        level.tests.into_iter().chain(deeper).collect()
    }

    fn hold_to_plan(&mut self, level: &Level) {
        let ran = level.tests.len();
        if let Some(planned) = level.planned.filter(|planned| *planned != ran) {
            self.problem
                .get_or_insert(format!("{planned} tests were planned, and {ran} ran"));
        }
    }

    fn say(&mut self, depth: usize, line: &str) {
        let level = self.levels.get_mut(depth);
        if let Some(test) = level.and_then(|level| level.tests.last_mut())
            && test.detail.len() < 2 * MOST_DETAIL
        {
            test.detail.push_str(line);
            test.detail.push('\n');
        }
    }

    fn end(mut self, scrub: &Scrub) -> Tests {
        let no_plan = self.levels.first().is_some_and(|l| l.planned.is_none());
        if self.block.is_some() {
            self.problem
                .get_or_insert("the report ends in the middle of a test".to_owned());
        }
        let all = self.close(0);
        if no_plan && !all.is_empty() {
            self.problem
                .get_or_insert("the report has no plan: its end may be missing".to_owned());
        }
        let mut tests = Tests {
            problem: self.problem,
            ..Tests::default()
        };
        count(&all, "", scrub, &mut tests);
        tests
    }
}

/// Adds the tests; whether one of them is bad.
fn count(all: &[Test], above: &str, scrub: &Scrub, tests: &mut Tests) -> bool {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut bad = false;
    for test in all {
        let times = names.entry(&test.name).or_default();
        *times += 1;
        let again = match *times {
            1 => String::new(),
            n => format!(" ({n})"),
        };
        let id = format!("{above}{}{again}", scrub.clean(&test.name));
        let bad_below = count(&test.below, &format!("{id}::"), scrub, tests);
        if test.below.is_empty() || (test.outcome.is_bad() && !bad_below) {
            add(test, id, scrub, tests);
        }
        bad |= bad_below || test.outcome.is_bad();
    }
    bad
}

fn add(test: &Test, id: String, scrub: &Scrub, tests: &mut Tests) {
    tests.outcomes.insert(id.clone(), test.outcome);
    if !test.outcome.is_bad() {
        return;
    }
    let detail = steady(&scrub.clean(test.detail.trim_end()));
    let (file, line) = place(&detail).unzip();
    tests.add_failure(TestFailure {
        id,
        message: one_line(&complaint(&detail)),
        detail: clip(&detail, MOST_DETAIL),
        file,
        line,
    });
}

/// What the block says is wrong, or the comments.
fn complaint(detail: &str) -> String {
    if let Some(compared) = COMPARED.captures(detail) {
        return format!("{}, {}", &compared[1], &compared[2]);
    }
    let says = SAYS.captures(detail).map(|says| {
        let (value, rest) = (
            says[1].trim(),
            &detail[says.get(0).map_or(0, |m| m.end())..],
        );
        match value {
            "|" | "|-" | ">" | ">-" => rest.trim_start().lines().next().unwrap_or_default().trim(),
            value => value.trim_matches(['\'', '"']),
        }
        .to_owned()
    });
    let first = || {
        let mut lines = detail
            .lines()
            .map(|line| line.trim_start_matches(['#', ' ']));
        lines.find(|line| !line.is_empty()).map(str::to_owned)
    };
    says.or_else(first)
        .unwrap_or_else(|| "failed without a word".to_owned())
}

#[cfg(test)]
mod tests;
