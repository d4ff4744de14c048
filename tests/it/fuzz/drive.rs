//! Attempt after attempt, each from a seed that can be told.
//!
//! Touches: clock, files.
//! Change here: when attempts should be counted, bounded or told otherwise.

use std::time::{Duration, Instant};

use fastrand::Rng;

/// What one attempt may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the process may grow by, all attempts together, once it has warmed up.
const GROWTH_MIB: u64 = 512;
const WARM: u64 = 20;

/// Seed of the first attempt in an ordinary test run.
const SEED: u64 = 20_250;

/// Makes `few` attempts, or as many as fit into `CHANGEBUS_FUZZ_SECONDS`, from `CHANGEBUS_FUZZ_SEED` on.
pub async fn drive(target: &str, few: u64, attempt: impl AsyncFn(&mut Rng)) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let first = number("CHANGEBUS_FUZZ_SEED").unwrap_or(SEED);
    let seconds = number("CHANGEBUS_FUZZ_SECONDS").map(Duration::from_secs);
    let started = Instant::now();
    let mut warm = None;
    let mut made = 0;
    while seconds.map_or(made < few, |seconds| started.elapsed() < seconds) {
        let told = Told {
            target,
            seed: first.wrapping_add(made),
        };
        let mut random = Rng::with_seed(told.seed);
        let attempt = tokio::time::timeout(PATIENCE, attempt(&mut random)).await;
        assert!(attempt.is_ok(), "the attempt hangs");
        made += 1;
        if made == WARM {
            warm = Some(resident_mib());
        }
        let grown = warm.map_or(0, |warm| resident_mib().saturating_sub(warm));
        assert!(grown < GROWTH_MIB, "the host has grown by {grown} MiB");
    }
    assert!(made > 0, "no attempt was made");
    println!(
        "fuzz {target}: {made} attempts from seed {first} in {:.1} s",
        started.elapsed().as_secs_f64()
    );
}

/// Tells the seed of an attempt that fails.
struct Told<'a> {
    target: &'a str,
    seed: u64,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "fuzz {}: failed with seed {}; again: cargo xtask fuzz --target {} --seed {}",
                self.target, self.seed, self.target, self.seed
            );
        }
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.expect("it is told") >> 10
}
