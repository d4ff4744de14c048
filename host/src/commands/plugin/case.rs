//! A case on disk: a situation a plugin was or may be in, and what it is expected to make of it.
//!
//! Touches: files.
//! Change here: when a case should hold something else. `docs/plugin-cases.md` describes the files for authors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{self, ReportFormat};
use crate::event::{
    Commit, Fault, Learned, ModelAnswer, Patch, ProbeReport, TestFailure, ToolReport, Usage,
};
use crate::outside::wasm::{Field, PluginKind};

pub mod desk;
pub mod ground;
pub mod play;
pub mod snapshot;

const CASE: &str = "case.toml";
const ANSWERS: &str = "answers.jsonl";
const FIELD: &str = "field.json";
pub const EXPECTED: &str = "expected.json";
pub const BEFORE: &str = "before";
pub const HEAD: &str = "head";

/// One case, read as far as it can be without running anything.
#[derive(Clone, Debug)]
pub struct Case {
    pub dir: PathBuf,
    pub told: Told,
    pub answers: Vec<Answer>,
    /// Of a scorer or an escalation plugin.
    pub field: Option<Field>,
}

/// `case.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// A line for people.
    #[serde(default)]
    pub about: String,
    pub world: PluginKind,
    /// Runs the tests on a patched `head/`, where `answers.jsonl` does not say what they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    #[serde(default)]
    pub report: ReportFormat,
    /// Of the policy: globs added to the built-in ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test_paths: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protected_paths: Vec<String>,
    #[serde(default)]
    pub budgets: Budgets,
    #[serde(default)]
    pub facts: Facts,
    /// What confines setup and tests, as in a project.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub sandbox: config::Sandbox,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The project's tools: name and command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, String>,
    /// The plugin's `config` table.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<Failing>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commits: Vec<Commit>,
}

fn is_usual(sandbox: &config::Sandbox) -> bool {
    *sandbox == config::Sandbox::default()
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    pub probes: u32,
    pub llm_output_tokens: u64,
    pub llm_usd_micros: u64,
    pub seconds: u64,
}

impl Default for Budgets {
    fn default() -> Budgets {
        Budgets {
            probes: 20,
            llm_output_tokens: 16_000,
            llm_usd_micros: 2_000_000,
            seconds: 1200,
        }
    }
}

/// What the host tells a strategy besides the trees.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Facts {
    pub project: String,
    /// Ids of the two commits; made up where they are left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub head: String,
    /// The end of what the test command printed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub suite_output: String,
    /// What the clock shows at the start, and what chance is drawn from.
    pub now_ms: u64,
    pub seed: String,
    /// Tests that passed before the change; found out with `test` where they are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// Failing tests the strategy is not shown.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub held_out: BTreeSet<String>,
    pub attributes: BTreeMap<String, String>,
    /// `scope/key/metric` to value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub history: BTreeMap<String, f64>,
    /// What earlier runs teach: similar failures, what people said.
    #[serde(skip_serializing_if = "Learned::is_empty")]
    pub learned: Learned,
}

/// A test the plugin is to mend.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failing {
    pub id: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

impl From<&Failing> for TestFailure {
    fn from(failing: &Failing) -> TestFailure {
        TestFailure {
            id: failing.id.clone(),
            message: failing.message.clone(),
            detail: failing.detail.clone(),
            file: failing.file.clone(),
            line: failing.line,
        }
    }
}

/// A line of `answers.jsonl`: what the host answered, in the order of the asking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    #[serde(flatten)]
    pub to: Asked,
    /// When it was kept, in milliseconds since 1970; a second after the one before where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    Model(Reply<Said>),
    Probe {
        /// Digest of the patch.
        patch: String,
        #[serde(flatten)]
        reply: Reply<ProbeReport>,
    },
    Tool {
        name: String,
        patch: String,
        #[serde(flatten)]
        reply: Reply<ToolReport>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply<T> {
    Answer(T),
    Fault(Fault),
}

impl<T> From<Result<T, Fault>> for Reply<T> {
    fn from(result: Result<T, Fault>) -> Reply<T> {
        match result {
            Ok(answer) => Reply::Answer(answer),
            Err(fault) => Reply::Fault(fault),
        }
    }
}

impl<T> From<Reply<T>> for Result<T, Fault> {
    fn from(reply: Reply<T>) -> Result<T, Fault> {
        match reply {
            Reply::Answer(answer) => Ok(answer),
            Reply::Fault(fault) => Err(fault),
        }
    }
}

/// An answer of the model; one written by hand needs no more than its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    pub text: String,
    #[serde(default = "by_hand")]
    pub model: String,
    #[serde(default = "to_its_end")]
    pub stop_reason: String,
    #[serde(default)]
    pub usage: Usage,
}

fn by_hand() -> String {
    "recorded".to_owned()
}

fn to_its_end() -> String {
    "end_turn".to_owned()
}

impl From<ModelAnswer> for Said {
    fn from(answer: ModelAnswer) -> Said {
        Said {
            text: answer.text,
            model: answer.model,
            stop_reason: answer.stop_reason,
            usage: answer.usage,
        }
    }
}

impl From<Said> for ModelAnswer {
    fn from(said: Said) -> ModelAnswer {
        ModelAnswer {
            text: said.text,
            model: said.model,
            stop_reason: said.stop_reason,
            usage: said.usage,
            request_id: None,
            notes: vec![],
        }
    }
}

/// What a probe or a tool is recognised by.
pub fn digest(patch: &Patch) -> String {
    crate::stages::tournament::desk::digest(patch)
}

impl Case {
    pub fn read(dir: &Path) -> anyhow::Result<Case> {
        let path = dir.join(CASE);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{}: a case needs it", path.display()))?;
        let told: Told =
            toml::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))?;
        let case = Case {
            answers: answers(&dir.join(ANSWERS))?,
            field: field(&dir.join(FIELD))?,
            dir: dir.to_owned(),
            told,
        };
        case.check()?;
        Ok(case)
    }

    fn check(&self) -> anyhow::Result<()> {
        let dir = self.dir.display();
        match self.told.world {
            PluginKind::Strategy if self.told.failing.is_empty() => {
                bail!("{dir}: case.toml names no [[failing]] test; a strategy needs one to mend")
            }
            PluginKind::Strategy => {
                for tree in [BEFORE, HEAD] {
                    if !self.dir.join(tree).is_dir() {
                        bail!("{dir}: has no directory {tree}/");
                    }
                }
                Ok(())
            }
            world if self.field.is_none() => {
                bail!("{dir}: has no {FIELD}; a case of a {world} needs the field to judge")
            }
            _ => Ok(()),
        }
    }

    /// Writes everything but the trees and the snapshot. The directory must not hold a case yet.
    pub fn write(&self) -> anyhow::Result<()> {
        if self.dir.join(CASE).exists() {
            bail!(
                "{}: holds a case already; name another directory",
                self.dir.display()
            );
        }
        std::fs::create_dir_all(&self.dir)
            .with_context(|| format!("making {}", self.dir.display()))?;
        put(&self.dir.join(CASE), &toml::to_string_pretty(&self.told)?)?;
        if !self.answers.is_empty() {
            let lines = self
                .answers
                .iter()
                .map(|a| Ok(serde_json::to_string(a)? + "\n"));
            put(
                &self.dir.join(ANSWERS),
                &lines.collect::<anyhow::Result<String>>()?,
            )?;
        }
        if let Some(field) = &self.field {
            put(
                &self.dir.join(FIELD),
                &(serde_json::to_string_pretty(field)? + "\n"),
            )?;
        }
        Ok(())
    }

    /// The directory's name.
    pub fn name(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// The cases below a directory whose names match, in the order of their names.
pub fn all(dir: &Path, wanted: Option<&str>) -> anyhow::Result<Vec<Case>> {
    let glob = wanted
        .map(|w| globset::Glob::new(w).with_context(|| format!("--case {w}: is no glob")))
        .transpose()?
        .map(|glob| glob.compile_matcher());
    let entries = std::fs::read_dir(dir).with_context(|| {
        format!(
            "{}: no cases there; `changebus plugin record` makes one, or name their directory with --cases",
            dir.display()
        )
    })?;
    let mut dirs = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    dirs.retain(|path| {
        let name = path.file_name().unwrap_or_default();
        path.join(CASE).is_file() && glob.as_ref().is_none_or(|g| g.is_match(name))
    });
    dirs.sort();
    if dirs.is_empty() {
        let which = wanted.map_or(String::new(), |w| format!(" that matches {w}"));
        bail!("{}: holds no case{which}", dir.display());
    }
    dirs.iter().map(|dir| Case::read(dir)).collect()
}

fn answers(path: &Path) -> anyhow::Result<Vec<Answer>> {
    let Some(text) = text(path)? else {
        return Ok(vec![]);
    };
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}:{}: is no answer", path.display(), index + 1))
        })
        .collect()
}

fn field(path: &Path) -> anyhow::Result<Option<Field>> {
    let Some(mut field) = json::<Field>(path)? else {
        return Ok(None);
    };
    if field.config.is_null() {
        field.config = serde_json::json!({});
    }
    Ok(Some(field))
}

/// A JSON file; none where there is no such file.
pub fn json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let Some(text) = text(path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))
}

fn text(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

pub fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_written_by_hand_needs_no_more_than_its_text() {
        let answer: Answer =
            serde_json::from_str(r#"{"model":{"answer":{"text":"hi"}}}"#).expect("an answer");
        let Asked::Model(Reply::Answer(said)) = answer.to else {
            panic!("{answer:?}");
        };
        assert_eq!(
            (said.text.as_str(), said.model.as_str()),
            ("hi", "recorded")
        );
    }

    #[test]
    fn every_kind_of_answer_survives_being_written_and_read() {
        let fault = Fault::new(crate::event::FaultKind::Budget, "probe.spent", "none left");
        let reply = || Reply::Fault(fault.clone());
        let asked = [
            Asked::Model(Reply::Fault(fault.clone())),
            Asked::Probe {
                patch: "ab".into(),
                reply: reply(),
            },
            Asked::Tool {
                name: "fmt".into(),
                patch: "cd".into(),
                reply: Reply::Fault(fault.clone()),
            },
        ];
        for (to, at_ms) in asked.into_iter().zip([None, Some(7), Some(8)]) {
            let answer = Answer { to, at_ms };
            let line = serde_json::to_string(&answer).expect("it can be written");
            assert_eq!(
                serde_json::from_str::<Answer>(&line).expect("it can be read"),
                answer,
                "{line}"
            );
        }
    }
}
