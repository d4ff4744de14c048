//! Puts a workspace upon a ground: what its tree has otherwise, and a repository that says so.
//!
//! Touches: files, git, processes.
//! Change here: when a ground shows through in another way.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Ground, Layering, Mirror, Oid, Workspace, WorkspaceError, at};

/// Puts a repository on a commit whose tree is nowhere checked out yet, as far as git can tell.
pub fn adopt(repository: &Path, commit: &Oid, tree: &Oid) -> Result<(), WorkspaceError> {
    let adopted = || -> Result<(), git2::Error> {
        let repo = git2::Repository::open_bare(repository)?;
        repo.set_head_detached(git2::Oid::from_str(&commit.0)?)?;
        let mut index = repo.index()?;
        index.read_tree(&repo.find_tree(git2::Oid::from_str(&tree.0)?)?)?;
        index.write()?;
        let mut config = repo.config()?;
        config.set_bool("core.bare", false)?;
        // The index was not made from these files: only their times and sizes can tell.
        config.set_str("core.checkStat", "minimal")
    };
    adopted().map_err(|e| WorkspaceError::Checkout {
        path: repository.to_owned(),
        why: e.message().to_owned(),
    })
}

/// What the tree has otherwise than the ground.
pub fn lay(
    mirror: &Mirror,
    workspace: &Workspace,
    ground: &Ground,
    layering: Layering,
) -> Result<(), WorkspaceError> {
    let (dir, work) = (workspace.dir(), workspace.work());
    match layering {
        Layering::Overlay => {
            at(&dir, std::fs::create_dir(&dir))?;
            let gone = mirror.lay_difference(ground.tree(), &workspace.tree, &dir)?;
            for part in ["tree", "home"] {
                at(&work, std::fs::create_dir_all(work.join(part)))?;
            }
            gone.iter()
                .try_for_each(|path| at(&dir, white_out(&dir, path)))
        }
        Layering::Copy => {
            at(&work, std::fs::create_dir(&work))?;
            let gone = mirror.lay_difference(ground.tree(), &workspace.tree, &work)?;
            copy(&ground.work_tree(), &dir)?;
            copy(&ground.home(), &workspace.home())?;
            gone.iter()
                .try_for_each(|path| at(&dir, unlink(&dir, path)))?;
            at(&dir, make_way(&work, &dir, "."))?;
            copy(&work, &dir)
        }
    }
}

/// Everything in one directory into another, which may be there; links as links. Where setup has put a link in the
/// place of a directory it refuses, so nothing is written through one.
fn copy(from: &Path, to: &Path) -> Result<(), WorkspaceError> {
    let options = [
        "--archive",
        "--reflink=auto",
        "--remove-destination",
        "--no-target-directory",
    ];
    let mut command = Command::new("cp");
    let output = at(to, command.args(options).arg(from).arg(to).output())?;
    if output.status.success() {
        return Ok(());
    }
    Err(WorkspaceError::Checkout {
        path: to.to_owned(),
        why: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Without following a link, of which setup may have left some.
fn unlink(dir: &Path, path: &str) -> io::Result<()> {
    let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
    let Some(above) = beneath(dir, above)? else {
        return Ok(());
    };
    match unlinkat(&above, name, UnlinkatFlags::NoRemoveDir) {
        // Setup removed it, or put a directory in its place.
        Err(nix::Error::ENOENT | nix::Error::EISDIR) => Ok(()),
        gone => Ok(gone?),
    }
}

/// A directory below `dir`, unless a link or nothing is in its place.
fn beneath(dir: &Path, path: &str) -> io::Result<Option<OwnedFd>> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(std::fs::File::open(dir)?, path, how) {
        Ok(found) => Ok(Some(found)),
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR | nix::Error::ELOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes directories of `dir` in whose place `over` has something else.
fn make_way(over: &Path, dir: &Path, path: &str) -> io::Result<()> {
    for entry in std::fs::read_dir(over.join(path))? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            make_way(over, dir, &format!("{path}/{}", name.to_string_lossy()))?;
        } else if let Some(above) = beneath(dir, path)? {
            let place = format!("/proc/self/fd/{}", above.as_raw_fd());
            let place = Path::new(&place).join(&name);
            if place.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                super::remove_all(&place)?;
            }
        }
    }
    Ok(())
}

/// Hides what lies beneath: a device that is none, by which an overlay knows it. Anybody may make those.
fn white_out(dir: &Path, path: &str) -> io::Result<()> {
    let place = dir.join(path);
    if place.symlink_metadata().is_ok() {
        return Ok(());
    }
    if let Some(above) = place.parent() {
        match std::fs::create_dir_all(above) {
            // A file stands where its directory was.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists
                ) =>
            {
                return Ok(());
            }
            made => made?,
        }
    }
    Ok(mknod(&place, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0))?)
}
