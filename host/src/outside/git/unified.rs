//! Reads the headers of a unified diff and puts them into the form git wants.
//!
//! Touches: nothing.
//! Change here: when models write diffs in a way that could be understood and is not.
//!
//! What is lenient: text around the diff, missing `diff --git` lines, missing `a/` and `b/`, and (by git's
//! `--recount`) wrong counts. What is not: lines of the file itself, which must be there as they stand.

use std::collections::BTreeSet;

/// A diff that `git apply --recount` reads, and every path it names.
#[derive(Debug, PartialEq, Eq)]
pub struct Unified {
    pub text: String,
    pub paths: BTreeSet<String>,
    /// What each hunk takes for given: the path, and the lines before the change, each with its end.
    pub hunks: Vec<(String, String)>,
    /// A mode other than that of a regular file, with the path that is to have it.
    pub special: Option<(String, &'static str)>,
}

/// Why a diff cannot be read. Lowercase fragment, fit for "the diff cannot be read: ...".
pub type Malformed = String;

pub fn read(diff: &str) -> Result<Unified, Malformed> {
    let mut lines: Vec<&str> = diff.lines().collect();
    let starts: Vec<usize> = (0..lines.len())
        .filter(|at| is_start(&lines, *at))
        .collect();
    let Some(first) = starts.first() else {
        return Err("it has no file header (`--- a/path` and `+++ b/path`)".into());
    };
    // A diff written with `\r\n` has it on its headers too; otherwise a `\r` is the file's own.
    let as_written: Vec<&str> = diff.split_terminator('\n').collect();
    if !as_written[*first].ends_with('\r') {
        lines = as_written;
    }
    let mut unified = Unified {
        text: String::new(),
        paths: BTreeSet::new(),
        hunks: vec![],
        special: None,
    };
    for (start, end) in starts
        .iter()
        .zip(starts.iter().skip(1).chain([&lines.len()]))
    {
        unified.add(&lines[*start..*end])?;
    }
    Ok(unified)
}

/// A `diff --git` line, or a pair of names that no `diff --git` line stands over.
fn is_start(lines: &[&str], at: usize) -> bool {
    if lines[at].starts_with("diff --git ") {
        return true;
    }
    if !is_pair(lines, at) {
        return false;
    }
    let above = lines[..at]
        .iter()
        .rev()
        .take_while(|line| is_extended(line) || line.starts_with("diff --git "));
    !above
        .into_iter()
        .any(|line| line.starts_with("diff --git "))
}

fn is_pair(lines: &[&str], at: usize) -> bool {
    let next = |prefix: &str, by: usize| {
        lines
            .get(at + by)
            .is_some_and(|line| line.starts_with(prefix))
    };
    next("--- ", 0) && next("+++ ", 1) && next("@@", 2)
}

fn is_extended(line: &str) -> bool {
    let known = [
        "index ",
        "old mode ",
        "new mode ",
        "new file mode ",
        "deleted file mode ",
        "similarity index ",
    ];
    let moved = [
        "dissimilarity index ",
        "rename from ",
        "rename to ",
        "copy from ",
        "copy to ",
    ];
    known
        .iter()
        .chain(&moved)
        .any(|prefix| line.starts_with(prefix))
}

impl Unified {
    /// One file's part: from its first header to the next file's.
    fn add(&mut self, lines: &[&str]) -> Result<(), Malformed> {
        let body = lines
            .iter()
            .position(|l| l.starts_with("@@") || *l == "GIT binary patch")
            .unwrap_or(lines.len());
        let (header, body) = lines.split_at(body);
        let named = Named::read(header)?;
        let path = named.path()?;
        self.special = self
            .special
            .take()
            .or_else(|| special(header).map(|what| (path.clone(), what)));
        self.paths
            .extend([named.old.clone(), named.new.clone()].into_iter().flatten());
        if header[0].starts_with("diff --git ") && named.prefixed {
            self.push(header);
        } else {
            self.push_header(&named, &path, header);
        }
        let body = without_epilogue(body);
        if named.old.is_some() {
            self.hunks.extend(
                before_each_hunk(body)
                    .into_iter()
                    .map(|before| (path.clone(), before)),
            );
        }
        self.push(body);
        Ok(())
    }

    fn push(&mut self, lines: &[&str]) {
        for line in lines {
            self.text.push_str(line);
            self.text.push('\n');
        }
        // A binary patch ends with an empty line.
        if lines.first() == Some(&"GIT binary patch") {
            self.text.push('\n');
        }
    }

    fn push_header(&mut self, named: &Named, path: &str, header: &[&str]) {
        self.push(&[&format!(
            "diff --git {} {}",
            quoted("a/", path),
            quoted("b/", path)
        )]);
        let mode = header
            .iter()
            .find(|l| l.starts_with("new file mode "))
            .copied()
            .unwrap_or("new file mode 100644");
        match (&named.old, &named.new) {
            (None, _) => self.push(&[
                mode,
                "--- /dev/null",
                &format!("+++ {}", quoted("b/", path)),
            ]),
            (_, None) => self.push(&[
                "deleted file mode 100644",
                &format!("--- {}", quoted("a/", path)),
                "+++ /dev/null",
            ]),
            _ => self.push(&[
                &format!("--- {}", quoted("a/", path)),
                &format!("+++ {}", quoted("b/", path)),
            ]),
        }
    }
}

/// Drops what follows the last hunk: blank lines, which would count as lines of the file, and prose. Odd
/// lines between hunks stay, so that git refuses them: half a patch must never go for the whole.
fn without_epilogue<'a, 'b>(body: &'a [&'b str]) -> &'a [&'b str] {
    if body.first() == Some(&"GIT binary patch") {
        return body;
    }
    let last = body
        .iter()
        .rposition(|line| line.starts_with(['+', '-', ' ', '\\', '@']));
    &body[..last.map_or(0, |at| at + 1)]
}

fn before_each_hunk(body: &[&str]) -> Vec<String> {
    let mut hunks: Vec<String> = Vec::new();
    for line in body {
        match (hunks.last_mut(), line.chars().next()) {
            (_, Some('@')) => hunks.push(String::new()),
            (Some(hunk), Some(' ' | '-')) => *hunk += &format!("{}\n", &line[1..]),
            (Some(hunk), None) => hunk.push('\n'),
            _ => {}
        }
    }
    hunks
}

/// The names a header gives; none stands for `/dev/null`.
#[derive(Debug, Default)]
struct Named {
    old: Option<String>,
    new: Option<String>,
    /// The names come with `a/` and `b/`, as git writes them.
    prefixed: bool,
}

impl Named {
    fn read(header: &[&str]) -> Result<Named, Malformed> {
        let after = |prefix: &str| header.iter().find_map(|line| line.strip_prefix(prefix));
        if let (Some(old), Some(new)) = (
            after("rename from ").or(after("copy from ")),
            after("rename to ").or(after("copy to ")),
        ) {
            return Ok(Named {
                old: Some(unquoted(old)?),
                new: Some(unquoted(new)?),
                prefixed: true,
            });
        }
        if let (Some(old), Some(new)) = (after("--- "), after("+++ ")) {
            return Named::of_pair(name_of(old)?, name_of(new)?);
        }
        // Nothing but a mode, an empty file or a binary one: only the first line names it.
        let both = after("diff --git ").ok_or("a file header names no file")?;
        let name = name_twice(both)?;
        Ok(Named {
            old: Some(name.clone()),
            new: Some(name),
            prefixed: true,
        })
    }

    fn of_pair(old: Option<String>, new: Option<String>) -> Result<Named, Malformed> {
        let strip = |name: &Option<String>, prefix: &str| {
            name.as_deref()
                .map(|n| n.strip_prefix(prefix).map(str::to_owned))
        };
        let stripped = (strip(&old, "a/"), strip(&new, "b/"));
        match stripped {
            (Some(None), _) | (_, Some(None)) => Ok(Named {
                old,
                new,
                prefixed: false,
            }),
            (old, new) => Ok(Named {
                old: old.flatten(),
                new: new.flatten(),
                prefixed: true,
            }),
        }
    }

    /// The file that is there afterwards, or was there before.
    fn path(&self) -> Result<String, Malformed> {
        self.new
            .clone()
            .or_else(|| self.old.clone())
            .ok_or_else(|| "a file header names no file but /dev/null".into())
    }
}

/// The name in a `---` or `+++` line: without a time, unquoted, none for `/dev/null`.
fn name_of(text: &str) -> Result<Option<String>, Malformed> {
    let name = text.split('\t').next().unwrap_or_default().trim_end();
    if name == "/dev/null" {
        Ok(None)
    } else {
        unquoted(name).map(Some)
    }
}

/// The name in `a/x b/x`, which must be the same on both sides.
fn name_twice(both: &str) -> Result<String, Malformed> {
    let unclear = || format!("`diff --git {both}` does not name one file as a/... b/...");
    if let Some(quoted) = both.strip_prefix('"') {
        let end = quoted.find("\" ").ok_or_else(unclear)?;
        let name = unquoted(&both[..end + 2])?;
        return name
            .strip_prefix("a/")
            .map(str::to_owned)
            .ok_or_else(unclear);
    }
    let middle = both.len().checked_sub(1).ok_or_else(unclear)? / 2;
    let halves = both.split_at_checked(middle).ok_or_else(unclear)?;
    let (old, new) = (halves.0.strip_prefix("a/"), halves.1.strip_prefix(" b/"));
    old.filter(|old| Some(*old) == new)
        .map(str::to_owned)
        .ok_or_else(unclear)
}

fn special(header: &[&str]) -> Option<&'static str> {
    let prefixes = [
        "new file mode ",
        "deleted file mode ",
        "new mode ",
        "old mode ",
    ];
    let modes = header
        .iter()
        .filter_map(|line| prefixes.iter().find_map(|prefix| line.strip_prefix(prefix)));
    modes.map(str::trim).find_map(|mode| match mode {
        "100644" | "100755" => None,
        "120000" => Some("a symbolic link"),
        "160000" => Some("a submodule"),
        _ => Some("a file with an unusual mode"),
    })
}

/// Undoes git's quoting: `"a/\303\274.txt"`.
fn unquoted(name: &str) -> Result<String, Malformed> {
    let Some(inner) = name.strip_prefix('"').and_then(|n| n.strip_suffix('"')) else {
        return Ok(name.to_owned());
    };
    let mut bytes = Vec::new();
    let mut rest = inner.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let escaped = rest.next().ok_or("a quoted name ends in a backslash")?;
        bytes.push(match escaped {
            b'a' => 7,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            b'0'..=b'3' => octal(escaped, rest.next(), rest.next())
                .ok_or("a quoted name holds a broken escape")?,
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "a quoted name is not UTF-8".into())
}

fn octal(first: u8, second: Option<u8>, third: Option<u8>) -> Option<u8> {
    let digit = |byte: u8| {
        byte.is_ascii_digit()
            .then(|| u32::from(byte - b'0'))
            .filter(|d| *d < 8)
    };
    u8::try_from(digit(first)? * 64 + digit(second?)? * 8 + digit(third?)?).ok()
}

/// With quotes where git needs them; names with control characters do not get this far.
fn quoted(prefix: &str, path: &str) -> String {
    let plain = !path.contains(['"', '\\', ' ']) && path.chars().all(|c| !c.is_control());
    if plain {
        format!("{prefix}{path}")
    } else {
        format!(
            "\"{prefix}{}\"",
            path.replace('\\', "\\\\").replace('"', "\\\"")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(diff: &str) -> Vec<String> {
        read(diff)
            .expect("the diff can be read")
            .paths
            .into_iter()
            .collect()
    }

    #[test]
    fn a_bare_diff_gets_the_header_git_wants() {
        let unified =
            read("Here it is:\n```diff\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n\n\n").unwrap();
        assert_eq!(
            unified.text,
            "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
        );
    }

    #[test]
    fn a_second_file_is_not_taken_for_lines_of_the_first() {
        let diff = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n--- a/y\n+++ b/y\n@@ -1 +1 @@\n-c\n+d\n";
        assert_eq!(paths(diff), ["x", "y"]);
        assert_eq!(read(diff).unwrap().text.matches("diff --git").count(), 2);
    }

    #[test]
    fn a_removed_line_that_looks_like_a_header_stays_a_line() {
        let diff = "--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n a\n--- not/a/header\n";
        assert_eq!(paths(diff), ["x"]);
    }

    #[test]
    fn every_header_tells_its_paths() {
        assert_eq!(
            paths("--- x\n+++ x\t2026-01-01\n@@ -1 +1 @@\n-a\n+b\n"),
            ["x"]
        );
        assert_eq!(
            paths("--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+b\n"),
            ["new"]
        );
        assert_eq!(
            paths("--- a/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-b\n"),
            ["old"]
        );
        assert_eq!(
            paths("diff --git a/x y b/x y\nold mode 100644\nnew mode 100755\n"),
            ["x y"]
        );
        assert_eq!(
            paths("diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n"),
            ["x", "y"]
        );
        let quoted = r#""a/\303\274 \"x\"""#;
        assert_eq!(
            paths(
                &format!("--- {quoted}\n+++ {quoted}\n@@ -1 +1 @@\n-a\n+b\n")
                    .replace("+++ \"a", "+++ \"b")
            ),
            ["ü \"x\""]
        );
    }

    #[test]
    fn special_modes_are_told() {
        let link = "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc/passwd\n";
        assert_eq!(
            read(link).unwrap().special,
            Some(("l".into(), "a symbolic link"))
        );
        for (mode, what) in [
            ("160000", "a submodule"),
            ("104755", "a file with an unusual mode"),
        ] {
            assert_eq!(
                read(&link.replace("120000", mode)).unwrap().special,
                Some(("l".into(), what))
            );
        }
        assert_eq!(
            read(&link.replace("120000", "100755")).unwrap().special,
            None
        );
    }

    #[test]
    fn what_names_no_file_cannot_be_read() {
        for diff in [
            "",
            "just prose",
            "@@ -1 +1 @@\n-a\n+b\n",
            "--- /dev/null\n+++ /dev/null\n@@ -0,0 +1 @@\n+x\n",
            "diff --git x\n",
        ] {
            assert!(read(diff).is_err(), "{diff}");
        }
    }

    #[test]
    fn mangled_diffs_are_read_or_refused() {
        let sample = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n--- a/y\n+++ b/\u{fc}\n@@ -1 +1 @@\n-c\n+d\n";
        let pieces = [
            "\n",
            "\"",
            "--- ",
            "+++ /dev/null\n",
            "diff --git ",
            "\\",
            "\u{1f600}",
            "@@",
        ];
        let (mut read_at_all, mut refused) = (0, 0);
        for at in (0..sample.len()).filter(|at| sample.is_char_boundary(*at)) {
            for piece in pieces {
                match read(&format!("{}{piece}{}", &sample[..at], &sample[at..])) {
                    Ok(unified) if unified.paths.is_empty() => {
                        panic!("{piece:?} at {at}: a diff without a path")
                    }
                    Ok(_) => read_at_all += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(
            read_at_all > 100 && refused > 10,
            "{read_at_all} and {refused}"
        );
    }
}
