//! Mirrors and remotes as they are met in the world, hostile ones too.
//!
//! Touches: git, files, processes.
//! Change here: when `../git.rs` or a file of `git/` learns something; patches are in `tests/patches.rs`.

use super::testing::*;
use super::*;
use crate::event::{FaultKind, Oid};

mod patches;

fn nothing() -> Oid {
    Oid("0123456789012345678901234567890123456789".into())
}

#[tokio::test]
async fn a_remote_tells_its_tip_without_a_clone() {
    let origin = Origin::with(&[("a", "1")]);
    assert_eq!(
        remote_tip(&origin.url(), "main", SOON).await.unwrap(),
        RemoteTip::At(origin.head())
    );
    assert_eq!(
        remote_tip(&origin.url(), "other", SOON).await.unwrap(),
        RemoteTip::NoBranch
    );
    assert_eq!(
        remote_tip(&Origin::empty().url(), "main", SOON)
            .await
            .unwrap(),
        RemoteTip::Empty
    );
}

#[tokio::test]
async fn a_branch_whose_name_ends_alike_is_not_the_branch() {
    let origin = Origin::with(&[("a", "1")]);
    origin.git(&["branch", "x/refs/heads/wanted"]);
    assert_eq!(
        remote_tip(&origin.url(), "wanted", SOON).await.unwrap(),
        RemoteTip::NoBranch
    );
}

#[tokio::test]
async fn a_remote_that_is_not_there_says_what_git_said() {
    let error = remote_tip("/no/such/repository", "main", SOON)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, GitError::Remote { why, .. } if why.contains("does not appear to be a git repository")),
        "{error}"
    );
}

#[tokio::test]
async fn transports_that_run_programs_are_refused() {
    let origin = Origin::empty();
    let planted = origin.beside("planted");
    for url in [
        format!("ext::touch {}", planted.display()),
        "git://localhost/x".into(),
        "fd::3".into(),
    ] {
        let error = remote_tip(&url, "main", SOON).await.unwrap_err();
        assert!(error.to_string().contains("not allowed"), "{error}");
    }
    assert!(!planted.exists());
    for name in ["--upload-pack=touch x", "a..b", "a b", "", "x.lock"] {
        assert!(
            matches!(
                remote_tip(&origin.url(), name, SOON).await,
                Err(GitError::BadName { .. })
            ),
            "{name}"
        );
    }
    let option = format!("--upload-pack=touch {}", planted.display());
    assert!(remote_tip(&option, "main", SOON).await.is_err() && !planted.exists());
}

#[tokio::test]
async fn a_remote_that_never_answers_is_given_up() {
    // Nobody accepts on this port, but the kernel takes the connection: a server that says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x.git", silent.local_addr().unwrap());
    let error = remote_tip(&url, "main", Duration::from_millis(300))
        .await
        .unwrap_err();
    assert!(
        matches!(error, GitError::TimedOut { seconds: 1, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_mirror_opens_again_and_again() {
    let origin = Origin::with(&[("a", "1")]);
    let tip = origin.mirror().await.fetch("main", SOON).await.unwrap();
    assert_eq!(tip, origin.head());
    assert_eq!(
        origin.mirror().await.resolve("main").unwrap(),
        tip,
        "opening it again kept what it held"
    );
}

#[tokio::test]
async fn a_half_made_mirror_is_put_aside_and_made_anew() {
    let origin = Origin::with(&[("a", "1")]);
    for _ in 0..2 {
        let _ = std::fs::remove_dir_all(origin.beside("mirror"));
        std::fs::create_dir_all(origin.beside("mirror/objects")).unwrap();
        std::fs::write(origin.beside("mirror/HEAD"), "").unwrap();
        origin.fetched().await;
        assert!(origin.beside("mirror.broken/objects").exists());
    }
}

#[tokio::test]
async fn settings_planted_in_the_mirror_do_not_run() {
    let origin = Origin::with(&[("a", "1")]);
    let (mirror, _) = origin.fetched().await;
    let planted = origin.beside("planted");
    let run = format!("touch {}; false", planted.display());
    let config = mirror.dir().join("config");
    std::fs::write(
        &config,
        format!("[core]\nsshCommand = {run}\nbare = true\nfsmonitor = {run}\nalternateRefsCommand = {run}\n[url \"ext::sh -c '{run}' \"]\ninsteadOf = {}\n[protocol \"ext\"]\nallow = always\n[uploadpack]\npackObjectsHook = {run}\n", origin.url()),
    )
    .unwrap();
    std::fs::create_dir_all(mirror.dir().join("hooks")).unwrap();
    for hook in [
        "reference-transaction",
        "post-checkout",
        "pre-push",
        "post-rewrite",
    ] {
        let path = mirror.dir().join("hooks").join(hook);
        std::fs::write(&path, format!("#!/bin/sh\n{run}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
    }
    let tip = origin.commit(&[("a", "2")]);
    assert_eq!(mirror.fetch("main", SOON).await.unwrap(), tip);
    mirror
        .push(&tip, "copy", Expected::Absent, PushMode::Normal, SOON)
        .await
        .unwrap();
    assert!(!planted.exists());
}

#[tokio::test]
async fn a_branch_that_is_gone_has_a_name() {
    let origin = Origin::with(&[("a", "1")]);
    let error = origin.mirror().await.fetch("gone", SOON).await.unwrap_err();
    assert!(
        matches!(&error, GitError::NoBranch { branch, .. } if branch == "gone"),
        "{error}"
    );
}

#[tokio::test]
async fn a_tip_that_was_rewritten_away_stays_reachable() {
    let origin = Origin::with(&[("a", "1")]);
    let (mirror, _) = origin.fetched().await;
    let old = origin.commit(&[("a", "2")]);
    mirror.fetch("main", SOON).await.unwrap();
    origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let new = origin.commit(&[("a", "3")]);
    assert_eq!(mirror.fetch("main", SOON).await.unwrap(), new);
    assert_eq!(
        mirror
            .resolve(&format!("refs/changebus/seen/{old}"))
            .unwrap(),
        old
    );
    assert!(!mirror.is_ancestor(&old, &new).unwrap());
    let seen = git_in(
        mirror.dir(),
        &["for-each-ref", "--format=%(refname)", "refs/changebus/seen"],
    );
    assert_eq!(
        seen,
        format!("refs/changebus/seen/{old}"),
        "tips that are part of history need no reference"
    );
}

#[tokio::test]
async fn a_commit_can_be_fetched_by_its_id() {
    let origin = Origin::with(&[("a", "1")]);
    let mirror = origin.mirror().await;
    mirror.fetch_commit(&origin.head(), SOON).await.unwrap();
    assert!(mirror.tree_of(&origin.head()).is_ok());
}

#[tokio::test]
async fn history_answers() {
    let origin = Origin::with(&[("a", "1")]);
    let first = origin.head();
    let second = origin.commit(&[("a", "2"), ("b/c", "1")]);
    let third = origin.commit(&[("a", "3")]);
    let (mirror, tree) = origin.fetched().await;
    assert_eq!(mirror.parent(&third).unwrap(), Some(second.clone()));
    assert_eq!(mirror.parent(&first).unwrap(), None);
    assert!(
        mirror.is_ancestor(&first, &third).unwrap() && mirror.is_ancestor(&third, &third).unwrap()
    );
    assert!(!mirror.is_ancestor(&third, &first).unwrap());
    assert_eq!(
        mirror.merge_base(&first, &third).unwrap(),
        Some(first.clone())
    );
    assert_eq!(mirror.resolve("main~1").unwrap(), second);
    assert_eq!(mirror.resolve(third.short()).unwrap(), third);
    let commits = mirror.commits(&first, &third, 50).unwrap();
    assert_eq!(
        commits.iter().map(|c| &c.id).collect::<Vec<_>>(),
        [&third, &second]
    );
    assert_eq!(
        (commits[0].author.as_str(), commits[0].message.as_str()),
        ("T <t@example.com>", "a change\n")
    );
    assert_eq!(mirror.commits(&first, &third, 1).unwrap().len(), 1);
    assert_eq!(
        mirror
            .changed_paths(&mirror.tree_of(&first).unwrap(), &tree)
            .unwrap(),
        ["a", "b/c"]
    );
    assert!(matches!(
        mirror.tree_of(&nothing()),
        Err(GitError::Missing { .. })
    ));
    assert!(matches!(
        mirror.tree_of(&Oid("no id".into())),
        Err(GitError::Missing { .. })
    ));
}

#[tokio::test]
async fn unrelated_histories_have_no_merge_base() {
    let origin = Origin::with(&[("a", "1")]);
    let (mirror, tree) = origin.fetched().await;
    let other = commit(&mirror, &tree, &[]);
    assert_eq!(mirror.merge_base(&origin.head(), &other).unwrap(), None);
}

fn commit(mirror: &Mirror, tree: &Oid, parents: &[Oid]) -> Oid {
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    mirror
        .commit(
            tree,
            parents,
            "a fix\n",
            "ChangeBus",
            "changebus@localhost",
            at,
        )
        .unwrap()
}

#[tokio::test]
async fn the_same_commit_made_twice_is_one() {
    let origin = Origin::with(&[("a", "1")]);
    let (mirror, tree) = origin.fetched().await;
    let made = commit(&mirror, &tree, &[origin.head()]);
    assert_eq!(made, commit(&mirror, &tree, &[origin.head()]));
    assert_ne!(made, commit(&mirror, &tree, &[]));
    mirror.keep("run-1/A", &made).unwrap();
    assert_eq!(mirror.resolve("refs/changebus/keep/run-1/A").unwrap(), made);
    assert!(matches!(
        mirror.keep("../x y", &made),
        Err(GitError::BadName { .. })
    ));
    mirror.sync().unwrap();
}

#[tokio::test]
async fn a_push_replaces_only_what_it_expects() {
    let origin = Origin::with(&[("a", "1")]);
    origin.git(&["checkout", "--quiet", "-b", "work"]);
    let (mirror, tree) = origin.fetched().await;
    let tip = origin.head();
    let made = commit(&mirror, &tree, std::slice::from_ref(&tip));
    let push = async |commit: &Oid, branch: &str, expected| {
        mirror
            .push(commit, branch, expected, PushMode::Normal, SOON)
            .await
            .unwrap()
    };
    assert_eq!(
        push(&made, "main", Expected::At(nothing())).await,
        Pushed::Moved
    );
    assert_eq!(push(&made, "main", Expected::Absent).await, Pushed::Moved);
    assert_eq!(
        push(&made, "main", Expected::At(tip.clone())).await,
        Pushed::Done
    );
    assert_eq!(origin.git(&["rev-parse", "main"]), made.0);
    assert_eq!(
        push(&made, "main", Expected::At(tip.clone())).await,
        Pushed::Done,
        "again, after a crash"
    );
    assert_eq!(
        push(&tip, "main", Expected::Any).await,
        Pushed::Moved,
        "history is not cut back"
    );
    assert_eq!(push(&made, "fix", Expected::Absent).await, Pushed::Done);
    assert_eq!(
        push(&made, "fix", Expected::Absent).await,
        Pushed::Done,
        "again, after a crash"
    );
    assert_eq!(push(&made, "gone", Expected::At(tip)).await, Pushed::Moved);
}

#[tokio::test]
async fn a_checked_out_branch_is_updated_only_on_request_and_only_when_clean() {
    let origin = Origin::with(&[("a", "1")]);
    let (mirror, tree) = origin.fetched().await;
    let changed = mirror
        .apply(&tree, &patch([write("a", "2")]))
        .await
        .unwrap()
        .tree;
    let made = commit(&mirror, &changed, &[origin.head()]);
    let expected = Expected::At(origin.head());
    let push = async |mode| {
        mirror
            .push(&made, "main", expected.clone(), mode, SOON)
            .await
            .unwrap()
    };
    let Pushed::Refused { why } = push(PushMode::Normal).await else {
        panic!("it must be refused")
    };
    assert!(why.contains("checked out"), "{why}");
    std::fs::write(origin.path().join("a"), "mine").unwrap();
    assert!(matches!(
        push(PushMode::UpdateCheckedOut).await,
        Pushed::Refused { .. }
    ));
    origin.git(&["checkout", "--quiet", "a"]);
    assert_eq!(push(PushMode::UpdateCheckedOut).await, Pushed::Done);
    assert_eq!(
        std::fs::read_to_string(origin.path().join("a")).unwrap(),
        "2"
    );
}

#[tokio::test]
async fn a_hook_of_the_remote_may_refuse() {
    let origin = Origin::with(&[("a", "1")]);
    let (mirror, tree) = origin.fetched().await;
    let hook = origin.path().join(".git/hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho no bots here >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let made = commit(&mirror, &tree, &[origin.head()]);
    let pushed = mirror
        .push(&made, "fix", Expected::Absent, PushMode::Normal, SOON)
        .await
        .unwrap();
    assert!(
        matches!(&pushed, Pushed::Refused { why } if why.contains("no bots here")),
        "{pushed:?}"
    );
}

#[tokio::test]
async fn of_two_who_push_at_once_one_wins() {
    let origin = Origin::with(&[("a", "1")]);
    origin.git(&["checkout", "--quiet", "-b", "work"]);
    let (mirror, tree) = origin.fetched().await;
    let tip = origin.head();
    for round in 0..5 {
        let branch = format!("race-{round}");
        origin.git(&["branch", &branch, &tip.0]);
        let one = commit(&mirror, &tree, std::slice::from_ref(&tip));
        let other = commit(&mirror, &tree, &[tip.clone(), one.clone()]);
        let push = |commit| {
            mirror.push(
                commit,
                &branch,
                Expected::At(tip.clone()),
                PushMode::Normal,
                SOON,
            )
        };
        let (a, b) = tokio::join!(push(&one), push(&other));
        let mut both = [a.unwrap(), b.unwrap()];
        both.sort_by_key(|pushed| *pushed != Pushed::Done);
        assert_eq!(both, [Pushed::Done, Pushed::Moved]);
    }
}

#[tokio::test]
async fn a_diff_for_reading_is_cut_at_a_line() {
    let origin = Origin::with(&[("a", "1\n"), ("b", "1\n")]);
    let before = origin.head();
    origin.commit(&[("a", "2\n"), ("b", &"x\n".repeat(1000))]);
    let (mirror, tree) = origin.fetched().await;
    let before = mirror.tree_of(&before).unwrap();
    let one = mirror
        .diff_text(&before, &tree, Some("a"), 3, 10_000)
        .unwrap();
    assert!(
        one.starts_with("diff --git a/a b/a\n") && one.ends_with("@@ -1 +1 @@\n-1\n+2\n"),
        "{one}"
    );
    let all = mirror.diff_text(&before, &tree, None, 3, 500).unwrap();
    assert!(
        all.len() < 600 && all.ends_with("+x\n[cut here: the diff is longer than 500 bytes]\n"),
        "{all}"
    );
}

#[tokio::test]
async fn a_patch_made_from_two_trees_leads_from_one_to_the_other() {
    let origin = Origin::with(&[
        ("a", "1\n"),
        ("gone", "x\n"),
        ("ü b", "1\n"),
        ("run.sh", "#!/bin/sh\n"),
        ("no end", "1"),
    ]);
    std::fs::write(origin.path().join("bytes"), [0, 1, 2, 255]).unwrap();
    let before = origin.commit(&[]);
    std::fs::write(origin.path().join("bytes"), [0, 9, 9]).unwrap();
    std::fs::set_permissions(
        origin.path().join("run.sh"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    std::fs::remove_file(origin.path().join("gone")).unwrap();
    origin.commit(&[
        ("a", "2\n"),
        ("new/file", "n\n"),
        ("ü b", "2\n"),
        ("no end", "2"),
    ]);
    let (mirror, after) = origin.fetched().await;
    let before = mirror.tree_of(&before).unwrap();
    let (text, stat, changes) = mirror.patch(&before, &after).unwrap();
    assert_eq!((stat.files, stat.insertions, stat.deletions), (7, 4, 4));
    let of = |path: &str| {
        changes
            .iter()
            .find(|c| c.path == path)
            .unwrap_or_else(|| panic!("{path} in {changes:?}"))
    };
    assert_eq!(
        (of("run.sh").old_mode, of("run.sh").new_mode),
        (0o100_644, 0o100_755)
    );
    assert_eq!((of("gone").new_mode, of("new/file").old_mode), (0, 0));
    assert!(of("bytes").binary && !of("a").binary);
    assert_eq!(
        mirror.apply(&before, &diff(&text)).await.unwrap().tree,
        after,
        "{text}"
    );
}

#[tokio::test]
async fn judged_paths_are_taken_from_another_tree() {
    let origin = Origin::with(&[
        ("src/a", "1"),
        ("tests/a", "1"),
        ("tests/gone", "1"),
        ("tests/deep/b", "1"),
    ]);
    let head = origin.head();
    std::fs::remove_dir_all(origin.path().join("tests")).unwrap();
    let candidate = origin.commit(&[
        ("src/a", "2"),
        ("tests/a", "2"),
        ("tests/new/x", "1"),
        ("conftest.py", "1"),
    ]);
    let (mirror, candidate) = (origin.fetched().await.0, candidate);
    let (head, candidate) = (
        mirror.tree_of(&head).unwrap(),
        mirror.tree_of(&candidate).unwrap(),
    );
    let is_test = |path: &str| path.starts_with("tests/") || path == "conftest.py";
    let tried = mirror.with_paths_from(&candidate, &head, &is_test).unwrap();
    assert_eq!(
        listing(&mirror, &tried),
        [
            "100644 src/a",
            "100644 tests/a",
            "100644 tests/deep/b",
            "100644 tests/gone"
        ]
    );
    assert_eq!(
        (
            text(&mirror, &tried, "src/a"),
            text(&mirror, &tried, "tests/a")
        ),
        ("2".into(), "1".into())
    );
    assert_eq!(
        mirror
            .with_paths_from(&candidate, &head, &|_| true)
            .unwrap(),
        head
    );
    assert_eq!(
        mirror
            .with_paths_from(&candidate, &head, &|_| false)
            .unwrap(),
        candidate
    );
}

#[tokio::test]
async fn a_file_that_became_a_directory_or_a_link_can_be_restored() {
    let origin = Origin::with(&[("x", "1"), ("y/z", "1"), ("l", "1")]);
    let head = origin.head();
    std::fs::remove_file(origin.path().join("x")).unwrap();
    std::fs::remove_file(origin.path().join("l")).unwrap();
    std::fs::remove_dir_all(origin.path().join("y")).unwrap();
    std::os::unix::fs::symlink("/etc", origin.path().join("l")).unwrap();
    let changed = origin.commit(&[("x/inside", "1"), ("y", "1")]);
    let mirror = origin.fetched().await.0;
    let (head, changed) = (
        mirror.tree_of(&head).unwrap(),
        mirror.tree_of(&changed).unwrap(),
    );
    assert_eq!(
        mirror.with_paths_from(&changed, &head, &|_| true).unwrap(),
        head
    );
    assert_eq!(
        mirror.with_paths_from(&head, &changed, &|_| true).unwrap(),
        changed
    );
}

#[tokio::test]
async fn a_candidate_moves_onto_a_newer_tip_or_names_its_conflicts() {
    let lines = |first: &str, last: &str| format!("{first}\n2\n3\n4\n5\n6\n{last}\n");
    let origin = Origin::with(&[("a", &lines("1", "7"))]);
    let (mirror, base) = origin.fetched().await;
    let candidate = mirror
        .apply(&base, &patch([write("a", &lines("one", "7"))]))
        .await
        .unwrap()
        .tree;
    let onto = mirror
        .apply(
            &base,
            &patch([write("a", &lines("1", "seven")), write("b", "new")]),
        )
        .await
        .unwrap()
        .tree;
    let moved = mirror
        .rebase_tree(&base, &onto, &candidate)
        .unwrap()
        .unwrap();
    assert_eq!(text(&mirror, &moved, "a"), lines("one", "seven"));
    assert_eq!(text(&mirror, &moved, "b"), "new");
    let other = mirror
        .apply(&base, &patch([write("a", &lines("eins", "7"))]))
        .await
        .unwrap()
        .tree;
    assert_eq!(
        mirror.rebase_tree(&base, &other, &candidate).unwrap(),
        Err(vec!["a".to_owned()])
    );
}

async fn reader_of(origin: &Origin) -> TreeReader {
    std::os::unix::fs::symlink("/etc/passwd", origin.path().join("link")).unwrap();
    std::os::unix::fs::symlink("src", origin.path().join("dir-link")).unwrap();
    std::fs::write(origin.path().join("bytes"), b"needle\0needle").unwrap();
    origin.commit(&[]);
    origin.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        "160000,0123456789012345678901234567890123456789,sub",
    ]);
    origin.git(&["commit", "--quiet", "--message", "a submodule"]);
    let (mirror, tree) = origin.fetched().await;
    mirror.tree(&tree).unwrap()
}

#[tokio::test]
async fn a_tree_is_read_without_following_anything() {
    let origin = Origin::with(&[("src/a.py", "0123456789"), ("a", "x")]);
    let reader = reader_of(&origin).await;
    assert_eq!(reader.size("src/a.py").unwrap(), 10);
    assert_eq!(reader.read("src/a.py", 2, 3).unwrap(), b"234");
    assert_eq!(reader.read("./src/a.py", 8, 100).unwrap(), b"89");
    assert!(reader.read("src/a.py", u64::MAX, 1).unwrap().is_empty());
    let cases = [
        ("link", FaultKind::NotFound, "workspace.link"),
        ("dir-link/a.py", FaultKind::NotFound, "workspace.link"),
        ("sub", FaultKind::NotFound, "workspace.submodule"),
        ("sub/x", FaultKind::NotFound, "workspace.submodule"),
        ("src", FaultKind::NotFound, "workspace.directory"),
        ("a/x", FaultKind::NotFound, "workspace.not-found"),
        ("none", FaultKind::NotFound, "workspace.not-found"),
        ("../a", FaultKind::Invalid, "workspace.bad-path"),
        ("/etc/passwd", FaultKind::Invalid, "workspace.bad-path"),
    ];
    for (path, kind, code) in cases {
        let fault = reader.read(path, 0, 10).unwrap_err();
        assert_eq!((fault.kind, fault.code.as_str()), (kind, code), "{path}");
    }
}

#[tokio::test]
async fn a_tree_is_searched_by_name_and_content() {
    let origin = Origin::with(&[
        ("src/a.py", "import needle\nneedles\nNEEDLE = 1\r\n"),
        ("src/deep/b.py", "a.needle()\n"),
        ("src-x", "needle\n"),
        ("z.txt", "hay\n"),
    ]);
    let reader = reader_of(&origin).await;
    assert_eq!(
        reader.glob("src/**/*.py", 10).unwrap(),
        ["src/a.py", "src/deep/b.py"]
    );
    assert_eq!(
        reader.glob("*", 10).unwrap(),
        ["bytes", "src-x", "z.txt"],
        "links and submodules are no files"
    );
    assert_eq!(reader.glob("**", 2).unwrap(), ["bytes", "src-x"]);
    let search = |pattern: &str, options, glob, limit| {
        let hits = reader.search(pattern, options, glob, limit).unwrap();
        hits.into_iter()
            .map(|hit| format!("{}:{}:{}", hit.path, hit.line, hit.text))
            .collect::<Vec<_>>()
    };
    let plain = SearchOptions::default();
    assert_eq!(
        search(".needle(", plain, None, 10),
        ["src/deep/b.py:1:a.needle()"]
    );
    assert_eq!(
        search("needle", plain, None, 2),
        ["src-x:1:needle", "src/a.py:1:import needle"]
    );
    assert_eq!(
        search(
            "needle",
            SearchOptions {
                ignore_case: true,
                word: true,
                ..plain
            },
            Some("src/*"),
            10
        ),
        ["src/a.py:1:import needle", "src/a.py:3:NEEDLE = 1"]
    );
    assert_eq!(
        search(
            "^n.*s$",
            SearchOptions {
                regex: true,
                ..plain
            },
            None,
            10
        ),
        ["src/a.py:2:needles"]
    );
    assert!(search("needle", plain, None, 0).is_empty());
    for (pattern, regex) in [("(", true), ("", false), ("(a{1000}){1000}", true)] {
        let fault = reader
            .search(pattern, SearchOptions { regex, ..plain }, None, 1)
            .unwrap_err();
        assert_eq!(
            (fault.kind, fault.code.as_str()),
            (FaultKind::Invalid, "workspace.bad-pattern"),
            "{pattern}"
        );
    }
    assert_eq!(
        reader.glob("[", 1).unwrap_err().code,
        "workspace.bad-pattern"
    );
}

#[test]
fn a_reader_goes_from_thread_to_thread() {
    fn check<T: Send + Sync>() {}
    check::<TreeReader>();
    check::<Mirror>();
}
