//! pytest: `tests.test_cart.TestPay::test_adds[1]` is `tests/test_cart.py::TestPay::test_adds[1]`.
//!
//! Touches: nothing.
//! Change here: when pytest names tests otherwise, or an option with a value is taken for a path.

use std::collections::BTreeSet;

use super::Paths;
use super::line::{Edit, Word};

/// Options of one letter that take the next word.
const TAKE_A_VALUE: [&str; 8] = ["-k", "-m", "-p", "-c", "-o", "-n", "-W", "-r"];
/// Of python itself.
const OF_PYTHON: [&str; 7] = ["-B", "-E", "-I", "-O", "-P", "-s", "-u"];

pub fn is_python(name: &str) -> bool {
    let version = name.strip_prefix("python");
    version.is_some_and(|v| v.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// The words begin with `pytest`, or with a python.
pub fn select(words: &[Word<'_>], wanted: &BTreeSet<String>, paths: &Paths) -> Option<Edit> {
    match words.first()?.command() {
        Some(name) if is_python(name) => module(words, wanted, paths),
        _ => pytest(words, wanted, paths),
    }
}

/// `python -m pytest ...`.
fn module(words: &[Word<'_>], wanted: &BTreeSet<String>, paths: &Paths) -> Option<Edit> {
    let known = |w: &&Word<'_>| w.plain.as_deref().is_some_and(|p| OF_PYTHON.contains(&p));
    let options = words.iter().skip(1).take_while(known).count();
    match &words[1 + options..] {
        [m, name, ..] if m.is("-m") && name.is("pytest") => {
            pytest(&words[2 + options..], wanted, paths)
        }
        _ => None,
    }
}

/// The words begin with `pytest`.
fn pytest(words: &[Word<'_>], wanted: &BTreeSet<String>, paths: &Paths) -> Option<Edit> {
    if words.iter().any(|w| w.is("--pyargs") || w.is("--")) {
        return None;
    }
    let nodes: Option<BTreeSet<String>> = wanted.iter().map(|id| node(id, paths)).collect();
    Some(Edit {
        remove: places(words),
        at: words.last()?.at.end,
        insert: nodes?.into_iter().collect(),
    })
}

/// The words that name what to run today. One that may as well be the value of an option stays: more is run then.
fn places(words: &[Word<'_>]) -> Vec<std::ops::Range<usize>> {
    let pairs = words.windows(2);
    pairs
        .filter(|pair| !pair[1].is_option() && !takes_a_value(&pair[0]))
        .map(|pair| pair[0].at.end..pair[1].at.end)
        .collect()
}

fn takes_a_value(word: &Word<'_>) -> bool {
    match word.raw.strip_prefix("--") {
        Some(long) => !long.contains('='),
        None => TAKE_A_VALUE.contains(&word.raw),
    }
}

/// pytest's own name of a test, or of more than that where its parameters are not plain.
fn node(id: &str, paths: &Paths) -> Option<String> {
    let (class, name) = match id.split_once("::") {
        Some((class, name)) => (class, Some(name)),
        // A module that could not be imported.
        None => (id, None),
    };
    let (path, inner) = file(class, paths)?;
    let mut node = path;
    for part in inner
        .iter()
        .copied()
        .chain(name.map(without_odd_parameters))
    {
        node.push_str("::");
        node.push_str(part);
    }
    (!node.starts_with('-')).then_some(node)
}

/// The file a dotted name stands for, and the classes in it.
pub fn file<'a>(dotted: &'a str, paths: &Paths) -> Option<(String, Vec<&'a str>)> {
    let parts: Vec<&str> = dotted.split('.').collect();
    (1..=parts.len()).rev().find_map(|n| {
        let path = format!("{}.py", parts[..n].join("/"));
        paths.contains(&path).then(|| (path, parts[n..].to_vec()))
    })
}

/// Of parameters the report may have cleaned some away, and pytest runs nothing at all if it does not know a name.
fn without_odd_parameters(name: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.,-[]".contains(c);
    match name.split_once('[') {
        Some((function, parameters)) if !parameters.chars().all(plain) => function,
        _ => name,
    }
}
