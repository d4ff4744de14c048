//! Finds the places in source code that a traceback, a panic or a compiler message names.
//!
//! Touches: nothing.
//! Change here: when a language prints its places in a way that is not recognised; add its line to the test.

use std::collections::BTreeMap;

use crate::Tree;

/// A place as printed: a path of whatever kind, and a line from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub path: String,
    pub line: u32,
}

/// The places `text` names, in order of appearance, without repeats: `File "a.py", line 3`, and `path:line` with
/// a file extension, as Python, Rust, JavaScript, Go, Java and compilers print it.
pub fn places(text: &str) -> Vec<Place> {
    let mut found = vec![];
    for line in text.lines() {
        let here = match quoted(line) {
            Some(place) => vec![place],
            None => with_colon(line),
        };
        for place in here {
            if !found.contains(&place) {
                found.push(place);
            }
        }
    }
    found
}

fn quoted(line: &str) -> Option<Place> {
    let rest = line.split_once("File \"")?.1;
    let (path, rest) = rest.split_once("\", line ")?;
    place(path, leading_number(rest)?)
}

fn with_colon(line: &str) -> Vec<Place> {
    let colons = line.match_indices(':').map(|(at, _)| at);
    let found = colons.filter_map(|at| {
        let path = trailing_path(&line[..at]);
        place(path, leading_number(&line[at + 1..])?)
    });
    found.collect()
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().ok().filter(|n| *n > 0)
}

fn trailing_path(text: &str) -> &str {
    let is_path = |c: char| c.is_alphanumeric() || "/\\._-+@$[]~%".contains(c);
    let start = text.rfind(|c| !is_path(c)).map_or(0, |at| {
        at + text[at..].chars().next().map_or(1, char::len_utf8)
    });
    &text[start..]
}

fn place(path: &str, line: u32) -> Option<Place> {
    // `file:///a.js` leaves `///a.js` here.
    let slashes = path.len() - path.trim_start_matches('/').len();
    let path = path[slashes.saturating_sub(1)..].replace('\\', "/");
    let (stem, extension) = path.rsplit('/').next()?.rsplit_once('.')?;
    let is_extension = (1..=5).contains(&extension.len())
        && extension.starts_with(|c: char| c.is_ascii_alphabetic())
        && extension.chars().all(|c| c.is_ascii_alphanumeric());
    (is_extension && !stem.is_empty()).then_some(Place { path, line })
}

/// Code that is not the repository's, though the end of its path may look like it.
const FOREIGN: [&str; 12] = [
    "site-packages/",
    "dist-packages/",
    "node_modules/",
    "/rustc/",
    ".cargo/",
    "/lib/python",
    "node:",
    "<",
    "/usr/lib/",
    "/usr/local/lib/",
    "/go/pkg/",
    "/vendor/",
];

/// Tells printed paths to paths of a tree, and remembers what it found.
pub struct Resolver<'a, T: Tree> {
    tree: &'a T,
    known: BTreeMap<String, Option<String>>,
}

impl<'a, T: Tree> Resolver<'a, T> {
    pub fn new(tree: &'a T) -> Resolver<'a, T> {
        Resolver {
            tree,
            known: BTreeMap::new(),
        }
    }

    /// The tree's path for a printed one: the longest end of it that the tree has, or, for a bare name, the only
    /// file of that name. None for code that is not the repository's.
    pub fn resolve(&mut self, printed: &str) -> Option<String> {
        if let Some(known) = self.known.get(printed) {
            return known.clone();
        }
        let found = self.look_up(printed);
        self.known.insert(printed.to_owned(), found.clone());
        found
    }

    fn look_up(&self, printed: &str) -> Option<String> {
        if FOREIGN.iter().any(|part| printed.contains(part)) {
            return None;
        }
        let parts: Vec<&str> = printed
            .split('/')
            .filter(|p| !p.is_empty() && *p != ".")
            .collect();
        if parts.contains(&"..") {
            return None;
        }
        let ends = (0..parts.len()).map(|from| parts[from..].join("/"));
        if let Some(path) = ends.into_iter().find(|end| self.tree.has(end)) {
            return Some(path);
        }
        match (parts.as_slice(), printed.starts_with('/')) {
            ([name], false) => self.only_file_named(name),
            _ => None,
        }
    }

    fn only_file_named(&self, name: &str) -> Option<String> {
        let is_plain = name
            .chars()
            .all(|c| c.is_alphanumeric() || "._-".contains(c));
        let found = self
            .tree
            .glob(&format!("**/{name}"), 2)
            .ok()
            .filter(|_| is_plain)?;
        match found.as_slice() {
            [path] => Some(path.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn every_language_names_its_places_in_its_own_way() {
        for (line, path, at) in [
            (
                "  File \"/tmp/ws/src/a.py\", line 12, in total",
                "/tmp/ws/src/a.py",
                12,
            ),
            ("src/a.py:12: AssertionError", "src/a.py", 12),
            ("thread 'main' panicked at src/lib.rs:7:5:", "src/lib.rs", 7),
            ("             at ./src/lib.rs:7:5", "./src/lib.rs", 7),
            ("  --> crates/x/src/lib.rs:7:5", "crates/x/src/lib.rs", 7),
            (
                "    at sum (/tmp/ws/src/sum.js:3:9)",
                "/tmp/ws/src/sum.js",
                3,
            ),
            (
                "    at file:///tmp/ws/src/sum.mjs:3:9",
                "/tmp/ws/src/sum.mjs",
                3,
            ),
            ("    at async src/[id].test.ts:3:9", "src/[id].test.ts", 3),
            ("\t/tmp/ws/sum.go:44 +0x1d", "/tmp/ws/sum.go", 44),
            ("    sum_test.go:9: got 1", "sum_test.go", 9),
            ("\tat com.acme.Sum.add(Sum.java:21)", "Sum.java", 21),
        ] {
            assert_eq!(
                places(line),
                [Place {
                    path: path.into(),
                    line: at
                }],
                "{line}"
            );
        }
        for line in [
            "12:30:45 started",
            "http://localhost:8080/x",
            "ratio 1.5:3",
            "a.py:0",
            "x.:3",
            "é:3",
            "",
        ] {
            assert_eq!(places(line), [], "{line}");
        }
    }

    #[test]
    fn printed_paths_lead_to_files_of_the_tree_or_nowhere() {
        let bench = Bench::new()
            .head("src/a.py", "")
            .head("main.py", "")
            .head("java/acme/Sum.java", "")
            .head("x/d.rs", "")
            .head("y/d.rs", "");
        let mut resolver = Resolver::new(bench.tree());
        for (printed, path) in [
            ("/tmp/ws-1/src/a.py", Some("src/a.py")),
            ("./src/a.py", Some("src/a.py")),
            ("/tmp/ws-1/main.py", Some("main.py")),
            ("Sum.java", Some("java/acme/Sum.java")),
            ("d.rs", None),
            ("/usr/lib/python3.12/main.py", None),
            ("/venv/lib/python3.12/site-packages/src/a.py", None),
            ("../src/a.py", None),
            ("other.py", None),
        ] {
            assert_eq!(resolver.resolve(printed).as_deref(), path, "{printed}");
        }
    }
}
