//! `changebus store`: looks the event log over, copies it while it is written, hands it on event by event.
//!
//! Touches: terminal, files, sqlite.
//! Change here: when a verb comes or goes, or a flaw has another remedy. What is looked at is in `outside/store/examine.rs`.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::{ExitCode, database, log, show};
use crate::config::Config;
use crate::event::Event;
use crate::fleet;
use crate::outside::store::{EventFilter, Examined, Flaw, Store};
use crate::rules::envelope;

/// Events in memory at a time.
const PAGE: usize = 200;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Look everything over: pages, the chain of events, what is derived from them, journals and reports.
    Verify {
        #[arg(long)]
        json: bool,
    },
    /// A copy, made while the daemon runs, that is looked over before it is called good.
    Backup { file: PathBuf },
    /// Make anew what is derived from the events. The daemon must not run.
    Rebuild,
    /// All events as JSON lines.
    Export(Export),
}

#[derive(Debug, clap::Args)]
struct Export {
    /// Only events after this position.
    #[arg(long, default_value_t = 0)]
    since: i64,
    #[arg(long)]
    project: Option<String>,
    /// A run's id, the beginning or the end of one, or `last`.
    #[arg(long)]
    run: Option<String>,
    /// As other programs read them from the bus.
    #[arg(long)]
    cloudevents: bool,
    /// Into a file that does not exist yet, instead of standard output.
    #[arg(long)]
    to: Option<PathBuf>,
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Verify { json } => verify(config, *json).await,
        Verb::Backup { file } => backup(config, file).await,
        Verb::Rebuild => rebuild(config).await,
        Verb::Export(export) => hand_on(config, export).await,
    }
}

async fn verify(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let found = log(config)?.examine().await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&object(&found))?);
    } else {
        print(&database(config), &found);
    }
    Ok(code(&found))
}

fn code(found: &Examined) -> ExitCode {
    match found.flaws.is_empty() {
        true => ExitCode::Ok,
        false => ExitCode::Findings,
    }
}

fn object(found: &Examined) -> serde_json::Value {
    let flaws = found
        .flaws
        .iter()
        .map(|flaw| json!({"flaw": flaw, "detail": flaw.to_string(), "hint": remedy(flaw)}));
    json!({
        "ok": found.flaws.is_empty(), "events": found.events, "head": found.head, "bytes": found.bytes,
        "bodies": found.bodies, "removed": found.removed, "elsewhere": found.elsewhere, "flaws": flaws.collect::<Vec<_>>(),
    })
}

fn print(path: &Path, found: &Examined) {
    println!("{}", path.display());
    println!("events  {}", found.events);
    println!("head    {}", found.head.as_deref().unwrap_or("unknown"));
    println!("size    {:.1} MiB", found.bytes as f64 / (1 << 20) as f64);
    println!("bodies  {} journals and reports", found.bodies);
    if found.removed > 0 {
        println!(
            "        {} more that were removed when their time was over (store.keep_bodies_days)",
            found.removed
        );
    }
    if found.elsewhere > 0 {
        println!(
            "        {} more that other hosts stated, and keep",
            found.elsewhere
        );
    }
    let mut said = "";
    for flaw in &found.flaws {
        println!("BAD     {flaw}");
        if let Some(remedy) = remedy(flaw).filter(|remedy| *remedy != said) {
            println!("        {remedy}");
            said = remedy;
        }
    }
    if found.flaws.is_empty() {
        println!("ok      everything is as it was written");
    }
}

/// What to do about it.
fn remedy(flaw: &Flaw) -> Option<&'static str> {
    match flaw {
        Flaw::Damaged { .. } | Flaw::Altered { .. } => {
            Some("restore the newest backup that verifies; see docs/operations.md")
        }
        Flaw::Unreadable { .. } => Some(
            "install the changebus that wrote it; if it is that one, restore the newest backup that verifies",
        ),
        Flaw::Derived { .. } => {
            Some("stop the daemon and run `changebus store rebuild`: the events know better")
        }
        Flaw::Changed { .. } | Flaw::Lost { .. } => {
            Some("restore the newest backup if replays matter; runs go on without it")
        }
        Flaw::More { .. } => None,
    }
}

async fn backup(config: &Config, to: &Path) -> anyhow::Result<ExitCode> {
    let shown = to.display();
    if to.exists() {
        bail!("{shown} is there already: name a file that is not, nothing is written over");
    }
    log(config)?.backup(to).await?;
    let found = Store::open_read_only(to)?.examine().await?;
    print(to, &found);
    if found.flaws.is_empty() {
        eprintln!(
            "{shown} is good. To restore it: stop the daemon, move {}, its -wal and its -shm aside, and put the copy in \
             the place of the first",
            database(config).display()
        );
    } else {
        eprintln!("{shown} is not good: what is wrong with it is wrong with the log itself");
    }
    Ok(code(&found))
}

async fn rebuild(config: &Config) -> anyhow::Result<ExitCode> {
    // Refused here, since opening it for writing would make one.
    log(config)?;
    Store::open(&database(config))?.rebuild().await?;
    eprintln!("everything that is derived from the events was made anew");
    Ok(ExitCode::Ok)
}

async fn hand_on(config: &Config, export: &Export) -> anyhow::Result<ExitCode> {
    let store = log(config)?;
    let run = match &export.run {
        Some(wanted) => Some(show::find(&store, wanted).await?),
        None => None,
    };
    let filter = EventFilter {
        project: export.project.clone(),
        run,
        subject_prefix: None,
        before: None,
    };
    let host = match export.cloudevents {
        true => Some(fleet::name(config)?),
        false => None,
    };
    let written = match &export.to {
        Some(path) => {
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .with_context(|| format!("making {}", path.display()))?;
            let mut out = BufWriter::new(file);
            let written = write(&store, export.since, &filter, host.as_deref(), &mut out).await;
            let synced = written.and_then(|written| Ok((written, out.get_ref().sync_all()?)));
            synced
                .with_context(|| format!("{} is incomplete; remove it", path.display()))?
                .0
        }
        None => {
            let mut out = BufWriter::new(std::io::stdout());
            write(&store, export.since, &filter, host.as_deref(), &mut out).await?
        }
    };
    eprintln!("{written} events");
    Ok(ExitCode::Ok)
}

/// Up to the event that is the newest now: a log that grows all the time comes to an end too.
async fn write(
    store: &Store,
    since: i64,
    filter: &EventFilter,
    host: Option<&str>,
    out: &mut impl Write,
) -> anyhow::Result<u64> {
    let newest = store.newest().await?;
    let (mut seen, mut written) = (since, 0);
    loop {
        let page = store.events_after(seen, PAGE, filter).await?;
        let Some(last) = page.last() else { break };
        seen = last.seq;
        for event in page.iter().filter(|event| event.seq <= newest) {
            out.write_all(&line(event, host)?)?;
            out.write_all(b"\n")?;
            written += 1;
        }
        if seen >= newest {
            break;
        }
    }
    out.flush()?;
    Ok(written)
}

fn line(event: &Event, host: Option<&str>) -> serde_json::Result<Vec<u8>> {
    match host {
        Some(host) => envelope::wrap(event, host).json(),
        None => serde_json::to_vec(event),
    }
}
