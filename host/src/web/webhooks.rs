//! Webhooks of HumanRail and of forges: a signature, and then a hint to look.
//!
//! Touches: http, clock.
//! Change here: when another service tells of something. What is true is always asked of the service itself, so that a
//! late one or a second one does no harm.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::sync::{Notify, Semaphore};

use super::{WebError, no, whole};
use crate::config::{Config, Secret};
use crate::forges::Hints;
use crate::reception::Bells;
use crate::rules::signature;
use crate::rules::webhook::{self, Told};

/// For a whole hint to arrive.
const ARRIVING: Duration = Duration::from_secs(10);
const LARGEST: usize = 1 << 20;
/// Hints that are on their way in at a time.
const AT_ONCE: usize = 64;
/// Signatures that are remembered of a forge, so that what somebody overheard is not heard again.
const REMEMBERED: usize = 4096;

/// Whom hints are for.
pub struct Hearers {
    /// Rung when HumanRail tells of a task.
    pub humanrail: Arc<Notify>,
    /// Rung when a forge tells of a pull request.
    pub forges: Hints,
    /// Rung when a branch moved.
    pub bells: Bells,
}

struct Desk {
    /// What HumanRail signs with.
    humanrail: Option<String>,
    forges: BTreeMap<String, ForgeDesk>,
    hearers: Hearers,
    entrances: Semaphore,
}

struct ForgeDesk {
    secret: String,
    /// Project, repository and branch.
    projects: Vec<(String, String, String)>,
    heard: Mutex<VecDeque<[u8; 32]>>,
}

pub fn router(config: &Config, hearers: Hearers) -> Result<Router, WebError> {
    let mut forges = BTreeMap::new();
    for (name, forge) in &config.forges {
        if let Some(secret) = &forge.webhook_secret {
            let key = format!("forges.{name}.webhook_secret");
            let desk = ForgeDesk {
                secret: read(key, secret)?,
                projects: projects(config, name),
                heard: Mutex::default(),
            };
            forges.insert(name.clone(), desk);
        }
    }
    let humanrail = config.humanrail.webhook_secret.as_ref();
    let humanrail = humanrail.map(|secret| read("humanrail.webhook_secret".to_owned(), secret));
    let desk = Desk {
        humanrail: humanrail.transpose()?,
        forges,
        hearers,
        entrances: Semaphore::new(AT_ONCE),
    };
    Ok(Router::new()
        .route("/webhooks/humanrail", post(humanrail_tells))
        .route("/webhooks/{forge}", post(forge_tells))
        .with_state(Arc::new(desk)))
}

fn projects(config: &Config, forge: &str) -> Vec<(String, String, String)> {
    let at_home = |(name, project): (&String, &crate::config::Project)| {
        let home = project.forge.as_ref().filter(|home| home.name == forge)?;
        Some((name.clone(), home.repo.clone(), project.branch.clone()))
    };
    config.projects.iter().filter_map(at_home).collect()
}

fn read(key: String, secret: &Secret) -> Result<String, WebError> {
    match secret.read() {
        Ok(read) => Ok(read.expose_secret().to_owned()),
        Err(error) => Err(WebError::Secret {
            key,
            why: error.to_string(),
        }),
    }
}

async fn arrived(desk: &Desk, body: Body) -> Result<Bytes, Response> {
    let Ok(_entrance) = desk.entrances.try_acquire() else {
        return Err(no(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many events at once: send it again in a moment",
        ));
    };
    match tokio::time::timeout(ARRIVING, whole(body, LARGEST)).await {
        Ok(Ok(body)) => Ok(body),
        _ => Err(no(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the event is too large or too slow",
        )),
    }
}

fn header<'a>(headers: &'a HeaderMap, names: &[&str]) -> Option<&'a str> {
    names
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok())
}

async fn humanrail_tells(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(secret) = &desk.humanrail else {
        return no(StatusCode::NOT_FOUND, "humanrail.webhook_secret is not set");
    };
    let body = match arrived(&desk, body).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let names = ["x-escalation-signature", "x-humanrail-signature"];
    let signature = header(&headers, &names);
    match signature::verify(secret, signature, &body, Timestamp::now().as_second()) {
        Ok(()) => {
            desk.hearers.humanrail.notify_one();
            StatusCode::NO_CONTENT.into_response()
        }
        Err(forged) => no(StatusCode::UNAUTHORIZED, &forged.to_string()),
    }
}

async fn forge_tells(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(forge) = desk.forges.get(&name) else {
        return no(
            StatusCode::NOT_FOUND,
            "no forge of this name has a webhook_secret",
        );
    };
    let body = match arrived(&desk, body).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let names = [
        "x-hub-signature-256",
        "x-forgejo-signature",
        "x-gitea-signature",
    ];
    let signature = match signature::verify_body(&forge.secret, header(&headers, &names), &body) {
        Ok(signature) => signature,
        Err(forged) => return no(StatusCode::UNAUTHORIZED, &forged.to_string()),
    };
    // The number of a delivery is not signed: whoever overheard one could give it another.
    if forge.has_heard(signature) {
        return no(StatusCode::CONFLICT, "this was heard before");
    }
    let names = ["x-github-event", "x-forgejo-event", "x-gitea-event"];
    let event = header(&headers, &names).unwrap_or_default();
    let told = serde_json::from_slice(&body);
    match told.ok().and_then(|body| webhook::told(event, &body)) {
        Some(told) => {
            desk.pass_on(&name, forge, &told);
            StatusCode::NO_CONTENT.into_response()
        }
        None => (StatusCode::OK, "nothing to look at").into_response(),
    }
}

impl ForgeDesk {
    fn has_heard(&self, signature: [u8; 32]) -> bool {
        // Nothing is half done while the lock is held, so a panic elsewhere spoils nothing.
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.contains(&signature) {
            return true;
        }
        if heard.len() == REMEMBERED {
            heard.pop_front();
        }
        heard.push_back(signature);
        false
    }
}

impl Desk {
    fn pass_on(&self, name: &str, forge: &ForgeDesk, told: &Told) {
        let (repo, moved) = match told {
            Told::Moved { repo, branch } => (repo, Some(branch)),
            Told::Discussed { repo } => (repo, None),
        };
        let here = |(_, its, _): &&(String, String, String)| webhook::is_same_repo(its, repo);
        let mut here = forge.projects.iter().filter(here).peekable();
        match moved {
            Some(branch) => here
                .filter(|(_, _, watched)| watched == branch)
                .for_each(|(project, _, _)| self.hearers.bells.ring(project)),
            None if here.peek().is_some() => {
                if let Some(hint) = self.hearers.forges.get(name) {
                    hint.notify_one();
                }
            }
            None => {}
        }
    }
}
