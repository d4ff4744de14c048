//! HumanRail on loopback: keeps tasks, takes them through their lives when told to, tells of them with signed webhooks.
//!
//! Touches: network (loopback), http.
//! Change here: when stories need the service to behave otherwise. Every request that comes and every answer that goes is
//! held against the shapes of its description, `tests/specs/humanrail.json`: types, names and bounds of the Escalation Engine
//! API 1.0.0, which its authors published under the MIT licence.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use changebus::rules::signature;

const KEY: &str = "ek_live_of_a_story";

#[derive(Default)]
struct Desk {
    tasks: BTreeMap<String, Value>,
    /// Requests and answers that do not fit the description.
    complaints: Vec<String>,
    /// The next so many requests are asked to wait.
    storm: usize,
    created: usize,
}

#[derive(Clone)]
pub struct HumanRail {
    address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
}

impl HumanRail {
    pub async fn start() -> HumanRail {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let desk = Arc::new(Mutex::new(Desk::default()));
        let router = Router::new()
            .route("/v1/tasks", post(create))
            .route("/v1/tasks/{id}", get(task))
            .route("/v1/tasks/{id}/cancel", post(cancel))
            .with_state(desk.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        HumanRail { address, desk }
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn key() -> &'static str {
        KEY
    }

    pub fn storm(&self, requests: usize) {
        self.desk().storm = requests;
    }

    /// Tasks in the order of their ids, which is that of their making.
    pub fn tasks(&self) -> Vec<Value> {
        self.desk().tasks.values().cloned().collect()
    }

    /// Times a task was made, replays not counted.
    pub fn created(&self) -> usize {
        self.desk().created
    }

    pub fn complaints(&self) -> Vec<String> {
        self.desk().complaints.clone()
    }

    /// Somebody answers, and it is checked.
    pub fn verify(&self, id: &str, output: Value) {
        let schema = self.task(id)["outputSchema"].clone();
        let judge = jsonschema::validator_for(&schema).expect("it is a schema");
        assert!(
            judge.is_valid(&output),
            "{output} is not what {schema} asks for"
        );
        self.change(id, "verified", &[("output", output)]);
    }

    pub fn expire(&self, id: &str) {
        self.change(id, "expired", &[]);
    }

    pub fn fail(&self, id: &str, why: &str) {
        self.change(id, "failed", &[("failureReason", why.into())]);
    }

    pub fn task(&self, id: &str) -> Value {
        self.desk().tasks[id].clone()
    }

    fn change(&self, id: &str, status: &str, fields: &[(&str, Value)]) {
        let mut desk = self.desk();
        let task = desk.tasks.get_mut(id).expect("there is such a task");
        task["status"] = status.into();
        for (name, value) in fields {
            task[*name] = value.clone();
        }
    }

    /// The webhook that tells of a task: signature and body.
    pub fn webhook(&self, id: &str, secret: &str, at: i64) -> (String, String) {
        let task = self.task(id);
        let kind = format!("task.{}", task["status"].as_str().expect("a text"));
        let event = json!({ "id": "evt_1", "type": kind, "createdAt": "2026-11-26T10:00:00Z", "data": task });
        assert_eq!(misfits("WebhookEvent", &event), Vec::<String>::new());
        let body = event.to_string();
        (signature::sign(secret, at, body.as_bytes()), body)
    }

    fn desk(&self) -> std::sync::MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a value departs from a schema of the description.
pub fn misfits(schema: &str, value: &Value) -> Vec<String> {
    let text = include_str!("../specs/humanrail.json");
    let mut whole: Value = serde_json::from_str(text).expect("it is JSON");
    whole["$ref"] = format!("#/components/schemas/{schema}").into();
    let judge = jsonschema::validator_for(&whole).expect("it is a schema");
    judge
        .iter_errors(value)
        .map(|e| format!("{schema}: {e}"))
        .collect()
}

type Answer = (StatusCode, Json<Value>);

impl Desk {
    fn enter(&mut self, headers: &HeaderMap) -> Result<(), Answer> {
        if self.storm > 0 {
            self.storm -= 1;
            return Err(no(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_exceeded",
                "slow down",
            ));
        }
        let shown = headers.get("authorization").and_then(|v| v.to_str().ok());
        match shown == Some(&format!("Bearer {KEY}")) {
            true => Ok(()),
            false => Err(no(
                StatusCode::UNAUTHORIZED,
                "authentication_error",
                "Invalid API key",
            )),
        }
    }

    fn tell(&mut self, status: StatusCode, schema: &str, value: Value) -> Answer {
        let misfits = misfits(schema, &value);
        self.complaints.extend(misfits);
        (status, Json(value))
    }
}

fn no(status: StatusCode, kind: &str, message: &str) -> Answer {
    let value = json!({ "error": { "type": kind, "message": message },
        "requestId": "550e8400-e29b-41d4-a716-446655440000" });
    assert_eq!(misfits("ErrorResponse", &value), Vec::<String>::new());
    (status, Json(value))
}

async fn create(
    State(desk): State<Arc<Mutex<Desk>>>,
    headers: HeaderMap,
    Json(wanted): Json<Value>,
) -> Answer {
    let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(refused) = desk.enter(&headers) {
        return refused;
    }
    let misfits = misfits("TaskCreateRequest", &wanted);
    if !misfits.is_empty() {
        desk.complaints.extend(misfits);
        return no(
            StatusCode::BAD_REQUEST,
            "validation_error",
            "Invalid request body",
        );
    }
    if headers.get("idempotency-key").and_then(|v| v.to_str().ok())
        != wanted["idempotencyKey"].as_str()
    {
        desk.complaints
            .push("the two idempotency keys differ".to_owned());
    }
    let same = |task: &&Value| task["idempotencyKey"] == wanted["idempotencyKey"];
    if let Some(before) = desk.tasks.values().find(same).cloned() {
        return desk.tell(StatusCode::OK, "Task", before);
    }
    desk.created += 1;
    let id = format!("0198c0de-0000-7000-8000-{:012}", desk.created);
    let mut task = wanted;
    for (name, value) in [
        ("id", id.as_str()),
        ("status", "posted"),
        ("createdAt", "2026-11-26T10:00:00Z"),
        ("updatedAt", "2026-11-26T10:00:00Z"),
        ("expiresAt", "2026-11-26T11:00:00Z"),
    ] {
        task[name] = value.into();
    }
    desk.tasks.insert(id, task.clone());
    desk.tell(StatusCode::CREATED, "Task", task)
}

async fn task(
    State(desk): State<Arc<Mutex<Desk>>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answer {
    let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(refused) = desk.enter(&headers) {
        return refused;
    }
    match desk.tasks.get(&id).cloned() {
        Some(task) => desk.tell(StatusCode::OK, "Task", task),
        None => no(StatusCode::NOT_FOUND, "not_found", "Task not found"),
    }
}

async fn cancel(
    State(desk): State<Arc<Mutex<Desk>>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answer {
    let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(refused) = desk.enter(&headers) {
        return refused;
    }
    let Some(task) = desk.tasks.get_mut(&id) else {
        return no(StatusCode::NOT_FOUND, "not_found", "Task not found");
    };
    if !["posted", "assigned"].contains(&task["status"].as_str().unwrap_or_default()) {
        return no(
            StatusCode::CONFLICT,
            "conflict",
            "Task is already in a terminal state",
        );
    }
    task["status"] = "cancelled".into();
    let told = json!({ "id": id, "status": "cancelled", "cancelledAt": "2026-11-26T10:30:00Z" });
    desk.tell(StatusCode::OK, "TaskCancelResult", told)
}
