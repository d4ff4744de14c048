//! How Forgejo and Gitea say it: their paths, their answers, their refusals.
//!
//! Touches: git.
//! Change here: when Forgejo answers otherwise.

use serde_json::{Value, json};

use super::{Hall, ME, Pull, REPO, Said, Seen};

/// The rule that protects the branch.
const RULE: &str = "main";

impl Hall {
    pub(super) fn forgejo(&mut self, seen: &Seen, rest: &[&str]) -> Said {
        let none = Value::Null;
        let body = seen.body.as_ref().unwrap_or(&none);
        match (seen.method.as_str(), rest) {
            ("GET", ["branches", branch @ ..]) => self.forgejo_branch(&branch.join("/")),
            ("DELETE", ["branches", branch @ ..]) => match self.remove_branch(&branch.join("/")) {
                true => Said::new(204, Value::Null),
                false => Said::error(404, "The target couldn't be found."),
            },
            ("GET", ["branch_protections", RULE]) => self.forgejo_rule(),
            ("GET", ["git", "commits", commit]) => match self.has_commit(commit) {
                true => {
                    let author = self.login_of(commit).map(|login| self.person(&login));
                    Said::new(200, json!({ "sha": commit, "author": author }))
                }
                false => Said::error(404, "object does not exist"),
            },
            ("POST", ["statuses", commit]) => match self.tell(commit, body) {
                true => Said::new(
                    201,
                    json!({ "status": body["state"], "context": body["context"] }),
                ),
                false => Said::error(404, "object does not exist"),
            },
            ("GET", ["labels"]) => {
                let label = |(nth, name): (usize, &String)| json!({ "id": nth, "name": name });
                Said::new(200, self.labels.iter().enumerate().map(label).collect())
            }
            ("POST", ["labels"]) => {
                let name = body["name"].as_str().unwrap_or_default();
                self.labels.insert(name.to_owned());
                Said::new(201, json!({ "id": self.labels.len(), "name": name }))
            }
            ("POST", ["pulls"]) => {
                let draft = body["title"]
                    .as_str()
                    .is_some_and(|t| t.starts_with("WIP: "));
                match self.open(body, draft) {
                    Ok(nth) => Said::new(201, self.show(&self.pulls[nth])),
                    Err((status, why)) => Said::error(status, &why),
                }
            }
            (method, ["pulls", base, head @ ..]) if base.parse::<u64>().is_err() => {
                let head = head.join("/");
                let same = |p: &&Pull| p.open && p.base == *base && p.head == head;
                match self.pulls.iter().find(same).filter(|_| method == "GET") {
                    Some(pull) => Said::new(200, self.show(pull)),
                    None => Said::error(404, "pull request does not exist"),
                }
            }
            (_, [kind @ ("pulls" | "issues"), number, rest @ ..]) => {
                match number.parse().ok().and_then(|number| self.nth(number)) {
                    Some(nth) => self.forgejo_of_a_pull(seen, nth, kind, rest, body),
                    None => Said::error(404, "pull request does not exist"),
                }
            }
            _ => Said::error(404, "Not Found"),
        }
    }

    fn forgejo_branch(&self, branch: &str) -> Said {
        let Some(tip) = self.tip(branch) else {
            return Said::error(404, "branch does not exist");
        };
        let protection = self.protection.clone().unwrap_or_default();
        let is_protected = self.protection.is_some();
        Said::new(
            200,
            json!({
                "name": branch,
                "commit": { "id": tip },
                "protected": is_protected,
                "required_approvals": protection.approvals,
                "enable_status_check": !protection.required_checks.is_empty(),
                "status_check_contexts": protection.required_checks,
                "user_can_push": !is_protected,
                "user_can_merge": true,
                "effective_branch_protection_name": if is_protected { RULE } else { "" },
            }),
        )
    }

    fn forgejo_rule(&self) -> Said {
        match &self.protection {
            Some(_) if !self.is_administrator => Said::error(403, "you are no administrator"),
            Some(protection) => Said::new(
                200,
                json!({
                    "rule_name": RULE,
                    "block_on_outdated_branch": protection.strict,
                    "enable_status_check": !protection.required_checks.is_empty(),
                    "required_approvals": protection.approvals,
                }),
            ),
            None => Said::error(404, "Not Found"),
        }
    }

    fn forgejo_of_a_pull(
        &mut self,
        seen: &Seen,
        nth: usize,
        kind: &str,
        rest: &[&str],
        body: &Value,
    ) -> Said {
        match (kind, seen.method.as_str(), rest) {
            ("pulls", "GET", []) => Said::new(200, self.show(&self.pulls[nth])),
            ("pulls", "PATCH", []) => {
                self.change(nth, body);
                self.pulls[nth].draft = self.pulls[nth].title.starts_with("WIP: ");
                Said::new(201, self.show(&self.pulls[nth]))
            }
            ("pulls", "POST", ["requested_reviewers"]) => match self.ask_to_review(nth, body) {
                Ok(()) => Said::new(201, json!([])),
                Err(why) => Said::error(422, &why),
            },
            ("pulls", "POST", ["merge"]) => self.forgejo_merge(nth, body),
            ("pulls", "DELETE", ["merge"]) => match self.pulls[nth].merges_itself.take() {
                Some(_) => Said::new(204, Value::Null),
                None => Said::error(404, "it is not scheduled"),
            },
            ("issues", "POST", ["labels"]) => {
                let named = body["labels"].as_array().into_iter().flatten();
                for name in named.filter_map(Value::as_str) {
                    if !self.labels.contains(name) {
                        return Said::error(404, &format!("label {name} does not exist"));
                    }
                    self.pulls[nth].labels.push(name.to_owned());
                }
                let label = |name: &String| json!({ "name": name });
                Said::new(200, self.pulls[nth].labels.iter().map(label).collect())
            }
            ("issues", "POST", ["comments"]) => {
                let words = body["body"].as_str().unwrap_or_default();
                self.pulls[nth]
                    .comments
                    .push((ME.to_owned(), words.to_owned()));
                Said::new(201, json!({ "body": words, "user": self.person(ME) }))
            }
            ("issues", "GET", ["comments"]) => {
                let one = |(by, words): &(String, String)| json!({ "body": words, "user": self.person(by) });
                Said::new(200, self.pulls[nth].comments.iter().map(one).collect())
            }
            _ => Said::error(404, "Not Found"),
        }
    }

    fn forgejo_merge(&mut self, nth: usize, body: &Value) -> Said {
        let pull = &self.pulls[nth];
        if body["head_commit_id"].as_str() != Some(self.head_of(pull).as_str()) {
            return Said::error(409, "head out of date");
        }
        match self.hindrance(pull) {
            None => match self.merge(nth, ME) {
                Some(_) => Said::new(200, Value::Null),
                None => Said::error(405, "it conflicts"),
            },
            Some(_) if body["merge_when_checks_succeed"] == true => {
                if self.pulls[nth].merges_itself.is_some() {
                    return Said::error(409, "pull request is already scheduled to auto merge");
                }
                self.pulls[nth].merges_itself = body["head_commit_id"].as_str().map(str::to_owned);
                Said::new(200, Value::Null)
            }
            Some(why) => Said::error(405, &why),
        }
    }

    pub(super) fn forgejo_pull(&self, pull: &Pull) -> Value {
        let (by, commit) = match &pull.merged {
            Some((by, commit)) => (self.person(by), json!(commit)),
            None => (Value::Null, Value::Null),
        };
        json!({
            "id": pull.number,
            "number": pull.number,
            "html_url": format!("https://forge.example/{REPO}/pulls/{}", pull.number),
            "title": pull.title,
            "body": pull.body,
            "draft": pull.draft,
            "state": if pull.open { "open" } else { "closed" },
            "merged": pull.merged.is_some(),
            "merged_by": by,
            "merge_commit_sha": commit,
            "head": { "ref": pull.head, "sha": self.head_of(pull) },
            "base": { "ref": pull.base },
            "user": self.person(ME),
        })
    }
}
