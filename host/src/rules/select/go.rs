//! `go test`: `example.com/shop::TestPay/a_little` is what `-run '^(TestPay)$'` runs in `example.com/shop`.
//!
//! Touches: nothing.
//! Change here: when go takes names otherwise.
//!
//! One pattern holds for all packages, and a test runs with all of its subtests.

use std::collections::BTreeSet;

use super::line::{Edit, Word};

/// Flags that take the next word, with one dash or two.
const TAKE_A_VALUE: [&str; 14] = [
    "timeout",
    "count",
    "tags",
    "p",
    "parallel",
    "cpu",
    "mod",
    "covermode",
    "coverprofile",
    "coverpkg",
    "ldflags",
    "gcflags",
    "shuffle",
    "vet",
];

/// The words begin with `go`.
pub fn test(words: &[Word<'_>], wanted: &BTreeSet<String>) -> Option<Edit> {
    let [_, test, rest @ ..] = words else {
        return None;
    };
    if !test.is("test") {
        return None;
    }
    let mut remove = vec![];
    let mut before = test;
    for word in rest {
        let is_value = TAKE_A_VALUE.contains(&flag(before.raw)) && before.is_option();
        if !is_value && word.is_option() {
            let selects = [
                "run", "skip", "bench", "fuzz", "list", "args", "exec", "C", "c",
            ];
            if selects.contains(&flag(word.raw.split('=').next()?)) {
                return None;
            }
        } else if !is_value {
            // A pattern of packages, or the value of a flag nobody told us of.
            let local = word.raw.starts_with("./") || word.raw == ".";
            local.then_some(())?;
            remove.push(before.at.end..word.at.end);
        }
        before = word;
    }
    let (packages, tests) = parts(wanted)?;
    let mut insert: Vec<String> = vec![];
    if let Some(tests) = tests {
        let names: Vec<&str> = tests.into_iter().collect();
        insert.extend(["-run".to_owned(), format!("^({})$", names.join("|"))]);
    }
    insert.extend(packages.into_iter().map(str::to_owned));
    Some(Edit {
        remove,
        at: words.last()?.at.end,
        insert,
    })
}

fn flag(word: &str) -> &str {
    word.trim_start_matches('-')
}

type Parts<'a> = (BTreeSet<&'a str>, Option<BTreeSet<&'a str>>);

/// Packages, and the tests at the top of their files; none where a package is meant as a whole.
fn parts(wanted: &BTreeSet<String>) -> Option<Parts<'_>> {
    let (mut packages, mut tests) = (BTreeSet::new(), BTreeSet::new());
    let mut whole = false;
    for id in wanted {
        let (package, test) = id.split_once("::")?;
        let of_a_path = |c: char| c.is_ascii_alphanumeric() || "._~/-".contains(c);
        if package.is_empty() || package.starts_with('-') || !package.chars().all(of_a_path) {
            return None;
        }
        packages.insert(package);
        let top = test.split('/').next().unwrap_or(test);
        let of_a_name = |c: char| c.is_alphanumeric() || c == '_';
        match top {
            "(build)" | "(package)" => whole = true,
            top if !top.is_empty() && top.chars().all(of_a_name) => drop(tests.insert(top)),
            _ => return None,
        }
    }
    Some((packages, (!whole).then_some(tests)))
}
