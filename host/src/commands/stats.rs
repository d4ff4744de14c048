//! `changebus stats`: what runs came to, who wins, what lasts, what it costs.
//!
//! Touches: sqlite (through the store), clock, terminal.
//! Change here: when somebody wants to see another figure. What they are is `rules/learn/stats.rs`.

use jiff::{SignedDuration, Timestamp};

use super::{ExitCode, log};
use crate::config::Config;
use crate::rules::learn::stats::{self, Counted, Standing, Stats};
use crate::story;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this project.
    #[arg(long)]
    project: Option<String>,
    /// Only runs of the last so many days.
    #[arg(long, default_value_t = 365.0)]
    days: f64,
    #[arg(long)]
    json: bool,
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(project) = &args.project
        && !config.projects.contains_key(project)
    {
        anyhow::bail!("{project}: there is no such project in the configuration");
    }
    if !args.days.is_finite() || args.days <= 0.0 {
        anyhow::bail!("--days {}: name a number above 0", args.days);
    }
    let now = Timestamp::now();
    let since = now - SignedDuration::from_secs_f64(args.days.min(36_500.0) * 86_400.0);
    let (results, attempts) = log(config)?.results(args.project.as_deref(), since).await?;
    let stats = stats::of(&results, &attempts, now);
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&stats)?),
        false => print(&stats),
    }
    Ok(ExitCode::Ok)
}

fn print(stats: &Stats) {
    println!("{}", stats::sentence(stats));
    if stats.failures == 0 && stats.flaky.of == 0 {
        return;
    }
    println!();
    for (what, counted) in [
        ("merged without asking", &stats.auto_resolved),
        ("given to people", &stats.escalated),
        ("only flaked, of the red", &stats.flaky),
        ("survived, of auto-merges", &stats.survived),
        ("reverted, of auto-merges", &stats.reverted),
    ] {
        println!("{what:<26} {}", counted_words(counted));
    }
    let each = stats.cost_per_surviving_fix;
    let each = each.map_or("none has survived yet".to_owned(), story::dollars);
    println!("{:<26} {}", "spent", story::dollars(stats.cost_usd));
    println!("{:<26} {each}", "for a fix that lasts");
    if let Some(seconds) = stats.median_seconds {
        println!(
            "{:<26} {}",
            "half were delivered in",
            story::duration(seconds)
        );
    }
    for (title, standings) in [
        ("variant", &stats.variants),
        ("strategy", &stats.strategies),
        ("edition", &stats.editions),
        ("model", &stats.models),
        ("failure", &stats.classes),
        ("language", &stats.languages),
        ("project", &stats.projects),
    ] {
        if !standings.is_empty() {
            println!(
                "\n{title:<32} handed in   clean    won                 lasting             for one that lasts"
            );
            standings.iter().for_each(print_standing);
        }
    }
    let promises = &stats.confidence;
    if let (Some(brier), Some(off)) = (promises.brier, promises.calibration_error) {
        println!(
            "\nConfidence, of {} fixes that have aged: Brier score {brier:.3}, off by {off:.3} on average.",
            promises.aged
        );
    }
}

fn print_standing(standing: &Standing) {
    let lasting = match standing.too_few {
        true => format!("{} of {}: too few", standing.survived, standing.aged),
        false => format!(
            "{:.0} % ({:.0} to {:.0}) of {}",
            standing.lasting * 100.0,
            standing.lasting_low * 100.0,
            standing.lasting_high * 100.0,
            standing.aged
        ),
    };
    let each = standing.cost_per_surviving_fix;
    let each = each.map_or("-".to_owned(), story::dollars);
    println!(
        "{:<32} {:>4} of {:<4} {:>4}  {:<20} {lasting:<20} {each}",
        story::text::line(&standing.name, 32),
        standing.proposed.count,
        standing.proposed.of,
        standing.clean.count,
        counted_words(&standing.won),
    );
}

fn counted_words(counted: &Counted) -> String {
    match (counted.share, counted.low, counted.high) {
        (Some(share), Some(low), Some(high)) => format!(
            "{:.0} % ({:.0} to {:.0}) of {}",
            share * 100.0,
            low * 100.0,
            high * 100.0,
            counted.of
        ),
        _ => "none so far".to_owned(),
    }
}
