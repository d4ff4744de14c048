//! A little shop in Python, a push that breaks one of its tests, and a model that knows the fix.
//!
//! Touches: git, http.
//! Change here: when stories about the daemon or the commands need another failure to mend.

use changebus_tests::world::World;
use scripted_claude::{RecordedRequest, Reply, Script};

const GREEN: &str = "\
FREE_FROM = 5000


def total(prices):
    return sum(prices)


def ships_free(cents):
    return cents >= FREE_FROM


def shipping(cents):
    return 0 if ships_free(cents) else 490


def invoice(prices):
    goods = total(prices)
    return goods + shipping(goods)
";

const TESTS: &str = "\
import shop


def test_a_small_order_pays_for_shipping():
    assert shop.invoice([1000]) == 1490


def test_a_large_order_ships_free():
    assert shop.invoice([4000, 2000]) == 6000


def test_an_order_of_exactly_the_limit_ships_free():
    assert shop.invoice([2500, 2500]) == 5000


def test_an_empty_basket_costs_the_shipping():
    assert shop.invoice([]) == 490
";

const WRAPPING: &str = "

def wrapping(pieces):
    return 150 * pieces
";

const BAD: &str = "cents > FREE_FROM";
const GOOD: &str = "cents >= FREE_FROM";

/// What A answers: the line as it was.
const MINIMAL: &str = "\
The push turned `at least` into `more than`.

shop.py
<<<<<<< SEARCH
    return cents > FREE_FROM
=======
    return cents >= FREE_FROM
>>>>>>> REPLACE
";

/// What B answers: the same rule in other words.
const ROBUST: &str = "\
The limit itself ships free, so only what is below it pays.

shop.py
<<<<<<< SEARCH
    return cents > FREE_FROM
=======
    below = cents < FREE_FROM
    return not below
>>>>>>> REPLACE
";

/// Variants are told apart by the effort the default configuration gives them.
pub fn knows_the_fix() -> Script {
    Script::from_fn(|request: &RecordedRequest| {
        let minimal = request.body["output_config"]["effort"] == "low";
        Reply::text(if minimal { MINIMAL } else { ROBUST })
    })
}

/// A world with a green origin, whose model knows the fix; further lines for the project's policy.
/// Confidence is not what these stories are about: a variant that lost its answer in a crash takes some along.
pub async fn watched(policy: &str) -> World {
    with_model(knows_the_fix(), policy).await
}

/// The same with another model.
pub async fn with_model(script: Script, policy: &str) -> World {
    let mut world = World::new(script).await;
    world.policy(&format!("min_confidence = 0.3\n{policy}"));
    world.push(
        "Price orders",
        &[("shop.py", Some(GREEN)), ("test_shop.py", Some(TESTS))],
    );
    world
}

/// One good hunk and one bad one. The commit's id.
pub fn break_it(world: &World) -> String {
    let text = format!("{}{WRAPPING}", GREEN.replace(GOOD, BAD));
    world.push("Wrap gifts, tidy shipping", &[("shop.py", Some(&text))])
}

/// Somebody else is faster. The commit's id.
pub fn mend_it(world: &World) -> String {
    let text = format!("{GREEN}{WRAPPING}");
    world.push("Mend shipping", &[("shop.py", Some(&text))])
}

/// The bug is gone and the good hunk is not.
pub fn is_mended(text: &str) -> bool {
    !text.contains(BAD) && text.contains(WRAPPING.trim())
}

/// Commits ChangeBus made on a branch of the origin, newest first.
pub fn merges(world: &World, branch: &str) -> Vec<String> {
    let found = world.git_in(
        &world.origin(),
        &["log", "--format=%H", "--grep=^ChangeBus-Run: ", branch],
    );
    found.lines().map(str::to_owned).collect()
}
