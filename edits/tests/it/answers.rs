//! Answers as models write them, tidy and otherwise.
//!
//! Touches: nothing.
//! Change here: when a model's answer was misread; add it as it came.

use changebus_edits::{Block, Kind, parse};

fn replace(path: &str, search: &str, replacement: &str) -> Block {
    Block {
        path: path.into(),
        kind: Kind::Replace {
            search: search.into(),
            replacement: replacement.into(),
        },
    }
}

const BLOCK: &str = "<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE\n";

#[test]
fn a_path_is_read_through_the_usual_decoration() {
    for line in [
        "src/a.py",
        "`src/a.py`",
        "### src/a.py",
        "**src/a.py**",
        "**`src/a.py`**:",
        "#### `src/a.py`",
        "File: src/a.py",
        "./src/a.py",
        "src/a.py:",
        "src/a.py\n```python",
        "src/a.py\n\n```",
        "```python src/a.py",
        "```src/a.py",
        "  src/a.py  ",
    ] {
        for end in ["\n", "\r\n"] {
            let answer = format!("The sum is off.\n\n{line}\n{BLOCK}```\n").replace('\n', end);
            let parsed = parse(&answer);
            assert_eq!(
                parsed.blocks,
                [replace("src/a.py", "old\n", "new\n")],
                "{answer}"
            );
            assert_eq!(parsed.problems, [] as [&str; 0], "{answer}");
            assert_eq!(parsed.prose, "The sum is off.", "{answer}");
        }
    }
}

#[test]
fn a_quoted_path_may_hold_spaces_and_a_bare_one_may_not() {
    let quoted = parse(&format!("`my notes/a b.txt`\n{BLOCK}"));
    assert_eq!(quoted.blocks[0].path, "my notes/a b.txt");
    let sentence = parse(&format!("Here is the fix for a.py\n{BLOCK}"));
    assert_eq!(sentence.blocks, []);
    assert!(
        sentence.problems[0].contains("path"),
        "{:?}",
        sentence.problems
    );
}

#[test]
fn blocks_right_after_one_another_share_the_path_and_others_do_not() {
    let parsed = parse(&format!("a.py\n```\n{BLOCK}\n{BLOCK}```\n"));
    assert_eq!(parsed.blocks.len(), 2);
    assert_eq!(parsed.blocks[1].path, "a.py");
    let parsed = parse(&format!(
        "a.py\n{BLOCK}And now the other one of these:\n{BLOCK}"
    ));
    assert_eq!(parsed.blocks.len(), 1);
    assert_eq!(parsed.problems.len(), 1);
}

#[test]
fn whole_files_deletions_and_new_files_are_read() {
    let parsed = parse(
        "a.py\n<<<<<<< FILE\nx = 1\n\ny = 2\n>>>>>>> FILE\nold.py\n<<<<<<< DELETE\n>>>>>>> DELETE\nolder.py\n<<<<<<< DELETE\n\nnew.py\n<<<<<<< SEARCH\n=======\nz\n>>>>>>> REPLACE\n",
    );
    assert_eq!(parsed.problems, [] as [&str; 0]);
    let kinds: Vec<_> = parsed
        .blocks
        .iter()
        .map(|b| (b.path.as_str(), &b.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            (
                "a.py",
                &Kind::Write {
                    content: "x = 1\n\ny = 2\n".into()
                }
            ),
            ("old.py", &Kind::Delete),
            ("older.py", &Kind::Delete),
            (
                "new.py",
                &Kind::Replace {
                    search: String::new(),
                    replacement: "z\n".into()
                }
            ),
        ]
    );
}

#[test]
fn a_reason_not_to_fix_is_an_answer() {
    for (answer, reason) in [
        (
            "NO_FIX: the test asserts the old name",
            "the test asserts the old name",
        ),
        (
            "I looked.\n\n**NO_FIX:** the test is wrong\nin its second line.\n\nBye",
            "the test is wrong in its second line.",
        ),
        ("`NO_FIX: flaky`", "flaky"),
        ("NO_FIX:\nno network here", "no network here"),
    ] {
        let parsed = parse(answer);
        assert_eq!(parsed.no_fix.as_deref(), Some(reason), "{answer}");
        assert_eq!(parsed.problems, [] as [&str; 0]);
    }
    let inside = parse("a.py\n<<<<<<< SEARCH\nNO_FIX: x\n=======\nNO_FIX: y\n>>>>>>> REPLACE\n");
    assert_eq!(inside.no_fix, None);
    assert_eq!(parse("I would say NO_FIX: no, wait.").no_fix, None);
    let both = parse(&format!("NO_FIX: well\n\na.py\n{BLOCK}"));
    assert_eq!(both.problems.len(), 1);
}

#[test]
fn code_fenced_inside_the_markers_is_freed_except_where_fences_are_content() {
    let fenced =
        "<<<<<<< SEARCH\n```python\nold\n```\n=======\n```python\nnew\n```\n>>>>>>> REPLACE\n";
    assert_eq!(
        parse(&format!("a.py\n{fenced}")).blocks,
        [replace("a.py", "old\n", "new\n")]
    );
    assert_eq!(
        parse(&format!("README.md\n{fenced}")).blocks,
        [replace(
            "README.md",
            "```python\nold\n```\n",
            "```python\nnew\n```\n"
        )]
    );
}

#[test]
fn a_line_of_equals_signs_in_the_text_is_told_from_the_divider_by_its_width_or_not_at_all() {
    let heading = "a.rst\n<<<<<<< SEARCH\nTitle\n=====\n=======\nName\n====\n>>>>>>> REPLACE\n";
    assert_eq!(
        parse(heading).blocks,
        [replace("a.rst", "Title\n=====\n", "Name\n====\n")]
    );
    let wide = "a.rst\n<<<<<<<<<< SEARCH\nTitle12\n=======\n==========\nName123\n=======\n>>>>>>>>>> REPLACE\n";
    assert_eq!(
        parse(wide).blocks,
        [replace("a.rst", "Title12\n=======\n", "Name123\n=======\n")]
    );
    let unclear = "a.rst\n<<<<<<< SEARCH\nTitle12\n=======\n=======\nName\n>>>>>>> REPLACE\n";
    let parsed = parse(unclear);
    assert_eq!(parsed.blocks, []);
    assert!(
        parsed.problems[0].contains("more than one"),
        "{:?}",
        parsed.problems
    );
}

#[test]
fn what_is_not_clear_is_a_problem_and_never_a_block() {
    for (answer, says) in [
        ("a.py\n<<<<<<< SEARCH\nold\n=======\nnew\n", "not closed"),
        (
            "a.py\n<<<<<<< SEARCH\nold\nnew\n>>>>>>> REPLACE\n",
            "no `=======`",
        ),
        (
            "<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE\n",
            "path",
        ),
        ("../a.py\n<<<<<<< DELETE\n", "not a path"),
        ("/etc/passwd\n<<<<<<< FILE\nx\n>>>>>>> FILE\n", "not a path"),
        ("a.py\n<<<<<<< FILE\nx\n", "not closed"),
    ] {
        let parsed = parse(answer);
        assert_eq!(parsed.blocks, [], "{answer}");
        assert!(
            parsed.problems[0].contains(says),
            "{answer}: {:?}",
            parsed.problems
        );
    }
}

#[test]
fn an_unclosed_block_does_not_swallow_the_next_one() {
    let parsed = parse(&format!(
        "a.py\n<<<<<<< SEARCH\nold\n=======\nnew\n\nb.py\n{BLOCK}"
    ));
    assert_eq!(parsed.problems.len(), 1);
    assert_eq!(parsed.blocks, [replace("b.py", "old\n", "new\n")]);
}

#[test]
fn an_answer_without_anything_is_empty_and_reading_never_panics() {
    let parsed = parse("I would change the sum.\n```python\nx = 1\n```\n");
    assert_eq!(
        (parsed.blocks.len(), parsed.no_fix, parsed.problems.len()),
        (0, None, 0)
    );
    let whole = format!("é `a.py`\n{BLOCK}\nNO_FIX: ü\n<<<<<<< FILE\n\u{feff}");
    for cut in (0..=whole.len()).filter(|&at| whole.is_char_boundary(at)) {
        parse(&whole[..cut]);
        parse(&whole[cut..]);
    }
}
