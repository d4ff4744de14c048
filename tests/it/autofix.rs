//! A real formatter and linter mend a push of their own; tools that misbehave are contained and told.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when a tool can do something new to its workspace or to the host.

use changebus::event::{Event, Fact, Fault, RunStatus, ToolReport};
use changebus_tests::python::python_packages;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};

use crate::orders;

const RUFF: &str = "ruff==0.14.5";

/// The project's tests run its linter and its formatter.
fn style_tests(ruff: &str) -> String {
    format!(
        "\
import subprocess

RUFF = \"{ruff}\"


def ruff(*args):
    command = [RUFF, *args, \".\"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_format():
    ruff(\"format\", \"--check\")


def test_lint():
    ruff(\"check\")
"
    )
}

const TIDY: &str = "def pay(price):\n    return price\n";
/// Works, is badly laid out, and imports what it does not use.
const UNTIDY: &str = "import os\ndef pay(price, off = 0):\n  return price-off\n";
const MENDED: &str = "def pay(price, off=0):\n    return price - off\n";

const SHOP_TESTS: &str = "from shop import pay\n\n\ndef test_pay():\n    assert pay(10) == 10\n";

fn no_model() -> Script {
    Script::from_fn(|_| Reply::text("NO_FIX: nobody should have asked"))
}

/// Lets the daemon see a green shop and then a push, and gives what happened.
async fn pushed(world: &World, push: &dyn Fn()) -> Vec<Event> {
    let mut daemon = world.daemon();
    world
        .until("the green tip is adopted", |events| !events.is_empty())
        .await;
    push();
    let events = world
        .until("the run closes", |events| {
            events
                .iter()
                .any(|e| matches!(e.fact, Fact::RunClosed { .. }))
        })
        .await;
    daemon.stop();
    events
}

fn status(events: &[Event]) -> Option<RunStatus> {
    events.iter().find_map(|e| match e.fact {
        Fact::RunClosed { status } => Some(status),
        _ => None,
    })
}

/// What each run of a tool came to, in order.
fn tools(events: &[Event]) -> Vec<(&str, &Result<ToolReport, Fault>)> {
    let ran = |e| match e {
        &Event {
            fact:
                Fact::ToolRan {
                    ref tool,
                    ref answer,
                    ..
                },
            ..
        } => Some((tool.as_str(), answer)),
        _ => None,
    };
    events.iter().filter_map(ran).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_is_only_untidy_is_mended_by_the_projects_own_tools() {
    let ruff = python_packages(&[RUFF])
        .join("bin/ruff")
        .display()
        .to_string();
    let mut world = World::new(no_model()).await;
    world
        .policy("min_confidence = 0.3")
        .variants(&[("F", "autofix", "{}")])
        .project(&format!(
            "[projects.app.tools]\nformat = \"{ruff} format .\"\nlint = \"{ruff} check --fix .\""
        ));
    world.push(
        "Open the shop",
        &[
            ("shop.py", Some(TIDY)),
            ("tests/test_shop.py", Some(SHOP_TESTS)),
            ("tests/test_style.py", Some(&style_tests(&ruff))),
            ("conftest.py", Some("")),
        ],
    );
    let push = || drop(world.push("Give discounts", &[("shop.py", Some(UNTIDY))]));
    let events = pushed(&world, &push).await;
    assert_eq!(status(&events), Some(RunStatus::Fixed), "{events:#?}");
    assert_eq!(world.at_tip("shop.py"), MENDED.trim());
    let ran = tools(&events);
    let changed: Vec<_> = ran
        .iter()
        .map(|(tool, answer)| (*tool, answer.as_ref().expect("it ran").changed.join(" ")))
        .collect();
    // Neither is enough alone; what a cache of the tool's own holds does not count.
    assert_eq!(changed.len(), 3, "{changed:?}");
    assert!(
        changed.iter().all(|(_, paths)| paths == "shop.py"),
        "{changed:?}"
    );
    let rationale = events.iter().find_map(|e| match &e.fact {
        Fact::Proposed { candidate, .. } => Some(candidate.rationale.clone()),
        _ => None,
    });
    let rationale = rationale.expect("it proposed");
    assert!(
        rationale.contains("`format`")
            && rationale.contains("`lint`")
            && rationale.contains("`shop.py`"),
        "{rationale}"
    );
    assert_eq!(world.model.calls(), 0);
}

/// Each of these tries to get out, to take everything along, or to stay for ever.
const NASTY: [(&str, &str); 8] = [
    ("a-link-out", "ln -s /etc/passwd secrets"),
    ("b-link-instead", "rm shop.py && ln -s /etc/passwd shop.py"),
    ("c-wipe", "rm -rf .[a-z]* *"),
    ("d-flood", "head -c 52428800 /dev/zero > zeros"),
    ("e-binary", "printf '\\\\000\\\\001' > blob"),
    (
        "f-hang",
        "trap '' TERM; echo gone >> shop.py; while :; do sleep 1; done",
    ),
    (
        "g-git",
        "git config core.fsmonitor 'touch PLANTED'; printf 'x' > .git; (setsid sleep 900 &) ; exit 3",
    ),
    ("h-mend", "sed -i 's/cents > FREE/cents >= FREE/' shop.py"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_that_misbehave_are_contained_and_told_and_the_good_one_still_wins() {
    let mut world = orders::with_model(no_model(), "").await;
    let planted = world.path().join("planted");
    let line = |(name, command): &(&str, &str)| {
        let command = command.replace("PLANTED", &planted.display().to_string());
        format!("{name} = \"{command}\"\n")
    };
    let lines: String = NASTY.iter().map(line).collect();
    world
        .test_timeout(20)
        .variants(&[("F", "autofix", "{}")])
        .project(&format!("[projects.app.tools]\n{lines}"));
    let events = pushed(&world, &|| drop(orders::break_it(&world))).await;
    assert_eq!(status(&events), Some(RunStatus::Fixed), "{events:#?}");
    assert!(orders::is_mended(&world.at_tip("shop.py")));
    let ran = tools(&events);
    let names: Vec<&str> = ran.iter().map(|(tool, _)| *tool).collect();
    assert_eq!(names, NASTY.map(|(name, _)| name));
    let refused = |nth: usize| {
        let (tool, answer) = &ran[nth];
        let fault = answer.as_ref().expect_err(tool);
        format!("{}: {}", fault.code, fault.message)
    };
    let link = "it is a symbolic link; only regular files can be changed";
    assert_eq!(refused(0), format!("tool.not-text: secrets: {link}"));
    assert_eq!(refused(1), format!("tool.not-text: shop.py: {link}"));
    assert!(
        refused(3).starts_with("tool.too-large: zeros has more than 8388608 bytes"),
        "{}",
        refused(3)
    );
    assert!(
        refused(4).starts_with("tool.not-text: blob: it is no text"),
        "{}",
        refused(4)
    );
    let done = |nth: usize| {
        ran[nth]
            .1
            .as_ref()
            .unwrap_or_else(|e| panic!("{}: {e}", ran[nth].0))
    };
    assert_eq!(done(2).changed, ["shop.py", "test_shop.py"]);
    assert_eq!((done(5).exit_code, done(5).changed.len()), (None, 0));
    assert!(
        done(5).output.contains("[the tool was stopped after 20 s]"),
        "{}",
        done(5).output
    );
    assert_eq!((done(6).exit_code, done(6).changed.len()), (Some(3), 0));
    assert_eq!(done(7).changed, ["shop.py"]);
    assert!(!planted.exists());
    assert_eq!(world.processes(), [""; 0]);
}
