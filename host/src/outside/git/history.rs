//! Commits: which there are, how they hang together, and new ones.
//!
//! Touches: git.
//! Change here: when something new is asked about history.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{GitError, Mirror, oid};
use crate::event::{Commit, Oid};

/// Lines that were taken away and put there, by file.
pub type ChangedLines = BTreeMap<String, (Vec<String>, Vec<String>)>;

impl Mirror {
    pub fn tree_of(&self, commit: &Oid) -> Result<Oid, GitError> {
        let repo = self.repo()?;
        Ok(oid(self.find_commit(&repo, commit)?.tree_id()))
    }

    /// The first parent; none for a root.
    pub fn parent(&self, commit: &Oid) -> Result<Option<Oid>, GitError> {
        let repo = self.repo()?;
        Ok(self
            .find_commit(&repo, commit)?
            .parent_ids()
            .next()
            .map(oid))
    }

    /// True where `ancestor` is `commit` or stands before it.
    pub fn is_ancestor(&self, ancestor: &Oid, commit: &Oid) -> Result<bool, GitError> {
        let repo = self.repo()?;
        let (a, c) = (
            self.find_commit(&repo, ancestor)?.id(),
            self.find_commit(&repo, commit)?.id(),
        );
        Ok(a == c
            || repo
                .graph_descendant_of(c, a)
                .map_err(|e| self.missing(commit, e))?)
    }

    /// None where the two share no history.
    pub fn merge_base(&self, a: &Oid, b: &Oid) -> Result<Option<Oid>, GitError> {
        let repo = self.repo()?;
        match repo.merge_base(
            self.find_commit(&repo, a)?.id(),
            self.find_commit(&repo, b)?.id(),
        ) {
            Ok(base) => Ok(Some(oid(base))),
            Err(e) if e.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(e) => Err(self.missing(a, e)),
        }
    }

    /// The commit that `rev` names: an id or its start, a fetched branch, with `~1` and the like. A rev
    /// that names something else than a commit gives that object's id.
    pub fn resolve(&self, rev: &str) -> Result<Oid, GitError> {
        let repo = self.repo()?;
        let of_branch = repo.revparse_single(&format!("refs/changebus/tips/{rev}"));
        let object = of_branch
            .or_else(|_| repo.revparse_single(rev))
            .map_err(|e| self.missing(&rev, e))?;
        Ok(oid(object
            .peel_to_commit()
            .map_or(object.id(), |commit| commit.id())))
    }

    /// What `head` has and `base` has not, newest first, at most `limit`.
    pub fn commits(&self, base: &Oid, head: &Oid, limit: usize) -> Result<Vec<Commit>, GitError> {
        let repo = self.repo()?;
        let (base, head) = (
            self.find_commit(&repo, base)?.id(),
            self.find_commit(&repo, head)?.id(),
        );
        let walk = || -> Result<Vec<Commit>, git2::Error> {
            let mut walk = repo.revwalk()?;
            walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::TIME)?;
            walk.push(head)?;
            walk.hide(base)?;
            walk.take(limit)
                .map(|id| Ok(described(&repo.find_commit(id?)?)))
                .collect()
        };
        walk().map_err(|e| self.missing(&head, e))
    }

    /// What stands between `base` and `head` on the line of first parents, oldest first, the head last; of a longer line
    /// the newest `limit`.
    pub fn first_parents(
        &self,
        base: &Oid,
        head: &Oid,
        limit: usize,
    ) -> Result<Vec<Oid>, GitError> {
        let repo = self.repo()?;
        let (base, head) = (
            self.find_commit(&repo, base)?.id(),
            self.find_commit(&repo, head)?.id(),
        );
        let walk = || -> Result<Vec<Oid>, git2::Error> {
            let mut walk = repo.revwalk()?;
            walk.set_sorting(git2::Sort::TOPOLOGICAL)?;
            walk.simplify_first_parent()?;
            walk.push(head)?;
            walk.hide(base)?;
            walk.take(limit).map(|id| id.map(oid)).collect()
        };
        let mut line = walk().map_err(|e| self.missing(&head, e))?;
        line.reverse();
        Ok(line)
    }

    /// None of the first commit; the one that was merged into first.
    pub fn parents(&self, commit: &Oid) -> Result<Vec<Oid>, GitError> {
        let repo = self.repo()?;
        let commit = self.find_commit(&repo, commit)?;
        Ok(commit.parent_ids().map(oid).collect())
    }

    /// A commit's message, and by file the lines it took away and put there, beside its first parent. Files that are not
    /// text, or larger than a mebibyte, are left out.
    pub fn changed_lines(&self, commit: &Oid) -> Result<(String, ChangedLines), GitError> {
        let repo = self.repo()?;
        let commit = self.find_commit(&repo, commit)?;
        let read = || -> Result<ChangedLines, git2::Error> {
            let before = commit.parents().next().map(|p| p.tree()).transpose()?;
            let mut options = git2::DiffOptions::new();
            options.context_lines(0).max_size(1 << 20);
            let tree = commit.tree()?;
            let diff = repo.diff_tree_to_tree(before.as_ref(), Some(&tree), Some(&mut options))?;
            let mut lines = ChangedLines::new();
            diff.foreach(
                &mut |_, _| true,
                None,
                None,
                Some(&mut |delta, _, line| {
                    let path = delta.new_file().path().or(delta.old_file().path());
                    let path = path.map(|p| p.to_string_lossy().into_owned());
                    let text = String::from_utf8_lossy(line.content());
                    let text = text.trim_end_matches(['\r', '\n']).to_owned();
                    let of_file = lines.entry(path.unwrap_or_default()).or_default();
                    match line.origin() {
                        '-' => of_file.0.push(text),
                        '+' => of_file.1.push(text),
                        _ => {}
                    }
                    true
                }),
            )?;
            Ok(lines)
        };
        let lines = read().map_err(|e| self.missing(&oid(commit.id()), e))?;
        let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
        Ok((message, lines))
    }

    /// Makes a commit; the same arguments give the same id.
    pub fn commit(
        &self,
        tree: &Oid,
        parents: &[Oid],
        message: &str,
        name: &str,
        email: &str,
        at: Timestamp,
    ) -> Result<Oid, GitError> {
        let repo = self.repo()?;
        let tree = self.find_tree(&repo, tree)?;
        let parents = parents
            .iter()
            .map(|p| self.find_commit(&repo, p))
            .collect::<Result<Vec<_>, _>>()?;
        let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
        let who = git2::Signature::new(name, email, &git2::Time::new(at.as_second(), 0));
        let who = who.map_err(|_| GitError::BadName {
            name: format!("{name} <{email}>"),
        })?;
        repo.commit(None, &who, &who, message, &tree, &parents)
            .map(oid)
            .map_err(|e| self.unusable(e))
    }

    /// Keeps an object and what hangs on it reachable, as `refs/changebus/keep/<name>`.
    pub fn keep(&self, name: &str, kept: &Oid) -> Result<(), GitError> {
        self.set_reference(&format!("refs/changebus/keep/{name}"), self.id(kept)?)
    }
}

fn described(commit: &git2::Commit<'_>) -> Commit {
    let author = commit.author();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Commit {
        id: oid(commit.id()),
        author: format!(
            "{} <{}>",
            text(author.name_bytes()),
            text(author.email_bytes())
        ),
        message: text(commit.message_bytes()),
    }
}
