//! Applies a strategy's patch to a tree, without a working tree and without a way out of it.
//!
//! Touches: git, files, processes.
//! Change here: when patches can be written in another way, or another trick becomes known.
//!
//! Every path is checked before git sees it, and every result again afterwards. Only regular files are
//! changed: a file keeps its mode and a new one is not executable, unless a diff says otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use changebus_edits::{Match, apply_one};
use git2::{ObjectType, Repository};

use super::cli::{Git, complaint};
use super::grow::{Leaf, with_leaves};
use super::unified::Unified;
use super::{GitError, LOCAL_TIMEOUT, Mirror, blocking, io, oid, path, unified};
use crate::event::{Applied, Edit, Exit, Oid, Patch};

/// One file's new content, or one diff.
const LARGEST_EDIT: usize = 8 << 20;
const FILE: i32 = 0o100_644;
const PROGRAM: i32 = 0o100_755;

/// A tree with a patch applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedPatch {
    pub tree: Oid,
    /// The least exact match of all edits.
    pub applied: Applied,
}

/// Why a patch cannot be applied; a sentence for the strategy's author or the model.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    #[error("{path}: {why}; only paths inside the repository can be changed")]
    OutsideTree { path: String, why: &'static str },
    #[error("{path} is {what}; only regular files can be changed")]
    NotAFile { path: String, what: &'static str },
    #[error("{path}: {why}")]
    NoMatch { path: String, why: String },
    #[error("the patch cannot be read: {why}")]
    Malformed { why: String },
    #[error("the patch changes nothing")]
    Empty,
    #[error("the repository failed while a patch was applied")]
    Git(#[from] GitError),
}

impl Mirror {
    /// Applies the edits in their order, each to what the ones before it left.
    pub async fn apply(&self, onto_tree: &Oid, patch: &Patch) -> Result<AppliedPatch, PatchError> {
        let mut draft = Draft {
            mirror: self.clone(),
            onto: self.id(onto_tree)?,
            leaves: BTreeMap::new(),
            applied: Applied::Exact,
        };
        for edit in &patch.edits {
            draft = match edit.clone() {
                Edit::UnifiedDiff { text } => draft.unified_diff(&text).await?,
                Edit::Replace {
                    path,
                    search,
                    replacement,
                } => blocking(move || draft.replace(&path, &search, &replacement)).await?,
                Edit::Write { path, content } => {
                    blocking(move || draft.write(&path, &content)).await?
                }
                Edit::Delete { path } => blocking(move || draft.delete(&path)).await?,
            };
        }
        blocking(move || draft.finish()).await
    }
}

/// A tree and what has been changed about it so far.
struct Draft {
    mirror: Mirror,
    onto: git2::Oid,
    leaves: BTreeMap<String, Leaf>,
    applied: Applied,
}

impl Draft {
    fn replace(mut self, path: &str, search: &str, replacement: &str) -> Result<Draft, PatchError> {
        let repo = self.mirror.repo()?;
        let (id, mode) = self.existing(&repo, path)?;
        let no_match = |why: String| PatchError::NoMatch {
            path: path.to_owned(),
            why,
        };
        let blob = repo
            .find_blob(id)
            .map_err(|e| self.mirror.missing(&path, e))?;
        let content = std::str::from_utf8(blob.content())
            .map_err(|_| no_match("the file is not UTF-8 text".into()))?;
        let (content, how) =
            apply_one(content, search, replacement).map_err(|miss| no_match(miss.to_string()))?;
        self.put(&repo, path, &content, mode)?;
        self.applied = self.applied.max(applied(how));
        Ok(self)
    }

    fn write(mut self, path: &str, content: &str) -> Result<Draft, PatchError> {
        let repo = self.mirror.repo()?;
        let mode = self.look(&repo, path)?.map_or(FILE, |(_, mode)| mode);
        self.put(&repo, path, content, mode)?;
        Ok(self)
    }

    fn delete(mut self, path: &str) -> Result<Draft, PatchError> {
        let repo = self.mirror.repo()?;
        self.existing(&repo, path)?;
        self.leaves.insert(path.to_owned(), None);
        Ok(self)
    }

    fn put(
        &mut self,
        repo: &Repository,
        path: &str,
        content: &str,
        mode: i32,
    ) -> Result<(), PatchError> {
        if content.len() > LARGEST_EDIT {
            return Err(PatchError::Malformed {
                why: format!("{path} would be larger than {LARGEST_EDIT} bytes"),
            });
        }
        let blob = repo
            .blob(content.as_bytes())
            .map_err(|e| self.mirror.unusable(e))?;
        self.leaves.insert(path.to_owned(), Some((blob, mode)));
        Ok(())
    }

    fn existing(&self, repo: &Repository, path: &str) -> Result<(git2::Oid, i32), PatchError> {
        let missing = || PatchError::NoMatch {
            path: path.to_owned(),
            why: "there is no such file".into(),
        };
        self.look(repo, path)?.ok_or_else(missing)
    }

    /// The regular file at a path; none where a new one may be put.
    fn look(&self, repo: &Repository, path: &str) -> Result<Leaf, PatchError> {
        path::check(path).map_err(|why| PatchError::OutsideTree {
            path: path.to_owned(),
            why,
        })?;
        for (end, _) in path.match_indices('/') {
            match self.at(repo, &path[..end])? {
                There::Nothing | There::Directory => {}
                There::Special(_) => {
                    return Err(PatchError::OutsideTree {
                        path: path.to_owned(),
                        why: "the path leads through a link or a submodule",
                    });
                }
                There::File(..) => return Err(not_a_file(&path[..end], "a file, not a directory")),
            }
        }
        match self.at(repo, path)? {
            There::Nothing => Ok(None),
            There::File(id, mode) => Ok(Some((id, mode))),
            There::Directory => Err(not_a_file(path, "a directory")),
            There::Special(what) => Err(not_a_file(path, what)),
        }
    }

    /// What stands at a path now: as changed so far, or as in the tree.
    fn at(&self, repo: &Repository, path: &str) -> Result<There, PatchError> {
        if let Some(Some((id, mode))) = self.leaves.get(path) {
            return Ok(There::File(*id, *mode));
        }
        let below = format!("{path}/");
        if self
            .leaves
            .range(below.clone()..)
            .take_while(|(p, _)| p.starts_with(&below))
            .any(|(_, leaf)| leaf.is_some())
        {
            return Ok(There::Directory);
        }
        if self.leaves.contains_key(path) {
            return Ok(There::Nothing);
        }
        let tree = repo
            .find_tree(self.onto)
            .map_err(|e| self.mirror.missing(&self.onto, e))?;
        match tree.get_path(Path::new(path)) {
            Ok(entry) => Ok(There::of(&entry)),
            Err(e) if e.code() == git2::ErrorCode::NotFound => Ok(There::Nothing),
            Err(e) => Err(self.mirror.missing(&path, e).into()),
        }
    }

    fn finish(self) -> Result<AppliedPatch, PatchError> {
        let repo = self.mirror.repo()?;
        let base = repo
            .find_tree(self.onto)
            .map_err(|e| self.mirror.missing(&self.onto, e))?;
        let tree = with_leaves(&repo, &base, &self.leaves).map_err(|e| self.mirror.unusable(e))?;
        if tree == self.onto {
            return Err(PatchError::Empty);
        }
        Ok(AppliedPatch {
            tree: oid(tree),
            applied: self.applied,
        })
    }
}

enum There {
    Nothing,
    File(git2::Oid, i32),
    Directory,
    Special(&'static str),
}

impl There {
    fn of(entry: &git2::TreeEntry<'_>) -> There {
        match (entry.kind(), entry.filemode()) {
            (Some(ObjectType::Tree), _) => There::Directory,
            (Some(ObjectType::Blob), mode @ (FILE | PROGRAM)) => There::File(entry.id(), mode),
            (Some(ObjectType::Blob), _) => There::Special("a symbolic link"),
            _ => There::Special("a submodule"),
        }
    }
}

fn not_a_file(path: &str, what: &'static str) -> PatchError {
    PatchError::NotAFile {
        path: path.to_owned(),
        what,
    }
}

/// Diffs, by the git program on an index that holds nothing but the files the diff names.
impl Draft {
    async fn unified_diff(self, text: &str) -> Result<Draft, PatchError> {
        if text.len() > LARGEST_EDIT {
            return Err(PatchError::Malformed {
                why: format!("the diff is larger than {LARGEST_EDIT} bytes"),
            });
        }
        let diff = unified::read(text).map_err(|why| PatchError::Malformed { why })?;
        if let Some((path, what)) = diff.special {
            return Err(not_a_file(&path, what));
        }
        let scratch = io(
            &std::env::temp_dir(),
            tempfile::Builder::new().prefix("cb-apply-").tempdir(),
        )?;
        let at = scratch.path().to_owned();
        let (draft, diff) = blocking(move || self.laid_out(diff, &at)).await?;
        let loosely = draft.run_git(&diff, scratch.path()).await?;
        let at = scratch.path().to_owned();
        blocking(move || draft.taken_back(&diff, &at, loosely)).await
    }

    /// Writes the diff and an index of the files it names into `at`.
    fn laid_out(self, diff: Unified, at: &Path) -> Result<(Draft, Unified), PatchError> {
        let repo = self.mirror.repo()?;
        let index_path = at.join("index");
        let mut index = git2::Index::open(&index_path).map_err(|e| self.mirror.unusable(e))?;
        for path in &diff.paths {
            if let Some((id, mode)) = self.look(&repo, path)? {
                self.check_anchors(&repo, &diff, path, id)?;
                index
                    .add(&index_entry(path, id, mode))
                    .map_err(|e| self.mirror.unusable(e))?;
            }
        }
        index.write().map_err(|e| self.mirror.unusable(e))?;
        io(at, std::fs::write(at.join("diff"), &diff.text))?;
        Ok((self, diff))
    }

    /// A hunk without a line of the file would go wherever its number says, and models cannot count.
    fn check_anchors(
        &self,
        repo: &Repository,
        diff: &Unified,
        path: &str,
        id: git2::Oid,
    ) -> Result<(), PatchError> {
        let has_lines = repo
            .find_blob(id)
            .map_err(|e| self.mirror.missing(&path, e))?
            .size()
            > 0;
        if has_lines
            && diff
                .hunks
                .iter()
                .any(|(named, before)| named == path && before.is_empty())
        {
            let why = "a hunk shows no line of the file; give some of its surroundings".to_owned();
            return Err(PatchError::NoMatch {
                path: path.to_owned(),
                why,
            });
        }
        Ok(())
    }

    /// True where it went only because blanks were not looked at.
    async fn run_git(&self, diff: &Unified, at: &Path) -> Result<bool, PatchError> {
        let Some(strict) = self.git_apply(at, &[]).await? else {
            return Ok(false);
        };
        // Git takes a hunk without lines after the change for the end of the file, and one that claims line
        // 1 for its start. Models mean neither; where the lines stand only once, there is no doubt.
        if self.stand_once(diff)? && self.git_apply(at, &["--unidiff-zero"]).await?.is_none() {
            return Ok(false);
        }
        match self.git_apply(at, &["--ignore-space-change"]).await? {
            None => Ok(true),
            Some(_) => Err(refused(diff, &strict)),
        }
    }

    /// True where every hunk's lines stand in its file exactly once.
    fn stand_once(&self, diff: &Unified) -> Result<bool, PatchError> {
        let repo = self.mirror.repo()?;
        for (path, before) in &diff.hunks {
            let Some((id, _)) = self.look(&repo, path)? else {
                return Ok(false);
            };
            let blob = repo
                .find_blob(id)
                .map_err(|e| self.mirror.missing(path, e))?;
            // A line starts where another ends.
            let content = format!("\n{}\n", String::from_utf8_lossy(blob.content()));
            if content.matches(&format!("\n{before}")).count() != 1 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// None where it applied, else what git says.
    async fn git_apply(&self, at: &Path, more: &[&str]) -> Result<Option<String>, PatchError> {
        self.mirror.restore_config()?;
        let diff = at.join("diff").display().to_string();
        let mut arguments = vec!["--cached", "--recount", "--whitespace=nowarn", "-p1"];
        arguments.extend(more);
        arguments.push(&diff);
        let index = vec![("GIT_INDEX_FILE", at.join("index").display().to_string())];
        let dir = self.mirror.dir();
        let git = Git {
            verb: "apply",
            arguments,
            repository: Some(dir),
            env: index,
            timeout: LOCAL_TIMEOUT,
        };
        let finished = git.run(&dir.display().to_string()).await?;
        Ok((finished.exit != Exit::Code(0)).then(|| complaint(&finished, &diff)))
    }

    /// Takes the files over from the index, as strictly as if git had checked nothing.
    fn taken_back(mut self, diff: &Unified, at: &Path, loosely: bool) -> Result<Draft, PatchError> {
        let repo = self.mirror.repo()?;
        let index = git2::Index::open(&at.join("index")).map_err(|e| self.mirror.unusable(e))?;
        let mut there = BTreeSet::new();
        for entry in index.iter() {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            let mode = entry.mode as i32;
            if !diff.paths.contains(&path) {
                return Err(PatchError::OutsideTree {
                    path,
                    why: "the diff does not name it in its headers",
                });
            }
            if mode != FILE && mode != PROGRAM {
                return Err(not_a_file(&path, "no regular file after the diff"));
            }
            if self.look(&repo, &path)? != Some((entry.id, mode)) {
                self.leaves.insert(path.clone(), Some((entry.id, mode)));
            }
            there.insert(path);
        }
        for path in diff.paths.difference(&there) {
            if self.look(&repo, path)?.is_some() {
                self.leaves.insert(path.clone(), None);
            }
        }
        if loosely {
            self.applied = self.applied.max(Applied::Whitespace);
        }
        Ok(self)
    }
}

fn index_entry(path: &str, id: git2::Oid, mode: i32) -> git2::IndexEntry {
    let never = git2::IndexTime::new(0, 0);
    git2::IndexEntry {
        ctime: never,
        mtime: never,
        dev: 0,
        ino: 0,
        mode: mode as u32,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}

/// What git said, sorted by whether the diff is broken or the file is another.
fn refused(diff: &Unified, said: &str) -> PatchError {
    let why = said
        .split("; ")
        .filter(|part| !part.starts_with("warning: "))
        .collect::<Vec<_>>()
        .join("; ");
    let unreadable = [
        "corrupt patch",
        "unrecognized input",
        "patch fragment without header",
        "only garbage",
        "bad git-diff",
        "No valid patches",
    ];
    if unreadable.iter().any(|sign| why.contains(sign)) {
        return PatchError::Malformed { why };
    }
    let named = diff
        .paths
        .iter()
        .find(|path| why.contains(path.as_str()))
        .or(diff.paths.first());
    PatchError::NoMatch {
        path: named.cloned().unwrap_or_default(),
        why: format!("the diff does not fit: {why}"),
    }
}

fn applied(how: Match) -> Applied {
    match how {
        Match::Exact => Applied::Exact,
        Match::Whitespace => Applied::Whitespace,
        Match::Indent => Applied::Indent,
        Match::Elided => Applied::Elided,
    }
}
