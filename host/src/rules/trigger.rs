//! Decides whether a moved branch starts a run.
//!
//! Touches: nothing.
//! Change here: when a move should be ignored, or looked at from another base.

use std::collections::BTreeSet;

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::event::{Commit, IgnoreReason, Oid};

/// What the watcher found out about a move, before anybody decided anything.
pub struct Move<'a> {
    pub from: &'a Oid,
    pub to: &'a Oid,
    pub course: Course,
    /// From the base to the new tip, newest first.
    pub commits: &'a [Commit],
    /// All of them: `commits` may be cut.
    pub commit_count: usize,
    pub paths: &'a [String],
    /// Commits ChangeBus delivered to this project.
    pub own: &'a BTreeSet<Oid>,
    /// The new tip's tree was tested green before.
    pub tree_is_green: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    Forward,
    /// The new tip is an ancestor of the old one.
    Back,
    /// History was rewritten; the newest common ancestor, if there is one.
    Rewritten(Option<Oid>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    Ignore(IgnoreReason),
    /// Test the tip against `base`.
    Open {
        base: Oid,
        forced: bool,
    },
    /// History was rewritten and shares nothing with what was seen: watching starts anew.
    Adopt,
}

pub fn decide(seen: &Move<'_>, ignored: &GlobSet) -> Trigger {
    if seen.tree_is_green {
        return Trigger::Ignore(IgnoreReason::TreeAlreadyGreen);
    }
    if seen.course == Course::Back {
        return Trigger::Ignore(IgnoreReason::RolledBack);
    }
    let all_own = seen.commit_count == seen.commits.len()
        && seen.commits.iter().all(|c| seen.own.contains(&c.id));
    if all_own && !seen.commits.is_empty() {
        return Trigger::Ignore(IgnoreReason::OwnCommits);
    }
    if !seen.paths.is_empty() && seen.paths.iter().all(|p| ignored.is_match(p)) {
        return Trigger::Ignore(IgnoreReason::PathsIgnored);
    }
    match &seen.course {
        Course::Rewritten(None) => Trigger::Adopt,
        Course::Rewritten(Some(base)) => Trigger::Open {
            base: base.clone(),
            forced: true,
        },
        Course::Forward | Course::Back => Trigger::Open {
            base: seen.from.clone(),
            forced: false,
        },
    }
}

/// A set from globs that the configuration has already checked; one that does not parse matches nothing.
pub fn glob_set<'a>(globs: impl IntoIterator<Item = &'a str>) -> GlobSet {
    let mut builder = GlobSetBuilder::new();
    globs
        .into_iter()
        .filter_map(|g| Glob::new(g).ok())
        .for_each(|g| {
            builder.add(g);
        });
    builder.build().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(name: &str) -> Oid {
        Oid(name.into())
    }

    fn commit(name: &str) -> Commit {
        Commit {
            id: oid(name),
            author: "a <a@b>".into(),
            message: "m".into(),
        }
    }

    fn check(
        course: Course,
        commits: &[&str],
        own: &[&str],
        paths: &[&str],
        green: bool,
    ) -> Trigger {
        let commits: Vec<_> = commits.iter().map(|c| commit(c)).collect();
        let paths: Vec<_> = paths.iter().map(|p| p.to_string()).collect();
        let own = own.iter().map(|o| oid(o)).collect();
        let seen = Move {
            from: &oid("old"),
            to: &oid("new"),
            course,
            commit_count: commits.len(),
            commits: &commits,
            paths: &paths,
            own: &own,
            tree_is_green: green,
        };
        decide(&seen, &glob_set(["docs/**", "*.md"]))
    }

    #[test]
    fn a_push_opens_a_run_against_the_last_tip() {
        let open = Trigger::Open {
            base: oid("old"),
            forced: false,
        };
        assert_eq!(
            check(Course::Forward, &["new"], &[], &["src/a.py"], false),
            open
        );
    }

    #[test]
    fn its_own_merge_starts_nothing_but_a_push_on_top_of_it_does() {
        assert_eq!(
            check(Course::Forward, &["new"], &["new"], &["a"], false),
            Trigger::Ignore(IgnoreReason::OwnCommits)
        );
        assert!(matches!(
            check(Course::Forward, &["h", "new"], &["new"], &["a"], false),
            Trigger::Open { .. }
        ));
    }

    #[test]
    fn a_push_of_ignored_paths_alone_starts_nothing() {
        let ignored = Trigger::Ignore(IgnoreReason::PathsIgnored);
        assert_eq!(
            check(
                Course::Forward,
                &["new"],
                &[],
                &["docs/a/b.txt", "x.md"],
                false
            ),
            ignored
        );
        assert!(matches!(
            check(Course::Forward, &["new"], &[], &["docs/a", "src/b"], false),
            Trigger::Open { .. }
        ));
        assert!(matches!(
            check(Course::Forward, &["new"], &[], &[], false),
            Trigger::Open { .. }
        ));
    }

    #[test]
    fn a_tree_that_was_green_is_not_tested_again() {
        let green = Trigger::Ignore(IgnoreReason::TreeAlreadyGreen);
        assert_eq!(check(Course::Forward, &["new"], &[], &["a"], true), green);
    }

    #[test]
    fn a_force_push_is_held_against_the_common_ancestor() {
        let open = Trigger::Open {
            base: oid("fork"),
            forced: true,
        };
        assert_eq!(
            check(
                Course::Rewritten(Some(oid("fork"))),
                &["new"],
                &[],
                &["a"],
                false
            ),
            open
        );
        assert_eq!(
            check(Course::Rewritten(None), &["new"], &[], &["a"], false),
            Trigger::Adopt
        );
        assert_eq!(
            check(Course::Back, &[], &[], &["a"], false),
            Trigger::Ignore(IgnoreReason::RolledBack)
        );
        assert_eq!(
            check(Course::Back, &[], &[], &["a"], true),
            Trigger::Ignore(IgnoreReason::TreeAlreadyGreen)
        );
    }
}
