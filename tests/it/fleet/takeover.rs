//! How soon a run goes on elsewhere whose host was killed, beside the lease it held.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback), clock.
//! Change here: when projects change hands otherwise. As a benchmark: `cargo xtask bench fleet`.

use changebus::event::Fact;
use changebus_tests::fleet::Fleet;
use changebus_tests::tables;
use jiff::Timestamp;

use super::{closed, killed_in_mid_tournament};

/// The default last, several times: a host dies at any moment between two signs of life.
const LEASES: [u64; 6] = [3, 3, 10, 10, 10, 10];

/// Seconds from the kill to the first thing that another host does for the run.
async fn taken_over(lease: u64) -> f64 {
    let mut fleet = Fleet::new(&["ada", "bob"], 1).await;
    fleet.lease_seconds = lease;
    fleet.test_seconds = 1.0;
    let (_daemons, _, lives) = killed_in_mid_tournament(&fleet).await;
    let killed = Timestamp::now();
    let events = fleet
        .until(lives, "the other goes on", |e| !closed(e, "p1").is_empty())
        .await;
    let first = events
        .iter()
        .find(|e| e.run.is_some() && e.origin.is_none() && e.at > killed);
    let first = first.expect("it went on");
    let worked = match &first.fact {
        Fact::Sampled { sample } => sample.seconds,
        Fact::Tried { trial } => trial.seconds,
        _ => 0.0,
    };
    first.at.duration_since(killed).as_secs_f64() - worked
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; `cargo xtask bench fleet` runs it"]
async fn a_run_goes_on_elsewhere_within_the_lease_of_the_host_that_was_killed() {
    let mut rows = String::new();
    for lease in LEASES {
        let seconds = taken_over(lease).await;
        let share = seconds / lease as f64;
        let holds = if share <= 1.0 {
            "holds"
        } else {
            "**does not hold**"
        };
        rows += &format!("| {lease} | {seconds:.1} | {share:.2} | {holds} |\n");
    }
    tables::tell(&format!(
        "# A host that is killed in mid-tournament\n\n\
         Written by `cargo xtask bench fleet`. {}\n\n\
         Two hosts and a real server; the one that has the run is killed with SIGKILL after the model has answered. Seconds until the\n\
         other does the next thing for it, beside `bus.lease_seconds` (10 where nothing is said).\n\n\
         | lease | taken over after | of the lease | |\n|---|---|---|---|\n{rows}",
        tables::machine()
    ));
}
