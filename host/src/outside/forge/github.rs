//! What only GitHub says, through octocrab: looking for a pull request, rules of a branch, merging by itself.
//!
//! Touches: http.
//! Change here: when GitHub's API changes. Its description: api.github.com, and its schema for GraphQL.

use octocrab::Octocrab;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{Answer, ForgeError, Protection, Pull, segment};
use crate::event::Oid;

/// The version of the API that is spoken.
const VERSION: &str = "2022-11-28";

/// Rules that stand between whoever pushes and the branch.
const HINDRANCES: [&str; 5] = [
    "pull_request",
    "required_status_checks",
    "update",
    "merge_queue",
    "workflows",
];

#[derive(Clone)]
pub struct GitHub {
    rest: Octocrab,
    /// An enterprise server has it beside the other, not below it.
    graphql: Octocrab,
}

impl GitHub {
    pub fn new(
        client: reqwest::Client,
        url: &str,
        token: SecretString,
    ) -> Result<GitHub, ForgeError> {
        let at = |url: &str| {
            Octocrab::builder()
                .base_uri(url)
                .map(|builder| builder.personal_token(token.clone()))
                .map(|builder| {
                    let version = http::HeaderName::from_static("x-github-api-version");
                    let accept = http::header::ACCEPT;
                    builder
                        .add_header(version, VERSION.to_owned())
                        .add_header(accept, "application/vnd.github+json".to_owned())
                })
                .and_then(|builder| builder.build_with_reqwest(client.clone()))
                .map_err(|e| ForgeError::Address(plain(&e)))
        };
        Ok(GitHub {
            rest: at(url)?,
            graphql: at(url.strip_suffix("/v3").unwrap_or(url))?,
        })
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ForgeError> {
        ask(&self.rest, method, path, body).await?.read()
    }

    pub async fn find(
        &self,
        repo: &str,
        head: &str,
        base: &str,
    ) -> Result<Option<Pull>, ForgeError> {
        let owner = repo.split('/').next().unwrap_or_default();
        let path = format!(
            "/repos/{repo}/pulls?state=all&sort=created&direction=desc&head={}&base={}",
            segment(&format!("{owner}:{head}")),
            segment(base)
        );
        let found = self.send(Method::GET, &path, None).await?;
        found.get(0).map(Pull::read).transpose()
    }

    pub async fn protection(&self, repo: &str, branch: &str) -> Result<Protection, ForgeError> {
        let branch = segment(branch);
        let get = async |path: String| self.send(Method::GET, &path, None).await;
        let rules = get(format!("/repos/{repo}/rules/branches/{branch}")).await?;
        let rules = rules.as_array().map(Vec::as_slice).unwrap_or_default();
        let kind = |rule: &Value| rule["type"].as_str().map(str::to_owned);
        let hinders = |rule: &Value| kind(rule).is_some_and(|k| HINDRANCES.contains(&k.as_str()));
        let is_strict =
            |rule: &Value| rule["parameters"]["strict_required_status_checks_policy"] == true;
        let mut protection = Protection {
            may_push: !rules.iter().any(hinders),
            up_to_date: rules.iter().any(is_strict),
        };
        let found = get(format!("/repos/{repo}/branches/{branch}")).await?;
        if found["protected"] != true {
            return Ok(protection);
        }
        match get(format!("/repos/{repo}/branches/{branch}/protection")).await {
            Ok(classic) => {
                let asks = [
                    "required_pull_request_reviews",
                    "required_status_checks",
                    "restrictions",
                ];
                protection.may_push &= !asks.iter().any(|what| classic[what].is_object());
                protection.up_to_date |= classic["required_status_checks"]["strict"] == true;
            }
            // What it asks for is for the eyes of administrators: then it may ask for anything. A branch that is
            // protected by rules alone has none of these.
            Err(ForgeError::Denied(_)) => protection.may_push = false,
            Err(ForgeError::NotFound(_)) => protection.may_push &= !rules.is_empty(),
            Err(error) => return Err(error),
        }
        Ok(protection)
    }

    pub async fn merge_once_it_can(
        &self,
        repo: &str,
        pull: &Pull,
        commit: &Oid,
    ) -> Result<(), ForgeError> {
        let query = "mutation($pull: ID!, $head: GitObjectID!) { \
            enablePullRequestAutoMerge(input: { pullRequestId: $pull, expectedHeadOid: $head, mergeMethod: MERGE }) \
            { pullRequest { number } } }";
        let variables = json!({ "pull": pull.node, "head": commit });
        match self.mutate(query, variables).await {
            // There is nothing to wait for, which it does not count as waiting.
            Err(ForgeError::Refused { said, .. }) if said.contains("clean status") => {
                let path = format!("/repos/{repo}/pulls/{}/merge", pull.number);
                let body = json!({ "sha": commit, "merge_method": "merge" });
                self.send(Method::PUT, &path, Some(&body)).await.map(drop)
            }
            answered => answered,
        }
    }

    pub async fn do_not_merge(&self, node: &str) -> Result<(), ForgeError> {
        let query = "mutation($pull: ID!) { \
            disablePullRequestAutoMerge(input: { pullRequestId: $pull }) { pullRequest { number } } }";
        self.mutate(query, json!({ "pull": node })).await
    }

    /// What goes wrong there is told in an answer that says it went well.
    async fn mutate(&self, query: &str, variables: Value) -> Result<(), ForgeError> {
        let body = json!({ "query": query, "variables": variables });
        let answer = ask(&self.graphql, Method::POST, "/graphql", Some(&body)).await?;
        let status = answer.status;
        let told = answer.read()?;
        match told["errors"][0]["message"].as_str() {
            None => Ok(()),
            Some(said) => Err(ForgeError::Refused {
                status,
                said: said.to_owned(),
            }),
        }
    }
}

async fn ask(
    at: &Octocrab,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, ForgeError> {
    let away = |e: octocrab::Error| ForgeError::Away(plain(&e));
    let request = http::Request::builder().method(method).uri(path);
    let request = at.build_request(request, body).map_err(away)?;
    let answer = at.execute(request).await.map_err(away)?;
    Ok(Answer {
        status: answer.status(),
        headers: answer.headers().clone(),
        body: at.body_to_string(answer).await.map_err(away)?,
    })
}

/// The error and what is beneath it, without the places it was passed on at.
fn plain(error: &octocrab::Error) -> String {
    let whole = error.to_string();
    let mut said = whole
        .split("\n\nFound at")
        .next()
        .unwrap_or_default()
        .to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(deeper) = source {
        let words = deeper.to_string();
        if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
        source = deeper.source();
    }
    said.trim().to_owned()
}
