//! An agent loop: the model looks around, tries edits on the tests, and hands in what holds.
//!
//! Touches: nothing.
//! Change here: when an investigation should begin, be bounded or end otherwise. What the model may do is in
//! `action.rs`, what it is told in `prompt.rs`.

mod action;
mod look;
mod prompt;
mod transcript;

use changebus_sdk::edits::{Block, parse};
use changebus_sdk::evidence::gather;
use changebus_sdk::repair::{self, Draft, Reader, Reading, opening, summary, told};
use changebus_sdk::shares::clip;
use changebus_sdk::untrusted::{Fence, one_line, visible};
use changebus_sdk::{
    Config, Failure, Fault, Host, Level, Outcome, Patch, Prompt, Proposal, Report, Strategy, Tree,
    export_strategy,
};
use serde::Deserialize;

use action::{Action, Turn, turn};
use look::look;
use transcript::{Step, Transcript};

const RATIONALE: usize = 2000;
/// Times the model may do again what it has done.
const REPEATS: u32 = 3;
/// Answers in a row that may come to nothing on their way.
const LOST: u32 = 2;

/// The `config` table; every key may be left out.
#[derive(Clone, Debug, Deserialize, Config)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// The model's id; the project's own where it is left out.
    model: Option<String>,
    /// How hard the model thinks: `low` to `max`.
    effort: Option<String>,
    #[config(min = 0, max = 1)]
    temperature: Option<f64>,
    /// Caps thinking and answer of one turn together; 8000 by default.
    #[config(min = 1)]
    max_output_tokens: u32,
    /// Calls of the model at most; 24 by default.
    #[config(min = 1)]
    turns: u32,
    /// Probes at most, within what the host grants; 5 by default.
    probes: u32,
    /// How much of the failure the model is shown at the start; 65536 by default. Where it is not the same as that of
    /// the other model strategies, the provider cannot cache it for all of them.
    evidence_bytes: usize,
    /// Show the model what was learned from earlier fixes; true by default.
    history: bool,
    /// How much of what was said and seen since is sent whole; 49152 by default.
    transcript_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            model: None,
            effort: None,
            temperature: None,
            max_output_tokens: 8000,
            turns: 24,
            probes: 5,
            evidence_bytes: 64 << 10,
            history: true,
            transcript_bytes: 48 << 10,
        }
    }
}

impl Settings {
    fn for_the_opening(&self) -> repair::Settings {
        repair::Settings {
            model: self.model.clone(),
            effort: self.effort.clone(),
            temperature: self.temperature,
            max_output_tokens: self.max_output_tokens,
            evidence_bytes: self.evidence_bytes,
            ..repair::Settings::default()
        }
    }
}

#[derive(Default)]
pub struct Investigator;

export_strategy!(
    Investigator,
    asks = [history, llm, probe, workspace],
    config = Settings
);

impl Strategy for Investigator {
    fn run(
        &self,
        failure: &impl Failure,
        tree: &impl Tree,
        host: &impl Host,
    ) -> Result<Outcome, String> {
        let settings: Settings = host.config()?;
        let evidence = gather(
            failure,
            tree,
            settings.history.then_some(host),
            settings.evidence_bytes,
        );
        let mut investigation = Investigation {
            reader: Reader {
                failure,
                tree,
                fence: Fence::new(&failure.head()),
            },
            host,
            opening: opening(&settings.for_the_opening(), &evidence, host),
            settings,
            transcript: Transcript::default(),
            looks: vec![],
            tried: vec![],
            calls: 0,
            repeats: 0,
            dearest: 0,
        };
        Ok(match investigation.run() {
            Ok(proposal) => Outcome::Propose(proposal),
            Err(why) => Outcome::Decline(investigation.and_belief(why)),
        })
    }
}

struct Investigation<'a, F: Failure, T: Tree, H: Host> {
    reader: Reader<'a, F, T>,
    host: &'a H,
    settings: Settings,
    opening: Prompt,
    transcript: Transcript,
    /// What was looked at, and in which step.
    looks: Vec<(Action, usize)>,
    /// Edits that were probed and did not hold.
    tried: Vec<Vec<Block>>,
    calls: u32,
    repeats: u32,
    /// Millionths of a dollar that the dearest call took.
    dearest: u64,
}

/// What came of a turn.
enum Came {
    Of(Proposal),
    /// What the model is told, and what stays of it later.
    Told(String, String),
}

impl<F: Failure, T: Tree, H: Host> Investigation<'_, F, T, H> {
    fn run(&mut self) -> Result<Proposal, String> {
        let mut formless = false;
        let (mut lost, mut excuse) = (0, String::new());
        while self.calls < self.settings.turns {
            self.affords_another()?;
            let answer = match self.ask(&std::mem::take(&mut excuse)) {
                Ok(answer) => answer,
                Err(fault) if lost < LOST && excuse_for(&fault).is_some() => {
                    lost += 1;
                    excuse.push_str(excuse_for(&fault).unwrap_or_default());
                    continue;
                }
                Err(fault) => {
                    return Err(format!(
                        "the model gave no answer that can be used: {fault}"
                    ));
                }
            };
            lost = 0;
            let reading = self.reader.read(&answer, vec![]);
            if let Some(reason) = &reading.no_fix {
                let reason = one_line(reason, 600);
                return Err(format!("the model would change nothing: {reason}"));
            }
            let parsed = parse(&answer);
            let mut turn = turn(&parsed.prose);
            if !parsed.blocks.is_empty() || !parsed.problems.is_empty() {
                turn.action.get_or_insert(Action::Probe);
            }
            self.transcript.hypothesis = turn
                .hypothesis
                .clone()
                .or(self.transcript.hypothesis.take());
            let came = match turn.action.clone() {
                Some(action) => self.act(&action, &turn, reading)?,
                None if formless => {
                    return Err("two turns in a row held no action that can be read".to_owned());
                }
                None => Came::Told(prompt::FORM.to_owned(), "no action was taken".to_owned()),
            };
            formless = turn.action.is_none();
            match came {
                Came::Of(proposal) => return Ok(proposal),
                Came::Told(told, digest) => self.transcript.steps.push(Step {
                    said: match answer.trim() {
                        "" => "(nothing)".to_owned(),
                        said => said.to_owned(),
                    },
                    told,
                    digest,
                }),
            }
        }
        Err(format!(
            "after {} turns nothing held on the tests",
            self.calls
        ))
    }

    /// A further turn costs about what the dearest one did.
    fn affords_another(&self) -> Result<(), String> {
        let left = |meter: &str| self.host.remaining(meter);
        if left("llm.calls") == Some(0) {
            return Err(format!(
                "no model calls are left after {} turns",
                self.calls
            ));
        }
        match left("llm.usd-micros") {
            Some(left) if left < self.dearest => Err(format!(
                "after {} turns, what is left of the budget does not pay for another one",
                self.calls
            )),
            _ => Ok(()),
        }
    }

    fn ask(&mut self, excuse: &str) -> Result<String, Fault> {
        self.calls += 1;
        let status = format!("{excuse}{}", self.status());
        let prompt = self.transcript.prompt(
            &self.opening,
            prompt::TASK,
            &status,
            self.settings.transcript_bytes,
        );
        let answer = self.host.complete(&prompt)?;
        let cost = answer.usage.get("usd-micros").copied().unwrap_or_default();
        self.dearest = self.dearest.max(cost);
        Ok(answer.text)
    }

    fn status(&self) -> String {
        let turns = self.settings.turns;
        let probes = match self.probes_left() {
            0 => "No probe is left: edits can only be PROPOSEd, untried.".to_owned(),
            1 => "One probe is left.".to_owned(),
            left => format!("{left} probes are left."),
        };
        let last = match self.calls == turns {
            true => " This is the last turn: PROBE, PROPOSE or NO_FIX.",
            false => "",
        };
        format!("Turn {} of {turns}. {probes}{last}", self.calls)
    }

    fn probes_left(&self) -> u64 {
        let own =
            self.settings.probes as usize - self.tried.len().min(self.settings.probes as usize);
        let left = self.host.remaining("probe.runs").unwrap_or(u64::MAX);
        left.min(own as u64)
    }

    fn act(&mut self, action: &Action, turn: &Turn, reading: Reading) -> Result<Came, String> {
        let doing = one_line(&action.to_string(), 200);
        self.host
            .log(Level::Info, &format!("turn {}: {doing}", self.calls), &[]);
        let (failure, tree) = (self.reader.failure, self.reader.tree);
        if self.is_in_view(action) {
            self.repeated(&doing)?;
            return Ok(Came::Told(
                prompt::SEEN.to_owned(),
                format!("{doing}: done before"),
            ));
        }
        match look(action, failure, tree, &self.reader.fence) {
            Some(mut seen) => {
                let digest = format!(
                    "{doing}: {} lines were shown here and are left out now; ask again if you need them",
                    seen.lines().count()
                );
                if !reading.draft.blocks.is_empty() {
                    seen.insert_str(0, prompt::ONE);
                }
                self.looks
                    .push((action.clone(), self.transcript.steps.len()));
                Ok(Came::Told(seen, digest))
            }
            None => self.try_out(*action == Action::Propose, turn, reading),
        }
    }

    fn is_in_view(&self, action: &Action) -> bool {
        let bytes = self.settings.transcript_bytes;
        let mut before = self.looks.iter().filter(|(look, _)| look == action);
        before.any(|(_, step)| self.transcript.is_in_view(*step, bytes))
    }

    fn repeated(&mut self, doing: &str) -> Result<(), String> {
        self.repeats += 1;
        if self.repeats < REPEATS {
            return Ok(());
        }
        Err(format!(
            "the model goes round in circles, last with {doing}"
        ))
    }

    fn try_out(&mut self, last_word: bool, turn: &Turn, reading: Reading) -> Result<Came, String> {
        let not_tried = |told: String| {
            Ok(Came::Told(
                told,
                "those edits could not be tried as they were".to_owned(),
            ))
        };
        match reading.complaint {
            Some(complaint) if complaint.is_empty() => {
                return not_tried(prompt::NO_EDITS.to_owned());
            }
            Some(complaint) => return not_tried(format!("{complaint}{}", prompt::COMPLETE)),
            None => {}
        }
        let draft = reading.draft;
        if self.tried.contains(&draft.blocks) {
            self.repeated("edits that were tried before")?;
            return not_tried(prompt::TRIED.to_owned());
        }
        if self.probes_left() == 0 {
            return self.untried(last_word, turn, draft, "no probes left");
        }
        match self.host.probe(&draft.blocks.iter().cloned().collect()) {
            Ok(report) if report.is_good() => {
                Ok(Came::Of(self.proposal(turn, draft, 0.85, "passed")))
            }
            Ok(report) => Ok(self.red(draft, &report)),
            Err(fault) if fault.code == "patch.refused" => not_tried(format!(
                "- {}\n{}",
                one_line(&fault.message, 400),
                prompt::COMPLETE
            )),
            Err(fault) => self.untried(last_word, turn, draft, &one_line(&fault.to_string(), 200)),
        }
    }

    fn red(&mut self, draft: Draft, report: &Report) -> Came {
        self.tried.push(draft.blocks);
        let result = summary(report);
        self.host.log(
            Level::Info,
            &format!("the edits do not hold: {result}"),
            &[],
        );
        let told = format!("{}{}", told(report, &self.reader.fence), prompt::TAKEN_BACK);
        let digest = format!(
            "probe {}: {result}; those edits were taken back",
            self.tried.len()
        );
        Came::Told(told, digest)
    }

    /// Edits that nobody can try are handed in only where the model stands by them.
    fn untried(
        &self,
        last_word: bool,
        turn: &Turn,
        draft: Draft,
        why: &str,
    ) -> Result<Came, String> {
        if last_word {
            return Ok(Came::Of(self.proposal(turn, draft, 0.4, why)));
        }
        let told = format!(
            "The edits were not tried ({why}). PROPOSE them if you would have them merged untried, or look further.\n"
        );
        Ok(Came::Told(told, "those edits were not tried".to_owned()))
    }

    fn proposal(&self, turn: &Turn, draft: Draft, confidence: f32, probe: &str) -> Proposal {
        let said = [Some(&turn.prose), self.transcript.hypothesis.as_ref()];
        let rationale = said
            .into_iter()
            .flatten()
            .map(|text| clip(&visible(text), RATIONALE))
            .find(|text| !text.trim().is_empty())
            .unwrap_or_else(|| "The model gave no reasons.".to_owned());
        let mut notes = vec![
            ("probe".to_owned(), probe.to_owned()),
            ("model-calls".to_owned(), self.calls.to_string()),
            ("failed-probes".to_owned(), self.tried.len().to_string()),
        ];
        let dropped = draft.dropped.into_iter();
        notes.extend(dropped.map(|path| ("dropped-edit".to_owned(), path)));
        Proposal {
            patch: Patch::from_iter(draft.blocks),
            rationale,
            confidence,
            notes,
        }
    }

    /// People who take over should know how far it got.
    fn and_belief(&self, why: String) -> String {
        match &self.transcript.hypothesis {
            Some(belief) => format!("{why}; its last hypothesis: {}", one_line(belief, 400)),
            None => why,
        }
    }
}

/// What the model is told where its answer came to nothing on the way; None where asking again would not help.
fn excuse_for(fault: &Fault) -> Option<&'static str> {
    match fault.code.as_str() {
        "llm.answer-lost" => {
            Some("Your answer to the last turn was lost on its way. Take it again.\n")
        }
        "llm.truncated" => {
            Some("Your answer to the last turn was too long and was cut off. Be brief.\n")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
