//! A tree out of strings.
//!
//! Touches: nothing.
//! Change here: when a tree can be asked something new.

use super::Files;
use crate::{Fault, FaultKind, Hit, SearchOpts, Tree};

/// A tree out of strings.
#[derive(Clone, Debug, Default)]
pub struct TestTree {
    pub(super) revision: String,
    pub(super) files: Files,
}

impl TestTree {
    pub(super) fn new(revision: String) -> TestTree {
        TestTree {
            revision,
            files: Files::new(),
        }
    }

    fn file(&self, path: &str) -> Result<&String, Fault> {
        let missing = || {
            Fault::new(
                FaultKind::NotFound,
                "file.not-found",
                format!("{path} is not in the tree"),
            )
        };
        self.files.get(path).ok_or_else(missing)
    }
}

impl Tree for TestTree {
    fn revision(&self) -> String {
        self.revision.clone()
    }

    fn size(&self, path: &str) -> Result<u64, Fault> {
        self.file(path).map(|text| text.len() as u64)
    }

    fn read(&self, path: &str, offset: u64, max_bytes: u32) -> Result<Vec<u8>, Fault> {
        let bytes = self.file(path)?.as_bytes();
        let from = (offset as usize).min(bytes.len());
        let to = (from + max_bytes as usize).min(bytes.len());
        Ok(bytes[from..to].to_vec())
    }

    fn glob(&self, pattern: &str, limit: u32) -> Result<Vec<String>, Fault> {
        let glob = matcher(pattern)?;
        let paths = self.files.keys().filter(|path| glob.is_match(path));
        Ok(paths.take(limit as usize).cloned().collect())
    }

    fn search(
        &self,
        pattern: &str,
        opts: SearchOpts,
        path_glob: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Hit>, Fault> {
        let regex = search_regex(pattern, opts)?;
        let glob = path_glob.map(matcher).transpose()?;
        let files = self
            .files
            .iter()
            .filter(|(path, _)| glob.as_ref().is_none_or(|g| g.is_match(path)));
        let hits = files.flat_map(|(path, text)| {
            let matching = text
                .lines()
                .enumerate()
                .filter(|(_, line)| regex.is_match(line));
            matching.map(|(at, line)| Hit {
                path: path.clone(),
                line: at as u32 + 1,
                text: line.to_owned(),
            })
        });
        Ok(hits.take(limit as usize).collect())
    }
}

pub(super) fn matcher(pattern: &str) -> Result<globset::GlobMatcher, Fault> {
    let glob = globset::GlobBuilder::new(pattern)
        .literal_separator(true)
        .build();
    let invalid =
        |e: globset::Error| Fault::new(FaultKind::Invalid, "workspace.bad-glob", e.to_string());
    Ok(glob.map_err(invalid)?.compile_matcher())
}

fn search_regex(pattern: &str, opts: SearchOpts) -> Result<regex::Regex, Fault> {
    let body = if opts.regex {
        pattern.to_owned()
    } else {
        regex::escape(pattern)
    };
    let body = if opts.word {
        format!(r"\b(?:{body})\b")
    } else {
        body
    };
    let built = regex::RegexBuilder::new(&body)
        .case_insensitive(opts.ignore_case)
        .build();
    built.map_err(|e| Fault::new(FaultKind::Invalid, "workspace.bad-pattern", e.to_string()))
}
