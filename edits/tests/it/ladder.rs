//! Every step of the ladder, and what is refused on each.
//!
//! Touches: nothing.
//! Change here: with `ladder.rs`; a new step brings its row and its refusal.

use changebus_edits::{Match, Miss, apply_one};

fn applied(content: &str, search: &str, replacement: &str) -> (String, Match) {
    apply_one(content, search, replacement)
        .unwrap_or_else(|miss| panic!("{miss}\n{content}\n--- searched for\n{search}"))
}

#[test]
fn each_step_of_the_ladder_does_what_it_says() {
    let class = "class A:\n    def f(self):\n        a = 1\n        return a\n\n    def g(self):\n        return 2\n";
    let table = [
        (
            "whole lines",
            class,
            "        a = 1\n        return a\n",
            "        return 1\n",
            class.replace("        a = 1\n        return a\n", "        return 1\n"),
            Match::Exact,
        ),
        (
            "the last newline is nobody's business",
            class,
            "        return 2",
            "        return 3",
            class.replace("2", "3"),
            Match::Exact,
        ),
        (
            "trailing blanks differ",
            "if a:  \n    b\n",
            "if a:\n    b\n",
            "if a:\n    c\n",
            "if a:  \n    c\n".into(),
            Match::Whitespace,
        ),
        (
            "a blank line too many around the block",
            "a\nb\nc\n",
            "\nb\n\n",
            "\nB\n\n",
            "a\nB\nc\n".into(),
            Match::Whitespace,
        ),
        (
            "too shallow: search and replacement move right",
            class,
            "def f(self):\n    a = 1\n",
            "def f(self):\n    if self:\n        a = 2\n\n",
            class.replace("        a = 1\n", "        if self:\n            a = 2\n"),
            Match::Indent,
        ),
        (
            "too deep: search and replacement move left",
            "x = 1\ny = 2\n",
            "        x = 1\n        y = 2\n",
            "        x = 1\n        if x:\n            y = 3\n",
            "x = 1\nif x:\n    y = 3\n".into(),
            Match::Indent,
        ),
        (
            "lines left out stay",
            class,
            "    def f(self):\n...\n        return a\n",
            "    def f(self, b):\n...\n        return a + b\n",
            class
                .replace("f(self)", "f(self, b)")
                .replace("return a\n", "return a + b\n"),
            Match::Elided,
        ),
        (
            "a part of a line, where no whole line matches",
            class,
            "return a",
            "return a + 1",
            class.replace("return a\n", "return a + 1\n"),
            Match::Indent,
        ),
        (
            "a part in the middle of a line",
            "total = add(a, b) - 1\n",
            "add(a, b)",
            "add(b, a)",
            "total = add(b, a) - 1\n".into(),
            Match::Exact,
        ),
    ];
    for (story, content, search, replacement, result, how) in table {
        assert_eq!(
            applied(content, search, replacement),
            (result, how),
            "{story}"
        );
    }
}

#[test]
fn line_ends_byte_order_mark_and_a_missing_newline_survive() {
    let table = [
        (
            "a\r\nb\r\nc\r\n",
            "b\n",
            "B\nBB\n",
            "a\r\nB\r\nBB\r\nc\r\n",
            Match::Exact,
        ),
        (
            "a\r\nb\r\nc\r\n",
            "a\nb\n",
            "a\nB\n",
            "a\r\nB\r\nc\r\n",
            Match::Whitespace,
        ),
        (
            "a\r\nb\r\nc\r\n",
            "a\r\nb\r\n",
            "B\r\n",
            "B\r\nc\r\n",
            Match::Exact,
        ),
        (
            "a\nb\n",
            "a\r\nb\r\n",
            "a\r\nB\r\n",
            "a\nB\n",
            Match::Whitespace,
        ),
        (
            "\u{feff}a\nb\n",
            "a\n",
            "A\n",
            "\u{feff}A\nb\n",
            Match::Exact,
        ),
        ("a\nb", "b\n", "c\n", "a\nc", Match::Exact),
        ("a\nb", "b\n", "b\nc\n", "a\nb\nc", Match::Exact),
        ("a\r\nb", "b\n", "b\nc\n", "a\r\nb\r\nc", Match::Exact),
        ("a\nb\n", "b\n", "", "a\n", Match::Exact),
        ("a\n", "a\n", "", "", Match::Exact),
        ("a\r\nb\nc\n", "b\n", "x\n", "a\r\nx\nc\n", Match::Exact),
    ];
    for (content, search, replacement, result, how) in table {
        assert_eq!(
            applied(content, search, replacement),
            (result.to_owned(), how),
            "{content:?} {search:?}"
        );
    }
}

#[test]
fn lines_that_search_and_replacement_share_are_not_touched() {
    let (text, how) = applied(
        "def f():  \n\ta = 1 \n\treturn a\t\n",
        "def f():\n\ta = 1\n\treturn a\n",
        "def f():\n\ta = 2\n\treturn a\n",
    );
    assert_eq!(text, "def f():  \n\ta = 2\n\treturn a\t\n");
    assert_eq!(how, Match::Whitespace);
}

#[test]
fn what_stands_more_than_once_is_never_applied() {
    let table = [
        ("a\nb\na\n", "a\n", vec![1, 3]),
        ("a\na\na\n", "a\na\n", vec![1, 2]),
        ("a \nb\na  \n", "a\n", vec![1, 3]),
        ("  x = 1\n    x = 1\n", "x = 1\n", vec![1, 2]),
        ("f(a)\ng(a)\n", "(a)", vec![1, 2]),
        ("a\nx\nb\na\nb\n", "a\n...\nb\n", vec![1, 4]),
    ];
    for (content, search, lines) in table {
        assert_eq!(
            apply_one(content, search, "z\n...\nz\n"),
            Err(Miss::Ambiguous { lines }),
            "{content:?} {search:?}"
        );
    }
}

#[test]
fn what_is_only_alike_is_never_applied() {
    let content = "def add(a, b):\n    return a - b\n\ndef sub(a, b):\n    return a - b - 0\n";
    let table = [
        ("a word cut in two", "counter = 1\n", "count", "total"),
        (
            "a changed name",
            content,
            "def add(x, b):\n    return x - b\n",
            "pass\n",
        ),
        (
            "an indent that is not the same for all lines",
            "    a\n        b\n",
            "a\nb\n",
            "c\n",
        ),
        (
            "a replacement that cannot move left as far",
            "a\nb\n",
            "    a\n    b\n",
            "  c\n",
        ),
        (
            "pieces in the wrong order",
            "one\nx\ntwo\n",
            "two\n...\none\n",
            "2\n...\n1\n",
        ),
        (
            "left out on one side only",
            "one\nx\ntwo\n",
            "one\n...\ntwo\n",
            "1\n2\n",
        ),
        (
            "words instead of left-out lines",
            "one\nx\ntwo\n",
            "one\n...\n",
            "1\n...\n3\n",
        ),
        ("nothing to search for", "a\n", "\n\n", "b\n"),
        ("more lines than the file has", "a\n", "a\nb\nc\n", "d\n"),
    ];
    for (story, content, search, replacement) in table {
        assert!(
            matches!(
                apply_one(content, search, replacement),
                Err(Miss::NotFound { .. })
            ),
            "{story}: {:?}",
            apply_one(content, search, replacement)
        );
    }
}

#[test]
fn a_miss_names_the_lines_that_look_most_like_it() {
    let content = "import os\n\ndef add(first, second):\n    total = first - second\n    return total\n\nx = 1\n";
    let miss = apply_one(
        content,
        "def add(first, second):\n    total = first * second\n    return total\n",
        "",
    );
    let Err(Miss::NotFound { nearest }) = miss else {
        panic!("{miss:?}");
    };
    assert!(
        nearest.contains(&(4, "    total = first - second".to_owned())),
        "{nearest:?}"
    );
    assert_eq!(
        apply_one(content, "nothing of the kind, anywhere\n", ""),
        Err(Miss::NotFound { nearest: vec![] })
    );
}
