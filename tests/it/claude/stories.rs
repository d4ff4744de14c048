//! One function for each thing that can happen between client and API; each gives the requests it sent.
//!
//! Touches: http.
//! Change here: when something new can happen; name it in `claude.rs` too.

use std::time::Duration;

use changebus::config;
use changebus::event::{
    Fault, FaultKind, ModelAnswer, ModelMessage, ModelRequest, ModelRole, SystemBlock,
};
use changebus::outside::claude::{Claude, ClaudeError};
use scripted_claude::{Limits, Moment, RecordedRequest, Reply, Script, Server};

const KEY: &str = "sk-ant-a-very-secret-key";
const HOUR: Duration = Duration::from_secs(3600);

type Sent = Vec<RecordedRequest>;

/// A server with this script, and a client that is pointed at it.
struct World {
    server: Server,
    claude: Claude,
}

impl World {
    async fn new(script: Script) -> World {
        World::with(script, |settings| settings).await
    }

    async fn with(script: Script, change: impl Fn(config::Claude) -> config::Claude) -> World {
        let server = Server::start(script).await.expect("a port on loopback");
        let settings = config::Claude {
            base_url: server.base_url().to_owned(),
            ..config::Claude::default()
        };
        let claude =
            Claude::new(&change(settings), Some(KEY.to_owned().into())).expect("good settings");
        World { server, claude }
    }

    async fn replying(replies: impl IntoIterator<Item = Reply>) -> World {
        World::new(Script::in_order(replies)).await
    }

    async fn answer(&self, request: &ModelRequest) -> ModelAnswer {
        self.claude.complete(request).await.expect("an answer")
    }

    async fn fault(&self, request: &ModelRequest) -> Fault {
        self.claude.complete(request).await.expect_err("a fault")
    }
}

fn request() -> ModelRequest {
    ModelRequest {
        model: None,
        max_output_tokens: 4000,
        system: vec![system("You mend tests.", false)],
        messages: vec![message(ModelRole::User, "assert 2 == 3")],
        effort: None,
        temperature: None,
    }
}

fn system(text: &str, shared: bool) -> SystemBlock {
    SystemBlock {
        text: text.to_owned(),
        shared,
    }
}

fn message(role: ModelRole, text: &str) -> ModelMessage {
    ModelMessage {
        role,
        text: text.to_owned(),
    }
}

fn code(fault: &Fault) -> (FaultKind, &str) {
    (fault.kind, fault.code.as_str())
}

pub async fn a_whole_answer_comes_back_with_what_it_cost() -> Sent {
    let text = "Gr\u{fc}\u{df}e \u{1f980}: the sum was off by one, in more pieces than one.";
    let world = World::replying([Reply::text(text)]).await;
    let answer = world.answer(&request()).await;
    assert_eq!(
        (answer.text.as_str(), answer.stop_reason.as_str()),
        (text, "end_turn")
    );
    assert_eq!(answer.model, "claude-sonnet-5-5");
    assert_eq!(answer.request_id.as_deref(), Some("req_scripted_1"));
    assert!(answer.notes.is_empty());
    let usage = answer.usage;
    let dollars = (usage.input_tokens as f64 * 2.0 + usage.output_tokens as f64 * 10.0) / 1e6;
    assert!(
        usage.input_tokens > 0 && usage.output_tokens > 0,
        "{usage:?}"
    );
    assert!((usage.cost_usd - dollars).abs() < 1e-12, "{usage:?}");
    world.server.requests()
}

pub async fn the_request_says_what_was_asked_and_no_more() -> Sent {
    let world = World::replying([Reply::text("Yes.")]).await;
    let conversation = [
        (ModelRole::User, "a"),
        (ModelRole::Assistant, "b"),
        (ModelRole::User, "c"),
    ];
    let asked = ModelRequest {
        system: vec![system("mine", false), system("ours", true)],
        messages: conversation
            .map(|(role, text)| message(role, text))
            .to_vec(),
        effort: Some("xhigh".into()),
        ..request()
    };
    world.answer(&asked).await;
    let sent = world.server.requests();
    assert_eq!(
        (sent[0].key.as_deref(), sent[0].version.as_deref()),
        (Some(KEY), Some("2026-10-21"))
    );
    let expected = serde_json::json!({
        "model": "claude-sonnet-5-5",
        "max_tokens": 4000,
        "system": [
            {"type": "text", "text": "ours", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "mine"},
        ],
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ],
        "output_config": {"effort": "xhigh"},
        "stream": true,
    });
    assert_eq!(sent[0].body, expected);
    sent
}

pub async fn the_ceiling_covers_what_the_answer_costs() -> Sent {
    let world = World::new(Script::from_fn(|_| Reply::text("words ".repeat(1000)))).await;
    let long = "fn add(a: u32, b: u32) -> u32 { a + b }\n".repeat(2000);
    for model in [
        "claude-haiku-5-5",
        "claude-sonnet-5-5",
        "claude-opus-5-5",
        "claude-fable-5-2",
    ] {
        for system in [vec![], vec![system(&long, true)]] {
            let asked = ModelRequest {
                model: Some(model.into()),
                system,
                ..request()
            };
            let ceiling = world.claude.ceiling(&asked).expect("a known price");
            let usage = world.answer(&asked).await.usage;
            assert!(
                usage.cost_usd <= ceiling.usd,
                "{model}: {usage:?} over {ceiling:?}"
            );
            assert!(
                usage.input_tokens + usage.output_tokens <= ceiling.tokens,
                "{model}: {usage:?} over {ceiling:?}"
            );
        }
    }
    world.server.requests()
}

pub async fn a_model_nobody_knows_the_price_of_is_not_asked() -> Sent {
    let world = World::replying([]).await;
    let asked = ModelRequest {
        model: Some("claude-epic-9".into()),
        ..request()
    };
    let fault = world.claude.ceiling(&asked).expect_err("no price");
    assert_eq!(code(&fault), (FaultKind::Budget, "llm.unknown-price"));
    assert_eq!(world.fault(&asked).await, fault);
    assert_eq!(world.server.calls(), 0);

    let price = config::Price {
        input: 1.0,
        output: 1.0,
        cache_write: 1.0,
        cache_read: 1.0,
    };
    let priced = World::with(Script::in_order([Reply::text("Hm.")]), |settings| {
        config::Claude {
            prices: [("claude-epic-9".to_owned(), price)].into(),
            ..settings
        }
    });
    let priced = priced.await;
    let usage = priced.answer(&asked).await.usage;
    assert!(
        (usage.cost_usd - (usage.input_tokens + usage.output_tokens) as f64 / 1e6).abs() < 1e-12
    );
    priced.server.requests()
}

pub async fn without_a_key_nothing_is_sent() -> Sent {
    let server = Server::start(Script::in_order([Reply::text("Hm.")]))
        .await
        .expect("a port on loopback");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("key");
    let settings = config::Claude {
        base_url: server.base_url().to_owned(),
        api_key: config::Secret::File(file.clone()),
        ..config::Claude::default()
    };
    let claude = Claude::new(&settings, None).expect("the key is not needed yet");
    let fault = claude.complete(&request()).await.expect_err("no key");
    assert_eq!(code(&fault), (FaultKind::Denied, "llm.no-key"));
    assert!(
        fault.message.contains(&file.display().to_string()),
        "{fault}"
    );
    assert_eq!(server.calls(), 0);

    std::fs::write(&file, "sk-ant-late\n").expect("a file");
    claude
        .complete(&request())
        .await
        .expect("the key is there now");
    assert_eq!(server.requests()[0].key.as_deref(), Some("sk-ant-late"));
    server.requests()
}

pub async fn a_rate_limit_with_a_short_wait_is_waited_out() -> Sent {
    let limited = Reply::RateLimited {
        retry_after: Some(Duration::from_millis(20)),
    };
    let world = World::replying([limited, Reply::text("Now.")]).await;
    let answer = world.answer(&request()).await;
    assert_eq!(answer.text, "Now.");
    assert_eq!(answer.notes, ["sent again after HTTP 429"]);
    assert_eq!(world.server.calls(), 2);
    world.server.requests()
}

pub async fn a_rate_limit_with_a_long_wait_is_handed_back() -> Sent {
    let world = World::replying([Reply::RateLimited {
        retry_after: Some(HOUR),
    }])
    .await;
    let fault = world.fault(&request()).await;
    assert_eq!(code(&fault), (FaultKind::Unavailable, "llm.rate-limited"));
    assert_eq!((fault.retry_after_ms, fault.usage), (Some(3_600_000), None));
    assert_eq!(world.server.calls(), 1);
    world.server.requests()
}

pub async fn an_overloaded_api_is_asked_again_and_then_given_up() -> Sent {
    let script = Script::in_order([
        Reply::Overloaded,
        Reply::ServerError,
        Reply::text("too late"),
    ]);
    let world = World::with(script, |settings| config::Claude {
        retries: 1,
        ..settings
    })
    .await;
    let fault = world.fault(&request()).await;
    assert_eq!(code(&fault), (FaultKind::Unavailable, "llm.unavailable"));
    assert_eq!(world.server.calls(), 2);
    world.server.requests()
}

pub async fn the_api_may_forbid_another_try() -> Sent {
    let forbidden = Reply::Error {
        status: 529,
        kind: "overloaded_error".into(),
        message: "Overloaded".into(),
        code: None,
        headers: vec![("x-should-retry".into(), "false".into())],
    };
    let world = World::replying([forbidden, Reply::text("not asked for")]).await;
    assert_eq!(
        code(&world.fault(&request()).await),
        (FaultKind::Unavailable, "llm.overloaded")
    );
    assert_eq!(world.server.calls(), 1);
    world.server.requests()
}

pub async fn a_spend_limit_is_never_tried_again() -> Sent {
    let world = World::replying([Reply::SpendLimit, Reply::text("not asked for")]).await;
    let fault = world.fault(&request()).await;
    assert_eq!(code(&fault), (FaultKind::Budget, "llm.spend-limit"));
    assert!(
        fault.message.contains("enforced_spend_limit_reached"),
        "{fault}"
    );
    assert_eq!(world.server.calls(), 1);
    world.server.requests()
}

pub async fn an_error_before_any_content_is_tried_again_and_both_tries_are_counted() -> Sent {
    let world = World::replying([
        Reply::MidStreamError {
            text: String::new(),
        },
        Reply::text("Now."),
    ])
    .await;
    let twice = world.answer(&request()).await.usage;
    assert_eq!(world.server.calls(), 2);
    let calm = World::replying([Reply::text("Now.")]).await;
    let once = calm.answer(&request()).await.usage;
    assert_eq!(twice.input_tokens, 2 * once.input_tokens);
    assert!(twice.cost_usd > once.cost_usd);
    world.server.requests()
}

pub async fn an_error_in_the_middle_of_an_answer_is_final_and_what_it_cost_is_told() -> Sent {
    let text = "Half of what I wanted to say, and then ".repeat(10);
    let world = World::replying([
        Reply::MidStreamError { text: text.clone() },
        Reply::text("not asked for"),
    ])
    .await;
    let fault = world.fault(&request()).await;
    assert_eq!(code(&fault), (FaultKind::Unavailable, "llm.stream-broken"));
    assert!(fault.message.contains("overloaded_error"), "{fault}");
    let usage = fault.usage.expect("some of it was produced");
    assert!(
        usage.output_tokens >= text.len() as u64 / 4 && usage.usd_micros > 0,
        "{usage:?}"
    );
    assert_eq!(world.server.calls(), 1);
    world.server.requests()
}

pub async fn a_stream_without_its_end_is_no_answer() -> Sent {
    let mut sent = Vec::new();
    for abruptly in [false, true] {
        let truncated = Reply::Truncated {
            text: "Half of".into(),
            abruptly,
        };
        let world = World::replying([truncated, Reply::text("not asked for")]).await;
        let fault = world.fault(&request()).await;
        assert_eq!(
            code(&fault),
            (FaultKind::Unavailable, "llm.stream-broken"),
            "abruptly: {abruptly}"
        );
        assert!(fault.usage.is_some_and(|usage| usage.input_tokens > 0));
        assert_eq!(world.server.calls(), 1);
        sent.extend(world.server.requests());

        let before_content = Reply::Truncated {
            text: String::new(),
            abruptly,
        };
        let world = World::replying([before_content, Reply::text("Now.")]).await;
        assert_eq!(
            world.answer(&request()).await.text,
            "Now.",
            "abruptly: {abruptly}"
        );
        sent.extend(world.server.requests());
    }
    sent
}

pub async fn a_refusal_is_a_fault_with_its_category_and_cost() -> Sent {
    let refusal = Reply::Refusal {
        category: Some("cyber".into()),
        text: "I".into(),
    };
    let world = World::replying([refusal]).await;
    let fault = world.fault(&request()).await;
    assert_eq!(code(&fault), (FaultKind::Denied, "llm.refused"));
    assert!(fault.message.contains("cyber"), "{fault}");
    assert!(
        fault
            .usage
            .is_some_and(|usage| usage.output_tokens > 0 && usage.usd_micros > 0)
    );
    assert_eq!(world.server.calls(), 1);
    world.server.requests()
}

pub async fn an_answer_cut_off_at_max_tokens_is_no_answer() -> Sent {
    let world = World::replying([Reply::MaxTokens {
        text: "<<<<<<< SEARCH".into(),
    }])
    .await;
    let fault = world.fault(&request()).await;
    assert_eq!(fault.code, "llm.truncated");
    assert!(
        fault
            .usage
            .is_some_and(|usage| usage.output_tokens > 0 && usage.usd_micros > 0)
    );
    assert_eq!(world.server.calls(), 1);
    world.server.requests()
}

pub async fn an_oversized_answer_is_dropped_with_its_connection() -> Sent {
    let mut sent = Vec::new();
    for (bytes, in_one_event) in [(64 << 20, false), (8 << 20, true)] {
        let world = World::replying([Reply::Oversized {
            bytes,
            in_one_event,
        }])
        .await;
        let fault = world.fault(&request()).await;
        assert_eq!(fault.code, "llm.oversized", "in one event: {in_one_event}");
        // More than any socket buffer holds was left unsent, so the server never came to its end.
        assert!(in_one_event || !world.server.moments().contains(&Moment::Ended(1)));
        sent.extend(world.server.requests());
    }
    sent
}

pub async fn an_answer_that_takes_too_long_is_given_up() -> Sent {
    let slow = Reply::Slow {
        before_first: Duration::ZERO,
        per_chunk: HOUR,
        text: "never".into(),
    };
    let script = Script::in_order([slow, Reply::text("not asked for")]);
    let world = World::with(script, |settings| config::Claude {
        timeout_seconds: 2,
        ..settings
    })
    .await;
    let fault = world.fault(&request()).await;
    assert_eq!(code(&fault), (FaultKind::Timeout, "llm.timeout"));
    assert!(
        fault.usage.is_some_and(|usage| usage.input_tokens > 0),
        "{fault:?}"
    );
    assert_eq!(world.server.calls(), 1);
    world.server.requests()
}

pub async fn an_api_that_is_not_there_is_named_so() -> Sent {
    // Bound, so that nobody else gets the port, and not listening.
    let port = tokio::net::TcpSocket::new_v4().expect("a socket");
    port.bind(([127, 0, 0, 1], 0).into())
        .expect("a port on loopback");
    let base_url = format!("http://{}", port.local_addr().expect("a bound port"));
    let settings = config::Claude {
        base_url,
        retries: 1,
        ..config::Claude::default()
    };
    let claude = Claude::new(&settings, Some(KEY.to_owned().into())).expect("good settings");
    let fault = claude
        .complete(&request())
        .await
        .expect_err("nobody listens");
    assert_eq!(code(&fault), (FaultKind::Unavailable, "llm.unreachable"));
    vec![]
}

pub async fn temperature_goes_only_where_it_is_taken() -> Sent {
    let warm = ModelRequest {
        temperature: Some(0.7),
        ..request()
    };
    let new = World::replying([Reply::text("Hm.")]).await;
    let note =
        "temperature 0.7 dropped: claude-sonnet-5-5 does not take it under version 2026-10-21";
    assert_eq!(new.answer(&warm).await.notes, [note]);
    assert!(new.server.requests()[0].body.get("temperature").is_none());

    let old = World::with(Script::in_order([Reply::text("Hm.")]), |settings| {
        config::Claude {
            version: "2023-06-01".into(),
            model: "claude-opus-4-6".into(),
            ..settings
        }
    });
    let old = old.await;
    assert!(old.answer(&warm).await.notes.is_empty());
    assert_eq!(old.server.requests()[0].body["temperature"], 0.7);
    new.server.requests()
}

/// Three variants of one tournament: they share a long prefix and have a system block each.
fn variants() -> [ModelRequest; 3] {
    let shared = "what all variants are told ".repeat(400);
    ["minimal", "sturdy", "bold"].map(|own| ModelRequest {
        system: vec![system(&shared, true), system(own, false)],
        ..request()
    })
}

/// Holds the first reply until a second request came, or for so long that it would have come by then.
fn until_a_second_request(first: Reply) -> Script {
    Script::from_fn(move |request| match request.number {
        1 => Reply::Held {
            requests: 2,
            at_most: Duration::from_millis(300),
            then: Box::new(first.clone()),
        },
        n => Reply::text(format!("answer {n}")),
    })
}

pub async fn the_first_variant_goes_ahead_and_the_others_find_its_prefix_cached() -> Sent {
    let world = World::new(until_a_second_request(Reply::text("answer 1"))).await;
    let [a, b, c] = variants();
    let (a, b, c) = tokio::join!(world.answer(&a), world.answer(&b), world.answer(&c));
    let cached = [a, b, c].map(|answer| {
        (
            answer.usage.cache_write_tokens > 0,
            answer.usage.cache_read_tokens > 0,
        )
    });
    assert_eq!(cached, [(true, false), (false, true), (false, true)]);
    assert_eq!(
        world.server.moments()[..2],
        [Moment::Received(1), Moment::Began(1)]
    );
    world.server.requests()
}

pub async fn when_the_first_variant_fails_the_others_still_go() -> Sent {
    let world = World::new(until_a_second_request(Reply::SpendLimit)).await;
    let [a, b, c] = variants();
    let (a, b, c) = tokio::join!(world.fault(&a), world.answer(&b), world.answer(&c));
    assert_eq!(a.code, "llm.spend-limit");
    let mut read = [b, c].map(|answer| answer.usage.cache_read_tokens > 0);
    read.sort();
    assert_eq!(read, [false, true], "one of them leads anew");
    world.server.requests()
}

pub async fn a_limit_that_is_used_up_stops_the_next_request_before_it_leaves() -> Sent {
    let limits = Limits {
        requests: 1,
        window: HOUR,
        ..Limits::default()
    };
    let script =
        Script::in_order([Reply::text("one"), Reply::text("other model")]).with_limits(limits);
    let world = World::new(script).await;
    assert!(world.claude.rate_limits().is_empty());
    world.answer(&request()).await;
    let known = world.claude.rate_limits();
    let requests = known
        .iter()
        .find(|limit| limit.kind == "requests")
        .expect("told in the headers");
    assert_eq!(
        (requests.model.as_str(), requests.limit, requests.remaining),
        ("claude-sonnet-5-5", 1, 0)
    );

    let fault = world.fault(&request()).await;
    assert_eq!(code(&fault), (FaultKind::Unavailable, "llm.rate-limited"));
    assert!(
        fault
            .retry_after_ms
            .is_some_and(|wait| wait > 60_000 && wait <= 3_600_000),
        "{fault:?}"
    );
    assert_eq!(world.server.calls(), 1);
    world.server.requests()
}

pub async fn a_limit_that_comes_back_soon_is_waited_for() -> Sent {
    let limits = Limits {
        requests: 1,
        window: Duration::from_millis(400),
        ..Limits::default()
    };
    let world = World::new(Script::from_fn(|_| Reply::text("Hm.")).with_limits(limits)).await;
    for _ in 0..2 {
        assert!(
            world.answer(&request()).await.notes.is_empty(),
            "no request was refused"
        );
    }
    let sent = world.server.requests();
    assert_eq!(
        sent.iter()
            .map(|request| request.refused.as_deref())
            .collect::<Vec<_>>(),
        [None, None]
    );
    sent
}

pub async fn the_key_is_in_no_error_and_no_debug_output() -> Sent {
    let echo = |status| Reply::Error {
        status,
        kind: "authentication_error".into(),
        message: format!("the key {KEY} is not valid"),
        code: None,
        headers: vec![],
    };
    let world = World::replying([
        echo(401),
        echo(403),
        Reply::Refusal {
            category: Some(KEY.into()),
            text: KEY.into(),
        },
    ])
    .await;
    for expected in ["llm.bad-key", "llm.forbidden", "llm.refused"] {
        let fault = world.fault(&request()).await;
        assert_eq!(fault.code, expected);
        assert!(fault.message.contains("[key]"), "{fault}");
        assert!(!format!("{fault} {fault:?}").contains(KEY));
    }
    let overloaded = Reply::Error {
        status: 529,
        kind: KEY.into(),
        message: KEY.into(),
        code: Some(KEY.into()),
        headers: vec![("retry-after-ms".into(), "1".into())],
    };
    let noted = World::replying([overloaded, Reply::text("Now.")]).await;
    assert_eq!(
        noted.answer(&request()).await.notes,
        ["sent again after HTTP 529"]
    );
    assert!(!format!("{:?}", world.claude).contains(KEY));

    let settings = config::Claude {
        base_url: world.server.base_url().to_owned(),
        ..config::Claude::default()
    };
    let unfit = Claude::new(&settings, Some(format!("{KEY}\n").into()))
        .expect("the key is not looked at yet");
    let fault = unfit
        .complete(&request())
        .await
        .expect_err("no header can carry it");
    assert_eq!(fault.code, "llm.bad-key");
    assert!(!format!("{fault} {fault:?}").contains(KEY));

    let in_the_clear = config::Claude {
        base_url: "http://api.example".into(),
        ..config::Claude::default()
    };
    let refused = Claude::new(&in_the_clear, Some(KEY.to_owned().into()));
    assert!(
        matches!(refused, Err(ClaudeError::Insecure { .. })),
        "{refused:?}"
    );
    world.server.requests()
}

pub async fn a_redirect_is_not_followed() -> Sent {
    let elsewhere = Server::start(Script::in_order([]))
        .await
        .expect("a port on loopback");
    let location = format!("{}/v1/messages", elsewhere.base_url());
    let world = World::replying([Reply::Error {
        status: 307,
        kind: String::new(),
        message: String::new(),
        code: None,
        headers: vec![("location".into(), location)],
    }]);
    let world = world.await;
    assert_eq!(world.fault(&request()).await.code, "llm.bad-request");
    assert_eq!(elsewhere.calls(), 0);
    world.server.requests()
}
