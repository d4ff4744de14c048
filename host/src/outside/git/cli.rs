//! The git program, with everything shut off that could run something else or ask somebody.
//!
//! Touches: git, processes.
//! Change here: when git learns a new way to run what a repository says, or a remote needs something of
//! the daemon's environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::GitError;
use crate::event::Exit;
use crate::outside::clip::clip;
use crate::outside::process::{Bounds, Finished, Program, Spec, Streams, run};

const GRACE: Duration = Duration::from_secs(2);
/// Enough for the references of a very large repository.
const MOST_OUTPUT: usize = 32 << 20;
const MOST_COMPLAINT: usize = 2000;

/// Passed on where the daemon has them: who we are to a remote, and how to reach it.
const PASSED_ON: [&str; 14] = [
    "SSH_AUTH_SOCK",
    "GIT_SSH_COMMAND",
    "GIT_SSH",
    "GIT_ASKPASS",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
];

const SETTINGS: [&str; 26] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.autocrlf=false",
    "credential.helper=",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "protocol.ssh.allow=always",
    "protocol.file.allow=always",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "push.recurseSubmodules=no",
    "push.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.fsckObjects=true",
    // Blemishes that many old histories bear, and that do no harm.
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.badEmail=ignore",
    "fetch.fsck.missingEmail=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.missingNameBeforeEmail=ignore",
    "fetch.fsck.zeroPaddedFilemode=ignore",
];

/// One call of git.
pub struct Git<'a> {
    pub verb: &'static str,
    /// After the verb.
    pub arguments: Vec<&'a str>,
    /// The bare repository; none for a question to a remote.
    pub repository: Option<&'a Path>,
    pub env: Vec<(&'static str, String)>,
    pub timeout: Duration,
}

impl Git<'_> {
    /// Runs it to its end, whatever its exit code says; an error only where there is no exit code.
    pub async fn run(&self, about: &str) -> Result<Finished, GitError> {
        let finished = run(&self.spec()).await;
        match finished.exit {
            Exit::NotStarted => Err(GitError::NotInstalled {
                why: finished.output,
            }),
            Exit::TimedOut { after_seconds } => Err(GitError::TimedOut {
                url: without_password(about),
                verb: self.verb,
                seconds: after_seconds,
            }),
            Exit::Code(_) | Exit::Signal(_) => Ok(finished),
        }
    }

    fn spec(&self) -> Spec {
        let mut words = vec!["git"];
        words.extend(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        words.push(self.verb);
        words.extend(&self.arguments);
        Spec {
            program: Program::Argv(words.into_iter().map(Into::into).collect()),
            cwd: self.repository.unwrap_or(Path::new("/")).to_owned(),
            env: self.environment(),
            timeout: self.timeout,
            grace: GRACE,
            output_bytes: MOST_OUTPUT,
            streams: Streams::Apart,
            bounds: Bounds::Group,
        }
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let own = PASSED_ON
            .iter()
            .filter_map(|name| Some((name.to_string(), std::env::var(name).ok()?)));
        let mut env: BTreeMap<String, String> = own.collect();
        let fixed = [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("LC_ALL", "C"),
        ];
        env.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if !env.contains_key("GIT_SSH") {
            env.entry("GIT_SSH_COMMAND".into())
                .or_insert_with(|| "ssh -oBatchMode=yes".into());
        }
        if let Some(repository) = self.repository {
            env.insert("GIT_DIR".into(), repository.display().to_string());
        }
        env.extend(
            self.env
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone())),
        );
        env
    }
}

/// What git complained about, in one line, without the password the URL may hold.
pub fn complaint(finished: &Finished, url: &str) -> String {
    let said = if finished.errors.trim().is_empty() {
        &finished.output
    } else {
        &finished.errors
    };
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let said = lines.join("; ").replace(url, &without_password(url));
    if said.is_empty() {
        finished.exit.to_string()
    } else {
        clip(&said, MOST_COMPLAINT)
    }
}

/// `https://user:secret@host/x` as `https://host/x`; anything else as it is.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((user, host)) if user.contains(':') || scheme.starts_with("http") => {
            format!("{scheme}://{host}{path}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_get_into_messages() {
        assert_eq!(
            without_password("https://bot:s3cret@git.example/a.git"),
            "https://git.example/a.git"
        );
        assert_eq!(
            without_password("https://t0ken@git.example/a.git"),
            "https://git.example/a.git"
        );
        assert_eq!(
            without_password("ssh://git@git.example/a.git"),
            "ssh://git@git.example/a.git"
        );
        assert_eq!(
            without_password("git@git.example:a.git"),
            "git@git.example:a.git"
        );
        assert_eq!(without_password("/srv/a@b:c.git"), "/srv/a@b:c.git");
    }
}
