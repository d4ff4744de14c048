//! The server's side of HTTP: takes requests in, sends replies out.
//!
//! Touches: http, clock.
//! Change here: when there is another path, header, or way to reply.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};

use crate::check::{self, Problem};
use crate::meter::Input;
use crate::speech::{self, Answer, Event};
use crate::{Moment, RecordedRequest, Reply, State, lock};

const WHAT_THIS_IS: &str = "This is scripted-claude: a Messages API on loopback whose answers are scripted. No model is behind it.\n";
const MOST_BODY_BYTES: usize = 32 << 20;
/// Size of the pieces of a reply that is too large.
const LARGE_PIECE: usize = 64 << 10;

type Answered = Response<Body>;

pub fn router(state: Arc<State>) -> Router {
    let honest = (
        HeaderName::from_static("x-scripted-claude"),
        HeaderValue::from_static("no model is behind this"),
    );
    Router::new()
        .route("/", get(WHAT_THIS_IS))
        .route("/v1/messages", post(messages))
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .layer(axum::middleware::map_response(
            move |mut response: Answered| {
                response.headers_mut().extend([honest.clone()]);
                std::future::ready(response)
            },
        ))
        .with_state(state)
}

async fn nothing_here() -> Answered {
    error(
        404,
        "not_found_error",
        "scripted-claude has nothing at this path",
        None,
        "req_none",
        vec![],
    )
}

async fn messages(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Answered {
    let (request, admitted) = take_in(&state, &headers, &body);
    let id = format!("req_scripted_{}", request.number);
    let input = match admitted {
        Ok(input) => input,
        Err(Turned::Away(problem)) => {
            return error(
                problem.status,
                problem.kind,
                &problem.message,
                None,
                &id,
                vec![],
            );
        }
        Err(Turned::Back(wait)) => return rate_limited(&state, Some(wait), &id),
    };
    let mut reply = (state.script.reply)(&request);
    while let Reply::Held {
        requests,
        at_most,
        then,
    } = reply
    {
        held(&state, requests, at_most).await;
        reply = *then;
    }
    answer(state, &request, input, reply, &id)
}

/// Why a request does not get to the script.
enum Turned {
    /// It is wrong.
    Away(Problem),
    /// A limit is used up for so long.
    Back(Duration),
}

/// Records and judges a request in one step, so that numbers follow the order of arrival.
fn take_in(
    state: &State,
    headers: &HeaderMap,
    body: &Bytes,
) -> (RecordedRequest, Result<Input, Turned>) {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let bearer =
        header("authorization").and_then(|value| Some(value.strip_prefix("Bearer ")?.to_owned()));
    let mut requests = lock(&state.requests);
    let mut request = RecordedRequest {
        number: requests.len() + 1,
        version: header("anthropic-version"),
        key: header("x-api-key").or(bearer),
        body: serde_json::from_slice(body).unwrap_or_default(),
        refused: None,
    };
    let admitted = match examine(&request) {
        Ok(()) => lock(&state.meter)
            .admit(&request.body)
            .map_err(Turned::Back),
        Err(problem) => Err(Turned::Away(problem)),
    };
    request.refused = match &admitted {
        Ok(_) => None,
        Err(Turned::Away(problem)) => Some(problem.message.clone()),
        Err(Turned::Back(_)) => Some("a rate limit is used up".into()),
    };
    requests.push(request.clone());
    lock(&state.moments).push(Moment::Received(request.number));
    state.arrivals.send_replace(request.number);
    (request, admitted)
}

fn examine(request: &RecordedRequest) -> Result<(), Problem> {
    check::headers(request.key.as_deref(), request.version.as_deref())?;
    check::body(
        &request.body,
        request.version.as_deref().unwrap_or_default(),
    )
}

async fn held(state: &State, requests: usize, at_most: Duration) {
    let mut arrivals = state.arrivals.subscribe();
    // Either way the reply goes out: the bound is part of the script.
    let _ = tokio::time::timeout(at_most, arrivals.wait_for(|seen| *seen >= requests)).await;
}

fn answer(
    state: Arc<State>,
    request: &RecordedRequest,
    input: Input,
    reply: Reply,
    id: &str,
) -> Answered {
    let saying = |text: String, stop_reason, stop_details| Answer {
        id: format!("msg_scripted_{}", request.number),
        model: request.model().to_owned(),
        text,
        stop_reason,
        stop_details,
        input: input.clone(),
    };
    let spoken = match reply {
        Reply::Text { text } => Spoken::whole(saying(text, "end_turn", Value::Null)),
        Reply::MaxTokens { text } => Spoken::whole(saying(text, "max_tokens", Value::Null)),
        Reply::Refusal { category, text } => {
            let explanation = "The script has the model refuse.";
            let details =
                json!({"type": "refusal", "category": category, "explanation": explanation});
            Spoken::whole(saying(text, "refusal", details))
        }
        Reply::Slow {
            before_first,
            per_chunk,
            text,
        } => Spoken {
            before_first,
            per_chunk,
            ..Spoken::whole(saying(text, "end_turn", Value::Null))
        },
        Reply::MidStreamError { text } => {
            Spoken::broken(saying(text, "end_turn", Value::Null), Break::Error)
        }
        Reply::Truncated { text, abruptly } => Spoken::broken(
            saying(text, "end_turn", Value::Null),
            if abruptly {
                Break::Abrupt
            } else {
                Break::Quiet
            },
        ),
        Reply::Oversized {
            bytes,
            in_one_event,
        } => Spoken::oversized(
            saying(String::new(), "end_turn", Value::Null),
            bytes,
            in_one_event,
        ),
        other => return refusal(&state, other, id),
    };
    if request.body["stream"] == true {
        streamed(state, request.number, spoken, id)
    } else {
        whole(&state, spoken, id)
    }
}

/// The replies that are no message.
fn refusal(state: &State, reply: Reply, id: &str) -> Answered {
    match reply {
        Reply::RateLimited { retry_after } => rate_limited(state, retry_after, id),
        Reply::SpendLimit => {
            let code = Some("enforced_spend_limit_reached");
            let message = "The monthly usage threshold of the tier is crossed";
            error(
                429,
                "rate_limit_error",
                message,
                code,
                id,
                lock(&state.meter).headers(),
            )
        }
        Reply::Overloaded => error(529, "overloaded_error", "Overloaded", None, id, vec![]),
        Reply::ServerError => error(500, "api_error", "Internal server error", None, id, vec![]),
        Reply::Error {
            status,
            kind,
            message,
            code,
            headers,
        } => error(status, &kind, &message, code.as_deref(), id, headers),
        other => error(
            500,
            "api_error",
            &format!("scripted-claude cannot reply {other:?}"),
            None,
            id,
            vec![],
        ),
    }
}

fn rate_limited(state: &State, retry_after: Option<Duration>, id: &str) -> Answered {
    let mut headers = lock(&state.meter).headers();
    headers
        .extend(retry_after.map(|wait| ("retry-after".to_owned(), wait.as_secs_f64().to_string())));
    error(
        429,
        "rate_limit_error",
        "This request would exceed the rate limit",
        None,
        id,
        headers,
    )
}

fn error(
    status: u16,
    kind: &str,
    message: &str,
    code: Option<&str>,
    id: &str,
    headers: Vec<(String, String)>,
) -> Answered {
    let mut error = json!({"type": kind, "message": message});
    if let Some(code) = code {
        error["details"] = json!({"error_code": code});
    }
    let body = json!({"type": "error", "error": error, "request_id": id}).to_string();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, header_map(id, "application/json", headers), body).into_response()
}

fn header_map(id: &str, content_type: &str, more: Vec<(String, String)>) -> HeaderMap {
    let own = [
        ("request-id".to_owned(), id.to_owned()),
        ("content-type".to_owned(), content_type.to_owned()),
    ];
    let parsed = own
        .into_iter()
        .chain(more)
        .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)));
    parsed.collect::<HeaderMap>()
}

/// How a stream that does not end well ends.
#[derive(Clone, Copy)]
enum Break {
    Error,
    Quiet,
    Abrupt,
}

/// What goes out, and how fast.
struct Spoken {
    answer: Answer,
    events: Box<dyn Iterator<Item = Event> + Send>,
    abruptly: bool,
    before_first: Duration,
    per_chunk: Duration,
}

impl Spoken {
    fn new(answer: Answer, events: impl Iterator<Item = Event> + Send + 'static) -> Spoken {
        let (before_first, per_chunk) = (Duration::ZERO, Duration::ZERO);
        Spoken {
            answer,
            events: Box::new(events),
            abruptly: false,
            before_first,
            per_chunk,
        }
    }

    fn whole(answer: Answer) -> Spoken {
        let events = std::iter::once(answer.start())
            .chain(answer.content())
            .chain(answer.end());
        Spoken::new(answer, events)
    }

    fn broken(answer: Answer, how: Break) -> Spoken {
        let content = if answer.text.is_empty() {
            vec![]
        } else {
            answer.content()
        };
        let last = matches!(how, Break::Error).then(speech::overloaded);
        let events = std::iter::once(answer.start()).chain(content).chain(last);
        Spoken {
            abruptly: matches!(how, Break::Abrupt),
            ..Spoken::new(answer, events)
        }
    }

    fn oversized(answer: Answer, bytes: usize, in_one_event: bool) -> Spoken {
        let size = if in_one_event { bytes } else { LARGE_PIECE };
        let piece = speech::text_delta(&"x".repeat(size));
        let flood = std::iter::repeat_n(piece, bytes.div_ceil(size.max(1)));
        let events = [answer.start(), answer.text_start()]
            .into_iter()
            .chain(flood)
            .chain(answer.end());
        Spoken::new(answer, events)
    }
}

fn whole(state: &State, spoken: Spoken, id: &str) -> Answered {
    let mut meter = lock(&state.meter);
    meter.begun(&spoken.answer.input);
    meter.output(spoken.answer.output_tokens());
    let headers = header_map(id, "application/json", meter.headers());
    (StatusCode::OK, headers, spoken.answer.whole().to_string()).into_response()
}

fn streamed(state: Arc<State>, number: usize, spoken: Spoken, id: &str) -> Answered {
    lock(&state.meter).output(spoken.answer.output_tokens());
    let headers = header_map(
        id,
        "text/event-stream; charset=utf-8",
        lock(&state.meter).headers(),
    );
    (
        StatusCode::OK,
        headers,
        Body::from_stream(lines(state, number, spoken)),
    )
        .into_response()
}

fn lines(
    state: Arc<State>,
    number: usize,
    spoken: Spoken,
) -> impl Stream<Item = io::Result<String>> {
    let Spoken {
        answer,
        events,
        abruptly,
        before_first,
        per_chunk,
    } = spoken;
    let ending = state.clone();
    let events = stream::iter(events.enumerate()).then(move |(n, event)| {
        let (state, input) = (state.clone(), answer.input.clone());
        async move {
            pause(if n == 0 { before_first } else { per_chunk }).await;
            if n == 0 {
                lock(&state.meter).begun(&input);
                lock(&state.moments).push(Moment::Began(number));
            }
            Ok(event.line())
        }
    });
    let end = stream::once(async move {
        if abruptly {
            // What was said so far has to leave first: the server writes when it has nothing else to do.
            pause(Duration::from_millis(20)).await;
            return Some(Err(io::Error::other(
                "the script tears the connection down",
            )));
        }
        lock(&ending.moments).push(Moment::Ended(number));
        None
    });
    let end = end.filter_map(std::future::ready);
    events.chain(end)
}

/// A sleep of no time would still take a tick of the timer, for every event.
async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::{Reply, Script, Server};

    /// What the server answers to these lines, byte for byte.
    async fn exchange(server: &Server, head: &str, body: &str) -> String {
        let address = server
            .base_url()
            .strip_prefix("http://")
            .expect("plain HTTP");
        let mut stream = TcpStream::connect(address)
            .await
            .expect("the server listens");
        let length = body.len();
        let request = format!(
            "{head}\r\nhost: here\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the server reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("the server answers");
        answer
    }

    #[tokio::test]
    async fn every_answer_says_that_no_model_is_behind_it() {
        let server = Server::start(Script::in_order([]))
            .await
            .expect("a port on loopback");
        let who = exchange(&server, "GET / HTTP/1.1", "").await;
        assert!(
            who.starts_with("HTTP/1.1 200") && who.contains("No model is behind it."),
            "{who}"
        );
        for head in [
            "GET / HTTP/1.1",
            "GET /v1/models HTTP/1.1",
            "POST /v1/messages HTTP/1.1",
        ] {
            assert!(
                exchange(&server, head, "")
                    .await
                    .contains("\r\nx-scripted-claude: "),
                "{head}"
            );
        }
    }

    #[tokio::test]
    async fn a_request_without_a_key_is_recorded_and_refused_in_the_official_shape() {
        let server = Server::start(Script::in_order([Reply::text("not said")]))
            .await
            .expect("a port on loopback");
        let answer = exchange(&server, "POST /v1/messages HTTP/1.1", "{}").await;
        assert!(
            answer.starts_with("HTTP/1.1 401")
                && answer.contains("\r\nrequest-id: req_scripted_1\r\n"),
            "{answer}"
        );
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let expected = serde_json::json!({
            "type": "error", "request_id": "req_scripted_1",
            "error": {"type": "authentication_error", "message": "x-api-key header is required"},
        });
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(body).expect("JSON"),
            expected
        );
        let refused = server
            .requests()
            .into_iter()
            .map(|request| request.refused)
            .collect::<Vec<_>>();
        assert_eq!(refused, [Some("x-api-key header is required".to_owned())]);
    }

    #[tokio::test]
    async fn a_stream_is_told_in_the_events_of_the_real_one() {
        let server = Server::start(Script::in_order([Reply::text("Yes.")]))
            .await
            .expect("a port on loopback");
        let head = "POST /v1/messages HTTP/1.1\r\nx-api-key: k\r\nanthropic-version: 2026-10-21";
        let body = r#"{"model": "claude-opus-5-5", "max_tokens": 9, "stream": true,
            "messages": [{"role": "user", "content": "Well?"}]}"#;
        let answer = exchange(&server, head, body).await;
        let events: Vec<&str> = answer
            .lines()
            .filter_map(|line| line.strip_prefix("event: "))
            .collect();
        let expected = [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ];
        assert_eq!(events, expected);
        assert!(
            answer.contains("\r\nanthropic-ratelimit-requests-remaining: 999\r\n"),
            "{answer}"
        );
    }
}
