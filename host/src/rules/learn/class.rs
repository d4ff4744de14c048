//! What kind of failure it is, and in which language: from what tests complain of and what the change touched.
//!
//! Touches: nothing.
//! Change here: when another kind is worth telling apart, or a runner complains in other words. The order of the marks
//! decides where several fit: the cause before its consequence.

use std::collections::BTreeMap;

use crate::event::{Change, FailureClass, Finding, TestReport, Triage};
use crate::rules::run::Run;

/// Words of a complaint, in small letters, and what they mean. The first that is found counts.
const MARKS: [(FailureClass, &[&str]); 9] = [
    (
        FailureClass::Syntax,
        &[
            "syntaxerror",
            "indentationerror",
            "unexpected token",
            "expected one of",
            "unterminated string",
            "parse error",
            "unclosed delimiter",
            "mismatched closing delimiter",
        ],
    ),
    (
        FailureClass::Import,
        &[
            "modulenotfounderror",
            "importerror",
            "cannot find module",
            "err_module_not_found",
            "unresolved import",
            "could not find `",
            "failed to resolve: use of",
            "no required module provides package",
            "is not in std",
            "err_require_esm",
            "does not provide an export named",
            "classnotfoundexception",
            "noclassdeffounderror",
        ],
    ),
    (
        FailureClass::Dependency,
        &[
            "pkg_resources.distributionnotfound",
            "versionconflict",
            "resolutionimpossible",
            "failed to select a version",
            "peer dep",
            "eresolve",
            "deprecationwarning",
            "pydanticusererror",
            "has been removed in v",
            "was removed in version",
            "no longer supported",
        ],
    ),
    (
        FailureClass::Timeout,
        &[
            "timeouterror",
            "timed out",
            "timeout of",
            "exceeded timeout",
            "deadline exceeded",
            "test timed out",
        ],
    ),
    (
        FailureClass::Environment,
        &[
            "permissionerror",
            "permission denied",
            "no such file or directory",
            "filenotfounderror",
            "connectionrefusederror",
            "connection refused",
            "econnrefused",
            "enoent",
            "address already in use",
            "no space left",
            "command not found",
            "environment variable",
            "name or service not known",
        ],
    ),
    (
        FailureClass::Name,
        &[
            "nameerror",
            "attributeerror",
            "referenceerror",
            "is not defined",
            "undefined:",
            "cannot find value",
            "cannot find function",
            "no method named",
            "has no attribute",
            "is not a function",
            "cannot find symbol",
            "no field",
        ],
    ),
    (
        FailureClass::Type,
        &[
            "typeerror",
            "mismatched types",
            "cannot use",
            "is not assignable to",
            "the trait bound",
            "incompatible types",
            "unexpected keyword argument",
            "positional argument",
            "classcastexception",
            "borrow",
        ],
    ),
    (
        FailureClass::Crash,
        &[
            "segmentation fault",
            "sigsegv",
            "sigabrt",
            "stack overflow",
            "recursionerror",
            "maximum call stack",
            "memoryerror",
            "out of memory",
            "nil pointer dereference",
            "nullpointerexception",
            "index out of",
            "indexerror",
            "keyerror",
            "valueerror",
            "zerodivisionerror",
            "attempt to",
            "called `option::unwrap()`",
            "called `result::unwrap()`",
        ],
    ),
    (
        FailureClass::Assertion,
        &[
            "assertionerror",
            "assert ",
            "assert_eq",
            "assertion",
            "expected",
            "err_assertion",
            "not equal",
            "want ",
            "!= ",
        ],
    ),
];

/// Ends of file names, and whose they are.
const LANGUAGES: [(&str, &[&str]); 9] = [
    ("python", &["py", "pyi", "pyx"]),
    ("javascript", &["js", "mjs", "cjs", "jsx"]),
    ("typescript", &["ts", "tsx", "mts", "cts"]),
    ("rust", &["rs"]),
    ("go", &["go"]),
    ("java", &["java", "kt", "kts"]),
    ("c", &["c", "h", "cc", "cpp", "cxx", "hpp"]),
    ("ruby", &["rb"]),
    ("php", &["php"]),
];

/// With what kind of failure it is, where it is one.
pub fn classified(run: &Run, mut triage: Triage) -> Triage {
    if let (Finding::Real, Some(head)) = (triage.finding, run.head()) {
        triage.class = Some(of(&triage, head));
        triage.language = language(&run.change, head);
    }
    triage
}

/// The kind that most of the failing tests show; of as many, the one that stands first above.
fn of(triage: &Triage, head: &TestReport) -> FailureClass {
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for failure in &head.failures {
        if triage.failing.contains(&failure.id) {
            let last = failure.detail.lines().rev().take(12);
            let said = last.fold(failure.message.clone(), |all, line| {
                format!("{all}\n{line}")
            });
            if let Some(place) = place(&said) {
                *seen.entry(place).or_default() += 1;
            }
        }
    }
    if seen.is_empty()
        && let Some(place) = place(&head.output)
    {
        seen.insert(place, 1);
    }
    let most = seen
        .iter()
        .max_by_key(|(place, count)| (**count, usize::MAX - **place));
    most.map_or(FailureClass::Other, |(place, _)| MARKS[*place].0)
}

fn place(said: &str) -> Option<usize> {
    let said = said.to_lowercase();
    MARKS
        .iter()
        .position(|(_, words)| words.iter().any(|word| said.contains(word)))
}

/// What most of the change is written in; where it names no language, what the failing tests are.
fn language(change: &Change, head: &TestReport) -> Option<String> {
    let files = head.failures.iter().filter_map(|f| f.file.as_deref());
    let of_paths = most(change.paths.iter().map(String::as_str));
    of_paths.or_else(|| most(files)).map(str::to_owned)
}

fn most<'a>(paths: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for path in paths {
        let Some((_, end)) = path.rsplit_once('.') else {
            continue;
        };
        let place = LANGUAGES.iter().position(|(_, ends)| ends.contains(&end));
        if let Some(place) = place {
            *seen.entry(place).or_default() += 1;
        }
    }
    let most = seen
        .iter()
        .max_by_key(|(place, count)| (**count, usize::MAX - **place));
    most.map(|(place, _)| LANGUAGES[*place].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &str) -> FailureClass {
        place(said).map_or(FailureClass::Other, |place| MARKS[place].0)
    }

    #[test]
    fn what_runners_really_say_is_told_apart() {
        use FailureClass::*;
        let cases = [
            ("AssertionError: assert 12 == 8", Assertion),
            (
                "assertion `left == right` failed\n  left: 12\n right: 8",
                Assertion,
            ),
            (
                "Error [ERR_ASSERTION]: Expected values to be strictly equal:",
                Assertion,
            ),
            ("ModuleNotFoundError: No module named 'yaml'", Import),
            (
                "ImportError: cannot import name 'soft_unicode' from 'markupsafe'",
                Import,
            ),
            ("Error: Cannot find module './util'", Import),
            ("error[E0432]: unresolved import `crate::x`", Import),
            (
                "Error [ERR_REQUIRE_ESM]: require() of ES Module chalk",
                Import,
            ),
            ("SyntaxError: invalid syntax (shop.py, line 3)", Syntax),
            ("SyntaxError: Unexpected token '}'", Syntax),
            (
                "AttributeError: 'NoneType' object has no attribute 'split'",
                Name,
            ),
            ("NameError: name 'total' is not defined", Name),
            ("ReferenceError: x is not defined", Name),
            ("error[E0308]: mismatched types", Type),
            (
                "TypeError: pay() got an unexpected keyword argument 'off'",
                Type,
            ),
            ("TypeError: unsupported operand type(s) for +", Type),
            (
                "pydantic.errors.PydanticUserError: `orm_mode` has been removed in V2",
                Dependency,
            ),
            ("error: failed to select a version for `time`", Dependency),
            ("TimeoutError: waited 5 s", Timeout),
            ("Exceeded timeout of 5000 ms for a test", Timeout),
            (
                "PermissionError: [Errno 13] Permission denied: '/etc/x'",
                Environment,
            ),
            ("connect ECONNREFUSED 127.0.0.1:5432", Environment),
            ("IndexError: list index out of range", Crash),
            (
                "thread 'main' panicked: called `Option::unwrap()` on a `None` value",
                Crash,
            ),
            ("RecursionError: maximum recursion depth exceeded", Crash),
            ("it did not do what it should", Other),
        ];
        for (said, class) in cases {
            assert_eq!(check(said), class, "{said}");
        }
    }
}
