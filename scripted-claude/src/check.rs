//! Refuses what the real Messages API refuses, in its words' spirit and its errors' shape.
//!
//! Touches: nothing.
//! Change here: when the API takes something new or no longer takes something old. What is not modelled here at
//! all, such as tools, is refused too, and says so: a fake that nods at everything proves nothing.

use serde_json::{Map, Value};

const VERSIONS: [&str; 3] = ["2023-01-01", "2023-06-01", "2026-10-21"];
const FIELDS: [&str; 8] = [
    "model",
    "max_tokens",
    "messages",
    "system",
    "stop_sequences",
    "stream",
    "output_config",
    "metadata",
];
const SAMPLING: [&str; 3] = ["temperature", "top_p", "top_k"];
/// Real, but nothing this server could answer to.
const NOT_MODELLED: [&str; 10] = [
    "tools",
    "tool_choice",
    "thinking",
    "cache_control",
    "service_tier",
    "container",
    "inference_geo",
    "speed",
    "diagnostics",
    "workspace_id",
];
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
const MOST_OUTPUT: u64 = 128_000;
const MOST_BREAKPOINTS: usize = 4;

/// Why a request is refused: status, error type and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub status: u16,
    pub kind: &'static str,
    pub message: String,
}

type Checked = Result<(), Problem>;

fn bad(message: impl Into<String>) -> Problem {
    Problem {
        status: 400,
        kind: "invalid_request_error",
        message: message.into(),
    }
}

/// What stands in the headers.
pub fn headers(key: Option<&str>, version: Option<&str>) -> Checked {
    if key.is_none_or(str::is_empty) {
        let message = "x-api-key header is required".to_owned();
        return Err(Problem {
            status: 401,
            kind: "authentication_error",
            message,
        });
    }
    match version {
        Some(version) if VERSIONS.contains(&version) => Ok(()),
        Some(version) => Err(bad(format!(
            "anthropic-version: {version:?} is not a valid version"
        ))),
        None => Err(bad("anthropic-version: header is required")),
    }
}

/// What stands in the body.
pub fn body(body: &Value, version: &str) -> Checked {
    let fields = object(body, "body")?;
    let model = model(fields)?;
    for field in fields.keys() {
        known(field, model, version)?;
    }
    max_tokens(fields)?;
    flag(fields.get("stream"), "stream")?;
    output_config(fields.get("output_config"), model)?;
    system(fields.get("system"))?;
    messages(fields.get("messages"), model)?;
    breakpoints(body)
}

fn model(fields: &Map<String, Value>) -> Result<&str, Problem> {
    let model = fields
        .get("model")
        .ok_or_else(|| bad("model: Field required"))?;
    let model = model
        .as_str()
        .ok_or_else(|| bad("model: Input should be a valid string"))?;
    if model.starts_with("claude-") {
        return Ok(model);
    }
    Err(Problem {
        status: 404,
        kind: "not_found_error",
        message: format!("model: {model}"),
    })
}

fn known(field: &str, model: &str, version: &str) -> Checked {
    if SAMPLING.contains(&field) {
        return sampling(field, model, version);
    }
    if NOT_MODELLED.contains(&field) {
        return Err(bad(format!("{field}: scripted-claude does not model this")));
    }
    if FIELDS.contains(&field) {
        Ok(())
    } else {
        Err(extra(field))
    }
}

fn extra(field: &str) -> Problem {
    bad(format!("{field}: Extra inputs are not permitted"))
}

fn sampling(field: &str, model: &str, version: &str) -> Checked {
    if version == "2026-10-21" {
        return Err(extra(field));
    }
    if model.contains("-4-5") || model.contains("-4-6") {
        return Ok(());
    }
    Err(bad(format!("`{field}` is deprecated for this model.")))
}

fn max_tokens(fields: &Map<String, Value>) -> Checked {
    match fields.get("max_tokens").map(Value::as_u64) {
        None => Err(bad("max_tokens: Field required")),
        Some(Some(1..=MOST_OUTPUT)) => Ok(()),
        Some(_) => Err(bad(format!(
            "max_tokens: Input should be an integer from 1 to {MOST_OUTPUT}"
        ))),
    }
}

fn flag(value: Option<&Value>, name: &str) -> Checked {
    match value {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(_) => Err(bad(format!("{name}: Input should be a valid boolean"))),
    }
}

fn output_config(config: Option<&Value>, model: &str) -> Checked {
    let Some(config) = config else { return Ok(()) };
    for (field, value) in object(config, "output_config")? {
        if field != "effort" {
            return Err(extra(&format!("output_config.{field}")));
        }
        if !value
            .as_str()
            .is_some_and(|effort| EFFORTS.contains(&effort))
        {
            return Err(bad(
                "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
            ));
        }
        if model.contains("haiku-4-5") || model.contains("sonnet-4-5") {
            return Err(bad("This model does not support the effort parameter."));
        }
    }
    Ok(())
}

fn system(system: Option<&Value>) -> Checked {
    match system {
        None | Some(Value::String(_)) => Ok(()),
        Some(blocks) => text_blocks(blocks, "system"),
    }
}

fn messages(messages: Option<&Value>, model: &str) -> Checked {
    let messages = messages.ok_or_else(|| bad("messages: Field required"))?;
    let messages = array(messages, "messages")?;
    for (n, message) in messages.iter().enumerate() {
        self::message(message, &format!("messages.{n}"))?;
    }
    match messages.last().map(|message| &message["role"]) {
        None => Err(bad("messages: at least one message is required")),
        Some(role) if role == "assistant" && !takes_prefill(model) => Err(bad(
            "This model does not support assistant message prefill.",
        )),
        Some(_) => Ok(()),
    }
}

fn takes_prefill(model: &str) -> bool {
    model.contains("-4-")
}

fn message(message: &Value, at: &str) -> Checked {
    let fields = object(message, at)?;
    if let Some(field) = fields
        .keys()
        .find(|field| !["role", "content"].contains(&field.as_str()))
    {
        return Err(extra(&format!("{at}.{field}")));
    }
    if !fields
        .get("role")
        .is_some_and(|role| role == "user" || role == "assistant")
    {
        return Err(bad(format!(
            "{at}.role: Input should be 'user' or 'assistant'"
        )));
    }
    match fields.get("content") {
        None => Err(bad(format!("{at}.content: Field required"))),
        Some(Value::String(text)) if text.is_empty() => Err(empty(at)),
        Some(Value::String(_)) => Ok(()),
        Some(blocks) => text_blocks(blocks, &format!("{at}.content")),
    }
}

fn empty(at: &str) -> Problem {
    bad(format!("{at}: text content blocks must be non-empty"))
}

fn text_blocks(blocks: &Value, at: &str) -> Checked {
    for (n, block) in array(blocks, at)?.iter().enumerate() {
        text_block(block, &format!("{at}.{n}"))?;
    }
    Ok(())
}

fn text_block(block: &Value, at: &str) -> Checked {
    let fields = object(block, at)?;
    if fields.get("type").is_none_or(|kind| kind != "text") {
        return Err(bad(format!(
            "{at}.type: scripted-claude models only 'text' here"
        )));
    }
    for (field, value) in fields {
        match (field.as_str(), value) {
            ("type", _) => {}
            ("text", Value::String(text)) if text.is_empty() => return Err(empty(at)),
            ("text", Value::String(_)) => {}
            ("cache_control", value) => cache_control(value, &format!("{at}.cache_control"))?,
            ("text", _) => return Err(bad(format!("{at}.text: Input should be a valid string"))),
            (field, _) => return Err(extra(&format!("{at}.{field}"))),
        }
    }
    if fields.contains_key("text") {
        Ok(())
    } else {
        Err(bad(format!("{at}.text: Field required")))
    }
}

fn cache_control(control: &Value, at: &str) -> Checked {
    let fields = object(control, at)?;
    if fields.get("type").is_none_or(|kind| kind != "ephemeral") {
        return Err(bad(format!("{at}.type: Input should be 'ephemeral'")));
    }
    match fields.iter().find(|(field, _)| *field != "type") {
        None => Ok(()),
        Some((field, ttl)) if field == "ttl" && (ttl == "5m" || ttl == "1h") => Ok(()),
        Some((field, _)) => Err(extra(&format!("{at}.{field}"))),
    }
}

fn breakpoints(body: &Value) -> Checked {
    let found = blocks_of(body).filter(|block| block.cached).count();
    if found > MOST_BREAKPOINTS {
        return Err(bad(format!(
            "A maximum of {MOST_BREAKPOINTS} blocks with cache_control may be provided. Found {found}."
        )));
    }
    Ok(())
}

fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>, Problem> {
    value
        .as_object()
        .ok_or_else(|| bad(format!("{at}: Input should be an object")))
}

fn array<'a>(value: &'a Value, at: &str) -> Result<&'a Vec<Value>, Problem> {
    value
        .as_array()
        .ok_or_else(|| bad(format!("{at}: Input should be a valid array")))
}

/// A piece of the prompt, and whether the prefix that ends with it is to be cached.
pub struct Block<'a> {
    pub text: &'a str,
    pub cached: bool,
}

/// The prompt in the order in which it is cached: system, then messages.
pub fn blocks_of(body: &Value) -> impl Iterator<Item = Block<'_>> {
    let messages = body["messages"].as_array().into_iter().flatten();
    std::iter::once(&body["system"])
        .chain(messages.map(|message| &message["content"]))
        .flat_map(content)
}

fn content(content: &Value) -> Vec<Block<'_>> {
    let block = |block: &'_ Value| block.get("cache_control").is_some();
    match content {
        Value::String(text) => vec![Block {
            text,
            cached: false,
        }],
        Value::Array(blocks) => blocks
            .iter()
            .map(|b| Block {
                text: b["text"].as_str().unwrap_or_default(),
                cached: block(b),
            })
            .collect(),
        _ => vec![],
    }
}

/// The text of a string or of text blocks.
pub fn text_of(value: &Value) -> String {
    content(value)
        .iter()
        .map(|block| block.text)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "model": "claude-sonnet-5-5", "max_tokens": 100, "stream": true,
            "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "Hello"}],
            "output_config": {"effort": "low"},
        })
    }

    /// The message for `good()` with the value at `pointer` put in, or put out where it is none.
    fn complaint(pointer: &str, value: Option<Value>) -> String {
        let mut request = good();
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        let parent = request
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .expect("an object");
        match value {
            Some(value) => _ = parent.insert(field.to_owned(), value),
            None => _ = parent.remove(field),
        }
        body(&request, "2026-10-21").expect_err("refused").message
    }

    #[test]
    fn a_good_request_passes() {
        assert_eq!(body(&good(), "2026-10-21"), Ok(()));
    }

    #[test]
    fn a_misspelt_field_is_refused_wherever_it_stands() {
        for at in [
            "/max_token",
            "/output_config/efort",
            "/messages/0/contents",
            "/system/0/cash_control",
        ] {
            let message = complaint(at, Some(json!("x")));
            assert!(
                message.ends_with("Extra inputs are not permitted"),
                "{at}: {message}"
            );
        }
    }

    #[test]
    fn what_is_required_is_missed() {
        for at in [
            "/model",
            "/max_tokens",
            "/messages",
            "/messages/0/content",
            "/system/0/text",
        ] {
            assert!(complaint(at, None).ends_with("Field required"), "{at}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (at, value) in [
            ("/max_tokens", json!(0)),
            ("/max_tokens", json!(128_001)),
            ("/stream", json!("yes")),
            ("/output_config/effort", json!("extreme")),
            ("/messages/0/role", json!("system")),
            ("/messages/0/content", json!("")),
            ("/messages", json!([])),
            ("/system/0/text", json!("")),
            ("/system/0/cache_control", json!({"type": "eternal"})),
        ] {
            assert!(!complaint(at, Some(value)).is_empty(), "{at}");
        }
    }

    #[test]
    fn temperature_depends_on_version_and_model() {
        assert_eq!(
            complaint("/temperature", Some(json!(1.0))),
            "temperature: Extra inputs are not permitted"
        );
        let mut request = good();
        request["temperature"] = json!(0.2);
        let message = body(&request, "2023-06-01").expect_err("refused").message;
        assert_eq!(message, "`temperature` is deprecated for this model.");
        request["model"] = json!("claude-opus-4-6");
        assert_eq!(body(&request, "2023-06-01"), Ok(()));
    }

    #[test]
    fn effort_and_prefill_depend_on_the_model() {
        assert!(complaint("/model", Some(json!("claude-haiku-4-5"))).contains("effort"));
        let prefilled =
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
        assert!(complaint("/messages", Some(prefilled)).contains("prefill"));
    }

    #[test]
    fn what_is_not_modelled_is_not_nodded_at() {
        assert_eq!(
            complaint("/tools", Some(json!([]))),
            "tools: scripted-claude does not model this"
        );
    }

    #[test]
    fn four_breakpoints_are_the_most() {
        let block = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
        assert!(complaint("/system", Some(json!(vec![block; 5]))).contains("Found 5"));
    }

    #[test]
    fn key_and_version_must_be_there() {
        assert_eq!(
            headers(None, Some("2026-10-21"))
                .expect_err("refused")
                .status,
            401
        );
        assert_eq!(headers(Some("k"), None).expect_err("refused").status, 400);
        assert_eq!(
            headers(Some("k"), Some("2026-10-22"))
                .expect_err("refused")
                .status,
            400
        );
        assert_eq!(headers(Some("k"), Some("2026-10-21")), Ok(()));
    }
}
