//! Draws how a project's runs went, day by day.
//!
//! Touches: nothing.
//! Change here: when another drawing says more than figures. Only figures of ours go into it, so that it is safe markup.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use crate::event::RunStatus;
use crate::outside::store::RunSummary;

/// Days that are drawn.
const DAYS: i32 = 30;
const HEIGHT: u32 = 120;
const BAR: u32 = 16;
const STEP: u32 = 20;
/// How a run can have gone, as the style sheet and people call it; from the bottom of a bar to its top.
const KINDS: [(&str, &str); 4] = [
    ("good", "green"),
    ("fixed", "fixed"),
    ("wait", "for people"),
    ("bad", "not fixed"),
];

#[derive(Default)]
pub struct Chart {
    /// An SVG element.
    pub svg: String,
    /// The days on which something ran, newest first: the same in figures.
    pub days: Vec<Day>,
}

pub struct Day {
    pub date: String,
    pub counts: [u32; KINDS.len()],
}

impl Chart {
    pub fn kinds(&self) -> [(&'static str, &'static str); KINDS.len()] {
        KINDS
    }
}

/// None where nothing ran.
pub fn runs_a_day(runs: &[RunSummary], now: Timestamp) -> Option<Chart> {
    let today = day(now);
    let mut days: BTreeMap<i32, [u32; KINDS.len()]> = BTreeMap::new();
    for run in runs {
        let Some(kind) = run.closed.and_then(kind) else {
            continue;
        };
        let ago = today
            .since(day(run.opened_at))
            .map_or(DAYS, |s| s.get_days());
        if (0..DAYS).contains(&ago) {
            days.entry(ago).or_default()[kind] += 1;
        }
    }
    let most = days.values().map(|c| c.iter().sum::<u32>()).max()?;
    let told = days.iter().map(|(ago, counts)| Day {
        date: today.saturating_sub((*ago).days()).to_string(),
        counts: *counts,
    });
    Some(Chart {
        svg: draw(&days, most),
        days: told.collect(),
    })
}

fn day(at: Timestamp) -> Date {
    at.to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn kind(status: RunStatus) -> Option<usize> {
    match status {
        RunStatus::Green | RunStatus::Flaky => Some(0),
        RunStatus::Fixed | RunStatus::Updated => Some(1),
        RunStatus::Human => Some(2),
        RunStatus::NoFix | RunStatus::Error | RunStatus::RedBefore | RunStatus::Known => Some(3),
        RunStatus::InVain | RunStatus::Split => None,
    }
}

fn draw(days: &BTreeMap<i32, [u32; KINDS.len()]>, most: u32) -> String {
    let width = DAYS as u32 * STEP;
    let all: u32 = days.values().flatten().sum();
    let mut totals = [0; KINDS.len()];
    for counts in days.values() {
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count;
        }
    }
    let each: Vec<String> = KINDS
        .iter()
        .zip(totals)
        .map(|((_, name), total)| format!("{total} {name}"))
        .collect();
    let mut svg = format!(
        "<svg class=\"chart\" role=\"img\" viewBox=\"0 0 {width} {HEIGHT}\" aria-label=\"{all} runs in {DAYS} days: {}\">",
        each.join(", ")
    );
    for (ago, counts) in days {
        let x = (DAYS - 1 - ago) as u32 * STEP;
        let mut top = HEIGHT;
        for ((class, _), count) in KINDS.iter().zip(counts).filter(|(_, count)| **count > 0) {
            let height = (count * (HEIGHT - 4) / most).max(2);
            top = top.saturating_sub(height);
            // Writing to a String cannot fail.
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"{BAR}\" height=\"{height}\"/>"
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Change, Oid, RunId};

    #[test]
    fn each_day_is_a_bar_and_a_line_of_a_table() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let run = |days: i64, closed| RunSummary {
            run: RunId("p-1".to_owned()),
            project: "p".to_owned(),
            opened_at: now - jiff::SignedDuration::from_hours(24 * days),
            closed,
            change: Change {
                branch: String::new(),
                base: Oid(String::new()),
                head: Oid(String::new()),
                tree: Oid(String::new()),
                forced: false,
                commits: vec![],
                paths: vec![],
                asked: None,
                update: None,
            },
        };
        let runs = [
            run(0, Some(RunStatus::Green)),
            run(0, Some(RunStatus::Fixed)),
            run(0, None),
            run(3, Some(RunStatus::Human)),
            run(40, Some(RunStatus::Error)),
        ];
        let chart = runs_a_day(&runs, now).unwrap();
        assert!(
            chart
                .svg
                .contains("3 runs in 30 days: 1 green, 1 fixed, 1 for people, 0 not fixed")
        );
        assert_eq!(chart.svg.matches("<rect").count(), 3);
        let days: Vec<_> = chart
            .days
            .iter()
            .map(|d| (d.date.as_str(), d.counts))
            .collect();
        assert_eq!(
            days,
            [("2026-11-26", [1, 1, 0, 0]), ("2026-11-23", [0, 0, 1, 0])]
        );
        assert!(runs_a_day(&[], now).is_none());
    }
}
