//! A suite on disk: a directory of cases, each a repository, two of its commits, and how its tests are run.
//!
//! Touches: files.
//! Change here: when a case should say something else. `docs/evaluation.md` describes the file for authors.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::name_of;
use crate::config::{Project, is_plain_name};
use crate::event::{Change, Opening};
use crate::outside::claude::tape::{self, Recorded};

const FILE: &str = "eval.toml";
pub const ANSWERS: &str = "answers.jsonl";

/// `eval.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// A line for people.
    #[serde(default)]
    pub about: String,
    /// Last good commit; the first parent of the head where it is left out.
    #[serde(default)]
    pub base: Option<String>,
    /// Failing commit; the tip of the branch where it is left out.
    #[serde(default)]
    pub head: Option<String>,
    /// Ids of failing tests that nobody in a run may know of; where none is named, some are chosen.
    #[serde(default)]
    pub hidden: Vec<String>,
    /// Globs of files that are not in the tree during a run, and are laid back to judge what came of it.
    #[serde(default)]
    pub hidden_files: Vec<String>,
    /// As in the configuration; `repo` is taken from the file's directory.
    pub project: Project,
}

/// Which failing tests are hidden where a case names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hide {
    Half,
    Nothing,
}

/// One case, whether it was written down or happened.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    /// What its runs are told that the project is called.
    pub project_name: String,
    pub dir: PathBuf,
    pub told: Told,
    pub answers: Vec<Recorded>,
    /// Of a past run: the commits lie in the log's mirror already.
    pub change: Option<Change>,
    /// Of a past run: how its tournament was opened, what was known of earlier work included.
    pub opening: Option<Opening>,
}

/// The cases of a directory, by name.
pub fn read(suite: &Path, wanted: Option<&str>) -> anyhow::Result<Vec<Case>> {
    let entries = std::fs::read_dir(suite)
        .with_context(|| format!("{}: there is no such suite", suite.display()))?;
    let mut dirs = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    dirs.retain(|path| path.join(FILE).is_file());
    dirs.sort();
    let wanted = Wanted::of(wanted)?;
    dirs.retain(|dir| wanted.fits(&name_of(dir)));
    if dirs.is_empty() {
        bail!(
            "{}: holds no case{}; each is a directory with a file {FILE}",
            suite.display(),
            wanted.words()
        );
    }
    dirs.iter().map(|dir| case(dir)).collect()
}

fn case(dir: &Path) -> anyhow::Result<Case> {
    let path = dir.join(FILE);
    let bad = |why: String| anyhow::anyhow!("{}: {why}", path.display());
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let table: toml::Table = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
    if table
        .get("project")
        .is_some_and(|p| p.get("variants").is_some())
    {
        return Err(bad(
            "project.variants: who is tried is said with --variant or --project, not by a case"
                .into(),
        ));
    }
    let mut told: Told = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
    let name = name_of(dir);
    if !is_plain_name(&name) {
        return Err(bad(format!(
            "{name}: use lower-case letters, digits and dashes for the name of a case's directory"
        )));
    }
    for glob in &told.hidden_files {
        globset::Glob::new(glob).map_err(|e| bad(format!("hidden_files: {glob}: {e}")))?;
    }
    // A path beside the file; anything else is for git to understand.
    let beside = dir.join(&told.project.repo);
    if beside.exists() {
        told.project.repo = std::path::absolute(beside)?.display().to_string();
    } else if !told.project.repo.contains(':') {
        return Err(bad(format!(
            "project.repo = {:?}: there is no such repository beside this file",
            told.project.repo
        )));
    }
    let answers = tape::read(&dir.join(ANSWERS)).map_err(anyhow::Error::msg)?;
    Ok(Case {
        project_name: name.clone(),
        name,
        dir: dir.to_owned(),
        told,
        answers,
        change: None,
        opening: None,
    })
}

/// A glob for names, or none.
pub struct Wanted(Option<(String, globset::GlobMatcher)>);

impl Wanted {
    pub fn of(glob: Option<&str>) -> anyhow::Result<Wanted> {
        let Some(glob) = glob else {
            return Ok(Wanted(None));
        };
        let compiled =
            globset::Glob::new(glob).with_context(|| format!("--case {glob}: is no glob"))?;
        Ok(Wanted(Some((glob.to_owned(), compiled.compile_matcher()))))
    }

    pub fn fits(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|(_, glob)| glob.is_match(name))
    }

    pub fn words(&self) -> String {
        let that = |(glob, _): &(String, _)| format!(" that matches {glob}");
        self.0.as_ref().map(that).unwrap_or_default()
    }
}
