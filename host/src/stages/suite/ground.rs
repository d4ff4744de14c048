//! A workspace in which setup has been done: upon a ground that is kept, made where there is none yet.
//!
//! Touches: files, processes, git.
//! Change here: when something else decides whether setup has to be done anew, or who may use the network for it.

use sha2::{Digest, Sha256};

use crate::event::Oid;
use crate::outside::runner::{self, Confinement, SuiteSpec, Unprepared};
use crate::outside::warm::{Ground, Layering};
use crate::outside::workspace::Workspace;
use crate::stages::{Cx, StageError, failed};

/// Counted up when a ground is laid out otherwise, so that old ones are not used any more.
const LAYOUT: u32 = 1;

/// What somebody pushed, or the host made of it, may have its dependencies fetched; what a strategy made up may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Pushed,
    MadeUp,
}

pub async fn workspace(
    cx: &Cx,
    suite: &SuiteSpec,
    (tree, commit): (&Oid, Option<&Oid>),
    name: &str,
    layering: Layering,
) -> Result<Result<Workspace, Unprepared>, StageError> {
    if let Confinement::Off = suite.confinement {
        // Without a sandbox nothing can show through, and nothing can be kept from being written.
        return fresh(cx, suite, (tree, commit), name, Origin::Pushed).await;
    }
    let ground = match ground(cx, suite, (tree, commit), name).await? {
        Ok(ground) => ground,
        Err(unprepared) => return Ok(Err(unprepared)),
    };
    let place = (cx.house.workspaces.as_path(), name);
    let made = Workspace::upon(&cx.mirror, tree, commit, place, (ground, layering)).await;
    Ok(Ok(made.map_err(|e| failed("making a workspace", &e))?))
}

/// Checked out and set up.
async fn fresh(
    cx: &Cx,
    suite: &SuiteSpec,
    (tree, commit): (&Oid, Option<&Oid>),
    name: &str,
    origin: Origin,
) -> Result<Result<Workspace, Unprepared>, StageError> {
    let made = Workspace::create(&cx.mirror, tree, commit, &cx.house.workspaces, name).await;
    let workspace = made.map_err(|e| failed("making a workspace", &e))?;
    let network = origin == Origin::Pushed;
    match runner::prepare(suite, &workspace, network).await {
        Ok(()) => Ok(Ok(workspace)),
        Err(unprepared) => {
            workspace.remove().await;
            Ok(Err(unprepared))
        }
    }
}

async fn ground(
    cx: &Cx,
    suite: &SuiteSpec,
    (tree, commit): (&Oid, Option<&Oid>),
    name: &str,
) -> Result<Result<Ground, Unprepared>, StageError> {
    let pushed = key(cx, suite, tree).await?;
    let (origin, own) = match commit {
        Some(_) => (Origin::Pushed, pushed.clone()),
        None if cx.vouched.contains(tree) => (Origin::Pushed, pushed.clone()),
        None => (Origin::MadeUp, format!("{pushed}-made-up")),
    };
    let warm = &cx.house.warm;
    let known = || {
        let pushed = warm.find(&cx.name, &pushed);
        pushed.or_else(|| warm.find(&cx.name, &own))
    };
    if let Some(ground) = known() {
        return Ok(Ok(ground));
    }
    let _one_at_a_time = warm.making.lock().await;
    if let Some(ground) = known() {
        return Ok(Ok(ground));
    }
    let place = format!("{name}-ground");
    let workspace = match fresh(cx, suite, (tree, commit), &place, origin).await? {
        Ok(workspace) => workspace,
        Err(unprepared) => return Ok(Err(unprepared)),
    };
    let keeping = async {
        let left = workspace.leave().await?;
        warm.keep(&cx.name, &own, tree, left).await
    };
    let kept = keeping.await;
    workspace.remove().await;
    let kept = kept.map_err(|e| failed("keeping a prepared work tree", &e))?;
    let kept = kept.ok_or_else(|| StageError::new("a prepared work tree is gone at once"))?;
    Ok(Ok(kept))
}

/// By which a ground is kept. With a setup, whatever says what the project needs stands in it; without one, a ground of
/// any tree of the project will do.
async fn key(cx: &Cx, suite: &SuiteSpec, tree: &Oid) -> Result<String, StageError> {
    let mut hash = Sha256::new();
    let sandbox = &cx.project.sandbox;
    hash.update(format!(
        "{LAYOUT} {:?}",
        (&suite.setup, &suite.env, sandbox)
    ));
    if suite.setup.is_some() {
        for entry in super::entries(cx, tree).await? {
            if cx.classes.is_manifest(&entry.path) {
                hash.update(format!("\n{} {} {:o}", entry.path, entry.oid, entry.mode));
            }
        }
    }
    let digest = hash.finalize();
    Ok(digest.iter().take(16).map(|b| format!("{b:02x}")).collect())
}
