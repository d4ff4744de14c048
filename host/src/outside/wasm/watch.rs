//! Keeps the shelf true to the plugin directories: what is new is activated, what is gone is taken off.
//!
//! Touches: files, clock.
//! Change here: when plugins should be found out about otherwise.
//!
//! A look costs a few system calls. What has settled goes through the activation on a thread of its own, so that a
//! plugin that compiles for seconds keeps no other waiting; only the watcher puts another shelf in place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;

use super::activate::Activated;
use super::file::{self, Found, Scan, Sign};
use super::lock::Lock;
use super::shelf::{LoadProblem, Shelf, View};
use super::unfit::{Step, Unfit};
use super::{House, health, keep};

/// From one look to the next.
pub const LOOK: Duration = Duration::from_millis(100);
/// Looks that loading waits for a file that is being written.
const PATIENCE: u32 = 30;
/// Files that are compiled at the same time.
pub const AT_ONCE: usize = 2;

type Outcome = (Found, Result<Activated, Unfit>);

pub struct Watcher {
    dirs: Vec<PathBuf>,
    lock_path: Option<PathBuf>,
    lock_sign: Option<Sign>,
    lock: Lock,
    /// What was seen the time before, by name.
    seen: BTreeMap<String, Found>,
    /// What went through the activation, well or not, by name.
    done: BTreeMap<String, Found>,
    busy: BTreeSet<String>,
    finished: Receiver<Outcome>,
    finish: Sender<Outcome>,
    /// What the view was when it was last written.
    shown: Option<View>,
    /// Whether a daemon keeps looking, and so tells what happens.
    tells: bool,
}

impl Watcher {
    pub fn new(dirs: Vec<PathBuf>, lock_path: Option<PathBuf>) -> Watcher {
        let (finish, finished) = mpsc::channel();
        Watcher {
            lock: Lock::read(lock_path.as_deref()),
            lock_sign: lock_path.as_deref().and_then(Sign::look),
            dirs,
            lock_path,
            seen: BTreeMap::new(),
            done: BTreeMap::new(),
            busy: BTreeSet::new(),
            finished,
            finish,
            shown: None,
            tells: false,
        }
    }

    /// Looks until everything that lies there went through the activation, but for what does not settle. Blocks.
    pub fn load(&mut self, house: &Arc<House>) {
        self.heed_clears(house);
        self.look(house, true);
        let mut patience = PATIENCE;
        while !self.busy.is_empty() || (self.seen.len() > self.done.len() && patience > 0) {
            if !self.busy.is_empty()
                && let Ok(outcome) = self.finished.recv()
            {
                self.finish(house, outcome);
            } else {
                patience -= 1;
                std::thread::sleep(LOOK);
            }
            self.look(house, true);
        }
    }

    /// Looks for as long as anybody has the plugins.
    pub fn keep_looking(mut self, house: Weak<House>) {
        self.tells = true;
        if let Some(house) = house.upgrade() {
            self.tell_all(&house);
        }
        while let Some(house) = house.upgrade() {
            self.heed_clears(&house);
            self.look(&house, false);
            while let Ok(outcome) = self.finished.try_recv() {
                self.finish(&house, outcome);
            }
            self.show(&house);
            drop(house);
            std::thread::sleep(LOOK);
        }
    }

    fn look(&mut self, house: &Arc<House>, at_start: bool) {
        self.look_at_lock(house);
        let scan = file::scan(&self.dirs);
        self.note_unreadable(house, &scan);
        for (name, found) in &scan.files {
            let known = self.done.get(name) == Some(found);
            let settled = self.seen.get(name) == Some(found) || (at_start && found.sign.is_old());
            if !known && settled && !self.busy.contains(name) && self.busy.len() < AT_ONCE {
                self.start(house, found.clone());
            }
        }
        self.take_off(house, &scan);
        self.seen = scan.files;
    }

    fn start(&mut self, house: &Arc<House>, found: Found) {
        let (house, lock, finish) = (Arc::clone(house), self.lock.clone(), self.finish.clone());
        self.busy.insert(found.name.clone());
        let work = {
            let found = found.clone();
            move || {
                let outcome = house.workshop.activate(&house.threads, &found.path, &lock);
                drop(house);
                // Nobody waits for it where the plugins are gone.
                drop(finish.send((found, outcome)));
            }
        };
        let spawned = std::thread::Builder::new()
            .name("plugin-activation".to_owned())
            .spawn(work);
        if spawned.is_err() {
            // Tried again at the next look; the machine has no thread to spare at the moment.
            self.busy.remove(&found.name);
        }
    }

    fn finish(&mut self, house: &Arc<House>, (found, outcome): Outcome) {
        self.busy.remove(&found.name);
        if matches!(outcome, Err(Unfit::Unsettled)) {
            // Seen anew, so that it has to settle again.
            self.seen.remove(&found.name);
            return;
        }
        let outcome = outcome.and_then(|activated| self.put_by(house, activated));
        let mut shelf = Shelf::clone(&house.shelf.load());
        shelf
            .problems
            .retain(|path, _| *path == found.path || file::stem(path) != found.name);
        let before = shelf.problems.remove(&found.path);
        match outcome {
            Ok(loaded) => {
                self.tell_active(&found.name, &loaded.info.digest, &shelf);
                shelf.plugins.insert(found.name.clone(), Arc::new(loaded));
            }
            Err(unfit) => {
                let problem = LoadProblem {
                    path: found.path.clone(),
                    step: unfit.step(),
                    why: unfit.to_string(),
                };
                if self.tells && before.as_ref() != Some(&problem) {
                    let stays = shelf.plugins.get(&found.name);
                    let stays = stays.map(|loaded| loaded.info.digest.as_str());
                    tracing::warn!(step = ?problem.step, stays, "plugin not loaded: {problem}");
                }
                shelf.problems.insert(found.path.clone(), problem);
            }
        }
        self.done.insert(found.name.clone(), found);
        house.shelf.store(Arc::new(shelf));
    }

    /// The same bytes stay the plugin they were; others are kept for the runs that will be pinned to them.
    fn put_by(&self, house: &House, activated: Activated) -> Result<super::shelf::Loaded, Unfit> {
        let Activated { mut loaded, bytes } = activated;
        if let Some(same) = house.shelf.load().plugins.get(&loaded.info.name)
            && same.info.digest == loaded.info.digest
        {
            loaded.since = same.since;
        }
        if let Some(keep) = house.records() {
            let (name, digest) = (loaded.info.name.clone(), loaded.info.digest.clone());
            keep.add(&name, &digest, &bytes, || house.held())?;
        }
        Ok(loaded)
    }

    /// Gone is what two looks did not find. What lies in a directory that cannot be read is not known to be gone.
    fn take_off(&mut self, house: &House, scan: &Scan) {
        let out_of_sight = |found: &Found| {
            let dir = found.path.parent();
            scan.unreadable
                .iter()
                .any(|(one, _)| Some(one.as_path()) == dir)
        };
        let gone = self.done.iter().filter(|(name, found)| {
            !scan.files.contains_key(*name)
                && !self.seen.contains_key(*name)
                && !self.busy.contains(*name)
                && !out_of_sight(found)
        });
        let gone: Vec<Found> = gone.map(|(_, found)| found.clone()).collect();
        if gone.is_empty() {
            return;
        }
        let mut shelf = Shelf::clone(&house.shelf.load());
        for found in gone {
            shelf.plugins.remove(&found.name);
            shelf.problems.remove(&found.path);
            self.done.remove(&found.name);
            if self.tells {
                let path = found.path.display();
                tracing::info!(plugin = found.name, %path, "plugin removed; runs that began with it keep it");
            }
        }
        house.shelf.store(Arc::new(shelf));
    }

    /// A lock that changed is held against everything, what is loaded included.
    fn look_at_lock(&mut self, house: &House) {
        let Some(path) = &self.lock_path else {
            return;
        };
        let sign = Sign::look(path);
        let lock = Lock::read(Some(path));
        if sign == self.lock_sign && lock == self.lock {
            return;
        }
        (self.lock_sign, self.lock) = (sign, lock);
        self.done.clear();
        let mut shelf = Shelf::clone(&house.shelf.load());
        let lock = &self.lock;
        shelf
            .plugins
            .retain(|name, loaded| lock.allow(name, &loaded.info.digest).is_ok());
        house.shelf.store(Arc::new(shelf));
        if self.tells {
            tracing::info!(lock = %path.display(), "the lock file changed; every plugin is held against it");
        }
    }

    fn note_unreadable(&self, house: &House, scan: &Scan) {
        let problem = |(dir, error): &(PathBuf, std::io::Error)| LoadProblem {
            path: dir.clone(),
            step: Step::Read,
            why: Unfit::Unreadable(std::io::Error::from(error.kind())).to_string(),
        };
        let now: BTreeMap<PathBuf, LoadProblem> = scan
            .unreadable
            .iter()
            .map(|one| (one.0.clone(), problem(one)))
            .collect();
        let current = house.shelf.load();
        let noted = |dir: &&PathBuf| current.problems.get(*dir) == now.get(*dir);
        if self.dirs.iter().all(|dir| noted(&dir)) {
            return;
        }
        let mut shelf = Shelf::clone(&current);
        shelf.problems.retain(|path, _| !self.dirs.contains(path));
        for (path, problem) in now {
            if self.tells {
                tracing::warn!("plugin directory {problem}");
            }
            shelf.problems.insert(path, problem);
        }
        house.shelf.store(Arc::new(shelf));
    }

    fn heed_clears(&self, house: &House) {
        if let Some(keep) = &house.keep {
            for (digest, at) in health::clears(keep.state()) {
                house.conduct.cleared(&digest, at);
            }
        }
    }

    fn tell_active(&self, name: &str, digest: &str, before: &Shelf) {
        let old = before.plugins.get(name);
        let old = old.map(|loaded| loaded.info.digest.as_str());
        if self.tells && old != Some(digest) {
            tracing::info!(plugin = name, digest, replaces = old, "plugin active");
        }
    }

    fn tell_all(&self, house: &House) {
        let shelf = house.shelf.load();
        for loaded in shelf.all() {
            let (plugin, digest) = (&loaded.info.name, &loaded.info.digest);
            tracing::info!(plugin, digest, kind = %loaded.info.kind, "plugin active");
        }
        for problem in shelf.problems.values() {
            tracing::warn!(step = ?problem.step, "plugin not loaded: {problem}");
        }
    }

    /// Writes the view for the command line, when it is another than before.
    fn show(&mut self, house: &House) {
        let Some(keep) = house.records() else {
            return;
        };
        let view = house.view(Timestamp::now());
        if self.shown.as_ref() == Some(&view) {
            return;
        }
        let place = keep.dir().join("active.json");
        let written = std::fs::create_dir_all(keep.dir())
            .and_then(|()| keep::replace(&place, &serde_json::to_vec_pretty(&view)?));
        match written {
            Ok(()) => self.shown = Some(view),
            Err(error) => tracing::warn!("{}: cannot be written: {error}", place.display()),
        }
    }
}
