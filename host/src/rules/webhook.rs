//! What a forge's webhook tells: that a branch moved, or that something happened to a pull request.
//!
//! Touches: nothing.
//! Change here: when a forge tells of something else that is worth a look. It is only ever a hint: what is true is asked
//! of git and of the forge.

use serde_json::Value;

/// What is worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// This branch of this repository, `owner/name`.
    Moved { repo: String, branch: String },
    /// A pull request of it, its reviews, comments or checks.
    Discussed { repo: String },
}

/// None where it is about nothing that is looked at here, such as a first greeting.
pub fn told(event: &str, body: &Value) -> Option<Told> {
    let repo = body["repository"]["full_name"].as_str()?.to_owned();
    match event {
        "push" | "create" => {
            let name = body["ref"].as_str()?;
            // A new branch is named without its place.
            let branch = name.strip_prefix("refs/heads/").unwrap_or(name).to_owned();
            Some(Told::Moved { repo, branch })
        }
        "pull_request"
        | "pull_request_review"
        | "pull_request_review_approved"
        | "pull_request_review_rejected"
        | "pull_request_approved"
        | "pull_request_rejected"
        | "pull_request_comment"
        | "issue_comment"
        | "status"
        | "check_suite"
        | "check_run" => Some(Told::Discussed { repo }),
        _ => None,
    }
}

/// Names of repositories are the same in small letters and in capitals.
pub fn is_same_repo(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_push_tells_of_its_branch_and_a_greeting_of_nothing() {
        let body = json!({ "ref": "refs/heads/a/b", "repository": { "full_name": "acme/shop" } });
        let moved = Told::Moved {
            repo: "acme/shop".into(),
            branch: "a/b".into(),
        };
        assert_eq!(told("push", &body), Some(moved));
        assert_eq!(told("ping", &body), None);
        assert_eq!(told("push", &json!({ "ref": 7 })), None);
        let discussed = Told::Discussed {
            repo: "acme/shop".into(),
        };
        assert_eq!(told("issue_comment", &body), Some(discussed));
    }
}
