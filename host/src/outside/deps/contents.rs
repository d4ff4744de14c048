//! Takes the text files of a package out of the directory that a client unpacked it into.
//!
//! Touches: files.
//! Change here: when more, or other, files of a package should be known.
//!
//! What strangers packed is read with care: plain files within the directory, no links, no more than there is room for.

use std::collections::BTreeMap;
use std::path::Path;

use crate::event::{PACKAGE_BYTES, PACKAGE_FILE_BYTES, PACKAGE_FILES};

/// Where clients put a package, within what they say.
pub(super) const CONTENTS: &str = "contents";
const DEEPEST: usize = 32;
/// Looked at, of whatever kind.
const MOST_ENTRIES: usize = 50_000;
/// What stands in these is left out where there is too much, the last first.
const ASIDE: [&str; 10] = [
    "docs",
    "doc",
    "examples",
    "benches",
    "fixtures",
    "testdata",
    "test",
    "tests",
    "__tests__",
    "locale",
];

/// None where there is no text at all.
pub(super) fn collected(dir: &Path) -> Option<BTreeMap<String, String>> {
    let mut seen = Vec::new();
    look(dir, "", 0, &mut seen);
    seen.sort();
    let (mut found, mut room) = (BTreeMap::new(), PACKAGE_BYTES);
    for Seen { path, bytes, .. } in seen {
        if found.len() == PACKAGE_FILES || bytes > room {
            break;
        }
        if let Some(text) = text_at(&dir.join(&path)) {
            room -= bytes;
            found.insert(path, text);
        }
    }
    (!found.is_empty()).then_some(found)
}

/// In the order in which they are taken.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    aside: Option<usize>,
    path: String,
    bytes: u64,
}

/// What cannot be read is passed over: there is enough else.
fn look(dir: &Path, path: &str, depth: usize, seen: &mut Vec<Seen>) {
    let Ok(entries) = std::fs::read_dir(dir.join(path)) else {
        return;
    };
    for entry in entries.flatten() {
        let (Ok(found), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) else {
            continue;
        };
        let path = super::beside(path, &name);
        if found.is_dir() && depth < DEEPEST {
            look(dir, &path, depth + 1, seen);
        } else if found.is_file() && found.len() <= PACKAGE_FILE_BYTES && seen.len() < MOST_ENTRIES
        {
            seen.push(Seen {
                aside: ASIDE
                    .iter()
                    .rposition(|aside| path.split('/').any(|part| part == *aside)),
                bytes: found.len(),
                path,
            });
        }
    }
}

fn text_at(path: &Path) -> Option<String> {
    let text = String::from_utf8(std::fs::read(path).ok()?).ok()?;
    (!text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        dir
    }

    #[test]
    fn of_a_package_its_text_is_taken_and_nothing_that_lies_elsewhere() {
        let dir = unpacked(&[
            ("src/lib.rs", b"pub fn a() {}"),
            ("logo.png", b"\x89PNG"),
            ("zero.txt", b"a\0b"),
            ("large.js", &vec![b'x'; PACKAGE_FILE_BYTES as usize + 1]),
        ]);
        let elsewhere = unpacked(&[("secret", b"s")]);
        let link = |to: &Path, at: &str| {
            std::os::unix::fs::symlink(to, dir.path().join(at)).unwrap();
        };
        link(elsewhere.path(), "linked");
        link(&elsewhere.path().join("secret"), "secret.txt");
        let found = collected(dir.path()).unwrap();
        let expected = [("src/lib.rs".to_owned(), "pub fn a() {}".to_owned())];
        assert_eq!(found, BTreeMap::from(expected));
        assert!(collected(&dir.path().join("nowhere")).is_none());
    }

    #[test]
    fn where_there_is_too_much_tests_are_left_out_first() {
        let many: Vec<String> = (0..PACKAGE_FILES)
            .map(|n| format!("a/tests/{n}.py"))
            .collect();
        let mut files: Vec<(&str, &[u8])> = many.iter().map(|p| (p.as_str(), &b"x"[..])).collect();
        files.push(("z/code.py", b"x"));
        let found = collected(unpacked(&files).path()).unwrap();
        assert_eq!(found.len(), PACKAGE_FILES);
        assert!(found.contains_key("z/code.py"));
    }
}
