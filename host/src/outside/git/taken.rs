//! Makes a tree of files that a command left in a directory, and the patch that leads there.
//!
//! Touches: git.
//! Change here: when what a command leaves may be something else than text.

use std::collections::BTreeMap;
use std::path::Path;

use git2::{ObjectType, Repository, Tree};

use super::grow::{Leaf, with_leaves};
use super::{GitError, Mirror, oid, path};
use crate::event::Oid;
use crate::outside::footprint::Changed;

const FILE: i32 = 0o100_644;
/// Where git looks to tell binary files.
const BINARY_LOOK: usize = 8000;

/// Why what a command left cannot be said as a patch.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error(
        "{path}: {why}; only text can be changed (a file that is made on the way belongs into .gitignore)"
    )]
    NotText { path: String, why: &'static str },
    #[error("the patch has {bytes} bytes, more than {most}")]
    TooLarge { bytes: usize, most: usize },
    #[error("the repository failed while the changes were read")]
    Git(#[from] GitError),
}

/// A command's changes.
pub struct Taken {
    /// Paths it changed against `onto`, sorted.
    pub changed: Vec<String>,
    /// From the head to what it left, made by git.
    pub diff: String,
}

impl Mirror {
    /// `files` as they lie on top of `onto`, told as a diff from `head` of at most `most` bytes. A file keeps its mode, and a
    /// new one is not executable.
    pub fn taken(
        &self,
        head: &Oid,
        onto: &Oid,
        files: &Changed,
        most: usize,
    ) -> Result<Taken, NotTaken> {
        let repo = self.repo()?;
        let base = self.find_tree(&repo, onto)?;
        let mut leaves = BTreeMap::new();
        for (path, content) in files {
            if let Some(leaf) = self.leaf(&repo, &base, path, content.as_deref())? {
                leaves.insert(path.clone(), leaf);
            }
        }
        let tree = with_leaves(&repo, &base, &leaves).map_err(|e| self.unusable(e))?;
        let tree = oid(tree);
        let (diff, _, changes) = self.patch(head, &tree)?;
        if let Some(change) = changes.into_iter().find(|change| change.binary) {
            return Err(not_text(&change.path, "git takes it for binary"));
        }
        if diff.len() > most {
            let bytes = diff.len();
            return Err(NotTaken::TooLarge { bytes, most });
        }
        let changed = self.changed_paths(onto, &tree)?;
        Ok(Taken { changed, diff })
    }

    /// None where it stands like that already.
    fn leaf(
        &self,
        repo: &Repository,
        base: &Tree<'_>,
        path: &str,
        content: Option<&[u8]>,
    ) -> Result<Option<Leaf>, NotTaken> {
        path::check(path).map_err(|why| not_text(path, why))?;
        let entry = base.get_path(Path::new(path)).ok();
        let old = match &entry {
            Some(entry) if entry.kind() == Some(ObjectType::Blob) => {
                let blob = repo.find_blob(entry.id());
                Some(blob.map_err(|e| self.missing(&path, e))?)
            }
            Some(_) => return Err(not_text(path, "it was a directory or a submodule")),
            None => None,
        };
        if old.as_ref().map(git2::Blob::content) == content {
            return Ok(None);
        }
        if old.is_some_and(|old| !is_text(old.content())) {
            return Err(not_text(path, "it was no text"));
        }
        let Some(content) = content else {
            return Ok(Some(None));
        };
        if !is_text(content) {
            return Err(not_text(path, "it is no text"));
        }
        let blob = repo.blob(content).map_err(|e| self.unusable(e))?;
        let mode = entry.map_or(FILE, |entry| entry.filemode());
        Ok(Some(Some((blob, mode))))
    }
}

fn is_text(content: &[u8]) -> bool {
    std::str::from_utf8(content).is_ok() && !content[..content.len().min(BINARY_LOOK)].contains(&0)
}

fn not_text(path: &str, why: &'static str) -> NotTaken {
    NotTaken::NotText {
        path: path.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::git::testing::{Origin, diff, patch, text, write};

    const MOST: usize = 1 << 20;

    fn left(files: &[(&str, Option<&[u8]>)]) -> Changed {
        let owned = |(path, content): &(&str, Option<&[u8]>)| {
            (path.to_string(), content.map(<[u8]>::to_vec))
        };
        files.iter().map(owned).collect()
    }

    #[tokio::test]
    async fn what_was_left_comes_back_as_a_diff_that_applies_to_the_head() {
        let crlf = "one\r\ntwo\r\n";
        let origin = Origin::with(&[
            ("a.py", "x=1\ny=2"),
            ("crlf.txt", crlf),
            ("gone", "1\n"),
            ("sub/same", "1\n"),
        ]);
        let (mirror, head) = origin.fetched().await;
        let onto = mirror
            .apply(&head, &patch([write("new.py", "z=3\n")]))
            .await
            .unwrap()
            .tree;
        let files = left(&[
            ("a.py", Some(b"x = 1\ny = 2\n")),
            ("crlf.txt", Some(b"one\r\nzwei\r\n")),
            ("gone", None),
            ("never/was", None),
            ("sub/same", Some(b"1\n")),
            ("made/here", Some("ü\n".as_bytes())),
        ]);
        let taken = mirror.taken(&head, &onto, &files, MOST).unwrap();
        assert_eq!(taken.changed, ["a.py", "crlf.txt", "gone", "made/here"]);
        let applied = mirror.apply(&head, &diff(&taken.diff)).await.unwrap().tree;
        for (path, content) in [
            ("a.py", "x = 1\ny = 2\n"),
            ("crlf.txt", "one\r\nzwei\r\n"),
            ("new.py", "z=3\n"),
            ("made/here", "ü\n"),
        ] {
            assert_eq!(text(&mirror, &applied, path), content);
        }
        let nothing = mirror.taken(&head, &head, &left(&[]), MOST).unwrap();
        assert_eq!((nothing.changed.len(), nothing.diff.as_str()), (0, ""));
    }

    #[tokio::test]
    async fn what_is_no_text_is_refused_by_name() {
        let origin = Origin::with(&[("a", "1\n"), ("image", "\0\u{1}\n"), ("marked.txt", "1\n")]);
        let (mirror, head) = origin.fetched().await;
        let refused = |path: &str, content: Option<&[u8]>| match mirror.taken(
            &head,
            &head,
            &left(&[(path, content)]),
            MOST,
        ) {
            Err(NotTaken::NotText { path, why }) => format!("{path}: {why}"),
            other => panic!("{:?}", other.map(|taken| taken.diff)),
        };
        assert_eq!(refused("x.pyc", Some(b"\xff\xfe")), "x.pyc: it is no text");
        assert_eq!(refused("a", Some(b"1\0")), "a: it is no text");
        assert_eq!(refused("image", None), "image: it was no text");
        assert_eq!(
            refused("../out", Some(b"1")),
            "../out: the path steps through `.` or `..`"
        );
        let same = left(&[("image", Some(b"\0\x01\n"))]);
        assert!(
            mirror
                .taken(&head, &head, &same, MOST)
                .unwrap()
                .changed
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_patch_over_the_limit_is_refused_with_its_size() {
        let origin = Origin::with(&[("a", "1\n")]);
        let (mirror, head) = origin.fetched().await;
        let long = "a line of some length\n".repeat(100_000);
        let files = left(&[("a", Some(long.as_bytes()))]);
        let refused = mirror.taken(&head, &head, &files, MOST);
        assert!(
            matches!(refused, Err(NotTaken::TooLarge { bytes, most: MOST }) if bytes > 2_200_000),
            "{:?}",
            refused.map(|taken| taken.changed)
        );
    }
}
