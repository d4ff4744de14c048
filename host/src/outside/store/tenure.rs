//! Which projects this host may state anything about now, and in which tenure. The fence stands at the one writer: who
//! lost a project meanwhile, and does not know it yet, keeps nothing.
//!
//! Touches: nothing.
//! Change here: when a right to write ends for another reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::StoreError;

/// Shared between who wins and loses projects and the writer.
#[derive(Clone, Default)]
pub struct Tenures(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    /// There is only this host: it may everything, in the tenure before the first.
    #[default]
    Alone,
    Fleet(BTreeMap<String, u64>),
}

impl Tenures {
    /// From now on there are others.
    pub fn join_a_fleet(&self) {
        *self.state() = State::Fleet(BTreeMap::new());
    }

    pub fn begin(&self, project: &str, epoch: u64) {
        if let State::Fleet(held) = &mut *self.state() {
            held.insert(project.to_owned(), epoch);
        }
    }

    pub fn end(&self, project: &str) {
        if let State::Fleet(held) = &mut *self.state() {
            held.remove(project);
        }
    }

    pub fn in_a_fleet(&self) -> bool {
        matches!(&*self.state(), State::Fleet(_))
    }

    pub fn of(&self, project: &str) -> Result<u64, StoreError> {
        match &*self.state() {
            State::Alone => Ok(0),
            State::Fleet(held) => held.get(project).copied().ok_or_else(|| {
                let project = project.to_owned();
                StoreError::NotHeld { project }
            }),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Each change is one assignment, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
