//! `changebus apps`: which external applications may say something, and what they said so far.
//!
//! Touches: terminal, sqlite, clock.
//! Change here: when an operator should see more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;

use jiff::Timestamp;
use serde_json::json;

use super::{ExitCode, log, progress};
use crate::config::{App, Config, Route};
use crate::event::Heard;
use crate::outside::store::Dead;
use crate::rules::apps;
use crate::story::{self, AppStatus};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    json: bool,
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let store = log(config)?;
    let (heard, dead) = (store.heard().await?, store.dead().await?);
    let mut names: BTreeSet<&str> = config.apps.keys().map(String::as_str).collect();
    names.extend(heard.iter().map(|h| h.app.as_str()));
    let look = progress::look(std::io::stdout().is_terminal());
    let mut objects = vec![];
    for name in names {
        let app = config.apps.get(name);
        let said: Vec<&Heard> = heard.iter().filter(|h| h.app == name).collect();
        let refused = dead.iter().filter(|d| is_of(d, name)).count();
        if args.json {
            objects.push(object(name, app, &said, refused));
            continue;
        }
        let status = AppStatus {
            name,
            is_known: app.is_some(),
            over_http: config.http.listen.is_some() && app.is_some_and(|a| a.token.is_some()),
            routes: app.map_or(0, |app| app.routes.len()),
            said: &said,
            refused,
        };
        for line in story::app_lines(&status, Timestamp::now(), look) {
            println!("{line}");
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&objects)?);
    }
    Ok(ExitCode::Ok)
}

/// Whether it is a message of this application that was not taken.
fn is_of(dead: &Dead, app: &str) -> bool {
    dead.coming && apps::of_subject(&dead.subject).is_some_and(|(of, _)| of == app)
}

fn object(name: &str, app: Option<&App>, said: &[&Heard], refused: usize) -> serde_json::Value {
    let routes: &[Route] = app.map_or(&[], |app| &app.routes);
    let said: BTreeMap<&str, _> = said
        .iter()
        .map(|h| {
            let told = json!({ "count": h.count, "last": h.last });
            (h.event.as_str(), told)
        })
        .collect();
    json!({ "app": name, "configured": app.is_some(), "routes": routes, "said": said, "refused": refused })
}
