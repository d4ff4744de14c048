//! DigestAgent's judgement: what of a stretch of time is worth telling.
//!
//! Touches: nothing.
//! Change here: when a digest should say more or less. When it is made is `notices.rs`, how it reads `rules/notices.rs`.

use std::collections::BTreeMap;
use std::str::FromStr;

use croner::Cron;
use jiff::Timestamp;

use super::apps;
use crate::config::DigestTime;
use crate::event::{
    ALL_PROJECTS, Breakage, Delivery, Digest, Event, Fact, Finding, Oid, ProjectDigest, Repair,
    RunId,
};
use crate::rules::run::usage_of;

/// Types of the facts that [`of`] reads.
pub const READ: [&str; 6] = [
    "triaged",
    "decided",
    "delivered",
    "run-closed",
    "model-answered",
    "noted",
];

/// The first moment after this one at which a digest is to be made; None where the expression names none any more.
pub fn due_after(time: &DigestTime, after: Timestamp) -> Option<Timestamp> {
    let zone = jiff::tz::TimeZone::get(&time.time_zone).ok()?;
    let cron = Cron::from_str(time.at.as_ref()?).ok()?;
    let next = cron.find_next_occurrence(&after.to_zoned(zone), false);
    next.ok().map(|zoned| zoned.timestamp())
}

/// The digest as an event of every log: whichever host makes it, it is the same one.
pub fn made(digest: Digest) -> Event {
    let id = apps::derived(&["digest", &digest.to.to_string()]);
    let at = digest.to;
    apps::stated(id, at, ALL_PROJECTS, Fact::DigestMade { digest })
}

/// From the events of the time, in order, and the runs that wait for people at its end.
pub fn of(
    from: Timestamp,
    to: Timestamp,
    events: &[Event],
    waiting: &[(String, RunId)],
    figures: String,
) -> Digest {
    let mut projects: BTreeMap<String, ProjectDigest> = BTreeMap::new();
    let mut winners: BTreeMap<&RunId, &str> = BTreeMap::new();
    for event in events {
        if let (Fact::Decided { verdict }, Some(run)) = (&event.fact, &event.run)
            && let Some(winner) = &verdict.winner
        {
            winners.insert(run, winner);
        }
        let project = projects.entry(event.project.clone()).or_default();
        take_in(project, event, &winners);
    }
    for (project, run) in waiting {
        let project = projects.entry(project.clone()).or_default();
        project.waiting.push(run.clone());
    }
    projects.retain(|_, project| !project.is_quiet());
    Digest {
        from,
        to,
        projects,
        figures,
    }
}

fn take_in(project: &mut ProjectDigest, event: &Event, winners: &BTreeMap<&RunId, &str>) {
    match (&event.fact, &event.run) {
        (Fact::Triaged { triage }, Some(run)) => {
            let flaky = triage.flaky.iter().cloned();
            project.flakes.extend(flaky);
            project.flakes.sort();
            project.flakes.dedup();
            if triage.finding == Finding::Real {
                project.broke.push(Breakage {
                    run: run.clone(),
                    failing: u32::try_from(triage.failing.len()).unwrap_or(u32::MAX),
                    test: triage.failing.first().cloned().unwrap_or_default(),
                });
            }
        }
        (Fact::Delivered { delivery }, Some(run)) => {
            if let Some((how, commit)) = repaired(delivery) {
                project.fixed.push(Repair {
                    run: run.clone(),
                    variant: winners.get(run).map(|w| (*w).to_owned()),
                    how: how.to_owned(),
                    commit: commit.0.clone(),
                });
            }
        }
        (Fact::RunClosed { status }, _) => project.count(*status),
        (Fact::ModelAnswered { answer, .. }, _) => project.cost_usd += usage_of(answer).cost_usd,
        (Fact::Noted { remark }, _) => project.lines.push(remark.text.clone()),
        _ => {}
    }
}

fn repaired(delivery: &Delivery) -> Option<(&'static str, &Oid)> {
    match delivery {
        Delivery::Merged { commit, .. } => Some(("merged", commit)),
        Delivery::Proposed { commit, .. } => Some(("proposed", commit)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(project: &str, run: &str, fact: Value) -> Event {
        Event {
            seq: 0,
            id: String::new(),
            at: Timestamp::UNIX_EPOCH,
            project: project.to_owned(),
            run: (!run.is_empty()).then(|| RunId(run.to_owned())),
            version: None,
            epoch: 0,
            origin: None,
            fact: serde_json::from_value(fact).expect("a fact"),
        }
    }

    #[test]
    fn it_says_what_broke_what_was_fixed_how_what_waits_and_what_flaked() {
        let triaged = |finding: &str, failing: Value, flaky: Value| {
            json!({"type": "triaged", "triage": {"finding": finding, "failing": failing, "to_keep": [],
                "flaky": flaky, "red_before": [], "because": "so"}})
        };
        let closed = |status: &str| json!({"type": "run-closed", "status": status});
        let events = [
            event(
                "shop",
                "shop-1",
                triaged("real", json!(["t::a", "t::b"]), json!([])),
            ),
            event(
                "shop",
                "shop-1",
                json!({"type": "decided", "verdict": {"action": "merge", "winner": "A",
                "score": 90.0, "confidence": 0.9, "reasons": [], "standings": []}}),
            ),
            event(
                "shop",
                "shop-1",
                json!({"type": "delivered", "delivery": {"how": "merged", "branch": "main",
                "commit": "c0ffee"}}),
            ),
            event("shop", "shop-1", closed("fixed")),
            event(
                "shop",
                "shop-2",
                triaged("flaky", json!([]), json!(["t::c"])),
            ),
            event("shop", "shop-2", closed("flaky")),
            event("shop", "shop-3", closed("flaky")),
            event(
                "_all",
                "",
                json!({"type": "noted", "remark": {"text": "a mirror moved", "because": "x"}}),
            ),
        ];
        let waiting = [("billing".to_owned(), RunId("billing-1".to_owned()))];
        let digest = of(
            Timestamp::MIN,
            Timestamp::MAX,
            &events,
            &waiting,
            String::new(),
        );
        let shop = &digest.projects["shop"];
        assert_eq!(shop.broke[0].failing, 2);
        assert_eq!(shop.fixed[0].variant.as_deref(), Some("A"));
        assert_eq!(shop.flakes, ["t::c"]);
        assert_eq!(
            shop.runs,
            BTreeMap::from([("fixed".to_owned(), 1), ("flaky".to_owned(), 2)])
        );
        assert_eq!(digest.projects["billing"].waiting.len(), 1);
        assert_eq!(digest.projects["_all"].lines, ["a mirror moved"]);
    }

    #[test]
    fn it_is_made_by_the_clock_on_the_wall_through_summer_and_winter() {
        let time = DigestTime {
            at: Some("30 8 * * 1-5".to_owned()),
            time_zone: "Europe/Berlin".to_owned(),
        };
        let due = |after: &str| {
            let after = after.parse().expect("a time");
            due_after(&time, after).expect("there is one").to_string()
        };
        // A Friday, and the Monday after the clocks went back.
        assert_eq!(due("2026-10-23T05:00:00Z"), "2026-10-23T06:30:00Z");
        assert_eq!(due("2026-10-23T06:30:00Z"), "2026-10-26T07:30:00Z");
        let never = DigestTime::default();
        assert_eq!(due_after(&never, Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn a_project_of_which_nothing_is_to_be_told_is_left_out() {
        let opened = json!({"type": "stage-failed", "stage": "test", "why": "x"});
        let digest = of(
            Timestamp::MIN,
            Timestamp::MAX,
            &[event("p", "p-1", opened)],
            &[],
            String::new(),
        );
        assert_eq!(digest.projects.len(), 0);
    }
}
