//! What npm is asked.
//!
//! Touches: processes.
//! Change here: when npm takes other arguments or prints in another way.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::{Room, quoted};
use super::contents::CONTENTS;
use super::lock::Lock;
use super::requirement::Dialect;
use super::{
    Clients, DepsError, Files, Work, beside, directory, exists, joined, text_of, upwards, within,
};
use crate::event::{Ecosystem, Manifest, Release};
use crate::outside::reading::ReadTree;

const LOCKS: [&str; 2] = ["npm-shrinkwrap.json", "package-lock.json"];
const OTHERS: [&str; 4] = ["yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb"];
/// Nothing of a package runs, nothing is installed, nobody is told.
const LOCK: [&str; 6] = [
    "npm",
    "install",
    "--package-lock-only",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
];

/// Of a package, in bytes.
const MOST_UNPACKED: u64 = 256 << 20;

/// Whether npm keeps this manifest, and in which lock file; none where another manager does.
pub(super) fn keeper(
    tree: &dyn ReadTree,
    path: &str,
) -> Result<Option<(Ecosystem, Option<String>)>, DepsError> {
    let own = directory(path);
    for above in upwards(own) {
        let lock = LOCKS
            .iter()
            .map(|name| beside(above, name))
            .find(|lock| exists(tree, lock));
        if let Some(lock) = lock {
            let covers = above == own
                || Lock::read(Ecosystem::Npm, &lock, &text_of(tree, &lock)?)?
                    .members
                    .contains(within(above, own));
            if covers {
                return Ok(Some((Ecosystem::Npm, Some(lock))));
            }
        }
        if OTHERS.iter().any(|name| exists(tree, &beside(above, name))) {
            return Ok(None);
        }
    }
    Ok(Some((Ecosystem::Npm, None)))
}

/// The manifests that share the lock file, and the project's own settings.
pub(super) fn surroundings(
    tree: &dyn ReadTree,
    manifest: &Manifest,
) -> Result<Vec<String>, DepsError> {
    let path = manifest.lock.as_deref().unwrap_or(&manifest.path);
    let root = directory(path);
    let mut paths = vec![beside(root, ".npmrc"), beside(root, "package.json")];
    if let Some(lock) = &manifest.lock {
        let lock = Lock::read(Ecosystem::Npm, lock, &text_of(tree, lock)?)?;
        let members = lock
            .members
            .iter()
            .filter_map(|member| joined(root, member));
        paths.extend(members.map(|member| beside(&member, "package.json")));
    }
    paths.retain(|path| exists(tree, path));
    Ok(paths)
}

/// Twice: once so that there is no other version to come to, then with what the manifest will say.
pub(super) async fn lock(work: &Work<'_>) -> Result<(), DepsError> {
    let directory = directory(work.lock);
    for text in [&work.exactly()?, work.edited] {
        work.room.write(&work.manifest.path, text.as_bytes())?;
        work.room.run(directory, &LOCK).await?;
    }
    Ok(())
}

pub(super) async fn releases(
    clients: &Clients,
    files: &Files,
    manifest: &Manifest,
    name: &str,
) -> Result<Vec<Release>, DepsError> {
    let room = Room::make(clients, Ecosystem::Npm, files)?;
    let (any, each) = (quoted(name), quoted(&format!("{name}@>=0.0.0-0")));
    let out = |file: &str| quoted(&room.outlet(file));
    let line = format!(
        "node --version > {} && npm view {any} time versions --json > {} && npm view {each} version deprecated engines \
         --json > {}",
        out("node"),
        out("all"),
        out("each")
    );
    let directory = directory(manifest.lock.as_deref().unwrap_or(&manifest.path));
    room.run_line(directory, &line).await?;
    let read = |file: &str| {
        let text = room.said(file);
        let read: Result<Value, _> = serde_json::from_str(&text);
        read.map_err(|error| DepsError::Failed {
            client: "npm",
            words: format!("what it says of {name} cannot be read: {error}"),
        })
    };
    let each = match room.said("each").trim() {
        // No version is left.
        "" => Value::Array(vec![]),
        _ => read("each")?,
    };
    Ok(told(&read("all")?, &each, room.said("node").trim()))
}

/// Lays a package's files out in the room. What would grow beyond all bounds is cut off, and then no archive any more.
pub(super) async fn unpack<'c>(
    clients: &'c Clients,
    files: &Files,
    manifest: &Manifest,
    name: &str,
    version: &str,
) -> Result<Room<'c>, DepsError> {
    let room = Room::make(clients, Ecosystem::Npm, files)?;
    let (packed, contents) = (room.outlet("packed"), room.outlet(CONTENTS));
    let (packed, contents) = (quoted(&packed), quoted(&contents));
    let package = quoted(&format!("{name}@{version}"));
    let line = format!(
        "mkdir {packed} {contents} && npm pack --ignore-scripts --pack-destination {packed} -- {package} && \
         gzip -dc {packed}/*.tgz | head -c {MOST_UNPACKED} | tar -xf - --strip-components=1 -C {contents} && \
         chmod -R u+rwX {contents}"
    );
    let directory = directory(manifest.lock.as_deref().unwrap_or(&manifest.path));
    room.run_line(directory, &line).await?;
    Ok(room)
}

/// Times of all that ever was, and more of what is still there.
fn told(all: &Value, each: &Value, node: &str) -> Vec<Release> {
    let list = |value: &Value| match value {
        Value::Array(list) => list.clone(),
        Value::Null => vec![],
        one => vec![one.clone()],
    };
    let text = |value: Option<&Value>| Some(value?.as_str()?.to_owned());
    let mut found: BTreeMap<String, Release> = BTreeMap::new();
    let times = all.get("time").and_then(Value::as_object);
    for (version, time) in times.into_iter().flatten() {
        if version.starts_with(|c: char| c.is_ascii_digit()) {
            let at = time.as_str().and_then(|time| time.parse().ok());
            // Until it is seen below: what has a time and is not handed out was taken back.
            let release = Release {
                at,
                yanked: true,
                ..release(version)
            };
            found.insert(version.clone(), release);
        }
    }
    for version in list(all.get("versions").unwrap_or(&Value::Null)) {
        if let Some(version) = version.as_str() {
            let entry = found.entry(version.to_owned());
            entry.or_insert_with(|| release(version)).yanked = false;
        }
    }
    for one in list(each) {
        let version = text(one.get("version")).unwrap_or_default();
        if let Some(release) = found.get_mut(&version) {
            release.deprecated = text(one.get("deprecated")).filter(|why| !why.is_empty());
            let wanted = text(one.get("engines").and_then(|engines| engines.get("node")));
            release.unfit = wanted.and_then(|wanted| unfit(&wanted, node));
        }
    }
    let mut releases: Vec<Release> = found.into_values().collect();
    releases.sort_by(|a, b| Dialect::Npm.compare(&a.version, &b.version));
    releases
}

fn release(version: &str) -> Release {
    Release {
        version: version.to_owned(),
        at: None,
        yanked: false,
        deprecated: None,
        unfit: None,
    }
}

fn unfit(wanted: &str, node: &str) -> Option<String> {
    let here = node.trim_start_matches('v');
    let is_fit = Dialect::Npm.admits(wanted, here).unwrap_or(true);
    (!is_fit).then(|| format!("needs Node.js {wanted}, here is {here}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_unpublished_is_yanked_and_what_is_deprecated_says_why() {
        let all = json!({
            "time": {"created": "2020-01-01T00:00:00.000Z", "1.10.0": "2020-03-01T00:00:00.000Z",
                     "1.9.0": "2020-02-01T00:00:00.000Z", "1.9.1": "2020-02-02T00:00:00.000Z"},
            "versions": ["1.10.0", "1.9.0"],
        });
        let each = json!([
            {"version": "1.9.0", "deprecated": "use 1.10"},
            {"version": "1.10.0", "engines": {"node": ">=22"}},
        ]);
        let releases = told(&all, &each, "v20.1.0");
        let versions: Vec<&str> = releases.iter().map(|r| r.version.as_str()).collect();
        assert_eq!(versions, ["1.9.0", "1.9.1", "1.10.0"]);
        assert_eq!(releases[0].deprecated.as_deref(), Some("use 1.10"));
        assert!(releases[1].yanked && !releases[0].yanked);
        assert_eq!(
            releases[2].unfit.as_deref(),
            Some("needs Node.js >=22, here is 20.1.0")
        );
        assert!(releases.iter().all(|release| release.at.is_some()));
    }

    #[test]
    fn one_version_alone_is_told_without_a_list() {
        let all = json!({"time": {"1.0.0": "2020-03-01T00:00:00.000Z"}, "versions": "1.0.0"});
        let releases = told(&all, &json!({"version": "1.0.0"}), "v20.1.0");
        assert_eq!(releases.len(), 1);
        assert!(!releases[0].yanked);
    }
}
