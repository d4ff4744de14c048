//! Measures optimised what has to be fast, beside what it is made of, and keeps the table.
//!
//! Touches: processes.
//! Change here: when the figures should be taken or kept otherwise; what is measured stands in `tests/bench`.

use std::path::Path;

use crate::{cargo, guests, run};

/// The optimised build stands apart, in `target/measure`; the first time it takes some minutes.
pub fn measure(root: &Path, bench: &str) -> anyhow::Result<()> {
    guests::build(root)?;
    run(
        "building the program",
        cargo(root).args(["build", "--profile", "measure"]).args([
            "-p",
            "changebus",
            "-p",
            "changebus-tests",
        ]),
    )?;
    let args = [
        "bench",
        "--profile",
        "measure",
        "-p",
        "changebus-tests",
        "--bench",
        bench,
    ];
    run(
        &format!("measuring {bench}"),
        cargo(root)
            .args(args)
            .env("CHANGEBUS_BENCH_TABLE", root.join("docs/benchmarks.md")),
    )
}
