//! Trees as plain files: out of a mirror into a directory, and back in.
//!
//! Touches: git, files.
//! Change here: when something else of a tree than its files should come to lie in a directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use git2::{ObjectType, Repository, TreeWalkMode, TreeWalkResult};

use super::{GitError, Mirror, io, oid};
use crate::event::Oid;

const FILE: i32 = 0o100_644;
const PROGRAM: i32 = 0o100_755;
const LINK: i32 = 0o120_000;
const DIRECTORY: i32 = 0o040_000;

impl Mirror {
    /// Makes a tree of a directory's files, links and programs. What git itself keeps there is left out.
    pub fn take_in(&self, dir: &Path) -> Result<Oid, GitError> {
        let repo = self.repo()?;
        let tree = self.tree_from(&repo, dir)?;
        let empty = || repo.treebuilder(None).and_then(|b| b.write());
        tree.map_or_else(empty, Ok)
            .map(oid)
            .map_err(|e| self.unusable(e))
    }

    /// None for a directory without a file: git keeps none.
    fn tree_from(&self, repo: &Repository, dir: &Path) -> Result<Option<git2::Oid>, GitError> {
        let mut builder = repo.treebuilder(None).map_err(|e| self.unusable(e))?;
        for entry in io(dir, std::fs::read_dir(dir))? {
            let (path, name) = {
                let entry = io(dir, entry)?;
                (entry.path(), entry.file_name())
            };
            if name == ".git" {
                continue;
            }
            if let Some((id, mode)) = self.leaf_from(repo, &path)? {
                builder
                    .insert(name.as_bytes(), id, mode)
                    .map_err(|e| self.unusable(e))?;
            }
        }
        if builder.is_empty() {
            return Ok(None);
        }
        builder.write().map(Some).map_err(|e| self.unusable(e))
    }

    fn leaf_from(
        &self,
        repo: &Repository,
        path: &Path,
    ) -> Result<Option<(git2::Oid, i32)>, GitError> {
        let about = io(path, std::fs::symlink_metadata(path))?;
        let kept = |bytes: &[u8]| repo.blob(bytes).map_err(|e| self.unusable(e));
        if about.is_symlink() {
            let to = io(path, std::fs::read_link(path))?;
            return Ok(Some((kept(to.as_os_str().as_bytes())?, LINK)));
        }
        if about.is_dir() {
            return Ok(self.tree_from(repo, path)?.map(|id| (id, DIRECTORY)));
        }
        if !about.is_file() {
            return Ok(None);
        }
        let program = about.permissions().mode() & 0o111 != 0;
        let id = kept(&io(path, std::fs::read(path))?)?;
        Ok(Some((id, if program { PROGRAM } else { FILE })))
    }

    /// Writes a tree's files into a directory, which is made. Submodules are left out.
    pub fn lay_out(&self, tree: &Oid, dir: &Path) -> Result<(), GitError> {
        let repo = self.repo()?;
        let tree = self.find_tree(&repo, tree)?;
        io(dir, std::fs::create_dir_all(dir))?;
        // Last, so that no file of a forged tree is written through one.
        let mut links = Vec::new();
        let mut failed = None;
        let walked = tree.walk(TreeWalkMode::PreOrder, |above, entry| {
            let path = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            let path = format!("{above}{path}");
            match self.lay_entry(&repo, entry, &path, dir, &mut links) {
                Ok(()) => TreeWalkResult::Ok,
                Err(error) => {
                    failed = Some(error);
                    TreeWalkResult::Abort
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        walked.map_err(|e| self.unusable(e))?;
        links.into_iter().try_for_each(lay_link)
    }

    /// Writes into a fresh directory what is in `to` and not in `from`, with the directories above it; the paths that are
    /// in `from` and not in `to` are returned. Submodules are left out.
    pub fn lay_difference(
        &self,
        from: &Oid,
        to: &Oid,
        dir: &Path,
    ) -> Result<Vec<String>, GitError> {
        let repo = self.repo()?;
        let (from, to) = (self.find_tree(&repo, from)?, self.find_tree(&repo, to)?);
        let diff = repo.diff_tree_to_tree(Some(&from), Some(&to), None);
        let diff = diff.map_err(|e| self.unusable(e))?;
        let (mut links, mut gone) = (Vec::new(), Vec::new());
        for delta in diff.deltas() {
            let side = |file: &git2::DiffFile<'_>| {
                let path = file.path_bytes().map(String::from_utf8_lossy);
                path.map(std::borrow::Cow::into_owned).unwrap_or_default()
            };
            let entry = (!delta.new_file().id().is_zero()).then(|| delta.new_file());
            let Some(new) = entry else {
                gone.push(side(&delta.old_file()));
                continue;
            };
            let path = side(&new);
            if super::path::check(&path).is_err() {
                continue;
            }
            let place = dir.join(&path);
            let above = place.parent().unwrap_or(dir);
            io(above, std::fs::create_dir_all(above))?;
            let mode = u32::from(new.mode()) as i32;
            if mode == DIRECTORY || repo.find_blob(new.id()).is_err() {
                continue;
            }
            self.lay_blob(&repo, new.id(), mode, place, &mut links)?;
        }
        links.into_iter().try_for_each(lay_link)?;
        Ok(gone)
    }

    fn lay_blob(
        &self,
        repo: &Repository,
        id: git2::Oid,
        mode: i32,
        place: PathBuf,
        links: &mut Vec<(PathBuf, Vec<u8>)>,
    ) -> Result<(), GitError> {
        let blob = repo.find_blob(id).map_err(|e| self.unusable(e))?;
        match mode {
            LINK => links.push((place, blob.content().to_vec())),
            _ => lay_file(&place, blob.content(), mode)?,
        }
        Ok(())
    }

    fn lay_entry(
        &self,
        repo: &Repository,
        entry: &git2::TreeEntry<'_>,
        path: &str,
        dir: &Path,
        links: &mut Vec<(PathBuf, Vec<u8>)>,
    ) -> Result<(), GitError> {
        // A tree somebody forged may hold `..`; such a path is not written anywhere.
        if super::path::check(path).is_err() {
            return Ok(());
        }
        let place = dir.join(path);
        match (entry.kind(), entry.filemode()) {
            (Some(ObjectType::Tree), _) => io(&place, std::fs::create_dir_all(&place)),
            (Some(ObjectType::Blob), mode) => self.lay_blob(repo, entry.id(), mode, place, links),
            _ => Ok(()),
        }
    }
}

fn lay_link((place, to): (PathBuf, Vec<u8>)) -> Result<(), GitError> {
    io(&place, symlink(OsStr::from_bytes(&to), &place))
}

fn lay_file(place: &Path, content: &[u8], mode: i32) -> Result<(), GitError> {
    io(place, std::fs::write(place, content))?;
    if mode == PROGRAM {
        let programs = std::fs::Permissions::from_mode(0o755);
        io(place, std::fs::set_permissions(place, programs))?;
    }
    Ok(())
}

/// The difference between two texts that are no files, as a reader of patches knows it; empty where there is none.
pub fn text_diff(then: &str, now: &str) -> Result<String, git2::Error> {
    let mut patch = git2::Patch::from_buffers(then.as_bytes(), None, now.as_bytes(), None, None)?;
    let bytes = patch.to_buf()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // The lines that name the two files.
    Ok(text
        .split_inclusive('\n')
        .skip_while(|line| !line.starts_with("@@"))
        .collect())
}
