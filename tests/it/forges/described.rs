//! The judges themselves: what they let pass, and what they find.
//!
//! Touches: files, processes (npm and cargo fetch the descriptions).
//! Change here: when a judge should find something else.

use changebus_tests::described::{Description, forgejo, github};
use serde_json::{Value, json};

fn found(judge: &Description, method: &str, path: &str, body: &Value) -> String {
    let body = Some(body).filter(|b| !b.is_null());
    judge.of_request(method, path, &[], body).join("; ")
}

#[test]
fn a_right_request_passes_and_a_misspelt_one_does_not() {
    for (judge, prefix) in [(github(), ""), (forgejo(), "/api/v1")] {
        let pulls = format!("{prefix}/repos/acme/shop/pulls");
        let good = json!({ "title": "t", "head": "h", "base": "main", "body": "b" });
        assert_eq!(found(judge, "POST", &pulls, &good), "");
        let misspelt = json!({ "titel": "t", "head": "h", "base": "main" });
        assert!(found(judge, "POST", &pulls, &misspelt).contains("titel"));
        let wrong = json!({ "title": 5, "head": "h", "base": "main" });
        assert!(found(judge, "POST", &pulls, &wrong).contains("/title"));
        let status = format!("{prefix}/repos/acme/shop/statuses/{}", "a".repeat(40));
        assert_eq!(
            found(judge, "POST", &status, &json!({ "state": "pending" })),
            ""
        );
        assert_ne!(
            found(judge, "POST", &status, &json!({ "state": "fine" })),
            ""
        );
        let nowhere = format!("{prefix}/repos/acme/shop/pools");
        assert!(found(judge, "GET", &nowhere, &Value::Null).contains("no such operation"));
        let query = [("stat".to_owned(), "open".to_owned())];
        let wrong = judge.of_request("GET", &pulls, &query, None);
        assert!(wrong[0].contains("knows no stat"), "{wrong:?}");
        let query = [("state".to_owned(), "ajar".to_owned())];
        assert_ne!(
            judge.of_request("GET", &pulls, &query, None),
            Vec::<String>::new()
        );
    }
    let merge = "/api/v1/repos/acme/shop/pulls/7/merge";
    assert_ne!(
        found(forgejo(), "POST", merge, &json!({ "Do": "squish" })),
        ""
    );
    assert_ne!(
        found(forgejo(), "POST", merge, &json!({ "head_commit_id": "a" })),
        ""
    );
    let odd = "/api/v1/repos/acme/shop/pulls/seven/merge";
    assert!(found(forgejo(), "POST", odd, &json!({ "Do": "merge" })).contains("no number"));
}

#[test]
fn an_answer_that_lacks_something_is_found_out() {
    let path = "/repos/acme/shop/pulls/7";
    let mut answer = github().blank("GET", path, 200);
    assert_eq!(
        github().of_answer("GET", path, 200, &answer),
        Vec::<String>::new()
    );
    answer["state"] = "ajar".into();
    assert_ne!(
        github().of_answer("GET", path, 200, &answer),
        Vec::<String>::new()
    );
    let fields = answer.as_object_mut().expect("it is an object");
    fields.remove("merged");
    assert!(
        github()
            .of_answer("GET", path, 200, &answer)
            .join(" ")
            .contains("merged")
    );
    let path = "/api/v1/repos/acme/shop/pulls/7";
    let answer = json!({ "number": 7, "merged_by": null });
    assert_eq!(
        forgejo().of_answer("GET", path, 200, &answer),
        Vec::<String>::new()
    );
    let answer = json!({ "number": "seven" });
    assert_ne!(
        forgejo().of_answer("GET", path, 200, &answer),
        Vec::<String>::new()
    );
    assert_ne!(
        forgejo().of_answer("GET", path, 201, &answer),
        Vec::<String>::new()
    );
}
