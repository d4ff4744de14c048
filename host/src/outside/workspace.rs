//! A working tree of one commit, which owns its removal.
//!
//! Touches: files, git, processes.
//! Change here: when a workspace is made in another way, or must hold something else.
//!
//! Each workspace is a `git worktree` of a small repository of its own that borrows the mirror's objects.
//! What the tests do to their `.git` (settings, hooks, references) stays in there and dies with it; nothing
//! of ours ever runs git there again, and the mirror knows nothing of it. The checkout runs no hook and no
//! filter, takes no submodule, and leaves LFS files as the pointers they are.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::fcntl::OFlag;

use super::git::cli::{Git, complaint};
use super::git::{GitError, LOCAL_TIMEOUT, Mirror};
use crate::event::{Exit, Oid};

/// Held by whoever uses the directory it lies in; the system lets go of it when they die.
const LOCK: &str = "lock";
/// What is not locked yet starts with this, and is not swept.
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
    /// Holds the worktree and its repository.
    place: Owned,
    private: Owned,
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

    /// The working tree; its `.git` is a file.
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

    pub async fn remove(self) {
        blocking(move || drop(self)).await;
    }

    /// Removes what processes that died left in `root` and in the system's temporary directory. Returns
    /// how many directories went. What is in use stays.
    pub fn sweep(root: &Path) -> Result<usize, WorkspaceError> {
        if !root.exists() {
            return Ok(0);
        }
        let workspaces = sweep(root, &|name| !name.starts_with('.'), true)?;
        Ok(workspaces
            + sweep(
                &std::env::temp_dir(),
                &|name| name.starts_with(PRIVATE_PREFIX),
                false,
            )?)
    }

    async fn check_out(&self, commit: &Oid) -> Result<(), WorkspaceError> {
        let (repository, dir) = (self.place.path.join("repo"), self.dir());
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
    borrow_objects(&place.path.join("repo"), mirror)?;
    Ok((
        Workspace {
            tree,
            commit: own,
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
fn remove_all(path: &Path) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::git::testing::{Origin, SOON, git_in, patch, write};

    async fn workspace(origin: &Origin) -> Workspace {
        let (mirror, tree) = origin.fetched().await;
        let head = origin.head();
        Workspace::create(&mirror, &tree, Some(&head), &origin.beside("work"), "one")
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_workspace_holds_the_commit_and_goes_when_it_is_dropped() {
        let origin = Origin::with(&[("src/a", "1"), ("run.sh", "#!/bin/sh\n")]);
        let workspace = workspace(&origin).await;
        assert_eq!(
            std::fs::read_to_string(workspace.dir().join("src/a")).unwrap(),
            "1"
        );
        assert_eq!(
            git_in(&workspace.dir(), &["rev-parse", "HEAD"]),
            origin.head().0
        );
        assert_eq!(git_in(&workspace.dir(), &["status", "--porcelain"]), "");
        assert_eq!(workspace.commit(), Some(&origin.head()));
        let private = workspace.private().to_owned();
        assert!(private.is_dir());
        drop(workspace);
        assert!(!origin.beside("work/one").exists() && !private.exists());
    }

    #[tokio::test]
    async fn a_tree_without_a_commit_gets_one() {
        let origin = Origin::with(&[("a", "1")]);
        let (mirror, tree) = origin.fetched().await;
        let tried = mirror
            .apply(&tree, &patch([write("a", "2")]))
            .await
            .unwrap()
            .tree;
        let head = origin.head();
        let made = Workspace::create(&mirror, &tried, Some(&head), &origin.beside("work"), "one")
            .await
            .unwrap();
        assert_eq!(made.commit(), None);
        assert_eq!(
            git_in(&made.dir(), &["rev-parse", "HEAD~1", "HEAD^{tree}"]),
            format!("{head}\n{tried}")
        );
        let alone = Workspace::create(&mirror, &tried, None, &origin.beside("work"), "two")
            .await
            .unwrap();
        assert_eq!(git_in(&alone.dir(), &["rev-list", "--count", "HEAD"]), "1");
    }

    #[tokio::test]
    async fn nothing_a_repository_says_runs_at_checkout() {
        let origin = Origin::with(&[
            ("a", "1"),
            (
                ".gitattributes",
                "* filter=evil diff=evil merge=evil\n*.bin filter=lfs\n",
            ),
            ("x.bin", "pointer"),
        ]);
        let planted = origin.beside("planted");
        let run = format!("touch {}; cat", planted.display());
        // What the pushed repository says of itself, and what its .git says to whoever clones it.
        origin.git(&["config", "filter.evil.smudge", &run]);
        let hook = origin.path().join(".git/hooks/post-checkout");
        std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
        std::fs::write(&hook, format!("#!/bin/sh\n{run}\n")).unwrap();
        std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
        let (mirror, _) = origin.fetched().await;
        let mirror_hook = mirror.dir().join("hooks/post-checkout");
        std::fs::create_dir_all(mirror_hook.parent().unwrap()).unwrap();
        std::fs::copy(&hook, &mirror_hook).unwrap();
        let workspace = workspace(&origin).await;
        assert_eq!(
            std::fs::read_to_string(workspace.dir().join("x.bin")).unwrap(),
            "pointer"
        );
        assert!(!planted.exists());
    }

    #[tokio::test]
    async fn what_tests_plant_in_their_git_never_runs() {
        let origin = Origin::with(&[("a", "1\n")]);
        let workspace = workspace(&origin).await;
        let planted = origin.beside("planted");
        let run = format!("touch {}; false", planted.display());
        let dir = workspace.dir();
        let settings = [
            "core.fsmonitor",
            "core.sshCommand",
            "filter.evil.clean",
            "diff.evil.textconv",
            "core.pager",
            "core.editor",
        ];
        for key in settings {
            git_in(&dir, &["config", key, &run]);
        }
        std::fs::write(dir.join(".gitattributes"), "* filter=evil diff=evil\n").unwrap();
        let hooks = PathBuf::from(git_in(&dir, &["rev-parse", "--git-common-dir"])).join("hooks");
        std::fs::create_dir_all(&hooks).unwrap();
        for hook in [
            "post-checkout",
            "reference-transaction",
            "pre-push",
            "post-index-change",
            "pre-auto-gc",
        ] {
            std::fs::write(hooks.join(hook), format!("#!/bin/sh\n{run}\n")).unwrap();
            std::fs::set_permissions(hooks.join(hook), PermissionsExt::from_mode(0o755)).unwrap();
        }
        let (mirror, tree) = origin.fetched().await;
        let tried = mirror
            .apply(&tree, &patch([write("a", "2\n")]))
            .await
            .unwrap()
            .tree;
        let diff = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+3\n";
        mirror
            .apply(&tree, &crate::outside::git::testing::diff(diff))
            .await
            .unwrap();
        let next = Workspace::create(&mirror, &tried, None, &origin.beside("work"), "two")
            .await
            .unwrap();
        workspace.remove().await;
        next.remove().await;
        origin.commit(&[("a", "4\n")]);
        mirror.fetch("main", SOON).await.unwrap();
        Workspace::sweep(&origin.beside("work")).unwrap();
        assert!(!planted.exists());
        let settings = std::fs::read_to_string(mirror.dir().join("config")).unwrap();
        assert!(
            !settings.contains("planted"),
            "the settings of a workspace stay in the workspace"
        );
    }

    #[tokio::test]
    async fn a_submodule_is_an_empty_directory() {
        let origin = Origin::with(&[
            ("a", "1"),
            (
                ".gitmodules",
                "[submodule \"s\"]\n\tpath = s\n\turl = ext::sh -c touch%20/tmp/never\n",
            ),
        ]);
        origin.git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            "160000,0123456789012345678901234567890123456789,s",
        ]);
        origin.git(&["commit", "--quiet", "--message", "a submodule"]);
        let workspace = workspace(&origin).await;
        assert_eq!(
            std::fs::read_dir(workspace.dir().join("s"))
                .unwrap()
                .count(),
            0
        );
    }

    #[tokio::test]
    async fn directories_that_may_not_be_written_go_too_and_links_are_not_followed() {
        let origin = Origin::with(&[("a", "1")]);
        let workspace = workspace(&origin).await;
        let outside = origin.beside("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "x").unwrap();
        std::fs::set_permissions(&outside, PermissionsExt::from_mode(0o555)).unwrap();
        let shut = workspace.dir().join("shut/inner");
        std::fs::create_dir_all(&shut).unwrap();
        std::fs::write(shut.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, shut.join("link")).unwrap();
        std::fs::set_permissions(&shut, PermissionsExt::from_mode(0o000)).unwrap();
        open_up(&workspace.dir()).unwrap();
        drop(workspace);
        assert!(!origin.beside("work/one").exists());
        assert!(outside.join("kept").exists());
        assert_eq!(
            outside.metadata().unwrap().mode() & 0o777,
            0o555,
            "what a link points to keeps its mode"
        );
    }

    #[tokio::test]
    async fn leftovers_of_a_crash_are_swept_and_what_is_in_use_stays() {
        let origin = Origin::with(&[("a", "1")]);
        let live = workspace(&origin).await;
        let root = origin.beside("work");
        std::fs::create_dir_all(root.join("dead/tree/deep")).unwrap();
        std::fs::write(root.join("dead/lock"), "").unwrap();
        std::fs::create_dir_all(root.join("half-made")).unwrap();
        std::os::unix::fs::symlink(origin.path(), root.join("link")).unwrap();
        assert!(Workspace::sweep(&root).unwrap() >= 2);
        assert!(live.dir().join("a").exists() && live.private().exists());
        assert!(!root.join("dead").exists() && !root.join("half-made").exists());
        assert!(origin.path().join("a").exists(), "a link is not followed");
        assert_eq!(Workspace::sweep(&origin.beside("nowhere")).unwrap(), 0);
    }

    #[tokio::test]
    async fn a_name_in_use_is_refused_and_a_leftover_of_that_name_replaced() {
        let origin = Origin::with(&[("a", "1")]);
        let live = workspace(&origin).await;
        let (mirror, tree) = origin.fetched().await;
        let root = origin.beside("work");
        let again = async |name: &str| Workspace::create(&mirror, &tree, None, &root, name).await;
        assert!(matches!(
            again("one").await,
            Err(WorkspaceError::InUse { .. })
        ));
        drop(live);
        std::fs::create_dir_all(root.join("one/tree/stale")).unwrap();
        let fresh = again("one").await.unwrap();
        assert!(!fresh.dir().join("stale").exists());
        for name in ["", "..", "a/b", ".hidden", "a b"] {
            assert!(
                matches!(again(name).await, Err(WorkspaceError::BadName { .. })),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn a_commit_that_is_not_there_leaves_nothing_behind() {
        let origin = Origin::with(&[("a", "1")]);
        let (mirror, _) = origin.fetched().await;
        let nothing = Oid("0123456789012345678901234567890123456789".into());
        let made = Workspace::create(&mirror, &nothing, None, &origin.beside("work"), "one").await;
        assert!(matches!(
            made,
            Err(WorkspaceError::Git(GitError::Missing { .. }))
        ));
        assert!(!origin.beside("work/one").exists());
    }
}
