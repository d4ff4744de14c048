//! Which projects this host works on now, in which tenure, and until when it may do what cannot be taken back.
//!
//! A host that cannot be heard goes on: what it states is void where another went on instead, and stands where none did.
//! Only what acts on the world has to wait for a sign that it is still its turn.
//!
//! Touches: clock (a monotonic one).
//! Change here: when a right to write ends for another reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::StoreError;

/// Shared between who wins and loses projects and the writer.
#[derive(Clone, Default)]
pub struct Tenures(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    /// There is only this host: it may everything, in the tenure before the first.
    #[default]
    Alone,
    Fleet {
        held: BTreeMap<String, u64>,
        /// Until then no other host takes what needs a lease: this one gave a sign of life in time.
        until: Option<Instant>,
        /// These need none.
        own: BTreeMap<String, u64>,
    },
}

impl Tenures {
    /// From now on there are others. `own` are the projects no other may ever work on, with their tenures.
    pub fn join_a_fleet(&self, own: BTreeMap<String, u64>) {
        *self.state() = State::Fleet {
            held: BTreeMap::new(),
            until: None,
            own,
        };
    }

    pub fn begin(&self, project: &str, epoch: u64) {
        if let State::Fleet { held, .. } = &mut *self.state() {
            held.insert(project.to_owned(), epoch);
        }
    }

    pub fn end(&self, project: &str) {
        if let State::Fleet { held, .. } = &mut *self.state() {
            held.remove(project);
        }
    }

    /// Others have heard of this host, and wait until then.
    pub fn extend(&self, to: Instant) {
        if let State::Fleet { until, .. } = &mut *self.state() {
            *until = Some(to);
        }
    }

    pub fn in_a_fleet(&self) -> bool {
        matches!(&*self.state(), State::Fleet { .. })
    }

    /// The tenure of a project.
    pub fn of(&self, project: &str) -> Result<u64, StoreError> {
        match &*self.state() {
            State::Alone => Ok(0),
            State::Fleet { held, own, .. } => {
                let epoch = own.get(project).or_else(|| held.get(project));
                epoch.copied().ok_or_else(|| StoreError::NotHeld {
                    project: project.to_owned(),
                })
            }
        }
    }

    /// Whether no other host can have taken the project by now.
    pub fn may_act(&self, project: &str) -> bool {
        match &*self.state() {
            State::Alone => true,
            State::Fleet { held, until, own } => {
                let lasts = until.is_some_and(|until| Instant::now() < until);
                own.contains_key(project) || (lasts && held.contains_key(project))
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Each change is one assignment, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
