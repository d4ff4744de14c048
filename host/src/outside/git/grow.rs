//! New trees out of old ones, without a working tree.
//!
//! Touches: git.
//! Change here: when trees are put together in another way.

use std::collections::BTreeMap;

use git2::{ObjectType, Repository, Tree};

use super::{GitError, Mirror, oid};
use crate::event::Oid;

/// A blob and its mode at a path, or nothing there any more.
pub type Leaf = Option<(git2::Oid, i32)>;

const DIRECTORY: i32 = 0o040_000;

impl Mirror {
    /// `tree`, but every path for which `keep` says yes is as in `from`: restored, or removed where `from`
    /// has none. `keep` is asked only about paths that differ.
    pub fn with_paths_from(
        &self,
        tree: &Oid,
        from: &Oid,
        keep: &dyn Fn(&str) -> bool,
    ) -> Result<Oid, GitError> {
        let repo = self.repo()?;
        let diff = self.diff(&repo, tree, from, &mut git2::DiffOptions::new())?;
        let mut leaves = BTreeMap::new();
        for delta in diff.deltas() {
            let there = delta.new_file();
            // A path that is no text cannot be told to `keep`, and no patch of ours can have made it.
            let Some(path) = there
                .path_bytes()
                .and_then(|path| std::str::from_utf8(path).ok())
            else {
                continue;
            };
            if keep(path) {
                let leaf = there
                    .exists()
                    .then(|| (there.id(), i32::from(there.mode())));
                // A file that became a link comes as two deltas, of which one brings the new one.
                leaves
                    .entry(path.to_owned())
                    .and_modify(|known: &mut Leaf| *known = leaf.or(*known))
                    .or_insert(leaf);
            }
        }
        let base = self.find_tree(&repo, tree)?;
        with_leaves(&repo, &base, &leaves)
            .map(oid)
            .map_err(|e| self.unusable(e))
    }

    pub fn empty_tree(&self) -> Result<Oid, GitError> {
        let repo = self.repo()?;
        let empty = repo.treebuilder(None).and_then(|builder| builder.write());
        empty.map(oid).map_err(|e| self.unusable(e))
    }

    /// What `candidate` changed about `base`, done to `onto`: a merge of three trees in memory. The inner
    /// error lists the paths that conflict.
    pub fn rebase_tree(
        &self,
        base_tree: &Oid,
        onto_tree: &Oid,
        candidate_tree: &Oid,
    ) -> Result<Result<Oid, Vec<String>>, GitError> {
        let repo = self.repo()?;
        let [base, onto, candidate] =
            [base_tree, onto_tree, candidate_tree].map(|tree| self.find_tree(&repo, tree));
        let mut options = git2::MergeOptions::new();
        options.find_renames(true);
        let merged = repo.merge_trees(&base?, &onto?, &candidate?, Some(&options));
        let mut index = merged.map_err(|e| self.unusable(e))?;
        if !index.has_conflicts() {
            return index
                .write_tree_to(&repo)
                .map(|tree| Ok(oid(tree)))
                .map_err(|e| self.unusable(e));
        }
        conflicts(&index).map(Err).map_err(|e| self.unusable(e))
    }
}

fn conflicts(index: &git2::Index) -> Result<Vec<String>, git2::Error> {
    let mut paths = Vec::new();
    for conflict in index.conflicts()? {
        let conflict = conflict?;
        let sides = [conflict.our, conflict.their, conflict.ancestor];
        paths.extend(
            sides
                .into_iter()
                .flatten()
                .map(|entry| String::from_utf8_lossy(&entry.path).into_owned()),
        );
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// `base` with some paths changed. Directories that hold nothing any more go.
pub fn with_leaves(
    repo: &Repository,
    base: &Tree<'_>,
    leaves: &BTreeMap<String, Leaf>,
) -> Result<git2::Oid, git2::Error> {
    let leaves = leaves
        .iter()
        .map(|(path, leaf)| (path.as_str(), *leaf))
        .collect();
    match grown(repo, Some(base), &leaves)? {
        Some(tree) => Ok(tree),
        None => repo.treebuilder(None)?.write(),
    }
}

#[derive(Default)]
struct Node<'a> {
    leaf: Option<Leaf>,
    below: BTreeMap<&'a str, Leaf>,
}

/// None where nothing is left.
fn grown(
    repo: &Repository,
    base: Option<&Tree<'_>>,
    leaves: &BTreeMap<&str, Leaf>,
) -> Result<Option<git2::Oid>, git2::Error> {
    let mut nodes: BTreeMap<&str, Node<'_>> = BTreeMap::new();
    for (path, leaf) in leaves {
        match path.split_once('/') {
            Some((name, rest)) => drop(nodes.entry(name).or_default().below.insert(rest, *leaf)),
            None => nodes.entry(path).or_default().leaf = Some(*leaf),
        }
    }
    let mut builder = repo.treebuilder(base)?;
    for (name, node) in nodes {
        let existing = base
            .and_then(|tree| tree.get_name(name))
            .filter(|e| e.kind() == Some(ObjectType::Tree));
        let subtree = existing.map(|e| repo.find_tree(e.id())).transpose()?;
        match grown_node(repo, subtree.as_ref(), &node)? {
            Some((id, mode)) => drop(builder.insert(name, id, mode)?),
            None if node.keeps_what_is_there(subtree.is_some()) => {}
            None if builder.get(name)?.is_some() => builder.remove(name)?,
            None => {}
        }
    }
    Ok(if builder.is_empty() {
        None
    } else {
        Some(builder.write()?)
    })
}

fn grown_node(
    repo: &Repository,
    subtree: Option<&Tree<'_>>,
    node: &Node<'_>,
) -> Result<Leaf, git2::Error> {
    match node.leaf {
        Some(Some(leaf)) => Ok(Some(leaf)),
        _ if subtree.is_none() && node.below.values().all(Option::is_none) => Ok(None),
        _ => Ok(grown(repo, subtree, &node.below)?.map(|tree| (tree, DIRECTORY))),
    }
}

impl Node<'_> {
    /// Only removals below a file that is no directory: they ask for nothing.
    fn keeps_what_is_there(&self, is_directory: bool) -> bool {
        !is_directory && self.leaf.is_none() && self.below.values().all(Option::is_none)
    }
}
