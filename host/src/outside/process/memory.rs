//! Watches how much memory a program and everything it started hold together.
//!
//! Touches: files (`/proc`), clock.
//! Change here: when that is bounded otherwise. A control group would count every page, and is not to be had everywhere.
//!
//! What counts is what cannot be read again from a disk: memory of a process's own, on loan to the swap or not, memory
//! it shares, and what lies in its `/tmp` and `/dev/shm`.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;

use super::{descendants, processes};
use crate::outside::lookout;

const PAUSE: Duration = Duration::from_millis(200);
/// Where a cell keeps files in memory.
const IN_MEMORY: [&str; 2] = ["tmp", "dev/shm"];

/// Returns when `leader` and its descendants, who live in a cell, hold more than `most_bytes`.
pub async fn exceeded(leader: Pid, most_bytes: u64) {
    // Most commands have ended by then.
    tokio::time::sleep(PAUSE).await;
    lookout::until(PAUSE, move || exceeds(leader, most_bytes)).await;
}

fn exceeds(leader: Pid, most_bytes: u64) -> bool {
    let all = descendants(leader, &processes());
    let files = all.iter().find_map(|pid| files(*pid, leader)).unwrap_or(0);
    let more = |held: &dyn Fn(Pid) -> Option<Held>| {
        let sum: Held = all.iter().filter_map(|pid| held(*pid)).sum();
        // What is mapped of those files is in both.
        sum.own + sum.shared.max(files) > most_bytes
    };
    // The first counts a page for each process that has it, and is cheap; the second walks through all pages.
    more(&at_most) && more(&|pid| share(pid).or_else(|| at_most(pid)))
}

/// In bytes.
#[derive(Clone, Copy, Default)]
struct Held {
    own: u64,
    shared: u64,
}

impl std::iter::Sum for Held {
    fn sum<I: Iterator<Item = Held>>(all: I) -> Held {
        all.fold(Held::default(), |sum, held| Held {
            own: sum.own + held.own,
            shared: sum.shared + held.shared,
        })
    }
}

fn at_most(pid: Pid) -> Option<Held> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Held {
        own: bytes(&text, "RssAnon")? + bytes(&text, "VmSwap")?,
        shared: bytes(&text, "RssShmem")?,
    })
}

/// Of what several have, each its part. Not told of everybody: who has given up to be looked at, or where the kernel
/// is too old.
fn share(pid: Pid) -> Option<Held> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(Held {
        own: bytes(&text, "Pss_Anon")? + bytes(&text, "SwapPss")?,
        shared: bytes(&text, "Pss_Shmem")?,
    })
}

fn bytes(text: &str, name: &str) -> Option<u64> {
    let named = |line: &str| {
        Some(
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .to_owned(),
        )
    };
    let kib: u64 = text
        .lines()
        .find_map(named)?
        .strip_suffix(" kB")?
        .parse()
        .ok()?;
    Some(kib << 10)
}

/// What lies in the files of the cell that this process lives in. The leader itself stays outside.
fn files(pid: Pid, leader: Pid) -> Option<u64> {
    let used = |place: &str| {
        let place = PathBuf::from(format!("/proc/{pid}/root/{place}"));
        let found = statvfs(&place).ok()?;
        Some((found.blocks() - found.blocks_free()) * found.fragment_size())
    };
    if pid == leader {
        return None;
    }
    IN_MEMORY.into_iter().map(used).sum()
}
