//! What people would want to know of a package that broke their tests.
//!
//! Touches: nothing.
//! Change here: when something else of a package is told.

use super::*;

fn texts(files: &[(&str, &str)]) -> Texts {
    let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    files.iter().map(owned).collect()
}

fn told(before: &[(&str, &str)], after: &[(&str, &str)], words: &[&str]) -> String {
    let step = Step {
        name: "labels".into(),
        from: "1.4.0".into(),
        to: "2.0.0".into(),
    };
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    brings(&step, &texts(before), &texts(after), &words)
}

/// The lines under a heading.
fn part<'t>(told: &'t str, heading: &str) -> Vec<&'t str> {
    let under = told.split_once(&format!("\n{heading}:\n"));
    let (_, lines) = under.unwrap_or_default();
    lines.lines().take_while(|line| !line.is_empty()).collect()
}

const GONE: &str = "Public names that are gone";

#[test]
fn a_name_that_is_gone_is_told_by_file_in_every_language() {
    let cases = [
        (
            "a.py",
            "def keep(): ...\ndef lost(): ...",
            "def keep(): ...",
            "a.py: lost",
        ),
        ("a.py", "async def lost():\n    x = 1", "", "a.py: lost"),
        (
            "a.py",
            "class Lost(Base):\n    def method(self): ...",
            "x = 1",
            "a.py: Lost",
        ),
        ("a.py", "LOST: int = 1\n_own = 2", "", "a.py: LOST"),
        (
            "a.py",
            "__all__ = [\n    'lost',\n    \"kept\",\n]",
            "__all__ = ['kept']",
            "a.py: lost",
        ),
        (
            "a.py",
            "try:\n    lost = 1\nexcept E:\n    lost = 2\n",
            "",
            "a.py: lost",
        ),
        (
            "p/__init__.py",
            "from ._own import (\n    kept,  # noqa\n    other as lost,\n)",
            "from ._own import kept",
            "p/__init__.py: lost",
        ),
        (
            "a.js",
            "exports.lost = 1;\nmodule.exports.kept = 2;",
            "exports.kept = 2;",
            "a.js: lost",
        ),
        (
            "a.js",
            "export function lost() {}\nexport default class Kept {}",
            "export class Kept {}",
            "a.js: lost",
        ),
        (
            "a.js",
            "export { kept, own as lost } from './b.js';",
            "export { kept };",
            "a.js: lost",
        ),
        (
            "a.js",
            "module.exports = {\n  lost,\n  kept: 1,\n};",
            "module.exports = { kept };",
            "a.js: lost",
        ),
        (
            "dist/a.js",
            "Object.defineProperty(exports, \"lost\", {});",
            "",
            "dist/a.js: lost",
        ),
        (
            "a.d.ts",
            "export declare const lost: string;",
            "",
            "a.d.ts: lost",
        ),
        (
            "a.rs",
            "pub fn lost() {}\npub(crate) fn own() {}",
            "",
            "a.rs: lost",
        ),
        (
            "a.rs",
            "impl A {\n    pub const unsafe fn lost(&self) {}\n}",
            "",
            "a.rs: lost",
        ),
        (
            "a.rs",
            "pub struct Lost;\npub enum Kept {}",
            "pub enum Kept {}",
            "a.rs: Lost",
        ),
        (
            "a.rs",
            "pub use crate::b::{Kept, Own as Lost};",
            "pub use crate::b::Kept;",
            "a.rs: Lost",
        ),
        (
            "a.rs",
            "#[macro_export]\nmacro_rules! lost { () => {} }",
            "",
            "a.rs: lost",
        ),
    ];
    for (path, before, after, expected) in cases {
        let told = told(&[(path, before)], &[(path, after)], &[]);
        assert_eq!(part(&told, GONE), [expected], "{before}");
    }
}

#[test]
fn a_name_that_can_still_be_had_is_not_gone() {
    let cases = [
        ("a.py", "def f(): ...", "from .b import f"),
        (
            "a.py",
            "def f(): ...",
            "try:\n    from b import f\nexcept E:\n    def f(): ...\n",
        ),
        ("a.py", "def f(): ...", "if new:\n    def f(): ..."),
        ("a.py", "import os\nx == 1\n", ""),
        ("a.py", "def f():\n    inner = 1\n", "def f(): ...\n"),
        ("a.js", "exports.f = 1;", "export const f = 1;"),
        ("a.rs", "pub fn f() {}", "pub use b::f;"),
        ("tests/test_a.py", "def test_f(): ...", ""),
        ("src/a.test.js", "exports.f = 1;", ""),
        ("a.txt", "def f(): ...", ""),
    ];
    for (path, before, after) in cases {
        let told = told(&[(path, before)], &[(path, after)], &[]);
        assert_eq!(part(&told, GONE), Vec::<&str>::new(), "{before} to {after}");
    }
}

#[test]
fn names_the_failure_tells_of_come_first_and_those_that_moved_last() {
    let before = [
        ("a.py", "def one(): ...\ndef two(): ..."),
        ("b.py", "def alpha(): ...\ndef soft(): ..."),
    ];
    let after = [("b.py", ""), ("c.py", "def two(): ...")];
    let told = told(&before, &after, &["soft"]);
    let expected = [
        "b.py: soft, alpha",
        "a.py, which is gone itself: one",
        "a.py: two: in c.py now",
    ];
    assert_eq!(part(&told, GONE), expected);
}

#[test]
fn a_file_that_others_could_import_is_told_as_gone_even_without_names() {
    let told = told(&[("v4.js", "module.exports = v4;")], &[], &[]);
    assert_eq!(part(&told, GONE), ["v4.js, which is gone itself"]);
}

#[test]
fn a_file_that_may_have_been_left_out_for_lack_of_room_is_not_taken_for_gone() {
    let before = texts(&[("z.py", "def f(): ...")]);
    let after: Texts = (0..PACKAGE_FILES)
        .map(|n| (format!("{n}.py"), String::new()))
        .collect();
    assert_eq!(
        names::gone(&before, &after, &BTreeSet::new()),
        Vec::<String>::new()
    );
}

#[test]
fn a_changelog_is_told_by_what_it_gained_wherever_it_stands() {
    let old = "Changes\n=======\n\nVersion 1.4.0\n-------------\n\n- Old news of the labels.\n";
    let new = "Changes\n=======\n\nVersion 2.0.0\n-------------\n\n- `soft` is removed.\n\nVersion 1.4.0\n-------------\n\n- Old news of the labels.\n";
    let description = format!("Name: labels\n\n# Labels\n\nGreat.\n\n{new}");
    let cases = [
        (vec![("CHANGES.rst", old)], ("CHANGES.rst", new)),
        (vec![("docs/History.md", old)], ("CHANGELOG.md", new)),
        (vec![], ("NEWS", new)),
        (
            vec![("l.dist-info/METADATA", "Name: labels\n\n# Labels\n")],
            ("l.dist-info/METADATA", &description),
        ),
    ];
    for (before, after) in cases {
        let told = told(&before, &[after], &[]);
        let gained = part(&told, "New in its changelog");
        assert!(gained.contains(&"- `soft` is removed."), "{told}");
        assert!(!told.contains("Old news"), "{told}");
    }
}

#[test]
fn of_a_history_that_was_written_anew_only_what_is_above_the_old_version_is_told() {
    let old = "## 1.4.0\n\n- Old news, by hand\n";
    let new = "## 2.0.0\n\n- It is new\n\n## 1.4.0\n\n- Old news, by [hand](of whom)\n";
    let told_of = |new: &str| told(&[("HISTORY.md", old)], &[("HISTORY.md", new)], &[]);
    let part_of = |told: &str| part(told, "New in its changelog").join("\n");
    assert_eq!(part_of(&told_of(new)), "## 2.0.0\n- It is new");
    let oldest_first = format!("{old}\n## 2.0.0\n\n- It is new\n");
    assert_eq!(part_of(&told_of(&oldest_first)), "## 2.0.0\n- It is new");
}

#[test]
fn of_a_long_changelog_what_breaks_and_what_the_failure_tells_of_is_told_under_its_heading() {
    let entries = |from: usize| -> String {
        (from..from + 200)
            .map(|n| format!("- Some small improvement of no concern, number {n}.\n"))
            .collect()
    };
    let new = format!(
        "## 2.0.0\n\n{}- The widget frobnicates\n  twice.\n{}\n## 1.9.0\n\n{}- Python 2 is dropped.\n",
        entries(0),
        entries(200),
        entries(400)
    );
    let told = told(
        &[("CHANGELOG.md", "")],
        &[("CHANGELOG.md", &new)],
        &["frobnicates"],
    );
    let gained = part(&told, "New in its changelog");
    let at = |line: &str| gained.iter().position(|one| *one == line);
    assert_eq!(
        at("[entries that tell less are left out]"),
        Some(0),
        "{told}"
    );
    assert_eq!(at("## 2.0.0"), Some(1), "{told}");
    let widget = at("- The widget frobnicates").unwrap();
    assert_eq!(gained[widget + 1], "  twice.");
    assert!(
        at("## 1.9.0") < at("- Python 2 is dropped.") && at("## 1.9.0") > Some(widget),
        "{told}"
    );
}

#[test]
fn what_a_manifest_says_otherwise_is_told_in_a_line_each() {
    let cases = [
        (
            "package.json",
            "{\"main\": \"a\"}",
            "{\"main\": \"a\", \"type\": \"module\"}",
            "package.json: \"type\": \"module\" (before: nothing)",
        ),
        (
            "package.json",
            "{\"engines\": {\"node\": \">=10\"}}",
            "{\"engines\": {\"node\": \">=18\"}}",
            "package.json: \"engines\": \"node\": \">=18\" (before: \">=10\")",
        ),
        (
            "package.json",
            "{\"exports\": {\"./b\": \"./b.js\"}}",
            "{\"exports\": {}}",
            "package.json: \"exports\": \"./b\": nothing (before: \"./b.js\")",
        ),
        (
            "Cargo.toml",
            "[package]\nname = \"x\"",
            "[package]\nname = \"x\"\nrust-version = \"1.85\"",
            "Cargo.toml: \"rust-version\": \"1.85\" (before: nothing)",
        ),
        (
            "Cargo.toml",
            "[features]\nold = []",
            "[features]\n",
            "Cargo.toml: \"features\": \"old\": nothing (before: [])",
        ),
        (
            "l.dist-info/METADATA",
            "Requires-Python: >=3.6\n\n",
            "Requires-Python: >=3.9\n\n",
            "METADATA: \"Requires-Python\": \">=3.9\" (before: \">=3.6\")",
        ),
        (
            "l.dist-info/METADATA",
            "Name: l\n\n",
            "Name: l\nRequires-Dist: six (>=1) ; extra == 'x'\n\n",
            "METADATA: \"Requires-Dist\": \"six\": \"(>=1); extra == 'x'\" (before: nothing)",
        ),
    ];
    for (path, before, after, expected) in cases {
        let told = told(&[(path, before)], &[(path, after)], &[]);
        assert_eq!(part(&told, "Changed in what it says of itself"), [expected]);
    }
    let broken = told(&[("package.json", "{")], &[("package.json", "[]")], &[]);
    assert_eq!(
        part(&broken, "Changed in what it says of itself"),
        Vec::<&str>::new()
    );
}

const CODE: &str = "Changed in its code";

#[test]
fn the_changes_that_the_failure_tells_of_come_first_in_the_diff() {
    let before = [
        ("a.py", "x = 1\n"),
        ("z.py", "def soft(s):\n    return s\n"),
    ];
    let after = [
        ("a.py", "x = 2\n"),
        ("z.py", "def soft(s, strict):\n    return s\n"),
    ];
    let told = told(&before, &after, &["soft", "return"]);
    let expected = [
        "--- a/z.py",
        "+++ b/z.py",
        "@@ -1,2 +1,2 @@",
        "-def soft(s):",
        "+def soft(s, strict):",
        "     return s",
        "--- a/a.py",
        "+++ b/a.py",
        "@@ -1,1 +1,1 @@",
        "-x = 1",
        "+x = 2",
    ];
    assert_eq!(part(&told, CODE), expected);
}

#[test]
fn a_file_that_comes_is_shown_after_those_that_changed() {
    let told = told(
        &[("z.rs", "a\n")],
        &[("b.rs", "new\n"), ("z.rs", "b\n")],
        &[],
    );
    let expected = [
        "--- a/z.rs",
        "+++ b/z.rs",
        "@@ -1,1 +1,1 @@",
        "-a",
        "+b",
        "--- /dev/null",
        "+++ b/b.rs",
        "@@ -0,0 +1,1 @@",
        "+new",
    ];
    assert_eq!(part(&told, CODE), expected);
}

#[test]
fn tests_documents_and_what_machines_wrote_are_left_out_of_the_diff() {
    let paths = [
        "tests/a.py",
        "test/a.js",
        "pkg/test_a.py",
        "a.min.js",
        "a.js.map",
        "dist/a.js",
        "docs/a.rst",
        "README.md",
        "data.json",
    ];
    for path in paths {
        let told = told(&[(path, "x = 1\n")], &[(path, "x = 2\n")], &[]);
        assert_eq!(part(&told, CODE), Vec::<&str>::new(), "{path}");
    }
    let shortened = "x=1;".repeat(1000);
    let told_of_it = told(&[("a.js", "x = 1\n")], &[("a.js", &shortened)], &[]);
    assert_eq!(part(&told_of_it, CODE), Vec::<&str>::new());
    let declared = told(&[("dist/a.d.ts", "a\n")], &[("dist/a.d.ts", "b\n")], &[]);
    assert_eq!(part(&declared, CODE).len(), 5);
}

#[test]
fn however_much_changed_it_is_told_in_sixteen_kibibytes_and_every_time_alike() {
    let file = |word: &str| -> String {
        (0..4000)
            .map(|n| format!("def {word}_{n}(ü): ...\n"))
            .collect()
    };
    let old = [
        ("CHANGES.md", file("old")),
        ("a.py", file("a")),
        ("b.py", file("b")),
    ];
    let new = [
        ("CHANGES.md", file("new")),
        ("a.py", file("c")),
        ("b.py", file("d")),
    ];
    let of = |files: &[(&'static str, String); 3]| -> Texts {
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.clone()))
            .collect()
    };
    let step = Step {
        name: "labels".into(),
        from: "1".into(),
        to: "2".into(),
    };
    let told = brings(&step, &of(&old), &of(&new), &[]);
    assert!(told.len() <= MOST, "{}", told.len());
    assert_eq!(told, brings(&step, &of(&old), &of(&new), &[]));
    assert!(
        !part(&told, GONE).is_empty() && !part(&told, CODE).is_empty(),
        "{told}"
    );
}

#[test]
fn of_a_package_that_did_not_change_only_the_step_is_told() {
    assert_eq!(
        told(&[("a.py", "x = 1\n")], &[("a.py", "x = 1\n")], &[]),
        "labels from 1.4.0 to 2.0.0\n"
    );
}
