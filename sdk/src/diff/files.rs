//! Takes a diff of several files apart, so that some of them can be left out.
//!
//! Touches: nothing.
//! Change here: when a diff that git writes is not taken apart as it should be.

/// One file's part of a diff, headers included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiff {
    /// As it is called afterwards, or was called where it is removed.
    pub path: String,
    pub text: String,
}

/// The parts of a unified diff, in order. What stands before the first header, and a part that names no path, is left
/// out. Joined, the parts are a diff again.
pub fn by_file(diff: &str) -> Vec<FileDiff> {
    let lines: Vec<&str> = diff.split_inclusive('\n').collect();
    let mut starts = vec![];
    let (mut at, mut in_header) = (0, false);
    while at < lines.len() {
        let line = lines[at];
        let is_pair = line.starts_with("--- ")
            && lines
                .get(at + 1)
                .is_some_and(|next| next.starts_with("+++ "));
        if line.starts_with("diff --git ") || (is_pair && !in_header) {
            starts.push(at);
            in_header = true;
        }
        if line.starts_with("@@") {
            in_header = false;
            at += body(&lines[at..]);
        } else {
            at += 1;
        }
    }
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let parts = starts.iter().zip(ends).map(|(from, to)| &lines[*from..to]);
    parts
        .filter_map(|part| {
            let text = part.concat();
            Some(FileDiff {
                path: path(part)?,
                text,
            })
        })
        .collect()
}

/// Lines of a hunk, its header included: a removed line may look like a header of the next file.
fn body(lines: &[&str]) -> usize {
    let Some((mut old, mut new)) = lengths(lines[0]) else {
        return 1;
    };
    let mut taken = 1;
    for line in &lines[1..] {
        if old == 0 && new == 0 {
            break;
        }
        match line.as_bytes().first() {
            Some(b'-') => old = old.saturating_sub(1),
            Some(b'+') => new = new.saturating_sub(1),
            Some(b'\\') => {}
            _ => (old, new) = (old.saturating_sub(1), new.saturating_sub(1)),
        }
        taken += 1;
    }
    taken
}

/// Of `@@ -1,7 +1,6 @@`.
fn lengths(header: &str) -> Option<(usize, usize)> {
    let mut words = header.split(' ').skip(1);
    let mut length = |sign| {
        let range = words.next()?.strip_prefix(sign)?;
        match range.split_once(',') {
            Some((_, length)) => length.trim().parse().ok(),
            None => Some(1),
        }
    };
    Some((length('-')?, length('+')?))
}

fn path(part: &[&str]) -> Option<String> {
    let header = part.iter().take_while(|line| !line.starts_with("@@"));
    let named = |prefix: &str| {
        let mut named = header.clone().filter_map(|line| line.strip_prefix(prefix));
        named.next().and_then(name)
    };
    named("+++ ")
        .or_else(|| named("--- "))
        .or_else(|| twice(part[0].strip_prefix("diff --git ")?))
}

/// None for `/dev/null`.
fn name(text: &str) -> Option<String> {
    let text = text.trim_end_matches(['\n', '\r']);
    let plain = match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None => text.split('\t').next().unwrap_or(text).to_owned(),
    };
    if plain == "/dev/null" {
        return None;
    }
    let stripped = plain
        .strip_prefix("a/")
        .or_else(|| plain.strip_prefix("b/"));
    Some(stripped.map(str::to_owned).unwrap_or(plain))
}

/// Of `a/path b/path`, where nothing else names the file: it is empty, or only its mode changes.
fn twice(names: &str) -> Option<String> {
    let names = names.trim_end();
    let half = names.len().checked_sub(1)? / 2;
    let (old, new) = (names.get(..half)?, names.get(half + 1..)?);
    let (old, new) = (name(old)?, name(new)?);
    (old == new).then_some(new)
}

/// Git quotes a path with unusual bytes as C does.
fn unquoted(text: &str) -> Option<String> {
    let mut bytes = vec![];
    let mut left = text.bytes();
    loop {
        match left.next()? {
            b'"' => return String::from_utf8(bytes).ok(),
            b'\\' => {
                let byte = match left.next()? {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    digit @ b'0'..=b'3' => {
                        let rest = [left.next()?, left.next()?];
                        let digits = rest.iter().all(|b| (b'0'..=b'7').contains(b));
                        let value = |sum: u8, b: &u8| sum * 8 + (b - b'0');
                        digits.then(|| rest.iter().fold(digit - b'0', value))?
                    }
                    other => other,
                };
                bytes.push(byte);
            }
            byte => bytes.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(diff: &str) -> Vec<String> {
        by_file(diff).into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn a_diff_is_the_sum_of_its_files() {
        let diff = "diff --git a/a.py b/a.py\nindex 1..2 100644\n--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,2 @@\n x\n-y\n+z\n\
            diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n\
            diff --git a/new b/new\nnew file mode 100644\n--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+1\n\\ No newline at end of file\n\
            diff --git a/empty b/empty\nnew file mode 100644\nindex 0..e 100644\n";
        let files = by_file(diff);
        assert_eq!(paths(diff), ["a.py", "gone", "new", "empty"]);
        assert_eq!(
            files.iter().map(|f| f.text.as_str()).collect::<String>(),
            diff
        );
    }

    #[test]
    fn lines_that_look_like_headers_stay_in_their_hunk() {
        let diff = "--- a/q.sql\n+++ b/q.sql\n@@ -1,2 +1,2 @@\n--- a comment\n+++ c\n x\n--- a/two\n+++ b/two\n@@ -1 +1 @@\n-1\n+2\n";
        assert_eq!(paths(diff), ["q.sql", "two"]);
    }

    #[test]
    fn headers_without_counts_and_without_git_are_taken_apart_too() {
        let diff = "noise\n--- a/one\n+++ b/one\n@@\n-1\n+2\n--- /dev/null\n+++ b/two\n@@\n+2\n";
        assert_eq!(paths(diff), ["one", "two"]);
    }

    #[test]
    fn a_quoted_path_is_read_as_it_is_called() {
        let diff = "diff --git \"a/\\303\\274.txt\" \"b/\\303\\274.txt\"\n--- \"a/\\303\\274.txt\"\n+++ \"b/\\303\\274.txt\"\n@@ -1 +1 @@\n-1\n+2\n";
        assert_eq!(paths(diff), ["ü.txt"]);
        assert_eq!(
            paths("--- a/a b.txt\t\n+++ b/a b.txt\t\n@@ -1 +1 @@\n-1\n+2\n"),
            ["a b.txt"]
        );
    }
}
