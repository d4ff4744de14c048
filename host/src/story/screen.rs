//! A run on one screen: `changebus show RUN`.
//!
//! Touches: nothing.
//! Change here: when the screen shall show something else. It stays within 40 lines.

use super::look::{Look, Tone};
use super::tale::{Attempt, Tale, figure_words};
use super::{diff_words, dollars, duration, state_name, status_name, text};
use crate::event::{Action, Event, Finding, RunStatus, VariantState};

/// How many of each are shown, so that all of it fits.
const TESTS: usize = 4;
const VARIANTS: usize = 5;
const VERDICT_LINES: usize = 3;

/// At most 40 lines of at most `look.width` columns; None where the events tell of no run.
pub fn screen(events: &[Event], look: Look) -> Option<String> {
    let tale = Tale::of(events)?;
    let mut page = Page {
        look,
        lines: Vec::new(),
    };
    header(&mut page, &tale);
    failure(&mut page, &tale);
    variants(&mut page, &tale);
    verdict(&mut page, &tale);
    pointers(&mut page, &tale);
    Some(page.lines.join("\n") + "\n")
}

struct Page {
    look: Look,
    lines: Vec<String>,
}

impl Page {
    fn put(&mut self, tone: Tone, text: &str) {
        let cut = text::cut(text.trim_end(), self.look.width);
        let painted = if cut.is_empty() {
            cut
        } else {
            self.look.paint(tone, &cut)
        };
        self.lines.push(painted);
    }

    /// A label and what it labels, wrapped beside it.
    fn labelled(&mut self, label: &str, tone: Tone, told: &str, most: usize) {
        const LABEL: usize = 11;
        let columns = self.look.width.saturating_sub(LABEL).max(20);
        let lines = text::wrap(told, columns, most);
        for (index, line) in lines.iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            let label = self.look.paint(Tone::Heading, &text::pad(label, LABEL));
            let line = self.look.paint(tone, line);
            self.lines
                .push(format!("{label}{line}").trim_end().to_owned());
        }
    }
}

fn header(page: &mut Page, tale: &Tale<'_>) {
    let (tone, status) = match tale.status {
        Some(status) => (status_tone(status), status_name(status).to_owned()),
        None => (Tone::Open, format!("open: {}", tale.stage())),
    };
    page.put(Tone::Heading, &text::line(&tale.run.0, page.look.width));
    page.labelled("status", tone, &status, 1);
    let change = tale.change;
    let forced = if change.forced {
        ", history rewritten"
    } else {
        ""
    };
    if let Some(update) = &change.update {
        let words = super::update_words(update);
        let (base, branch) = (change.base.short(), &change.branch);
        let moved = format!("{words}, on {base} on {branch} of {}", tale.project);
        return page.labelled("update", Tone::Plain, &moved, 2);
    }
    let moved = format!(
        "{} on {} of {}, from {} ({}{forced})",
        change.head.short(),
        change.branch,
        tale.project,
        change.base.short(),
        super::count(change.commits.len(), "commit")
    );
    page.labelled("change", Tone::Plain, &moved, 1);
    if let Some(newest) = change.commits.first() {
        let subject = newest.message.lines().next().unwrap_or_default();
        let others = other_authors(tale);
        page.labelled(
            "by",
            Tone::Plain,
            &format!("{}{others}: {subject}", newest.author),
            1,
        );
    }
}

fn other_authors(tale: &Tale<'_>) -> String {
    let mut authors: Vec<&str> = tale
        .change
        .commits
        .iter()
        .map(|c| c.author.as_str())
        .collect();
    authors.sort_unstable();
    authors.dedup();
    match authors.len() {
        0 | 1 => String::new(),
        more => format!(" and {}", super::count(more - 1, "other")),
    }
}

pub(super) fn status_tone(status: RunStatus) -> Tone {
    match status {
        RunStatus::Green | RunStatus::Fixed | RunStatus::Updated => Tone::Good,
        RunStatus::Flaky
        | RunStatus::RedBefore
        | RunStatus::Known
        | RunStatus::InVain
        | RunStatus::Split
        | RunStatus::Human => Tone::Open,
        RunStatus::NoFix | RunStatus::Error => Tone::Bad,
    }
}

fn failure(page: &mut Page, tale: &Tale<'_>) {
    page.put(Tone::Plain, "");
    let failing = tale.failing();
    match tale.head {
        Some(head) if failing.is_empty() => {
            let passed = super::count(head.what.passed().len(), "test");
            let told = match &head.what.problem {
                Some(problem) => format!("{} ({})", problem, head.what.exit),
                None => format!("nothing; {passed} passed at the head"),
            };
            page.labelled("broke", Tone::Plain, &told, 2);
        }
        Some(_) => broken_tests(page, tale, &failing),
        None => page.labelled("broke", Tone::Plain, "not tested yet", 1),
    }
    if let Some(triage) = tale.triage {
        let tone = match triage.what.finding {
            Finding::Green => Tone::Good,
            Finding::Real => Tone::Bad,
            Finding::Flaky
            | Finding::RedBefore
            | Finding::Known
            | Finding::CannotTell
            | Finding::Infrastructure => Tone::Open,
        };
        let told = format!("{}: {}", triage.what.finding.name(), triage.what.because);
        page.labelled("triage", tone, &told, 2);
    }
    if let Some(culprit) = tale.culprit() {
        page.labelled("commit", Tone::Bad, &culprit, 1);
    }
    if let Some(flips) = flips(tale) {
        page.labelled("before", Tone::Open, &flips, 1);
    }
    for (stage, why) in tale.troubles.iter().rev().take(1) {
        page.labelled("trouble", Tone::Bad, &format!("{stage}: {why}"), 1);
    }
}

/// Tests of this run that are known to flip, whatever they did this time.
fn flips(tale: &Tale<'_>) -> Option<String> {
    let flipped = tale.flips.keys();
    let told: Vec<String> = flipped
        .filter_map(|id| Some(format!("{id} {}", tale.flipped(id)?)))
        .take(TESTS)
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn broken_tests(page: &mut Page, tale: &Tale<'_>, failing: &[&str]) {
    page.labelled("broke", Tone::Bad, &super::count(failing.len(), "test"), 1);
    let more_to_tell = [tale.culprit().is_some(), flips(tale).is_some()];
    let shown = TESTS - more_to_tell.into_iter().filter(|told| *told).count();
    for id in failing.iter().take(shown) {
        let said = tale.message(id).unwrap_or_default();
        let id = text::line(id, page.look.width / 2);
        let rest = page.look.width.saturating_sub(text::width(&id) + 4);
        page.put(Tone::Plain, &format!("  {id}  {}", text::line(said, rest)));
    }
    if failing.len() > shown {
        page.put(
            Tone::Faint,
            &format!("  and {} more", failing.len() - shown),
        );
    }
}

/// Cells of one row; the last column needs no width.
type Cells = [String; 8];

fn variants(page: &mut Page, tale: &Tale<'_>) {
    if tale.attempts.is_empty() {
        return;
    }
    page.put(Tone::Plain, "");
    let ranked = tale.ranked();
    let shown = &ranked[..ranked.len().min(VARIANTS)];
    let heading = [
        "variant",
        "state",
        "score",
        &mark_names(shown),
        "tests",
        "diff",
        "cost",
        "time",
    ]
    .map(str::to_owned);
    let rows: Vec<Cells> = shown.iter().map(|attempt| cells(attempt)).collect();
    let widths = widths(std::iter::once(&heading).chain(&rows));
    page.put(Tone::Heading, &row(&heading, &widths));
    for (attempt, cells) in shown.iter().zip(&rows) {
        page.put(state_tone(attempt.state()), &row(cells, &widths));
        let why = [denied(attempt), attempt.why()].concat();
        let why = text::line(&why, page.look.width.saturating_sub(4));
        page.put(Tone::Faint, &format!("    {why}"));
    }
    if ranked.len() > VARIANTS {
        let more = super::count(ranked.len() - VARIANTS, "more variant");
        page.put(Tone::Faint, &format!("and {more}: see --json"));
    }
}

/// What it was not given, first: it may explain the rest.
fn denied(attempt: &Attempt<'_>) -> String {
    let denials = attempt.denials.iter();
    let told: Vec<String> = denials
        .map(|d| format!("{} {}x", d.code, d.times))
        .collect();
    match told.is_empty() {
        true => String::new(),
        false => format!("denied {}; ", told.join(", ")),
    }
}

fn state_tone(state: Option<VariantState>) -> Tone {
    match state {
        Some(VariantState::Won) => Tone::Good,
        Some(VariantState::Failed) => Tone::Bad,
        None => Tone::Open,
        Some(_) => Tone::Plain,
    }
}

/// The first three marks of whoever has some.
fn mark_names(shown: &[&Attempt<'_>]) -> String {
    let marked = shown.iter().find(|attempt| attempt.score.is_some());
    let names = marked.map(|attempt| attempt.marks().take(3).map(|(name, _)| name));
    let names: Vec<&str> = names.into_iter().flatten().collect();
    match names.is_empty() {
        true => "marks".to_owned(),
        false => text::line(&names.join("/"), 18),
    }
}

fn cells(attempt: &Attempt<'_>) -> Cells {
    let name = text::line(&format!("{} {}", attempt.name, attempt.strategy), 22);
    let state = attempt.state().map_or("open", state_name);
    let score = attempt.total().map(figure_words);
    let marks: Vec<String> = attempt
        .marks()
        .take(3)
        .map(|(_, m)| figure_words(m))
        .collect();
    let tests = attempt.tests();
    let diff = attempt
        .candidate
        .map(|c| diff_words(c).replace(" files", "f"));
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        name,
        state.to_owned(),
        or_none(score),
        or_none((!marks.is_empty()).then(|| text::line(&marks.join("/"), 18))),
        or_none(tests),
        or_none(diff.map(|d| d.replace(" file", "f"))),
        dollars(attempt.usage.cost_usd),
        duration(attempt.seconds()),
    ]
}

fn widths<'a>(rows: impl Iterator<Item = &'a Cells>) -> [usize; 8] {
    let mut widths = [0; 8];
    for cells in rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = text::width(cell).max(*width);
        }
    }
    widths
}

fn row(cells: &Cells, widths: &[usize; 8]) -> String {
    let padded = cells.iter().zip(widths).enumerate();
    let padded: Vec<String> = padded
        .map(|(column, (cell, width))| match column {
            0 | 1 => text::pad(cell, *width),
            _ => text::pad_left(cell, *width),
        })
        .collect();
    padded.join("  ")
}

fn verdict(page: &mut Page, tale: &Tale<'_>) {
    page.put(Tone::Plain, "");
    let tone = match (&tale.verdict, tale.action()) {
        (None, _) => Tone::Plain,
        (_, Action::Merge | Action::PullRequest) => Tone::Good,
        (_, Action::Human | Action::Nothing) => Tone::Open,
    };
    page.labelled("verdict", tone, &tale.sentence(), VERDICT_LINES);
    if let Some(delivered) = tale.delivered() {
        page.labelled("delivery", Tone::Plain, &delivered, 2);
    }
    page.labelled("cost", Tone::Plain, &tale.cost(), 1);
    page.labelled("time", Tone::Plain, &tale.times(), 1);
}

fn pointers(page: &mut Page, tale: &Tale<'_>) {
    page.put(Tone::Plain, "");
    let run = text::line(&tale.run.0, page.look.width);
    if tale.status == Some(RunStatus::Human) {
        page.put(
            Tone::Plain,
            &format!("decide:  changebus review approve {run}"),
        );
    }
    page.put(
        Tone::Faint,
        &format!("patches: changebus show {run} --json"),
    );
    page.put(Tone::Faint, &format!("replay:  changebus replay {run}"));
    if let Some(report) = tale.report_file() {
        page.put(
            Tone::Faint,
            &format!("report:  {}", text::line(report, page.look.width)),
        );
    }
}
