//! Finds the complaint, the file and the line in what a failed test printed.
//!
//! Touches: nothing.
//! Change here: when a language tells the place of a failure in a way not known here.

use std::sync::LazyLock;

use regex::Regex;

use super::fixed;

/// `thread 'a::b' (123) panicked at src/lib.rs:10:5:`; the number is new in every run.
static PANIC: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"thread '[^\n]*' (?:\(\d+\) )?panicked at ([^\s:]+):(\d+)"));
/// `tests/test_x.py:12: AssertionError`, the innermost frame last.
static PYTEST: LazyLock<Regex> = LazyLock::new(|| fixed(r"(?m)^([^\s:]+\.py):(\d+): "));
/// `at t/x.t line 12.`, the only frame.
static PERL: LazyLock<Regex> = LazyLock::new(|| fixed(r"\bat ([^\s:]+) line (\d+)\."));
/// `at fn (lib/x.js:3:45)`, `x_test.go:12:`, `X.java:7)`, the innermost frame first.
static ANY: LazyLock<Regex> = LazyLock::new(|| fixed(r"([\w@./+-]+\.[A-Za-z]{1,4}):(\d+)"));
static THREAD_ID: LazyLock<Regex> = LazyLock::new(|| fixed(r"(thread '[^\n]*') \(\d+\) panicked"));
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| fixed(r" at 0x[0-9a-fA-F]{4,}"));

/// The place in the project's own files where it failed: file, and line from 1.
pub fn place(detail: &str) -> Option<(String, u32)> {
    let of = |c: regex::Captures<'_>| Some((c[1].to_owned(), c[2].parse().ok()?));
    PANIC
        .captures(detail)
        .or_else(|| {
            PYTEST
                .captures_iter(detail)
                .filter(|c| is_own(&c[1]))
                .last()
        })
        .or_else(|| PERL.captures_iter(detail).find(|c| is_own(&c[1])))
        .or_else(|| ANY.captures_iter(detail).find(|c| is_own(&c[1])))
        .and_then(of)
}

/// Relative (the workspace's root was taken off before), and not a dependency's.
fn is_own(path: &str) -> bool {
    let foreign = ["node_modules/", "site-packages/", "internal/", "node:"];
    !path.starts_with('/') && !foreign.iter().any(|part| path.contains(part))
}

/// What a Rust panic complained about: the lines between the place and the backtrace.
pub fn panic_message(detail: &str) -> Option<String> {
    let start = PANIC.find(detail)?.end();
    let lines = detail[start..].lines().skip(1);
    let complaint: Vec<&str> = lines
        .take_while(|l| !l.is_empty() && !is_backtrace(l))
        .collect();
    (!complaint.is_empty()).then(|| complaint.join(" "))
}

fn is_backtrace(line: &str) -> bool {
    line.starts_with("note: ") || line.starts_with("stack backtrace:")
}

/// Takes out the numbers of threads and the addresses of objects: they differ from run to run.
pub fn steady(text: &str) -> String {
    let text = THREAD_ID.replace_all(text, "$1 panicked");
    ADDRESS.replace_all(&text, " at 0x…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_found_in_every_language_we_know() {
        let cases = [
            (
                "\nthread 'tests::bad' (2956) panicked at src/lib.rs:5:79:\nassertion failed",
                ("src/lib.rs", 5),
            ),
            (
                "a.py:3: in f\n    g()\nlib/b.py:9: ValueError",
                ("lib/b.py", 9),
            ),
            (
                "  at Context.<anonymous> (test/a.test.js:3:45)\n  at run (node:internal/x.js:1:1)",
                ("test/a.test.js", 3),
            ),
            ("#   at t/sum.t line 4.\n", ("t/sum.t", 4)),
            ("    sum_test.go:12: got 2, want 3", ("sum_test.go", 12)),
            (
                "\tat com.shop.CartTest.adds(CartTest.java:17)",
                ("CartTest.java", 17),
            ),
            (
                "/usr/lib/python3/unittest.py:1: x\ntests/t.py:4: E",
                ("tests/t.py", 4),
            ),
        ];
        for (detail, (file, line)) in cases {
            assert_eq!(place(detail), Some((file.to_owned(), line)), "{detail}");
        }
        assert_eq!(place("nothing to see"), None);
    }

    #[test]
    fn a_panic_message_ends_where_the_backtrace_begins() {
        let detail = "thread 'a' panicked at x.rs:1:1:\nassertion `left == right` failed: sum\n  left: 2\n right: 3\nnote: run with";
        assert_eq!(
            panic_message(detail).as_deref(),
            Some("assertion `left == right` failed: sum   left: 2  right: 3")
        );
        assert_eq!(panic_message("Error: \"why\""), None);
    }

    #[test]
    fn numbers_that_change_with_every_run_are_taken_out() {
        assert_eq!(
            steady("thread 'a' (77) panicked at <X object at 0x7f00aa>"),
            "thread 'a' panicked at <X object at 0x…>"
        );
        assert_eq!(steady("test[0xdeadbeef]"), "test[0xdeadbeef]");
    }
}
