//! What cargo is asked, and what it keeps of its index.
//!
//! Touches: processes.
//! Change here: when cargo takes other arguments, or writes its copy of the index in another way.
//!
//! Cargo prints of a package only the newest version, but keeps what the index says of it: after a look-up the whole list
//! lies in its home, with times and what was yanked, however the index was reached.

use serde::Deserialize;

use super::client::{self, Room, quoted};
use super::contents::CONTENTS;
use super::lock::Lock;
use super::requirement::Dialect;
use super::written::Source;
use super::{
    Clients, DepsError, Files, Work, beside, directory, exists, found, is_of_others, text_in,
    text_of, upwards,
};
use crate::event::{Ecosystem, Manifest, Release, Step};
use crate::outside::reading::ReadTree;

const LOCK: &str = "Cargo.lock";
/// Cargo's own format of it, and the index's of what it says; others are not read.
const KEPT_FORMAT: u8 = 3;
/// A package of ours, for look-ups; below it lies cargo's home for them.
const LOOKOUT: &str = ".changebus-lookout";

/// The lock file of the workspace that this manifest is of.
pub(super) fn keeper(
    tree: &dyn ReadTree,
    path: &str,
) -> Result<Option<(Ecosystem, Option<String>)>, DepsError> {
    let own = directory(path);
    let text = text_of(tree, path)?;
    let table = Source { path, text: &text }.toml()?;
    let package = table
        .get_ref()
        .get("package")
        .and_then(|package| package.get_ref().get("name"));
    let package = package.and_then(|name| name.get_ref().as_str());
    for above in upwards(own) {
        let lock = beside(above, LOCK);
        if exists(tree, &lock) {
            let read = Lock::read(Ecosystem::Cargo, &lock, &text_of(tree, &lock)?)?;
            let covers =
                above == own || package.is_some_and(|package| read.packages.contains_key(package));
            return Ok(Some((Ecosystem::Cargo, covers.then_some(lock))));
        }
    }
    Ok(Some((Ecosystem::Cargo, None)))
}

/// Every manifest of the tree: members and paths are named in ways only cargo reads.
pub(super) fn surroundings(tree: &dyn ReadTree) -> Result<Vec<String>, DepsError> {
    let mut paths = found(tree, "**/{Cargo.toml,rust-toolchain,rust-toolchain.toml}")?;
    paths.extend(found(tree, "**/.cargo/{config,config.toml}")?);
    // A vendored package may be what a patch names.
    paths.retain(|path| {
        !is_of_others(path) || path.contains("vendor") || path.contains("third_party")
    });
    Ok(paths)
}

pub(super) async fn lock(work: &Work<'_>, files: &Files) -> Result<(), DepsError> {
    let directory = directory(work.lock);
    let before = text_in(files, &work.manifest.path)?;
    lay_out(work.room, files)?;
    work.room
        .write(&work.manifest.path, bare(work.edited).as_bytes())?;
    if before != work.edited {
        work.room
            .run(directory, &["cargo", "update", "--workspace"])
            .await?;
    }
    for step in work.steps {
        if let Some(at) = elsewhere(work, step)? {
            let package = format!("{}@{at}", step.name);
            let words = [
                "cargo",
                "update",
                "--package",
                &package,
                "--precise",
                &step.to,
            ];
            work.room.run(directory, &words).await?;
        }
    }
    Ok(())
}

/// Where a package is that has not come to where it should: of several versions, the one that the manifest asks for.
fn elsewhere(work: &Work<'_>, step: &Step) -> Result<Option<String>, DepsError> {
    let lock = work.locked()?;
    if lock
        .version(Dialect::Cargo, &step.name, &format!("={}", step.to))
        .is_some()
    {
        return Ok(None);
    }
    let source = Source {
        path: &work.manifest.path,
        text: work.edited,
    };
    let written = source.read(Ecosystem::Cargo)?;
    let asked = written.iter().filter(|one| one.name == step.name);
    let mut versions =
        asked.filter_map(|one| lock.version(Dialect::Cargo, &one.name, &one.requirement));
    Ok(Some(versions.next().unwrap_or_else(|| step.from.clone())))
}

/// A resolver reads manifests, and refuses those without a target. So each gets an empty library, and says nothing of
/// targets that would have to be there.
fn lay_out(room: &Room<'_>, files: &Files) -> Result<(), DepsError> {
    let manifests = files
        .keys()
        .filter(|path| path.rsplit('/').next() == Some("Cargo.toml"));
    for path in manifests {
        let directory = directory(path);
        room.write(path, bare(text_in(files, path)?).as_bytes())?;
        room.write(&beside(directory, "src/lib.rs"), b"")?;
        room.write(&beside(directory, "build.rs"), b"")?;
    }
    Ok(())
}

/// A manifest with what decides about the lock file, and nothing else. One that cannot be read is left for cargo to tell.
fn bare(text: &str) -> String {
    let Ok(mut table) = toml::from_str::<toml::Table>(text) else {
        return text.to_owned();
    };
    for targets in ["lib", "bin", "test", "bench", "example", "badges"] {
        table.remove(targets);
    }
    if let Some(toml::Value::Table(package)) = table.get_mut("package") {
        for file in ["default-run", "readme", "license-file"] {
            package.remove(file);
        }
        if package.contains_key("build") {
            package.insert(
                "build".to_owned(),
                toml::Value::String("build.rs".to_owned()),
            );
        }
    }
    table.to_string()
}

pub(super) async fn releases(
    clients: &Clients,
    files: &Files,
    manifest: &Manifest,
    name: &str,
) -> Result<Vec<Release>, DepsError> {
    let lookout = Lookout::make(clients, files, manifest, name)?;
    let room = &lookout.room;
    let line = format!(
        "rustc --version > {} && CARGO_HOME=\"$PWD/home\" cargo add --dry-run {}{}",
        quoted(&room.outlet("rustc")),
        quoted(name),
        lookout.registry
    );
    room.run_line(&lookout.place, &line).await?;
    let index = beside(&lookout.place, "home/registry/index");
    let kept = room.find(&index, &format!(".cache/{}", place(name)));
    let kept = kept.ok_or_else(|| DepsError::Failed {
        client: "cargo",
        words: format!("it keeps nothing of what its index says of {name}"),
    })?;
    let rustc = room.said("rustc");
    told(&kept, rustc.split(' ').nth(1).unwrap_or_default()).ok_or_else(|| DepsError::Failed {
        client: "cargo",
        words: format!("its copy of the index has a format that is not known; {rustc}"),
    })
}

/// Lays a package's files out in the room. Of all that cargo can be asked, telling about a package is what unpacks it alone,
/// without those that it needs.
pub(super) async fn unpack<'c>(
    clients: &'c Clients,
    files: &Files,
    manifest: &Manifest,
    name: &str,
    version: &str,
) -> Result<Room<'c>, DepsError> {
    let lookout = Lookout::make(clients, files, manifest, name)?;
    let line = format!(
        "CARGO_HOME=\"$PWD/home\" cargo info --quiet {}{} && mv home/registry/src/*/{} {}",
        quoted(&format!("{name}@{version}")),
        lookout.registry,
        quoted(&format!("{name}-{version}")),
        quoted(&lookout.room.outlet(CONTENTS))
    );
    lookout.room.run_line(&lookout.place, &line).await?;
    Ok(lookout.room)
}

/// A package of ours beside the project's, with a home of cargo's that holds its settings and nothing else.
struct Lookout<'c> {
    room: Room<'c>,
    place: String,
    /// The option that names where the project has a dependency from; empty for the usual one.
    registry: String,
}

impl Lookout<'_> {
    fn make<'c>(
        clients: &'c Clients,
        files: &Files,
        manifest: &Manifest,
        name: &str,
    ) -> Result<Lookout<'c>, DepsError> {
        let source = Source {
            path: &manifest.path,
            text: text_in(files, &manifest.path)?,
        };
        let written = source.read(Ecosystem::Cargo)?;
        let registry = written
            .iter()
            .find(|one| one.name == name)
            .and_then(|one| one.registry.as_deref());
        let registry = registry.map(|registry| format!(" --registry {}", quoted(registry)));
        let room = Room::make(clients, Ecosystem::Cargo, files)?;
        let root = directory(manifest.lock.as_deref().unwrap_or(&manifest.path));
        let place = beside(root, LOOKOUT);
        let package = "[package]\nname = \"lookout\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n";
        room.write(&beside(&place, "Cargo.toml"), package.as_bytes())?;
        room.write(&beside(&place, "src/lib.rs"), b"")?;
        for (file, text) in client::cargo_settings() {
            room.write(&beside(&place, &format!("home/{file}")), text.as_bytes())?;
        }
        Ok(Lookout {
            room,
            place,
            registry: registry.unwrap_or_default(),
        })
    }
}

/// Where an index keeps a package.
fn place(name: &str) -> String {
    let name = name.to_lowercase();
    match (name.len(), name.get(..1), name.get(..2), name.get(2..4)) {
        (1, ..) => format!("1/{name}"),
        (2, ..) => format!("2/{name}"),
        (3, Some(first), ..) => format!("3/{first}/{name}"),
        (_, _, Some(first), Some(second)) => format!("{first}/{second}/{name}"),
        _ => name,
    }
}

#[derive(Deserialize)]
struct Kept {
    vers: String,
    #[serde(default)]
    yanked: bool,
    rust_version: Option<String>,
    pubtime: Option<jiff::Timestamp>,
}

/// One byte for the format, four for the index's, a line of the index's own, then version and description in turns; each
/// ends with a zero byte.
fn told(kept: &[u8], rustc: &str) -> Option<Vec<Release>> {
    let (format, rest) = kept.split_first()?;
    if *format != KEPT_FORMAT {
        return None;
    }
    let parts: Vec<&[u8]> = rest.get(4..)?.split(|byte| *byte == 0).collect();
    let mut releases = Vec::new();
    for pair in parts.get(1..)?.chunks_exact(2) {
        let kept: Kept = serde_json::from_slice(pair[1]).ok()?;
        releases.push(Release {
            unfit: kept.rust_version.and_then(|wanted| unfit(&wanted, rustc)),
            version: kept.vers,
            at: kept.pubtime,
            yanked: kept.yanked,
            deprecated: None,
        });
    }
    releases.sort_by(|a, b| Dialect::Cargo.compare(&a.version, &b.version));
    Some(releases)
}

fn unfit(wanted: &str, rustc: &str) -> Option<String> {
    // Nightlies are told by what they will become.
    let here = rustc.split('-').next().unwrap_or_default();
    let is_fit = Dialect::Cargo
        .admits(&format!(">={wanted}"), here)
        .unwrap_or(true);
    (!is_fit).then(|| format!("needs Rust {wanted}, here is {here}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_looked_up_where_every_index_keeps_it() {
        let cases = [
            ("a", "1/a"),
            ("Ab", "2/ab"),
            ("abc", "3/a/abc"),
            ("serde", "se/rd/serde"),
        ];
        for (name, expected) in cases {
            assert_eq!(place(name), expected);
        }
    }

    #[test]
    fn what_cargo_keeps_of_the_index_is_read_in_the_order_of_versions() {
        let kept = b"\x03\x02\0\0\0etag\0\
            0.10.0\0{\"vers\":\"0.10.0\",\"rust_version\":\"1.99\",\"pubtime\":\"2024-01-02T03:04:05Z\"}\0\
            0.9.0\0{\"vers\":\"0.9.0\",\"yanked\":true}\0";
        let releases = told(kept, "1.95.0").unwrap();
        assert_eq!(releases[0].version, "0.9.0");
        assert!(releases[0].yanked && releases[0].at.is_none());
        assert_eq!(
            releases[1].unfit.as_deref(),
            Some("needs Rust 1.99, here is 1.95.0")
        );
        assert_eq!(
            releases[1].at,
            Some("2024-01-02T03:04:05Z".parse().unwrap())
        );
        assert!(told(b"\x04\x02\0\0\0etag\0", "1.95.0").is_none());
    }

    #[test]
    fn what_cargo_is_shown_asks_for_no_file_that_is_not_there() {
        let shown = bare(
            "[package]\nname = \"x\"\nversion = \"1.0.0\"\nbuild = \"make/build.rs\"\nreadme = \"README.md\"\n\
             [[bin]]\nname = \"tool\"\n[dependencies]\nserde = \"1\"\n",
        );
        assert!(!shown.contains("tool") && !shown.contains("README") && !shown.contains("make/"));
        assert!(shown.contains("serde = \"1\""), "{shown}");
    }
}
