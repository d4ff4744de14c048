//! A working tree of one commit, which owns its removal.
//!
//! Touches: files, git, processes.
//! Change here: when a workspace is made in another way, or must hold something else.
//!
//! Each workspace is a `git worktree` of a small repository of its own that borrows the mirror's objects.
//! What the tests do to their `.git` (settings, hooks, references) stays in there and dies with it; nothing
//! of ours ever runs git there again, and the mirror knows nothing of it. The checkout runs no hook and no
//! filter, takes no submodule, and leaves LFS files as the pointers they are.
//!
//! Where setup has been done before, nothing is checked out: the workspace stands upon the ground that `warm.rs`
//! kept, and holds only what its tree has otherwise.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::fcntl::OFlag;

use super::git::cli::{Git, complaint};
use super::git::{GitError, LOCAL_TIMEOUT, Mirror};
use super::sandbox::{From, HOME, Mount, OBJECTS, REPOSITORY, TREE};
use super::warm::{Ground, Layering};
use crate::event::{Exit, Oid};

/// Held by whoever uses the directory it lies in; the system lets go of it when they die.
const LOCK: &str = "lock";
/// What is not locked yet starts with this. In the system's temporary directory it is not swept: somebody may be about
/// to lock it.
const UNFINISHED: &str = ".new-";
const PRIVATE_PREFIX: &str = "cb-";

#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("{name}: not a name for a workspace; use letters, digits, dots and dashes")]
    BadName { name: String },
    #[error("{path}: in use by another process; wait for it, or stop it")]
    InUse { path: PathBuf },
    #[error("{path}: cannot be made, read or removed")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: the commit cannot be checked out: {why}")]
    Checkout { path: PathBuf, why: String },
    #[error("the mirror does not give what the workspace needs")]
    Git(#[from] GitError),
}

/// A checked-out tree, and a private directory for what a run needs besides. Both go when it is dropped;
/// `remove` does the same without blocking the caller's thread.
#[derive(Debug)]
pub struct Workspace {
    tree: Oid,
    commit: Option<Oid>,
    /// Of the mirror.
    objects: PathBuf,
    floor: Floor,
    /// Holds the worktree, its repository and its home.
    place: Owned,
    private: Owned,
}

/// What lies beneath what the tests write.
#[derive(Debug)]
enum Floor {
    /// Nothing: the work tree is whole.
    Own,
    /// A ground that shows through.
    Ground(Ground),
}

impl Workspace {
    /// Checks out `tree` below `root/name`. Where `commit` has that tree it is checked out itself; otherwise
    /// a commit is made for the tree, with `commit` as its parent.
    pub async fn create(
        mirror: &Mirror,
        tree: &Oid,
        commit: Option<&Oid>,
        root: &Path,
        name: &str,
    ) -> Result<Workspace, WorkspaceError> {
        let (mirror, tree, commit) = (mirror.clone(), tree.clone(), commit.cloned());
        let (root, name) = (at(root, std::path::absolute(root))?, name.to_owned());
        let prepared = move || prepare(&mirror, tree, commit, &root, &name);
        let (workspace, checked_out) = blocking(prepared).await?;
        workspace.check_out(&checked_out).await?;
        Ok(workspace)
    }

    /// Makes a workspace for cells upon a ground. What differs is written apart from it: nothing in there is opened.
    pub async fn upon(
        mirror: &Mirror,
        tree: &Oid,
        commit: Option<&Oid>,
        (root, name): (&Path, &str),
        (ground, layering): (Ground, Layering),
    ) -> Result<Workspace, WorkspaceError> {
        let (mirror, tree, commit) = (mirror.clone(), tree.clone(), commit.cloned());
        let (root, name) = (at(root, std::path::absolute(root))?, name.to_owned());
        let made = move || -> Result<Workspace, WorkspaceError> {
            let (workspace, head) = prepare(&mirror, tree, commit, &root, &name)?;
            let repository = workspace.repository();
            floor::adopt(&repository, &head, &workspace.tree)?;
            floor::lay(&mirror, &workspace, &ground, layering)?;
            Ok(Workspace {
                floor: match layering {
                    Layering::Overlay => Floor::Ground(ground),
                    Layering::Copy => Floor::Own,
                },
                ..workspace
            })
        };
        blocking(made).await
    }

    /// The working tree; its `.git` is a file. Of one that stands upon a ground, only what differs.
    pub fn dir(&self) -> PathBuf {
        self.place.path.join("tree")
    }

    /// Of this workspace alone, short enough for the sockets that tests put there, outside the tree.
    pub fn private(&self) -> &Path {
        &self.private.path
    }

    pub fn tree(&self) -> &Oid {
        &self.tree
    }

    /// The commit whose tree this is; none for a tree that no commit was named for.
    pub fn commit(&self) -> Option<&Oid> {
        self.commit.as_ref()
    }

    /// Of whoever runs setup and tests in here.
    pub fn home(&self) -> PathBuf {
        self.place.path.join("home")
    }

    /// Makes it ready for cells: git finds its parts where they show in there, and `user`, where the cells run as
    /// another one than we, owns what they may write, with the `further` directory.
    pub async fn settle(&self, user: Option<u32>, further: PathBuf) -> io::Result<()> {
        let (tree, repository) = (self.dir(), self.repository());
        let own = [
            tree.clone(),
            repository.clone(),
            self.home(),
            self.work(),
            further,
        ];
        let settled = move || {
            let worktree = repository.join("worktrees/tree");
            let git = if worktree.is_dir() {
                std::fs::write(worktree.join("gitdir"), format!("{TREE}/.git\n"))?;
                format!("{REPOSITORY}/worktrees/tree")
            } else {
                REPOSITORY.to_owned()
            };
            std::fs::write(tree.join(".git"), format!("gitdir: {git}\n"))?;
            let objects = repository.join("objects/info/alternates");
            std::fs::write(objects, format!("{OBJECTS}\n"))?;
            let Some(user) = user else { return Ok(()) };
            let there = own.iter().filter(|dir| dir.is_dir());
            there.into_iter().try_for_each(|dir| give(dir, user))
        };
        blocking(settled).await
    }

    /// What a cell shows of it: the tree to work in, the home, and the history to read.
    pub fn mounts(&self) -> [Mount; 4] {
        let over = |lower, part: &str, upper: PathBuf, to: &str| Mount {
            from: From::Overlay {
                lower,
                upper,
                work: self.work().join(part),
            },
            to: to.into(),
            writable: true,
        };
        let (tree, home) = match &self.floor {
            Floor::Own => (
                Mount::write(self.dir(), TREE),
                Mount::write(self.home(), HOME),
            ),
            Floor::Ground(ground) => (
                over(ground.work_tree(), "tree", self.dir(), TREE),
                over(ground.home(), "home", self.home(), HOME),
            ),
        };
        [
            Mount::read(&self.objects, OBJECTS),
            Mount::read(self.repository(), REPOSITORY),
            tree,
            home,
        ]
    }

    /// Where the kernel prepares what an overlay takes in.
    fn work(&self) -> PathBuf {
        self.place.path.join("work")
    }

    /// The tree and the home, for `warm.rs` to keep; the workspace is of no use then.
    pub async fn leave(&self) -> io::Result<(PathBuf, PathBuf)> {
        let tree = self.dir();
        let git = tree.join(".git");
        blocking(move || remove_all(&git)).await?;
        Ok((tree, self.home()))
    }

    fn repository(&self) -> PathBuf {
        self.place.path.join("repo")
    }

    pub async fn remove(self) {
        blocking(move || drop(self)).await;
    }

    /// Removes what processes that died left in `root` and in the system's temporary directory. Returns
    /// how many directories went. What is in use stays. Nobody else may be making
    /// workspaces in `root`.
    pub fn sweep(root: &Path) -> Result<usize, WorkspaceError> {
        if !root.exists() {
            return Ok(0);
        }
        let workspaces = sweep(root, &|_| true, true)?;
        Ok(workspaces
            + sweep(
                &std::env::temp_dir(),
                &|name| name.starts_with(PRIVATE_PREFIX),
                false,
            )?)
    }

    async fn check_out(&self, commit: &Oid) -> Result<(), WorkspaceError> {
        let (repository, dir) = (self.repository(), self.dir());
        let path = dir.display().to_string();
        let arguments = vec!["add", "--quiet", "--detach", &path, &commit.0];
        let git = Git {
            verb: "worktree",
            arguments,
            repository: Some(&repository),
            env: vec![],
            timeout: LOCAL_TIMEOUT,
        };
        let finished = git.run(&path).await?;
        if finished.exit == Exit::Code(0) {
            return Ok(());
        }
        Err(WorkspaceError::Checkout {
            why: complaint(&finished, &path),
            path: dir,
        })
    }
}

/// Everything but the checkout; returns the commit to check out besides.
fn prepare(
    mirror: &Mirror,
    tree: Oid,
    commit: Option<Oid>,
    root: &Path,
    name: &str,
) -> Result<(Workspace, Oid), WorkspaceError> {
    if !is_name(name) {
        return Err(WorkspaceError::BadName {
            name: name.to_owned(),
        });
    }
    let own = match &commit {
        Some(commit) if mirror.tree_of(commit)? == tree => Some(commit.clone()),
        _ => None,
    };
    let checked_out = match &own {
        Some(commit) => commit.clone(),
        None => {
            let parents: Vec<Oid> = commit.into_iter().collect();
            let at = Timestamp::UNIX_EPOCH;
            mirror.commit(
                &tree,
                &parents,
                "What ChangeBus tries\n",
                "ChangeBus",
                "changebus@localhost",
                at,
            )?
        }
    };
    let place = Owned::make(root, name)?;
    let home = place.path.join("home");
    at(&home, std::fs::create_dir(&home))?;
    borrow_objects(&place.path.join("repo"), mirror)?;
    Ok((
        Workspace {
            tree,
            commit: own,
            objects: mirror.dir().join("objects"),
            floor: Floor::Own,
            place,
            private: Owned::private()?,
        },
        checked_out,
    ))
}

/// Makes a repository that has nothing, and finds everything in the mirror.
fn borrow_objects(dir: &Path, mirror: &Mirror) -> Result<(), WorkspaceError> {
    let mut options = git2::RepositoryInitOptions::new();
    options
        .bare(true)
        .external_template(false)
        .no_reinit(true)
        .initial_head("changebus");
    git2::Repository::init_opts(dir, &options).map_err(|e| WorkspaceError::Checkout {
        path: dir.to_owned(),
        why: e.message().to_owned(),
    })?;
    let alternates = dir.join("objects/info/alternates");
    let objects = mirror.dir().join("objects");
    at(
        &alternates,
        std::fs::create_dir_all(dir.join("objects/info")),
    )?;
    at(
        &alternates,
        std::fs::write(&alternates, format!("{}\n", objects.display())),
    )
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(allowed)
}

/// A directory that is removed with everything in it, locked for as long as it is owned.
#[derive(Debug)]
struct Owned {
    path: PathBuf,
    _lock: File,
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Err(error) = remove_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a workspace could not be removed; the next start tries again");
        }
    }
}

impl Owned {
    fn make(root: &Path, name: &str) -> Result<Owned, WorkspaceError> {
        at(root, std::fs::create_dir_all(root))?;
        let path = root.join(name);
        if path.symlink_metadata().is_ok() && !remove_leftover(&path)? {
            return Err(WorkspaceError::InUse { path });
        }
        Owned::moved_to(root, |_| name.to_owned())
    }

    fn private() -> Result<Owned, WorkspaceError> {
        Owned::moved_to(&std::env::temp_dir(), |random| {
            format!("{PRIVATE_PREFIX}{random}")
        })
    }

    /// Locked first and named afterwards: under its name, what is not locked is a leftover.
    fn moved_to(parent: &Path, name: impl Fn(&str) -> String) -> Result<Owned, WorkspaceError> {
        let fresh = at(
            parent,
            tempfile::Builder::new()
                .prefix(UNFINISHED)
                .tempdir_in(parent),
        )?;
        let lock = at(fresh.path(), File::create_new(fresh.path().join(LOCK)))?;
        at(fresh.path(), lock.lock())?;
        let unfinished = fresh
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let path = parent.join(name(unfinished.trim_start_matches(UNFINISHED)));
        at(&path, std::fs::rename(fresh.path(), &path))?;
        let _ = fresh.keep();
        Ok(Owned { path, _lock: lock })
    }
}

fn sweep(
    root: &Path,
    ours: &dyn Fn(&str) -> bool,
    without_lock: bool,
) -> Result<usize, WorkspaceError> {
    let own = std::fs::metadata("/proc/self").ok().map(|m| m.uid());
    let mut removed = 0;
    for entry in at(root, std::fs::read_dir(root))?.flatten() {
        let path = entry.path();
        let is_own = entry
            .metadata()
            .is_ok_and(|m| m.is_dir() && Some(m.uid()) == own);
        let is_locked_kind = without_lock || path.join(LOCK).exists();
        if is_own
            && is_locked_kind
            && ours(&entry.file_name().to_string_lossy())
            && remove_leftover(&path)?
        {
            removed += 1;
        }
    }
    Ok(removed)
}

/// False where somebody uses it.
fn remove_leftover(path: &Path) -> Result<bool, WorkspaceError> {
    if at(path, path.symlink_metadata())?.is_dir() {
        let lock = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path.join(LOCK));
        if lock.is_ok_and(|lock| lock.try_lock().is_err()) {
            return Ok(false);
        }
    }
    at(path, remove_all(path))?;
    Ok(true)
}

/// Removes a directory whatever its modes, and a link instead of what it points to.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(found) if !found.is_dir() => return std::fs::remove_file(path),
        _ => {}
    }
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            open_up(path)?;
            std::fs::remove_dir_all(path)
        }
        Ok(()) => Ok(()),
    }
}

/// Makes `user` the owner of everything in a directory that nobody else writes yet.
pub(super) fn give(dir: &Path, user: u32) -> io::Result<()> {
    std::os::unix::fs::lchown(dir, Some(user), Some(user))?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), user)?;
        } else {
            std::os::unix::fs::lchown(entry.path(), Some(user), Some(user))?;
        }
    }
    Ok(())
}

/// Makes every directory below `path` writable, without following a link.
fn open_up(path: &Path) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let dir = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    // By the open directory, so that nobody can put a link in its place between the look and the change.
    let same = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    std::fs::set_permissions(&same, PermissionsExt::from_mode(0o700))?;
    for entry in std::fs::read_dir(path)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, WorkspaceError> {
    result.map_err(|source| WorkspaceError::Io {
        path: path.to_owned(),
        source,
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    super::git::blocking(work).await
}

mod floor;

#[cfg(test)]
mod tests;
