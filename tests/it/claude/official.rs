//! Anthropic's own SDK as the judge of what our client sends and of what the scripted API says.
//!
//! Touches: http, processes.
//! Change here: when another release of the SDK is to judge.

use std::time::Duration;

use changebus_tests::python::run_python;
use scripted_claude::{Reply, Script, Server};
use serde_json::{Value, json};

const PACKAGES: [&str; 2] = ["anthropic==2.12.0", "jsonschema==4.26.0"];

#[tokio::test(flavor = "multi_thread")]
async fn every_request_we_send_is_one_the_official_types_allow() {
    let sent = super::everything_sent().await;
    assert!(sent.len() > 30, "the stories sent only {}", sent.len());
    assert!(sent.iter().all(|(_, request)| request.refused.is_none()));
    let named = |(n, (story, request)): (usize, &(&str, scripted_claude::RecordedRequest))| json!({"name": format!("{n} {story}"), "body": request.body});
    let requests: Vec<Value> = sent.iter().enumerate().map(named).collect();
    let complaints = run_python("request_schema.py", &PACKAGES, &[], &requests.into());
    let complaints = complaints.as_object().expect("one list for each request");
    assert_eq!(complaints.len(), sent.len());
    for (name, found) in complaints {
        assert_eq!(found, &json!([]), "{name}");
    }
}

#[test]
fn the_official_types_made_strict_catch_what_is_wrong() {
    let good = json!({"model": "claude-sonnet-5-5", "max_tokens": 1, "stream": true,
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "b"}], "output_config": {"effort": "low"}});
    let wrong = [
        ("/max_token", json!(1)),
        ("/temperature", json!(0.2)),
        ("/messages/0/contents", json!("x")),
        ("/messages/0/role", json!("robot")),
        ("/system/0/cache_control/tll", json!("5m")),
        ("/output_config/effort", json!("extreme")),
    ];
    let mut requests = vec![json!({"name": "good", "body": good})];
    for (at, value) in &wrong {
        let mut body = good.clone();
        let (parent, field) = at.rsplit_once('/').expect("a pointer");
        body.pointer_mut(parent).expect("it is there")[field] = value.clone();
        requests.push(json!({"name": at, "body": body}));
    }
    let complaints = run_python("request_schema.py", &PACKAGES, &[], &requests.into());
    assert_eq!(complaints["good"], json!([]));
    for (at, _) in wrong {
        assert_ne!(complaints[at], json!([]), "{at} was let through");
    }
}

fn by_the_message(request: &scripted_claude::RecordedRequest) -> Reply {
    match request.last_message().as_str() {
        "refusal" => Reply::Refusal {
            category: Some("bio".into()),
            text: "I".into(),
        },
        "limited" => Reply::RateLimited {
            retry_after: Some(Duration::from_secs(7)),
        },
        "spent" => Reply::SpendLimit,
        "broken" => Reply::MidStreamError {
            text: "Half of".into(),
        },
        _ => Reply::text("All is well, in more pieces than one."),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_understands_the_scripted_api() {
    let server = Server::start(Script::from_fn(by_the_message))
        .await
        .expect("a port on loopback");
    let base_url = server.base_url().to_owned();
    let run = move || run_python("official_client.py", &PACKAGES, &[&base_url], &Value::Null);
    let told = tokio::task::spawn_blocking(run)
        .await
        .expect("the script ran");

    let good = json!({"types": ["thinking", "text"], "text": "All is well, in more pieces than one.",
        "stop_reason": "end_turn", "category": null});
    for shape in ["streamed", "whole"] {
        for (field, value) in good.as_object().expect("an object") {
            assert_eq!(&told[shape][field], value, "{shape} {field}");
        }
        assert!(
            told[shape]["input_tokens"].as_u64() > Some(0)
                && told[shape]["output_tokens"].as_u64() > Some(1)
        );
    }
    assert_eq!(told["streamed"], told["whole"]);
    assert_eq!(
        (
            &told["refused"]["stop_reason"],
            &told["refused"]["category"]
        ),
        (&json!("refusal"), &json!("bio"))
    );

    let error = |of: &str| {
        let field = |name| told[of][name].clone();
        (
            field("error"),
            field("status"),
            field("type"),
            field("code"),
        )
    };
    let is = |class: &str, status: u16, kind: &str, code: Value| {
        (json!(class), json!(status), json!(kind), code)
    };
    assert_eq!(
        error("limited"),
        is("RateLimitError", 429, "rate_limit_error", Value::Null)
    );
    assert_eq!(told["limited"]["retry_after"], "7");
    let limit = json!("enforced_spend_limit_reached");
    assert_eq!(
        error("spent"),
        is(
            "EnforcedSpendLimitReachedError",
            429,
            "rate_limit_error",
            limit
        )
    );
    assert_eq!(told["broken"]["type"], "overloaded_error");
    for refused in ["misspelt", "sampled"] {
        assert_eq!(
            error(refused),
            is("BadRequestError", 400, "invalid_request_error", Value::Null)
        );
        assert!(
            told[refused]["request_id"]
                .as_str()
                .is_some_and(|id| id.starts_with("req_"))
        );
    }
}
