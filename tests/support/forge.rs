//! A forge on loopback over a real bare repository: pull requests, statuses, protection, people. It speaks as GitHub or
//! as Forgejo do.
//!
//! Touches: network (loopback), http, git, processes.
//! Change here: when stories need a forge to behave otherwise. Every request that comes and every answer that goes is held
//! against the official description (`described.rs`). How each of the two says it is `forge/github.rs` and
//! `forge/forgejo.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use changebus::config::ForgeKind;
use changebus::rules::signature;
use serde_json::{Value, json};

use crate::described::{self, Description};
use crate::world::git;

mod forgejo;
mod github;

const TOKEN: &str = "forge-token-of-a-story";
/// Who ChangeBus is there.
pub const ME: &str = "changebus-bot";
/// The repository, as its address has it.
pub const REPO: &str = "acme/shop";

/// What a branch asks of whoever changes it.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    pub required_checks: Vec<String>,
    /// What is merged has to be up to date.
    pub strict: bool,
    pub approvals: u32,
}

#[derive(Clone, Debug)]
pub struct Pull {
    pub number: u64,
    pub title: String,
    pub body: String,
    pub head: String,
    pub base: String,
    pub draft: bool,
    pub open: bool,
    /// Who merged it, and the commit that came of it.
    pub merged: Option<(String, String)>,
    pub labels: Vec<String>,
    pub reviewers: Vec<String>,
    /// Who, and what.
    pub comments: Vec<(String, String)>,
    /// The commit that is merged once it can be.
    pub merges_itself: Option<String>,
    /// As long as the branch is there it is what the branch is.
    head_commit: String,
}

#[derive(Clone, Debug)]
pub struct Status {
    pub commit: String,
    pub state: String,
    pub context: String,
    pub description: String,
    pub by: String,
}

/// One request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub body: Option<Value>,
}

struct Hall {
    kind: ForgeKind,
    bare: PathBuf,
    pulls: Vec<Pull>,
    statuses: Vec<Status>,
    labels: BTreeSet<String>,
    protection: Option<Protection>,
    may_merge_itself: bool,
    is_administrator: bool,
    authors: BTreeMap<String, String>,
    collaborators: BTreeSet<String>,
    revoked: bool,
    storm: usize,
    limit: usize,
    failing: usize,
    seen: Vec<Seen>,
    complaints: Vec<String>,
}

/// What is answered: a status, headers, a body.
struct Said {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Value,
}

impl Said {
    fn new(status: u16, body: Value) -> Said {
        Said {
            status: StatusCode::from_u16(status).expect("it is a status"),
            headers: vec![],
            body,
        }
    }

    fn error(status: u16, message: &str) -> Said {
        Said::new(
            status,
            json!({ "message": message, "documentation_url": "" }),
        )
    }
}

#[derive(Clone)]
pub struct ForgeStandIn {
    address: SocketAddr,
    kind: ForgeKind,
    hall: Arc<Mutex<Hall>>,
}

impl ForgeStandIn {
    /// A forge whose one repository is this bare one.
    pub async fn start(kind: ForgeKind, bare: &Path) -> ForgeStandIn {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let hall = Arc::new(Mutex::new(Hall {
            kind,
            bare: bare.to_owned(),
            pulls: vec![],
            statuses: vec![],
            labels: BTreeSet::new(),
            protection: None,
            may_merge_itself: true,
            is_administrator: true,
            authors: BTreeMap::from([("ada@example.org".to_owned(), "ada".to_owned())]),
            collaborators: BTreeSet::from(["ada".to_owned()]),
            revoked: false,
            storm: 0,
            limit: 0,
            failing: 0,
            seen: vec![],
            complaints: vec![],
        }));
        let router = Router::new().fallback(answer).with_state(hall.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        ForgeStandIn {
            address,
            kind,
            hall,
        }
    }

    /// The address of its API.
    pub fn url(&self) -> String {
        match self.kind {
            ForgeKind::Github => format!("http://{}", self.address),
            ForgeKind::Forgejo => format!("http://{}/api/v1", self.address),
        }
    }

    pub fn token() -> &'static str {
        TOKEN
    }

    fn hall(&self) -> MutexGuard<'_, Hall> {
        self.hall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next so many requests come too fast.
    pub fn storm(&self, requests: usize) {
        self.hall().storm = requests;
    }

    /// The next so many requests are beyond the hour's limit, which ends at once.
    pub fn limit(&self, requests: usize) {
        self.hall().limit = requests;
    }

    pub fn fail(&self, requests: usize) {
        self.hall().failing = requests;
    }

    pub fn revoke(&self, revoked: bool) {
        self.hall().revoked = revoked;
    }

    pub fn protect(&self, protection: Protection) {
        self.hall().protection = Some(protection);
    }

    /// Whether the account may see what a branch's protection is.
    pub fn make_administrator(&self, is_one: bool) {
        self.hall().is_administrator = is_one;
    }

    /// Nobody may be asked to review.
    pub fn forget_collaborators(&self) {
        self.hall().collaborators.clear();
    }

    pub fn may_merge_itself(&self, may: bool) {
        self.hall().may_merge_itself = may;
    }

    pub fn pulls(&self) -> Vec<Pull> {
        self.hall().pulls.clone()
    }

    /// Oldest first.
    pub fn statuses(&self, commit: &str) -> Vec<Status> {
        let hall = self.hall();
        let of_it = hall.statuses.iter().filter(|s| s.commit == commit);
        of_it.cloned().collect()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.hall().seen.clone()
    }

    /// Requests and answers that do not fit the description.
    pub fn complaints(&self) -> Vec<String> {
        self.hall().complaints.clone()
    }

    /// Somebody merges it, whatever the protection says. What it made on the branch.
    pub fn merge_by(&self, number: u64, login: &str) -> String {
        let mut hall = self.hall();
        let nth = hall.nth(number).expect("there is such a pull request");
        hall.merge(nth, login).expect("it can be merged")
    }

    pub fn close_by(&self, number: u64) {
        let mut hall = self.hall();
        let nth = hall.nth(number).expect("there is such a pull request");
        hall.pulls[nth].open = false;
    }

    pub fn comment_by(&self, number: u64, login: &str, words: &str) {
        let mut hall = self.hall();
        let nth = hall.nth(number).expect("there is such a pull request");
        let comment = (login.to_owned(), words.to_owned());
        hall.pulls[nth].comments.push(comment);
    }

    /// Some other check comes out well; what waits for it may be merged now.
    pub fn pass_check(&self, commit: &str, context: &str) {
        let mut hall = self.hall();
        hall.statuses.push(Status {
            commit: commit.to_owned(),
            state: "success".to_owned(),
            context: context.to_owned(),
            description: String::new(),
            by: "ci".to_owned(),
        });
        hall.merge_what_can_be();
    }

    /// A webhook of a push to this branch: headers and body.
    pub fn push_hook(&self, branch: &str, secret: &str) -> (Vec<(&'static str, String)>, String) {
        let tip = self.hall().tip(branch).unwrap_or_default();
        let body = json!({
            "ref": format!("refs/heads/{branch}"), "before": "0".repeat(40), "after": tip,
            "repository": { "full_name": REPO }, "commits": [], "pusher": { "name": "ada" },
        });
        self.hook("push", &body, secret)
    }

    pub fn pull_hook(
        &self,
        number: u64,
        action: &str,
        secret: &str,
    ) -> (Vec<(&'static str, String)>, String) {
        let hall = self.hall();
        let nth = hall.nth(number).expect("there is such a pull request");
        let pull = hall.show(&hall.pulls[nth]);
        drop(hall);
        let body = json!({
            "action": action, "number": number, "pull_request": pull, "repository": { "full_name": REPO },
        });
        self.hook("pull_request", &body, secret)
    }

    fn hook(
        &self,
        event: &str,
        body: &Value,
        secret: &str,
    ) -> (Vec<(&'static str, String)>, String) {
        let body = body.to_string();
        let hex = signature::sign_body(secret, body.as_bytes());
        let delivery = format!("{:08x}-0000-4000-8000-000000000000", body.len());
        let headers = match self.kind {
            ForgeKind::Github => vec![
                ("x-github-event", event.to_owned()),
                ("x-github-delivery", delivery),
                ("x-hub-signature-256", format!("sha256={hex}")),
            ],
            ForgeKind::Forgejo => vec![
                ("x-forgejo-event", event.to_owned()),
                ("x-forgejo-delivery", delivery),
                ("x-forgejo-signature", hex),
            ],
        };
        (headers, body)
    }
}

fn description(kind: ForgeKind) -> &'static Description {
    match kind {
        ForgeKind::Github => described::github(),
        ForgeKind::Forgejo => described::forgejo(),
    }
}

async fn answer(State(hall): State<Arc<Mutex<Hall>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 22).await.unwrap_or_default();
    let said = tokio::task::spawn_blocking(move || {
        let seen = Seen {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: pairs(parts.uri.query().unwrap_or_default()),
            body: serde_json::from_slice(&body).ok(),
        };
        let mut hall = hall.lock().unwrap_or_else(PoisonError::into_inner);
        hall.answer(&parts.headers, seen)
    });
    let said = said.await.expect("it answers");
    let body = match said.status {
        StatusCode::NO_CONTENT => Body::empty(),
        _ => Body::from(said.body.to_string()),
    };
    let mut answer = (said.status, body).into_response();
    for (name, value) in said.headers {
        let value = HeaderValue::from_str(&value).expect("it is a value");
        answer.headers_mut().insert(name, value);
    }
    answer
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(plain)) => {
                bytes.push(plain);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Hall {
    fn answer(&mut self, headers: &HeaderMap, seen: Seen) -> Said {
        self.seen.push(seen.clone());
        if let Some(no) = self.turned_away(headers) {
            return no;
        }
        if self.kind == ForgeKind::Github && seen.path == "/graphql" {
            return self.graphql(seen.body.as_ref().unwrap_or(&Value::Null));
        }
        let description = description(self.kind);
        let wrong =
            description.of_request(&seen.method, &seen.path, &seen.query, seen.body.as_ref());
        if !wrong.is_empty() {
            let said = wrong.join("; ");
            self.complaints.extend(wrong);
            return Said::error(422, &said);
        }
        let path = seen.path.trim_start_matches("/api/v1").to_owned();
        let path = decoded(&path);
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let said = match (self.kind, &parts[..]) {
            (_, ["user"]) => Said::new(200, self.me()),
            (kind, ["repos", owner, name, rest @ ..]) if format!("{owner}/{name}") == REPO => {
                match kind {
                    ForgeKind::Github => self.github(&seen, rest),
                    ForgeKind::Forgejo => self.forgejo(&seen, rest),
                }
            }
            _ => Said::error(404, "Not Found"),
        };
        let wrong =
            description.of_answer(&seen.method, &seen.path, said.status.as_u16(), &said.body);
        self.complaints.extend(wrong);
        said
    }

    fn turned_away(&mut self, headers: &HeaderMap) -> Option<Said> {
        let shown = headers.get("authorization").and_then(|v| v.to_str().ok());
        let is_known = shown.is_some_and(|shown| {
            shown
                .strip_prefix("Bearer ")
                .or(shown.strip_prefix("token "))
                == Some(TOKEN)
        });
        if self.revoked || !is_known {
            return Some(Said::error(401, "Bad credentials"));
        }
        if self.storm > 0 {
            self.storm -= 1;
            let mut no = Said::error(429, "You have exceeded a secondary rate limit");
            no.headers.push(("retry-after", "1".to_owned()));
            return Some(no);
        }
        if self.limit > 0 {
            self.limit -= 1;
            let mut no = Said::error(403, "API rate limit exceeded");
            no.headers.push(("x-ratelimit-remaining", "0".to_owned()));
            no.headers.push(("x-ratelimit-reset", "0".to_owned()));
            return Some(no);
        }
        if self.failing > 0 {
            self.failing -= 1;
            return Some(Said::error(502, "Bad Gateway"));
        }
        None
    }

    fn person(&self, login: &str) -> Value {
        let mut person = match self.kind {
            ForgeKind::Github => description(self.kind).blank_of("simple-user"),
            ForgeKind::Forgejo => json!({ "id": 1 }),
        };
        person["login"] = login.into();
        person
    }

    /// Who asks is told more of themselves.
    fn me(&self) -> Value {
        match self.kind {
            ForgeKind::Github => {
                let mut me = description(self.kind).blank("GET", "/user", 200);
                me["login"] = ME.into();
                me
            }
            ForgeKind::Forgejo => self.person(ME),
        }
    }

    fn nth(&self, number: u64) -> Option<usize> {
        self.pulls.iter().position(|p| p.number == number)
    }

    fn git(&self, args: &[&str]) -> Option<String> {
        let output = git(&self.bare, args);
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }

    fn tip(&self, branch: &str) -> Option<String> {
        let name = format!("refs/heads/{branch}");
        self.git(&["rev-parse", "--verify", "--quiet", &name])
    }

    /// The commit that it offers: as long as it is open, whatever is on its branch.
    fn head_of(&self, pull: &Pull) -> String {
        match pull.open.then(|| self.tip(&pull.head)).flatten() {
            Some(tip) => tip,
            None => pull.head_commit.clone(),
        }
    }

    fn login_of(&self, commit: &str) -> Option<String> {
        let email = self.git(&["show", "-s", "--format=%ae", commit])?;
        self.authors.get(&email).cloned()
    }

    fn has_commit(&self, commit: &str) -> bool {
        let name = format!("{commit}^{{commit}}");
        self.git(&["cat-file", "-e", &name]).is_some()
    }

    /// Why it cannot be opened, as a message.
    fn open(&mut self, asked: &Value, draft: bool) -> Result<usize, (u16, String)> {
        let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        let (head, base) = (text("head"), text("base"));
        let (Some(tip), Some(onto)) = (self.tip(&head), self.tip(&base)) else {
            return Err((
                422,
                "Validation Failed: head or base is no branch".to_owned(),
            ));
        };
        let same = |p: &&Pull| p.open && p.head == head && p.base == base;
        if self.pulls.iter().any(|p| same(&p)) {
            let why = format!("A pull request already exists for acme:{head}.");
            return Err((409, why));
        }
        if self
            .git(&["merge-base", "--is-ancestor", &tip, &onto])
            .is_some()
        {
            return Err((422, format!("No commits between {base} and {head}")));
        }
        self.pulls.push(Pull {
            number: self.pulls.len() as u64 + 1,
            title: text("title"),
            body: text("body"),
            head,
            base,
            draft,
            open: true,
            merged: None,
            labels: vec![],
            reviewers: vec![],
            comments: vec![],
            merges_itself: None,
            head_commit: tip,
        });
        Ok(self.pulls.len() - 1)
    }

    fn change(&mut self, nth: usize, asked: &Value) {
        let commit = self.head_of(&self.pulls[nth]);
        let pull = &mut self.pulls[nth];
        pull.head_commit = commit;
        if let Some(title) = asked["title"].as_str() {
            pull.title = title.to_owned();
        }
        if let Some(body) = asked["body"].as_str() {
            pull.body = body.to_owned();
        }
        match asked["state"].as_str() {
            Some("closed") => pull.open = false,
            Some("open") => pull.open = true,
            _ => {}
        }
    }

    fn ask_to_review(&mut self, nth: usize, asked: &Value) -> Result<(), String> {
        let logins = asked["reviewers"].as_array().into_iter().flatten();
        for login in logins.filter_map(Value::as_str) {
            if !self.collaborators.contains(login) {
                return Err(format!(
                    "Reviews may only be requested from collaborators, and {login} is none"
                ));
            }
            self.pulls[nth].reviewers.push(login.to_owned());
        }
        Ok(())
    }

    fn tell(&mut self, commit: &str, asked: &Value) -> bool {
        if !self.has_commit(commit) {
            return false;
        }
        let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        self.statuses.push(Status {
            commit: commit.to_owned(),
            state: text("state"),
            context: text("context"),
            description: text("description"),
            by: ME.to_owned(),
        });
        self.merge_what_can_be();
        true
    }

    /// Why it cannot be merged now.
    fn hindrance(&self, pull: &Pull) -> Option<String> {
        let (head, base) = (self.head_of(pull), self.tip(&pull.base)?);
        if pull.draft {
            return Some("Pull Request is still a draft".to_owned());
        }
        let protection = self.protection.clone().unwrap_or_default();
        let passes = |context: &String| {
            let last = self
                .statuses
                .iter()
                .rev()
                .find(|s| s.commit == head && s.context == *context);
            last.is_some_and(|s| s.state == "success")
        };
        if let Some(missing) = protection.required_checks.iter().find(|c| !passes(c)) {
            return Some(format!("Required status check \"{missing}\" is expected."));
        }
        if protection.approvals > 0 {
            return Some("At least 1 approving review is required".to_owned());
        }
        let is_up_to_date = self
            .git(&["merge-base", "--is-ancestor", &base, &head])
            .is_some();
        (protection.strict && !is_up_to_date).then(|| "Head branch is out of date".to_owned())
    }

    /// What waited for something that has come.
    fn merge_what_can_be(&mut self) {
        for nth in 0..self.pulls.len() {
            let pull = &self.pulls[nth];
            let waits = pull.open && pull.merges_itself == Some(self.head_of(pull));
            if waits && self.hindrance(pull).is_none() {
                self.merge(nth, ME);
            }
        }
    }

    /// A merge of its own in the repository.
    fn merge(&mut self, nth: usize, login: &str) -> Option<String> {
        let pull = &self.pulls[nth];
        let (head, base) = (self.head_of(pull), self.tip(&pull.base)?);
        let tree = self.git(&["merge-tree", "--write-tree", &base, &head])?;
        let words = format!("Merge pull request {} from {}", pull.number, pull.head);
        let commit = self.git(&["commit-tree", &tree, "-p", &base, "-p", &head, "-m", &words])?;
        let branch = format!("refs/heads/{}", pull.base);
        self.git(&["update-ref", &branch, &commit, &base])?;
        let pull = &mut self.pulls[nth];
        pull.head_commit = head;
        pull.open = false;
        pull.merged = Some((login.to_owned(), commit.clone()));
        pull.merges_itself = None;
        Some(commit)
    }

    fn remove_branch(&self, branch: &str) -> bool {
        let is_there = self.tip(branch).is_some();
        self.git(&["update-ref", "-d", &format!("refs/heads/{branch}")]);
        is_there
    }

    fn show(&self, pull: &Pull) -> Value {
        match self.kind {
            ForgeKind::Github => self.github_pull(pull, "pull-request"),
            ForgeKind::Forgejo => self.forgejo_pull(pull),
        }
    }
}
