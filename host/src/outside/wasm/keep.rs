//! The bytes of every plugin that was ever active here, by digest: a run goes on with what it began with, whatever
//! lies in the plugin directories now.
//!
//! Touches: files.
//! Change here: when bytes should be kept for longer, or elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::activate::digest;
use super::lock::is_digest;
use super::unfit::Unfit;

/// Replaced files that are kept of each name.
pub const RETIRED: usize = 64;

/// Digests of each name, in the order they became active.
type Index = BTreeMap<String, Vec<String>>;

/// `<state>/plugins`.
pub struct Keep {
    state: PathBuf,
    dir: PathBuf,
    index: Mutex<Option<Index>>,
}

impl Keep {
    pub fn new(state: &Path) -> Keep {
        Keep {
            state: state.to_owned(),
            dir: state.join("plugins"),
            index: Mutex::new(None),
        }
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn place(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}.wasm"))
    }

    /// The bytes of a digest; none where they are not kept, or are not those bytes any more.
    pub fn bytes(&self, wanted: &str) -> Option<Vec<u8>> {
        let place = is_digest(wanted).then(|| self.place(wanted))?;
        let bytes = std::fs::read(place).ok()?;
        (digest(&bytes) == wanted).then_some(bytes)
    }

    /// Keeps the bytes of a plugin that is about to become active, and forgets the oldest ones of its name.
    /// `held` tells what must stay; where it cannot tell, everything stays.
    pub fn add(
        &self,
        name: &str,
        digest: &str,
        bytes: &[u8],
        held: impl FnOnce() -> Option<BTreeSet<String>>,
    ) -> Result<(), Unfit> {
        let kept = self.put(name, digest, bytes, held);
        kept.map_err(|error| Unfit::NotKept {
            dir: self.dir.clone(),
            error,
        })
    }

    fn put(
        &self,
        name: &str,
        digest: &str,
        bytes: &[u8],
        held: impl FnOnce() -> Option<BTreeSet<String>>,
    ) -> std::io::Result<()> {
        let mut index = self
            .index
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        std::fs::create_dir_all(&self.dir)?;
        let index = match &mut *index {
            Some(index) => index,
            none => none.insert(read_index(&self.index_path())),
        };
        if self.bytes(digest).is_none() {
            replace(&self.place(digest), bytes)?;
        }
        let of_name = index.entry(name.to_owned()).or_default();
        if of_name.last().is_some_and(|last| last == digest) {
            return Ok(());
        }
        of_name.retain(|one| one != digest);
        of_name.push(digest.to_owned());
        if of_name.len() > RETIRED + 1
            && let Some(held) = held()
        {
            self.forget(index, name, &held)?;
        }
        replace(&self.index_path(), &serde_json::to_vec_pretty(index)?)
    }

    fn forget(
        &self,
        index: &mut Index,
        name: &str,
        held: &BTreeSet<String>,
    ) -> std::io::Result<()> {
        let Some(of_name) = index.get_mut(name) else {
            return Ok(());
        };
        let surplus = of_name.len().saturating_sub(RETIRED + 1);
        let old: Vec<String> = of_name.iter().take(surplus).cloned().collect();
        of_name.retain(|one| !old.contains(one) || held.contains(one));
        for digest in old.iter().filter(|one| !held.contains(*one)) {
            // Another name may have the same bytes.
            if !index.values().flatten().any(|one| one == digest) {
                match std::fs::remove_file(self.place(digest)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn index_path(&self) -> PathBuf {
        self.dir.join("kept.json")
    }
}

/// Without it nothing is known of the order, so nothing that lies there is forgotten.
fn read_index(path: &Path) -> Index {
    let bytes = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Either the old file or the new one stands there, whatever happens meanwhile.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut fresh = tempfile::NamedTempFile::new_in(dir)?;
    fresh.write_all(bytes)?;
    fresh.as_file().sync_all()?;
    fresh.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(keep: &Keep) -> BTreeSet<String> {
        let entries = std::fs::read_dir(keep.dir()).expect("it is there");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        names
            .filter_map(|name| name.strip_suffix(".wasm").map(str::to_owned))
            .collect()
    }

    #[test]
    fn only_the_newest_replaced_files_are_kept_and_never_one_in_use_forgotten() {
        let state = tempfile::tempdir().expect("a directory");
        let keep = Keep::new(state.path());
        let versions: Vec<Vec<u8>> = (0..200_u32).map(|n| n.to_be_bytes().to_vec()).collect();
        let digests: Vec<String> = versions.iter().map(|bytes| digest(bytes)).collect();
        let held = BTreeSet::from([digests[3].clone()]);
        for (bytes, digest) in versions.iter().zip(&digests) {
            keep.add("x", digest, bytes, || Some(held.clone()))
                .expect("it is kept");
        }
        let kept = kept(&keep);
        assert_eq!(kept.len(), RETIRED + 2);
        assert!(kept.contains(&digests[3]) && kept.contains(&digests[199]));
        assert!(!kept.contains(&digests[4]));
        assert_eq!(keep.bytes(&digests[199]), Some(versions[199].clone()));
    }

    #[test]
    fn where_nobody_can_tell_what_is_in_use_everything_stays() {
        let state = tempfile::tempdir().expect("a directory");
        let keep = Keep::new(state.path());
        for n in 0..100_u32 {
            let bytes = n.to_be_bytes();
            keep.add("x", &digest(&bytes), &bytes, || None)
                .expect("it is kept");
        }
        assert_eq!(kept(&keep).len(), 100);
    }

    #[test]
    fn bytes_that_are_not_the_kept_ones_any_more_are_not_handed_out() {
        let state = tempfile::tempdir().expect("a directory");
        let keep = Keep::new(state.path());
        let digest = digest(b"good");
        keep.add("x", &digest, b"good", || None)
            .expect("it is kept");
        std::fs::write(keep.place(&digest), b"evil").expect("it is written");
        assert_eq!(keep.bytes(&digest), None);
        for not_a_digest in ["", "../../etc/passwd", "ABC"] {
            assert_eq!(keep.bytes(not_a_digest), None);
        }
    }
}
