//! Branches that a forge protects: nothing is pushed past it, and what it merges by itself is what was tested.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback), clock.
//! Change here: when a protected branch is dealt with otherwise.

use changebus::config::ForgeKind;
use changebus::event::{Fact, PullRequestFate};
use changebus_tests::forge::{ME, Protection};

use super::{KINDS, Scene, is_closed, is_opened, proposal, tree};

fn checked(strict: bool) -> Protection {
    Protection {
        required_checks: vec!["ci".to_owned()],
        strict,
        approvals: 0,
    }
}

impl Scene {
    /// The forge was told to merge it by itself.
    async fn until_it_merges_itself(&self) {
        for _ in 0..600 {
            if self.forge.pulls().iter().any(|p| p.merges_itself.is_some()) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("nobody asked the forge to merge: {:#?}", self.forge.pulls());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_pushed_is_merged_by_the_forge_once_its_checks_pass() {
    for kind in KINDS {
        let scene = Scene::new(kind, "", ", auto_merge = true").await;
        scene.forge.protect(checked(true));
        let (_daemon, red) = scene.broken().await;
        let pull = scene.pull().await;
        let events = scene.until("the run is closed", is_closed, 1).await;
        let (_, commit, because) = proposal(&events);
        assert_eq!(because.as_deref(), Some("home protects main"));
        assert!(
            !pull.draft && pull.body.contains("It would have been merged"),
            "{pull:#?}"
        );
        scene.until_it_merges_itself().await;
        assert_eq!(scene.world.tip(), red);

        scene.forge.pass_check(&commit, "ci");
        let fate = scene.fate().await;
        assert!(
            matches!(&fate, PullRequestFate::Merged { by: Some(by), .. } if by == ME),
            "{fate:?}"
        );
        // What landed is, file by file, what was tested.
        assert_eq!(tree(&scene.world, "main"), tree(&scene.world, &commit));
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_forge_would_merge_what_is_out_of_date_people_merge() {
    for kind in KINDS {
        for (protection, administrator) in [(checked(false), true), (checked(true), false)] {
            let scene = Scene::new(kind, "", ", auto_merge = true").await;
            scene.forge.protect(protection);
            scene.forge.make_administrator(administrator);
            let (_daemon, red) = scene.broken().await;
            scene.pull().await;
            let looks = |scene: &Scene| {
                let seen = scene.forge.seen();
                let is_look = |s: &&changebus_tests::forge::Seen| {
                    s.method == "GET" && s.path.ends_with("/pulls/1")
                };
                seen.iter().filter(is_look).count()
            };
            // It was looked at and let be, more than once.
            let before = looks(&scene);
            while looks(&scene) < before + 3 {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            assert!(scene.forge.pulls()[0].merges_itself.is_none());
            assert_eq!(scene.world.tip(), red);
            scene.end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_without_protection_is_merged_as_ever() {
    for kind in KINDS {
        let scene = Scene::new(kind, "", "").await;
        let (_daemon, red) = scene.broken().await;
        let events = scene.until("the run is closed", is_closed, 1).await;
        assert!(!events.iter().any(|e| is_opened(&e.fact)));
        assert_ne!(scene.world.tip(), red);
        scene.told(&red, &["pending", "failure"]).await;
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_does_not_tell_what_it_protects_is_not_pushed_past() {
    let scene = Scene::new(ForgeKind::Github, "", "").await;
    scene.forge.protect(checked(true));
    scene.forge.make_administrator(false);
    let (_daemon, red) = scene.broken().await;
    let events = scene.until("the run is closed", is_closed, 1).await;
    let pushed =
        |f: &Fact| matches!(f, Fact::Delivered { delivery } if delivery.name() == "merged");
    assert!(!events.iter().any(|e| pushed(&e.fact)));
    assert_eq!(scene.world.tip(), red);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_that_is_asked_for_is_there_already_the_forge_merges_at_once() {
    for kind in KINDS {
        let scene = Scene::new(kind, "", ", auto_merge = true").await;
        scene.forge.protect(Protection {
            required_checks: vec!["changebus".to_owned()],
            strict: true,
            approvals: 0,
        });
        let (_daemon, red) = scene.broken().await;
        let fate = scene.fate().await;
        assert!(
            matches!(&fate, PullRequestFate::Merged { by: Some(by), .. } if by == ME),
            "{fate:?}"
        );
        assert_ne!(scene.world.tip(), red);
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_pushed_to_is_not_merged_by_the_forge() {
    for kind in KINDS {
        let scene = Scene::new(kind, "", ", auto_merge = true").await;
        scene.forge.protect(checked(true));
        let (_daemon, red) = scene.broken().await;
        let pull = scene.pull().await;
        scene.until_it_merges_itself().await;
        scene.world.git(&["fetch", "--quiet", "origin", &pull.head]);
        scene.world.git(&["checkout", "--quiet", "FETCH_HEAD"]);
        scene
            .world
            .commit("One more thing", &[("more.py", Some("x = 1\n"))]);
        let to = format!("HEAD:refs/heads/{}", pull.head);
        scene.world.git(&["push", "--quiet", "origin", &to]);
        let pushed = scene.world.git(&["rev-parse", "HEAD"]);
        // It was looked at since, more than once.
        let looks = || {
            let is_look = |s: &&changebus_tests::forge::Seen| {
                s.method == "GET" && s.path.ends_with("/pulls/1")
            };
            scene.forge.seen().iter().filter(is_look).count()
        };
        let before = looks();
        while looks() < before + 3 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        scene.forge.pass_check(&pushed, "ci");
        assert_eq!(scene.world.tip(), red);
        scene.end().await;
    }
}
