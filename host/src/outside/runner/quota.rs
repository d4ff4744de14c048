//! Watches how much a running command has written.
//!
//! Touches: files, clock.
//! Change here: when what a command writes is bounded otherwise; a filesystem's own quotas would be better, and are rare.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::outside::git::blocking;

/// Between two looks, and for each second that a look took, so many seconds of rest.
const PAUSE: Duration = Duration::from_secs(2);
const REST: u32 = 20;

/// Returns when what was written there since now is more than `most_bytes`; what lies there already does not count.
pub async fn exceeded(places: [PathBuf; 3], most_bytes: u64) {
    let look = async || {
        let (places, started) = (places.clone(), std::time::Instant::now());
        let bytes = blocking(move || {
            let mut seen = BTreeSet::new();
            places
                .iter()
                .map(|place| size(place, &mut seen))
                .sum::<u64>()
        });
        (bytes.await, started.elapsed())
    };
    let (before, mut took) = look().await;
    loop {
        tokio::time::sleep(PAUSE.max(took * REST)).await;
        let (now, again) = look().await;
        if now.saturating_sub(before) > most_bytes {
            return;
        }
        took = again;
    }
}

/// Blocks in use below a directory that others write: links are not followed, a file with several names counts once,
/// and what goes or shuts while it is looked at counts as nothing.
fn size(dir: &Path, seen: &mut BTreeSet<(u64, u64)>) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut bytes = 0;
    for entry in entries {
        let Ok(found) = entry.metadata() else {
            continue;
        };
        if found.nlink() > 1 && !found.is_dir() && !seen.insert((found.dev(), found.ino())) {
            continue;
        }
        bytes += found.blocks() * 512;
        if found.is_dir() {
            bytes += size(&entry.path(), seen);
        }
    }
    bytes
}
