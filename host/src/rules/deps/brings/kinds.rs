//! What a file of a package is, as its path tells.
//!
//! Touches: nothing.
//! Change here: when another language is read, or packages keep their tests or what they compiled elsewhere.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Python,
    JavaScript,
    Rust,
    Other,
}

const TESTS: [&str; 9] = [
    "__tests__",
    "benches",
    "benchmarks",
    "examples",
    "fixtures",
    "spec",
    "specs",
    "testdata",
    "tests",
];
const COMPILED: [&str; 8] = [
    "build", "bundle", "bundles", "cjs", "dist", "esm", "out", "umd",
];

/// None for what is no code, for tests, and for what a machine shortened.
pub fn language(path: &str) -> Option<Language> {
    let (name, extension) = name_and_extension(path);
    let language = match extension.as_str() {
        "py" | "pyi" | "pyx" | "pxd" => Language::Python,
        "js" | "mjs" | "cjs" | "jsx" | "ts" | "mts" | "cts" | "tsx" => Language::JavaScript,
        "rs" => Language::Rust,
        "c" | "cc" | "cpp" | "h" | "hpp" => Language::Other,
        _ => return None,
    };
    (!is_test(path) && !name.contains(".min.")).then_some(language)
}

/// What a compiler wrote, but for declarations, which people read.
pub fn is_compiled(path: &str) -> bool {
    let is_place = path
        .split('/')
        .rev()
        .skip(1)
        .any(|part| COMPILED.contains(&part));
    is_place && !path.ends_with(".d.ts")
}

fn is_test(path: &str) -> bool {
    let (name, _) = name_and_extension(path);
    let mut directories = path.split('/').rev().skip(1);
    // `django/test` is what people import; `test` at the top is not.
    path.starts_with("test/")
        || directories.any(|part| TESTS.contains(&part))
        || name == "conftest.py"
        || name.starts_with("test_")
        || ["_test.", ".test.", ".spec."]
            .iter()
            .any(|sign| name.contains(sign))
}

/// A file in which people tell what is new.
pub fn is_changelog(path: &str) -> bool {
    let (name, extension) = name_and_extension(path);
    let starts = ["change", "history", "news", "release"];
    let tells = |name: &str| starts.iter().any(|start| name.starts_with(start));
    let is_text = ["", "adoc", "markdown", "md", "rst", "txt"].contains(&extension.as_str());
    let of_a_version = path.contains("/releases/") || path.contains("/whatsnew/");
    is_text && (tells(&name) || of_a_version) && !is_test(path)
}

pub fn is_python_metadata(path: &str) -> bool {
    path.ends_with(".dist-info/METADATA")
}

/// In lower case.
fn name_and_extension(path: &str) -> (String, String) {
    let name = path.rsplit('/').next().unwrap_or_default().to_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let extension = extension.to_owned();
    (name, extension)
}
