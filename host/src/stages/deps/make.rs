//! Makes an update: one commit on the tip for each dependency that moves, in the mirror alone.
//!
//! Touches: git, files, processes.
//! Change here: when the commits of an update should be cut otherwise. What is wanted is decided in `rules/deps/plan.rs`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::config::Host;
use crate::event::{Change, Edit, Manifest, Move, Oid, Patch, Step, Update};
use crate::outside::deps::{self, Clients, DepsError, Files};
use crate::outside::git::Mirror;
use crate::rules::deps::plan::Wanted;
use crate::rules::message;

use crate::stages::{PATCH_KEPT, StageError, failed, tip};

/// Where an update is made, and by whom.
pub struct Place<'p> {
    pub mirror: &'p Mirror,
    pub clients: &'p Clients,
    pub host: &'p Host,
    pub branch: &'p str,
    pub tip: &'p Oid,
}

/// The change to be tried; the inner error says why the clients cannot come there.
pub async fn change(
    place: &Place<'_>,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Result<Change, DepsError>, StageError> {
    let tree = place.mirror.tree_of(place.tip);
    let tree = tree.map_err(|e| failed("reading the tip", &e))?;
    let Some((manifest, mut files)) = gathered(place.mirror, &tree, &wanted.manifest.path)? else {
        let gone = format!("{} is gone from the tip", wanted.manifest.path);
        return Err(StageError::new(gone));
    };
    let mut under_way = UnderWay {
        place,
        // To the second, as git keeps it.
        at: Timestamp::from_second(now.as_second()).unwrap_or(now),
        head: place.tip.clone(),
        tree,
        moves: vec![],
        unexplained: vec![],
    };
    let mut steps = wanted.steps.as_slice();
    while let Some((first, rest)) = steps.split_first() {
        let mut taken = std::slice::from_ref(first);
        let mut updated = place.clients.update(&files, &manifest, taken).await;
        // Some fit only together.
        if matches!(updated, Err(DepsError::Impossible { .. })) && !rest.is_empty() {
            taken = steps;
            updated = place.clients.update(&files, &manifest, taken).await;
        }
        let updated = match updated {
            Ok(updated) => updated,
            Err(error) => return Ok(Err(error)),
        };
        match deps::unexplained(&files, &manifest, &updated, taken) {
            Ok(more) => under_way.unexplained.extend(more),
            Err(error) => return Ok(Err(error)),
        }
        under_way.commit(taken, &updated.files).await?;
        files.extend(updated.files);
        steps = &steps[taken.len()..];
    }
    under_way.finish(wanted).map(Ok)
}

/// A manifest as it stands in a tree, and what its client has to see; None where it is not there any more.
pub fn gathered(
    mirror: &Mirror,
    tree: &Oid,
    path: &str,
) -> Result<Option<(Manifest, Files)>, StageError> {
    let tree = mirror
        .tree(tree)
        .map_err(|e| failed("reading a tree", &e))?;
    let manifests = deps::scan(&tree).map_err(|e| failed("looking for manifests", &e))?;
    let Some(manifest) = manifests.into_iter().find(|m| m.path == path) else {
        return Ok(None);
    };
    let files = deps::gather(&tree, &manifest);
    let files = files.map_err(|e| failed("reading a manifest", &e))?;
    Ok(Some((manifest, files)))
}

/// The tree with these files in it.
pub async fn with_files(
    mirror: &Mirror,
    tree: &Oid,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Oid, StageError> {
    if files.is_empty() {
        return Ok(tree.clone());
    }
    let write = |(path, bytes): (&String, &Vec<u8>)| {
        let content = String::from_utf8(bytes.clone());
        let content = content.map_err(|e| failed(&format!("reading {path}"), &e))?;
        let path = path.clone();
        Ok(Edit::Write { path, content })
    };
    let edits = files.iter().map(write).collect::<Result<_, StageError>>()?;
    let applied = mirror.apply(tree, &Patch { edits }).await;
    Ok(applied.map_err(|e| failed("writing the update", &e))?.tree)
}

/// The commits of an update again, where another host had made them.
pub async fn remade(
    mirror: &Mirror,
    host: &Host,
    change: &Change,
    update: &Update,
) -> Result<(), StageError> {
    let read = |e| failed("reading what the update stands on", &e);
    let mut head = change.base.clone();
    let mut tree = mirror.tree_of(&head).map_err(read)?;
    for one in &update.moves {
        if !one.patch.is_empty() {
            let text = one.patch.clone();
            let edits = vec![Edit::UnifiedDiff { text }];
            let applied = mirror.apply(&tree, &Patch { edits }).await;
            let applied = applied.map_err(|e| failed("making an update again", &e))?;
            tree = applied.tree;
        }
        head = commit(mirror, host, &tree, &head, &one.steps, update.at)?;
    }
    match head == change.head {
        true => keep(mirror, &head),
        false => Err(StageError::new(
            "the update cannot be made again from its patches: the host that has it has to go on",
        )),
    }
}

/// The commits so far.
struct UnderWay<'p> {
    place: &'p Place<'p>,
    at: Timestamp,
    head: Oid,
    tree: Oid,
    moves: Vec<Move>,
    unexplained: Vec<String>,
}

impl UnderWay<'_> {
    async fn commit(
        &mut self,
        steps: &[Step],
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), StageError> {
        let Place { mirror, host, .. } = self.place;
        let tree = with_files(mirror, &self.tree, files).await?;
        let (patch, ..) = mirror
            .patch(&self.tree, &tree)
            .map_err(|e| failed("making the diff", &e))?;
        self.head = commit(mirror, host, &tree, &self.head, steps, self.at)?;
        self.tree = tree;
        let is_kept = patch.len() <= PATCH_KEPT;
        self.moves.push(Move {
            steps: steps.to_vec(),
            commit: self.head.clone(),
            patch: if is_kept { patch } else { String::new() },
        });
        Ok(())
    }

    fn finish(self, wanted: &Wanted) -> Result<Change, StageError> {
        let Place {
            mirror,
            branch,
            tip,
            ..
        } = *self.place;
        keep(mirror, &self.head)?;
        mirror
            .sync()
            .map_err(|e| failed("writing the update to disk", &e))?;
        let change = tip::change_between(mirror, branch, tip.clone(), self.head)?;
        Ok(Change {
            update: Some(Box::new(Update {
                ecosystem: wanted.manifest.ecosystem,
                manifest: wanted.manifest.path.clone(),
                group: wanted.group.clone(),
                moves: self.moves,
                unexplained: self.unexplained,
                ceiling: wanted.ceiling,
                at: self.at,
            })),
            ..change
        })
    }
}

/// The same steps on the same commit at the same time give the same commit.
fn commit(
    mirror: &Mirror,
    host: &Host,
    tree: &Oid,
    parent: &Oid,
    steps: &[Step],
    at: Timestamp,
) -> Result<Oid, StageError> {
    let message = message::of_update(steps.iter()) + "\n";
    let made = mirror.commit(
        tree,
        std::slice::from_ref(parent),
        &message,
        &host.committer_name,
        &host.committer_email,
        at,
    );
    made.map_err(|e| failed("making the commit", &e))
}

/// Nothing else points to it.
fn keep(mirror: &Mirror, head: &Oid) -> Result<(), StageError> {
    let kept = mirror.keep(&format!("deps/{head}"), head);
    kept.map_err(|e| failed("keeping the update", &e))
}
