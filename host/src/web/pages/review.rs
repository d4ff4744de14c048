//! What waits for people, and taking their decision.
//!
//! Touches: http (answers), sqlite (through the store).
//! Change here: when people can decide something else. Whether a decision can be taken is `rules/review.rs`, how it is kept
//! is `reception.rs`.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::super::guard::Refused;
use super::overview::{Case, cases};
use super::{Desk, Frame, Page, Trouble, Visitor, html, page as shown, run};
use crate::event::{Channel, Review, Ruling, RunId};
use crate::reception;
use crate::rules::review;
use crate::rules::run::Run;
use crate::story::text;

const WAITING: usize = 100;
/// Bytes of a reason.
const LONGEST: usize = 4096;

#[derive(Template)]
#[template(path = "web/review.html")]
struct ReviewPage {
    frame: Frame,
    waiting: Vec<Case>,
    more_wait: usize,
}

pub async fn list(State(desk): State<Arc<Desk>>, Extension(visitor): Extension<Visitor>) -> Page {
    let waiting = desk.store.waiting_for_people().await?;
    let told = waiting.len().min(WAITING);
    shown(&ReviewPage {
        frame: Frame::new("Review", "/review", &visitor),
        waiting: cases(&desk.store, &waiting[..told]).await?,
        more_wait: waiting.len() - told,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Given {
    form: String,
    ruling: String,
    variant: String,
    reason: String,
}

pub async fn decide(
    State(desk): State<Arc<Desk>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(given): Form<Given>,
) -> Page {
    let id = RunId(id);
    let person = visitor.0.as_ref().ok_or(Refused::Nobody)?;
    if !person.sent(&given.form) {
        return Err(Refused::Elsewhere.into());
    }
    let taken = take(&desk, &person.name, &id, &given).await?;
    if let Err(why) = taken {
        let page = run::made(&desk, &visitor, id, Some(why)).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(page.render()?)).into_response());
    }
    let run = utf8_percent_encode(&id.0, NON_ALPHANUMERIC);
    Ok(Redirect::to(&format!("/runs/{run}#decision")).into_response())
}

/// Keeps the decision; says why it is not kept, where it cannot be taken.
async fn take(
    desk: &Desk,
    by: &str,
    id: &RunId,
    given: &Given,
) -> Result<Result<(), String>, Trouble> {
    let events = desk.store.run_events(id).await?;
    let Some(run) = Run::replay(&events).ok().flatten() else {
        return Err(Trouble::NotFound(format!(
            "{id}: the log knows no such run"
        )));
    };
    if !desk.settings.projects.contains_key(&run.project) {
        return Ok(Err(format!(
            "{id}: no [projects.{}] in the configuration; merge its branch by hand",
            run.project
        )));
    }
    let ruling = match given.ruling.as_str() {
        "approve" => Ruling::Approve {
            variant: Some(given.variant.clone()).filter(|v| !v.is_empty()),
        },
        "reject" => Ruling::Reject,
        _ => return Ok(Err("say whether it is approved or rejected".to_owned())),
    };
    let reason = given.reason.trim();
    if reason.len() > LONGEST {
        return Ok(Err(format!("the reason is longer than {LONGEST} bytes")));
    }
    let review = Review {
        run: id.clone(),
        ruling,
        reason: text::clean(reason),
        by: by.to_owned(),
        via: Channel::Page,
    };
    if let Err(why) = review::chosen(&run, &review) {
        return Ok(Err(why.to_string()));
    }
    let decision = uuid::Uuid::now_v7().to_string();
    reception::decide(&desk.store, &run.project, review, &decision).await?;
    Ok(Ok(()))
}
