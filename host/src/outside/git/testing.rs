//! A real repository to test with, and a mirror of it.
//!
//! Touches: git, files, processes.
//! Change here: when tests need something else of a repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Mirror;
use crate::event::{Edit, Oid, Patch};
use crate::outside::reading::ReadTree;

pub const SOON: Duration = Duration::from_secs(60);

/// A repository with a working tree, whose branch is `main`.
pub struct Origin {
    dir: tempfile::TempDir,
}

impl Origin {
    pub fn empty() -> Origin {
        let origin = Origin {
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        std::fs::create_dir(origin.path()).expect("a fresh directory");
        origin.git(&["init", "--quiet", "--initial-branch=main"]);
        origin
    }

    pub fn with(files: &[(&str, &str)]) -> Origin {
        let origin = Origin::empty();
        origin.commit(files);
        origin
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("origin")
    }

    pub fn url(&self) -> String {
        self.path().display().to_string()
    }

    /// For whatever else a test needs on disk.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the files and commits everything in the working tree.
    pub fn commit(&self, files: &[(&str, &str)]) -> Oid {
        for (path, content) in files {
            let path = self.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a path in the repository"))
                .expect("a directory");
            std::fs::write(path, content).expect("a file");
        }
        self.git(&["add", "--all"]);
        self.git(&[
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            "a change",
        ]);
        self.head()
    }

    pub fn head(&self) -> Oid {
        Oid(self.git(&["rev-parse", "HEAD"]))
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        git_in(&self.path(), arguments)
    }

    pub async fn mirror(&self) -> Mirror {
        Mirror::open(&self.beside("mirror"), &self.url())
            .await
            .expect("the mirror opens")
    }

    /// A mirror that holds `main`, and the tree of its tip.
    pub async fn fetched(&self) -> (Mirror, Oid) {
        let mirror = self.mirror().await;
        let tip = mirror
            .fetch("main", SOON)
            .await
            .expect("the branch is there");
        let tree = mirror.tree_of(&tip).expect("the commit was fetched");
        (mirror, tree)
    }
}

/// Runs git free of the machine's own settings; panics where it fails.
pub fn git_in(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=T",
            "-c",
            "user.email=t@example.com",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR")
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub fn patch(edits: impl IntoIterator<Item = Edit>) -> Patch {
    Patch {
        edits: edits.into_iter().collect(),
    }
}

pub fn diff(text: &str) -> Patch {
    patch([Edit::UnifiedDiff { text: text.into() }])
}

pub fn write(path: &str, content: &str) -> Edit {
    Edit::Write {
        path: path.into(),
        content: content.into(),
    }
}

/// A file of a tree as text.
pub fn text(mirror: &Mirror, tree: &Oid, path: &str) -> String {
    let reader = mirror.tree(tree).expect("the tree is there");
    String::from_utf8(reader.read(path, 0, u32::MAX).expect("the file is there"))
        .expect("it is text")
}

/// `path` and mode of everything in a tree.
pub fn listing(mirror: &Mirror, tree: &Oid) -> Vec<String> {
    let reader = mirror.tree(tree).expect("the tree is there");
    let entries = reader.entries(1000).expect("it can be listed");
    entries
        .into_iter()
        .map(|e| format!("{:o} {}", e.mode, e.path))
        .collect()
}
