//! A forge: pull requests, commit statuses and the protection of branches, at GitHub, Forgejo or Gitea.
//!
//! Touches: http, clock (when a limit is lifted).
//! Change here: when another operation is needed. What both say alike is here; what only one of them says is in
//! `forge/github.rs` and `forge/forgejo.rs`. What stands in a pull request is `rules/pull_request.rs`.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::tls;
use crate::config::ForgeKind;
use crate::event::Oid;

mod forgejo;
mod github;

use forgejo::Forgejo;
use github::GitHub;

const ANSWERING: Duration = Duration::from_secs(30);
/// Of an answer's words.
const QUOTED: usize = 300;
/// Of the description of a status, in characters: GitHub takes no more.
const TOLD: usize = 140;
/// What commits are told is told under this name.
const CONTEXT: &str = "changebus";
/// Comments that are read, at most.
const COMMENTS: usize = 100;

/// An account on a forge.
#[derive(Clone)]
pub struct Forge {
    speaks: Speaks,
}

#[derive(Clone)]
enum Speaks {
    GitHub(GitHub),
    Forgejo(Forgejo),
}

#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    #[error("its address cannot be used: {0}")]
    Address(String),
    #[error("it does not know the token ({0}): make another, and name it in forges.NAME.token")]
    Token(String),
    #[error("the token may not do this: {0}")]
    Denied(String),
    #[error("it has no such thing: {0}")]
    NotFound(String),
    #[error("it does not take it ({status}): {said}")]
    Refused { status: StatusCode, said: String },
    #[error("it asks to wait")]
    Busy { after: Option<Duration> },
    #[error("it does not answer: {0}")]
    Away(String),
}

impl ForgeError {
    /// Seconds, where it says so.
    pub fn asks_to_wait(&self) -> Option<f64> {
        match self {
            ForgeError::Busy { after } => after.map(|after| after.as_secs_f64()),
            _ => None,
        }
    }

    /// Whether the same may be answered otherwise in a while.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            ForgeError::Busy { .. } | ForgeError::Away(_) | ForgeError::Token(_)
        )
    }
}

/// A pull request as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    pub number: u64,
    /// For people.
    pub url: String,
    pub state: PullState,
    pub head: Oid,
    pub title: String,
    pub body: String,
    /// Whether the forge merges it by itself once it can.
    pub merges_itself: bool,
    /// What GitHub's other interface calls it; empty elsewhere.
    node: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullState {
    Open,
    Closed,
    Merged {
        by: Option<String>,
        /// What it made on the branch.
        commit: Option<Oid>,
    },
}

/// What a pull request says, before it has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub title: String,
    pub body: String,
    /// The branch that is offered, and the one it is offered to; both in this repository.
    pub head: String,
    pub base: String,
    /// Not to be merged before somebody has looked at it.
    pub draft: bool,
}

/// What a commit is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusState {
    Pending,
    Success,
    Failure,
    Error,
}

impl StatusState {
    fn word(self) -> &'static str {
        match self {
            StatusState::Pending => "pending",
            StatusState::Success => "success",
            StatusState::Failure => "failure",
            StatusState::Error => "error",
        }
    }
}

/// What a branch's protection says about whoever wants to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Pushing to it goes round nothing.
    pub may_push: bool,
    /// Only what is up to date with it is merged.
    pub up_to_date: bool,
}

/// Somebody's words below a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    pub by: String,
    pub body: String,
}

/// An answer, whatever it is.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Forge {
    /// `url` is the address of its API.
    pub fn new(kind: ForgeKind, url: &str, token: SecretString) -> Result<Forge, ForgeError> {
        tls::prepare();
        let client = reqwest::Client::builder()
            .timeout(ANSWERING)
            // A token goes nowhere but where it was meant to go.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("changebus")
            .build()
            .map_err(|e| ForgeError::Address(e.to_string()))?;
        let speaks = match kind {
            ForgeKind::Github => Speaks::GitHub(GitHub::new(client, url, token)?),
            ForgeKind::Forgejo => Speaks::Forgejo(Forgejo::new(client, url, token)?),
        };
        Ok(Forge { speaks })
    }

    /// Who ChangeBus is there.
    pub async fn login(&self) -> Result<String, ForgeError> {
        let user = self.get("/user").await?;
        text(&user, "login")
    }

    /// The newest pull request of this branch into that one, whatever became of it.
    pub async fn find(
        &self,
        repo: &str,
        head: &str,
        base: &str,
    ) -> Result<Option<Pull>, ForgeError> {
        match &self.speaks {
            Speaks::GitHub(github) => github.find(repo, head, base).await,
            Speaks::Forgejo(forgejo) => forgejo.find(repo, head, base).await,
        }
    }

    pub async fn open(&self, repo: &str, offer: &Offer) -> Result<Pull, ForgeError> {
        let mut body = json!({
            "title": offer.title, "body": offer.body, "head": offer.head, "base": offer.base,
        });
        match &self.speaks {
            Speaks::GitHub(_) => body["draft"] = offer.draft.into(),
            Speaks::Forgejo(_) => {
                body["title"] = forgejo::title(&offer.title, offer.draft).into();
            }
        }
        let pull = self.post(&format!("/repos/{repo}/pulls"), &body).await?;
        Pull::read(&pull)
    }

    pub async fn pull(&self, repo: &str, number: u64) -> Result<Pull, ForgeError> {
        let pull = self.get(&format!("/repos/{repo}/pulls/{number}")).await?;
        Pull::read(&pull)
    }

    /// Has it say what is offered now. A draft stays one.
    pub async fn update(&self, repo: &str, number: u64, offer: &Offer) -> Result<Pull, ForgeError> {
        let title = match &self.speaks {
            Speaks::GitHub(_) => offer.title.clone(),
            Speaks::Forgejo(_) => forgejo::title(&offer.title, offer.draft),
        };
        let path = format!("/repos/{repo}/pulls/{number}");
        let body = json!({ "title": title, "body": offer.body });
        let pull = self.send(Method::PATCH, &path, Some(&body)).await?;
        Pull::read(&pull)
    }

    pub async fn close(&self, repo: &str, number: u64) -> Result<(), ForgeError> {
        let path = format!("/repos/{repo}/pulls/{number}");
        let body = json!({ "state": "closed" });
        self.send(Method::PATCH, &path, Some(&body)).await.map(drop)
    }

    /// Adds them to what it has, and makes those that the repository does not have.
    pub async fn label(
        &self,
        repo: &str,
        number: u64,
        labels: &[String],
    ) -> Result<(), ForgeError> {
        if labels.is_empty() {
            return Ok(());
        }
        if let Speaks::Forgejo(forgejo) = &self.speaks {
            forgejo.make_labels(repo, labels).await?;
        }
        let path = format!("/repos/{repo}/issues/{number}/labels");
        self.post(&path, &json!({ "labels": labels }))
            .await
            .map(drop)
    }

    /// # Errors
    /// `Refused` where they may not be asked.
    pub async fn ask_to_review(
        &self,
        repo: &str,
        number: u64,
        login: &str,
    ) -> Result<(), ForgeError> {
        let path = format!("/repos/{repo}/pulls/{number}/requested_reviewers");
        self.post(&path, &json!({ "reviewers": [login] }))
            .await
            .map(drop)
    }

    pub async fn comment(&self, repo: &str, number: u64, body: &str) -> Result<(), ForgeError> {
        let path = format!("/repos/{repo}/issues/{number}/comments");
        self.post(&path, &json!({ "body": body })).await.map(drop)
    }

    /// Oldest first.
    pub async fn comments(&self, repo: &str, number: u64) -> Result<Vec<Comment>, ForgeError> {
        let path = match &self.speaks {
            Speaks::GitHub(_) => {
                format!("/repos/{repo}/issues/{number}/comments?per_page={COMMENTS}")
            }
            Speaks::Forgejo(_) => format!("/repos/{repo}/issues/{number}/comments"),
        };
        let comments = self.get(&path).await?;
        let one = |comment: &Value| {
            Some(Comment {
                by: comment["user"]["login"].as_str()?.to_owned(),
                body: comment["body"].as_str()?.to_owned(),
            })
        };
        let comments = comments.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(comments.iter().filter_map(one).collect())
    }

    /// Whose account a commit's author has there, if they have one.
    pub async fn author(&self, repo: &str, commit: &Oid) -> Result<Option<String>, ForgeError> {
        let path = match &self.speaks {
            Speaks::GitHub(_) => format!("/repos/{repo}/commits/{commit}"),
            Speaks::Forgejo(_) => format!("/repos/{repo}/git/commits/{commit}"),
        };
        let commit = self.get(&path).await?;
        let login = commit["author"]["login"].as_str();
        Ok(login.filter(|login| !login.is_empty()).map(str::to_owned))
    }

    /// Said again it takes the place of what was said before.
    pub async fn tell(
        &self,
        repo: &str,
        commit: &Oid,
        state: StatusState,
        said: &str,
    ) -> Result<(), ForgeError> {
        let path = format!("/repos/{repo}/statuses/{commit}");
        let said: String = said.chars().take(TOLD).collect();
        let body = json!({ "state": state.word(), "context": CONTEXT, "description": said });
        self.post(&path, &body).await.map(drop)
    }

    pub async fn protection(&self, repo: &str, branch: &str) -> Result<Protection, ForgeError> {
        match &self.speaks {
            Speaks::GitHub(github) => github.protection(repo, branch).await,
            Speaks::Forgejo(forgejo) => forgejo.protection(repo, branch).await,
        }
    }

    /// Has the forge merge exactly this commit once everything is there that the branch's protection asks for.
    pub async fn merge_once_it_can(
        &self,
        repo: &str,
        pull: &Pull,
        commit: &Oid,
    ) -> Result<(), ForgeError> {
        match &self.speaks {
            Speaks::GitHub(github) => github.merge_once_it_can(repo, pull, commit).await,
            Speaks::Forgejo(forgejo) => forgejo.merge_once_it_can(repo, pull.number, commit).await,
        }
    }

    pub async fn do_not_merge(&self, repo: &str, pull: &Pull) -> Result<(), ForgeError> {
        match &self.speaks {
            Speaks::GitHub(github) => github.do_not_merge(&pull.node).await,
            Speaks::Forgejo(forgejo) => forgejo.do_not_merge(repo, pull.number).await,
        }
    }

    /// A branch that is gone already is as good.
    pub async fn remove_branch(&self, repo: &str, branch: &str) -> Result<(), ForgeError> {
        let path = match &self.speaks {
            Speaks::GitHub(_) => format!("/repos/{repo}/git/refs/heads/{branch}"),
            Speaks::Forgejo(_) => format!("/repos/{repo}/branches/{}", segment(branch)),
        };
        match self.send(Method::DELETE, &path, None).await {
            Ok(_) | Err(ForgeError::NotFound(_)) => Ok(()),
            // What GitHub says of a reference that is not there.
            Err(ForgeError::Refused { status, .. })
                if status == StatusCode::UNPROCESSABLE_ENTITY =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn get(&self, path: &str) -> Result<Value, ForgeError> {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, ForgeError> {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ForgeError> {
        match &self.speaks {
            Speaks::GitHub(github) => github.send(method, path, body).await,
            Speaks::Forgejo(forgejo) => forgejo.send(method, path, body).await,
        }
    }
}

/// As both write it.
#[derive(Deserialize)]
struct Written {
    number: u64,
    html_url: String,
    state: String,
    head: Head,
    title: String,
    body: Option<String>,
    #[serde(default)]
    merged: Option<bool>,
    merged_at: Option<String>,
    #[serde(default)]
    merged_by: Option<Person>,
    #[serde(default)]
    merge_commit_sha: Option<Oid>,
    #[serde(default)]
    auto_merge: Option<Value>,
    #[serde(default)]
    node_id: String,
}

#[derive(Deserialize)]
struct Head {
    sha: Oid,
}

#[derive(Deserialize)]
struct Person {
    login: String,
}

impl Pull {
    fn read(value: &Value) -> Result<Pull, ForgeError> {
        let written = Written::deserialize(value)
            .map_err(|e| ForgeError::Away(format!("its pull request is none: {e}")))?;
        let is_merged = written.merged.unwrap_or(written.merged_at.is_some());
        let state = match (is_merged, written.state.as_str()) {
            (true, _) => PullState::Merged {
                by: written.merged_by.map(|person| person.login),
                commit: written.merge_commit_sha,
            },
            (false, "open") => PullState::Open,
            (false, _) => PullState::Closed,
        };
        Ok(Pull {
            number: written.number,
            url: written.html_url,
            state,
            head: written.head.sha,
            title: written.title,
            body: written.body.unwrap_or_default(),
            merges_itself: written.auto_merge.is_some(),
            node: written.node_id,
        })
    }
}

impl Answer {
    /// What it says, where it is an answer to what was asked.
    fn read(self) -> Result<Value, ForgeError> {
        if self.status.is_success() {
            return match self.body.trim() {
                "" => Ok(Value::Null),
                body => serde_json::from_str(body)
                    .map_err(|e| ForgeError::Away(format!("its answer is no JSON: {e}"))),
            };
        }
        let said = words(&self.body);
        let after = self.pause();
        Err(match self.status {
            StatusCode::TOO_MANY_REQUESTS => ForgeError::Busy { after },
            StatusCode::FORBIDDEN if after.is_some() => ForgeError::Busy { after },
            StatusCode::UNAUTHORIZED => ForgeError::Token(said),
            StatusCode::FORBIDDEN => ForgeError::Denied(said),
            StatusCode::NOT_FOUND => ForgeError::NotFound(said),
            status if status.is_server_error() => ForgeError::Away(format!("{status} {said}")),
            status => ForgeError::Refused { status, said },
        })
    }

    /// How long it asks to wait: GitHub says either for how long, or until when.
    fn pause(&self) -> Option<Duration> {
        let number = |name: &str| -> Option<i64> {
            let value = self.headers.get(name)?.to_str().ok()?;
            value.trim().parse().ok()
        };
        if let Some(seconds) = number(RETRY_AFTER.as_str()) {
            return u64::try_from(seconds).ok().map(Duration::from_secs);
        }
        if number("x-ratelimit-remaining") != Some(0) {
            return None;
        }
        let left = number("x-ratelimit-reset")? - Timestamp::now().as_second();
        Some(Duration::from_secs(u64::try_from(left).unwrap_or(0) + 1))
    }
}

/// The message of an error and its details, in one line.
fn words(body: &str) -> String {
    let told: Value = serde_json::from_str(body).unwrap_or_default();
    let mut said = told["message"].as_str().unwrap_or(body).to_owned();
    let details = told["errors"].as_array().map(Vec::as_slice);
    for detail in details.unwrap_or_default() {
        let detail = detail["message"].as_str().or(detail.as_str());
        if let Some(detail) = detail {
            said.push_str(": ");
            said.push_str(detail);
        }
    }
    said.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(QUOTED)
        .collect()
}

fn text(value: &Value, field: &str) -> Result<String, ForgeError> {
    let text = value[field].as_str().map(str::to_owned);
    text.ok_or_else(|| ForgeError::Away(format!("its answer has no {field}")))
}

/// As one part of a path.
fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.insert(*name, value.parse().expect("it is a value"));
        }
        Answer {
            status: StatusCode::from_u16(status).expect("it is a status"),
            headers: all,
            body: body.to_owned(),
        }
    }

    #[test]
    fn a_refusal_because_of_a_limit_is_told_from_one_because_of_rights() {
        let soon = (Timestamp::now().as_second() + 20).to_string();
        let limited = answer(
            403,
            &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &soon)],
            "{}",
        );
        let Err(ForgeError::Busy { after: Some(after) }) = limited.read() else {
            panic!("it is a limit");
        };
        assert!(after <= Duration::from_secs(21) && after >= Duration::from_secs(10));
        let secondary = answer(403, &[("retry-after", "7")], "{}").read();
        assert!(matches!(
            secondary,
            Err(ForgeError::Busy { after: Some(after) }) if after == Duration::from_secs(7)
        ));
        let rights = answer(
            403,
            &[("x-ratelimit-remaining", "4999")],
            "{\"message\":\"Resource not accessible\"}",
        );
        assert!(
            matches!(rights.read(), Err(ForgeError::Denied(said)) if said == "Resource not accessible")
        );
    }

    #[test]
    fn what_it_says_of_a_mistake_is_told_with_its_details() {
        let body = r#"{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom",
            "message":"A pull request already exists for acme:fix."}]}"#;
        let Err(ForgeError::Refused { said, .. }) = answer(422, &[], body).read() else {
            panic!("it is refused");
        };
        assert_eq!(
            said,
            "Validation Failed: A pull request already exists for acme:fix."
        );
    }
}
