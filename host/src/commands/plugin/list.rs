//! `changebus plugin list`: what is active and how it behaves, and what is not and why.
//!
//! Touches: files, wasm, sqlite, terminal.
//! Change here: when more should be told of every plugin at once.

use std::sync::Arc;

use serde::Serialize;

use super::inspect::{name_of, plain, shown};
use crate::commands::{CALLS, ExitCode, database, log, plugin_setup};
use crate::conduct::Kept;
use crate::config::Config;
use crate::event::{Event, Health};
use crate::outside::store;
use crate::outside::wasm::{self, ActivePlugin, Plugins, View, listed};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    json: bool,
}

/// Fields may be added, never renamed.
#[derive(Debug, Serialize)]
struct Listed {
    /// Process id of the daemon that says so; none where this command looked itself.
    daemon: Option<i32>,
    #[serde(flatten)]
    view: View,
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let listed = match of_daemon(config)? {
        Some(listed) => listed,
        None => Listed {
            daemon: None,
            view: view(config).await?,
        },
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&listed)?);
    } else {
        print!("{}", told(&listed));
    }
    let fine = listed.view.problems.is_empty() && listed.view.active.iter().all(may_be_called);
    Ok(if fine {
        ExitCode::Ok
    } else {
        ExitCode::Findings
    })
}

/// What the process that works on this state directory says, if there is one.
fn of_daemon(config: &Config) -> anyhow::Result<Option<Listed>> {
    let Some(daemon) = store::holder(&database(config)) else {
        return Ok(None);
    };
    let path = config.host.state.join("plugins/active.json");
    let view = super::case::json(&path)?;
    Ok(view.map(|view| Listed {
        daemon: Some(daemon),
        view,
    }))
}

/// Loads everything here and now; the log tells how the plugins behaved.
pub async fn view(config: &Config) -> anyhow::Result<View> {
    let mut setup = plugin_setup(config);
    if database(config).exists() {
        match calls(config).await {
            Ok(calls) => {
                let clears = wasm::clears(&config.host.state);
                let kept = Kept::fold(&config.plugins.quarantine, clears, &calls);
                setup.conduct = Arc::new(kept);
            }
            // What is loaded can be told all the same.
            Err(error) => tracing::warn!("how the plugins behaved is not known: {error:#}"),
        }
    }
    let plugins = tokio::task::spawn_blocking(move || Plugins::open(setup)).await??;
    Ok(plugins.view())
}

async fn calls(config: &Config) -> anyhow::Result<Vec<Event>> {
    Ok(log(config)?.plugin_calls(CALLS).await?)
}

fn may_be_called(plugin: &ActivePlugin) -> bool {
    matches!(plugin.health, Health::Well { .. })
}

fn told(listed: &Listed) -> String {
    let mut text = match listed.daemon {
        Some(pid) => format!("as process {pid} has them:\n"),
        None => {
            "as this configuration gives them; nothing runs on this state directory:\n".to_owned()
        }
    };
    let wide = listed
        .view
        .active
        .iter()
        .map(|p| p.info.name.chars().count())
        .max()
        .unwrap_or(0);
    for plugin in &listed.view.active {
        text.push_str(&line(plugin, wide));
    }
    if listed.view.active.is_empty() {
        text.push_str("no plugin is active; `changebus plugin install` brings one\n");
    }
    for problem in &listed.view.problems {
        text.push_str(&format!(
            "NOT LOADED  {} {} [{}]\n",
            shown(&problem.path),
            plain(&problem.why),
            name_of(&problem.step)
        ));
    }
    text
}

fn line(plugin: &ActivePlugin, wide: usize) -> String {
    let info = &plugin.info;
    let version = info.manifest.as_ref().map_or("-", |m| m.version.as_str());
    let granted = listed(&info.granted);
    let withheld = match info.withheld.is_empty() {
        true => String::new(),
        false => format!(", not allowed {}", listed(&info.withheld)),
    };
    let kind = info.kind.to_string();
    format!(
        "{kind:10}  {:wide$}  {version:8}  {:.12}  {}; may use {granted}{withheld}\n",
        plain(&info.name),
        info.digest,
        health(&plugin.health),
    )
}

fn health(health: &Health) -> String {
    match health {
        Health::Well { strikes: 0 } => "well".to_owned(),
        Health::Well { strikes } => format!("well, {strikes} faults in a row"),
        Health::Benched { until, why, .. } => format!("BENCHED until {until} ({})", plain(why)),
        Health::Quarantined { since, why } => {
            format!("IN QUARANTINE since {since} ({})", plain(why))
        }
    }
}
