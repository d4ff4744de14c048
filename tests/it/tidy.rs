//! The rules of the house, as far as a machine can hold them: headers, rings, doors, links in the documents.
//!
//! Touches: files.
//! Change here: when a rule is added to ARCHITECTURE.md. A check is cheap; its message says what to do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A source file without its tests: they may touch what they like.
struct Source {
    /// Relative to the workspace.
    path: String,
    header: String,
    code: String,
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("tests stand in the workspace")
        .to_owned()
}

fn sources(under: &str) -> Vec<Source> {
    let mut found = vec![];
    collect(&root().join(under), &mut found);
    found.retain(|path| !is_test_file(path));
    found.sort();
    assert!(
        !found.is_empty(),
        "no sources under {under}: the check looks in the wrong place"
    );
    found.iter().map(|path| read(path)).collect()
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("a directory can be read").path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name == "tests"
        || name == "testing"
        || path
            .strip_prefix(root())
            .is_ok_and(|p| p.components().any(|c| c.as_os_str() == "tests"))
}

fn read(path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let header = text
        .lines()
        .take_while(|l| l.starts_with("//!"))
        .collect::<Vec<_>>()
        .join("\n");
    let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    let code = code
        .lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let path = path
        .strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string();
    Source { path, header, code }
}

fn complain(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_host_file_says_what_it_is_for_what_it_touches_and_when_to_change_it() {
    let mut problems = vec![];
    for source in sources("host/src") {
        let path = &source.path;
        if path.ends_with("lib.rs") {
            continue;
        }
        for line in ["//! Touches: ", "//! Change here: "] {
            if !source.header.contains(line) {
                problems.push(format!("{path}: its header has no line `{line}...`"));
            }
        }
    }
    complain(problems);
}

/// Word of a `Touches:` line, and what in the code shows that the file does.
const TOUCHES: [(&str, &[&str]); 7] = [
    (
        "files",
        &["std::fs", "tokio::fs", "tempfile::", "OpenOptions"],
    ),
    (
        "processes",
        &[
            "tokio::process",
            "std::process::Command",
            "nix::sys::signal",
            "process::run",
        ],
    ),
    ("git", &["git2::", "outside::git::{", "outside::git;"]),
    ("sqlite", &["rusqlite::"]),
    ("http", &["reqwest::", "axum::"]),
    ("wasm", &["wasmtime::", "wasmparser::"]),
    (
        "clock",
        &[
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
            "tokio::time::",
        ],
    ),
];

#[test]
fn no_file_touches_more_than_its_header_says() {
    let mut problems = vec![];
    for source in sources("host/src") {
        let touches = source
            .header
            .lines()
            .find_map(|l| l.strip_prefix("//! Touches: "))
            .unwrap_or_default();
        for (word, signs) in TOUCHES {
            let sign = signs.iter().find(|s| source.code.contains(**s));
            if let Some(sign) = sign.filter(|_| !touches.contains(word)) {
                problems.push(format!(
                    "{}: uses `{sign}`, but its header does not say `Touches: {word}`",
                    source.path
                ));
            }
        }
    }
    complain(problems);
}

#[test]
fn the_rules_know_only_the_words() {
    let forbidden = [
        "crate::outside",
        "crate::stages",
        "crate::pipeline",
        "crate::commands",
        "crate::story",
        "async fn",
        "std::fs",
        "std::process::Command",
        "std::env",
        "std::time::",
        "Timestamp::now",
        "tokio",
        "rand::",
        "git2",
        "rusqlite",
        "reqwest",
        "wasmtime",
        "tracing",
    ];
    complain(seen(&sources("host/src/rules"), &forbidden, &[]));
    complain(seen(&sources("host/src/event"), &forbidden, &[]));
    let single = ["event.rs", "story.rs"].map(|f| read(&root().join("host/src").join(f)));
    complain(seen(&single, &forbidden, &["crate::story"]));
    complain(seen(
        &sources("host/src/story"),
        &forbidden,
        &["crate::story"],
    ));
}

#[test]
fn the_outside_knows_no_policy() {
    let forbidden = [
        "crate::rules",
        "crate::stages",
        "crate::pipeline",
        "crate::commands",
        "crate::story",
    ];
    // The one exception: the push that changes a branch demands the proof only the rules can make.
    let except = ["host/src/outside/git/publish.rs: crate::rules"];
    let problems = seen(&sources("host/src/outside"), &forbidden, &[]);
    complain(
        problems
            .into_iter()
            .filter(|p| !except.iter().any(|e| p.starts_with(e)))
            .collect(),
    );
}

#[test]
fn a_stage_never_calls_another_stage_and_never_appends() {
    let stages = ["decide", "deliver", "score", "test", "tournament", "watch"];
    let mut problems = vec![];
    for source in sources("host/src/stages") {
        let own = stages
            .iter()
            .find(|s| source.path.contains(&format!("stages/{s}")))
            .copied()
            .unwrap_or_default();
        for other in stages.iter().filter(|s| **s != own) {
            if names_stage(&source.code, other) {
                problems.push(format!("{}: calls the stage `{other}`", source.path));
            }
        }
        if source.code.contains(".append(") || source.code.contains(".append_expecting(") {
            problems.push(format!(
                "{}: appends an event; hand the fact to the pipeline",
                source.path
            ));
        }
    }
    complain(problems);
}

/// In an import from `super` or `crate::stages`, or by its path.
fn names_stage(code: &str, stage: &str) -> bool {
    let imports = code.split(';').filter_map(|statement| {
        let rest = statement.trim().strip_prefix("use ")?;
        rest.strip_prefix("super::")
            .or(rest.strip_prefix("crate::stages::"))
    });
    let word = |text: &str| {
        text.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|w| w == stage)
    };
    imports.into_iter().any(word) || code.contains(&format!("stages::{stage}::"))
}

#[test]
fn only_the_pipeline_appends_events() {
    let appends = |s: &&Source| s.code.contains(".append_expecting(");
    let who: BTreeSet<String> = sources("host/src")
        .iter()
        .filter(appends)
        .map(|s| s.path.clone())
        .collect();
    assert_eq!(who, BTreeSet::from(["host/src/pipeline.rs".to_owned()]));
}

#[test]
fn guest_types_never_leave_their_door() {
    let doors = [
        "bindings.rs",
        "convert.rs",
        "imports.rs",
        "world.rs",
        "wasm.rs",
        "limits.rs",
        "log.rs",
    ];
    let mut problems = vec![];
    for source in sources("host/src") {
        let at_the_door = source.path.contains("outside/wasm/imports/")
            || source.path.contains("outside/wasm")
                && doors.iter().any(|d| source.path.ends_with(d));
        if source.code.contains("super::bindings") && !at_the_door {
            problems.push(format!(
                "{}: names a generated type; translate it in outside/wasm/convert.rs",
                source.path
            ));
        }
    }
    complain(problems);
}

#[test]
fn the_documents_name_files_that_exist() {
    let mut problems = vec![];
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = std::fs::read_to_string(root().join(document))
            .unwrap_or_else(|e| panic!("{document}: {e}"));
        for named in text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|w| looks_like_a_path(w))
        {
            let there = ["", "host/src/", "docs/"]
                .iter()
                .any(|base| root().join(base).join(named).exists());
            if !there {
                problems.push(format!("{document}: `{named}` does not exist"));
            }
        }
    }
    complain(problems);
}

/// A promise is worth the test that would fail if it were broken.
#[test]
fn every_promise_about_security_names_a_test_that_there_is() {
    let text = std::fs::read_to_string(root().join("docs/security.md"));
    let text = text.unwrap_or_else(|e| panic!("docs/security.md: {e}"));
    let mut files = vec![];
    for under in ["host/src", "tests/it"] {
        collect(&root().join(under), &mut files);
    }
    let all: String = files
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap_or_default())
        .collect();
    let promises = text.lines().filter(|line| line.starts_with("| "));
    let mut problems = vec![];
    for promise in promises.filter(|line| !line.starts_with("| promise |")) {
        let (_, stories) = promise[1..].split_once('|').unwrap_or_default();
        let stories: Vec<&str> = stories.split('`').skip(1).step_by(2).collect();
        if stories.is_empty() {
            problems.push(format!(
                "docs/security.md: no test stands behind: {promise}"
            ));
        }
        for story in stories {
            let before = all
                .split_once(&format!("fn {story}("))
                .map(|(before, _)| before);
            match before.and_then(|before| before.rsplit("\n\n").next()) {
                None => problems.push(format!("docs/security.md: there is no test `{story}`")),
                Some(attributes) if attributes.contains("#[ignore") => {
                    problems.push(format!("docs/security.md: `{story}` is not run every time"));
                }
                Some(_) => {}
            }
        }
    }
    complain(problems);
}

fn looks_like_a_path(word: &str) -> bool {
    let known = [".rs", ".md", ".toml", ".wit"]
        .iter()
        .any(|end| word.ends_with(end));
    known
        && !word.contains([' ', '*', '<', '{', '$'])
        && !word.starts_with('.')
        && !word.starts_with('/')
}

/// Each forbidden word a source uses, as `path: word`.
fn seen(sources: &[Source], forbidden: &[&str], except: &[&str]) -> Vec<String> {
    let uses = |s: &Source| {
        let words = forbidden
            .iter()
            .filter(|w| !except.contains(w) && s.code.contains(**w));
        words
            .map(|w| format!("{}: {w}", s.path))
            .collect::<Vec<_>>()
    };
    sources.iter().flat_map(uses).collect()
}
