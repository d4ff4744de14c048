//! Reads one tree, as a strategy sees it: nothing is checked out, and no link is followed.
//!
//! Touches: git.
//! Change here: when strategies may look at a tree in another way.

use std::sync::Mutex;

use git2::{ObjectType, Repository};
use globset::{GlobBuilder, GlobMatcher};
use regex::bytes::{Regex, RegexBuilder};

use super::{GitError, Mirror, oid};
use crate::event::{Fault, FaultKind, Oid};
use crate::outside::reading::{Hit, ReadTree, SearchOptions};

/// Files beyond this are not read.
const LARGEST_FILE: usize = 64 << 20;
/// Files beyond this are not searched: they were not written by hand.
const LARGEST_SEARCHED: usize = 4 << 20;
/// What one search may read, so that it ends.
const SEARCH_BYTES: usize = 512 << 20;
const LONGEST_PATTERN: usize = 1000;
const LONGEST_LINE: usize = 500;
/// Where git looks to tell binary files.
const BINARY_LOOK: usize = 8000;

const LINK: i32 = 0o120_000;

/// A tree of the mirror, read-only. Memory holds one file and one path at a time, however big the tree.
pub struct TreeReader {
    repo: Mutex<Repository>,
    root: git2::Oid,
    revision: String,
}

/// A path of the tree that is no directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    pub path: String,
    pub oid: Oid,
    /// As git writes it: 0o100644, 0o100755, 0o120000 (link), 0o160000 (submodule).
    pub mode: u32,
}

impl Mirror {
    /// Opens a tree, or the tree of a commit, for reading.
    pub fn tree(&self, tree: &Oid) -> Result<TreeReader, GitError> {
        let repo = self.repo()?;
        let object = repo
            .find_object(self.id(tree)?, None)
            .map_err(|e| self.missing(tree, e))?;
        let root = object
            .peel_to_tree()
            .map_err(|e| self.missing(tree, e))?
            .id();
        drop(object);
        Ok(TreeReader {
            repo: Mutex::new(repo),
            root,
            revision: tree.0.clone(),
        })
    }
}

impl ReadTree for TreeReader {
    /// The id the tree was opened by.
    fn revision(&self) -> String {
        self.revision.clone()
    }

    /// Bytes of a file. Fault codes here and below: `workspace.not-found`, `workspace.link`,
    /// `workspace.submodule`, `workspace.directory`, `workspace.bad-path`, `workspace.too-large`.
    fn size(&self, path: &str) -> Result<u64, Fault> {
        let repo = self.repo();
        let file = self.file(&repo, path)?;
        Ok(size(&repo, file).map_err(broken)? as u64)
    }

    /// At most `max_bytes` from `offset`; nothing beyond the end.
    fn read(&self, path: &str, offset: u64, max_bytes: u32) -> Result<Vec<u8>, Fault> {
        let repo = self.repo();
        let file = self.file(&repo, path)?;
        if size(&repo, file).map_err(broken)? > LARGEST_FILE {
            let why = format!("{path} is larger than {LARGEST_FILE} bytes");
            return Err(Fault::new(FaultKind::Budget, "workspace.too-large", why));
        }
        let blob = repo.find_blob(file).map_err(broken)?;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(blob.content().len());
        let end = start
            .saturating_add(max_bytes as usize)
            .min(blob.content().len());
        Ok(blob.content()[start..end].to_vec())
    }

    /// Regular files that match a glob (`src/**/*.py`), sorted, at most `limit`. `*` stays within a directory.
    fn glob(&self, pattern: &str, limit: u32) -> Result<Vec<String>, Fault> {
        let glob = matcher(pattern)?;
        let repo = self.repo();
        let mut paths = Vec::new();
        self.walk(&repo, &mut |path, _, mode| {
            if paths.len() >= limit as usize {
                return Ok(false);
            }
            if is_file(mode) && glob.is_match(path) {
                paths.push(path.to_owned());
            }
            Ok(true)
        })?;
        Ok(paths)
    }

    /// Lines that match, in path order, at most `limit`. Binary files and files above 4 MiB are skipped.
    /// Codes: `workspace.bad-pattern`; `workspace.search-too-broad` where a glob is needed to end.
    fn search(
        &self,
        pattern: &str,
        options: SearchOptions,
        glob: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Hit>, Fault> {
        let wanted = expression(pattern, options)?;
        let glob = glob.map(matcher).transpose()?;
        let repo = self.repo();
        let (mut hits, mut read) = (Vec::new(), 0);
        self.walk(&repo, &mut |path, id, mode| {
            let searched = is_file(mode) && glob.as_ref().is_none_or(|g| g.is_match(path));
            if !searched || size(&repo, id).map_err(broken)? > LARGEST_SEARCHED {
                return Ok(hits.len() < limit as usize);
            }
            let blob = repo.find_blob(id).map_err(broken)?;
            read += blob.content().len();
            if read > SEARCH_BYTES {
                let why = format!("the search read {SEARCH_BYTES} bytes without an end; narrow it with a path glob");
                return Err(Fault::new(FaultKind::Budget, "workspace.search-too-broad", why));
            }
            hits.extend(lines(path, blob.content(), &wanted).take(limit as usize - hits.len()));
            Ok(hits.len() < limit as usize)
        })?;
        Ok(hits)
    }
}

impl TreeReader {
    /// Everything that is no directory, sorted by path, links and submodules included; at most `limit`.
    pub fn entries(&self, limit: usize) -> Result<Vec<TreeEntry>, Fault> {
        let repo = self.repo();
        let mut entries = Vec::new();
        self.walk(&repo, &mut |path, id, mode| {
            if entries.len() < limit {
                entries.push(TreeEntry {
                    path: path.to_owned(),
                    oid: oid(id),
                    mode: mode as u32,
                });
            }
            Ok(entries.len() < limit)
        })?;
        Ok(entries)
    }

    fn repo(&self) -> std::sync::MutexGuard<'_, Repository> {
        // A panic elsewhere leaves a repository handle as good as it was.
        self.repo
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn file(&self, repo: &Repository, path: &str) -> Result<git2::Oid, Fault> {
        let path = path.strip_prefix("./").unwrap_or(path);
        super::path::check(path).map_err(|why| {
            Fault::new(
                FaultKind::Invalid,
                "workspace.bad-path",
                format!("{path}: {why}"),
            )
        })?;
        let mut at = self.root;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let tree = repo.find_tree(at).map_err(broken)?;
            let entry = tree
                .get_name(part)
                .ok_or_else(|| not_there(path, "not-found", "there is no such file"))?;
            match (entry.kind(), entry.filemode()) {
                (Some(ObjectType::Blob), LINK) => {
                    return Err(not_there(path, "link", "a symbolic link is not followed"));
                }
                (Some(ObjectType::Commit), _) => {
                    return Err(not_there(path, "submodule", "a submodule is not followed"));
                }
                (Some(ObjectType::Blob), _) if parts.peek().is_none() => return Ok(entry.id()),
                (Some(ObjectType::Tree), _) => at = entry.id(),
                _ => return Err(not_there(path, "not-found", "there is no such file")),
            }
        }
        Err(not_there(path, "directory", "it is a directory"))
    }

    /// Calls `visit` with path, id and mode of everything but directories, sorted by path, until it says no.
    fn walk(&self, repo: &Repository, visit: &mut Visit<'_>) -> Result<(), Fault> {
        let root = repo.find_tree(self.root).map_err(broken)?;
        walk(repo, &root, &mut String::new(), visit).map(drop)
    }
}

type Visit<'a> = dyn FnMut(&str, git2::Oid, i32) -> Result<bool, Fault> + 'a;

/// Git keeps a directory where its name with a slash would sort, so this comes in the order of the paths.
fn walk(
    repo: &Repository,
    tree: &git2::Tree<'_>,
    path: &mut String,
    visit: &mut Visit<'_>,
) -> Result<bool, Fault> {
    for entry in tree {
        let length = path.len();
        path.push_str(&String::from_utf8_lossy(entry.name_bytes()));
        let go_on = if entry.kind() == Some(ObjectType::Tree) {
            path.push('/');
            walk(
                repo,
                &repo.find_tree(entry.id()).map_err(broken)?,
                path,
                visit,
            )?
        } else {
            visit(path, entry.id(), entry.filemode())?
        };
        path.truncate(length);
        if !go_on {
            return Ok(false);
        }
    }
    Ok(true)
}

fn size(repo: &Repository, id: git2::Oid) -> Result<usize, git2::Error> {
    repo.odb()?.read_header(id).map(|(size, _)| size)
}

fn is_file(mode: i32) -> bool {
    mode & 0o170_000 == 0o100_000
}

fn matcher(pattern: &str) -> Result<GlobMatcher, Fault> {
    if pattern.len() > LONGEST_PATTERN {
        return Err(bad_pattern(pattern, "it is longer than 1000 bytes"));
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    Ok(glob
        .map_err(|e| bad_pattern(pattern, e.kind()))?
        .compile_matcher())
}

fn expression(pattern: &str, options: SearchOptions) -> Result<Regex, Fault> {
    if pattern.is_empty() || pattern.len() > LONGEST_PATTERN {
        return Err(bad_pattern(pattern, "it must have 1 to 1000 bytes"));
    }
    let pattern_text = if options.regex {
        pattern.to_owned()
    } else {
        regex::escape(pattern)
    };
    let text = if options.word {
        format!(r"\b(?:{pattern_text})\b")
    } else {
        pattern_text
    };
    RegexBuilder::new(&text)
        .case_insensitive(options.ignore_case)
        .size_limit(1 << 20)
        .build()
        .map_err(|e| bad_pattern(pattern, e))
}

fn lines<'a>(
    path: &'a str,
    content: &'a [u8],
    wanted: &'a Regex,
) -> impl Iterator<Item = Hit> + 'a {
    let is_binary = content[..content.len().min(BINARY_LOOK)].contains(&0);
    let text = if is_binary {
        &content[..0]
    } else {
        content.strip_suffix(b"\n").unwrap_or(content)
    };
    let numbered = text.split(|b| *b == b'\n').zip(1..);
    numbered
        .filter(|(line, _)| wanted.is_match(line))
        .map(|(line, number)| {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
            let text = text[..text.floor_char_boundary(LONGEST_LINE)].to_owned();
            Hit {
                path: path.to_owned(),
                line: number,
                text,
            }
        })
}

fn bad_pattern(pattern: &str, why: impl std::fmt::Display) -> Fault {
    let start = &pattern[..pattern.floor_char_boundary(100)];
    Fault::new(
        FaultKind::Invalid,
        "workspace.bad-pattern",
        format!("{start}: {why}"),
    )
}

fn not_there(path: &str, code: &str, why: &str) -> Fault {
    Fault::new(
        FaultKind::NotFound,
        &format!("workspace.{code}"),
        format!("{path}: {why}"),
    )
}

fn broken(error: git2::Error) -> Fault {
    Fault::new(FaultKind::Internal, "workspace.unreadable", error.message())
}
