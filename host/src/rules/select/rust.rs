//! `cargo test` and `cargo nextest run`: `shop::cart::adds` is the test `cart::adds` of the target `shop`.
//!
//! Touches: nothing.
//! Change here: when cargo or nextest take names otherwise.
//!
//! Which target a test belongs to is not said to cargo: a test of the same name in another target runs too.

use std::collections::BTreeSet;

use super::line::{Edit, Word};

/// Options of cargo that take the next word.
const TAKE_A_VALUE: [&str; 23] = [
    "-p",
    "--package",
    "--exclude",
    "-F",
    "--features",
    "--test",
    "--bin",
    "--example",
    "--bench",
    "--manifest-path",
    "--target",
    "--target-dir",
    "--profile",
    "--cargo-profile",
    "-P",
    "-j",
    "--jobs",
    "--color",
    "--message-format",
    "--config",
    "-Z",
    "--test-threads",
    "--retries",
];
/// Options of a test binary that do.
const OF_THE_BINARY: [&str; 5] = ["--test-threads", "--skip", "--format", "--color", "-Z"];

/// The words begin with `cargo`.
pub fn is_nextest(words: &[Word<'_>]) -> bool {
    behind_cargo(words).first().is_some_and(|w| w.is("nextest"))
}

/// The words begin with `cargo`.
pub fn cargo(words: &[Word<'_>], wanted: &BTreeSet<String>) -> Option<Edit> {
    let words = behind_cargo(words);
    match words {
        [test, rest @ ..] if test.is("test") || test.is("t") => libtest(words, rest, wanted),
        [next, run, rest @ ..] if next.is("nextest") && (run.is("run") || run.is("r")) => {
            nextest(words, rest, wanted)
        }
        _ => None,
    }
}

fn behind_cargo<'a, 'b>(words: &'b [Word<'a>]) -> &'b [Word<'a>] {
    let toolchain = words.get(1).is_some_and(|w| w.raw.starts_with('+'));
    &words[1 + usize::from(toolchain)..]
}

fn libtest(all: &[Word<'_>], rest: &[Word<'_>], wanted: &BTreeSet<String>) -> Option<Edit> {
    let split = rest.iter().position(|w| w.raw == "--");
    let (of_cargo, of_binary) = match split {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &rest[..0]),
    };
    // Without its targets, as `--quiet` prints it, an id cannot be taken apart.
    let unfit = ["-q", "--quiet", "--doc", "--no-run"];
    if of_cargo
        .iter()
        .any(|w| w.plain.as_deref().is_none_or(|p| unfit.contains(&p)))
        || has_a_filter(of_cargo, &TAKE_A_VALUE)
        || has_a_filter(of_binary, &OF_THE_BINARY)
    {
        return None;
    }
    let names: Option<BTreeSet<String>> = wanted.iter().map(|id| path_in_target(id)).collect();
    let before = match split {
        Some(_) => vec![],
        None => vec!["--".to_owned()],
    };
    let exact = (!of_binary.iter().any(|w| w.is("--exact"))).then(|| "--exact".to_owned());
    Some(Edit {
        remove: vec![],
        at: all.last()?.at.end,
        insert: before.into_iter().chain(exact).chain(names?).collect(),
    })
}

/// A filter that stands there already would add its tests to ours.
fn has_a_filter(words: &[Word<'_>], take_a_value: &[&str]) -> bool {
    let mut value = false;
    words.iter().any(|word| {
        let is_value = std::mem::replace(&mut value, take_a_value.contains(&word.raw));
        !is_value && !word.is_option()
    })
}

/// The path within the target's own file. Documentation tests have none.
fn path_in_target(id: &str) -> Option<String> {
    let (_, rest) = id.split_once("::")?;
    let path = match rest.strip_prefix("bin/") {
        Some(binary) => binary.split_once("::")?.1,
        None => rest,
    };
    is_path(path).then(|| path.to_owned())
}

fn is_path(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    !text.is_empty() && text.chars().all(fits)
}

fn nextest(all: &[Word<'_>], rest: &[Word<'_>], wanted: &BTreeSet<String>) -> Option<Edit> {
    let filters = ["-E", "--filterset", "--filter-expr", "--"];
    let filtered = |w: &Word<'_>| {
        filters.contains(&w.raw) || w.raw.starts_with("--filter") || w.plain.is_none()
    };
    if rest.iter().any(filtered) || has_a_filter(rest, &TAKE_A_VALUE) {
        return None;
    }
    let names: Option<Vec<BTreeSet<String>>> =
        wanted.iter().map(|id| behind_a_binary(id)).collect();
    let names: BTreeSet<String> = names?.into_iter().flatten().collect();
    let terms: Vec<String> = names.iter().map(|n| format!("test(={n})")).collect();
    Some(Edit {
        remove: vec![],
        at: all.last()?.at.end,
        insert: vec!["-E".to_owned(), terms.join(" | ")],
    })
}

/// `shop::it::pays` is `it::pays` of the library or `pays` of the integration test `it`: both are asked for.
fn behind_a_binary(id: &str) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut rest = id;
    for _ in 0..2 {
        let Some((_, after)) = rest.split_once("::") else {
            break;
        };
        rest = after;
        if is_path(rest) {
            found.insert(rest.to_owned());
        }
    }
    (!found.is_empty()).then_some(found)
}
