//! What differs between two trees.
//!
//! Touches: git.
//! Change here: when a difference must be told in another form.

use super::{GitError, Mirror};
use crate::event::{DiffStat, Oid, PathChange};

impl Mirror {
    /// Paths that differ, sorted. A moved file counts as two.
    pub fn changed_paths(&self, a_tree: &Oid, b_tree: &Oid) -> Result<Vec<String>, GitError> {
        let repo = self.repo()?;
        let diff = self.diff(&repo, a_tree, b_tree, &mut git2::DiffOptions::new())?;
        let mut paths: Vec<String> = diff.deltas().map(|delta| path_of(&delta)).collect();
        paths.sort();
        paths.dedup();
        Ok(paths)
    }

    /// A unified diff for reading, of one path or of all; cut at a line where it is longer than
    /// `max_bytes`, which its last line then says.
    pub fn diff_text(
        &self,
        a_tree: &Oid,
        b_tree: &Oid,
        path: Option<&str>,
        context_lines: u32,
        max_bytes: usize,
    ) -> Result<String, GitError> {
        let repo = self.repo()?;
        let mut options = git2::DiffOptions::new();
        options.context_lines(context_lines);
        if let Some(path) = path {
            options.pathspec(path).disable_pathspec_match(true);
        }
        let diff = self.diff(&repo, a_tree, b_tree, &mut options)?;
        let mut text = Vec::new();
        let mut complete = true;
        let printed = diff.print(git2::DiffFormat::Patch, |_, _, line| {
            let origin = matches!(line.origin(), '+' | '-' | ' ').then_some(line.origin() as u8);
            complete = text.len() + line.content().len() < max_bytes;
            if complete {
                text.extend(origin);
                text.extend_from_slice(line.content());
            }
            complete
        });
        if complete {
            printed.map_err(|e| self.unusable(e))?;
        } else {
            text.extend_from_slice(
                format!("[cut here: the diff is longer than {max_bytes} bytes]\n").as_bytes(),
            );
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The whole difference as a patch that git applies (binary files and full ids included), its size,
    /// and each path. Text that is not UTF-8 does not survive in the patch; the trees are what counts.
    pub fn patch(
        &self,
        a_tree: &Oid,
        b_tree: &Oid,
    ) -> Result<(String, DiffStat, Vec<PathChange>), GitError> {
        let repo = self.repo()?;
        let mut options = git2::DiffOptions::new();
        options
            .show_binary(true)
            .id_abbrev(40)
            .indent_heuristic(true);
        let diff = self.diff(&repo, a_tree, b_tree, &mut options)?;
        let (mut text, mut stat, mut changes) = (Vec::new(), DiffStat::default(), Vec::new());
        for index in 0..diff.deltas().len() {
            let patch = git2::Patch::from_diff(&diff, index).map_err(|e| self.unusable(e))?;
            let delta = diff.get_delta(index);
            let delta = patch.as_ref().map(git2::Patch::delta).or(delta);
            changes.extend(delta.as_ref().map(change));
            let Some(mut patch) = patch else { continue };
            let (_, insertions, deletions) = patch.line_stats().map_err(|e| self.unusable(e))?;
            stat.insertions += insertions as u32;
            stat.deletions += deletions as u32;
            text.extend_from_slice(&patch.to_buf().map_err(|e| self.unusable(e))?);
        }
        stat.files = changes.len() as u32;
        Ok((String::from_utf8_lossy(&text).into_owned(), stat, changes))
    }

    pub(super) fn diff<'r>(
        &self,
        repo: &'r git2::Repository,
        a_tree: &Oid,
        b_tree: &Oid,
        options: &mut git2::DiffOptions,
    ) -> Result<git2::Diff<'r>, GitError> {
        let (a, b) = (self.find_tree(repo, a_tree)?, self.find_tree(repo, b_tree)?);
        repo.diff_tree_to_tree(Some(&a), Some(&b), Some(options))
            .map_err(|e| self.unusable(e))
    }
}

fn change(delta: &git2::DiffDelta<'_>) -> PathChange {
    let mode = |file: git2::DiffFile<'_>| u32::from(file.mode());
    PathChange {
        path: path_of(delta),
        old_mode: mode(delta.old_file()),
        new_mode: mode(delta.new_file()),
        binary: delta.flags().is_binary(),
    }
}

pub(super) fn path_of(delta: &git2::DiffDelta<'_>) -> String {
    let bytes = delta
        .new_file()
        .path_bytes()
        .or(delta.old_file().path_bytes())
        .unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}
