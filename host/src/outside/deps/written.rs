//! Where each direct dependency is written in a manifest, to the byte, and the same manifest with other versions in it.
//!
//! Touches: nothing.
//! Change here: when a manifest can name a dependency in another place. What is a path, a git address, a URL or a member of
//! the workspace is left out: no index has versions of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::DepsError;
use super::requirement::Dialect;
use crate::event::{Ecosystem, Step};

/// One direct dependency and the bytes of the file that say which versions will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub name: String,
    pub requirement: String,
    pub section: String,
    /// Of the requirement within the file; empty where nothing is asked.
    pub span: Range<usize>,
    pub dialect: Dialect,
    /// A hash stands beside it that would have to change too.
    pub hashed: bool,
    /// The index it is looked up in, where the manifest names another one than the usual.
    pub registry: Option<String>,
}

/// A manifest as it lies in the tree.
pub(super) struct Source<'a> {
    pub path: &'a str,
    pub text: &'a str,
}

impl<'a> Source<'a> {
    pub fn read(&self, ecosystem: Ecosystem) -> Result<Vec<Written>, DepsError> {
        match ecosystem {
            Ecosystem::Pip | Ecosystem::PipTools => self.requirements(),
            Ecosystem::Uv => self.pyproject(&self.toml()?),
            Ecosystem::Poetry => self.poetry(&self.toml()?),
            Ecosystem::Npm => self.package_json(),
            Ecosystem::Cargo => self.cargo(&self.toml()?),
        }
    }

    fn unreadable(&self, at: usize, why: impl Into<String>) -> DepsError {
        let before = self.text.get(..at).unwrap_or(self.text);
        DepsError::Unreadable {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            why: why.into(),
        }
    }

    pub fn toml(&self) -> Result<Spanned<DeTable<'a>>, DepsError> {
        DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.unreadable(at, error.message())
        })
    }

    fn requirements(&self) -> Result<Vec<Written>, DepsError> {
        let mut found = Vec::new();
        for (at, line) in logical_lines(self.text) {
            let content = without_comment(line);
            let is_other = |text: &str| {
                text.is_empty()
                    || text.starts_with(['-', '.', '/'])
                    || text.contains("://")
                    || text.contains('@')
                    || is_archive(text)
            };
            if is_other(content.trim()) {
                continue;
            }
            let one = requirement_of(content).ok_or_else(|| {
                self.unreadable(at, format!("`{}` names no package", content.trim()))
            })?;
            let span = one.span.start + at..one.span.end + at;
            let written = self.written(one.name, span, "", Dialect::Python)?;
            found.push(Written {
                hashed: content.contains("--hash"),
                ..written
            });
        }
        Ok(found)
    }

    fn written(
        &self,
        name: &str,
        span: Range<usize>,
        section: &str,
        dialect: Dialect,
    ) -> Result<Written, DepsError> {
        let requirement = self.text.get(span.clone()).unwrap_or_default();
        let some_version = match dialect {
            Dialect::Python | Dialect::Poetry => "1",
            Dialect::Npm | Dialect::Cargo => "1.0.0",
        };
        dialect
            .admits(requirement, some_version)
            .map_err(|why| self.unreadable(span.start, format!("{name}: {why}")))?;
        Ok(Written {
            name: name.to_owned(),
            requirement: requirement.to_owned(),
            section: section.to_owned(),
            span,
            dialect,
            hashed: false,
            registry: None,
        })
    }

    /// The bytes between the quotes; the same as what they say, or there would be two ways to write it.
    fn inner(&self, value: &Spanned<DeValue<'_>>) -> Result<Range<usize>, DepsError> {
        let (span, said) = (value.span(), value.get_ref().as_str().unwrap_or_default());
        let raw = self.text.get(span.clone()).unwrap_or_default();
        let found = raw.find(said).map(|at| span.start + at);
        let start = found.ok_or_else(|| {
            self.unreadable(
                span.start,
                "a requirement is written with escapes; write it plainly",
            )
        })?;
        Ok(start..start + said.len())
    }

    /// What PEP 621 and the groups of PEP 735 name.
    fn pyproject(&self, root: &Spanned<DeTable<'_>>) -> Result<Vec<Written>, DepsError> {
        let root = root.get_ref();
        let tool = table(root, "tool").and_then(|tool| table(tool, "uv"));
        let elsewhere = tool.and_then(|uv| table(uv, "sources"));
        let is_elsewhere = |name: &str| {
            let normal = normalized(name);
            elsewhere.is_some_and(|sources| {
                sources.iter().any(|(key, value)| {
                    normalized(key.get_ref()) == normal && !is_index(value.get_ref())
                })
            })
        };
        let mut lists: Vec<(String, &DeValue<'_>)> = Vec::new();
        if let Some(project) = table(root, "project") {
            lists.extend(
                project
                    .get("dependencies")
                    .map(|v| ("dependencies".to_owned(), v.get_ref())),
            );
            lists.extend(groups(project, "optional-dependencies"));
        }
        lists.extend(groups(root, "dependency-groups"));
        lists.extend(tool.and_then(|uv| {
            Some((
                "dev-dependencies".to_owned(),
                uv.get("dev-dependencies")?.get_ref(),
            ))
        }));
        let mut found = Vec::new();
        for (section, list) in lists {
            for value in list.as_array().into_iter().flatten() {
                // A group may include another.
                let Some(text) = value.get_ref().as_str() else {
                    continue;
                };
                let inner = self.inner(value)?;
                if text.contains('@') {
                    continue;
                }
                let one = requirement_of(text).ok_or_else(|| {
                    self.unreadable(inner.start, format!("`{text}` names no package"))
                })?;
                if is_elsewhere(one.name) {
                    continue;
                }
                let span = one.span.start + inner.start..one.span.end + inner.start;
                found.push(self.written(one.name, span, &section, Dialect::Python)?);
            }
        }
        Ok(found)
    }

    fn poetry(&self, root: &Spanned<DeTable<'_>>) -> Result<Vec<Written>, DepsError> {
        let mut found = self.pyproject(root)?;
        let Some(tool) = table(root.get_ref(), "tool").and_then(|tool| table(tool, "poetry"))
        else {
            return Ok(found);
        };
        let mut sections: Vec<(String, &DeTable<'_>)> = Vec::new();
        for name in ["dependencies", "dev-dependencies"] {
            sections.extend(table(tool, name).map(|found| (name.to_owned(), found)));
        }
        for (name, group) in table(tool, "group").into_iter().flatten() {
            let inner = group.get_ref().as_table();
            let inner = inner.and_then(|group| table(group, "dependencies"));
            sections.extend(inner.map(|found| (name.get_ref().to_string(), found)));
        }
        // What `[project]` names too has its version there; the tool's own table only says more of it.
        let named: Vec<String> = found.iter().map(|one| normalized(&one.name)).collect();
        for (section, dependencies) in sections {
            for (name, value) in dependencies {
                let name = name.get_ref();
                if name == "python" || named.contains(&normalized(name)) {
                    continue;
                }
                let source = value
                    .get_ref()
                    .as_table()
                    .and_then(|table| table.get("source"));
                let Some(value) = version_of(value, &["git", "path", "url"]) else {
                    continue;
                };
                let span = self.inner(value)?;
                let written = self.written(name, span, &section, Dialect::Poetry)?;
                found.push(Written {
                    registry: source.and_then(|s| s.get_ref().as_str().map(str::to_owned)),
                    ..written
                });
            }
        }
        Ok(found)
    }

    fn cargo(&self, root: &Spanned<DeTable<'_>>) -> Result<Vec<Written>, DepsError> {
        let root = root.get_ref();
        let mut sections: Vec<(String, &DeTable<'_>)> = Vec::new();
        collect_cargo(root, "", &mut sections);
        for (platform, inner) in table(root, "target").into_iter().flatten() {
            if let Some(inner) = inner.get_ref().as_table() {
                collect_cargo(
                    inner,
                    &format!("target.{}.", platform.get_ref()),
                    &mut sections,
                );
            }
        }
        if let Some(workspace) = table(root, "workspace") {
            let shared = table(workspace, "dependencies");
            sections.extend(shared.map(|found| ("workspace.dependencies".to_owned(), found)));
        }
        let mut found = Vec::new();
        for (section, dependencies) in sections {
            for (key, value) in dependencies {
                let options = value.get_ref().as_table();
                let said = |what: &str| {
                    let said = options.and_then(|table| table.get(what))?;
                    said.get_ref().as_str().map(str::to_owned)
                };
                let Some(version) = version_of(value, &["git", "path", "workspace"]) else {
                    continue;
                };
                let name = said("package").unwrap_or_else(|| key.get_ref().to_string());
                let span = self.inner(version)?;
                let written = self.written(&name, span, &section, Dialect::Cargo)?;
                found.push(Written {
                    registry: said("registry"),
                    ..written
                });
            }
        }
        Ok(found)
    }

    fn package_json(&self) -> Result<Vec<Written>, DepsError> {
        type Object<'a> = BTreeMap<String, &'a RawValue>;
        let broken = |error: serde_json::Error| DepsError::Unreadable {
            path: self.path.to_owned(),
            line: error.line(),
            why: error.to_string(),
        };
        let root: Object<'_> =
            serde_json::from_str(self.text.trim_start_matches('\u{feff}')).map_err(broken)?;
        let mut found = Vec::new();
        for section in NPM_SECTIONS {
            let Some(raw) = root.get(section) else {
                continue;
            };
            let at = offset(self.text, raw.get());
            let entries: Object<'_> = serde_json::from_str(raw.get())
                .map_err(|error| self.unreadable(at, format!("{section}: {error}")))?;
            for (name, raw) in entries {
                let at = offset(self.text, raw.get());
                let said: Cow<'_, str> = serde_json::from_str(raw.get())
                    .map_err(|error| self.unreadable(at, format!("{name}: {error}")))?;
                // Addresses, paths, aliases and members of the workspace have one of these.
                if said.contains([':', '/', '#']) {
                    continue;
                }
                let inner = at + 1..at + raw.get().len() - 1;
                if self.text.get(inner.clone()) != Some(&*said) {
                    return Err(self.unreadable(
                        at,
                        format!("{name}: it is written with escapes; write it plainly"),
                    ));
                }
                found.push(self.written(&name, inner, section, Dialect::Npm)?);
            }
        }
        found.sort_by_key(|one| one.span.start);
        Ok(found)
    }

    /// The same file with these requirements in the place of others.
    pub fn with(&self, changes: &[(&Written, String)]) -> String {
        let mut text = self.text.to_owned();
        let mut changes: Vec<&(&Written, String)> = changes.iter().collect();
        changes.sort_by_key(|(written, _)| std::cmp::Reverse(written.span.start));
        for (written, requirement) in changes {
            text.replace_range(written.span.clone(), requirement);
        }
        text
    }

    /// The same file with a comment in a line of its own above each of these, indented as they are.
    pub fn with_comments(&self, changes: &[(&Written, String)], comment: &str) -> String {
        let mut text = self.with(changes);
        let mut starts: Vec<usize> = changes
            .iter()
            .map(|(written, _)| line_start(self.text, written.span.start))
            .collect();
        starts.sort_unstable();
        starts.dedup();
        for start in starts.into_iter().rev() {
            // A change moves only what comes after the line it lies in.
            let moved: isize = changes
                .iter()
                .filter(|(written, _)| written.span.start < start)
                .map(|(written, new)| new.len() as isize - written.span.len() as isize)
                .sum();
            let start = start.saturating_add_signed(moved);
            let line = &text[start..];
            let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
            let end = if line
                .split_inclusive('\n')
                .next()
                .is_some_and(|l| l.ends_with("\r\n"))
            {
                "\r\n"
            } else {
                "\n"
            };
            let said = format!("{indent}# {comment}{end}");
            text.insert_str(start, &said);
        }
        text
    }

    /// Each step's requirements, moved so that they admit it.
    pub fn moved<'w>(
        &self,
        written: &'w [Written],
        steps: &[Step],
    ) -> Result<Vec<(&'w Written, String)>, DepsError> {
        let mut changes = Vec::new();
        for step in steps {
            for one in self.named(written, &step.name)? {
                let moved = one.dialect.moved(&one.requirement, &step.to);
                let moved = moved.map_err(|why| DepsError::Immovable {
                    path: self.path.to_owned(),
                    name: step.name.clone(),
                    why,
                })?;
                let is_hashed = one.hashed && moved != one.requirement;
                if is_hashed {
                    return Err(DepsError::Immovable {
                        path: self.path.to_owned(),
                        name: step.name.clone(),
                        why: "it is pinned by its hashes, which stay those of the old version; \
                              have pip-compile write this file from a `.in`"
                            .to_owned(),
                    });
                }
                changes.push((one, moved));
            }
        }
        Ok(changes)
    }

    /// The same, with that one version alone.
    pub fn pinned<'w>(
        &self,
        written: &'w [Written],
        steps: &[Step],
    ) -> Result<Vec<(&'w Written, String)>, DepsError> {
        let mut changes = Vec::new();
        for step in steps {
            for one in self.named(written, &step.name)? {
                changes.push((one, one.dialect.pinned(&step.to)));
            }
        }
        Ok(changes)
    }

    fn named<'w>(&self, written: &'w [Written], name: &str) -> Result<Vec<&'w Written>, DepsError> {
        let is_it = |one: &&Written| same_name(one.dialect, &one.name, name);
        let found: Vec<&Written> = written.iter().filter(is_it).collect();
        if found.is_empty() {
            return Err(DepsError::NotWritten {
                path: self.path.to_owned(),
                name: name.to_owned(),
            });
        }
        Ok(found)
    }
}

const NPM_SECTIONS: [&str; 3] = ["dependencies", "devDependencies", "optionalDependencies"];

fn collect_cargo<'t, 'i>(
    within: &'t DeTable<'i>,
    prefix: &str,
    sections: &mut Vec<(String, &'t DeTable<'i>)>,
) {
    for name in ["dependencies", "dev-dependencies", "build-dependencies"] {
        sections.extend(table(within, name).map(|found| (format!("{prefix}{name}"), found)));
    }
}

pub(super) fn table<'t, 'i>(within: &'t DeTable<'i>, name: &str) -> Option<&'t DeTable<'i>> {
    within.get(name)?.get_ref().as_table()
}

fn groups<'t, 'i>(within: &'t DeTable<'i>, name: &str) -> Vec<(String, &'t DeValue<'i>)> {
    let groups = table(within, name).into_iter().flatten();
    groups
        .map(|(name, list)| (name.get_ref().to_string(), list.get_ref()))
        .collect()
}

/// The version of a dependency that is a string, or a table without any of the words that put it elsewhere.
fn version_of<'t, 'i>(
    value: &'t Spanned<DeValue<'i>>,
    elsewhere: &[&str],
) -> Option<&'t Spanned<DeValue<'i>>> {
    if value.get_ref().is_str() {
        return Some(value);
    }
    let table = value.get_ref().as_table()?;
    if elsewhere.iter().any(|word| table.contains_key(*word)) {
        return None;
    }
    table
        .get("version")
        .filter(|version| version.get_ref().is_str())
}

/// Of uv's sources, the one that names an index and nothing else.
fn is_index(source: &DeValue<'_>) -> bool {
    source
        .as_table()
        .is_some_and(|table| table.contains_key("index"))
}

/// PEP 503: how an index calls a package.
pub(super) fn normalized(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}

pub(super) fn same_name(dialect: Dialect, a: &str, b: &str) -> bool {
    match dialect {
        Dialect::Python | Dialect::Poetry => normalized(a) == normalized(b),
        Dialect::Npm | Dialect::Cargo => a == b,
    }
}

struct Named<'a> {
    name: &'a str,
    span: Range<usize>,
}

/// A package of PEP 508 and where its versions stand: before the marker, the options and the end.
fn requirement_of(text: &str) -> Option<Named<'_>> {
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?")
            .expect("the pattern is fixed")
    });
    let found = NAME.captures(text)?;
    let (whole, name) = (found.get(0)?, found.get(1)?);
    let rest = &text[whole.end()..];
    let ends = [";", " --", "\\", "\n"];
    let end = ends.iter().filter_map(|end| rest.find(end)).min();
    let rest = &rest[..end.unwrap_or(rest.len())];
    let bracketed = rest
        .trim()
        .strip_prefix('(')
        .and_then(|r| r.strip_suffix(')'));
    let written = bracketed.unwrap_or(rest).trim();
    let start = if written.is_empty() {
        whole.as_str().trim_end().len()
    } else {
        offset(text, written)
    };
    Some(Named {
        name: name.as_str(),
        span: start..start + written.len(),
    })
}

/// Lines with what a backslash joins to them, and where they start.
fn logical_lines(text: &str) -> Vec<(usize, &str)> {
    let (mut lines, mut start, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        let goes_on = line.trim_end().ends_with('\\') && !line.trim_start().starts_with('#');
        if !goes_on {
            lines.push((start, &text[start..at]));
            start = at;
        }
    }
    if start < at {
        lines.push((start, &text[start..at]));
    }
    lines
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') {
        return "";
    }
    let end = [" #", "\t#"]
        .iter()
        .filter_map(|mark| line.find(mark))
        .min();
    &line[..end.unwrap_or(line.len())]
}

fn is_archive(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    [".whl", ".zip", ".tar.gz", ".tar.bz2"]
        .iter()
        .any(|end| first.ends_with(end))
}

/// Where a part of a text begins in it.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}
