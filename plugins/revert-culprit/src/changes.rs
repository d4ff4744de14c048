//! The push as units that can be taken back one by one, and the files that result.
//!
//! Touches: nothing.
//! Change here: when something about a file besides its lines can be taken back.

use std::collections::{BTreeMap, BTreeSet};

use changebus_sdk::diff::{Hunk, hunks, lines};
use changebus_sdk::edits::one_by_one;
use changebus_sdk::{Failure, FaultKind, Patch, Tree};

/// Share of common lines from which a file that went and one that came are one renamed file.
const SAME_FILE: f64 = 0.5;

/// Bytes of both sides that are held.
const MOST_TEXT: u64 = 48 << 20;
/// Pairs of a file that went and one that came that are compared.
const MOST_PAIRS: usize = 2500;

/// What a push did to one file.
#[derive(Debug)]
enum Change {
    Added,
    Deleted {
        old: String,
    },
    /// The hunks lead from `old` to `new`; `from` is the old name where it was another.
    Edited {
        old: String,
        new: String,
        hunks: Vec<Hunk>,
        from: Option<String>,
    },
}

/// One thing that can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The whole file: that it came, that it went, or that it was renamed.
    Whole,
    Hunk(usize),
}

#[derive(Debug)]
pub struct Unit {
    file: usize,
    what: What,
    /// For people: the path and lines of the failing commit.
    pub label: String,
    /// Lines removed and added.
    pub lines: usize,
}

/// The push without what may not be touched.
#[derive(Debug, Default)]
pub struct Push {
    files: Vec<(String, Change)>,
    pub units: Vec<Unit>,
    /// Paths that stay as they are, and why.
    pub left_alone: Vec<(String, String)>,
}

impl Push {
    /// Reads both sides of every changed path.
    pub fn read(failure: &impl Failure, head: &impl Tree) -> Push {
        let base = failure.before();
        let mut push = Push::default();
        let (mut added, mut deleted) = (BTreeMap::new(), BTreeMap::new());
        let mut room = MOST_TEXT;
        for path in failure.changed_paths() {
            if let Some(why) = failure.protected(&path) {
                push.left_alone.push((path, why));
                continue;
            }
            let bytes = base.size(&path).unwrap_or(0) + head.size(&path).unwrap_or(0);
            if bytes > room {
                push.left_alone.push((
                    path,
                    "the push is too large to be held as a whole".to_owned(),
                ));
                continue;
            }
            room -= bytes;
            match (text(&base, &path), text(head, &path)) {
                (Side::Other(why), _) | (_, Side::Other(why)) => push.left_alone.push((path, why)),
                (Side::None, Side::None) => {}
                (Side::None, Side::Text(new)) => drop(added.insert(path, new)),
                (Side::Text(old), Side::None) => drop(deleted.insert(path, old)),
                (Side::Text(old), Side::Text(new)) => push.edited(path, old, new, None),
            }
        }
        push.moved(added, deleted);
        push.files.sort_by(|(a, _), (b, _)| a.cmp(b));
        push.units = units(&push.files);
        push
    }

    fn edited(&mut self, path: String, old: String, new: String, from: Option<String>) {
        let hunks = hunks(&lines(&old), &lines(&new));
        self.files.push((
            path,
            Change::Edited {
                old,
                new,
                hunks,
                from,
            },
        ));
    }

    /// Pairs what went with what came, the likest first; what is left was added or deleted.
    fn moved(
        &mut self,
        mut added: BTreeMap<String, String>,
        mut deleted: BTreeMap<String, String>,
    ) {
        for (from, to) in renames(&deleted, &added) {
            if let (Some(old), Some(new)) = (deleted.remove(&from), added.remove(&to)) {
                self.edited(to, old, new, Some(from));
            }
        }
        self.files
            .extend(added.into_keys().map(|path| (path, Change::Added)));
        self.files.extend(
            deleted
                .into_iter()
                .map(|(path, old)| (path, Change::Deleted { old })),
        );
    }

    pub fn all(&self) -> BTreeSet<usize> {
        one_by_one(0..self.units.len())
    }

    /// The units of each file together.
    pub fn by_file(&self, among: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
        let mut files: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for &unit in among {
            files.entry(self.units[unit].file).or_default().insert(unit);
        }
        files.into_values().collect()
    }

    /// The units that touch a file of this name, before or after.
    pub fn touching(&self, paths: &BTreeSet<String>) -> BTreeSet<usize> {
        let named = |unit: &Unit| {
            let (path, change) = &self.files[unit.file];
            let from =
                matches!(change, Change::Edited { from: Some(from), .. } if paths.contains(from));
            from || paths.contains(path)
        };
        one_by_one((0..self.units.len()).filter(|&at| named(&self.units[at])))
    }

    /// Changed lines in a set of units.
    pub fn lines(&self, units: &BTreeSet<usize>) -> usize {
        units.iter().map(|&unit| self.units[unit].lines).sum()
    }

    /// The failing commit with these units taken back.
    pub fn without(&self, units: &BTreeSet<usize>) -> Patch {
        let mut patch = Patch::new();
        for (at, (path, change)) in self.files.iter().enumerate() {
            let taken: Vec<What> = units
                .iter()
                .map(|&u| &self.units[u])
                .filter(|u| u.file == at)
                .map(|u| u.what)
                .collect();
            if !taken.is_empty() {
                patch = taken_back(patch, path, change, &taken);
            }
        }
        patch
    }
}

fn taken_back(patch: Patch, path: &str, change: &Change, taken: &[What]) -> Patch {
    match change {
        Change::Added => patch.delete(path),
        Change::Deleted { old } => patch.write(path, old.as_str()),
        Change::Edited {
            old,
            new,
            hunks,
            from,
        } => {
            let text = merged(old, new, hunks, taken);
            match from.as_ref().filter(|_| taken.contains(&What::Whole)) {
                Some(from) => patch.delete(path).write(from, text),
                None => patch.write(path, text),
            }
        }
    }
}

/// The new text, with the old lines in the hunks that are taken back. Exact, since both sides are whole files.
fn merged(old: &str, new: &str, hunks: &[Hunk], taken: &[What]) -> String {
    let (a, b) = (lines(old), lines(new));
    let mut text = String::new();
    let mut at = 0;
    for (index, hunk) in hunks.iter().enumerate() {
        text.extend(b[at..hunk.new.start].iter().copied());
        if taken.contains(&What::Hunk(index)) {
            text.extend(a[hunk.old.clone()].iter().copied());
        } else {
            text.extend(b[hunk.new.clone()].iter().copied());
        }
        at = hunk.new.end;
    }
    text.extend(b[at..].iter().copied());
    text
}

enum Side {
    None,
    Text(String),
    /// Binary, too large, a link: nothing to take back line by line.
    Other(String),
}

fn text(tree: &impl Tree, path: &str) -> Side {
    match tree.read_text(path) {
        Ok(text) => Side::Text(text),
        Err(fault) if fault.kind == FaultKind::NotFound => Side::None,
        Err(fault) => Side::Other(fault.message),
    }
}

fn renames(
    deleted: &BTreeMap<String, String>,
    added: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let mut pairs = vec![];
    if deleted.len() * added.len() > MOST_PAIRS {
        return vec![];
    }
    for (from, old) in deleted {
        for (to, new) in added {
            let share = likeness(old, new);
            if share >= SAME_FILE {
                pairs.push((share, from, to));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut used = BTreeSet::new();
    let free = pairs.into_iter().filter(|(_, from, to)| {
        let is_free = !used.contains(from) && !used.contains(to);
        if is_free {
            used.extend([*from, *to]);
        }
        is_free
    });
    free.map(|(_, from, to)| (from.clone(), to.clone()))
        .collect()
}

/// Lines that both have, as a share of the longer.
fn likeness(old: &str, new: &str) -> f64 {
    let (a, b) = (lines(old), lines(new));
    let mut counts: BTreeMap<&str, isize> = BTreeMap::new();
    for line in &a {
        *counts.entry(line).or_default() += 1;
    }
    let mut common = 0;
    for line in &b {
        let left = counts.entry(line).or_default();
        if *left > 0 {
            *left -= 1;
            common += 1;
        }
    }
    f64::from(common) / a.len().max(b.len()).max(1) as f64
}

fn units(files: &[(String, Change)]) -> Vec<Unit> {
    let mut units = vec![];
    for (file, (path, change)) in files.iter().enumerate() {
        match change {
            Change::Added => units.push(Unit {
                file,
                what: What::Whole,
                label: format!("`{path}` (new file)"),
                lines: 1,
            }),
            Change::Deleted { old } => units.push(Unit {
                file,
                what: What::Whole,
                label: format!("`{path}` (deleted file)"),
                lines: lines(old).len().max(1),
            }),
            Change::Edited { hunks, from, .. } => {
                units.extend(from.iter().map(|from| Unit {
                    file,
                    what: What::Whole,
                    label: format!("`{path}` (renamed from `{from}`)"),
                    lines: 1,
                }));
                units.extend(hunks.iter().enumerate().map(|(at, hunk)| Unit {
                    file,
                    what: What::Hunk(at),
                    label: format!("`{path}` {}", place(hunk)),
                    lines: hunk.old.len() + hunk.new.len(),
                }));
            }
        }
    }
    units
}

fn place(hunk: &Hunk) -> String {
    match hunk.new.len() {
        0 => format!("after line {} (lines removed)", hunk.new.start),
        1 => format!("line {}", hunk.new.start + 1),
        _ => format!("lines {} to {}", hunk.new.start + 1, hunk.new.end),
    }
}

#[cfg(test)]
mod tests {
    use changebus_sdk::testing::{Bench, Files};

    use super::*;

    fn files_without(bench: &Bench, units: &BTreeSet<usize>) -> Files {
        let push = Push::read(bench, bench.tree());
        bench
            .patched(&push.without(units))
            .expect("a patch that applies")
    }

    fn bench() -> Bench {
        Bench::new()
            .base("edited.py", "1\n2\n3\n4\n5\n6\n")
            .head("edited.py", "1\nzwei\n3\n4\n5\n6\n7")
            .base("gone.py", "x = 1\r\n")
            .head("new.py", "a = 1\n")
            .base("old_name.py", "a\nb\nc\nd\n")
            .head("new_name.py", "a\nb\nC\nd\n")
            .both("same.py", "s\n")
            .base("tests/test_a.py", "old\n")
            .head("tests/test_a.py", "new\n")
            .base("blob", "\0")
            .head("blob", "\0\0")
            .protect("tests/**", "it is a test")
    }

    #[test]
    fn every_hunk_and_every_whole_file_is_a_unit_and_the_rest_stays_alone() {
        let bench = bench();
        let push = Push::read(&bench, bench.tree());
        let labels: Vec<&str> = push.units.iter().map(|u| u.label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "`edited.py` line 2",
                "`edited.py` line 7",
                "`gone.py` (deleted file)",
                "`new.py` (new file)",
                "`new_name.py` (renamed from `old_name.py`)",
                "`new_name.py` line 3",
            ]
        );
        let alone: Vec<&str> = push
            .left_alone
            .iter()
            .map(|(path, _)| path.as_str())
            .collect();
        assert_eq!(alone, ["blob", "tests/test_a.py"]);
    }

    #[test]
    fn taking_everything_back_gives_the_old_files_byte_for_byte() {
        let bench = bench();
        let push = Push::read(&bench, bench.tree());
        let files = files_without(&bench, &push.all());
        let expected = [
            ("blob", "\0\0"),
            ("edited.py", "1\n2\n3\n4\n5\n6\n"),
            ("gone.py", "x = 1\r\n"),
            ("old_name.py", "a\nb\nc\nd\n"),
            ("same.py", "s\n"),
            ("tests/test_a.py", "new\n"),
        ];
        assert_eq!(
            files,
            expected
                .iter()
                .map(|(p, t)| (p.to_string(), t.to_string()))
                .collect()
        );
    }

    #[test]
    fn a_rename_and_the_edits_in_it_come_back_apart() {
        let bench = bench();
        let back = files_without(&bench, &BTreeSet::from([5]));
        assert_eq!(
            (
                back.get("new_name.py").map(String::as_str),
                back.get("old_name.py")
            ),
            (Some("a\nb\nc\nd\n"), None)
        );
        let back = files_without(&bench, &BTreeSet::from([4]));
        assert_eq!(
            (
                back.get("new_name.py"),
                back.get("old_name.py").map(String::as_str)
            ),
            (None, Some("a\nb\nC\nd\n"))
        );
    }

    #[test]
    fn any_choice_of_hunks_is_exact() {
        let mut dice = 17u64;
        let mut below = |n: u64| {
            dice = dice
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (dice >> 33) % n
        };
        for _ in 0..400 {
            let mut text = |n: u64| -> String {
                (0..below(n))
                    .map(|_| ["a\n", "b\n", "c\r\n", "d"][below(4) as usize])
                    .collect()
            };
            let (old, new) = (text(9), text(9));
            let bench = Bench::new().base("f", &old).head("f", &new);
            let push = Push::read(&bench, bench.tree());
            assert_eq!(files_without(&bench, &push.all())["f"], old);
            assert_eq!(files_without(&bench, &BTreeSet::new())["f"], new);
            let sizes: Vec<usize> = push.units.iter().map(|u| u.lines).collect();
            assert_eq!(push.lines(&push.all()), sizes.iter().sum::<usize>());
        }
    }
}
