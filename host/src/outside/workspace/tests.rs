//! Workspaces of friendly and of hostile repositories.
//!
//! Touches: files, git.
//! Change here: when a workspace holds something else.

use super::*;
use crate::outside::git::testing::{Origin, SOON, git_in, patch, write};

async fn workspace(origin: &Origin) -> Workspace {
    let (mirror, tree) = origin.fetched().await;
    let head = origin.head();
    Workspace::create(&mirror, &tree, Some(&head), &origin.beside("work"), "one")
        .await
        .unwrap()
}

#[tokio::test]
async fn a_workspace_holds_the_commit_and_goes_when_it_is_dropped() {
    let origin = Origin::with(&[("src/a", "1"), ("run.sh", "#!/bin/sh\n")]);
    let workspace = workspace(&origin).await;
    assert_eq!(
        std::fs::read_to_string(workspace.dir().join("src/a")).unwrap(),
        "1"
    );
    assert_eq!(
        git_in(&workspace.dir(), &["rev-parse", "HEAD"]),
        origin.head().0
    );
    assert_eq!(git_in(&workspace.dir(), &["status", "--porcelain"]), "");
    assert_eq!(workspace.commit(), Some(&origin.head()));
    let private = workspace.private().to_owned();
    assert!(private.is_dir());
    drop(workspace);
    assert!(!origin.beside("work/one").exists() && !private.exists());
}

#[tokio::test]
async fn a_tree_without_a_commit_gets_one() {
    let origin = Origin::with(&[("a", "1")]);
    let (mirror, tree) = origin.fetched().await;
    let tried = mirror
        .apply(&tree, &patch([write("a", "2")]))
        .await
        .unwrap()
        .tree;
    let head = origin.head();
    let made = Workspace::create(&mirror, &tried, Some(&head), &origin.beside("work"), "one")
        .await
        .unwrap();
    assert_eq!(made.commit(), None);
    assert_eq!(
        git_in(&made.dir(), &["rev-parse", "HEAD~1", "HEAD^{tree}"]),
        format!("{head}\n{tried}")
    );
    let alone = Workspace::create(&mirror, &tried, None, &origin.beside("work"), "two")
        .await
        .unwrap();
    assert_eq!(git_in(&alone.dir(), &["rev-list", "--count", "HEAD"]), "1");
}

#[tokio::test]
async fn nothing_a_repository_says_runs_at_checkout() {
    let origin = Origin::with(&[
        ("a", "1"),
        (
            ".gitattributes",
            "* filter=evil diff=evil merge=evil\n*.bin filter=lfs\n",
        ),
        ("x.bin", "pointer"),
    ]);
    let planted = origin.beside("planted");
    let run = format!("touch {}; cat", planted.display());
    // What the pushed repository says of itself, and what its .git says to whoever clones it.
    origin.git(&["config", "filter.evil.smudge", &run]);
    let hook = origin.path().join(".git/hooks/post-checkout");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\n{run}\n")).unwrap();
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    let (mirror, _) = origin.fetched().await;
    let mirror_hook = mirror.dir().join("hooks/post-checkout");
    std::fs::create_dir_all(mirror_hook.parent().unwrap()).unwrap();
    std::fs::copy(&hook, &mirror_hook).unwrap();
    let workspace = workspace(&origin).await;
    assert_eq!(
        std::fs::read_to_string(workspace.dir().join("x.bin")).unwrap(),
        "pointer"
    );
    assert!(!planted.exists());
}

#[tokio::test]
async fn what_tests_plant_in_their_git_never_runs() {
    let origin = Origin::with(&[("a", "1\n")]);
    let workspace = workspace(&origin).await;
    let planted = origin.beside("planted");
    let run = format!("touch {}; false", planted.display());
    let dir = workspace.dir();
    let settings = [
        "core.fsmonitor",
        "core.sshCommand",
        "filter.evil.clean",
        "diff.evil.textconv",
        "core.pager",
        "core.editor",
    ];
    for key in settings {
        git_in(&dir, &["config", key, &run]);
    }
    std::fs::write(dir.join(".gitattributes"), "* filter=evil diff=evil\n").unwrap();
    let hooks = PathBuf::from(git_in(&dir, &["rev-parse", "--git-common-dir"])).join("hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    for hook in [
        "post-checkout",
        "reference-transaction",
        "pre-push",
        "post-index-change",
        "pre-auto-gc",
    ] {
        std::fs::write(hooks.join(hook), format!("#!/bin/sh\n{run}\n")).unwrap();
        std::fs::set_permissions(hooks.join(hook), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let (mirror, tree) = origin.fetched().await;
    let tried = mirror
        .apply(&tree, &patch([write("a", "2\n")]))
        .await
        .unwrap()
        .tree;
    let diff = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+3\n";
    mirror
        .apply(&tree, &crate::outside::git::testing::diff(diff))
        .await
        .unwrap();
    let next = Workspace::create(&mirror, &tried, None, &origin.beside("work"), "two")
        .await
        .unwrap();
    workspace.remove().await;
    next.remove().await;
    origin.commit(&[("a", "4\n")]);
    mirror.fetch("main", SOON).await.unwrap();
    Workspace::sweep(&origin.beside("work")).unwrap();
    assert!(!planted.exists());
    let settings = std::fs::read_to_string(mirror.dir().join("config")).unwrap();
    assert!(
        !settings.contains("planted"),
        "the settings of a workspace stay in the workspace"
    );
}

#[tokio::test]
async fn a_submodule_is_an_empty_directory() {
    let origin = Origin::with(&[
        ("a", "1"),
        (
            ".gitmodules",
            "[submodule \"s\"]\n\tpath = s\n\turl = ext::sh -c touch%20/tmp/never\n",
        ),
    ]);
    origin.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        "160000,0123456789012345678901234567890123456789,s",
    ]);
    origin.git(&["commit", "--quiet", "--message", "a submodule"]);
    let workspace = workspace(&origin).await;
    assert_eq!(
        std::fs::read_dir(workspace.dir().join("s"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn directories_that_may_not_be_written_go_too_and_links_are_not_followed() {
    let origin = Origin::with(&[("a", "1")]);
    let workspace = workspace(&origin).await;
    let outside = origin.beside("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("kept"), "x").unwrap();
    std::fs::set_permissions(&outside, PermissionsExt::from_mode(0o555)).unwrap();
    let shut = workspace.dir().join("shut/inner");
    std::fs::create_dir_all(&shut).unwrap();
    std::fs::write(shut.join("file"), "x").unwrap();
    std::os::unix::fs::symlink(&outside, shut.join("link")).unwrap();
    std::fs::set_permissions(&shut, PermissionsExt::from_mode(0o000)).unwrap();
    open_up(&workspace.dir()).unwrap();
    drop(workspace);
    assert!(!origin.beside("work/one").exists());
    assert!(outside.join("kept").exists());
    assert_eq!(
        outside.metadata().unwrap().mode() & 0o777,
        0o555,
        "what a link points to keeps its mode"
    );
}

#[tokio::test]
async fn leftovers_of_a_crash_are_swept_and_what_is_in_use_stays() {
    let origin = Origin::with(&[("a", "1")]);
    let live = workspace(&origin).await;
    let root = origin.beside("work");
    std::fs::create_dir_all(root.join("dead/tree/deep")).unwrap();
    std::fs::write(root.join("dead/lock"), "").unwrap();
    std::fs::create_dir_all(root.join("half-made")).unwrap();
    std::fs::create_dir_all(root.join(".new-made")).unwrap();
    std::os::unix::fs::symlink(origin.path(), root.join("link")).unwrap();
    assert!(Workspace::sweep(&root).unwrap() >= 3);
    assert!(live.dir().join("a").exists() && live.private().exists());
    for left in ["dead", "half-made", ".new-made"] {
        assert!(!root.join(left).exists(), "{left}");
    }
    assert!(origin.path().join("a").exists(), "a link is not followed");
    assert_eq!(Workspace::sweep(&origin.beside("nowhere")).unwrap(), 0);
}

#[tokio::test]
async fn a_name_in_use_is_refused_and_a_leftover_of_that_name_replaced() {
    let origin = Origin::with(&[("a", "1")]);
    let live = workspace(&origin).await;
    let (mirror, tree) = origin.fetched().await;
    let root = origin.beside("work");
    let again = async |name: &str| Workspace::create(&mirror, &tree, None, &root, name).await;
    assert!(matches!(
        again("one").await,
        Err(WorkspaceError::InUse { .. })
    ));
    drop(live);
    std::fs::create_dir_all(root.join("one/tree/stale")).unwrap();
    let fresh = again("one").await.unwrap();
    assert!(!fresh.dir().join("stale").exists());
    for name in ["", "..", "a/b", ".hidden", "a b"] {
        assert!(
            matches!(again(name).await, Err(WorkspaceError::BadName { .. })),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_commit_that_is_not_there_leaves_nothing_behind() {
    let origin = Origin::with(&[("a", "1")]);
    let (mirror, _) = origin.fetched().await;
    let nothing = Oid("0123456789012345678901234567890123456789".into());
    let made = Workspace::create(&mirror, &nothing, None, &origin.beside("work"), "one").await;
    assert!(matches!(
        made,
        Err(WorkspaceError::Git(GitError::Missing { .. }))
    ));
    assert!(!origin.beside("work/one").exists());
}
