//! What people are told at once, and how a digest reads: one notice for one event, whoever it goes to.
//!
//! Touches: nothing.
//! Change here: when people should be told of something else. Where notices go is `notices.rs`.
//!
//! Text of strangers stands in notices as it is: how it is made harmless depends on where it is read.

use crate::event::{Delivery, Digest, Event, Fact, ProjectDigest, RunStatus, Sighting};

/// Subjects of the events that may make a notice.
pub const SUBJECTS: [&str; 6] = [
    "result.tournament.*.opened",
    "result.delivery.>",
    "result.run.*.closed",
    "change.repo.*.watched",
    "digest.alert.*",
    "digest.daily",
];

/// Of a list, in a digest.
const MOST: usize = 10;

/// Something to tell people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The event it is about; what to deduplicate by.
    pub id: String,
    pub kind: NoticeKind,
    /// Whom it is about, or `_all`.
    pub project: String,
    pub title: String,
    pub lines: Vec<String>,
    /// Heading and lines, such as one for each project.
    pub parts: Vec<(String, Vec<String>)>,
    pub urgency: Urgency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    Alert,
    Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody has to do something.
    Needed,
    Good,
    Plain,
}

impl Notice {
    /// Without the parts about other projects; all of it where none is named.
    pub fn only_about(mut self, projects: &[String]) -> Notice {
        if !projects.is_empty() {
            self.parts.retain(|(heading, _)| projects.contains(heading));
        }
        self
    }
}

/// What there is to say about an event; most say nothing.
pub fn of(event: &Event) -> Option<Notice> {
    if let Fact::DigestMade { digest } = &event.fact {
        return Some(daily(event, digest));
    }
    let project = &event.project;
    let run = event.run.as_ref().map_or("", |run| run.0.as_str());
    let (urgency, title, lines) = match &event.fact {
        Fact::Delivered {
            delivery: Delivery::Escalated {
                because, branch, ..
            },
        } => {
            let mut lines = vec![because.clone()];
            lines.extend(
                branch
                    .iter()
                    .map(|b| format!("The best candidate is branch {b}.")),
            );
            lines.push(format!("changebus review approve {run}"));
            (
                Urgency::Needed,
                format!("{project} needs a human: {run}"),
                lines,
            )
        }
        Fact::Delivered {
            delivery: Delivery::Proposed {
                branch, because, ..
            },
        } => {
            let mut lines = vec![format!("Branch {branch} waits to be merged.")];
            lines.extend(because.clone());
            (
                Urgency::Needed,
                format!("{project}: a fix is proposed, {run}"),
                lines,
            )
        }
        Fact::RunClosed {
            status: RunStatus::Error,
        } => {
            let lines = vec![format!("changebus show {run} says why.")];
            (
                Urgency::Needed,
                format!("{project}: {run} could not be worked on"),
                lines,
            )
        }
        Fact::TournamentOpened { opening } => {
            let back = opening.takes_back.as_ref()?;
            let lines = vec![format!("What {} brought is being taken back.", back.run)];
            (
                Urgency::Needed,
                format!("{project}: a fix broke the branch, {run}"),
                lines,
            )
        }
        Fact::Watched { sighting } => absence(project, sighting)?,
        Fact::Alerted { remark } => (Urgency::Needed, remark.text.clone(), vec![]),
        _ => return None,
    };
    Some(Notice {
        id: event.id.clone(),
        kind: NoticeKind::Alert,
        project: project.clone(),
        title,
        lines,
        parts: vec![],
        urgency,
    })
}

/// A sighting is stated once, when it changes.
fn absence(project: &str, sighting: &Sighting) -> Option<(Urgency, String, Vec<String>)> {
    match sighting {
        Sighting::Unreachable { why } => {
            let title = format!("{project} cannot be reached");
            Some((Urgency::Needed, title, vec![why.clone()]))
        }
        Sighting::BranchGone { branch } => {
            let title = format!("{project}: its branch {branch} is gone");
            Some((Urgency::Needed, title, vec![]))
        }
        Sighting::Back => Some((Urgency::Good, format!("{project} is back"), vec![])),
        Sighting::Adopted { .. } | Sighting::Ignored { .. } | Sighting::Empty => None,
    }
}

fn daily(event: &Event, digest: &Digest) -> Notice {
    let all = digest.projects.values();
    let count = |of: fn(&ProjectDigest) -> usize| all.clone().map(of).sum::<usize>();
    let cost: f64 = all.clone().map(|p| p.cost_usd).sum();
    let waiting = count(|p| p.waiting.len());
    let line = format!(
        "{} broke, {} fixed, {waiting} waiting for people, {} flaky, ${cost:.2}",
        count(|p| p.broke.len()),
        count(|p| p.fixed.len()),
        count(|p| p.flakes.len()),
    );
    let lines = match digest.projects.is_empty() {
        true => vec!["Nothing broke, nothing waits.".to_owned()],
        false => vec![line],
    };
    let figures = Some(digest.figures.clone()).filter(|f| !f.is_empty());
    let lines = lines.into_iter().chain(figures).collect();
    let part = |(name, project): (&String, &ProjectDigest)| {
        let heading = match name.as_str() {
            crate::event::ALL_PROJECTS => "everything",
            name => name,
        };
        (heading.to_owned(), project_lines(project))
    };
    Notice {
        id: event.id.clone(),
        kind: NoticeKind::Digest,
        project: event.project.clone(),
        title: format!("ChangeBus from {:.0} to {:.0}", digest.from, digest.to),
        lines,
        parts: digest.projects.iter().map(part).collect(),
        urgency: match waiting {
            0 => Urgency::Good,
            _ => Urgency::Needed,
        },
    }
}

fn project_lines(project: &ProjectDigest) -> Vec<String> {
    let mut lines = vec![];
    let mut list = |what: &str, all: Vec<String>| {
        let more = all.len().saturating_sub(MOST);
        if all.is_empty() {
            return;
        }
        let mut told = all.into_iter().take(MOST).collect::<Vec<_>>().join(", ");
        if more > 0 {
            told.push_str(&format!(" and {more} more"));
        }
        lines.push(format!("{what}: {told}"));
    };
    list(
        "waits for people",
        project.waiting.iter().map(ToString::to_string).collect(),
    );
    list(
        "broke",
        project
            .broke
            .iter()
            .map(|b| match b.failing {
                0 | 1 => format!("{} ({})", b.run, b.test),
                more => format!("{} ({} and {} more)", b.run, b.test, more - 1),
            })
            .collect(),
    );
    list(
        "fixed",
        project
            .fixed
            .iter()
            .map(|f| {
                let by = f.variant.as_ref().map(|v| format!(" by {v}"));
                format!("{} {}{}", f.run, f.how, by.unwrap_or_default())
            })
            .collect(),
    );
    list("flaky", project.flakes.clone());
    list("noted", project.lines.clone());
    if project.cost_usd > 0.0 {
        lines.push(format!("cost: ${:.2}", project.cost_usd));
    }
    let runs: Vec<String> = project
        .runs
        .iter()
        .map(|(status, count)| format!("{count} {status}"))
        .collect();
    if !runs.is_empty() {
        lines.push(format!("runs: {}", runs.join(", ")));
    }
    lines
}
