//! Stories about messages: what goes out comes back, what is not ours is told in a line, and no name escapes its token.
//!
//! Touches: nothing.
//! Change here: when a message promises something new. `samples.json` has one or more of every fact.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Value, json};

use super::*;

const SAMPLES: &str = include_str!("samples.json");

fn samples() -> Vec<Fact> {
    serde_json::from_str(SAMPLES).expect("every sample is a fact")
}

fn event(fact: Fact) -> Event {
    Event {
        seq: 0,
        id: "0197d1b5-5a3c-7000-8000-000000000001".to_owned(),
        at: "2026-11-26T10:30:00.123456789Z".parse().expect("a time"),
        project: "app".to_owned(),
        run: Some(RunId("app-20261126T103000-aaaaaaaaaa".to_owned())),
        version: Some(7),
        epoch: 2,
        origin: Some("host-b".to_owned()),
        fact,
    }
}

fn told(event: &Event) -> Vec<u8> {
    wrap(event, "host-a").json().expect("it can be written")
}

fn message(event: &Event) -> Value {
    serde_json::from_slice(&told(event)).expect("it is JSON")
}

fn closed() -> Event {
    let fact = json!({"type": "run-closed", "status": "fixed"});
    event(serde_json::from_value(fact).expect("a fact"))
}

/// The kinds of facts the types know, from their schema.
fn every_tag(of: &str, tag: &str) -> BTreeSet<String> {
    let schema = schemars::schema_for!(Fact).to_value();
    let variants = match of {
        "Fact" => &schema["oneOf"],
        of => &schema["$defs"][of]["oneOf"],
    };
    let variants = variants.as_array().expect("a tagged enum");
    let name = |v: &Value| v["properties"][tag]["const"].as_str().map(str::to_owned);
    variants.iter().filter_map(name).collect()
}

#[test]
fn there_is_a_sample_of_every_fact_and_every_delivery() {
    let samples: Vec<Value> = serde_json::from_str(SAMPLES).expect("JSON");
    let facts = samples.iter().filter_map(|s| s["type"].as_str());
    assert_eq!(
        facts.map(str::to_owned).collect::<BTreeSet<_>>(),
        every_tag("Fact", "type")
    );
    let how = samples.iter().filter_map(|s| s["delivery"]["how"].as_str());
    assert_eq!(
        how.map(str::to_owned).collect::<BTreeSet<_>>(),
        every_tag("Delivery", "how")
    );
    let saw = samples.iter().filter_map(|s| s["sighting"]["saw"].as_str());
    assert_eq!(
        saw.map(str::to_owned).collect::<BTreeSet<_>>(),
        every_tag("Sighting", "saw")
    );
    let kinds: BTreeSet<Kind> = self::samples().iter().map(Kind::of).collect();
    assert_eq!(kinds, Kind::ALL.into_iter().collect());
}

#[test]
fn a_type_is_named_once_and_carries_what_it_says() {
    let names: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), Kind::ALL.len());
    for fact in samples() {
        let kind = Kind::of(&fact);
        let told = serde_json::to_value(&fact).expect("JSON");
        assert_eq!(told["type"], kind.carries().fact);
        assert_eq!(
            told["delivery"]["how"].as_str(),
            kind.carries().how,
            "{kind:?}"
        );
        assert_eq!(Kind::named(kind.name()), Some(kind));
    }
}

/// The pattern is that of the official schema of custom types.
#[test]
fn own_types_are_named_as_the_vocabulary_asks_of_tools() {
    let pattern = r"^dev\.cdeventsx\.changebus-[a-zA-Z]+\.[a-zA-Z]+\.[0-9]\.[0-9]\.[0-9]$";
    let pattern = regex::Regex::new(pattern).expect("a pattern");
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_own()) {
        assert!(pattern.is_match(kind.name()), "{}", kind.name());
    }
    assert_eq!(Kind::ALL.iter().filter(|kind| !kind.is_own()).count(), 4);
}

#[test]
fn every_fact_comes_back_as_it_went_out() {
    for fact in samples() {
        let of_a_run = event(fact.clone());
        assert_eq!(unwrap(&told(&of_a_run)), Ok(of_a_run));
        let outside = Event {
            run: None,
            version: None,
            epoch: 0,
            origin: None,
            ..event(fact)
        };
        let expected = Event {
            origin: Some("host-a".to_owned()),
            ..outside.clone()
        };
        assert_eq!(unwrap(&told(&outside)), Ok(expected));
    }
}

#[test]
fn a_fact_stands_in_a_message_as_the_log_has_it() {
    for fact in samples() {
        let log = serde_json::to_string(&fact).expect("JSON");
        let bytes = String::from_utf8(told(&event(fact))).expect("UTF-8");
        assert!(bytes.contains(&log), "{log}\n{bytes}");
    }
}

/// Other texts and other decimals in a fact.
fn shaken(random: &mut Rng, value: &mut Value) {
    match value {
        Value::String(text) if random.u8(..3) == 0 => *text = anything(random),
        Value::Number(number) if number.is_f64() => {
            let other = f64::from_bits(random.u64(..));
            if let Some(finite) = serde_json::Number::from_f64(other) {
                *number = finite;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| shaken(random, one)),
        Value::Object(all) => all.values_mut().for_each(|one| shaken(random, one)),
        _ => {}
    }
}

fn anything(random: &mut Rng) -> String {
    (0..random.usize(..12)).map(|_| random.char(..)).collect()
}

#[test]
fn facts_with_anything_in_them_come_back_too() {
    let samples: Vec<Value> = serde_json::from_str(SAMPLES).expect("JSON");
    let mut still_facts = 0;
    for seed in 0..4000 {
        let mut random = Rng::with_seed(seed);
        let mut value = samples[random.usize(..samples.len())].clone();
        shaken(&mut random, &mut value);
        let Ok(fact) = serde_json::from_value::<Fact>(value) else {
            continue;
        };
        still_facts += 1;
        let event = event(fact);
        assert_eq!(unwrap(&told(&event)), Ok(event), "seed {seed}");
    }
    assert!(still_facts > 1000, "only {still_facts} were facts");
}

#[test]
fn hosts_may_be_called_anything_printable() {
    for host in ["a", "build-1.example.org", "Käse/1 %41?#", "..", "*.>"] {
        let event = Event {
            origin: Some(host.to_owned()),
            ..closed()
        };
        let source = message(&event)["source"].clone();
        let source = source.as_str().expect("text");
        assert_eq!(source.matches('/').count(), 2, "{source}");
        assert_eq!(unwrap(&told(&event)), Ok(event));
    }
}

#[test]
fn envelope_and_message_say_the_same() {
    for fact in samples() {
        let message = message(&event(fact));
        let context = &message["data"]["context"];
        for field in ["id", "source", "type"] {
            assert_eq!(message[field], context[field]);
        }
        assert_eq!(message["time"], context["timestamp"]);
        assert_eq!(message["subject"], message["data"]["subject"]["id"]);
        assert!(message["subject"].as_str().is_some_and(|s| !s.is_empty()));
        let own = message["type"]
            .as_str()
            .is_some_and(|t| t.starts_with("dev.cdeventsx.changebus-"));
        assert_eq!(message.get("dataschema").is_some(), own);
    }
}

#[test]
fn what_a_run_of_the_tests_came_to_is_said_in_the_words_of_the_vocabulary() {
    let outcome = |exit: Value, problem: Value, test: &str| {
        let fact = json!({"type": "tested", "role": "head", "suite": "", "report": {
            "commit": null, "tree": "t", "source": "junit", "exit": exit, "tests": {"t": test},
            "failures": [], "output": "", "problem": problem, "seconds": 1.0}});
        let event = event(serde_json::from_value(fact).expect("a fact"));
        message(&event)["data"]["subject"]["content"].clone()
    };
    let green = outcome(json!({"code": 0}), Value::Null, "passed");
    assert_eq!(green["outcome"], "success");
    assert_eq!(green["environment"]["id"], "host-b");
    assert_eq!(green["testSuite"]["id"], "app");
    let red = outcome(json!({"code": 1}), Value::Null, "failed");
    assert_eq!(
        (&red["outcome"], red.get("reason")),
        (&json!("failure"), None)
    );
    let broken = outcome(json!({"code": 0}), json!("no test ran"), "passed");
    assert_eq!(broken["outcome"], "error");
    assert_eq!(broken["reason"], "no test ran");
    for exit in [
        json!({"signal": 9}),
        json!("not-started"),
        json!({"timed-out": {"after_seconds": 9}}),
    ] {
        assert_eq!(outcome(exit, Value::Null, "failed")["outcome"], "error");
    }
}

/// A message that is well but for one field; what is said of it.
fn refused(path: &str, value: Value) -> String {
    let mut message = message(&closed());
    let (parent, field) = path.rsplit_once('/').expect("a pointer");
    let parent = message.pointer_mut(parent).expect("it is there");
    parent[field] = value;
    said(&serde_json::to_vec(&message).expect("JSON"))
}

fn said(bytes: &[u8]) -> String {
    let why = unwrap(bytes).expect_err("it is not ours").to_string();
    assert!(!why.chars().any(char::is_control), "{why:?}");
    assert!(why.chars().count() < 600, "{why}");
    why
}

#[test]
fn what_is_not_ours_is_told_in_a_line_that_names_the_field() {
    let null = Value::Null;
    let own = "/data/customData";
    for (path, value, why) in [
        ("/specversion", null.clone(), "specversion is missing"),
        (
            "/specversion",
            json!("0.3"),
            "specversion is `0.3`: only CloudEvents 1.0 is read",
        ),
        (
            "/specversion",
            json!(1.0),
            "specversion is `1.0`: text is needed",
        ),
        ("/id", null.clone(), "id is missing"),
        ("/id", json!(""), "id is ``: it must not be empty"),
        ("/id", json!("x".repeat(201)), "...`: it is too long"),
        (
            "/id",
            json!("a\r\nNats-Msg-Id: b"),
            "id is `a\\r\\nNats-Msg-Id: b`: only visible ASCII may stand in it",
        ),
        (
            "/source",
            json!("/jenkins/1"),
            "source is `/jenkins/1`: it does not begin with /changebus/",
        ),
        ("/source", json!("/changebus/"), "the host's name is empty"),
        (
            "/source",
            json!("/changebus/a/b"),
            "it names no host as /changebus/<host>",
        ),
        ("/source", json!("/changebus/%0A"), "not printable"),
        ("/source", json!("/changebus/%FF"), "not UTF-8"),
        (
            "/type",
            json!("com.example.hello"),
            "type is `com.example.hello`: no such type is known here; was it written by a newer version?",
        ),
        (
            "/type",
            json!("dev.cdeventsx.changebus-stage.failed.0.1.0"),
            "data.customData.fact.type is `run-closed`: a message of type dev.cdeventsx.changebus-stage.failed.0.1.0 cannot carry it",
        ),
        ("/time", null.clone(), "time is missing"),
        (
            "/time",
            json!("yesterday"),
            "time is `yesterday`: it is no time as RFC 3339 writes it",
        ),
        ("/data", null.clone(), "data.customData.project is missing"),
        (
            &format!("{own}/project"),
            json!("a.b"),
            "data.customData.project is `a.b`: up to 200 letters",
        ),
        (
            &format!("{own}/project"),
            json!("> *"),
            "data.customData.project is `> *`",
        ),
        (
            &format!("{own}/project"),
            json!(""),
            "data.customData.project is ``",
        ),
        (
            &format!("{own}/run"),
            json!("../../etc"),
            "data.customData.run is `../../etc`",
        ),
        (
            &format!("{own}/run"),
            null.clone(),
            "data.customData.run is missing",
        ),
        (
            &format!("{own}/version"),
            null.clone(),
            "data.customData.version is missing",
        ),
        (
            &format!("{own}/version"),
            json!(0),
            "places in a run count from 1",
        ),
        (
            &format!("{own}/version"),
            json!(1.5),
            "a whole number is needed",
        ),
        (
            &format!("{own}/version"),
            json!(u64::MAX),
            "a whole number is needed",
        ),
        (
            &format!("{own}/epoch"),
            json!(-1),
            "data.customData.epoch is `-1`: a whole number is needed",
        ),
        (
            &format!("{own}/fact"),
            null.clone(),
            "data.customData.fact.type is missing",
        ),
        (
            &format!("{own}/fact/type"),
            json!("exploded"),
            "data.customData.fact.type is `exploded`: no such fact is known here; was it written by a newer version?",
        ),
        (
            &format!("{own}/fact/status"),
            json!("purple"),
            "data.customData.fact is `{\"type\":\"run-closed\",\"status\":\"purple\"}`: it cannot be read (unknown variant `purple`",
        ),
        (
            &format!("{own}/fact/status"),
            json!("\u{202e}\n"),
            "data.customData.fact",
        ),
    ] {
        let told = refused(path, value);
        assert!(told.contains(why), "{path}: no `{why}` in: {told}");
    }
    assert!(said(b"\xff\x00").starts_with("it is not JSON: "));
    assert!(said(b"{\"specversion\": ").starts_with("it is not JSON: "));
    assert_eq!(said(b"[1]"), "the message is `[1]`: an object is needed");
    assert!(said("[".repeat(100_000).as_bytes()).starts_with("it is not JSON: "));
}

#[test]
fn damaged_messages_are_refused_or_read_and_nothing_else() {
    let messages: Vec<Vec<u8>> = samples().into_iter().map(|f| told(&event(f))).collect();
    for seed in 0..4000 {
        let mut random = Rng::with_seed(seed);
        let mut bytes = messages[random.usize(..messages.len())].clone();
        for _ in 0..=random.usize(..3) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.truncate(at.max(1)),
                _ => drop(bytes.drain(at..(at + random.usize(..9)).min(bytes.len() - 1).max(at))),
            }
        }
        match unwrap(&bytes) {
            Ok(event) => assert!(subject::is_token(&event.project), "seed {seed}"),
            Err(_) => drop(said(&bytes)),
        }
    }
}

#[test]
fn no_name_escapes_its_token_and_every_token_leads_back() {
    for (name, token) in [
        ("billing", "billing"),
        ("A-b_9", "A-b_9"),
        ("", "="),
        ("=", "=3D"),
        ("a.b", "a=2Eb"),
        ("a b", "a=20b"),
        ("*", "=2A"),
        (">", "=3E"),
        ("$JS", "=24JS"),
        ("ü", "=C3=BC"),
        ("\u{0}\r\n", "=00=0D=0A"),
    ] {
        assert_eq!(subject::token(name), token);
        assert_eq!(subject::name(token).as_deref(), Some(name));
        assert_eq!(subject::is_token(name), name == token);
    }
    for other in [
        "a.b", "=2", "=2e", "=zz", "=41", "=C3", "==", "a=", "=+F", "=2Ü", "",
    ] {
        assert_eq!(subject::name(other), None, "{other}");
    }
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0..4000 {
        let name = anything(&mut Rng::with_seed(seed));
        let token = subject::token(&name);
        assert!(
            token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b))
        );
        assert_eq!(subject::name(&token).as_deref(), Some(&name[..]));
        assert_eq!(*seen.entry(token).or_insert(name.clone()), name);
    }
}

#[test]
fn a_subject_has_as_many_tokens_whatever_the_project_is_called() {
    let names = ["app", "a.b.c", "> *", "$SYS", ""];
    for fact in samples() {
        let tokens = names.map(|project| {
            let event = Event {
                project: project.to_owned(),
                ..event(fact.clone())
            };
            assert!(subject("", &event).is_ascii());
            assert_eq!(
                subject("acme.ci", &event),
                format!("acme.ci.{}", subject("", &event))
            );
            subject("", &event)
                .split('.')
                .map(str::len)
                .filter(|len| *len > 0)
                .count()
        });
        let count = if let Fact::AppSaid { message } = &fact {
            2 + message.event.split('.').count()
        } else {
            fact.subject("p").split('.').count()
        };
        assert_eq!(tokens, [count; 5], "{fact:?}");
    }
    assert_eq!(subject("", &closed()), "result.run.app.closed");
    assert_eq!(subject("a.>", &closed()), "a.=3E.result.run.app.closed");
}

#[test]
fn a_schema_is_of_its_type_alone() {
    for kind in Kind::ALL {
        let schema = schema::of(kind);
        assert_eq!(schema["$id"], kind.schema_id());
        let fact = &schema["$defs"]["Fact"]["properties"];
        assert_eq!(fact["type"]["const"], kind.carries().fact, "{kind:?}");
        let context = &schema["$defs"]["Context"]["properties"];
        assert_eq!(context["type"]["const"], kind.name());
    }
    let closed = schema::of(Kind::RunClosed);
    let defs: Vec<&String> = closed["$defs"]
        .as_object()
        .expect("it has some")
        .keys()
        .collect();
    assert_eq!(
        defs,
        [
            "Context",
            "CustomData",
            "Fact",
            "RunId",
            "RunStatus",
            "Subject"
        ]
    );
}
