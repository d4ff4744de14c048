//! What a lock file holds: which packages in which versions, and who asked for them.
//!
//! Touches: nothing.
//! Change here: when a client writes its lock file in another way, or more is looked for between two of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use toml::Table;

use super::DepsError;
use super::requirement::Dialect;
use super::written::normalized;
use crate::event::{Ecosystem, Step};

/// Where npm's lock file keeps what is installed from the index.
const MODULES: &str = "node_modules/";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lock {
    pub packages: BTreeMap<String, Locked>,
    /// Directories with manifests of their own that the lock file covers; its own is the empty one.
    pub members: BTreeSet<String>,
    /// npm only: versions by where they lie.
    places: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Locked {
    /// Digests of what the index hands out, by version; empty where the lock file keeps none.
    pub versions: BTreeMap<String, BTreeSet<String>>,
    needs: BTreeSet<String>,
    /// It runs something when it is installed.
    scripts: bool,
}

impl Locked {
    /// Digests of the files that this version comes as.
    fn hold(&mut self, version: &str, digests: impl IntoIterator<Item = String>) {
        let known = self.versions.entry(version.to_owned()).or_default();
        known.extend(digests);
    }
}

impl Lock {
    pub fn read(ecosystem: Ecosystem, path: &str, text: &str) -> Result<Lock, DepsError> {
        let unreadable = |line: usize, why: String| DepsError::Unreadable {
            path: path.to_owned(),
            line,
            why,
        };
        let table = || -> Result<Table, DepsError> {
            toml::from_str(text).map_err(|error: toml::de::Error| {
                let at = error.span().map_or(0, |span| span.start);
                let line = text.get(..at).unwrap_or(text).matches('\n').count() + 1;
                unreadable(line, error.message().to_owned())
            })
        };
        match ecosystem {
            Ecosystem::Pip | Ecosystem::PipTools => Ok(compiled(text)),
            Ecosystem::Uv => Ok(uv(&table()?)),
            Ecosystem::Poetry => Ok(poetry(&table()?)),
            Ecosystem::Cargo => Ok(cargo(&table()?)),
            Ecosystem::Npm => {
                let root: Value = serde_json::from_str(text)
                    .map_err(|error| unreadable(error.line(), error.to_string()))?;
                Ok(npm(&root))
            }
        }
    }

    /// Of the versions of a package, the newest that the requirement admits.
    pub fn version(&self, dialect: Dialect, name: &str, requirement: &str) -> Option<String> {
        let name = match dialect {
            Dialect::Python | Dialect::Poetry => normalized(name),
            Dialect::Npm | Dialect::Cargo => name.to_owned(),
        };
        let versions = self.packages.get(&name)?.versions.keys();
        let admitted = |version: &&String| dialect.admits(requirement, version) == Ok(true);
        let newest = versions
            .filter(admitted)
            .max_by(|a, b| dialect.compare(a, b));
        newest.cloned()
    }

    /// What is installed for a member's own use: nearest first, as node looks for it.
    pub fn installed(&self, member: &str, name: &str) -> Option<String> {
        let mut at = Some(member);
        while let Some(dir) = at {
            let place = if dir.is_empty() {
                format!("{MODULES}{name}")
            } else {
                format!("{dir}/{MODULES}{name}")
            };
            if let Some(version) = self.places.get(&place) {
                return Some(version.clone());
            }
            at = match dir {
                "" => None,
                _ => Some(dir.rsplit_once('/').map_or("", |(above, _)| above)),
            };
        }
        None
    }

    fn add(&mut self, name: &str, version: &str) -> &mut Locked {
        let locked = self.packages.entry(name.to_owned()).or_default();
        locked.versions.entry(version.to_owned()).or_default();
        locked
    }

    /// Every package whose versions differ, with those that only one of both has.
    pub fn changes(&self, after: &Lock) -> BTreeMap<String, (Option<String>, Option<String>)> {
        let names: BTreeSet<&String> = self.packages.keys().chain(after.packages.keys()).collect();
        let mut changes = BTreeMap::new();
        for name in names {
            let (old, new) = (self.versions(name), after.versions(name));
            if old != new {
                let only = |these: &BTreeSet<&str>, others: &BTreeSet<&str>| {
                    let only: Vec<&str> = these.difference(others).copied().collect();
                    (!only.is_empty()).then(|| only.join(", "))
                };
                changes.insert(name.clone(), (only(&old, &new), only(&new, &old)));
            }
        }
        changes
    }

    fn versions(&self, name: &str) -> BTreeSet<&str> {
        let locked = self.packages.get(name).into_iter();
        locked
            .flat_map(|locked| locked.versions.keys().map(String::as_str))
            .collect()
    }

    /// What cannot come from these steps, in sentences: packages that changed though no step leads to them, before or
    /// after; the same version with other contents; and what newly runs something when it is installed.
    pub fn unexplained(&self, after: &Lock, steps: &[Step], dialect: Dialect) -> Vec<String> {
        let names = steps.iter().map(|step| match dialect {
            Dialect::Python | Dialect::Poetry => normalized(&step.name),
            Dialect::Npm | Dialect::Cargo => step.name.clone(),
        });
        let explained = reached(&[self, after], names.collect());
        let mut said = Vec::new();
        for (name, (old, new)) in self.changes(after) {
            if !explained.contains(&name) {
                let or_none = |version: Option<String>| version.unwrap_or_else(|| "none".into());
                said.push(format!(
                    "{name}: went from {} to {}, though nothing that was updated needs it",
                    or_none(old),
                    or_none(new)
                ));
            }
        }
        for (name, new) in &after.packages {
            let old = self.packages.get(name);
            for (version, digests) in &new.versions {
                let before = old.and_then(|old| old.versions.get(version));
                let is_other =
                    before.is_some_and(|before| !before.is_subset(digests) && before != digests);
                if is_other {
                    said.push(format!(
                        "{name}: {version} is not what it was; its contents have another digest"
                    ));
                }
            }
            if new.scripts && !old.is_some_and(|old| old.scripts) {
                said.push(format!("{name}: newly runs a script when it is installed"));
            }
        }
        said
    }
}

/// Everything that these names need, in any of the locks, and the names.
fn reached(locks: &[&Lock], names: BTreeSet<String>) -> BTreeSet<String> {
    let (mut reached, mut open) = (BTreeSet::new(), Vec::from_iter(names));
    while let Some(name) = open.pop() {
        for lock in locks {
            let locked = lock.packages.get(&name).into_iter();
            open.extend(locked.flat_map(|locked| {
                let new = |need: &&String| !reached.contains(*need) && **need != name;
                locked.needs.iter().filter(new).cloned()
            }));
        }
        reached.insert(name);
    }
    reached
}

fn text<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key)?.as_str()
}

fn tables(value: Option<&toml::Value>) -> impl Iterator<Item = &Table> {
    let list = value.and_then(toml::Value::as_array);
    list.into_iter().flatten().filter_map(toml::Value::as_table)
}

fn cargo(root: &Table) -> Lock {
    let mut lock = Lock::default();
    for package in tables(root.get("package")) {
        let (Some(name), Some(version)) = (text(package, "name"), text(package, "version")) else {
            continue;
        };
        let needs = package.get("dependencies").and_then(toml::Value::as_array);
        let needs = needs.into_iter().flatten().filter_map(toml::Value::as_str);
        let needs = needs.filter_map(|need| need.split(' ').next().map(str::to_owned));
        let locked = lock.add(name, version);
        locked.needs.extend(needs);
        let digest = text(package, "checksum").map(str::to_owned);
        locked.hold(version, digest);
    }
    lock
}

fn uv(root: &Table) -> Lock {
    let mut lock = Lock::default();
    for package in tables(root.get("package")) {
        let Some(name) = text(package, "name") else {
            continue;
        };
        let source = package.get("source").and_then(toml::Value::as_table);
        for (kind, place) in source.into_iter().flatten() {
            let is_ours = ["editable", "virtual", "directory"].contains(&kind.as_str());
            if let Some(place) = place.as_str().filter(|_| is_ours) {
                lock.members
                    .insert(if place == "." { "" } else { place }.to_owned());
            }
        }
        // Of our own packages the version is not the lock file's business, and may be missing.
        let version = text(package, "version").unwrap_or_default();
        let locked = lock.add(name, version);
        for key in ["dependencies", "optional-dependencies", "dev-dependencies"] {
            let needs = match package.get(key) {
                Some(toml::Value::Table(groups)) => {
                    groups.values().flat_map(|g| tables(Some(g))).collect()
                }
                list => tables(list).collect::<Vec<_>>(),
            };
            locked.needs.extend(
                needs
                    .iter()
                    .filter_map(|need| text(need, "name").map(str::to_owned)),
            );
        }
        let files = tables(package.get("wheels"));
        let sdist = package.get("sdist").and_then(toml::Value::as_table);
        let digests = files
            .chain(sdist)
            .filter_map(|file| text(file, "hash").map(str::to_owned));
        locked.hold(version, digests);
    }
    lock
}

fn poetry(root: &Table) -> Lock {
    let mut lock = Lock::default();
    for package in tables(root.get("package")) {
        let (Some(name), Some(version)) = (text(package, "name"), text(package, "version")) else {
            continue;
        };
        let needs = package.get("dependencies").and_then(toml::Value::as_table);
        let needs: Vec<String> = needs
            .into_iter()
            .flatten()
            .map(|(need, _)| normalized(need))
            .collect();
        let digests =
            tables(package.get("files")).filter_map(|file| text(file, "hash").map(str::to_owned));
        let digests: Vec<String> = digests.collect();
        let locked = lock.add(&normalized(name), version);
        locked.needs.extend(needs);
        locked.hold(version, digests);
    }
    lock
}

/// What pip-compile writes: pins, and `# via` with those who asked for them.
fn compiled(text: &str) -> Lock {
    let mut lock = Lock::default();
    let mut current: Option<String> = None;
    let mut asked: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(said) = trimmed.strip_prefix('#') {
            let said = said.trim();
            let said = said.strip_prefix("via").map_or(said, str::trim);
            let asker = said.split('[').next().unwrap_or_default();
            if let Some(name) = current
                .clone()
                .filter(|_| !asker.is_empty() && !asker.starts_with('-'))
            {
                asked.push((normalized(asker), name));
            }
            continue;
        }
        let digest = trimmed.strip_prefix("--hash=");
        if let (Some(digest), Some(name)) = (digest, &current) {
            let digest = digest.trim_end_matches(['\\', ' ']).to_owned();
            let locked = lock.packages.entry(name.clone()).or_default();
            if let Some(digests) = locked.versions.values_mut().next_back() {
                digests.insert(digest);
            }
            continue;
        }
        let pin = trimmed.split([';', '\\', ' ']).next().unwrap_or_default();
        if let Some((name, version)) = pin.split_once("==") {
            let name = normalized(name.split('[').next().unwrap_or_default());
            lock.add(&name, version.trim_start_matches('='));
            current = Some(name);
        } else if trimmed.is_empty() || trimmed.starts_with('-') {
            current = None;
        }
    }
    for (asker, name) in asked {
        if let Some(locked) = lock.packages.get_mut(&asker) {
            locked.needs.insert(name);
        }
    }
    lock
}

fn npm(root: &Value) -> Lock {
    let mut lock = Lock::default();
    match root.get("packages").and_then(Value::as_object) {
        Some(packages) => packages
            .iter()
            .for_each(|(place, one)| npm_package(&mut lock, place, one)),
        None => npm_tree(&mut lock, "", root),
    }
    lock
}

fn npm_package(lock: &mut Lock, place: &str, package: &Value) {
    let Some((_, name)) = place.rsplit_once(MODULES) else {
        lock.members.insert(place.to_owned());
        return;
    };
    let said = |key: &str| package.get(key).and_then(Value::as_str);
    // An alias is installed under another name than its own; a link is a member, told where it lies.
    let (name, Some(version)) = (said("name").unwrap_or(name).to_owned(), said("version")) else {
        return;
    };
    lock.places.insert(place.to_owned(), version.to_owned());
    let locked = lock.add(&name, version);
    for key in ["dependencies", "optionalDependencies", "peerDependencies"] {
        let needs = package.get(key).and_then(Value::as_object);
        locked
            .needs
            .extend(needs.into_iter().flatten().map(|(need, _)| need.clone()));
    }
    locked.scripts |= package.get("hasInstallScript") == Some(&Value::Bool(true));
    let digest = said("integrity").map(str::to_owned);
    locked.hold(version, digest);
}

/// The first version of npm's lock file: packages within packages.
fn npm_tree(lock: &mut Lock, above: &str, within: &Value) {
    lock.members.insert(String::new());
    let packages = within.get("dependencies").and_then(Value::as_object);
    for (name, package) in packages.into_iter().flatten() {
        let place = format!("{above}{MODULES}{name}");
        if let Some(version) = package.get("version").and_then(Value::as_str) {
            lock.places.insert(place.clone(), version.to_owned());
            let needs = package.get("requires").and_then(Value::as_object);
            let needs: Vec<String> = needs
                .into_iter()
                .flatten()
                .map(|(need, _)| need.clone())
                .collect();
            let digest = package
                .get("integrity")
                .and_then(Value::as_str)
                .map(str::to_owned);
            let locked = lock.add(name, version);
            locked.needs.extend(needs);
            locked.hold(version, digest);
        }
        npm_tree(lock, &format!("{place}/"), package);
    }
}
