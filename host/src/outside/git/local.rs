//! What this machine has: the git program, and a repository somebody works in.
//!
//! Touches: git, files, processes.
//! Change here: when a command must know more about a repository on this machine.

use std::path::Path;
use std::time::Duration;

use super::cli::Git;
use super::{GitError, Mirror, io};

/// A repository on this machine, as its owner left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// None where no branch is checked out.
    pub branch: Option<String>,
    /// It has no working tree.
    pub bare: bool,
}

/// Looks at the repository at or above this path.
pub fn checkout(path: &Path) -> Result<Checkout, GitError> {
    let unusable = |source| GitError::Mirror {
        dir: path.to_owned(),
        source,
    };
    let repo = git2::Repository::discover(path).map_err(unusable)?;
    let head = repo.find_reference("HEAD").map_err(unusable)?;
    // Read without resolving: a branch without a commit is a branch all the same.
    let target = head.symbolic_target().ok().flatten();
    let branch = target
        .and_then(|t| t.strip_prefix("refs/heads/"))
        .map(str::to_owned);
    Ok(Checkout {
        branch,
        bare: repo.is_bare(),
    })
}

impl Mirror {
    /// Lets it read what another mirror on this machine holds, reachable or not, without a copy.
    pub fn borrow_from(&self, other: &Path) -> Result<(), GitError> {
        let list = self.dir().join("objects/info/alternates");
        let objects = other.join("objects");
        let objects = io(&objects, std::fs::canonicalize(&objects))?;
        io(
            &list,
            std::fs::write(&list, format!("{}\n", objects.display())),
        )
    }
}

/// The version line of the git program.
pub async fn version() -> Result<String, GitError> {
    let git = Git {
        verb: "version",
        arguments: vec![],
        repository: None,
        env: vec![],
        timeout: Duration::from_secs(10),
    };
    Ok(git.run("this machine").await?.output.trim().to_owned())
}
