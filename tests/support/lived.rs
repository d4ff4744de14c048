//! Runs as they come about over a year in many projects, made up from a seed: every fact of each, and what it came to.
//!
//! Touches: nothing.
//! Change here: when a run says something else that is learned from. What it came to is written down while it is made up,
//! not read from its facts.

use changebus::event::{Event, Fact, RunId};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const PROJECTS: usize = 20;
const TESTS: usize = 24;
const DAYS: f64 = 365.0;
const STRATEGIES: [(&str, &str); 5] = [
    ("A", "minimal-fix"),
    ("B", "robust-refactor"),
    ("C", "autofix"),
    ("D", "investigator"),
    ("R", "revert-culprit"),
];
const MODELS: [&str; 3] = ["small", "medium", "large"];
const CLASSES: [&str; 5] = ["assertion", "import", "type", "timeout", "syntax"];
const LANGUAGES: [&str; 3] = ["python", "rust", "javascript"];

/// A run, and what is said of it elsewhere.
pub struct Lived {
    pub events: Vec<Event>,
    pub truth: Truth,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    pub project: String,
    /// `real`, `flaky` or `green`.
    pub found: &'static str,
    /// `merged`, `approved`, `proposed`, `escalated` or nothing.
    pub how: &'static str,
    pub class: &'static str,
    pub language: &'static str,
    /// The last that was seen of its fix.
    pub fate: Option<&'static str>,
    pub variants: Vec<Variant>,
}

/// What one variant did in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    pub name: &'static str,
    pub strategy: &'static str,
    pub model: Option<&'static str>,
    pub proposed: bool,
    pub clean: bool,
    pub won: bool,
    /// In cents, so that sums are exact.
    pub cents: u32,
}

pub const START: &str = "2026-01-01T00:00:00Z";

/// As many runs, one after the other over a year. The same seed makes up the same ones.
pub fn runs(seed: u64, count: usize) -> impl Iterator<Item = Lived> {
    let start: Timestamp = START.parse().expect("a time");
    let mut rng = Rng::with_seed(seed);
    (0..count).map(move |n| {
        let days = DAYS * n as f64 / count as f64;
        let at = start + SignedDuration::from_secs_f64(days * 86_400.0);
        Pen::new(rng.fork(), n, at).live()
    })
}

/// Writes one run down.
struct Pen {
    rng: Rng,
    project: String,
    run: RunId,
    at: Timestamp,
    epoch: u64,
    version: u64,
    events: Vec<Event>,
}

impl Pen {
    fn new(mut rng: Rng, n: usize, at: Timestamp) -> Pen {
        let project = format!("p{:02}", rng.usize(0..PROJECTS));
        Pen {
            run: RunId(format!("{project}-{n:08x}")),
            project,
            at,
            epoch: 1,
            version: 0,
            events: vec![],
            rng,
        }
    }

    fn live(mut self) -> Lived {
        let finding = match self.rng.f64() {
            ..0.4 => "green",
            ..0.5 => "flaky",
            _ => "real",
        };
        let mut truth = Truth {
            project: self.project.clone(),
            found: finding,
            how: "",
            class: self.one_of(&CLASSES),
            language: self.one_of(&LANGUAGES),
            fate: None,
            variants: vec![],
        };
        self.change();
        self.triage(&truth);
        if finding == "real" {
            self.tournament(&mut truth);
            self.delivery(&mut truth);
        } else {
            self.say(json!({"type": "run-closed", "status": finding}));
        }
        Lived {
            events: self.events,
            truth,
        }
    }

    fn one_of(&mut self, all: &[&'static str]) -> &'static str {
        all[self.rng.usize(0..all.len())]
    }

    /// With this probability.
    fn happens(&mut self, chance: f64) -> bool {
        self.rng.f64() < chance
    }

    fn oid(&mut self) -> String {
        format!("{:032x}{:08x}", self.rng.u128(..), self.rng.u32(..))
    }

    fn event(&mut self, of_run: bool, fact: Value) -> Event {
        self.at += SignedDuration::from_millis(self.rng.i64(1..20_000));
        let fact: Fact = serde_json::from_value(fact).expect("what is made up is a fact");
        Event {
            seq: 0,
            id: uuid_like(&mut self.rng, self.at),
            at: self.at,
            project: self.project.clone(),
            run: of_run.then(|| self.run.clone()),
            version: of_run.then_some(self.version),
            epoch: if of_run { self.epoch } else { 0 },
            origin: Some("elsewhere".to_owned()),
            fact,
        }
    }

    /// As the next of the run. Its id.
    fn say(&mut self, fact: Value) -> String {
        self.version += 1;
        let event = self.event(true, fact);
        self.events.push(event);
        self.events.last().map(|e| e.id.clone()).unwrap_or_default()
    }

    /// Of the run, and not in it.
    fn tell(&mut self, fact: Value) -> String {
        let event = self.event(false, fact);
        self.events.push(event);
        self.events.last().map(|e| e.id.clone()).unwrap_or_default()
    }

    fn after_days(&mut self, days: f64) {
        self.at += SignedDuration::from_secs_f64(days * 86_400.0 * self.rng.f64());
    }

    fn change(&mut self) {
        let commits: Vec<Value> = (0..self.rng.usize(1..4))
            .map(|n| {
                json!({"id": self.oid(), "author": "Ada <ada@example.org>",
                    "message": format!("Rework discounts, part {n}\n\nThey were rounded twice, see the ledger of spring.")})
            })
            .collect();
        let (base, head, tree) = (self.oid(), self.oid(), self.oid());
        self.say(json!({"type": "change-seen", "change": {"branch": "main", "base": base, "head": head, "tree": tree,
            "forced": false, "commits": commits, "paths": ["shop/ledger.py", "shop/price.py"]}}));
    }

    fn report(&mut self, role: &str, bad: usize) {
        let tests: serde_json::Map<String, Value> = (0..TESTS)
            .map(|n| (test(n), json!(if n < bad { "failed" } else { "passed" })))
            .collect();
        let failures: Vec<Value> = (0..bad).map(failure).collect();
        let (commit, tree, seconds) = (self.oid(), self.oid(), 60.0 * self.rng.f64());
        self.say(json!({"type": "tested", "role": role, "suite": "s1", "report": {"commit": commit, "tree": tree,
            "source": "junit", "exit": {"code": i32::from(bad > 0)}, "tests": tests, "failures": failures,
            "output": "", "problem": null, "seconds": seconds, "sandbox": ["namespaces", "limits"]}}));
    }

    fn triage(&mut self, truth: &Truth) {
        let bad = match truth.found {
            "green" => 0,
            _ => self.rng.usize(1..3),
        };
        self.report("head", bad);
        let names: Vec<String> = (0..bad).map(test).collect();
        let rest: Vec<String> = (bad..TESTS).map(test).collect();
        let none: Vec<String> = vec![];
        let (flaky, failing) = match truth.found {
            "flaky" => (&names, &none),
            _ => (&none, &names),
        };
        let mut triage = json!({"finding": truth.found, "failing": failing, "flaky": flaky, "red_before": [],
            "to_keep": rest, "because": "that is how it looks"});
        match truth.found {
            "flaky" => self.report("head-again", 0),
            "real" => {
                self.report("head-again", bad);
                self.report("base", 0);
                let prints: serde_json::Map<String, Value> = names
                    .iter()
                    .map(|n| (n.clone(), json!(self.oid())))
                    .collect();
                triage["prints"] = prints.into();
                triage["class"] = truth.class.into();
                triage["language"] = truth.language.into();
            }
            _ => {}
        }
        self.say(json!({"type": "triaged", "triage": triage}));
    }

    fn tournament(&mut self, truth: &mut Truth) {
        let entered = self.rng.usize(2..=STRATEGIES.len());
        let entries: Vec<Value> = STRATEGIES[..entered]
            .iter()
            .map(|(name, strategy)| json!({"name": name, "strategy": plugin(strategy), "config": {"probe": true}}))
            .collect();
        self.say(
            json!({"type": "tournament-opened", "opening": {"entries": entries, "held_out": [],
            "scorer": plugin("weighted"), "escalation": plugin("default"), "selectable": true,
            "history": {"strategy/minimal-fix/tried": 12.0, "strategy/minimal-fix/won": 7.0}}}),
        );
        // A host that was thought dead goes on for a while, and states it in vain.
        let overtaken = self.happens(0.05);
        let mut variants = vec![];
        for (name, strategy) in &STRATEGIES[..entered] {
            if overtaken && variants.len() == 1 {
                self.in_vain(name);
            }
            variants.push(self.variant(name, strategy));
        }
        self.trials(&mut variants);
        self.verdict(&mut variants);
        truth.variants = variants
            .into_iter()
            .map(|entrant| entrant.variant)
            .collect();
    }

    fn in_vain(&mut self, name: &str) {
        let version = self.version;
        self.asked_and_answered(name, "forgotten", 9_999);
        self.say(json!({"type": "refused", "variant": name,
            "refusal": {"kind": "no-fix", "why": "nobody will know", "seconds": 1.0}}));
        self.say(json!({"type": "run-closed", "status": "error"}));
        (self.version, self.epoch) = (version, self.epoch + 1);
    }

    fn asked_and_answered(&mut self, name: &str, model: &str, cents: u32) {
        let calls = 0;
        self.say(json!({"type": "model-asked", "variant": name, "call": calls, "request": {"model": model,
            "max_output_tokens": 4096, "system": [{"text": PROMPT, "shared": true}],
            "messages": [{"role": "user", "text": QUESTION}], "effort": null, "temperature": null}}));
        let answer = match self.happens(0.05) {
            true => {
                json!({"Err": {"kind": "unavailable", "code": "llm.overloaded", "message": "overloaded",
                "usage": {"input_tokens": 900, "output_tokens": 0, "usd_micros": u64::from(cents) * 10_000}}})
            }
            false => {
                json!({"Ok": {"text": ANSWER, "model": model, "stop_reason": "end_turn", "request_id": "req_1",
                "usage": {"input_tokens": 2400, "output_tokens": 380, "cost_usd": f64::from(cents) / 100.0}}})
            }
        };
        self.say(
            json!({"type": "model-answered", "variant": name, "call": calls, "answer": answer}),
        );
    }

    fn variant(&mut self, name: &'static str, strategy: &'static str) -> Entrant {
        let mut variant = Variant {
            name,
            strategy,
            model: None,
            proposed: self.happens(0.8),
            clean: false,
            won: false,
            cents: 0,
        };
        if !matches!(name, "C" | "R") {
            let (model, cents) = (self.one_of(&MODELS), self.rng.u32(1..40));
            self.asked_and_answered(name, model, cents);
            variant.cents = cents;
            // What failed does not say which model it was.
            let answered = self.events.last().map(|e| &e.fact);
            if let Some(Fact::ModelAnswered { answer: Ok(_), .. }) = answered {
                variant.model = Some(model);
            }
        }
        self.called(json!({"strategy": name}), strategy);
        let tree = self.oid();
        if variant.proposed {
            self.say(json!({"type": "proposed", "variant": name, "candidate": {"rationale": "The price was rounded twice.",
                "self_confidence": 0.8, "tree": tree, "trial_tree": tree, "patch": PATCH,
                "diff": {"files": 1, "insertions": 1, "deletions": 1}, "paths": ["shop/price.py"], "applied": "exact",
                "objections": [], "security": [], "seconds": 12.5}}));
        } else {
            self.say(json!({"type": "refused", "variant": name,
                "refusal": {"kind": "no-fix", "why": "nothing to do", "seconds": 1.0}}));
        }
        Entrant { variant, tree }
    }

    fn called(&mut self, role: Value, name: &str) {
        let digest = format!("{}{:08x}", self.oid(), self.rng.u32(..));
        self.say(json!({"type": "plugin-called", "call": {"role": role, "plugin": plugin(name),
            "ledger": {"cpu_ms": 20, "wall_ms": 12_400, "memory_bytes": 3_407_872, "bytes_in": 20_133, "bytes_out": 9_214,
                "host_calls": 14, "llm_calls": 1, "llm_tokens": 2_780, "usd_micros": 20_000},
            "journal": digest, "ended": "answered"}}));
    }

    /// A candidate that breaks something in one of its trials is not clean.
    fn trials(&mut self, entrants: &mut [Entrant]) {
        for entrant in entrants.iter_mut().filter(|e| e.variant.proposed) {
            self.say(json!({"type": "sampled", "sample": {"tree": entrant.tree, "part": "failing", "asked": 2, "bad": [],
                "problem": null, "output": "", "seconds": 3.2}}));
            if self.happens(0.15) {
                continue;
            }
            let rounds = self.rng.u32(1..3);
            let breaks_in = self.happens(0.3).then(|| self.rng.u32(1..=rounds));
            for round in 1..=rounds {
                let broken: Vec<String> = match breaks_in == Some(round) {
                    true => vec![test(TESTS - 1)],
                    false => vec![],
                };
                let (failed, behaviour) = (broken.len(), self.oid());
                self.say(json!({"type": "tried", "trial": {"tree": entrant.tree, "round": round, "source": "junit",
                    "exit": {"code": failed}, "passed": TESTS - failed, "failed": failed, "total": TESTS,
                    "fixed": [test(0)], "unfixed": [], "broken": broken, "missing": [], "behaviour": behaviour,
                    "failures": [], "output": "", "problem": null, "seconds": 44.0}}));
            }
            entrant.variant.clean = breaks_in.is_none();
        }
    }

    fn verdict(&mut self, entrants: &mut [Entrant]) {
        self.called(json!("scorer"), "weighted");
        let scores: serde_json::Map<String, Value> = entrants
            .iter()
            .filter(|e| e.variant.clean)
            .map(|e| {
                let score = json!({"total": 80.0, "marks": {"small": 90.0, "sure": 70.0}, "disqualified": null});
                (e.variant.name.to_owned(), score)
            })
            .collect();
        self.say(json!({"type": "scored", "scoring": {"scores": scores, "failure": null}}));
        self.called(json!("escalation"), "default");
        self.say(json!({"type": "advised", "advice": {"Ok": {"action": "merge", "contender": null, "reasons": []}}}));
        let clean: Vec<usize> = (0..entrants.len())
            .filter(|n| entrants[*n].variant.clean)
            .collect();
        let winner = (!clean.is_empty()).then(|| clean[self.rng.usize(0..clean.len())]);
        if let Some(winner) = winner {
            entrants[winner].variant.won = true;
        }
        let standings: Vec<Value> = entrants
            .iter()
            .map(|Entrant { variant, .. }| {
                let state = match (variant.won, variant.proposed) {
                    (true, _) => "won",
                    (false, true) => "lost",
                    (false, false) => "refused",
                };
                json!({"variant": variant.name, "state": state, "score": 80.0, "confidence": 0.8, "objections": [],
                    "because": "that is where it stands"})
            })
            .collect();
        let confidence = winner.map(|_| 0.5 + 0.5 * self.rng.f64());
        let winner = winner.map(|winner| entrants[winner].variant.name);
        self.say(json!({"type": "decided", "verdict": {"action": "merge", "winner": winner, "score": 80.0,
            "confidence": confidence, "reasons": ["it is the smallest that holds"], "standings": standings}}));
    }

    fn delivery(&mut self, truth: &mut Truth) {
        let winner = truth.variants.iter().find(|v| v.won).map(|v| v.name);
        match winner {
            Some(winner) if self.happens(0.4) => self.ask_people(winner, truth),
            Some(_) => {
                truth.how = "merged";
                let commit = self.merge();
                self.fates(
                    truth,
                    &commit,
                    &["merged", "survived", "reverted", "edited"],
                );
            }
            None => {
                truth.how = "escalated";
                self.escalate(None);
                self.say(json!({"type": "run-closed", "status": "no-fix"}));
            }
        }
    }

    fn merge(&mut self) -> String {
        let (onto, commit, tree) = (self.oid(), self.oid(), self.oid());
        self.say(json!({"type": "merge-prepared", "merge": {"branch": "main", "onto": onto, "commit": commit, "tree": tree,
            "tested": "the whole suite passed on it"}}));
        self.say(json!({"type": "delivered", "delivery": {"how": "merged", "branch": "main", "commit": commit}}));
        self.say(json!({"type": "run-closed", "status": "fixed"}));
        commit
    }

    fn escalate(&mut self, commit: Option<&str>) -> String {
        let branch = commit.map(|_| "changebus/fix");
        self.say(json!({"type": "delivered", "delivery": {"how": "escalated", "branch": branch, "commit": commit,
            "report": "report.md", "because": "it is too little sure"}}))
    }

    /// By a question or a pull request, which people answer or do not.
    fn ask_people(&mut self, winner: &str, truth: &mut Truth) {
        let commit = self.oid();
        let about = if self.happens(0.5) {
            truth.how = "proposed";
            self.say(json!({"type": "delivered", "delivery": {"how": "proposed", "branch": "changebus/fix",
                "commit": commit, "report": "report.md"}}))
        } else {
            truth.how = "escalated";
            self.escalate(Some(&commit))
        };
        self.say(json!({"type": "run-closed", "status": "human"}));
        self.after_days(2.0);
        match self.rng.usize(0..4) {
            0 => {}
            1 => {
                self.ruled(json!({"ruling": "approve", "variant": winner}));
                truth.how = "approved";
                let commit = self.merge();
                self.fates(truth, &commit, &["merged", "survived", "reverted"]);
            }
            2 => {
                self.ruled(json!({"ruling": "reject"}));
                match self.happens(0.5) {
                    // Somebody else thought better of it.
                    true => self.merged_by_people(&about, &commit, truth),
                    false => self.fates(truth, &commit, &["unmerged"]),
                }
            }
            _ => self.merged_by_people(&about, &commit, truth),
        }
    }

    fn merged_by_people(&mut self, about: &str, commit: &str, truth: &mut Truth) {
        self.after_days(1.0);
        self.tell(json!({"type": "pull-request-ended", "end": {"run": self.run, "about": about, "forge": "hub",
            "number": 7, "fate": {"how": "merged", "by": "ada", "commit": commit}}}));
        self.fates(
            truth,
            commit,
            &["merged", "survived", "edited", "overridden"],
        );
        if truth.fate.is_some_and(|fate| fate != "overridden") {
            truth.how = "approved";
        }
    }

    fn ruled(&mut self, ruling: Value) {
        let review = json!({"run": self.run, "ruling": ruling, "by": "ada", "via": "command-line",
            "reason": "as it should be"});
        let given = self.tell(json!({"type": "review-given", "review": review}));
        self.say(json!({"type": "reviewed", "review": review, "given": given}));
    }

    /// The first of these, and later one of the others; or nobody looks.
    fn fates(&mut self, truth: &mut Truth, commit: &str, fates: &[&'static str]) {
        if self.happens(0.1) {
            return;
        }
        let mut seen = vec![fates[0]];
        if fates.len() > 1 && self.happens(0.8) {
            seen.push(self.one_of(&fates[1..]));
        }
        for fate in seen {
            self.after_days(14.0);
            self.tell(
                json!({"type": "outcome-observed", "outcome": {"run": self.run, "fate": fate,
                "because": "that is what the branch shows", "by": commit}}),
            );
            truth.fate = Some(fate);
        }
    }
}

struct Entrant {
    variant: Variant,
    tree: String,
}

fn test(n: usize) -> String {
    format!("tests/test_ledger.py::test_discount_of_customer_group_{n:02}")
}

fn failure(n: usize) -> Value {
    json!({"id": test(n), "message": "assert 90 == 95", "detail": "    assert pay(100, 10) == 95\nE   assert 90 == 95",
        "file": "tests/test_ledger.py", "line": 12 + n})
}

fn plugin(name: &str) -> Value {
    json!({"name": name, "digest": "3f1a9d0c5b7e2468ace013579bdf02468ace13579bdf02468ace13579bdf0246"})
}

/// Sorted by time, as ids of version 7 are.
fn uuid_like(rng: &mut Rng, at: Timestamp) -> String {
    let (time, rest) = (at.as_millisecond(), rng.u64(..));
    let (high, low) = (time >> 16, time & 0xffff);
    format!(
        "{high:08x}-{low:04x}-7{:03x}-8{:03x}-{:012x}",
        rng.u16(..) & 0xfff,
        rng.u16(..) & 0xfff,
        rest & 0xffff_ffff_ffff
    )
}

const PROMPT: &str = "You mend what a change broke. Answer with the smallest edit that makes the failing tests pass and breaks \
    no other; tests stay as they are. Name the file, what is to be replaced, and what it is replaced by. If there is nothing \
    to mend, say so. Lines outside the edit stay as they are, blanks and line ends included. Explain in one sentence why.";

const QUESTION: &str = "Two tests fail since the last change.\n\n    assert pay(100, 10) == 95\nE   assert 90 == 95\n\n\
    def pay(price, off=0):\n    dearer = price + off\n    return max(0, dearer)\n\nThe change:\n\n--- a/shop/price.py\n\
    +++ b/shop/price.py\n@@ -1,3 +1,3 @@\n-    cheaper = price - off\n-    return max(0, cheaper)\n+    dearer = price + off\n\
    +    return max(0, dearer)\n";

const ANSWER: &str = "The discount is added where it has to be taken off.\n\n<<<<<<< SEARCH shop/price.py\n    dearer = price + \
    off\n    return max(0, dearer)\n=======\n    cheaper = price - off\n    return max(0, cheaper)\n>>>>>>> REPLACE\n";

const PATCH: &str = "diff --git a/shop/price.py b/shop/price.py\nindex 5d1f0a2b7c..9e8d7c6b5a 100644\n--- a/shop/price.py\n\
    +++ b/shop/price.py\n@@ -1,3 +1,3 @@\n def pay(price, off=0):\n-    dearer = price + off\n-    return max(0, dearer)\n\
    +    cheaper = price - off\n+    return max(0, cheaper)\n";
