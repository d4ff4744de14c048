//! What `[forges.NAME]` and a project's `forge` say: where pull requests are opened, and what may become of them.
//!
//! Touches: nothing.
//! Change here: when another kind of forge is known, or a project wants more of one.

use serde::{Deserialize, Serialize};

use super::apps::Invalid;
use super::{Config, ConfigError, Secret, is_plain_name};

const GITHUB: &str = "https://api.github.com";

/// A forge and the account that ChangeBus has there.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Forge {
    pub kind: ForgeKind,
    /// Its API, such as `https://forge.example/api/v1`; GitHub's own where nothing is said and the kind is `github`.
    #[serde(default)]
    pub url: String,
    /// May read code, and write pull requests, issues (for comments and labels), commit statuses and contents.
    pub token: Secret,
    /// What it signs its webhooks with, to `/webhooks/NAME`.
    #[serde(default)]
    pub webhook_secret: Option<Secret>,
    /// Between two looks at what became of a pull request.
    #[serde(default = "default_poll")]
    pub poll_seconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ForgeKind {
    Github,
    /// Gitea speaks the same language.
    #[serde(alias = "gitea")]
    Forgejo,
}

/// Where a project is at home.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Home {
    /// One of `[forges]`.
    pub name: String,
    /// `owner/name` there.
    pub repo: String,
    /// What was decided to be merged, and may not be pushed, is merged by the forge once its own conditions are met.
    /// Only where the branch's protection insists that what is merged is up to date with it: then what lands is what
    /// was tested.
    #[serde(default)]
    pub auto_merge: bool,
    /// Whether commits of the branch are told what became of their tests.
    #[serde(default = "yes")]
    pub statuses: bool,
    #[serde(default)]
    pub pull_requests: PullRequests,
    #[serde(default = "default_labels")]
    pub labels: Vec<String>,
    /// Whether the author of the commit that broke the tests is asked to look at the fix.
    #[serde(default = "yes")]
    pub ask_author: bool,
}

/// Which results are opened as pull requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullRequests {
    None,
    /// What was decided to be one.
    Proposed,
    /// Candidates that people have to decide about too, as drafts.
    #[default]
    All,
}

fn default_poll() -> u32 {
    60
}

fn yes() -> bool {
    true
}

fn default_labels() -> Vec<String> {
    vec!["changebus".to_owned()]
}

impl Forge {
    /// Without a slash at its end.
    pub fn address(&self) -> &str {
        match self.url.trim_end_matches('/') {
            "" => GITHUB,
            url => url,
        }
    }
}

pub(super) fn validate(config: &Config, invalid: &Invalid<'_>) -> Result<(), ConfigError> {
    for (name, forge) in &config.forges {
        let key = |tail: &str| format!("forges.{name}{tail}");
        if !is_plain_name(name) || name == "humanrail" {
            let hint = "use lower-case letters, digits and dashes, and not `humanrail`: webhooks come to /webhooks/NAME";
            return Err(invalid(key(""), name.clone(), hint));
        }
        if forge.url.is_empty() && forge.kind == ForgeKind::Forgejo {
            let hint = "name the address of its API, such as https://forge.example/api/v1";
            return Err(invalid(key(".url"), "\"\"".into(), hint));
        }
        if !forge.url.is_empty() && !is_address(&forge.url) {
            let hint = "must be an address that begins with https:// or http://";
            return Err(invalid(key(".url"), forge.url.clone(), hint));
        }
        if forge.poll_seconds == 0 {
            return Err(invalid(
                key(".poll_seconds"),
                "0".into(),
                "must be at least 1",
            ));
        }
    }
    for (name, project) in &config.projects {
        let Some(home) = &project.forge else {
            continue;
        };
        let key = |tail: &str| format!("projects.{name}.forge.{tail}");
        if !config.forges.contains_key(&home.name) {
            let hint = "there is no such forge in this configuration: add [forges.NAME]";
            return Err(invalid(key("name"), home.name.clone(), hint));
        }
        if !is_full_name(&home.repo) {
            let hint = "write it as owner/name, as it stands in its address on the forge";
            return Err(invalid(key("repo"), home.repo.clone(), hint));
        }
        if let Some(label) = home.labels.iter().find(|l| !is_label(l)) {
            let hint = "a label has 1 to 50 characters, and no control characters";
            return Err(invalid(key("labels"), label.clone(), hint));
        }
    }
    Ok(())
}

fn is_address(url: &str) -> bool {
    url.parse::<http::Uri>().is_ok_and(|uri| {
        let scheme = uri.scheme_str().unwrap_or_default();
        ["https", "http"].contains(&scheme) && uri.host().is_some_and(|host| !host.is_empty())
    })
}

/// Nothing in it that would change the meaning of a path it is put into.
fn is_full_name(repo: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !part.is_empty() && part.bytes().all(is_plain) && part.bytes().any(|b| b != b'.')
    };
    repo.split_once('/')
        .is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

fn is_label(label: &str) -> bool {
    (1..=50).contains(&label.chars().count()) && !label.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_by_owner_and_name_and_nothing_else() {
        for good in ["acme/shop", "a-b/c.d_e", "x/y.git"] {
            assert!(is_full_name(good), "{good}");
        }
        for bad in [
            "shop", "/shop", "acme/", "a/b/c", "../x", "a/..", "a b/c", "a/b?c", "",
        ] {
            assert!(!is_full_name(bad), "{bad}");
        }
    }

    #[test]
    fn github_is_found_where_it_is() {
        let forge: Forge =
            toml::from_str("kind = \"github\"\ntoken = { env = \"T\" }").expect("it reads");
        assert_eq!(forge.address(), GITHUB);
        let forge: Forge = toml::from_str(
            "kind = \"gitea\"\nurl = \"https://forge.example/api/v1/\"\ntoken = { env = \"T\" }",
        )
        .expect("it reads");
        assert_eq!(
            (forge.kind, forge.address()),
            (ForgeKind::Forgejo, "https://forge.example/api/v1")
        );
    }
}
