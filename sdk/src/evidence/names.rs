//! Finds names of functions, types and the like in text of many languages, without parsing any of them.
//!
//! Touches: nothing.
//! Change here: when a language defines things in a way that is not recognised, or a common word crowds out names.

/// What comes before a name where it is defined, in the languages at hand.
pub const DEFINING: &str = r"\b(?:def|class|fn|struct|enum|trait|impl|type|function|const|let|var|func|interface|module|static)\s+(?:\([^)]*\)\s*)?(?:mut\s+)?";

/// Names that a diff defines in its lines, their surroundings, or its hunks' headings.
pub fn defined_in(diff: &str) -> Vec<String> {
    let body = diff.lines().filter(|l| {
        l.starts_with(['+', '-', ' ']) && !l.starts_with("+++ ") && !l.starts_with("--- ")
    });
    let headings = diff
        .lines()
        .filter(|l| l.starts_with("@@"))
        .filter_map(|l| l.rsplit("@@").next());
    body.chain(headings).filter_map(defined_name).collect()
}

fn defined_name(line: &str) -> Option<String> {
    let mut words = line.trim_start_matches(['+', '-']).split_whitespace();
    let keyword = |word: &&str| {
        [
            "def",
            "class",
            "fn",
            "struct",
            "enum",
            "trait",
            "function",
            "func",
            "interface",
        ]
        .contains(word)
    };
    words.by_ref().take(6).find(keyword)?;
    let name: String = words
        .next()?
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (name.len() >= 3).then_some(name)
}

/// Words of a text that can be names of something, in order of appearance.
pub fn identifiers(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let is_name = |word: &&str| {
        word.len() >= 3
            && word.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && word.is_ascii()
            && !COMMON.contains(&word.to_ascii_lowercase().as_str())
    };
    words.filter(is_name).map(str::to_owned).collect()
}

/// Words that name nothing of the repository's own.
const COMMON: [&str; 64] = [
    "and",
    "are",
    "args",
    "assert",
    "assertionerror",
    "async",
    "await",
    "bool",
    "but",
    "class",
    "const",
    "def",
    "describe",
    "else",
    "equal",
    "error",
    "except",
    "expect",
    "expected",
    "false",
    "for",
    "from",
    "function",
    "got",
    "have",
    "import",
    "int",
    "into",
    "left",
    "len",
    "let",
    "line",
    "list",
    "mod",
    "mut",
    "new",
    "none",
    "not",
    "null",
    "object",
    "pass",
    "path",
    "print",
    "pub",
    "pytest",
    "raise",
    "raises",
    "return",
    "right",
    "self",
    "should",
    "str",
    "string",
    "test",
    "that",
    "the",
    "this",
    "true",
    "type",
    "use",
    "value",
    "var",
    "was",
    "with",
];
