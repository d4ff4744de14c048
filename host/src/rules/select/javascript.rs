//! `node --test` by the names of tests; jest and vitest by the files the ids begin with, or jest by full names.
//!
//! Touches: nothing.
//! Change here: when one of them takes names otherwise.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::Paths;
use super::line::{Edit, Word};

/// What a report puts behind the second test of a name.
static AGAIN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r" \(\d+\)$").expect("it is tested below"));

/// The words begin with `node`. Every name on the way to a test is asked for: some versions go by a test's own name,
/// some by the names of all it stands in.
pub fn node(words: &[Word<'_>], wanted: &BTreeSet<String>) -> Option<Edit> {
    let runs_tests = words.iter().any(|w| w.is("--test"));
    let named = |w: &Word<'_>| w.raw.starts_with("--test-name-pattern") || w.is("--test-only");
    if !runs_tests || words.iter().any(named) {
        return None;
    }
    let names: BTreeSet<String> = wanted.iter().flat_map(|id| names(id)).collect();
    let pattern = |name: String| format!("--test-name-pattern=^{}$", escape(&name));
    Some(Edit {
        remove: vec![],
        // Before the files: what stands behind them is theirs.
        at: words.first()?.at.end,
        insert: names.into_iter().map(pattern).collect(),
    })
}

/// The last name on the way to a test.
pub fn own_name(id: &str) -> &str {
    let last = id.rsplit("::").next().unwrap_or(id);
    AGAIN
        .find(last)
        .map_or(last, |again| &last[..again.start()])
}

fn names(id: &str) -> BTreeSet<String> {
    let parts = id.split("::").filter(|part| !part.is_empty());
    parts
        .flat_map(|part| [part.to_owned(), AGAIN.replace(part, "").into_owned()])
        .collect()
}

/// The words begin with `vitest`, which names tests by their files.
pub fn vitest(words: &[Word<'_>], wanted: &BTreeSet<String>, paths: &Paths) -> Option<Edit> {
    let run = words.get(1).is_some_and(|w| w.is("run")) || words.iter().any(|w| w.is("--run"));
    let narrowed = |w: &Word<'_>| w.is("-t") || w.raw.starts_with("--testNamePattern");
    let files = files(wanted, paths)?;
    let places = words[1..].iter().any(|w| !w.is_option() && !w.is("run"));
    if !run || places || words.iter().any(narrowed) {
        return None;
    }
    Some(Edit {
        remove: vec![],
        at: words.last()?.at.end,
        insert: files,
    })
}

/// The words begin with `jest`. Its reporter names tests by their files if it is told to; of its own accord it says
/// the full name twice.
pub fn jest(words: &[Word<'_>], wanted: &BTreeSet<String>, paths: &Paths) -> Option<Edit> {
    let narrowing = [
        "-t",
        "--testNamePattern",
        "--testPathPattern",
        "--testPathPatterns",
        "--runTestsByPath",
    ];
    let narrowed = |w: &Word<'_>| {
        narrowing
            .iter()
            .any(|n| w.raw == *n || w.raw.starts_with(&format!("{n}=")))
    };
    if words[1..]
        .iter()
        .any(|w| !w.is_option() || w.is("--") || narrowed(w))
    {
        return None;
    }
    let insert = match files(wanted, paths) {
        Some(files) => {
            let by_path = ["--runTestsByPath".to_owned()];
            by_path.into_iter().chain(files).collect()
        }
        None => {
            let names: Option<Vec<String>> = wanted.iter().map(|id| said_twice(id)).collect();
            let names: Vec<String> = names?.iter().map(|n| escape(n)).collect();
            vec![format!("--testNamePattern=^({})$", names.join("|"))]
        }
    };
    Some(Edit {
        remove: vec![],
        at: words.last()?.at.end,
        insert,
    })
}

fn files(wanted: &BTreeSet<String>, paths: &Paths) -> Option<Vec<String>> {
    let file = |id: &String| {
        let (file, _) = id.split_once("::")?;
        (paths.contains(file) && !file.starts_with('-')).then(|| file.to_owned())
    };
    let files: Option<BTreeSet<String>> = wanted.iter().map(file).collect();
    Some(files?.into_iter().collect())
}

fn said_twice(id: &str) -> Option<String> {
    let half = id.len().checked_sub(2)? / 2;
    let (first, second) = (id.get(..half)?, id.get(half + 2..)?);
    let twice = first == second && id.get(half..half + 2) == Some("::") && !first.is_empty();
    twice.then(|| first.to_owned())
}

/// Takes their meaning from what means something in a pattern of JavaScript.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        if r"\^$.*+?()[]{}|/".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
