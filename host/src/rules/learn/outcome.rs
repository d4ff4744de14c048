//! What became of a fix: whether it is still in the branch, was taken back, or something else was merged in its place.
//!
//! Touches: nothing.
//! Change here: when people take fixes back in another way. What stands in git is read by `stages/learn.rs`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::super::apps;
use crate::event::{Event, Fact, FixFate, FixOutcome, Oid, RunId};

/// Of a fix's lines, so many have to be changed back for it to count as taken back.
const MOST: f64 = 0.8;
/// And so many for it to count as reworked.
const HALF: f64 = 0.5;
/// Lines with fewer letters and digits are anywhere, and say nothing about where they came from.
const TELLING: usize = 3;

/// Lines that a commit took away and put there, by file.
pub type Lines = BTreeMap<String, (Vec<String>, Vec<String>)>;

/// A commit and what it changed. Two that change the same have the same `patch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub id: Oid,
    pub message: String,
    pub lines: Lines,
    pub patch: String,
}

/// How a fix stands, seen from the tip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stands {
    /// Nothing of it is there yet.
    NotIn,
    In {
        /// As it was offered, or under another name.
        by: Oid,
    },
    /// Part of it is, with changes of somebody's own.
    Edited {
        by: Oid,
    },
    Out {
        by: Oid,
        because: &'static str,
    },
}

/// `line` is what the branch went through since the fix was offered, oldest first; `names` are what the fix is called, as
/// a commit or a merge of it. What `others` are called is somebody else's fix, though it may change the same.
pub fn stands(fix: &Commit, names: &[Oid], others: &BTreeSet<Oid>, line: &[Commit]) -> Stands {
    let mut stands = Stands::NotIn;
    let mut called: Vec<Oid> = names.to_vec();
    called.push(fix.id.clone());
    // What took it back, so that taking that back is noticed too.
    let mut taken_back: Option<Commit> = None;
    for commit in line {
        stands = match &stands {
            Stands::In { .. } | Stands::Edited { .. } => {
                match taken_back_by(fix, &called, commit) {
                    Some(because) => {
                        taken_back = Some(commit.clone());
                        Stands::Out {
                            by: commit.id.clone(),
                            because,
                        }
                    }
                    None => continue,
                }
            }
            Stands::NotIn | Stands::Out { .. } if others.contains(&commit.id) => continue,
            Stands::NotIn | Stands::Out { .. } => {
                if brings(fix, &called, commit) || undoes(taken_back.as_ref(), commit) {
                    called.push(commit.id.clone());
                    Stands::In {
                        by: commit.id.clone(),
                    }
                } else if matches!(stands, Stands::NotIn) && brings_part_of(fix, commit) {
                    called.push(commit.id.clone());
                    Stands::Edited {
                        by: commit.id.clone(),
                    }
                } else {
                    continue;
                }
            }
        };
    }
    stands
}

/// The same commit, or another with the same change: rebased, cherry-picked, squashed.
fn brings(fix: &Commit, called: &[Oid], commit: &Commit) -> bool {
    called.contains(&commit.id) || (!fix.patch.is_empty() && commit.patch == fix.patch)
}

fn undoes(taken_back: Option<&Commit>, commit: &Commit) -> bool {
    taken_back.is_some_and(|taken| {
        says_it_reverts(&commit.message, std::slice::from_ref(&taken.id))
            || changes_back(&taken.lines, &commit.lines)
    })
}

fn taken_back_by(fix: &Commit, called: &[Oid], commit: &Commit) -> Option<&'static str> {
    if says_it_reverts(&commit.message, called) {
        return Some("it was reverted");
    }
    if changes_back(&fix.lines, &commit.lines) {
        return Some("the same lines were changed back");
    }
    let is_mending = is_about_mending(&commit.message);
    (is_mending && rewrites(&fix.lines, &commit.lines)).then_some("a later fix replaced it")
}

/// What git writes, with as much of the name as it was given.
fn says_it_reverts(message: &str, called: &[Oid]) -> bool {
    const WORDS: &str = "This reverts commit ";
    message.match_indices(WORDS).any(|(at, _)| {
        let named = message[at + WORDS.len()..].split(|c: char| !c.is_ascii_hexdigit());
        let named = named.into_iter().next().unwrap_or_default();
        named.len() >= 7 && called.iter().any(|oid| oid.0.starts_with(named))
    })
}

fn is_about_mending(message: &str) -> bool {
    let subject = message.lines().next().unwrap_or_default().to_lowercase();
    let mut words = subject.split(|c: char| !c.is_alphanumeric());
    words.any(|word| ["hotfix", "fix", "fixes", "fixed", "regression"].contains(&word))
}

/// Most of what the fix took away is there again, and most of what it put there is gone.
fn changes_back(fix: &Lines, later: &Lines) -> bool {
    let (mut took, mut put, mut back, mut gone, mut other) = (0, 0, 0, 0, 0);
    for (path, (removed, added)) in fix {
        let (removed, added) = (telling(removed), telling(added));
        took += removed.len();
        put += added.len();
        if let Some((later_removed, later_added)) = later.get(path) {
            let (later_removed, later_added) = (telling(later_removed), telling(later_added));
            back += common(&removed, &later_added);
            gone += common(&added, &later_removed);
            other += later_added
                .len()
                .saturating_sub(common(&removed, &later_added));
        }
    }
    if took + put == 0 {
        return false;
    }
    let most = |part: usize, whole: usize| part as f64 >= MOST * whole as f64;
    // A fix that only added has nothing to put back: then nothing else may come in its place.
    let is_plain = took > 0 || most(put, put + other);
    most(back, took) && most(gone, put) && is_plain
}

/// Most of what the fix put there is gone, and something else came in its place.
fn rewrites(fix: &Lines, later: &Lines) -> bool {
    let (mut put, mut gone, mut other) = (0, 0, 0);
    for (path, (_, added)) in fix {
        let added = telling(added);
        put += added.len();
        if let Some((later_removed, later_added)) = later.get(path) {
            gone += common(&added, &telling(later_removed));
            other += telling(later_added).len();
        }
    }
    put > 0 && gone as f64 >= HALF * put as f64 && other > 0
}

fn brings_part_of(fix: &Commit, commit: &Commit) -> bool {
    let (mut put, mut came) = (0, 0);
    for (path, (_, added)) in &fix.lines {
        let added = telling(added);
        put += added.len();
        if let Some((_, later_added)) = commit.lines.get(path) {
            came += common(&added, &telling(later_added));
        }
    }
    put > 0 && came as f64 >= HALF * put as f64
}

fn telling(lines: &[String]) -> Vec<&str> {
    let says = |line: &&str| line.chars().filter(|c| c.is_alphanumeric()).count() >= TELLING;
    let all: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    let telling: Vec<&str> = all.iter().copied().filter(says).collect();
    match telling.is_empty() {
        true => all,
        false => telling,
    }
}

/// Lines of `one` that are in `other`, each as often as it is in both.
fn common(one: &[&str], other: &[&str]) -> usize {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for line in other {
        *left.entry(line).or_default() += 1;
    }
    let takes = |line: &&&str| match left.get_mut(**line) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    one.iter().filter(takes).count()
}

/// An outcome as an event of every log; observed again it is observed once.
pub fn observed(project: &str, outcome: FixOutcome, at: Timestamp) -> Event {
    let by = outcome.by.as_ref().map_or("", |by| by.0.as_str());
    let id = apps::derived(&["outcome", &outcome.run.0, outcome.fate.name(), by]);
    apps::stated(id, at, project, Fact::OutcomeObserved { outcome })
}

/// What to say of a fix, if it is not what was said last. `landed` is when it was merged, in days before now.
pub fn next(
    run: &RunId,
    last: Option<FixFate>,
    stands: &Stands,
    landed: Option<f64>,
    survives_after: f64,
) -> Option<FixOutcome> {
    let say = |fate: FixFate, by: Option<&Oid>, because: &str| {
        Some(FixOutcome {
            run: run.clone(),
            fate,
            because: because.to_owned(),
            by: by.cloned(),
        })
        .filter(|_| last != Some(fate))
    };
    match stands {
        Stands::NotIn => None,
        Stands::Out { by, because } => say(FixFate::Reverted, Some(by), because),
        Stands::Edited { by } => match last {
            None | Some(FixFate::Unmerged | FixFate::Overridden) => {
                say(FixFate::Edited, Some(by), "people merged it with changes")
            }
            _ => None,
        },
        Stands::In { by } => match last {
            Some(FixFate::Survived | FixFate::Edited) => None,
            Some(FixFate::Merged) if landed.is_some_and(|days| days >= survives_after) => say(
                FixFate::Survived,
                Some(by),
                "it is in the branch, and nobody took it back",
            ),
            Some(FixFate::Merged) => None,
            _ => say(FixFate::Merged, Some(by), "it is in the branch"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(id: &str, message: &str, removed: &[&str], added: &[&str]) -> Commit {
        let own = |lines: &[&str]| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
        Commit {
            id: Oid(id.repeat(8)),
            message: message.to_owned(),
            lines: BTreeMap::from([("shop.py".to_owned(), (own(removed), own(added)))]),
            patch: format!("{removed:?}{added:?}"),
        }
    }

    fn fix() -> Commit {
        commit(
            "f1f1f",
            "Fix it",
            &["return price + off"],
            &["return price - off"],
        )
    }

    fn check(line: &[Commit]) -> Stands {
        stands(&fix(), &[], &BTreeSet::new(), line)
    }

    #[test]
    fn a_revert_is_one_by_its_words_or_by_its_lines() {
        let said = format!("Revert\n\nThis reverts commit {}.", fix().id);
        let said = commit("aaaaa", &said, &[], &[]);
        let lines = commit(
            "bbbbb",
            "Sell dear",
            &["return price - off"],
            &["return price + off"],
        );
        for back in [said, lines] {
            let stands = check(&[fix(), back.clone()]);
            assert!(
                matches!(&stands, Stands::Out { by, .. } if *by == back.id),
                "{stands:?}"
            );
        }
        let other = commit(
            "ccccc",
            "Rename",
            &["return price - off"],
            &["return cost - off"],
        );
        assert!(matches!(check(&[fix(), other]), Stands::In { .. }));
    }

    #[test]
    fn what_was_taken_back_and_brought_again_is_in_unless_another_run_brought_it() {
        let back = commit(
            "bbbbb",
            "Sell dear",
            &["return price - off"],
            &["return price + off"],
        );
        let again = commit(
            "ddddd",
            "Sell cheap",
            &["return price + off"],
            &["return price - off"],
        );
        let line = [fix(), back, again];
        assert!(matches!(check(&line), Stands::In { .. }));
        let others = BTreeSet::from([line[2].id.clone()]);
        assert!(matches!(
            stands(&fix(), &[], &others, &line),
            Stands::Out { .. }
        ));
    }

    #[test]
    fn a_squash_is_the_fix_and_part_of_it_is_an_edited_one() {
        let squash = Commit {
            id: Oid("9".repeat(40)),
            ..fix()
        };
        assert!(matches!(check(&[squash]), Stands::In { .. }));
        let edited = commit(
            "eeeee",
            "Sell",
            &["return price + off"],
            &["# cheaper", "return price - off"],
        );
        assert!(matches!(check(&[edited]), Stands::Edited { .. }));
        let other = commit(
            "eeeee",
            "Sell",
            &["return price + off"],
            &["return max(0, price)"],
        );
        assert_eq!(check(&[other]), Stands::NotIn);
    }

    #[test]
    fn a_fix_survives_when_its_time_has_come_and_can_be_reverted_after_that() {
        let run = RunId("app-1".into());
        let is_in = Stands::In { by: fix().id };
        let fate = |last, stands: &Stands, landed| {
            next(&run, last, stands, landed, 14.0).map(|outcome| outcome.fate)
        };
        assert_eq!(fate(None, &is_in, None), Some(FixFate::Merged));
        assert_eq!(fate(Some(FixFate::Merged), &is_in, Some(13.9)), None);
        assert_eq!(
            fate(Some(FixFate::Merged), &is_in, Some(14.0)),
            Some(FixFate::Survived)
        );
        let out = Stands::Out {
            by: fix().id,
            because: "it was reverted",
        };
        assert_eq!(
            fate(Some(FixFate::Survived), &out, Some(20.0)),
            Some(FixFate::Reverted)
        );
        assert_eq!(fate(Some(FixFate::Reverted), &out, Some(20.0)), None);
        assert_eq!(
            fate(Some(FixFate::Reverted), &is_in, Some(20.0)),
            Some(FixFate::Merged)
        );
    }
}
