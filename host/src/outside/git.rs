//! The repositories: a bare mirror of each project, and the remote it came from.
//!
//! Touches: git, files, processes.
//! Change here: when something new is asked of a repository. Objects are read and made in process (git2);
//! whatever speaks to a remote or applies a diff goes through the hardened git of `git/cli.rs`.
//!
//! Nothing here runs git in a directory that a test has written to. Functions that are not `async` block
//! for as long as the disk takes; call them on a blocking thread where a repository may be large.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::event::Oid;

mod apply;
pub(super) mod cli;
mod diff;
mod files;
mod grow;
mod history;
mod local;
mod path;
mod publish;
mod remote;
mod taken;
mod tree;
mod unified;

pub use apply::{AppliedPatch, PatchError};
pub use files::text_diff;
pub use local::{Checkout, checkout, version};
pub use remote::{Expected, PushMode, Pushed, RemoteTip, remote_tip};
pub use taken::{NotTaken, Taken};
pub use tree::{TreeEntry, TreeReader};

/// Commands that stay on this machine; far more than they need, so that none hangs for ever.
pub(super) const LOCAL_TIMEOUT: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git cannot be run; install it and make sure that it is on PATH: {why}")]
    NotInstalled { why: String },
    #[error("{url}: git {verb} failed: {why}")]
    Remote {
        url: String,
        verb: &'static str,
        why: String,
    },
    #[error(
        "{url}: no answer to git {verb} within {seconds} s; check the network, or raise the timeout"
    )]
    TimedOut {
        url: String,
        verb: &'static str,
        seconds: u64,
    },
    #[error(
        "{url}: there is no branch {branch}; push it, or name another one in the project's `branch`"
    )]
    NoBranch { url: String, branch: String },
    #[error("{name}: not a name git allows for a branch or reference")]
    BadName { name: String },
    #[error("{dir}: git {verb} failed: {why}")]
    Local {
        dir: PathBuf,
        verb: &'static str,
        why: String,
    },
    #[error("{what}: not in the mirror {dir}")]
    Missing {
        what: String,
        dir: PathBuf,
        #[source]
        source: git2::Error,
    },
    #[error("{dir}: the mirror cannot be used")]
    Mirror {
        dir: PathBuf,
        #[source]
        source: git2::Error,
    },
    #[error("{path}: cannot be read or written")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// What the mirror's configuration says, all of it; restored before each use of the git program.
const CONFIG: &str = "\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\thooksPath = /dev/null
[gc]
\tauto = 0
[maintenance]
\tauto = false
[receive]
\tautogc = false
";

/// The bare repository of one project. Cheap to clone; objects are never collected.
#[derive(Clone, Debug)]
pub struct Mirror {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    url: String,
    /// Two fetches at once would fight over the same references.
    fetching: tokio::sync::Mutex<()>,
}

impl Mirror {
    /// Opens the mirror in `dir`, or makes it. What a crash left half made is put aside as `<dir>.broken`.
    /// A relative path as `url` is taken from the current directory.
    pub async fn open(dir: &Path, url: &str) -> Result<Mirror, GitError> {
        let (dir, url) = (absolute(dir)?, remote::absolute(url));
        let inner = Inner {
            dir,
            url,
            fetching: tokio::sync::Mutex::default(),
        };
        let mirror = Mirror {
            inner: Arc::new(inner),
        };
        let opened = mirror.clone();
        blocking(move || opened.make_usable()).await?;
        Ok(mirror)
    }

    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// The remote, as the configuration names it.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    fn make_usable(&self) -> Result<(), GitError> {
        match git2::Repository::open_bare(self.dir()) {
            Ok(_) => self.restore_config(),
            Err(e) if e.code() == git2::ErrorCode::NotFound => self.create(),
            Err(source) => Err(self.unusable(source)),
        }
    }

    /// Made beside its place and moved there, so that half of it is never seen.
    fn create(&self) -> Result<(), GitError> {
        let parent = self.dir().parent().unwrap_or(Path::new("/"));
        io(parent, std::fs::create_dir_all(parent))?;
        let fresh = io(
            parent,
            tempfile::Builder::new()
                .prefix(".mirror-")
                .tempdir_in(parent),
        )?;
        let mut options = git2::RepositoryInitOptions::new();
        options
            .bare(true)
            .external_template(false)
            .no_reinit(true)
            .initial_head("changebus");
        git2::Repository::init_opts(fresh.path(), &options).map_err(|e| self.unusable(e))?;
        self.set_aside()?;
        io(self.dir(), std::fs::rename(fresh.keep(), self.dir()))?;
        self.restore_config()
    }

    fn set_aside(&self) -> Result<(), GitError> {
        let mut aside = self.dir().as_os_str().to_owned();
        aside.push(".broken");
        let aside = PathBuf::from(aside);
        match std::fs::symlink_metadata(self.dir()) {
            Ok(_) if aside.exists() => io(&aside, std::fs::remove_dir_all(&aside))?,
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
        io(self.dir(), std::fs::rename(self.dir(), &aside))
    }

    /// A test that got out of its workspace could have left settings here that run programs.
    fn restore_config(&self) -> Result<(), GitError> {
        let path = self.dir().join("config");
        if std::fs::read_to_string(&path).is_ok_and(|text| text == CONFIG) {
            return Ok(());
        }
        io(&path, std::fs::write(&path, CONFIG))
    }

    /// Opened anew by every caller: git2 repositories do not go from thread to thread.
    fn repo(&self) -> Result<git2::Repository, GitError> {
        git2::Repository::open_bare(self.dir()).map_err(|e| self.unusable(e))
    }

    fn unusable(&self, source: git2::Error) -> GitError {
        GitError::Mirror {
            dir: self.dir().to_owned(),
            source,
        }
    }

    fn missing(&self, what: &impl std::fmt::Display, source: git2::Error) -> GitError {
        GitError::Missing {
            what: what.to_string(),
            dir: self.dir().to_owned(),
            source,
        }
    }

    fn id(&self, oid: &Oid) -> Result<git2::Oid, GitError> {
        git2::Oid::from_str(&oid.0).map_err(|e| self.missing(oid, e))
    }

    fn find_tree<'r>(
        &self,
        repo: &'r git2::Repository,
        tree: &Oid,
    ) -> Result<git2::Tree<'r>, GitError> {
        repo.find_tree(self.id(tree)?)
            .map_err(|e| self.missing(tree, e))
    }

    fn find_commit<'r>(
        &self,
        repo: &'r git2::Repository,
        commit: &Oid,
    ) -> Result<git2::Commit<'r>, GitError> {
        repo.find_commit(self.id(commit)?)
            .map_err(|e| self.missing(commit, e))
    }
}

fn oid(id: git2::Oid) -> Oid {
    Oid(id.to_string())
}

fn absolute(path: &Path) -> Result<PathBuf, GitError> {
    io(path, std::path::absolute(path))
}

fn io<T>(path: &Path, result: std::io::Result<T>) -> Result<T, GitError> {
    result.map_err(|source| GitError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Runs it where blocking holds up nobody.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only when the runtime shuts down, and then nobody is left to answer to.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
