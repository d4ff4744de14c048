//! Which tools a failure points at.
//!
//! Touches: nothing.
//! Change here: when another way to tell a tool's complaint becomes known.

use std::cmp::Reverse;

use changebus_sdk::Failure;

/// Of the suite's output, and of each test.
const OUTPUT: u32 = 32 << 10;
const DETAIL: u32 = 4 << 10;
const TESTS: usize = 50;

/// What a kind of tool is called, and how such tools and the tests that run them speak.
const KINDS: [(&[&str], &[&str]); 3] = [
    (
        &[
            "format", "fmt", "style", "black", "prettier", "gofmt", "isort",
        ],
        &[
            "reformat",
            "format",
            "style",
            "whitespace",
            "indent",
            "prettier",
            "black",
            "gofmt",
            "rustfmt",
        ],
    ),
    (
        &["lint", "check", "fix", "clippy", "eslint", "ruff", "tidy"],
        &[
            "lint", "fixable", "unused", "eslint", "clippy", "ruff", "flake8", "warning",
        ],
    ),
    (
        &["gen", "generate", "codegen", "sync", "lock"],
        &[
            "generated",
            "out of date",
            "up to date",
            "stale",
            "regenerate",
        ],
    ),
];

/// The tools, those the failure points at first, and why they stand in this order.
pub fn in_order(tools: Vec<String>, failure: &impl Failure) -> (Vec<String>, String) {
    let said = said(failure);
    let mut marked: Vec<(usize, String)> = tools
        .into_iter()
        .map(|tool| (mark(&tool, &said), tool))
        .collect();
    // Stable: among equals the host's order stands.
    marked.sort_by_key(|(mark, _)| Reverse(*mark));
    let why = match marked.first() {
        Some((1.., first)) => format!("{first} first because the failure points at it"),
        _ => "although nothing in the failure points at a tool".to_owned(),
    };
    (marked.into_iter().map(|(_, tool)| tool).collect(), why)
}

fn said(failure: &impl Failure) -> String {
    let mut said = failure.suite_output(OUTPUT);
    for id in failure.failing_tests().into_iter().take(TESTS) {
        let more = [failure.message(&id), failure.detail(&id, DETAIL)];
        said.push_str(&format!(
            "\n{id}\n{}",
            more.into_iter().flatten().collect::<String>()
        ));
    }
    said.to_lowercase()
}

/// Its name counts most, and then the words of its kind.
fn mark(tool: &str, said: &str) -> usize {
    let by_name = said
        .split(|c: char| !c.is_alphanumeric() && c != '-')
        .any(|word| word == tool);
    let parts: Vec<&str> = tool.split('-').collect();
    let of_kind = KINDS
        .iter()
        .filter(|(names, _)| parts.iter().any(|part| names.contains(part)));
    let words = of_kind.flat_map(|(_, words)| *words);
    usize::from(by_name) * 10 + words.filter(|word| said.contains(**word)).count()
}
