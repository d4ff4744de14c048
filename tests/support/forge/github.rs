//! How GitHub says it: its paths, its answers, its refusals.
//!
//! Touches: git.
//! Change here: when GitHub answers otherwise.

use serde_json::{Value, json};

use super::{Hall, ME, Protection, Pull, REPO, Said, Seen, description};
use changebus::config::ForgeKind;

/// GitHub takes no longer description of a status.
const LONGEST: usize = 140;

impl Hall {
    fn blank(&self, schema: &str) -> Value {
        description(ForgeKind::Github).blank_of(schema)
    }

    pub(super) fn github(&mut self, seen: &Seen, rest: &[&str]) -> Said {
        let none = Value::Null;
        let body = seen.body.as_ref().unwrap_or(&none);
        match (seen.method.as_str(), rest) {
            ("GET", ["branches", branch]) => self.github_branch(branch),
            ("GET", ["branches", _, "protection"]) => self.github_protection(),
            ("GET", ["rules", "branches", _]) => Said::new(200, json!([])),
            ("GET", ["commits", commit]) => self.github_commit(commit),
            ("POST", ["statuses", commit]) => self.github_status(commit, body),
            ("GET", ["pulls"]) => self.github_list(seen),
            ("POST", ["pulls"]) => match self.open(body, body["draft"] == true) {
                Ok(nth) => Said::new(201, self.show(&self.pulls[nth])),
                Err((_, why)) => invalid(&why),
            },
            (_, ["pulls", number, rest @ ..]) => self.github_of_a_pull(seen, number, rest, body),
            (_, ["issues", number, rest @ ..]) => self.github_of_an_issue(seen, number, rest, body),
            ("DELETE", ["git", "refs", "heads", branch @ ..]) => {
                match self.remove_branch(&branch.join("/")) {
                    true => Said::new(204, Value::Null),
                    false => invalid("Reference does not exist"),
                }
            }
            _ => Said::error(404, "Not Found"),
        }
    }

    fn github_branch(&self, branch: &str) -> Said {
        let Some(tip) = self.tip(branch) else {
            return Said::error(404, "Branch not found");
        };
        let mut shown = self.blank("branch-with-protection");
        shown["name"] = branch.into();
        shown["protected"] = self.protection.is_some().into();
        shown["commit"]["sha"] = tip.into();
        Said::new(200, shown)
    }

    fn github_protection(&self) -> Said {
        let Some(Protection {
            required_checks,
            strict,
            approvals,
        }) = &self.protection
        else {
            return Said::error(404, "Branch not protected");
        };
        if !self.is_administrator {
            return Said::error(403, "Resource not accessible by personal access token");
        }
        let mut shown = self.blank("branch-protection");
        if !required_checks.is_empty() {
            shown["required_status_checks"] = json!({
                "strict": strict, "contexts": required_checks,
                "checks": required_checks.iter().map(|c| json!({ "context": c, "app_id": null })).collect::<Vec<_>>(),
            });
        }
        if *approvals > 0 {
            let mut reviews = self.blank("protected-branch-pull-request-review");
            reviews["required_approving_review_count"] = (*approvals).into();
            shown["required_pull_request_reviews"] = reviews;
        }
        Said::new(200, shown)
    }

    fn github_commit(&self, commit: &str) -> Said {
        if !self.has_commit(commit) {
            return Said::error(404, "Not Found");
        }
        let mut shown = self.blank("commit");
        shown["sha"] = commit.into();
        shown["author"] = match self.login_of(commit) {
            Some(login) => self.person(&login),
            None => Value::Null,
        };
        Said::new(200, shown)
    }

    fn github_status(&mut self, commit: &str, body: &Value) -> Said {
        let said = body["description"].as_str().unwrap_or_default();
        if said.chars().count() > LONGEST {
            return invalid("description is too long (maximum is 140 characters)");
        }
        if !self.tell(commit, body) {
            return invalid(&format!("No commit found for SHA: {commit}"));
        }
        let mut shown = self.blank("status");
        shown["state"] = body["state"].clone();
        shown["context"] = body["context"].clone();
        shown["creator"] = self.person(ME);
        Said::new(201, shown)
    }

    fn github_list(&self, seen: &Seen) -> Said {
        let asked = |name: &str| {
            let found = seen.query.iter().find(|(n, _)| n == name);
            found.map(|(_, value)| value.as_str())
        };
        let fits = |pull: &&Pull| {
            let state = match asked("state").unwrap_or("open") {
                "all" => true,
                "open" => pull.open,
                _ => !pull.open,
            };
            let head = asked("head").is_none_or(|head| head == format!("acme:{}", pull.head));
            state && head && asked("base").is_none_or(|base| base == pull.base)
        };
        let newest_first = self.pulls.iter().rev().filter(fits);
        let shown = newest_first.map(|pull| self.github_pull(pull, "pull-request-simple"));
        Said::new(200, shown.collect())
    }

    fn github_of_a_pull(&mut self, seen: &Seen, number: &str, rest: &[&str], body: &Value) -> Said {
        let Some(nth) = number.parse().ok().and_then(|number| self.nth(number)) else {
            return Said::error(404, "Not Found");
        };
        match (seen.method.as_str(), rest) {
            ("GET", []) => Said::new(200, self.show(&self.pulls[nth])),
            ("PATCH", []) => {
                self.change(nth, body);
                Said::new(200, self.show(&self.pulls[nth]))
            }
            ("PUT", ["merge"]) => self.github_merge(nth, body),
            ("POST", ["requested_reviewers"]) => match self.ask_to_review(nth, body) {
                Ok(()) => Said::new(
                    201,
                    self.github_pull(&self.pulls[nth], "pull-request-simple"),
                ),
                Err(why) => invalid(&why),
            },
            _ => Said::error(404, "Not Found"),
        }
    }

    fn github_merge(&mut self, nth: usize, body: &Value) -> Said {
        let pull = &self.pulls[nth];
        if body["sha"].as_str() != Some(self.head_of(pull).as_str()) {
            return Said::error(
                409,
                "Head branch was modified. Review and try the merge again.",
            );
        }
        if let Some(why) = self.hindrance(pull) {
            return Said::error(405, &why);
        }
        match self.merge(nth, ME) {
            Some(commit) => {
                let message = "Pull Request successfully merged";
                Said::new(
                    200,
                    json!({ "sha": commit, "merged": true, "message": message }),
                )
            }
            None => Said::error(405, "Pull Request is not mergeable"),
        }
    }

    fn github_of_an_issue(
        &mut self,
        seen: &Seen,
        number: &str,
        rest: &[&str],
        body: &Value,
    ) -> Said {
        let Some(nth) = number.parse().ok().and_then(|number| self.nth(number)) else {
            return Said::error(404, "Not Found");
        };
        match (seen.method.as_str(), rest) {
            ("POST", ["labels"]) => {
                let named = body["labels"].as_array().into_iter().flatten();
                let named: Vec<String> =
                    named.filter_map(Value::as_str).map(str::to_owned).collect();
                self.labels.extend(named.iter().cloned());
                self.pulls[nth].labels.extend(named);
                let label = |name: &String| {
                    let mut label = self.blank("label");
                    label["name"] = name.as_str().into();
                    label
                };
                Said::new(200, self.pulls[nth].labels.iter().map(label).collect())
            }
            ("POST", ["comments"]) => {
                let words = body["body"].as_str().unwrap_or_default().to_owned();
                self.pulls[nth].comments.push((ME.to_owned(), words));
                Said::new(201, self.github_comment(&self.pulls[nth].comments[0]))
            }
            ("GET", ["comments"]) => {
                let all = &self.pulls[nth].comments;
                Said::new(200, all.iter().map(|c| self.github_comment(c)).collect())
            }
            _ => Said::error(404, "Not Found"),
        }
    }

    fn github_comment(&self, (by, words): &(String, String)) -> Value {
        let mut shown = self.blank("issue-comment");
        shown["body"] = words.as_str().into();
        shown["user"] = self.person(by);
        shown
    }

    /// `pull-request-simple` tells less.
    pub(super) fn github_pull(&self, pull: &Pull, schema: &str) -> Value {
        let mut shown = self.blank(schema);
        let told = json!({
            "number": pull.number,
            "node_id": format!("PR_{}", pull.number),
            "html_url": format!("https://github.example/{REPO}/pull/{}", pull.number),
            "title": pull.title,
            "body": pull.body,
            "draft": pull.draft,
            "state": if pull.open { "open" } else { "closed" },
            "merged_at": pull.merged.as_ref().map(|_| "2026-11-27T10:00:00Z"),
            "merge_commit_sha": pull.merged.as_ref().map(|(_, commit)| commit),
        });
        for (name, value) in told.as_object().into_iter().flatten() {
            shown[name] = value.clone();
        }
        shown["head"]["sha"] = self.head_of(pull).into();
        shown["head"]["ref"] = pull.head.as_str().into();
        shown["base"]["ref"] = pull.base.as_str().into();
        shown["user"] = self.person(ME);
        if pull.merges_itself.is_some() {
            shown["auto_merge"] = json!({
                "enabled_by": self.person(ME), "merge_method": "merge", "commit_title": "", "commit_message": "",
            });
        }
        if schema == "pull-request" {
            shown["merged"] = pull.merged.is_some().into();
            shown["merged_by"] = match &pull.merged {
                Some((by, _)) => self.person(by),
                None => Value::Null,
            };
        }
        shown
    }

    /// Two mutations, word for word as the schema of GitHub's GraphQL has them.
    pub(super) fn graphql(&mut self, body: &Value) -> Said {
        let query = body["query"].as_str().unwrap_or_default();
        let node = body["variables"]["pull"].as_str().unwrap_or_default();
        let number = node.strip_prefix("PR_").and_then(|n| n.parse().ok());
        let Some(nth) = number.and_then(|number| self.nth(number)) else {
            return refused("Could not resolve to a node with the global id");
        };
        if query.contains("disablePullRequestAutoMerge(input:") {
            self.pulls[nth].merges_itself = None;
            return Said::new(200, json!({ "data": {} }));
        }
        if !query.contains("enablePullRequestAutoMerge(input:") {
            self.complaints.push(format!("nobody knows this: {query}"));
            return refused("Field does not exist on type 'Mutation'");
        }
        let wanted = body["variables"]["head"].as_str().unwrap_or_default();
        if wanted != self.head_of(&self.pulls[nth]) {
            return refused("Head branch was modified. Review and try the merge again.");
        }
        if !self.may_merge_itself {
            return refused("Auto merge is not allowed for this repository");
        }
        if self.hindrance(&self.pulls[nth]).is_none() {
            return refused("Pull request is in clean status");
        }
        self.pulls[nth].merges_itself = Some(wanted.to_owned());
        Said::new(200, json!({ "data": {} }))
    }
}

fn refused(why: &str) -> Said {
    Said::new(200, json!({ "data": null, "errors": [{ "message": why }] }))
}

fn invalid(why: &str) -> Said {
    Said::new(
        422,
        json!({
            "message": "Validation Failed",
            "errors": [{ "resource": "PullRequest", "code": "custom", "message": why }],
            "documentation_url": "",
        }),
    )
}
