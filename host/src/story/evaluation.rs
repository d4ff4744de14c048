//! What an evaluation came to, as a table for a terminal.
//!
//! Touches: nothing.
//! Change here: when an evaluation should read differently. The figures are made in `rules/learn/evaluation.rs`.

use super::look::Tone;
use super::text::{self, pad, pad_left};
use super::{Look, count, dollars, duration};
use crate::rules::learn::evaluation::{
    CaseSeen, Comparison, Entrant, Evaluation, Outcome, Summary, Verdict,
};
use crate::rules::learn::stats::Counted;

/// A column of names has at least that many places.
const NAME: usize = 8;
/// Of what became of a contestant on a case.
const FATE: usize = 14;
/// Of what is said about one result.
const SAID: usize = 110;

/// One contestant on one case, while it goes on.
pub fn line(outcome: &Outcome) -> String {
    let (_, what) = fate(outcome);
    let because = match outcome.against.is_empty() {
        true => String::new(),
        false => format!(" ({})", outcome.against.join(", ")),
    };
    let line = format!("{}: {}: {what}{because}", outcome.case, outcome.contestant);
    text::line(&line, 160)
}

/// The whole of it.
pub fn screen(evaluation: &Evaluation, look: Look) -> String {
    let mut screen = String::new();
    let mut add = |lines: Vec<String>| {
        if !lines.is_empty() {
            screen += &lines.join("\n");
            screen += "\n\n";
        }
    };
    add(contestants(evaluation, look));
    add(evaluation
        .pairs
        .iter()
        .flat_map(|pair| pair_lines(pair, look))
        .collect());
    add(false_merges(evaluation, look));
    add(cases(evaluation, look));
    add(unanswered(evaluation, look));
    screen.truncate(screen.trim_end().len());
    screen + "\n"
}

fn contestants(evaluation: &Evaluation, look: Look) -> Vec<String> {
    let width = widest(evaluation.contestants.iter().map(|c| c.name.as_str()));
    let head = format!(
        "{}  cases  proposed  correct fixes          merged  wrong, of merged       cost      a correct fix  model, median",
        pad("", width)
    );
    let mut lines = vec![look.paint(Tone::Heading, &head)];
    for each in &evaluation.contestants {
        lines.push(contestant(each, width));
    }
    lines.push(String::new());
    for each in &evaluation.contestants {
        let made_of: Vec<String> = each.entries.iter().map(entrant).collect();
        let line = format!("{}  {}", pad(&each.name, width), made_of.join(", "));
        lines.push(look.paint(Tone::Faint, &line));
    }
    lines
}

fn contestant(each: &Summary, width: usize) -> String {
    let for_one = each.cost_per_correct_fix;
    let median = each.median_model_seconds;
    let cells = [
        pad(&text::line(&each.name, width), width),
        pad_left(&each.cases.to_string(), 5),
        pad_left(&each.proposed.to_string(), 8),
        pad(&share(&each.correct), 21),
        pad_left(&each.merged.to_string(), 6),
        pad(&share(&each.false_merges), 21),
        pad_left(&dollars(each.cost_usd), 8),
        pad_left(&for_one.map_or("-".to_owned(), dollars), 13),
        pad_left(&median.map_or("-".to_owned(), duration), 13),
    ];
    cells.join("  ").trim_end().to_owned()
}

fn entrant(entrant: &Entrant) -> String {
    let digest: String = entrant.digest.chars().take(12).collect();
    let config = match entrant.config.as_object() {
        Some(table) if !table.is_empty() => format!(" {}", entrant.config),
        _ => String::new(),
    };
    format!("{} {digest}{config}", entrant.strategy)
}

fn share(counted: &Counted) -> String {
    match (counted.share, counted.low, counted.high) {
        (Some(_), Some(low), Some(high)) => format!(
            "{} of {} ({:.0} to {:.0} %)",
            counted.count,
            counted.of,
            low * 100.0,
            high * 100.0
        ),
        _ => "none".to_owned(),
    }
}

fn pair_lines(pair: &Comparison, look: Look) -> [String; 2] {
    let (first, second) = (&pair.first, &pair.second);
    let counts = format!(
        "{first} and {second}: both right in {}, only {first} in {}, only {second} in {}, neither in {}",
        pair.both, pair.only_first, pair.only_second, pair.neither
    );
    let (tone, said) = told(pair);
    [counts, format!("    {}", look.paint(tone, &said))]
}

fn told(pair: &Comparison) -> (Tone, String) {
    let (Some(difference), Some(low), Some(high)) = (pair.difference, pair.low, pair.high) else {
        return (Tone::Open, "they were tried on no case together".to_owned());
    };
    // Nothing is added to have no -0.
    let points = |share: f64| format!("{:+.0}", (share * 100.0).round() + 0.0);
    let p = match pair.p_value {
        tiny if tiny < 0.001 => "p < 0.001".to_owned(),
        p => format!("p = {p:.3}"),
    };
    let figures = format!(
        "{} points ({} to {}), {p}",
        points(difference),
        points(low),
        points(high),
    );
    match pair.better() {
        Some(better) => (Tone::Good, format!("{better} is better: {figures}")),
        None => {
            let cases = count(pair.cases, "case");
            let why = format!("no difference can be told from {cases}: {figures}");
            (Tone::Open, why)
        }
    }
}

fn false_merges(evaluation: &Evaluation, look: Look) -> Vec<String> {
    let wrong = evaluation.results.iter().filter(|r| r.false_merge);
    let lines: Vec<String> = wrong
        .map(|r| {
            let against = r.against.join(", ");
            let line = format!(
                "{}: {} would be merged, and is wrong: {against}",
                r.case, r.contestant
            );
            look.paint(Tone::Bad, &text::line(&line, SAID * 2))
        })
        .collect();
    lines
}

fn cases(evaluation: &Evaluation, look: Look) -> Vec<String> {
    let width = widest(evaluation.cases.iter().map(|c| c.name.as_str())).max(4);
    let names: Vec<&str> = evaluation
        .contestants
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    let columns: Vec<usize> = names
        .iter()
        .map(|name| text::width(name).max(FATE))
        .collect();
    let titles: Vec<String> = names
        .iter()
        .zip(&columns)
        .map(|(name, width)| pad(name, *width))
        .collect();
    let head = format!(
        "{}  failing  hidden  {}",
        pad("case", width),
        titles.join("  ")
    );
    let mut lines = vec![look.paint(Tone::Heading, head.trim_end())];
    for case in &evaluation.cases {
        lines.push(match &case.left_out {
            Some(why) => {
                let line = format!("{}  left out: {why}", pad(&case.name, width));
                look.paint(Tone::Open, &text::line(&line, SAID * 2))
            }
            None => case_line(case, evaluation, &columns, width, look),
        });
    }
    lines
}

fn case_line(
    case: &CaseSeen,
    evaluation: &Evaluation,
    columns: &[usize],
    width: usize,
    look: Look,
) -> String {
    let of = |name: &str| {
        let mut own = evaluation.results.iter();
        own.find(|r| r.case == case.name && r.contestant == name)
    };
    let cells = evaluation
        .contestants
        .iter()
        .zip(columns)
        .map(|(each, width)| {
            let (tone, what) = of(&each.name).map_or((Tone::Faint, "-"), fate);
            look.paint(tone, &pad(what, *width))
        });
    let hidden = match case.hidden {
        0 => "none".to_owned(),
        some => some.to_string(),
    };
    let line = format!(
        "{}  {}  {}  {}",
        pad(&case.name, width),
        pad_left(&case.failing.to_string(), 7),
        pad_left(&hidden, 6),
        cells.collect::<Vec<_>>().join("  ")
    );
    line.trim_end().to_owned()
}

fn fate(outcome: &Outcome) -> (Tone, &'static str) {
    if outcome.unanswered.is_some() {
        return (Tone::Open, "unanswered");
    }
    match (outcome.verdict, outcome.correct, outcome.proposed) {
        (Verdict::Merge, true, _) => (Tone::Good, "right, merged"),
        (Verdict::Merge, false, _) => (Tone::Bad, "WRONG, merged"),
        (Verdict::PullRequest, true, _) => (Tone::Good, "right, offered"),
        (Verdict::PullRequest, false, _) => (Tone::Bad, "wrong, offered"),
        (Verdict::Human, true, _) => (Tone::Good, "right, asked"),
        (Verdict::Human, false, _) => (Tone::Bad, "wrong, asked"),
        (Verdict::NoFix, _, true) => (Tone::Faint, "failed"),
        (Verdict::NoFix, _, false) => (Tone::Faint, "no fix"),
    }
}

fn unanswered(evaluation: &Evaluation, look: Look) -> Vec<String> {
    let mut lines: Vec<String> = evaluation
        .results
        .iter()
        .filter_map(|r| {
            let why = r.unanswered.as_ref()?;
            let line = format!("{}: {} counts nowhere: {why}", r.case, r.contestant);
            Some(look.paint(Tone::Open, &text::line(&line, SAID * 2)))
        })
        .collect();
    lines.dedup();
    lines
}

fn widest<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(text::width).max().unwrap_or(0).max(NAME)
}
