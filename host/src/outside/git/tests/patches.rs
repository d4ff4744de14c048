//! Patches that fit, patches that do not, and patches that try to get out.
//!
//! Touches: git, files, processes.
//! Change here: when a trick against `../apply.rs` becomes known.

use super::super::testing::*;
use super::super::*;
use crate::event::{Applied, Edit, Patch};

fn replace(path: &str, search: &str, replacement: &str) -> Edit {
    Edit::Replace {
        path: path.into(),
        search: search.into(),
        replacement: replacement.into(),
    }
}

fn delete(path: &str) -> Edit {
    Edit::Delete { path: path.into() }
}

/// A repository with one of everything a patch could abuse.
fn hostile() -> Origin {
    let origin = Origin::with(&[
        ("src/a.py", "one\ntwo\nthree\n"),
        ("only/child", "x\n"),
        ("run.sh", "#!/bin/sh\n"),
        ("crlf", "a\r\nb\r\n"),
    ]);
    std::os::unix::fs::symlink("/tmp", origin.path().join("link")).unwrap();
    std::os::unix::fs::symlink("src", origin.path().join("inner-link")).unwrap();
    std::fs::set_permissions(
        origin.path().join("run.sh"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    std::fs::write(origin.path().join("latin"), b"caf\xe9\n").unwrap();
    origin.commit(&[]);
    origin.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        "160000,0123456789012345678901234567890123456789,sub",
    ]);
    origin.git(&["commit", "--quiet", "--message", "a submodule"]);
    origin
}

async fn error(origin: &Origin, patch: Patch) -> PatchError {
    let (mirror, tree) = origin.fetched().await;
    mirror
        .apply(&tree, &patch)
        .await
        .expect_err("the patch must be refused")
}

#[tokio::test]
async fn edits_build_on_one_another() {
    let origin = hostile();
    let (mirror, tree) = origin.fetched().await;
    let edits = [
        replace("src/a.py", "two", "2"),
        write("new/deep/file", "n\n"),
        replace("new/deep/file", "n", "m"),
        delete("only/child"),
        Edit::UnifiedDiff { text: "--- a/src/a.py\n+++ b/src/a.py\n@@ -1,9 +1,9 @@\n one\n-2\n+zwei\n three\n--- a/new/deep/file\n+++ b/new/deep/file\n@@ -1 +1 @@\n-m\n+o\n".into() },
        replace("src/a.py", "zwei", "deux"),
    ];
    let done = mirror.apply(&tree, &patch(edits)).await.unwrap();
    assert_eq!(done.applied, Applied::Exact);
    assert_eq!(text(&mirror, &done.tree, "src/a.py"), "one\ndeux\nthree\n");
    assert_eq!(text(&mirror, &done.tree, "new/deep/file"), "o\n");
    assert!(
        !listing(&mirror, &done.tree)
            .iter()
            .any(|l| l.contains("only")),
        "the empty directory went too"
    );
    assert_eq!(
        mirror.changed_paths(&tree, &done.tree).unwrap(),
        ["new/deep/file", "only/child", "src/a.py"]
    );
}

#[tokio::test]
async fn a_file_keeps_its_mode_and_a_new_one_is_not_executable() {
    let origin = hostile();
    let (mirror, tree) = origin.fetched().await;
    let edits = [
        write("run.sh", "#!/bin/sh\nexit\n"),
        write("new.sh", "#!/bin/sh\n"),
    ];
    let done = mirror.apply(&tree, &patch(edits)).await.unwrap();
    let listed = listing(&mirror, &done.tree);
    assert!(
        listed.contains(&"100755 run.sh".into()) && listed.contains(&"100644 new.sh".into()),
        "{listed:?}"
    );
    let change = "diff --git a/run.sh b/run.sh\nold mode 100755\nnew mode 100644\n";
    let done = mirror.apply(&tree, &diff(change)).await.unwrap();
    assert!(
        listing(&mirror, &done.tree).contains(&"100644 run.sh".into()),
        "a diff may say a mode"
    );
}

#[tokio::test]
async fn line_ends_and_bytes_of_the_rest_stay_as_they_are() {
    let origin = hostile();
    let (mirror, tree) = origin.fetched().await;
    let done = mirror
        .apply(&tree, &patch([replace("crlf", "a\r\n", "c\r\n")]))
        .await
        .unwrap();
    assert_eq!(text(&mirror, &done.tree, "crlf"), "c\r\nb\r\n");
    let why = error(&origin, patch([replace("latin", "caf", "x")]))
        .await
        .to_string();
    assert_eq!(why, "latin: the file is not UTF-8 text");
}

#[tokio::test]
async fn how_closely_the_least_exact_edit_matched_is_told() {
    let origin = Origin::with(&[
        ("a", "def f():\n    if x:  \n        return 1\n"),
        ("b", "one\n"),
    ]);
    let (mirror, tree) = origin.fetched().await;
    let exact = replace("b", "one", "1");
    let cases = [
        (
            replace("a", "    if x:\n", "    if y:\n"),
            Applied::Whitespace,
        ),
        (replace("a", "return 1\n", "return 2\n"), Applied::Indent),
        (
            replace(
                "a",
                "def f():\n...\n        return 1\n",
                "def f():\n...\n        return 2\n",
            ),
            Applied::Elided,
        ),
    ];
    for (edit, applied) in cases {
        let done = mirror
            .apply(&tree, &patch([edit, exact.clone()]))
            .await
            .unwrap();
        assert_eq!(done.applied, applied);
    }
}

#[tokio::test]
async fn a_diff_that_differs_in_blanks_only_is_told_apart() {
    let origin = Origin::with(&[("a", "if x:\n\treturn  1\nend\n")]);
    let (mirror, tree) = origin.fetched().await;
    let done = mirror
        .apply(
            &tree,
            &diff("--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n if x:\n \treturn 1\n-end\n+END\n"),
        )
        .await
        .unwrap();
    assert_eq!(done.applied, Applied::Whitespace);
    assert!(text(&mirror, &done.tree, "a").ends_with("END\n"));
}

#[tokio::test]
async fn a_diff_may_be_sloppy_about_all_but_the_lines() {
    let origin = hostile();
    let (mirror, tree) = origin.fetched().await;
    let sloppy = [
        // Prose around it, no prefixes, wrong counts, no end of line, blank lines at the end.
        "Sure:\n```diff\n--- src/a.py\n+++ src/a.py\n@@ -7,99 +8,1 @@ def f\n one\n-two\n+2\n three\n\n\n```",
        "--- a/src/a.py\n+++ b/src/a.py\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three",
        "diff --git a/src/a.py b/src/a.py\nindex 0000000..1111111 100644\n--- a/src/a.py\n+++ b/src/a.py\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n",
    ];
    for text_of_diff in sloppy {
        let done = mirror
            .apply(&tree, &diff(text_of_diff))
            .await
            .unwrap_or_else(|e| panic!("{e}: {text_of_diff}"));
        assert_eq!(
            text(&mirror, &done.tree, "src/a.py"),
            "one\n2\nthree\n",
            "{text_of_diff}"
        );
    }
}

#[tokio::test]
async fn a_hunk_without_lines_after_it_goes_where_its_lines_stand_if_that_is_one_place() {
    let origin = Origin::with(&[(
        "a",
        "def f():\n    return 1\n\ndef g():\n    return 1\n\nend\n",
    )]);
    let (mirror, tree) = origin.fetched().await;
    let hunk = |before: &str| {
        diff(&format!(
            "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n{before}-    return 1\n+    return 2\n"
        ))
    };
    let done = mirror.apply(&tree, &hunk(" def g():\n")).await.unwrap();
    assert_eq!(
        text(&mirror, &done.tree, "a"),
        "def f():\n    return 1\n\ndef g():\n    return 2\n\nend\n"
    );
    assert_eq!(done.applied, Applied::Exact);
    let error = mirror.apply(&tree, &hunk("")).await.unwrap_err();
    assert!(
        matches!(error, PatchError::NoMatch { .. }),
        "two places are one too many: {error}"
    );
    let nowhere = diff("--- a/a\n+++ b/a\n@@ -3,0 +4 @@\n+x\n");
    assert!(matches!(
        mirror.apply(&tree, &nowhere).await,
        Err(PatchError::NoMatch { .. })
    ));
}

#[tokio::test]
async fn a_diff_creates_deletes_and_moves() {
    let origin = hostile();
    let (mirror, tree) = origin.fetched().await;
    let text_of_diff = "--- /dev/null\n+++ b/with space\n@@ -0,0 +1 @@\n+new\n--- a/only/child\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
        diff --git a/src/a.py b/src/b.py\nsimilarity index 100%\nrename from src/a.py\nrename to src/b.py\n";
    let done = mirror.apply(&tree, &diff(text_of_diff)).await.unwrap();
    assert_eq!(
        mirror.changed_paths(&tree, &done.tree).unwrap(),
        ["only/child", "src/a.py", "src/b.py", "with space"]
    );
}

#[tokio::test]
async fn what_does_not_fit_says_where() {
    let origin = hostile();
    let cases = [
        (
            patch([replace("src/a.py", "four", "4")]),
            "src/a.py: the search text stands nowhere, nor anything like it",
        ),
        (
            patch([write("d", "x\nx\n"), replace("d", "x", "y")]),
            "d: the search text stands 2 times, at lines 1, 2; add lines to make it unique",
        ),
        (
            patch([replace("none", "a", "b")]),
            "none: there is no such file",
        ),
        (patch([delete("none")]), "none: there is no such file"),
        (
            patch([write("src", "x")]),
            "src is a directory; only regular files can be changed",
        ),
        (
            patch([write("src/a.py/x", "x")]),
            "src/a.py is a file, not a directory; only regular files can be changed",
        ),
        (
            patch([delete("src/a.py"), delete("src/a.py")]),
            "src/a.py: there is no such file",
        ),
        (
            patch([write("d/x", "x"), write("d", "x")]),
            "d is a directory; only regular files can be changed",
        ),
        (patch([]), "the patch changes nothing"),
        (
            patch([write("src/a.py", "one\ntwo\nthree\n")]),
            "the patch changes nothing",
        ),
    ];
    for (patch, sentence) in cases {
        assert_eq!(error(&origin, patch).await.to_string(), sentence);
    }
    let misfit = error(
        &origin,
        diff("--- a/src/a.py\n+++ b/src/a.py\n@@ -1 +1 @@\n-four\n+4\n"),
    )
    .await;
    assert!(
        matches!(&misfit, PatchError::NoMatch { path, why } if path == "src/a.py" && why.contains("src/a.py:1")),
        "{misfit}"
    );
    let exists = error(
        &origin,
        diff("--- /dev/null\n+++ b/src/a.py\n@@ -0,0 +1 @@\n+x\n"),
    )
    .await;
    assert!(
        matches!(&exists, PatchError::NoMatch { path, why } if path == "src/a.py" && why.contains("already exists")),
        "{exists}"
    );
    for broken in [
        "no diff at all",
        "--- a/x\n+++ b/x\n@@ ... @@\n-a\n+b\n",
        "diff --git a/x b/x\nGIT binary patch\nliteral 9\nzzz\n",
    ] {
        let error = error(&origin, diff(broken)).await;
        assert!(
            matches!(error, PatchError::Malformed { .. }),
            "{broken}: {error}"
        );
    }
}

#[tokio::test]
async fn no_path_leads_out_of_the_tree_however_it_is_written() {
    let origin = hostile();
    let paths = [
        "../x",
        "/tmp/x",
        "src/../../x",
        ".git/config",
        ".GIT/hooks/post-checkout",
        "src/.Git/config",
        "git~1/config",
        ".git /config",
        "src\\..\\..\\x",
        "a//b",
        "./a",
        "link/x",
        "inner-link/a.py",
        "sub/x",
        "",
    ];
    for path in paths {
        let attempts = [
            patch([write(path, "x\n")]),
            patch([replace(path, "one", "1")]),
            patch([delete(path)]),
            diff(&format!(
                "--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-one\n+1\n"
            )),
            diff(&format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n")),
            diff(&format!(
                "diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n"
            )),
            diff(&format!(
                "diff --git a/src/a.py b/{path}\nsimilarity index 100%\nrename from src/a.py\nrename to {path}\n"
            )),
            diff(&format!(
                "diff --git a/src/a.py b/{path}\nsimilarity index 100%\ncopy from src/a.py\ncopy to {path}\n"
            )),
        ];
        for (attempt, patch) in attempts.into_iter().enumerate() {
            let error = error(&origin, patch).await;
            assert!(
                matches!(error, PatchError::OutsideTree { .. }),
                "{path:?}, attempt {attempt}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn links_submodules_and_odd_modes_are_neither_made_nor_touched() {
    let origin = hostile();
    let link = "diff --git a/evil b/evil\nnew file mode 120000\n--- /dev/null\n+++ b/evil\n@@ -0,0 +1 @@\n+/etc/passwd\n\\ No newline at end of file\n";
    let submodule = "diff --git a/evil b/evil\nnew file mode 160000\n--- /dev/null\n+++ b/evil\n@@ -0,0 +1 @@\n+Subproject commit 0123456789012345678901234567890123456789\n";
    let become_link = "diff --git a/src/a.py b/src/a.py\nold mode 100644\nnew mode 120000\n";
    let attempts = [
        diff(link),
        diff(submodule),
        diff(become_link),
        diff(&link.replace("120000", "104755")),
        diff(&link.replace("120000", "100777")),
        diff(&link.replace("new file mode 120000", "new file mode 120000 ")),
        patch([write("link", "x")]),
        patch([write("sub", "x")]),
        patch([delete("link")]),
        patch([delete("sub")]),
        patch([replace("inner-link", "src", "/etc")]),
        diff(
            "--- a/inner-link\n+++ b/inner-link\n@@ -1 +1 @@\n-src\n\\ No newline at end of file\n+/etc\n\\ No newline at end of file\n",
        ),
        diff(
            "diff --git a/link b/link2\nsimilarity index 100%\nrename from link\nrename to link2\n",
        ),
    ];
    for (attempt, patch) in attempts.into_iter().enumerate() {
        let error = error(&origin, patch).await;
        assert!(
            matches!(error, PatchError::NotAFile { .. }),
            "attempt {attempt}: {error:?}"
        );
    }
}

#[tokio::test]
async fn headers_that_name_two_different_files_do_not_smuggle_one_in() {
    let origin = hostile();
    let (mirror, tree) = origin.fetched().await;
    let smuggled = [
        "diff --git a/src/a.py b/src/a.py\n--- a/src/a.py\n+++ b/.git/hooks/x\n@@ -1,3 +1,3 @@\n-one\n+1\n two\n three\n",
        "diff --git a/.git/config b/.git/config\nnew file mode 100644\n--- a/src/a.py\n+++ b/src/a.py\n@@ -1,3 +1,3 @@\n-one\n+1\n two\n three\n",
        "--- a/src/a.py\n+++ b/src/a.py\n@@ -1,3 +1,3 @@\n-one\n+1\n two\n three\ndiff --git a/.git/x b/.git/x\nnew file mode 100644\nindex 0000000..e69de29\n",
        "--- a/src/a.py\n+++ b/src/a.py\n@@ -1,3 +1,3 @@\n-one\n+1\n two\n three\nIndex: ../x\n--- ../x\n+++ ../x\n@@ -0,0 +1 @@\n+x\n",
    ];
    for text_of_diff in smuggled {
        match mirror.apply(&tree, &diff(text_of_diff)).await {
            Err(
                PatchError::OutsideTree { .. }
                | PatchError::NoMatch { .. }
                | PatchError::Malformed { .. },
            ) => {}
            Err(other) => panic!("{other:?}: {text_of_diff}"),
            Ok(done) => assert_eq!(
                mirror.changed_paths(&tree, &done.tree).unwrap(),
                ["src/a.py"],
                "{text_of_diff}"
            ),
        }
    }
    assert!(!origin.beside("x").exists());
}
