//! Several blocks over several files.
//!
//! Touches: nothing.
//! Change here: with `apply.rs`.

use std::collections::BTreeMap;

use changebus_edits::{Block, Kind, Match, Miss, apply};

fn block(path: &str, kind: Kind) -> Block {
    Block {
        path: path.into(),
        kind,
    }
}

fn replace(path: &str, search: &str, replacement: &str) -> Block {
    let kind = Kind::Replace {
        search: search.into(),
        replacement: replacement.into(),
    };
    block(path, kind)
}

fn tree(files: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    let files: BTreeMap<String, String> = files
        .iter()
        .map(|(p, c)| (p.to_string(), c.to_string()))
        .collect();
    move |path| files.get(path).cloned()
}

#[test]
fn blocks_apply_in_order_and_the_least_exact_counts() {
    let read = tree(&[
        ("a.py", "one\ntwo\n"),
        ("b.py", "    x\n"),
        ("gone.py", "old\n"),
    ]);
    let applied = apply(
        read,
        &[
            replace("a.py", "one\n", "three\n"),
            replace("a.py", "three\ntwo\n", "four\n"),
            replace("b.py", "x\ny", "z"),
            block("gone.py", Kind::Delete),
            block(
                "new.py",
                Kind::Write {
                    content: "n\n".into(),
                },
            ),
        ],
    );
    let misses = applied.expect_err("b.py has no y");
    assert_eq!(
        (misses.len(), misses[0].block, misses[0].path.as_str()),
        (1, 2, "b.py")
    );

    let read = tree(&[
        ("a.py", "one\ntwo\n"),
        ("b.py", "    x\n"),
        ("gone.py", "old\n"),
    ]);
    let applied = apply(
        read,
        &[
            replace("a.py", "one\n", "three\n"),
            replace("a.py", "three\ntwo\n", "four\n"),
            replace("b.py", "x\n", "y\n"),
            block("gone.py", Kind::Delete),
            block(
                "new.py",
                Kind::Write {
                    content: "n\n".into(),
                },
            ),
        ],
    )
    .expect("all apply");
    let file = |path: &str| applied.files[path].as_deref();
    assert_eq!(file("a.py"), Some("four\n"));
    assert_eq!(file("b.py"), Some("    y\n"));
    assert_eq!(file("gone.py"), None);
    assert_eq!(file("new.py"), Some("n\n"));
    assert_eq!(applied.quality, Match::Indent);
}

#[test]
fn replacing_nothing_makes_a_file_and_never_touches_one_that_has_text() {
    let made = apply(
        tree(&[("empty.py", "\n")]),
        &[
            replace("new.py", "", "a\n"),
            replace("empty.py", "\n", "b\n"),
        ],
    )
    .expect("both are made");
    assert_eq!(made.files["new.py"].as_deref(), Some("a\n"));
    assert_eq!(made.files["empty.py"].as_deref(), Some("b\n"));
    let misses =
        apply(tree(&[("a.py", "text\n")]), &[replace("a.py", "", "b\n")]).expect_err("it has text");
    assert_eq!(misses[0].miss, Miss::NotFound { nearest: vec![] });
}

#[test]
fn every_miss_is_told_at_once() {
    let misses = apply(
        tree(&[("a.py", "x\nx\n")]),
        &[
            replace("a.py", "x\n", "y\n"),
            replace("none.py", "x\n", "y\n"),
            block("none.py", Kind::Delete),
        ],
    )
    .expect_err("nothing applies");
    let told: Vec<_> = misses.into_iter().map(|m| m.miss).collect();
    assert_eq!(
        told,
        [
            Miss::Ambiguous { lines: vec![1, 2] },
            Miss::NoFile,
            Miss::NoFile
        ]
    );
}
