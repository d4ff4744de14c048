//! Patches on files out of strings, as the host would apply them.
//!
//! Touches: nothing.
//! Change here: when a patch can say something new.

use std::collections::BTreeSet;

use super::Files;
use crate::{Edit, Fault, FaultKind, edits};

pub(super) fn apply(files: &mut Files, edit: &Edit) -> Result<(), Fault> {
    match edit {
        Edit::Write { path, content } => {
            let text = String::from_utf8(content.clone())
                .map_err(|_| Fault::new(FaultKind::Invalid, "patch.not-text", path.clone()))?;
            files.insert(path.clone(), text);
        }
        Edit::Replace {
            path,
            search,
            replacement,
        } => replace(files, path, search, replacement)?,
        Edit::Delete { path } => {
            if files.remove(path).is_none() {
                return Err(Fault::new(
                    FaultKind::NotFound,
                    "patch.no-file",
                    path.clone(),
                ));
            }
        }
        Edit::UnifiedDiff { text } => apply_diff(files, text)?,
    }
    Ok(())
}

fn replace(files: &mut Files, path: &str, search: &str, replacement: &str) -> Result<(), Fault> {
    let kind = edits::Kind::Replace {
        search: search.to_owned(),
        replacement: replacement.to_owned(),
    };
    let block = edits::Block {
        path: path.to_owned(),
        kind,
    };
    let no_match = |misses: Vec<edits::BlockMiss>| {
        let why: Vec<String> = misses.iter().map(ToString::to_string).collect();
        Fault::new(FaultKind::Conflict, "patch.no-match", why.join("; "))
    };
    let applied = edits::apply(|path| files.get(path).cloned(), &[block]).map_err(no_match)?;
    files.extend(
        applied
            .files
            .into_iter()
            .filter_map(|(path, text)| Some((path, text?))),
    );
    Ok(())
}

/// Each hunk is a replacement of its old lines by its new ones.
fn apply_diff(files: &mut Files, diff: &str) -> Result<(), Fault> {
    let (mut old_path, mut path) = (None, None);
    let mut hunk: Option<(String, String)> = None;
    for line in diff.lines().chain(["diff end"]) {
        let sign = line.chars().next();
        match (&mut hunk, sign) {
            (Some((old, _)), Some('-')) if !line.starts_with("--- ") => push_line(old, line),
            (Some((_, new)), Some('+')) if !line.starts_with("+++ ") => push_line(new, line),
            (Some((old, new)), Some(' ') | None) => {
                push_line(old, line);
                push_line(new, line);
            }
            (_, Some('\\')) => {}
            _ => {
                if let Some((old, new)) = hunk.take() {
                    apply_hunk(files, old_path.as_deref(), path.as_deref(), &old, &new)?;
                }
                if let Some(name) = line.strip_prefix("--- ") {
                    old_path = diff_path(name);
                } else if let Some(name) = line.strip_prefix("+++ ") {
                    path = diff_path(name);
                } else if line.starts_with("@@") {
                    hunk = Some(Default::default());
                }
            }
        }
    }
    Ok(())
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.get(1..).unwrap_or_default());
    text.push('\n');
}

fn diff_path(name: &str) -> Option<String> {
    let name = name.split('\t').next().unwrap_or(name);
    let stripped = name.strip_prefix("a/").or_else(|| name.strip_prefix("b/"));
    (name != "/dev/null").then(|| stripped.unwrap_or(name).to_owned())
}

fn apply_hunk(
    files: &mut Files,
    old_path: Option<&str>,
    path: Option<&str>,
    old: &str,
    new: &str,
) -> Result<(), Fault> {
    match (old_path, path) {
        (Some(path), None) => {
            files.remove(path);
            Ok(())
        }
        (_, Some(path)) => replace(files, path, old, new),
        (None, None) => Err(Fault::new(
            FaultKind::Invalid,
            "patch.bad-diff",
            "a hunk without a file",
        )),
    }
}

pub(super) fn changed(before: &Files, after: &Files) -> Vec<String> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |path: &&&String| before.get(**path) != after.get(**path);
    paths
        .iter()
        .filter(differs)
        .map(|p| p.to_string())
        .collect()
}

/// Every changed file as one hunk.
pub(super) fn whole_diff(before: &Files, after: &Files) -> String {
    let mut diff = String::new();
    for path in changed(before, after) {
        let (old, new) = (before.get(&path), after.get(&path));
        let name = |side, file: Option<&String>| match file {
            Some(_) => format!("{side}/{path}"),
            None => "/dev/null".to_owned(),
        };
        let signed = |sign, file: Option<&String>| -> String {
            let lines = file.iter().flat_map(|text| text.lines());
            lines.map(|line| format!("{sign}{line}\n")).collect()
        };
        diff += &format!("--- {}\n+++ {}\n@@\n", name('a', old), name('b', new));
        diff += &(signed('-', old) + &signed('+', new));
    }
    diff
}
