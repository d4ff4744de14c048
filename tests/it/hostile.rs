//! Repositories and test runs that try to have the host's git run something: it never does, with a sandbox or without.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when git learns another way to run what a repository says.
//!
//! Every attempt would make a file of its own, the canary. A control shows that they work: where a person runs git in
//! the same tree, canaries appear.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use changebus_tests::world::World;

use crate::orders;

/// What a pushed tree may hold: submodules that name a program, a bare repository with settings in it, attributes that
/// ask for filters, and settings of git's companions.
fn pushed(canary: &str) -> Vec<(&'static str, String)> {
    let run = |name: &str| format!("touch {canary}-{name}; false");
    vec![
        (
            ".gitattributes",
            "* filter=evil diff=evil merge=evil\n".to_owned(),
        ),
        (
            ".gitmodules",
            format!(
                "[submodule \"s\"]\n\tpath = s\n\turl = ext::sh -c {}\n",
                run("ext").replace(' ', "% ")
            ),
        ),
        (
            ".lfsconfig",
            format!("[lfs]\n\turl = ssh://-oProxyCommand={}/\n", run("lfs")),
        ),
        ("bare/HEAD", "ref: refs/heads/main\n".to_owned()),
        (
            "bare/config",
            format!(
                "[core]\n\tbare = false\n\trepositoryformatversion = 0\n\tworktree = ..\n\tfsmonitor = {}\n",
                run("bare-fsmonitor")
            ),
        ),
        ("bare/objects/.keep", String::new()),
        ("bare/refs/.keep", String::new()),
        (
            "bare/hooks/post-checkout",
            format!("#!/bin/sh\n{}\n", run("bare-hook")),
        ),
    ]
}

/// What tests may plant where they run: settings, hooks, filters, another repository in the place of their own.
fn planting(canary: &str) -> String {
    let keys = [
        ("core.fsmonitor", "fsmonitor"),
        ("core.sshCommand", "ssh"),
        ("core.pager", "pager"),
        ("core.editor", "editor"),
        ("core.gitProxy", "proxy"),
        ("filter.evil.clean", "clean"),
        ("filter.evil.smudge", "smudge"),
        ("filter.evil.process", "process"),
        ("diff.evil.textconv", "textconv"),
        ("diff.evil.command", "diff"),
        ("merge.evil.driver", "merge"),
        ("uploadpack.packObjectsHook", "pack"),
        ("gpg.program", "gpg"),
        ("credential.helper", "credential"),
    ];
    let settings =
        keys.map(|(key, name)| format!("git config {key} 'touch {canary}-{name}; false'"));
    let hooks = [
        "post-checkout",
        "post-index-change",
        "reference-transaction",
        "pre-push",
        "pre-auto-gc",
        "post-commit",
        "pre-commit",
        "post-merge",
        "update",
        "post-receive",
    ];
    let hook = |name: &str| {
        format!(
            "printf '#!/bin/sh\\ntouch {canary}-{name}\\n' >$d/hooks/{name}; chmod +x $d/hooks/{name}"
        )
    };
    let mut lines: Vec<String> = settings.to_vec();
    lines.push(
        "d=$(git rev-parse --path-format=absolute --git-common-dir); mkdir -p $d/hooks".to_owned(),
    );
    lines.extend(hooks.map(hook));
    lines.push("echo /nowhere >$d/objects/info/alternates.new".to_owned());
    format!("( {} ) >/dev/null 2>&1", lines.join("; "))
}

/// Then the tests put a whole repository, with all of that in it, in the place of their own.
const SUPPLANT: &str = "( mkdir evil && cd evil && git init -q . && cp -r $d/config $d/hooks .git/ ; cd ..; rm -rf .git; mv evil/.git .git ) >/dev/null 2>&1";

fn canaries(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("canary")).collect()
}

async fn hostile() -> World {
    let mut world = orders::watched("").await;
    let canary = world.path().join("canary").display().to_string();
    world.before_the_tests(&format!("{}; {SUPPLANT}", planting(&canary)));
    let files = pushed(&canary);
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, Some(text.as_str())))
        .collect();
    world.push("Make yourself at home", &files);
    world.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        "160000,0123456789012345678901234567890123456789,s",
    ]);
    orders::break_it(&world);
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_a_hostile_repository_says_is_run_and_the_push_is_mended_all_the_same() {
    let world = hostile().await;
    let (story, code) = world.fix(&[]);
    assert_eq!(code, 0, "{story:#}");
    assert_eq!(canaries(world.path()), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_tests_plant_is_run_by_the_host_even_without_a_sandbox() {
    let mut world = hostile().await;
    world.without_a_sandbox();
    let (story, code) = world.fix(&[]);
    assert_eq!(code, 4, "{story:#}");
    assert_eq!(canaries(world.path()), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submodule_that_names_a_program_is_refused_at_the_door() {
    let world = orders::watched("").await;
    let canary = world.path().join("canary").display().to_string();
    let modules = format!("[submodule \"s\"]\n\tpath = s\n\turl = x\n\tupdate = !touch {canary}\n");
    world.push("Take in a submodule", &[(".gitmodules", Some(&modules))]);
    let output = world
        .changebus(&[
            "fix",
            &world.origin().display().to_string(),
            "--project",
            "app",
        ])
        .output();
    let said = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
    assert!(
        said.contains("gitmodulesUpdate: disallowed submodule update setting"),
        "{said}"
    );
    assert_eq!(canaries(world.path()), BTreeSet::new());
}

#[tokio::test]
async fn the_same_attempts_work_on_whoever_runs_git_there() {
    let dir = tempfile::tempdir().unwrap();
    let canary = dir.path().join("canary").display().to_string();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let script = format!(
        "git init -q . && echo '* filter=evil diff=evil' >.gitattributes && echo 1 >a && git add . && \
         git -c user.name=t -c user.email=t@localhost commit -qm x; {}; echo 2 >a; git status; git config --unset filter.evil.process; git add a; git diff HEAD~0; git reset; git checkout -f; \
         git stash; git commit --allow-empty -m y",
        planting(&canary)
    );
    Command::new("sh")
        .args(["-c", &script])
        .current_dir(&tree)
        .output()
        .unwrap();
    let seen = canaries(dir.path());
    assert!(seen.len() >= 5, "{seen:?}");
}
