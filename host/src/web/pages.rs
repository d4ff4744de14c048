//! The page: what people see of this host in a browser, and where they decide.
//!
//! Touches: http (answers), clock.
//! Change here: when there is another page. Who may see it is `web/guard.rs`; what stands on it is a file in `web/pages/`
//! and a template in `host/templates/web/`.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore};

use super::guard::{Asked, Guard, Person, Refused, Takes};
use super::live::Live;
use crate::config::Config;
use crate::outside::store::{Store, StoreError};
use crate::stages::StageError;
use crate::story::text;

mod about;
mod chart;
mod events;
mod overview;
mod plugins;
mod project;
mod review;
mod run;
mod shown;
mod sign_in;

/// A form has no more in it.
const LARGEST_FORM: usize = 64 * 1024;

/// What every page is made from.
pub struct Desk {
    store: Store,
    settings: Config,
    guard: Guard,
    live: Live,
    /// Wrong tokens that are answered at a time.
    tries: Semaphore,
    /// The overview as it was made last.
    overview: Mutex<Option<overview::Made>>,
}

impl Desk {
    pub fn new(store: Store, settings: Config, guard: Guard, live: Live) -> Desk {
        Desk {
            store,
            settings,
            guard,
            live,
            tries: Semaphore::new(4),
            overview: Mutex::new(None),
        }
    }
}

pub fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/", get(overview::page))
        .route("/projects/{name}", get(project::page))
        .route("/runs/{run}", get(run::page))
        .route("/runs/{run}/review", post(review::decide))
        .route("/review", get(review::list))
        .route("/plugins", get(plugins::page))
        .route("/events", get(events::page))
        .route("/about", get(about::page))
        .route("/live", get(live))
        .route("/sign-in", get(sign_in::page).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/page.css", get(async || fixed("text/css", STYLE)))
        .route("/page.js", get(async || fixed("text/javascript", SCRIPT)))
        .fallback(nowhere)
        .layer(from_fn_with_state(desk.clone(), entrance))
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        .with_state(desk)
}

const STYLE: &str = include_str!("../../templates/web/page.css");
const SCRIPT: &str = include_str!("../../templates/web/page.js");

fn fixed(kind: &'static str, text: &'static str) -> Response {
    let kept = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "max-age=300"),
    ];
    (kept, text).into_response()
}

/// Who asks.
#[derive(Clone)]
struct Visitor(Option<Person>);

async fn entrance(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    let takes = match request.uri().path() {
        "/sign-in" | "/page.css" | "/page.js" => Takes::Nothing,
        _ if is_safe(request.method()) => Takes::Reading,
        _ => Takes::SignedIn,
    };
    let judged = {
        let asked = asked(request.method(), request.headers());
        desk.guard.judge(&asked, takes, Timestamp::now())
    };
    match judged {
        Ok(person) => {
            request.extensions_mut().insert(Visitor(person));
            next.run(request).await
        }
        Err(Refused::Nobody) if is_safe(request.method()) && request.uri().path() != "/live" => {
            Redirect::to(&sign_in::address(request.uri().path())).into_response()
        }
        Err(refused) => Trouble::Refused(refused).into_response(),
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn asked<'a>(method: &Method, headers: &'a HeaderMap) -> Asked<'a> {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or_default());
    Asked {
        is_safe: is_safe(method),
        host: text("host"),
        origin: text("origin"),
        fetch_site: text("sec-fetch-site"),
        authorization: text("authorization"),
        cookies: text("cookie"),
    }
}

async fn live(State(desk): State<Arc<Desk>>) -> Response {
    let full = || (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open").into_response();
    desk.live.listen().unwrap_or_else(full)
}

async fn nowhere() -> Trouble {
    Trouble::NotFound("there is no such page".to_owned())
}

/// What stands around every page.
struct Frame {
    title: String,
    /// The address of the entry in the menu that this page belongs to.
    here: &'static str,
    /// What the page is about: only then it is concerned by what happens.
    project: String,
    run: String,
    /// Nothing that happens concerns it.
    still: bool,
    name: Option<String>,
    /// Forms bring it along.
    form: String,
    version: &'static str,
}

impl Frame {
    fn new(title: impl Into<String>, here: &'static str, visitor: &Visitor) -> Frame {
        Frame {
            title: title.into(),
            here,
            project: String::new(),
            run: String::new(),
            still: false,
            name: visitor.0.as_ref().map(|p| p.name.clone()),
            form: visitor
                .0
                .as_ref()
                .and_then(|p| p.form.clone())
                .unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn is_here(&self, address: &str) -> bool {
        self.here == address
    }

    fn menu(&self) -> [(&'static str, &'static str); 5] {
        [
            ("/", "Overview"),
            ("/review", "Review"),
            ("/plugins", "Plugins"),
            ("/events", "Events"),
            ("/about", "About"),
        ]
    }
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    NotFound(String),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the log cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Updates(#[from] StageError),
    #[error("the page cannot be made: {0}")]
    Template(#[from] askama::Error),
}

impl Trouble {
    fn status(&self) -> StatusCode {
        match self {
            Trouble::NotFound(_) => StatusCode::NOT_FOUND,
            Trouble::Refused(Refused::Name) => StatusCode::MISDIRECTED_REQUEST,
            Trouble::Refused(Refused::Elsewhere) => StatusCode::FORBIDDEN,
            Trouble::Refused(Refused::Token | Refused::Nobody) => StatusCode::UNAUTHORIZED,
            Trouble::Store(_) | Trouble::Updates(_) | Trouble::Template(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

#[derive(Template)]
#[template(path = "web/trouble.html")]
struct TroublePage {
    frame: Frame,
    why: String,
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!("a page cannot be shown: {self}");
        }
        let mut frame = Frame::new("Not shown", "", &Visitor(None));
        frame.still = true;
        let why = shown::line(&self.to_string());
        match (TroublePage { frame, why }).render() {
            Ok(page) => (status, html(page)).into_response(),
            Err(_) => status.into_response(),
        }
    }
}

/// Cleaned once more as a whole: names and ids stand in it as they are.
fn html(page: String) -> Response {
    axum::response::Html(text::clean(&page)).into_response()
}

type Page = Result<Response, Trouble>;

fn page(template: &impl Template) -> Page {
    Ok(html(template.render()?))
}
