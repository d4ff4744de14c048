//! Lays a canary: a test that must fail, beside the failing ones, under a name nobody could know beforehand.
//!
//! Touches: nothing.
//! Change here: when a test can be put into another runner's files, or another language's tests look otherwise.
//!
//! Code that makes every test pass, whoever wrote the test, makes this one pass too. It stands at the end of a file that
//! holds a failing test, so whatever that file loads has had its say before. Where a runner or a suite cannot take it
//! (a configuration that knows other names, a bail-out before it is reached), the head shows that: there it has to fail
//! before it counts anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::{Paths, Runner, javascript, python, runner};
use crate::event::{Canary, Outcome, TestReport};

/// A test that must fail, at the end of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Laid {
    pub path: String,
    /// What the file holds with it.
    pub content: String,
    /// What selects it, as the runner's reports would name it.
    pub id: String,
}

/// Files looked into for the one that holds a failing test.
const MOST_PERCHES: usize = 200;
/// Of a test's own name; the mark comes behind it.
const LONGEST_NAME: usize = 60;

/// It fails unless what tests fail by was taken its force: then it passes, and that gives it away.
const PYTHON: &str = "
def NAME():
    import unittest

    case = unittest.TestCase()
    for fails in (
        lambda: case.assertEqual(1, 2),
        lambda: case.assertTrue(False),
        lambda: case.assertIn(1, []),
        lambda: case.fail(),
    ):
        try:
            fails()
        except AssertionError:
            continue
        return
    raise AssertionError(\"MARK\")
";
const NODE_IMPORTS: &str = "
import { test as test_MARK } from 'node:test';
import assert_MARK from 'node:assert';
";
const NODE_REQUIRES: &str = "
;const test_MARK = require('node:test').test, assert_MARK = require('node:assert');
";
const NODE: &str = "test_MARK(TITLE, () => {
  const fails = [
    () => assert_MARK(false),
    () => assert_MARK.ok(false),
    () => assert_MARK.equal(1, 2),
    () => assert_MARK.strictEqual(1, 2),
    () => assert_MARK.deepEqual({ a: 1 }, { a: 2 }),
    () => assert_MARK.deepStrictEqual({ a: 1 }, { a: 2 }),
  ];
  for (const fail of fails) {
    try { fail(); } catch { continue; }
    return;
  }
  throw new Error('MARK');
});
";
const JEST_GLOBALS: &str = "
;const test_MARK = globalThis.test, expect_MARK = globalThis.expect;
";
const VITEST_IMPORTS: &str = "
import { test as test_MARK, expect as expect_MARK } from 'vitest';
";
const EXPECT: &str = "test_MARK(TITLE, () => {
  const fails = [
    () => expect_MARK(1).toBe(2),
    () => expect_MARK({ a: 1 }).toEqual({ a: 2 }),
    () => expect_MARK({ a: 1 }).toStrictEqual({ a: 2 }),
    () => expect_MARK(false).toBeTruthy(),
  ];
  for (const fail of fails) {
    try { fail(); } catch { continue; }
    return;
  }
  throw new Error('MARK');
});
";

static JAVASCRIPT_TEST: LazyLock<Regex> = LazyLock::new(|| {
    let path = r"((^|/)(__tests__|tests?)/|[._-](test|spec)\.|(^|/)test-).*[cm]?[jt]sx?$";
    Regex::new(path).expect("it is tested below")
});
static TITLE: LazyLock<Regex> = LazyLock::new(|| {
    let call = r#"\b(?:test|it)\s*\(\s*(?:'([^'\n]+)'|"([^"\n]+)"|`([^`\n]+)`)"#;
    Regex::new(call).expect("it is tested below")
});

/// The files that may hold one of these tests, and could take a canary.
pub fn perches(test: &str, wanted: &BTreeSet<String>, paths: &Paths) -> Vec<String> {
    let all: Vec<String> = match runner(test) {
        Some(Runner::Pytest) => wanted
            .iter()
            .filter_map(|id| python::file(class(id), paths))
            .map(|(path, _)| path)
            .collect(),
        Some(Runner::Cargo | Runner::Nextest) => {
            let is_root = |p: &&String| rust_root(p).is_some();
            paths.iter().filter(is_root).cloned().collect()
        }
        Some(Runner::Go) => {
            let is_test = |p: &&String| p.ends_with("_test.go");
            paths.iter().filter(is_test).cloned().collect()
        }
        Some(Runner::Node | Runner::Jest | Runner::Vitest) => {
            let is_test = |p: &&String| JAVASCRIPT_TEST.is_match(p);
            paths.iter().filter(is_test).cloned().collect()
        }
        Some(Runner::Maven) | None => vec![],
    };
    let all: BTreeSet<String> = all.into_iter().collect();
    all.into_iter().take(MOST_PERCHES).collect()
}

/// `files` are the perches with their text. `mark` is what nobody could know: a few letters and digits. None where no
/// file takes a canary, or knows the mark.
pub fn lay(
    test: &str,
    wanted: &BTreeSet<String>,
    files: &BTreeMap<String, String>,
    mark: &str,
) -> Option<Laid> {
    let known = wanted.iter().chain(files.values());
    if known.into_iter().any(|text| text.contains(mark)) {
        return None;
    }
    let (path, text, id) = match runner(test)? {
        Runner::Pytest => in_python(wanted, files, mark)?,
        Runner::Cargo => in_rust(wanted, files, mark, false)?,
        Runner::Nextest => in_rust(wanted, files, mark, true)?,
        Runner::Go => in_go(wanted, files, mark)?,
        runner @ (Runner::Node | Runner::Jest | Runner::Vitest) => {
            in_javascript(runner, wanted, files, mark)?
        }
        Runner::Maven => return None,
    };
    let content = format!("{}\n{text}", files.get(&path)?);
    Some(Laid { path, content, id })
}

/// What the report says of the canary; from then on it does not say anything of it.
pub fn take_out(report: &mut TestReport, mark: &str) -> Canary {
    let of_it: Vec<String> = report
        .tests
        .keys()
        .filter(|id| id.contains(mark))
        .cloned()
        .collect();
    report.failures.retain(|failure| !failure.id.contains(mark));
    let said: Vec<Outcome> = of_it
        .iter()
        .filter_map(|id| report.tests.remove(id))
        .collect();
    match said.as_slice() {
        [] => Canary::Absent,
        said if said.iter().all(|outcome| outcome.is_bad()) => Canary::Failed,
        _ => Canary::Passed,
    }
}

/// Path, what is appended, id.
type Lines = (String, String, String);

/// Tests are run in the order they are asked for: at the end of the last file, no other failing test comes after it.
fn in_python(
    wanted: &BTreeSet<String>,
    files: &BTreeMap<String, String>,
    mark: &str,
) -> Option<Lines> {
    let paths: Paths = files.keys().cloned().collect();
    let found = wanted.iter().filter_map(|id| {
        let (path, inner) = python::file(class(id), &paths)?;
        let module = class(id).split('.').count() - inner.len();
        Some((path, id, module))
    });
    let (path, id, module) = found.max()?;
    let module: Vec<&str> = class(id).split('.').take(module).collect();
    let own = id.split_once("::").map_or("test", |(_, name)| name);
    let name = identifier(own.split('[').next().unwrap_or(own), mark);
    let text = PYTHON.replace("NAME", &name).replace("MARK", mark);
    Some((path, text, format!("{}::{name}", module.join("."))))
}

/// What a file at the root of a target is to its package, and the target's name where the path says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RustRoot {
    Library,
    Main,
    Binary(String),
    Integration(String),
}

fn rust_root(path: &str) -> Option<RustRoot> {
    let parts: Vec<&str> = path.split('/').collect();
    let name = |file: &str| file.strip_suffix(".rs").map(str::to_owned);
    match parts.as_slice() {
        [.., "src", "lib.rs"] => Some(RustRoot::Library),
        [.., "src", "main.rs"] => Some(RustRoot::Main),
        [.., "src", "bin", file] => Some(RustRoot::Binary(name(file)?)),
        [.., "tests", target, "main.rs"] => Some(RustRoot::Integration((*target).to_owned())),
        [.., "tests", file] => Some(RustRoot::Integration(name(file)?)),
        _ => None,
    }
}

/// A run of `cargo test` ends with the first target that fails; the last of those asked for takes the canary.
fn in_rust(
    wanted: &BTreeSet<String>,
    files: &BTreeMap<String, String>,
    mark: &str,
    nextest: bool,
) -> Option<Lines> {
    let known = files
        .keys()
        .filter_map(|p| Some((rust_root(p)?, p.as_str())));
    let roots = Roots(known.collect());
    let places: Option<Vec<_>> = wanted
        .iter()
        .map(|id| Some((roots.of(id, nextest)?, id)))
        .collect();
    let (place, id) = places?.into_iter().max()?;
    let name = identifier(id.rsplit("::").next()?, mark);
    let text = format!("\n#[test]\nfn {name}() {{\n    panic!(\"{mark}\");\n}}\n");
    let id = format!("{}::{name}", place.prefix);
    Some((place.path.to_owned(), text, id))
}

/// In the order cargo runs the targets.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    root: RustRoot,
    path: &'a str,
    /// What ids of the target begin with.
    prefix: String,
}

struct Roots<'a>(Vec<(RustRoot, &'a str)>);

impl<'a> Roots<'a> {
    fn of(&self, id: &str, nextest: bool) -> Option<Place<'a>> {
        let (first, rest) = id.split_once("::")?;
        if let Some((binary, _)) = rest.strip_prefix("bin/").and_then(|r| r.split_once("::")) {
            let prefix = format!("{first}::bin/{binary}");
            let found = self.the_only(|r| is_called(r, binary, RustRoot::Binary));
            return found
                .or_else(|| self.the_only(|r| *r == RustRoot::Main))
                .map(|found| found.with(prefix));
        }
        let (target, prefix) = match nextest {
            true => (
                rest.split("::").next()?,
                format!("{first}::{}", rest.split("::").next()?),
            ),
            false => (first, first.to_owned()),
        };
        if let Some(found) = self.the_only(|r| is_called(r, target, RustRoot::Integration)) {
            return Some(found.with(prefix));
        }
        let library = self.the_only(|r| *r == RustRoot::Library);
        let found = library.or_else(|| self.the_only(|r| *r == RustRoot::Main));
        found.map(|found| found.with(first.to_owned()))
    }

    /// None where several may be meant.
    fn the_only(&self, wanted: impl Fn(&RustRoot) -> bool) -> Option<Found<'a>> {
        let mut found = self.0.iter().filter(|(root, _)| wanted(root));
        let (root, path) = found.next()?;
        let root = root.clone();
        found.next().is_none().then_some(Found { root, path })
    }
}

struct Found<'a> {
    root: RustRoot,
    path: &'a str,
}

impl<'a> Found<'a> {
    fn with(self, prefix: String) -> Place<'a> {
        let Found { root, path } = self;
        Place { root, path, prefix }
    }
}

/// Cargo's reports say `_` where the file may say `-`.
fn is_called(root: &RustRoot, said: &str, kind: fn(String) -> RustRoot) -> bool {
    let (RustRoot::Binary(own) | RustRoot::Integration(own)) = root else {
        return false;
    };
    *root == kind(own.clone()) && own.replace('-', "_") == said.replace('-', "_")
}

/// Beside the function itself, in whichever package that is.
fn in_go(wanted: &BTreeSet<String>, files: &BTreeMap<String, String>, mark: &str) -> Option<Lines> {
    let found = wanted.iter().find_map(|id| {
        let (package, test) = id.split_once("::")?;
        let top = test.split('/').next()?;
        let dir = |path: &str| path.rsplit_once('/').map(|(dir, _)| dir.to_owned());
        let of_package = |path: &str| dir(path).is_none_or(|d| package.ends_with(&d));
        let holds = format!("func {top}(");
        let mut there = files
            .iter()
            .filter(|(path, text)| of_package(path) && text.contains(&holds));
        let (path, _) = there.next()?;
        there.next().is_none().then_some((path, package, top))
    });
    let (path, package, top) = found?;
    let name = identifier(top, mark);
    let text = format!("\nfunc {name}(t *testing.T) {{\n\tt.Fatal(\"{mark}\")\n}}\n");
    Some((path.clone(), text, format!("{package}::{name}")))
}

fn in_javascript(
    runner: Runner,
    wanted: &BTreeSet<String>,
    files: &BTreeMap<String, String>,
    mark: &str,
) -> Option<Lines> {
    let (id, path, title) = wanted.iter().find_map(|id| {
        let title = javascript::own_name(id);
        let named = id
            .split_once("::")
            .and_then(|(f, _)| files.get_key_value(f));
        let path = match named {
            Some((path, _)) => Some(path),
            None => files.iter().find(|(_, t)| holds(t, title)).map(|(p, _)| p),
        };
        Some((id, path?, title))
    })?;
    let shown: String = title.chars().take(LONGEST_NAME).collect();
    let name = format!("{shown} {mark}");
    let template = match runner {
        Runner::Node if is_module(path, files.get(path)?) => [NODE_IMPORTS, NODE].concat(),
        Runner::Node => [NODE_REQUIRES, NODE].concat(),
        Runner::Vitest => [VITEST_IMPORTS, EXPECT].concat(),
        _ => [JEST_GLOBALS, EXPECT].concat(),
    };
    let title = serde_json::to_string(&name).ok()?;
    let text = template.replace("TITLE", &title).replace("MARK", mark);
    let id = match runner {
        Runner::Node => name,
        _ if id.starts_with(&format!("{path}::")) => format!("{path}::{name}"),
        // jest says the full name twice.
        _ => format!("{name}::{name}"),
    };
    Some((path.clone(), text, id))
}

fn holds(text: &str, title: &str) -> bool {
    TITLE.captures_iter(text).any(|found| {
        let said = found.iter().skip(1).flatten().next();
        said.is_some_and(|said| title.ends_with(said.as_str()))
    })
}

fn is_module(path: &str, text: &str) -> bool {
    let is_import = |line: &str| line.starts_with("import ") || line.starts_with("export ");
    path.ends_with(".mjs") || path.ends_with(".mts") || text.lines().any(is_import)
}

fn class(id: &str) -> &str {
    id.split_once("::").map_or(id, |(class, _)| class)
}

fn identifier(own: &str, mark: &str) -> String {
    let own: String = own.chars().take(LONGEST_NAME).collect();
    format!("{own}_{mark}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "a1b2c3d4";

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn laid(test: &str, wanted: &[&str], files: &[(&str, &str)]) -> Option<(String, String)> {
        let paths: Paths = files.iter().map(|(p, _)| (*p).to_owned()).collect();
        let perches = perches(test, &set(wanted), &paths);
        let text = |p: &String| {
            files
                .iter()
                .find(|(f, _)| f == p)
                .map(|(_, t)| (*t).to_owned())
        };
        let files = perches.iter().filter_map(|p| Some((p.clone(), text(p)?)));
        let canary = lay(test, &set(wanted), &files.collect(), MARK)?;
        assert!(canary.content.contains(MARK), "{canary:?}");
        Some((canary.path, canary.id))
    }

    fn at(path: &str, id: &str) -> Option<(String, String)> {
        Some((path.to_owned(), id.to_owned()))
    }

    #[test]
    fn it_stands_in_the_last_file_of_python_that_holds_a_failing_test() {
        let wanted = [
            "tests.test_a::test_x",
            "tests.test_b.TestPay::test_adds[a b]",
        ];
        let files = [("tests/test_a.py", ""), ("tests/test_b.py", "")];
        assert_eq!(
            laid("python3 -m pytest -q", &wanted, &files),
            at("tests/test_b.py", "tests.test_b::test_adds_a1b2c3d4")
        );
    }

    #[test]
    fn it_stands_at_the_root_of_the_target_that_cargo_comes_to_last() {
        let files = [
            ("src/lib.rs", ""),
            ("tests/it-pays.rs", ""),
            ("tests/zoo/main.rs", ""),
        ];
        let cargo = |wanted: &[&str]| laid("cargo test", wanted, &files);
        assert_eq!(
            cargo(&["shop::cart::adds"]),
            at("src/lib.rs", "shop::adds_a1b2c3d4")
        );
        assert_eq!(
            cargo(&["shop::cart::adds", "it_pays::pays"]),
            at("tests/it-pays.rs", "it_pays::pays_a1b2c3d4")
        );
        assert_eq!(
            laid("cargo nextest run", &["shop::zoo::deep::a"], &files),
            at("tests/zoo/main.rs", "shop::zoo::a_a1b2c3d4")
        );
        assert_eq!(
            laid("cargo test", &["shop::bin/shop::a"], &[("src/main.rs", "")]),
            at("src/main.rs", "shop::bin/shop::a_a1b2c3d4")
        );
    }

    #[test]
    fn where_two_files_may_be_meant_none_takes_it() {
        let two = [("a/src/lib.rs", ""), ("b/src/lib.rs", "")];
        assert_eq!(laid("cargo test --workspace", &["a::x"], &two), None);
    }

    #[test]
    fn it_stands_beside_the_function_of_go() {
        let files = [
            ("shop_test.go", "func TestPay(t *testing.T) {}"),
            ("till/till_test.go", "func TestTill(t *testing.T) {}"),
        ];
        assert_eq!(
            laid(
                "go test -json ./...",
                &["example.com/shop/till::TestTill/deep"],
                &files
            ),
            at(
                "till/till_test.go",
                "example.com/shop/till::TestTill_a1b2c3d4"
            )
        );
    }

    #[test]
    fn it_stands_in_the_file_of_javascript_that_says_the_name() {
        let files = [
            ("test/a.test.js", "test('other', () => {})"),
            ("test/b.test.js", "it(\"pays less\", () => {})"),
        ];
        let name = "pays less a1b2c3d4";
        assert_eq!(
            laid("node --test", &["a discount::pays less"], &files),
            at("test/b.test.js", name)
        );
        assert_eq!(
            laid("jest", &["shop pays less::shop pays less"], &files),
            at(
                "test/b.test.js",
                &format!("shop pays less a1b2c3d4::shop {name}")
            )
        );
        assert_eq!(
            laid("vitest run", &["test/b.test.js::shop > pays less"], &files),
            at("test/b.test.js", &format!("test/b.test.js::shop > {name}"))
        );
    }

    #[test]
    fn a_mark_that_stands_there_already_is_not_used() {
        let files = [("tests/test_a.py", "# a1b2c3d4")];
        assert_eq!(laid("pytest", &["tests.test_a::test_x"], &files), None);
    }
}
