//! Requests of commands to the daemon, which alone writes the log: a file for each in the state directory.
//!
//! Touches: files.
//! Change here: when a command asks the daemon for something else, or another way.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A directory below the state directory, for one kind of request.
#[derive(Clone, Debug)]
pub struct Dropbox(PathBuf);

/// What lies in it; stays there until it is done with.
pub struct Request<T> {
    /// Unique everywhere.
    pub id: String,
    pub asks: T,
    path: PathBuf,
}

impl Dropbox {
    pub fn of(state: &Path, kind: &str) -> Dropbox {
        Dropbox(state.join(kind))
    }

    /// The daemon sees it within a moment, or when it is started.
    pub fn put(&self, asks: &impl Serialize) -> std::io::Result<String> {
        std::fs::create_dir_all(&self.0)?;
        let id = uuid::Uuid::now_v7().to_string();
        // Under another name until it is whole.
        let (fresh, path) = (self.0.join(format!(".{id}")), self.0.join(&id));
        std::fs::write(&fresh, serde_json::to_vec(asks)?)?;
        std::fs::rename(fresh, path)?;
        Ok(id)
    }

    /// Everything that is asked for, oldest first. What cannot be read is removed, and told.
    pub fn requests<T: DeserializeOwned>(&self) -> Vec<Request<T>> {
        let files = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
        paths.sort();
        paths.into_iter().filter_map(read).collect()
    }
}

impl<T> Request<T> {
    pub fn done(&self) {
        remove(&self.path);
    }
}

fn read<T: DeserializeOwned>(path: PathBuf) -> Option<Request<T>> {
    let id = path.file_name()?.to_str()?.to_owned();
    if id.starts_with('.') {
        return None;
    }
    let bytes = std::fs::read(&path).ok()?;
    match serde_json::from_slice(&bytes) {
        Ok(asks) => Some(Request { id, asks, path }),
        Err(error) => {
            tracing::warn!("{}: this request cannot be read: {error}", path.display());
            remove(&path);
            None
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!("{}: {error}", path.display());
    }
}
