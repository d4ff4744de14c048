//! The right to change a project's branch, held by one at a time.
//!
//! Touches: nothing.
//! Change here: when several hosts share a project, and a lock in one process is no longer enough.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

/// The locks of all projects of this host. The state directory's own lock keeps a second host out.
#[derive(Clone, Default)]
pub struct Leases {
    projects: Arc<Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

/// Proof that nobody else is delivering to this project. Only [`Leases::take`] makes one.
pub struct Lease {
    project: String,
    _held: OwnedMutexGuard<()>,
}

impl Leases {
    /// Waits until the project is free.
    pub async fn take(&self, project: &str) -> Lease {
        let lock = {
            let mut projects = self
                .projects
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            projects.entry(project.to_owned()).or_default().clone()
        };
        Lease {
            project: project.to_owned(),
            _held: lock.lock_owned().await,
        }
    }
}

impl Lease {
    pub fn project(&self) -> &str {
        &self.project
    }
}
