use std::collections::{BTreeMap, BTreeSet};

use super::super::compare;
use super::super::triage;
use super::super::triage::tests::report;
use super::*;
use crate::event::{
    Applied, Candidate, Commit, DiffStat, Entry, Gate, Learned, Objection, PluginFailureKind,
    PluginRef, Refusal, RefusalKind, ReportSource, Score,
};

fn oid(name: &str) -> Oid {
    Oid(name.into())
}

fn alone(id: &str) -> Option<BTreeSet<String>> {
    Some(BTreeSet::from([id.to_owned()]))
}

/// A run that is told fact by fact, and asked what is next.
struct Tale {
    run: Run,
    policy: Policy,
}

impl Tale {
    fn begins() -> Tale {
        let change = Change {
            branch: "main".into(),
            base: oid("base"),
            head: oid("head"),
            tree: oid("tree"),
            forced: false,
            commits: vec![Commit {
                id: oid("head"),
                author: "Ada <ada@example.org>".into(),
                message: "Tidy".into(),
            }],
            paths: vec!["src/a.py".into()],
            asked: None,
            update: None,
        };
        let run = Run::open(&event(Fact::ChangeSeen { change })).expect("a change opens a run");
        Tale {
            run,
            policy: Policy {
                reruns: 1,
                ..Policy::default()
            },
        }
    }

    fn then(&mut self, fact: Fact) -> &mut Tale {
        self.run
            .record(&event(fact))
            .unwrap_or_else(|e| panic!("{e}"));
        self
    }

    fn refuses(&mut self, fact: Fact) {
        let before = self.run.length;
        self.run
            .record(&event(fact))
            .expect_err("it may not follow here");
        assert_eq!(self.run.length, before);
    }

    fn next(&self) -> Next {
        self.run.next(&self.policy, Terms::default())
    }

    fn tested(&mut self, role: Role, text: &str) -> &mut Tale {
        self.then(Fact::Tested {
            role,
            report: report(text),
            suite: String::new(),
            flips: BTreeMap::new(),
        })
    }

    /// Through triage: `a` fails because of the change, and sixty others pass.
    fn red(&mut self) -> &mut Tale {
        let kept: String = (0..60).map(|n| format!(" k{n:02}+")).collect();
        self.tested(Role::Head, &format!("a-{kept}"))
            .tested(Role::HeadAgain, &format!("a-{kept}"));
        self.tested(Role::Base, &format!("a+{kept}"))
            .tested(Role::BaseAgain, &format!("a+{kept}"));
        let triage = self.found();
        self.then(Fact::Triaged { triage })
    }

    fn found(&self) -> Triage {
        let demand = Demand::from(&self.policy);
        triage::triage(&self.run.evidence(), demand).expect("the head was tested")
    }

    fn opened(&mut self, variants: &[&str]) -> &mut Tale {
        let plugin = |name: &str| PluginRef {
            name: name.into(),
            digest: "d".into(),
        };
        let entry = |name: &&str| Entry {
            name: (*name).to_owned(),
            strategy: plugin(&format!("strategy-{name}")),
            config: serde_json::json!({}),
            last_resort: false,
        };
        self.then(Fact::TournamentOpened {
            opening: Opening {
                takes_back: None,
                holding: None,
                brings: None,
                entries: variants.iter().map(entry).collect(),
                held_out: BTreeSet::new(),
                scorer: plugin("weighted"),
                escalation: plugin("default"),
                history: BTreeMap::new(),
                learned: Learned::default(),
                selectable: false,
            },
        })
    }

    fn proposed(&mut self, variant: &str, tree: &str) -> &mut Tale {
        self.then(Fact::Proposed {
            variant: variant.into(),
            candidate: candidate(tree),
        })
    }

    fn refused(&mut self, variant: &str) -> &mut Tale {
        let refusal = Refusal {
            kind: RefusalKind::NoFix,
            why: "nothing to change".into(),
            seconds: 1.0,
        };
        self.then(Fact::Refused {
            variant: variant.into(),
            refusal,
        })
    }

    fn tried(&mut self, tree: &str, round: u32, a: char) -> &mut Tale {
        let kept: String = (0..60).map(|n| format!(" k{n:02}+")).collect();
        let triage = self.run.triage.clone().expect("triage is done");
        let trial = compare::trial(&oid(tree), round, &report(&format!("a{a}{kept}")), &triage);
        self.then(Fact::Tried { trial })
    }

    fn scored(&mut self, scores: &[(&str, f64)]) -> &mut Tale {
        let score = |total| Score {
            total,
            marks: BTreeMap::new(),
            disqualified: None,
        };
        let scores = scores
            .iter()
            .map(|(v, s)| ((*v).to_owned(), score(*s)))
            .collect();
        self.then(Fact::Scored {
            scoring: Scoring {
                scores,
                failure: None,
            },
        })
    }

    fn advised(&mut self, action: Action) -> &mut Tale {
        self.then(Fact::Advised {
            advice: Ok(Advice {
                action,
                contender: None,
                reasons: vec![],
            }),
        })
    }

    fn verdict(&self) -> Verdict {
        self.run.decide(&self.policy).expect("triage is done")
    }
}

fn event(fact: Fact) -> Event {
    Event {
        seq: 1,
        id: "id".into(),
        at: jiff::Timestamp::UNIX_EPOCH,
        project: "app".into(),
        run: Some(RunId("run".into())),
        version: None,
        epoch: 0,
        origin: None,
        fact,
    }
}

fn candidate(tree: &str) -> Candidate {
    Candidate {
        rationale: "because".into(),
        self_confidence: 0.9,
        tree: oid(tree),
        trial_tree: oid(tree),
        patch: String::new(),
        diff: DiffStat::default(),
        paths: vec!["src/a.py".into()],
        applied: Applied::Exact,
        objections: vec![],
        security: vec![],
        seconds: 1.0,
        notes: vec![],
    }
}

/// A tournament of two that ends with A's merge.
fn won() -> Tale {
    let mut tale = Tale::begins();
    tale.red()
        .opened(&["A", "B"])
        .proposed("A", "t1")
        .proposed("B", "t2")
        .tried("t1", 1, '+')
        .tried("t2", 1, '-');
    tale.scored(&[("A", 100.0), ("B", 40.0)])
        .tried("t1", 2, '+')
        .advised(Action::Merge);
    tale
}

#[test]
fn a_green_head_is_closed_without_a_second_look() {
    let mut tale = Tale::begins();
    assert_eq!(tale.next(), Next::Test(Role::Head, None));
    tale.tested(Role::Head, "a+ b+");
    assert_eq!(tale.next(), Next::Triage);
    let triage = tale.found();
    tale.then(Fact::Triaged { triage });
    assert_eq!(tale.next(), Next::Close(RunStatus::Green));
}

#[test]
fn a_red_head_is_tested_again_and_held_against_its_base() {
    let mut tale = Tale::begins();
    tale.tested(Role::Head, "a- b+");
    assert_eq!(tale.next(), Next::Test(Role::HeadAgain, alone("a")));
    tale.tested(Role::HeadAgain, "a- b+");
    assert_eq!(tale.next(), Next::Test(Role::Base, None));
    tale.tested(Role::Base, "a+ b+");
    assert_eq!(tale.next(), Next::Test(Role::BaseAgain, alone("a")));
    tale.tested(Role::BaseAgain, "a+ b+");
    assert_eq!(tale.next(), Next::Triage);
}

#[test]
fn what_goes_away_by_itself_needs_no_base() {
    let mut tale = Tale::begins();
    tale.tested(Role::Head, "a- b+")
        .tested(Role::HeadAgain, "a+ b+");
    assert_eq!(tale.next(), Next::Triage);
}

#[test]
fn only_variants_that_handed_in_nothing_are_asked_after_a_restart() {
    let mut tale = Tale::begins();
    tale.red().opened(&["A", "B", "C"]).proposed("B", "t");
    assert_eq!(tale.next(), Next::Generate(vec!["A".into(), "C".into()]));
}

#[test]
fn the_same_tree_is_tried_once() {
    let mut tale = Tale::begins();
    tale.red()
        .opened(&["A", "B", "C"])
        .proposed("A", "t")
        .proposed("B", "t")
        .refused("C");
    assert_eq!(tale.next(), whole(&[("t", 1)]));
    tale.tried("t", 1, '+');
    assert_eq!(tale.next(), Next::Score);
}

#[test]
fn the_leader_is_tried_again_before_anybody_decides() {
    let mut tale = Tale::begins();
    tale.red()
        .opened(&["A"])
        .proposed("A", "t")
        .tried("t", 1, '+')
        .scored(&[("A", 100.0)]);
    assert_eq!(tale.next(), whole(&[("t", 2)]));
    tale.tried("t", 2, '+');
    assert_eq!(tale.next(), Next::Advise);
    tale.advised(Action::Merge);
    assert_eq!(tale.next(), Next::Decide);
}

#[test]
fn a_leader_that_does_not_repeat_makes_room_for_the_next() {
    let mut tale = Tale::begins();
    tale.red()
        .opened(&["A", "B"])
        .proposed("A", "t1")
        .proposed("B", "t2")
        .tried("t1", 1, '+')
        .tried("t2", 1, '+');
    tale.scored(&[("A", 100.0), ("B", 90.0)])
        .tried("t1", 2, '-');
    assert_eq!(tale.next(), whole(&[("t2", 2)]));
}

#[test]
fn a_candidate_out_of_bounds_is_never_run() {
    let mut tale = Tale::begins();
    let outside = Objection {
        gate: Gate::StaysInBounds,
        because: "deploy/x is protected".into(),
    };
    let candidate = Candidate {
        objections: vec![outside],
        ..candidate("t")
    };
    tale.red().opened(&["A"]).then(Fact::Proposed {
        variant: "A".into(),
        candidate,
    });
    assert_eq!(tale.next(), Next::Decide);
    assert_eq!(
        (tale.verdict().action, tale.verdict().winner),
        (Action::Human, None)
    );
}

#[test]
fn a_clear_winner_is_merged_and_the_approval_names_it() {
    let mut tale = won();
    let verdict = tale.verdict();
    assert_eq!(
        (verdict.action, verdict.winner.as_deref()),
        (Action::Merge, Some("A"))
    );
    assert!(tale.run.approval().is_none());
    tale.then(Fact::Decided { verdict });
    assert_eq!(
        tale.run.approval().expect("a merge is approved").winner(),
        "A"
    );
    assert_eq!(tale.next(), Next::PrepareMerge);
    let dry = Terms {
        withhold: true,
        ..Terms::default()
    };
    assert_eq!(tale.run.next(&tale.policy, dry), Next::Withhold);
}

#[test]
fn a_verdict_for_people_approves_nothing() {
    let mut tale = won();
    tale.policy.deliver = crate::config::Ceiling::PullRequest;
    let verdict = tale.verdict();
    assert_eq!(verdict.action, Action::PullRequest);
    tale.then(Fact::Decided { verdict });
    assert!(tale.run.approval().is_none());
    assert_eq!(tale.next(), Next::Publish);
}

mod race;
mod update;

/// Runs of the whole suite: tree and round.
fn whole(legs: &[(&str, u32)]) -> Next {
    let leg = |(tree, round): &(&str, u32)| Leg {
        tree: oid(tree),
        stage: race::Stage::Whole(*round),
    };
    Next::Validate(legs.iter().map(leg).collect())
}

type Doubt = fn(&mut Tale);

#[test]
fn each_reason_alone_sends_the_winner_to_a_human() {
    let reasons: [(&str, Doubt); 6] = [
        ("score", |t| t.policy.merge_threshold = 100.5),
        ("evidence", |t| t.policy.min_confidence = 0.99),
        ("exit code", |t| {
            t.run
                .trials
                .values_mut()
                .flatten()
                .for_each(|t| t.source = ReportSource::ExitCode)
        }),
        ("scorer", |t| {
            t.run.scoring.as_mut().expect("it was scored").failure = Some(failure())
        }),
        ("escalation", |t| t.run.advice = Some(Err(failure()))),
        ("trust", |t| secure(t)),
    ];
    for (word, doubt) in reasons {
        let mut tale = won();
        doubt(&mut tale);
        let verdict = tale.verdict();
        assert_eq!(verdict.action, Action::Human, "{word}");
        assert!(
            verdict.reasons.iter().any(|r| r.contains(word)),
            "{word}: {:?}",
            verdict.reasons
        );
    }
}

fn failure() -> PluginFailure {
    PluginFailure {
        kind: PluginFailureKind::Trapped,
        why: "unreachable".into(),
    }
}

fn secure(tale: &mut Tale) {
    if let Some(HandedIn::Candidate(candidate)) = tale.run.handed_in.get_mut("A") {
        candidate.security = vec!["Cargo.toml is a matter of trust".into()];
    }
}

#[test]
fn an_escalation_plugin_can_hold_back_but_never_push_ahead() {
    let mut tale = won();
    tale.run.advice = Some(Ok(Advice {
        action: Action::PullRequest,
        contender: None,
        reasons: vec![("c".into(), "wait".into())],
    }));
    assert_eq!(tale.verdict().action, Action::PullRequest);
    tale.policy.deliver = crate::config::Ceiling::Human;
    assert_eq!(tale.verdict().action, Action::Human);
}

#[test]
fn candidates_that_pass_and_behave_differently_are_ambiguous() {
    let mut tale = won();
    for trial in tale.run.trials.get_mut(&oid("t2")).expect("it was tried") {
        trial.fixed = std::mem::take(&mut trial.unfixed);
        trial.behaviour = "another".into();
    }
    let verdict = tale.verdict();
    assert_eq!(verdict.action, Action::Human);
    assert!(
        verdict.reasons.iter().any(|r| r.contains("A and B")),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn a_merge_that_was_overtaken_is_prepared_anew() {
    let mut tale = won();
    let verdict = tale.verdict();
    let merge = PreparedMerge {
        branch: "main".into(),
        onto: oid("head"),
        commit: oid("m"),
        tree: oid("t1"),
        tested: "twice".into(),
    };
    tale.then(Fact::Decided { verdict })
        .then(Fact::MergePrepared {
            merge: merge.clone(),
        });
    assert_eq!(tale.next(), Next::Push(merge));
    tale.then(Fact::MergeOvertaken { tip: oid("other") });
    assert_eq!(tale.next(), Next::PrepareMerge);
}

#[test]
fn facts_that_may_not_follow_are_refused() {
    let mut tale = Tale::begins();
    tale.refuses(Fact::Decided {
        verdict: won().verdict(),
    });
    let change = tale.run.change.clone();
    tale.refuses(Fact::ChangeSeen { change });
    tale.red();
    tale.refuses(Fact::Tested {
        role: Role::Head,
        report: report("a+"),
        suite: String::new(),
        flips: BTreeMap::new(),
    });
    tale.opened(&["A"]).proposed("A", "t");
    tale.refuses(Fact::Proposed {
        variant: "A".into(),
        candidate: candidate("t2"),
    });
    tale.then(Fact::RunClosed {
        status: RunStatus::Error,
    });
    assert_eq!(tale.next(), Next::Done);
    tale.refuses(Fact::StageFailed {
        stage: "test".into(),
        why: "late".into(),
    });
}

#[test]
fn a_stage_that_keeps_failing_is_given_up_but_one_success_starts_the_count_anew() {
    let mut tale = Tale::begins();
    let failed = || Fact::StageFailed {
        stage: "test".into(),
        why: "no disk".into(),
    };
    let terms = Terms {
        stage_failures: 2,
        ..Terms::default()
    };
    tale.then(failed());
    assert_eq!(
        tale.run.next(&tale.policy, terms),
        Next::Test(Role::Head, None)
    );
    tale.tested(Role::Head, "a- b+").then(failed());
    assert_eq!(
        tale.run.next(&tale.policy, terms),
        Next::Test(Role::HeadAgain, alone("a"))
    );
    tale.then(failed());
    assert_eq!(
        tale.run.next(&tale.policy, terms),
        Next::Close(RunStatus::Error)
    );
}

#[test]
fn replay_of_a_runs_facts_gives_the_run() {
    let change = Tale::begins().run.change;
    let facts = [
        Fact::ChangeSeen { change },
        Fact::Tested {
            role: Role::Head,
            report: report("a- b+"),
            suite: String::new(),
            flips: BTreeMap::new(),
        },
        Fact::Tested {
            role: Role::HeadAgain,
            report: report("a- b+"),
            suite: String::new(),
            flips: BTreeMap::new(),
        },
    ];
    let events: Vec<Event> = facts.into_iter().map(event).collect();
    let run = Run::replay(&events)
        .expect("they may follow")
        .expect("a change comes first");
    assert_eq!(
        (run.length, run.next(&Policy::default(), Terms::default())),
        (3, Next::Test(Role::HeadAgain, alone("a")))
    );
    assert!(
        Run::replay(&events[1..])
            .expect("no run is no error")
            .is_none()
    );
}

#[test]
fn probes_and_tools_of_a_variant_are_numbered_together() {
    let fault = || Fault::new(crate::event::FaultKind::Timeout, "probe.timeout", "no end");
    let probed = |probe| Fact::Probed {
        variant: "A".into(),
        probe,
        digest: "d".into(),
        answer: Err(fault()),
    };
    let ran = |variant: &str, probe| Fact::ToolRan {
        variant: variant.into(),
        probe,
        tool: "format".into(),
        digest: "d".into(),
        answer: Err(fault()),
    };
    let mut tale = Tale::begins();
    tale.red().refuses(ran("A", 0));
    tale.opened(&["A", "B"])
        .then(ran("A", 0))
        .then(probed(1))
        .then(ran("B", 0));
    tale.refuses(probed(0));
    tale.refuses(ran("A", 1));
    let (asked, kept) = &tale.run.journal.tools[&("A".to_owned(), 0)];
    assert_eq!(*asked, tool_key("format", "d"));
    assert_eq!(kept.answer, Err(fault()));
}
