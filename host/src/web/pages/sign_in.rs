//! Signing in with a token, and out again.
//!
//! Touches: http (answers), clock (waits).
//! Change here: when people sign in otherwise.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::super::guard::{COOKIE, Guard, Refused};
use super::{Desk, Frame, Page, Trouble, Visitor, html, page as shown};

/// Whoever guesses waits, behind others who guess; whoever is right waits for nobody.
const WRONG: Duration = Duration::from_millis(300);

#[derive(Template)]
#[template(path = "web/sign_in.html")]
struct SignIn {
    frame: Frame,
    anybody: bool,
    to: String,
    problem: Option<&'static str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Towards {
    to: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Shown {
    token: String,
    to: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Leaving {
    form: String,
}

/// Where somebody who has to sign in first is sent.
pub fn address(to: &str) -> String {
    format!("/sign-in?to={}", utf8_percent_encode(to, NON_ALPHANUMERIC))
}

/// A page of ours and of nobody else.
fn ours(to: &str) -> &str {
    let mut rest = to.bytes().skip(1);
    let starts = to.starts_with('/') && !matches!(rest.next(), Some(b'/' | b'\\'));
    let plain = to.bytes().all(|b| b.is_ascii_graphic());
    if starts && plain { to } else { "/" }
}

fn form(desk: &Desk, visitor: &Visitor, to: &str, problem: Option<&'static str>) -> SignIn {
    let mut frame = Frame::new("Sign in", "/sign-in", visitor);
    frame.still = true;
    SignIn {
        frame,
        anybody: desk.guard.anybody(),
        to: ours(to).to_owned(),
        problem,
    }
}

pub async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visitor): Extension<Visitor>,
    Query(towards): Query<Towards>,
) -> Page {
    shown(&form(&desk, &visitor, &towards.to, None))
}

pub async fn sign_in(
    State(desk): State<Arc<Desk>>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    Form(given): Form<Shown>,
) -> Page {
    let Some(name) = desk.guard.person(&given.token) else {
        let _one_of_few = desk.tries.acquire().await;
        tokio::time::sleep(WRONG).await;
        tracing::warn!("somebody tried to sign in with a token that is nobody's");
        let again = form(&desk, &visitor, &given.to, Some("This token is nobody's."));
        return Ok((StatusCode::UNAUTHORIZED, html(again.render()?)).into_response());
    };
    tracing::info!(name, "signed in on the page");
    let value = desk.guard.session(name, Timestamp::now());
    let over_tls = headers
        .get(header::ORIGIN)
        .is_some_and(|o| o.as_bytes().starts_with(b"https://"));
    Ok(with_cookie(
        &value,
        Guard::session_lasts(),
        over_tls,
        ours(&given.to),
    ))
}

pub async fn sign_out(
    Extension(Visitor(person)): Extension<Visitor>,
    Form(leaving): Form<Leaving>,
) -> Page {
    match person.is_some_and(|person| person.sent(&leaving.form)) {
        true => Ok(with_cookie("", 0, false, "/")),
        false => Err(Trouble::Refused(Refused::Elsewhere)),
    }
}

fn with_cookie(value: &str, lasts: i64, over_tls: bool, to: &str) -> Response {
    let secure = if over_tls { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={lasts}{secure}");
    ([(header::SET_COOKIE, cookie)], Redirect::to(to)).into_response()
}

#[cfg(test)]
mod tests {
    use super::ours;

    #[test]
    fn after_signing_in_people_stay_here() {
        for to in ["/", "/runs/app-1", "/runs/a%2Fb"] {
            assert_eq!(ours(to), to);
        }
        for to in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nb: c",
            "/ä",
        ] {
            assert_eq!(ours(to), "/", "{to:?}");
        }
    }
}
