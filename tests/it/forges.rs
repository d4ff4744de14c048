//! Results as pull requests, at GitHub and at Forgejo: from their opening to what people, the forge or the branch make of
//! them.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback), clock.
//! Change here: when a forge is used otherwise.

use std::time::Duration;

use changebus::config::ForgeKind;
use changebus::event::{Delivery, Event, Fact, PullRequestFate, RunId, RunStatus};
use changebus_tests::forge::{ForgeStandIn, Protection, Pull};
use changebus_tests::nats::free_port;
use changebus_tests::shop;
use changebus_tests::world::{Daemon, World};
use scripted_claude::{Reply, Script};

use crate::envelope::assert_well_told;

mod described;
mod hooks;
mod mock;
mod protected;
mod red;

pub const KINDS: [ForgeKind; 2] = [ForgeKind::Github, ForgeKind::Forgejo];
const SECRET: &str = "forge-secret-of-a-story";

pub struct Scene {
    pub world: World,
    pub forge: ForgeStandIn,
    pub webhooks: String,
}

impl Scene {
    /// A shop at a forge. `home` is what else the project says of it.
    pub async fn new(kind: ForgeKind, policy: &str, home: &str) -> Scene {
        let mut world = World::new(Script::from_fn(|_| Reply::text(shop::HONEST))).await;
        let forge = ForgeStandIn::start(kind, &world.origin()).await;
        world.policy(&format!("min_confidence = 0.5\nreruns = 1\n{policy}"));
        world.variants(&[("A", "minimal-fix", "{ probe = false }")]);
        let (token, secret) = (world.path().join("token"), world.path().join("secret"));
        std::fs::write(&token, ForgeStandIn::token()).expect("a file can be written");
        std::fs::write(&secret, SECRET).expect("a file can be written");
        world.project(&format!(
            "forge = {{ name = \"home\", repo = \"acme/shop\"{home} }}"
        ));
        let kind = match kind {
            ForgeKind::Github => "github",
            ForgeKind::Forgejo => "forgejo",
        };
        let port = free_port();
        world.tables(&format!(
            "[http]\nlisten = \"127.0.0.1:{port}\"\n[forges.home]\nkind = \"{kind}\"\nurl = {:?}\n\
             token = {{ file = {token:?} }}\nwebhook_secret = {{ file = {secret:?} }}\npoll_seconds = 1\n",
            forge.url(),
        ));
        shop::open(&world);
        Scene {
            world,
            forge,
            webhooks: format!("http://127.0.0.1:{port}/webhooks/home"),
        }
    }

    /// The daemon has adopted the tip, and then the shop breaks; the commit that broke it.
    pub async fn broken(&self) -> (Daemon, String) {
        let daemon = self.world.daemon();
        self.world
            .until("the tip is adopted", |events| !events.is_empty())
            .await;
        let red = shop::break_it(&self.world);
        (daemon, red)
    }

    pub async fn until(&self, what: &str, is: fn(&Fact) -> bool, times: usize) -> Vec<Event> {
        let enough = |events: &[Event]| events.iter().filter(|e| is(&e.fact)).count() >= times;
        self.world.until(what, enough).await
    }

    /// The one pull request there is, once it is open.
    pub async fn pull(&self) -> Pull {
        self.until("a pull request is open", is_opened, 1).await;
        let pulls = self.forge.pulls();
        assert_eq!(pulls.len(), 1, "{pulls:#?}");
        pulls.into_iter().next().expect("it was counted")
    }

    /// What came of it.
    pub async fn fate(&self) -> PullRequestFate {
        let events = self.until("it comes to an end", is_ended, 1).await;
        let fate = events.iter().find_map(|e| match &e.fact {
            Fact::PullRequestEnded { end } => Some(end.fate.clone()),
            _ => None,
        });
        fate.expect("it was counted")
    }

    /// As the forge has them, however long they take to come.
    pub async fn told(&self, commit: &str, states: &[&str]) {
        let told = || {
            let statuses = self.forge.statuses(commit);
            statuses.into_iter().map(|s| s.state).collect::<Vec<_>>()
        };
        for _ in 0..600 {
            if told() == states {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{commit} was told {:?}, and not {states:?}", told());
    }

    pub async fn end(&self) {
        let events = self.world.events().await;
        events.iter().for_each(assert_well_told);
        assert_eq!(self.forge.complaints(), Vec::<String>::new());
    }

    pub fn has_branch(&self, branch: &str) -> bool {
        !self
            .world
            .git_in(&self.world.origin(), &["branch", "--list", branch])
            .is_empty()
    }
}

pub fn is_opened(fact: &Fact) -> bool {
    matches!(fact, Fact::PullRequestOpened { .. })
}

pub fn is_ended(fact: &Fact) -> bool {
    matches!(fact, Fact::PullRequestEnded { .. })
}

pub fn is_closed(fact: &Fact) -> bool {
    matches!(fact, Fact::RunClosed { .. })
}

pub fn statuses(events: &[Event]) -> Vec<RunStatus> {
    let status = |e: &Event| match e.fact {
        Fact::RunClosed { status } => Some(status),
        _ => None,
    };
    events.iter().filter_map(status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposed_fix_is_a_pull_request_that_says_everything_and_people_merge() {
    for kind in KINDS {
        let scene = Scene::new(kind, "deliver = \"pull-request\"", "").await;
        let (_daemon, red) = scene.broken().await;
        let pull = scene.pull().await;
        assert_eq!(pull.title, "Fix test_pay_less");
        assert!(!pull.draft);
        assert_eq!(
            (pull.labels, pull.reviewers),
            (vec!["changebus".to_owned()], vec!["ada".to_owned()])
        );
        for told in [
            red.as_str(),
            "test_pay_less",
            "price - off",
            "| variant |",
            "git revert",
            "changebus review approve",
            "A discount makes things cheaper.",
        ] {
            assert!(
                pull.body.contains(told),
                "{told} is missing in {}",
                pull.body
            );
        }
        scene.told(&red, &["pending", "failure"]).await;
        let offered = scene
            .world
            .git_in(&scene.world.origin(), &["rev-parse", &pull.head]);
        scene.told(&offered, &["success"]).await;

        let landed = scene.forge.merge_by(1, "grace");
        let fate = scene.fate().await;
        let PullRequestFate::Merged { by, commit } = fate else {
            panic!("{fate:?}");
        };
        assert_eq!(
            (by.as_deref(), commit.map(|c| c.0)),
            (Some("grace"), Some(landed.clone()))
        );
        // What landed is watched like every push, and nobody is asked any more.
        scene.told(&landed, &["success"]).await;
        let run = pull.head.trim_start_matches("changebus/");
        changebus::outside::tls::prepare();
        let page = scene
            .webhooks
            .replace("webhooks/home", &format!("runs/{run}"));
        let page = reqwest::get(page).await.expect("it is answered");
        let page = page.text().await.expect("it is a text");
        assert!(
            page.contains("grace merged it") && !page.contains("<textarea"),
            "{page}"
        );
        let shown = scene
            .world
            .changebus(&["show", run])
            .output()
            .expect("it starts");
        assert!(String::from_utf8_lossy(&shown.stdout).contains("(grace merged it)"));
        let waiting = scene
            .world
            .changebus(&["review", "list"])
            .output()
            .expect("it starts");
        let waiting = String::from_utf8_lossy(&waiting.stdout).into_owned();
        assert!(!waiting.contains("app-"), "{waiting}");
        assert!(!scene.has_branch(&pull.head));
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_it_rejects_the_fix_and_the_last_word_is_the_reason() {
    for kind in KINDS {
        let scene = Scene::new(kind, "deliver = \"pull-request\"", ", statuses = false").await;
        let (_daemon, red) = scene.broken().await;
        scene.pull().await;
        scene
            .forge
            .comment_by(1, "grace", "We will not sell at a discount any more.");
        scene.forge.close_by(1);
        assert_eq!(scene.fate().await, PullRequestFate::Closed);
        let is_reviewed = |f: &Fact| matches!(f, Fact::Reviewed { .. });
        let events = scene.until("the rejection is taken", is_reviewed, 1).await;
        let review = events.iter().find_map(|e| match &e.fact {
            Fact::Reviewed { review, .. } => Some(review.clone()),
            _ => None,
        });
        let review = review.expect("it was counted");
        assert_eq!(
            (
                review.by.as_str(),
                review.reason.as_str(),
                review.via.name()
            ),
            (
                "somebody on home",
                "grace wrote: We will not sell at a discount any more.",
                "on the forge"
            )
        );
        assert_eq!(scene.forge.statuses(&red).len(), 0);
        assert_eq!(scene.world.tip(), red);
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_human_is_a_draft_and_is_withdrawn_once_it_was_decided_elsewhere() {
    for kind in KINDS {
        let scene = Scene::new(kind, "deliver = \"human\"", "").await;
        let (_daemon, red) = scene.broken().await;
        let pull = scene.pull().await;
        assert!(pull.draft, "{pull:#?}");
        // A check that the branch may ask for does not pass by itself.
        let offered = scene
            .world
            .git_in(&scene.world.origin(), &["rev-parse", &pull.head]);
        scene.told(&offered, &["pending"]).await;
        assert!(
            pull.body.contains("Somebody has to decide"),
            "{}",
            pull.body
        );
        let run = pull.head.trim_start_matches("changebus/").to_owned();
        let approved = scene
            .world
            .changebus(&["review", "approve", &run, "--as", "ada"])
            .output()
            .expect("it starts");
        assert!(
            approved.status.success(),
            "{}",
            String::from_utf8_lossy(&approved.stderr)
        );
        let fate = scene.fate().await;
        let PullRequestFate::Withdrawn { because } = fate else {
            panic!("{fate:?}");
        };
        assert!(
            because.starts_with("it was merged into main as "),
            "{because}"
        );
        let pull = &scene.forge.pulls()[0];
        assert!(!pull.open && pull.merged.is_none());
        assert!(
            pull.comments[0].1.contains("it was merged into main"),
            "{:?}",
            pull.comments
        );
        assert_ne!(scene.world.tip(), red);
        assert!(!scene.has_branch(&pull.head));
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_came_right_by_itself_closes_what_was_offered_for_it() {
    for kind in KINDS {
        let scene = Scene::new(kind, "deliver = \"pull-request\"", "").await;
        let (_daemon, _) = scene.broken().await;
        scene.pull().await;
        scene
            .world
            .push("Sell as before", &[(shop::SOURCE, Some(shop::GOOD))]);
        let fate = scene.fate().await;
        assert!(
            matches!(&fate, PullRequestFate::Withdrawn { because }
            if because == "the branch is green without it"),
            "{fate:?}"
        );
        assert!(!scene.forge.pulls()[0].open);
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_is_slow_down_or_forgetful_gets_one_pull_request_all_the_same() {
    for kind in KINDS {
        let scene = Scene::new(kind, "deliver = \"pull-request\"", "").await;
        scene.forge.storm(2);
        scene.forge.fail(2);
        scene.forge.limit(1);
        let mut daemon = scene
            .world
            .daemon_with(&[("FAILPOINTS", "after-pull-request=return")]);
        scene
            .world
            .until("the tip is adopted", |events| !events.is_empty())
            .await;
        let red = shop::break_it(&scene.world);
        // It ends between the forge's answer and the log.
        daemon.wait();
        assert_eq!(scene.forge.pulls().len(), 1);
        scene.forge.revoke(true);
        let _daemon = scene.world.daemon();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let events = scene.world.events().await;
        assert!(!events.iter().any(|e| is_opened(&e.fact)));
        scene.forge.revoke(false);
        let pull = scene.pull().await;
        assert_eq!(pull.labels, ["changebus"]);
        let told = scene.forge.statuses(&red);
        assert_eq!(
            told.last().map(|s| s.state.as_str()),
            Some("failure"),
            "{told:#?}"
        );
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_wants_no_labels_and_no_reviewer_gets_a_pull_request_without() {
    let scene = Scene::new(
        ForgeKind::Github,
        "deliver = \"pull-request\"",
        ", labels = [], pull_requests = \"proposed\"",
    )
    .await;
    scene.forge.forget_collaborators();
    let (_daemon, _) = scene.broken().await;
    let pull = scene.pull().await;
    assert!(pull.labels.is_empty() && pull.reviewers.is_empty());
    let asked = scene.forge.seen();
    assert!(
        asked
            .iter()
            .any(|s| s.path.ends_with("/requested_reviewers"))
    );
    scene.end().await;
}

/// The commit of the run's proposal, and why it was not merged.
pub fn proposal(events: &[Event]) -> (RunId, String, Option<String>) {
    let found = events.iter().rev().find_map(|e| match &e.fact {
        Fact::Delivered {
            delivery: Delivery::Proposed {
                commit, because, ..
            },
        } => Some((e.run.clone()?, commit.0.clone(), because.clone())),
        _ => None,
    });
    found.expect("something was proposed")
}

pub fn tree(world: &World, commit: &str) -> String {
    world.git_in(
        &world.origin(),
        &["rev-parse", &format!("{commit}^{{tree}}")],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_whether_the_token_is_known_and_what_is_protected() {
    for kind in KINDS {
        let scene = Scene::new(kind, "", ", auto_merge = true").await;
        let check = async || {
            let mut command = scene.world.changebus(&["check"]);
            let output = tokio::task::spawn_blocking(move || command.output()).await;
            let output = output.expect("it ends").expect("it starts");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let said = check().await;
        assert!(said.contains("knows the token, as changebus-bot"), "{said}");
        assert!(
            said.contains("main of acme/shop may be pushed to"),
            "{said}"
        );
        scene.forge.protect(Protection::default());
        let said = check().await;
        let protected = match kind {
            // Nothing is asked of whoever pushes.
            ForgeKind::Github => "main of acme/shop may be pushed to",
            ForgeKind::Forgejo => "BAD forge of app: main of acme/shop is protected",
        };
        assert!(said.contains(protected), "{said}");
        scene.forge.revoke(true);
        let said = check().await;
        assert!(
            said.contains("BAD forge home: it does not know the token"),
            "{said}"
        );
    }
}
