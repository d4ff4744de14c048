//! What a project depends on, what could be in its place, and the files that put it there.
//!
//! Touches: files, processes.
//! Change here: when another ecosystem is known. How each writes is in `deps/written.rs` and `deps/lock.rs`, what its client
//! is asked in `deps/python.rs`, `deps/npm.rs` and `deps/cargo.rs`, what is taken of a package in `deps/contents.rs`; `docs/dependencies.md` tells all of it.
//!
//! Nothing is changed in place: [`gather`] copies the manifests out of a tree, clients work on further copies, and what comes
//! back is the contents of the files that are other than before, or an error.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Dependency, Ecosystem, Fault, Manifest, Release, Step, Updated};
use crate::outside::reading::ReadTree;

mod cargo;
mod client;
mod contents;
mod lock;
mod npm;
mod python;
mod requirement;
mod written;

#[cfg(test)]
mod tests;

pub use client::Clients;

use client::Room;
use contents::CONTENTS;
use lock::Lock;
use requirement::Dialect;
use written::{Source, Written};

/// Contents by path within the repository.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Manifests and lock files beyond this were not written for people or clients.
const LARGEST_FILE: u64 = 32 << 20;
const MOST_FILES: u32 = 5000;
/// Below these lies what others wrote, or what a client installed.
const NOT_OURS: [&str; 12] = [
    ".git",
    ".nox",
    ".tox",
    ".venv",
    ".yarn",
    "bower_components",
    "node_modules",
    "site-packages",
    "target",
    "third_party",
    "vendor",
    "venv",
];

/// Why nothing is known of a dependency, or nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DepsError {
    #[error("{path}, line {line}: {why}")]
    Unreadable {
        path: String,
        line: usize,
        why: String,
    },
    #[error("{path} cannot be read from the tree: {}", fault.message)]
    Tree { path: String, fault: Box<Fault> },
    #[error(
        "{path}: {name} is not among the dependencies that it writes down; scan the tree again"
    )]
    NotWritten { path: String, name: String },
    #[error("{path}: {name}: {why}; change it by hand")]
    Immovable {
        path: String,
        name: String,
        why: String,
    },
    #[error(
        "{client}: the index cannot be reached; see the network and the client's own settings: {words}"
    )]
    Away { client: &'static str, words: String },
    #[error(
        "{client}: the index has no such package, or does not show it; see its name and the credentials: {words}"
    )]
    Absent { client: &'static str, words: String },
    #[error("{client}: no versions fit together: {words}")]
    Impossible { client: &'static str, words: String },
    #[error(
        "{client}: a package comes as source alone, and nothing is built here; lock it by hand: {words}"
    )]
    Unbuilt { client: &'static str, words: String },
    #[error("{client} is not installed: {how}")]
    Missing {
        client: &'static str,
        how: &'static str,
    },
    #[error("{client} failed: {words}")]
    Failed { client: &'static str, words: String },
    #[error("{client} was stopped after {seconds} seconds")]
    TooSlow { client: &'static str, seconds: u64 },
    #[error("{client} could not be started: {words}")]
    NotRun { client: &'static str, words: String },
    #[error("no place could be made for copies of the manifests")]
    Room {
        #[source]
        source: std::io::Error,
    },
}

/// Every manifest of a tree that an ecosystem's client keeps, but for those of others that lie in it, by path. May block.
pub fn scan(tree: &dyn ReadTree) -> Result<Vec<Manifest>, DepsError> {
    let pattern =
        "**/{package.json,pyproject.toml,Cargo.toml,*.in,*requirements*.txt,requirements/*.txt}";
    let paths = found(tree, pattern)?;
    let mut manifests = Vec::new();
    for path in paths.into_iter().filter(|path| !is_of_others(path)) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let kept = match name {
            "package.json" => npm::keeper(tree, &path)?,
            "Cargo.toml" => cargo::keeper(tree, &path)?,
            _ => python::keeper(tree, &path)?,
        };
        let Some((ecosystem, lock)) = kept else {
            continue;
        };
        manifests.extend(manifest(tree, ecosystem, path, lock)?);
    }
    Ok(manifests)
}

/// None for a manifest that names no dependency.
fn manifest(
    tree: &dyn ReadTree,
    ecosystem: Ecosystem,
    path: String,
    lock_path: Option<String>,
) -> Result<Option<Manifest>, DepsError> {
    let text = text_of(tree, &path)?;
    let written = Source {
        path: &path,
        text: &text,
    }
    .read(ecosystem)?;
    if written.is_empty() {
        return Ok(None);
    }
    let lock = match &lock_path {
        Some(path) => Some(Lock::read(ecosystem, path, &text_of(tree, path)?)?),
        None => None,
    };
    let member = lock_path
        .as_deref()
        .map(|lock| within(directory(lock), directory(&path)));
    let dependencies = written.into_iter().map(|one| Dependency {
        version: version_of(&one, lock.as_ref(), member.unwrap_or_default()),
        name: one.name,
        requirement: one.requirement,
        section: one.section,
    });
    Ok(Some(Manifest {
        ecosystem,
        dependencies: dependencies.collect(),
        lock: lock_path,
        path,
    }))
}

fn version_of(one: &Written, lock: Option<&Lock>, member: &str) -> Option<String> {
    let Some(lock) = lock else {
        return one.dialect.only(&one.requirement);
    };
    match one.dialect {
        Dialect::Npm => lock.installed(member, &one.name),
        dialect => lock.version(dialect, &one.name, &one.requirement),
    }
}

/// Copies of what a manifest's client has to see: manifests, lock files and the project's own settings. May block.
pub fn gather(tree: &dyn ReadTree, manifest: &Manifest) -> Result<Files, DepsError> {
    let mut paths = BTreeSet::from([manifest.path.clone()]);
    paths.extend(manifest.lock.clone());
    let mut files = Files::new();
    match manifest.ecosystem {
        Ecosystem::Pip | Ecosystem::PipTools | Ecosystem::Uv | Ecosystem::Poetry => {
            paths.extend(python::surroundings(tree, manifest)?);
        }
        Ecosystem::Npm => paths.extend(npm::surroundings(tree, manifest)?),
        Ecosystem::Cargo => paths.extend(cargo::surroundings(tree)?),
    }
    for path in paths {
        files.insert(path.clone(), bytes_of(tree, &path)?);
    }
    Ok(files)
}

impl Clients {
    /// Versions of a package that the index has, newest last. `files` are the manifest's, as [`gather`] gives them: they
    /// may name another index than the machine does.
    pub async fn releases(
        &self,
        files: &Files,
        manifest: &Manifest,
        name: &str,
    ) -> Result<Vec<Release>, DepsError> {
        match manifest.ecosystem {
            Ecosystem::Pip | Ecosystem::PipTools | Ecosystem::Uv | Ecosystem::Poetry => {
                python::releases(self, files, manifest, name).await
            }
            Ecosystem::Npm => npm::releases(self, files, manifest, name).await,
            Ecosystem::Cargo => cargo::releases(self, files, manifest, name).await,
        }
    }

    /// The text files of one version of a package, by path within it. Nothing of it is built or run.
    pub async fn contents(
        &self,
        files: &Files,
        manifest: &Manifest,
        name: &str,
        version: &str,
    ) -> Result<BTreeMap<String, String>, DepsError> {
        let room = match manifest.ecosystem {
            Ecosystem::Pip | Ecosystem::PipTools | Ecosystem::Uv | Ecosystem::Poetry => {
                python::unpack(self, files, manifest, name, version).await?
            }
            Ecosystem::Npm => npm::unpack(self, files, manifest, name, version).await?,
            Ecosystem::Cargo => cargo::unpack(self, files, manifest, name, version).await?,
        };
        contents::collected(&room.place(CONTENTS)).ok_or_else(|| DepsError::Failed {
            client: "the client",
            words: format!("it left no text of {name} {version}"),
        })
    }

    /// The files in which every step is done, and all that it changes in the lock file. A requirement that admits the new
    /// version already stays as it is.
    pub async fn update(
        &self,
        files: &Files,
        manifest: &Manifest,
        steps: &[Step],
    ) -> Result<Updated, DepsError> {
        let text = text_in(files, &manifest.path)?;
        let source = Source {
            path: &manifest.path,
            text,
        };
        let written = source.read(manifest.ecosystem)?;
        let edited = source.with(&source.moved(&written, steps)?);
        self.locked(files, manifest, &edited, steps).await
    }

    /// The files in which a dependency is written down as this version and no other, with the comment where the format has
    /// comments.
    pub async fn pin(
        &self,
        files: &Files,
        manifest: &Manifest,
        name: &str,
        version: &str,
        comment: &str,
    ) -> Result<Updated, DepsError> {
        let text = text_in(files, &manifest.path)?;
        let source = Source {
            path: &manifest.path,
            text,
        };
        let written = source.read(manifest.ecosystem)?;
        let current = manifest.dependencies.iter().find(|one| one.name == name);
        let current = current.and_then(|one| one.version.clone());
        let step = [Step {
            name: name.to_owned(),
            from: current.unwrap_or_else(|| version.to_owned()),
            to: version.to_owned(),
        }];
        let changes = source.pinned(&written, &step)?;
        let edited = match manifest.ecosystem {
            Ecosystem::Npm => source.with(&changes),
            _ => source.with_comments(&changes, &crate::outside::clip::one_line(comment)),
        };
        self.locked(files, manifest, &edited, &step).await
    }

    /// Has the client make the lock file for the edited manifest.
    async fn locked(
        &self,
        files: &Files,
        manifest: &Manifest,
        edited: &str,
        steps: &[Step],
    ) -> Result<Updated, DepsError> {
        let Some(lock) = &manifest.lock else {
            return Ok(unlocked(files, manifest, edited, steps));
        };
        let before = Lock::read(manifest.ecosystem, lock, text_in(files, lock)?)?;
        let room = Room::make(self, manifest.ecosystem, files)?;
        let work = Work {
            room: &room,
            manifest,
            lock,
            edited,
            steps,
        };
        match manifest.ecosystem {
            Ecosystem::Pip | Ecosystem::PipTools => python::compile(&work).await?,
            Ecosystem::Uv => python::uv_lock(&work).await?,
            Ecosystem::Poetry => python::poetry_lock(&work).await?,
            Ecosystem::Npm => npm::lock(&work).await?,
            Ecosystem::Cargo => cargo::lock(&work, files).await?,
        }
        let bytes = work.locked_bytes()?;
        let after = Lock::read(manifest.ecosystem, lock, &String::from_utf8_lossy(&bytes))?;
        work.check(&after)?;
        let new = [
            (manifest.path.clone(), edited.as_bytes().to_vec()),
            (lock.clone(), bytes),
        ];
        let is_other = |(path, bytes): &(String, Vec<u8>)| files.get(path) != Some(bytes);
        Ok(Updated {
            files: new.into_iter().filter(is_other).collect(),
            packages: before.changes(&after),
        })
    }
}

/// What an update changed that its steps do not explain, in sentences: packages that nothing needs which was updated, other
/// contents of the same version, and scripts that newly run at installation. `files` are those before.
pub fn unexplained(
    files: &Files,
    manifest: &Manifest,
    updated: &Updated,
    steps: &[Step],
) -> Result<Vec<String>, DepsError> {
    let Some(lock) = &manifest.lock else {
        return Ok(Vec::new());
    };
    if !updated.files.contains_key(lock) {
        return Ok(Vec::new());
    }
    let before = Lock::read(manifest.ecosystem, lock, text_in(files, lock)?)?;
    let after = Lock::read(manifest.ecosystem, lock, text_in(&updated.files, lock)?)?;
    let dialect = dialect(manifest.ecosystem);
    Ok(before.unexplained(&after, steps, dialect))
}

/// One lock file in the making.
struct Work<'w> {
    room: &'w Room<'w>,
    manifest: &'w Manifest,
    lock: &'w str,
    /// The manifest as it will stand.
    edited: &'w str,
    steps: &'w [Step],
}

impl Work<'_> {
    fn locked_bytes(&self) -> Result<Vec<u8>, DepsError> {
        self.room.read(self.lock).ok_or_else(|| DepsError::Failed {
            client: "the client",
            words: format!("it left no {}", self.lock),
        })
    }

    fn locked(&self) -> Result<Lock, DepsError> {
        let bytes = self.locked_bytes()?;
        Lock::read(
            self.manifest.ecosystem,
            self.lock,
            &String::from_utf8_lossy(&bytes),
        )
    }

    /// The edited manifest, with the steps' versions and no others admitted: whoever resolves it has to come there.
    fn exactly(&self) -> Result<String, DepsError> {
        let source = Source {
            path: &self.manifest.path,
            text: self.edited,
        };
        let written = source.read(self.manifest.ecosystem)?;
        Ok(source.with(&source.pinned(&written, self.steps)?))
    }

    /// A client that came elsewhere than it was sent has done something nobody asked for.
    fn check(&self, after: &Lock) -> Result<(), DepsError> {
        for step in self.steps {
            let dialect = dialect(self.manifest.ecosystem);
            let exactly = dialect.pinned(&step.to);
            if after.version(dialect, &step.name, &exactly).is_none() {
                return Err(DepsError::Impossible {
                    client: "the client",
                    words: format!(
                        "{} does not have {} {} afterwards",
                        self.lock, step.name, step.to
                    ),
                });
            }
        }
        Ok(())
    }
}

/// Where there is no lock file, the manifest is all.
fn unlocked(files: &Files, manifest: &Manifest, edited: &str, steps: &[Step]) -> Updated {
    let is_other = files.get(&manifest.path).map(Vec::as_slice) != Some(edited.as_bytes());
    let changed = steps.iter().filter(|step| step.from != step.to);
    let packages = changed.map(|step| {
        let versions = (Some(step.from.clone()), Some(step.to.clone()));
        (step.name.clone(), versions)
    });
    Updated {
        packages: packages.collect(),
        files: is_other
            .then(|| (manifest.path.clone(), edited.as_bytes().to_vec()))
            .into_iter()
            .collect(),
    }
}

fn dialect(ecosystem: Ecosystem) -> Dialect {
    match ecosystem {
        Ecosystem::Pip | Ecosystem::PipTools | Ecosystem::Uv | Ecosystem::Poetry => Dialect::Python,
        Ecosystem::Npm => Dialect::Npm,
        Ecosystem::Cargo => Dialect::Cargo,
    }
}

fn is_of_others(path: &str) -> bool {
    path.split('/').any(|part| NOT_OURS.contains(&part))
}

fn found(tree: &dyn ReadTree, pattern: &str) -> Result<Vec<String>, DepsError> {
    tree.glob(pattern, MOST_FILES)
        .map_err(|fault| DepsError::Tree {
            path: pattern.to_owned(),
            fault: Box::new(fault),
        })
}

fn exists(tree: &dyn ReadTree, path: &str) -> bool {
    tree.size(path).is_ok()
}

fn bytes_of(tree: &dyn ReadTree, path: &str) -> Result<Vec<u8>, DepsError> {
    let broken = |fault| DepsError::Tree {
        path: path.to_owned(),
        fault: Box::new(fault),
    };
    let size = tree.size(path).map_err(broken)?;
    match u32::try_from(size) {
        Ok(max) if size <= LARGEST_FILE => tree.read(path, 0, max).map_err(broken),
        _ => Err(DepsError::Unreadable {
            path: path.to_owned(),
            line: 1,
            why: format!("it is larger than {LARGEST_FILE} bytes"),
        }),
    }
}

fn text_of(tree: &dyn ReadTree, path: &str) -> Result<String, DepsError> {
    let bytes = bytes_of(tree, path)?;
    String::from_utf8(bytes).map_err(|error| not_utf8(path, error.utf8_error(), error.as_bytes()))
}

fn text_in<'f>(files: &'f Files, path: &str) -> Result<&'f str, DepsError> {
    let bytes = files.get(path).ok_or_else(|| DepsError::Unreadable {
        path: path.to_owned(),
        line: 1,
        why: "it is not among the files that were gathered".to_owned(),
    })?;
    std::str::from_utf8(bytes).map_err(|error| not_utf8(path, error, bytes))
}

fn not_utf8(path: &str, error: std::str::Utf8Error, bytes: &[u8]) -> DepsError {
    let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
    DepsError::Unreadable {
        path: path.to_owned(),
        line: good.iter().filter(|byte| **byte == b'\n').count() + 1,
        why: "it is not UTF-8".to_owned(),
    }
}

/// Of a file; empty at the root.
fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn beside(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}

/// A directory and those above it, nearest first.
fn upwards(directory: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(directory), |at| match *at {
        "" => None,
        at => Some(at.rsplit_once('/').map_or("", |(above, _)| above)),
    })
}

/// A directory as told from one above it.
fn within<'p>(above: &str, directory: &'p str) -> &'p str {
    directory
        .strip_prefix(above)
        .unwrap_or(directory)
        .trim_start_matches('/')
}

/// A path as told from a directory, without leaving the repository.
fn joined(directory: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    if path.starts_with('/') {
        return None;
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
