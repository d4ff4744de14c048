//! Watches how much a running command has written.
//!
//! Touches: files, clock.
//! Change here: when what a command writes is bounded otherwise; a filesystem's own quotas would be better, and are rare.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::outside::lookout;

const PAUSE: Duration = Duration::from_secs(2);

/// Returns when what was written there since now is more than `most_bytes`; what lies there already does not count.
pub async fn exceeded(places: [PathBuf; 3], most_bytes: u64) {
    let mut before = None;
    let look = move || {
        let mut seen = BTreeSet::new();
        let sizes = places.iter().map(|place| size(place, &mut seen));
        let now: u64 = sizes.sum();
        now.saturating_sub(*before.get_or_insert(now)) > most_bytes
    };
    lookout::until(PAUSE, look).await;
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
