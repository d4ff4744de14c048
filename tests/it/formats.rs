//! Whole runs where the tests do not speak JUnit: what is printed is enough to tell single tests apart, and to merge.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when another format should be tried with the runner that prints it.

use changebus_tests::world::World;
use scripted_claude::{Reply, Script};
use serde_json::json;

const GOOD: &str = "exports.pay = (price, off = 0) => price - off;\n";
const BAD: &str = "exports.pay = (price, off = 0) => price + off;\n";
const TESTS: &str = "\
const { test, describe, it } = require('node:test');
const assert = require('node:assert');
const { pay } = require('./shop.js');

test('pays', () => assert.strictEqual(pay(10), 10));
describe('a discount', () => {
  it('makes it cheaper', () => assert.strictEqual(pay(10, 2), 8));
  it('may be nothing', () => assert.strictEqual(pay(10, 0), 10));
});
test('later', { skip: 'not yet' }, () => {});
";
const FIX: &str = "{ do = \"hand-in\", edits = [{ edit = \"replace\", path = \"shop.js\", \
    search = \"price + off\", replacement = \"price - off\" }] }";

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_healed_where_node_prints_tap() {
    let mut world = World::new(Script::from_fn(|_| Reply::text("Nobody asks me."))).await;
    world.test("node --test --test-reporter=tap");
    world.policy("min_confidence = 0.5");
    world.variants(&[
        ("mended", "moody-strategy", FIX),
        ("back", "revert-culprit", "{}"),
    ]);
    world.push(
        "Open the shop",
        &[("shop.js", Some(GOOD)), ("shop.test.js", Some(TESTS))],
    );
    world.push("Reckon anew", &[("shop.js", Some(BAD))]);
    let (story, code) = world.fix(&[]);
    assert_eq!(code, 0, "{story:#}");
    assert_eq!(story["status"], json!("fixed"), "{story:#}");
    let failing = story["failing"].as_array().expect("a list");
    assert_eq!(failing.len(), 1, "{story:#}");
    let id = failing[0].as_str().expect("an id");
    assert!(id.ends_with("a discount::makes it cheaper"), "{id}");
    assert_eq!(
        story["variants"][0]["tests"]["total"],
        json!(4),
        "{story:#}"
    );
    assert_eq!(world.at_tip("shop.js"), GOOD.trim());
}
