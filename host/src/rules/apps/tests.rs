//! Stories of what applications send, told without any transport.
//!
//! Touches: nothing.
//! Change here: when a message may come in another form, or a route can do something else.

use serde_json::json;

use super::*;

fn apps(routes: &str) -> BTreeMap<String, App> {
    let text = format!(
        "[projects.shop]\nrepo = \"/r\"\ntest = \"true\"\n[apps.ci]\nmax_kib = 1\n{routes}"
    );
    let config = crate::config::Config::parse(&text, std::path::Path::new("a story's"));
    config.expect("it is a configuration").apps
}

fn said(body: &[u8]) -> Said<'_> {
    Said {
        app: "ci",
        event: "job.finished",
        content_type: None,
        attributes: BTreeMap::new(),
        body,
        id: "sent-1".to_owned(),
    }
}

fn taken(body: &Value) -> AppMessage {
    read(&apps(""), &said(body.to_string().as_bytes())).expect("it is taken")
}

fn refused(said: &Said<'_>) -> String {
    let refused = read(&apps(""), said).expect_err("it must not be taken");
    refused.to_string()
}

#[test]
fn plain_json_is_a_message_and_goes_by_what_it_was_sent_under() {
    let message = taken(&json!({"job": 7}));
    assert_eq!(message.data, json!({"job": 7}));
    assert_eq!(
        (
            message.id.as_str(),
            message.source.as_str(),
            message.kind.as_str()
        ),
        ("sent-1", "/apps/ci", "app.ci.job.finished")
    );
    assert_eq!(taken(&json!("a text")).data, json!("a text"));
}

#[test]
fn a_cloud_event_keeps_its_own_names_whole_or_in_headers() {
    let whole = json!({
        "specversion": "1.0", "id": "4711", "source": "//ci.example", "type": "example.job",
        "subject": "job 7", "time": "2026-11-26T10:00:00Z", "data": {"job": 7}, "traceparent": "00-1"
    });
    let message = taken(&whole);
    assert_eq!(
        (message.id.as_str(), message.kind.as_str()),
        ("4711", "example.job")
    );
    assert_eq!(message.about.as_deref(), Some("job 7"));
    let names = ["specversion", "id", "source", "type", "subject", "time"];
    let headers = names.map(|name| {
        let value = whole[name].as_str().expect("a text");
        (format!("Ce-{name}"), value.replace(' ', "%20"))
    });
    let data = whole["data"].to_string();
    let binary = Said {
        attributes: attributes(headers.iter().map(|(n, v)| (n.as_str(), v.as_str()))),
        content_type: Some("application/json"),
        ..said(data.as_bytes())
    };
    assert_eq!(read(&apps(""), &binary).expect("it is taken"), message);
}

#[test]
fn what_is_no_message_is_refused_by_name() {
    for (body, why) in [
        (&b"\xff\x00garbage"[..], "not JSON"),
        (b"{\"a\": ", "not JSON"),
        (&[b'['; 1000][..], "not JSON"),
        (br#"{"specversion": "2.0"}"#, "specversion is \"2.0\""),
        (br#"{"specversion": 1.0}"#, "specversion is 1.0"),
        (br#"{"specversion": "1.0", "id": "1", "source": "s"}"#, "type is missing"),
        (br#"{"specversion": "1.0", "id": "", "source": "s", "type": "t"}"#, "id is empty"),
        (br#"{"specversion": "1.0", "id": 7, "source": "s", "type": "t"}"#, "id is 7"),
        (
            br#"{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": "soon"}"#,
            "time is \"soon\"",
        ),
        (
            br#"{"specversion": "1.0", "id": "1", "source": "s", "type": "dev.cdeventsx.changebus-run.closed.9.0.0"}"#,
            "only hosts send",
        ),
        (
            br#"{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data_base64": "AA=="}"#,
            "data_base64 is not read",
        ),
        (&[b' '; 1025][..], "max_kib allows 1024"),
    ] {
        let told = refused(&said(body));
        assert!(told.contains(why), "{told} does not say {why}");
    }
    let batch = Said {
        content_type: Some("application/cloudevents-batch+json; charset=utf-8"),
        ..said(b"[]")
    };
    assert!(refused(&batch).contains("one event at a time"));
}

#[test]
fn names_that_would_leave_their_place_in_a_subject_are_refused() {
    for event in ["", ".", "a..b", "a.*", ">", "a b", "a/../b", "é", "a\n"] {
        let told = refused(&Said {
            event,
            ..said(b"1")
        });
        assert!(told.contains("no name for an event"), "{event:?}: {told}");
    }
    for app in ["", "other", "ci.x", "*", ">", "../ci"] {
        let told = refused(&Said { app, ..said(b"1") });
        assert!(told.contains("no application"), "{app:?}: {told}");
    }
}

#[test]
fn the_same_message_is_the_same_event_on_every_host_and_another_ones_is_not() {
    let at = Timestamp::UNIX_EPOCH;
    let one = event(taken(&json!(1)), at);
    let again = event(taken(&json!(1)), Timestamp::MAX);
    assert_eq!(one.id, again.id);
    assert!(is_itself(&one));
    let other = AppMessage {
        id: "sent-2".to_owned(),
        ..taken(&json!(1))
    };
    assert_ne!(one.id, event(other, at).id);
    let stolen = Event {
        id: "mine".to_owned(),
        ..one
    };
    assert!(!is_itself(&stolen));
}

#[test]
fn routes_that_fit_start_alert_and_note_and_the_others_do_not() {
    let apps = apps(
        "[[apps.ci.routes]]\nevent = \"job.*\"\nwhere = { \"data.ok\" = false, \"data.n\" = 1 }\nstart = \"shop\"\n\
         [[apps.ci.routes]]\nevent = \"*\"\nproject = \"shop\"\nalert = \"{data.name}: {data.list.1} of {data.gone} {{}}\"\n\
         [[apps.ci.routes]]\nevent = \"*\"\ndigest = \"{event}\"\n\
         [[apps.ci.routes]]\nevent = \"deploy\"\ndigest = \"never\"\n",
    );
    let data = json!({"ok": false, "n": 1.0, "name": "x".repeat(300), "list": ["a", {"b": 1}]});
    let message = AppMessage {
        data,
        ..taken(&json!(null))
    };
    let said = event(message, Timestamp::UNIX_EPOCH);
    let made = consequences(&apps, &said);
    let told: Vec<_> = made.iter().map(|e| (e.project.as_str(), &e.fact)).collect();
    let long = "x".repeat(200);
    assert!(
        matches!(told[0], ("shop", Fact::StartAsked { asked }) if asked.by == "app.ci.job.finished")
    );
    assert!(matches!(told[1], ("shop", Fact::Alerted { remark })
        if remark.text == format!("{long}…: {{\"b\":1}} of (data.gone is missing) {{}}")));
    assert!(matches!(told[2], ("_all", Fact::Noted { remark }) if remark.text == "job.finished"));
    assert_eq!(told.len(), 3);
    assert_eq!(
        made,
        consequences(&apps, &said),
        "made again it is the same"
    );
}
