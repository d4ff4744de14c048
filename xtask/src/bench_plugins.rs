//! Measures what a plugin call costs, optimised, and keeps the table.
//!
//! Touches: processes.
//! Change here: when the figures should be taken or kept otherwise; what is measured stands in `tests/bench`.

use std::path::Path;

use crate::{cargo, guests, run};

/// The optimised build stands apart, in `target/measure`; the first time it takes some minutes.
pub fn measure(root: &Path) -> anyhow::Result<()> {
    guests::build(root)?;
    run(
        "building what compiles plugins",
        cargo(root).args(["build", "--profile", "measure"]).args([
            "-p",
            "changebus",
            "-p",
            "changebus-tests",
        ]),
    )?;
    let bench = [
        "bench",
        "--profile",
        "measure",
        "-p",
        "changebus-tests",
        "--bench",
        "plugins",
    ];
    run(
        "measuring plugins",
        cargo(root)
            .args(bench)
            .env("CHANGEBUS_BENCH_TABLE", root.join("docs/benchmarks.md")),
    )
}
