//! A suite of three tests, cheap and seeded: one is sound, one fails where the tree says so, one fails by chance.
//!
//! Touches: files, git.
//! Change here: when stories about flaky tests need another kind of them.

use crate::world::World;

/// The test that fails where the file `broken` is in the tree, and the one that fails by chance.
pub const REAL: &str = "real";
pub const MOODY: &str = "moody";

const SUITE: &str = r#"n=$(cat "$COUNTER" 2>/dev/null || echo 0)
echo $((n + 1)) > "$COUNTER"
dice=$(printf '%s' "$SEED $n" | sha256sum | cut -c1-7)
code=0
echo 1..3
echo "ok 1 - sound"
if [ -e broken ]; then echo "not ok 2 - real"; code=1; else echo "ok 2 - real"; fi
if [ $((0x$dice % 100)) -lt "$RATE" ]; then echo "not ok 3 - moody"; code=1; else echo "ok 3 - moody"; fi
exit $code
"#;

/// Pushes the suite. The moody test fails in `rate` of a hundred runs, which ones is settled by `seed`.
pub fn open(world: &mut World, seed: u64, rate: u32) {
    let counter = world.path().join("counter").display().to_string();
    world.without_a_sandbox();
    world.test(&format!(
        "COUNTER='{counter}' SEED={seed} RATE={rate} sh suite.sh"
    ));
    world.push("Count", &[("suite.sh", Some(SUITE)), ("n", Some("0\n"))]);
}

/// Pushes a change that touches no test; `broken` says whether the real test fails from then on. The commit's id.
pub fn push(world: &World, nth: usize, broken: bool) -> String {
    let was_broken = world.checkout().join("broken").exists();
    let (text, why) = (format!("{nth}\n"), format!("reason {nth}\n"));
    let mut files = vec![("n", Some(&text[..]))];
    match (was_broken, broken) {
        (false, true) => files.push(("broken", Some(&why[..]))),
        (true, false) => files.push(("broken", None)),
        _ => {}
    }
    world.push("Count on", &files)
}
