//! A little Python shop for stories: green at first, then a push breaks one of its tests.
//!
//! Touches: git, processes.
//! Change here: when a story needs another shop; most only add files to this one.

use crate::world::World;

/// The sources while all is well.
pub const GOOD: &str = "\
def pay(price, off=0):
    return price - off


def total(prices):
    return sum(prices)


def label(price):
    return f\"{price} EUR\"
";

/// The sources after the push: a discount is added instead of taken off.
pub const BAD: &str = "\
def pay(price, off=0):
    return price + off


def total(prices):
    return sum(prices)


def label(price):
    return f\"{price} EUR\"
";

/// The tests; `test_pay_less` fails with [`BAD`].
pub const TESTS: &str = "\
from shop import label, pay, total


def test_pay():
    assert pay(10) == 10


def test_pay_less():
    assert pay(10, 2) == 8


def test_total():
    assert total([1, 2]) == 3


def test_nothing_costs_nothing():
    assert total([]) == 0


def test_label():
    assert label(3) == \"3 EUR\"
";

pub const SOURCE: &str = "shop.py";
pub const TEST_FILE: &str = "tests/test_shop.py";

/// What a model says that mends the shop.
pub const HONEST: &str = "\
A discount makes things cheaper.

shop.py
<<<<<<< SEARCH
    return price + off
=======
    return price - off
>>>>>>> REPLACE
";

/// Pushes the green shop; its commit.
pub fn open(world: &World) -> String {
    world.push(
        "Open the shop",
        &[(SOURCE, Some(GOOD)), (TEST_FILE, Some(TESTS))],
    )
}

/// Pushes the regression; its commit.
pub fn break_it(world: &World) -> String {
    world.push("Rework discounts", &[(SOURCE, Some(BAD))])
}
