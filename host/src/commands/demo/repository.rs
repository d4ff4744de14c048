//! The demo's repository: a small library without dependencies, its tests, and a push that breaks one of them.
//!
//! Touches: files, processes, git.
//! Change here: when the demo should break something else; `script.rs` answers to this very text.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Tests in `tests/orders.rs`.
pub const TESTS: usize = 12;

const MANIFEST: &str = "[package]\nname = \"parcel\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
const LOCK: &str = "version = 3\n\n[[package]]\nname = \"parcel\"\nversion = \"0.1.0\"\n";
const LIB: &str = "//! Prices of parcels, in cents.\n\npub mod basket;\npub mod shipping;\n\npub type Cents = u64;\n";

const BASKET: &str = r#"//! What an order costs before it is sent.

use crate::Cents;

/// One kind of thing in a basket.
pub struct Item {
    pub price: Cents,
    pub quantity: u64,
}

/// Sum over all items.
pub fn total(items: &[Item]) -> Cents {
    items.iter().map(|item| item.price * item.quantity).sum()
}

/// Ten items or more of a kind cost a tenth less.
pub fn with_quantity_discount(item: &Item) -> Cents {
    let full = item.price * item.quantity;
    if item.quantity >= 10 { full - full / 10 } else { full }
}
"#;

const SHIPPING: &str = r#"//! What sending costs.

use crate::Cents;

/// Orders of at least this much are sent for nothing.
pub const FREE_FROM: Cents = 5_000;

const BASE: Cents = 490;
const PER_KILO: Cents = 120;

/// What sending a parcel of this weight costs, for an order of this total.
pub fn cost(order_total: Cents, grams: u64) -> Cents {
    if order_total >= FREE_FROM {
        return 0;
    }
    BASE + PER_KILO * grams.div_ceil(1_000)
}

/// Days until the parcel arrives.
pub fn days(express: bool, abroad: bool) -> u32 {
    match (express, abroad) {
        (true, false) => 1,
        (true, true) => 3,
        (false, false) => 3,
        (false, true) => 7,
    }
}
"#;

const ORDERS: &str = r#"use parcel::basket::{Item, total, with_quantity_discount};
use parcel::shipping::{FREE_FROM, cost, days};

fn item(price: u64, quantity: u64) -> Item {
    Item { price, quantity }
}

#[test]
fn an_empty_basket_costs_nothing() {
    assert_eq!(total(&[]), 0);
}

#[test]
fn items_add_up() {
    assert_eq!(total(&[item(250, 2), item(100, 1)]), 600);
}

#[test]
fn nine_of_a_kind_cost_nine_times_as_much() {
    assert_eq!(with_quantity_discount(&item(100, 9)), 900);
}

#[test]
fn ten_of_a_kind_cost_a_tenth_less() {
    assert_eq!(with_quantity_discount(&item(100, 10)), 900);
}

#[test]
fn the_discount_is_rounded_in_the_shops_favour() {
    assert_eq!(with_quantity_discount(&item(33, 10)), 297);
}

#[test]
fn a_small_order_pays_for_shipping() {
    assert_eq!(cost(1_000, 1_000), 610);
}

#[test]
fn a_started_kilo_counts_as_a_whole_one() {
    assert_eq!(cost(1_000, 1_001), 730);
}

#[test]
fn a_large_order_ships_free() {
    assert_eq!(cost(FREE_FROM + 1, 20_000), 0);
}

#[test]
fn an_order_of_exactly_the_limit_ships_free() {
    assert_eq!(cost(FREE_FROM, 500), 0, "5000 cents are enough");
}

#[test]
fn an_order_just_below_the_limit_pays() {
    assert_eq!(cost(FREE_FROM - 1, 500), 610);
}

#[test]
fn express_is_faster_at_home() {
    assert!(days(true, false) < days(false, false));
}

#[test]
fn express_is_faster_abroad() {
    assert!(days(true, true) < days(false, true));
}
"#;

/// The origin, and a first clone that pushed the green state.
pub fn make(dir: &Path) -> anyhow::Result<()> {
    git(
        dir,
        &[
            "init",
            "--quiet",
            "--bare",
            "--initial-branch=main",
            "origin.git",
        ],
    )?;
    git(dir, &["clone", "--quiet", "origin.git", "first"])?;
    let first = dir.join("first");
    let files = [
        ("Cargo.toml", MANIFEST),
        ("Cargo.lock", LOCK),
        (".gitignore", "/target\n"),
        ("src/lib.rs", LIB),
        ("src/basket.rs", BASKET),
        ("src/shipping.rs", SHIPPING),
        ("tests/orders.rs", ORDERS),
    ];
    for (path, text) in files {
        let path = first.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    commit_and_push(&first, "Price parcels")
}

/// Three hunks, one of them wrong: a feature, a clearer match, and an edge lost in a tidy-up.
pub fn push_regression(dir: &Path) -> anyhow::Result<String> {
    git(dir, &["clone", "--quiet", "origin.git", "second"])?;
    let second = dir.join("second");
    let wrapping = "\n/// Gift wrapping costs the same for every item.\npub fn gift_wrapping(items: &[Item]) -> Cents {\n    150 * items.iter().map(|item| item.quantity).sum::<u64>()\n}\n";
    std::fs::write(second.join("src/basket.rs"), format!("{BASKET}{wrapping}"))?;
    let shipping = SHIPPING
        .replace("order_total >= FREE_FROM", "order_total > FREE_FROM")
        .replace(
            "        (true, true) => 3,\n        (false, false) => 3,\n",
            "        (true, true) | (false, false) => 3,\n",
        );
    std::fs::write(second.join("src/shipping.rs"), shipping)?;
    commit_and_push(&second, "Add gift wrapping, tidy shipping")?;
    Ok(
        "a second clone pushed \"Add gift wrapping, tidy shipping\": two files, one edge lost"
            .into(),
    )
}

/// The whole suite in a fresh clone of the origin.
pub fn verify(dir: &Path) -> anyhow::Result<String> {
    git(dir, &["clone", "--quiet", "origin.git", "verify"])?;
    let tested = Command::new("cargo")
        .args(["test", "--offline", "--quiet"])
        .current_dir(dir.join("verify"))
        .output();
    let tested = tested.context("running cargo")?;
    let text = String::from_utf8_lossy(&tested.stdout);
    if !tested.status.success() {
        bail!("the branch is still red:\n{text}");
    }
    let passed: u32 = text
        .lines()
        .filter_map(|l| {
            l.strip_prefix("test result: ok. ")?
                .split(' ')
                .next()?
                .parse::<u32>()
                .ok()
        })
        .sum();
    Ok(format!("{passed} tests pass"))
}

/// The project's part of the configuration.
pub fn project(dir: &Path) -> String {
    let origin = dir.join("origin.git").display().to_string();
    format!(
        "[projects.parcel]\nrepo = {}\ntest = \"cargo test --offline --no-fail-fast\"\n",
        toml::Value::String(origin),
    )
}

fn commit_and_push(clone: &Path, message: &str) -> anyhow::Result<()> {
    git(clone, &["add", "--all"])?;
    git(clone, &["commit", "--quiet", "-m", message])?;
    git(clone, &["push", "--quiet", "origin", "HEAD:main"])
}

/// Git as nobody's configuration changes it.
fn git(dir: &Path, args: &[&str]) -> anyhow::Result<()> {
    let who = [("NAME", "Demo"), ("EMAIL", "demo@localhost")];
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for (what, value) in who {
        command
            .env(format!("GIT_AUTHOR_{what}"), value)
            .env(format!("GIT_COMMITTER_{what}"), value);
    }
    let done = command
        .output()
        .with_context(|| format!("running git {}", args.join(" ")))?;
    if !done.status.success() {
        bail!(
            "git {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(())
}
