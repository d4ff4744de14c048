//! Asks, fetches from and pushes to the repository a project really lives in.
//!
//! Touches: git, processes, files.
//! Change here: when something new is asked of a remote.

use std::time::Duration;

use super::cli::{Git, complaint, without_password};
use super::{GitError, Mirror, io, oid};
use crate::event::{Exit, Oid};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteTip {
    At(Oid),
    /// The repository has branches, but not this one.
    NoBranch,
    /// The repository has no branch at all.
    Empty,
}

/// What the branch must be for a push to replace it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    At(Oid),
    /// It must not exist.
    Absent,
    /// Anything the commit descends from.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushMode {
    Normal,
    /// For a repository on this machine with a working tree: where the branch is checked out and the
    /// working tree is clean, it follows.
    UpdateCheckedOut,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The branch is at the commit now, or was already.
    Done,
    /// The branch is not where it was expected.
    Moved,
    /// The remote does not want it, for a reason of its own.
    Refused { why: String },
}

/// Where a branch of a remote is, without a clone.
pub async fn remote_tip(url: &str, branch: &str, timeout: Duration) -> Result<RemoteTip, GitError> {
    let url = absolute(url);
    let name = reference(branch)?;
    let listed = list(&url, &["--end-of-options", &url, &name], timeout).await?;
    if let Some(tip) = listed.into_iter().find(|(_, found)| *found == name) {
        return Ok(RemoteTip::At(Oid(tip.0)));
    }
    let any = list(&url, &["--heads", "--end-of-options", &url], timeout).await?;
    Ok(if any.is_empty() {
        RemoteTip::Empty
    } else {
        RemoteTip::NoBranch
    })
}

/// Object id and name of each reference.
async fn list(
    url: &str,
    arguments: &[&str],
    timeout: Duration,
) -> Result<Vec<(String, String)>, GitError> {
    let git = Git {
        verb: "ls-remote",
        arguments: arguments.to_vec(),
        repository: None,
        env: vec![],
        timeout,
    };
    let finished = git.run(url).await?;
    if finished.exit != Exit::Code(0) {
        return Err(GitError::Remote {
            url: without_password(url),
            verb: git.verb,
            why: complaint(&finished, url),
        });
    }
    let fields = finished
        .output
        .lines()
        .filter_map(|line| line.split_once('\t'));
    Ok(fields
        .map(|(id, name)| (id.to_owned(), name.to_owned()))
        .collect())
}

/// A path becomes absolute, because git does not run where the caller stands.
pub fn absolute(url: &str) -> String {
    match std::fs::canonicalize(url) {
        Ok(path) => path.display().to_string(),
        Err(_) => url.to_owned(),
    }
}

/// The full name of a branch, if it can be one.
fn reference(branch: &str) -> Result<String, GitError> {
    let name = format!("refs/heads/{branch}");
    if git2::Reference::is_valid_name(&name) && !branch.starts_with('-') {
        return Ok(name);
    }
    Err(GitError::BadName {
        name: branch.to_owned(),
    })
}

impl Mirror {
    /// Brings the branch into the mirror and returns its tip. The tip before stays reachable, even where
    /// history was rewritten.
    pub async fn fetch(&self, branch: &str, timeout: Duration) -> Result<Oid, GitError> {
        let name = reference(branch)?;
        let tip = format!("refs/changebus/tips/{branch}");
        let _one_at_a_time = self.inner.fetching.lock().await;
        let before = self.reference_target(&tip)?;
        if let Some(before) = before {
            // Before the fetch, so that no crash comes between.
            self.set_reference(&seen(before), before)?;
        }
        if let Err(error) = self.fetch_into(&format!("+{name}:{tip}"), timeout).await {
            return Err(self.why_not_fetched(branch, error, timeout).await);
        }
        let after = self.reference_target(&tip)?;
        let after = after.ok_or_else(|| GitError::NoBranch {
            url: without_password(self.url()),
            branch: branch.into(),
        })?;
        self.forget_if_reachable(before, after)?;
        Ok(oid(after))
    }

    /// Brings one commit into the mirror, as far as the remote hands out commits by id.
    pub async fn fetch_commit(&self, commit: &Oid, timeout: Duration) -> Result<(), GitError> {
        let id = self.id(commit)?;
        let _one_at_a_time = self.inner.fetching.lock().await;
        self.fetch_into(&format!("+{id}:{}", seen(id)), timeout)
            .await
    }

    async fn fetch_into(&self, refspec: &str, timeout: Duration) -> Result<(), GitError> {
        self.restore_config()?;
        let arguments = vec![
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
            "--end-of-options",
            self.url(),
            refspec,
        ];
        let git = Git {
            verb: "fetch",
            arguments,
            repository: Some(self.dir()),
            env: vec![],
            timeout,
        };
        let finished = git.run(self.url()).await?;
        if finished.exit == Exit::Code(0) {
            return Ok(());
        }
        let why = complaint(&finished, self.url());
        Err(GitError::Remote {
            url: without_password(self.url()),
            verb: git.verb,
            why,
        })
    }

    async fn why_not_fetched(&self, branch: &str, error: GitError, timeout: Duration) -> GitError {
        match remote_tip(self.url(), branch, timeout).await {
            Ok(RemoteTip::NoBranch | RemoteTip::Empty) => GitError::NoBranch {
                url: without_password(self.url()),
                branch: branch.to_owned(),
            },
            _ => error,
        }
    }

    /// References that say nothing new would make every later fetch slower.
    fn forget_if_reachable(
        &self,
        before: Option<git2::Oid>,
        after: git2::Oid,
    ) -> Result<(), GitError> {
        let Some(before) = before else { return Ok(()) };
        let repo = self.repo()?;
        let reachable = before == after
            || repo
                .graph_descendant_of(after, before)
                .map_err(|e| self.unusable(e))?;
        match repo.find_reference(&seen(before)) {
            Ok(mut reference) if reachable => reference.delete().map_err(|e| self.unusable(e)),
            _ => Ok(()),
        }
    }

    /// Pushes one commit to one branch, if the branch is as expected: a compare-and-swap. Pushing again
    /// what a crash left unrecorded is `Done`.
    pub(super) async fn push(
        &self,
        commit: &Oid,
        branch: &str,
        expected: Expected,
        mode: PushMode,
        timeout: Duration,
    ) -> Result<Pushed, GitError> {
        let name = reference(branch)?;
        let refspec = format!("{}:{name}", self.id(commit)?);
        let lease = match &expected {
            Expected::At(tip) => format!("--force-with-lease={name}:{}", self.id(tip)?),
            Expected::Absent => format!("--force-with-lease={name}:"),
            Expected::Any => "--no-force-with-lease".into(),
        };
        let mut arguments = vec!["--porcelain", "--no-verify", "--no-follow-tags", &lease];
        if mode == PushMode::UpdateCheckedOut {
            arguments
                .push("--receive-pack=git -c receive.denyCurrentBranch=updateInstead receive-pack");
        }
        arguments.extend(["--end-of-options", self.url(), &refspec]);
        self.restore_config()?;
        let git = Git {
            verb: "push",
            arguments,
            repository: Some(self.dir()),
            env: vec![],
            timeout,
        };
        let finished = git.run(self.url()).await?;
        if finished.exit == Exit::Code(0) {
            return Ok(Pushed::Done);
        }
        let why = complaint(&finished, self.url());
        // Where not one reference was judged, the push did not get that far.
        if !finished.output.lines().any(|line| line.starts_with("!\t")) {
            return Err(GitError::Remote {
                url: without_password(self.url()),
                verb: git.verb,
                why,
            });
        }
        let tip = remote_tip(self.url(), branch, timeout).await?;
        let behind = finished.output.contains("(fetch first)")
            || finished.output.contains("(non-fast-forward)");
        Ok(rejected(
            commit,
            &expected,
            tip,
            behind,
            &finished.output,
            why,
        ))
    }

    /// Makes everything in the mirror survive a power cut.
    pub fn sync(&self) -> Result<(), GitError> {
        let dir = io(self.dir(), std::fs::File::open(self.dir()))?;
        io(
            self.dir(),
            nix::unistd::syncfs(&dir).map_err(std::io::Error::from),
        )
    }
}

/// What a rejection means is read off the branch, not off the wording.
fn rejected(
    commit: &Oid,
    expected: &Expected,
    tip: RemoteTip,
    behind: bool,
    output: &str,
    why: String,
) -> Pushed {
    let as_expected = match (&tip, expected) {
        (RemoteTip::At(at), _) if at == commit => return Pushed::Done,
        (RemoteTip::At(at), Expected::At(tip)) => at == tip,
        (RemoteTip::At(_), Expected::Absent) => false,
        (RemoteTip::NoBranch | RemoteTip::Empty, expected) => !matches!(expected, Expected::At(_)),
        (RemoteTip::At(_), Expected::Any) => !behind,
    };
    if !as_expected {
        return Pushed::Moved;
    }
    let judged = output
        .lines()
        .find_map(|line| line.strip_prefix("!\t"))
        .unwrap_or(&why);
    Pushed::Refused {
        why: format!("{}: {why}", judged.replace('\t', " ")),
    }
}

fn seen(id: git2::Oid) -> String {
    format!("refs/changebus/seen/{id}")
}

impl Mirror {
    pub(super) fn reference_target(&self, name: &str) -> Result<Option<git2::Oid>, GitError> {
        match self.repo()?.refname_to_id(name) {
            Ok(id) => Ok(Some(id)),
            Err(e) if e.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(e) => Err(self.missing(&name, e)),
        }
    }

    pub(super) fn set_reference(&self, name: &str, id: git2::Oid) -> Result<(), GitError> {
        if !git2::Reference::is_valid_name(name) {
            return Err(GitError::BadName {
                name: name.to_owned(),
            });
        }
        self.repo()?
            .reference(name, id, true, "changebus")
            .map(drop)
            .map_err(|e| self.missing(&id, e))
    }
}
