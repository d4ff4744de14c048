//! Runs the fuzz targets of `tests/it/fuzz.rs` for a while, one after the other.
//!
//! Touches: processes.
//! Change here: when a run should be told something more.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use crate::{FEATURES, cargo, guests, run};

struct Wanted {
    seconds: u64,
    seed: Option<u64>,
    /// Part of a target's name; all of them where it is empty.
    target: String,
}

pub fn fuzz(root: &Path, words: &[String]) -> anyhow::Result<()> {
    let wanted = wanted(words)?;
    // Which attempts are made is random from run to run, and told: with the seed they are the same again.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = wanted.seed.unwrap_or(now.as_secs());
    eprintln!(
        "xtask: fuzzing for {} s a target from seed {seed}",
        wanted.seconds
    );
    guests::build(root)?;
    run(
        "fuzzing",
        cargo(root)
            .arg("test")
            .args(FEATURES)
            .args(["--test", "it", &format!("fuzz::{}", wanted.target)])
            .args(["--", "--nocapture", "--test-threads=1"])
            .env("CHANGEBUS_FUZZ_SECONDS", wanted.seconds.to_string())
            .env("CHANGEBUS_FUZZ_SEED", seed.to_string()),
    )
}

fn wanted(words: &[String]) -> anyhow::Result<Wanted> {
    let mut wanted = Wanted {
        seconds: 60,
        seed: None,
        target: String::new(),
    };
    for pair in words.chunks(2) {
        let [option, value] = pair else {
            bail!("`{}` needs a value", pair[0]);
        };
        let number = || {
            let number = value.parse::<u64>();
            number.with_context(|| format!("`{option}` takes a number, not `{value}`"))
        };
        match option.as_str() {
            "--seconds" => wanted.seconds = number()?,
            "--seed" => wanted.seed = Some(number()?),
            "--target" => wanted.target = value.clone(),
            _ => bail!("no option `{option}`; there are --seconds, --seed and --target"),
        }
    }
    Ok(wanted)
}
