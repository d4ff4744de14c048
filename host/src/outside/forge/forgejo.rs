//! What only Forgejo and Gitea say: drafts by their title, labels, protection, merging by itself.
//!
//! Touches: http.
//! Change here: when their API changes. Its description comes with each of them, at `/swagger.v1.json`.

use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{Answer, ForgeError, Protection, Pull, segment};
use crate::event::Oid;

/// A title that begins so makes a draft of a pull request.
const DRAFT: &str = "WIP: ";
/// Of labels that are made.
const COLOUR: &str = "#5b7cfa";
/// Labels of a repository that are looked at.
const LABELS: usize = 100;

#[derive(Clone)]
pub struct Forgejo {
    client: reqwest::Client,
    base: Url,
    token: SecretString,
}

pub fn title(title: &str, draft: bool) -> String {
    match draft {
        true => format!("{DRAFT}{title}"),
        false => title.to_owned(),
    }
}

impl Forgejo {
    pub fn new(
        client: reqwest::Client,
        url: &str,
        token: SecretString,
    ) -> Result<Forgejo, ForgeError> {
        let base = Url::parse(url).map_err(|e| ForgeError::Address(e.to_string()))?;
        Ok(Forgejo {
            client,
            base,
            token,
        })
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ForgeError> {
        let away = |e: reqwest::Error| ForgeError::Away(e.without_url().to_string());
        let base = self.base.as_str().trim_end_matches('/');
        let address = Url::parse(&format!("{base}{path}"));
        let address = address.map_err(|e| ForgeError::Address(e.to_string()))?;
        let mut request = self
            .client
            .request(method, address)
            .bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(away)?;
        let answer = Answer {
            status: answer.status(),
            headers: answer.headers().clone(),
            body: answer.text().await.map_err(away)?,
        };
        answer.read()
    }

    pub async fn find(
        &self,
        repo: &str,
        head: &str,
        base: &str,
    ) -> Result<Option<Pull>, ForgeError> {
        let path = format!("/repos/{repo}/pulls/{}/{}", segment(base), segment(head));
        match self.send(Method::GET, &path, None).await {
            Ok(pull) => Pull::read(&pull).map(Some),
            Err(ForgeError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn make_labels(&self, repo: &str, labels: &[String]) -> Result<(), ForgeError> {
        let path = format!("/repos/{repo}/labels?limit={LABELS}");
        let there = self.send(Method::GET, &path, None).await?;
        let there = there.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_there = |label: &&String| there.iter().any(|l| l["name"] == label.as_str());
        for label in labels.iter().filter(|label| !is_there(label)) {
            let path = format!("/repos/{repo}/labels");
            let body = json!({ "name": label, "color": COLOUR });
            self.send(Method::POST, &path, Some(&body)).await?;
        }
        Ok(())
    }

    pub async fn protection(&self, repo: &str, branch: &str) -> Result<Protection, ForgeError> {
        let path = format!("/repos/{repo}/branches/{}", segment(branch));
        let found = self.send(Method::GET, &path, None).await?;
        if found["protected"] != true {
            return Ok(Protection {
                may_push: true,
                up_to_date: false,
            });
        }
        let asks =
            found["required_approvals"].as_i64() > Some(0) || found["enable_status_check"] == true;
        let rule = found["effective_branch_protection_name"].as_str();
        Ok(Protection {
            may_push: found["user_can_push"] == true && !asks,
            up_to_date: self.is_strict(repo, rule.unwrap_or_default()).await?,
        })
    }

    /// Only administrators are shown the rule; to others it promises nothing.
    async fn is_strict(&self, repo: &str, rule: &str) -> Result<bool, ForgeError> {
        if rule.is_empty() {
            return Ok(false);
        }
        let path = format!("/repos/{repo}/branch_protections/{}", segment(rule));
        match self.send(Method::GET, &path, None).await {
            Ok(rule) => Ok(rule["block_on_outdated_branch"] == true),
            Err(ForgeError::Denied(_) | ForgeError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// It does not tell afterwards that it will, and says so where it was told before.
    pub async fn merge_once_it_can(
        &self,
        repo: &str,
        number: u64,
        commit: &Oid,
    ) -> Result<(), ForgeError> {
        let body = json!({
            "Do": "merge", "head_commit_id": commit, "merge_when_checks_succeed": true,
        });
        let path = format!("/repos/{repo}/pulls/{number}/merge");
        match self.send(Method::POST, &path, Some(&body)).await {
            Err(ForgeError::Refused { said, .. }) if said.contains("already scheduled") => Ok(()),
            answered => answered.map(drop),
        }
    }

    pub async fn do_not_merge(&self, repo: &str, number: u64) -> Result<(), ForgeError> {
        let path = format!("/repos/{repo}/pulls/{number}/merge");
        match self.send(Method::DELETE, &path, None).await {
            Ok(_) | Err(ForgeError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
