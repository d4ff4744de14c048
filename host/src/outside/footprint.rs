//! What a command changed about a working tree, read without git and without following a link.
//!
//! Touches: files.
//! Change here: when something else a command leaves behind belongs to its changes, or does not.
//!
//! The tree may be hostile: git is never run in it, a name is looked up part by part from an open directory, and
//! what is read is bounded. Files that are not tracked count where the command made them and no `.gitignore` names
//! them; what stood there before, such as an environment that setup made, is nobody's business.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag};

/// One file, and all files together.
const LARGEST_FILE: u64 = 8 << 20;
const MOST_BYTES: u64 = 64 << 20;
const LARGEST_IGNORE: u64 = 1 << 20;
/// A tree beyond these was not made by a formatter.
const MOST_ENTRIES: usize = 500_000;
const MOST_DEPTH: usize = 100;
/// Stands for the tree's root where paths are only compared.
const ROOT: &str = "/tree";

/// Content of each changed path, none where the file is gone. What is unchanged may be among them.
pub type Changed = BTreeMap<String, Option<Vec<u8>>>;

/// Why the changes cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Untaken {
    #[error("{path}: {why}; only regular files can be changed")]
    NotAFile { path: String, why: &'static str },
    #[error("{what}; what a tool changes must be readable as a patch")]
    TooLarge { what: String },
    #[error("{path}: cannot be read")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// A working tree at one moment.
pub struct Footprint {
    dir: PathBuf,
    tracked: BTreeSet<String>,
    /// Every directory with something tracked in it.
    tracked_dirs: BTreeSet<String>,
    /// Of the tracked directories' entries; directories that hold nothing tracked are not entered.
    stamps: BTreeMap<String, Stamp>,
}

/// Changes when the content does, without a look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    mode: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(found: &Metadata) -> Stamp {
        Stamp {
            inode: found.ino(),
            mode: found.mode(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

impl Stamp {
    fn is_dir(&self) -> bool {
        SFlag::from_bits_truncate(self.mode) & SFlag::S_IFMT == SFlag::S_IFDIR
    }
}

impl Footprint {
    /// `tracked` are the paths of the tree that was checked out in `dir`. Nothing may be changed there for a tick of
    /// the filesystem's clock after this, or it might not show.
    pub fn take(dir: &Path, tracked: BTreeSet<String>) -> Result<Footprint, Untaken> {
        let parents = |path: &String| -> Vec<String> {
            path.match_indices('/')
                .map(|(at, _)| path[..at].to_owned())
                .collect()
        };
        let mut tracked_dirs: BTreeSet<String> = tracked.iter().flat_map(parents).collect();
        tracked_dirs.insert(String::new());
        let mut footprint = Footprint {
            dir: dir.to_owned(),
            tracked,
            tracked_dirs,
            stamps: BTreeMap::new(),
        };
        let mut stamps = BTreeMap::new();
        footprint.walk(&mut |path, found, _| {
            stamps.insert(path.to_owned(), Stamp::from(found));
            Ok(found.is_dir() && footprint.tracked_dirs.contains(path))
        })?;
        footprint.stamps = stamps;
        Ok(footprint)
    }

    /// What is different in the directory now.
    pub fn changes(&self) -> Result<Changed, Untaken> {
        let mut gone: BTreeSet<&String> = self.tracked.iter().collect();
        let mut candidates = vec![];
        self.walk(&mut |path, found, ignores| {
            // A directory in the place of a file was not there before, and the other way round.
            let stamp = Stamp::from(found);
            let known = self.stamps.get(path);
            let known = known.filter(|known| known.is_dir() == stamp.is_dir());
            let is_tracked = self.tracked.contains(path);
            if found.is_dir() {
                let is_new = || known.is_none() && !ignores.name(path, true);
                return Ok(self.tracked_dirs.contains(path) || is_new());
            }
            let is_changed = match known {
                Some(known) => is_tracked && *known != stamp,
                None => is_tracked || !ignores.name(path, false),
            };
            if is_tracked {
                gone.remove(&path.to_owned());
            }
            if is_changed && (is_tracked || !is_unseen_by_git(found)) {
                check(path, found)?;
                candidates.push(path.to_owned());
            }
            Ok(false)
        })?;
        // Setup may have removed it before.
        let removed = gone
            .into_iter()
            .filter(|path| self.stamps.contains_key(*path));
        let mut changed: Changed = removed.map(|path| (path.clone(), None)).collect();
        let mut left = MOST_BYTES;
        for path in candidates {
            let content = self.read(&path, LARGEST_FILE.min(left))?;
            left -= content.len() as u64;
            changed.insert(path, Some(content));
        }
        Ok(changed)
    }

    /// Calls `visit` with everything in the directory; it says whether a directory is entered.
    fn walk(&self, visit: &mut Visit<'_>) -> Result<(), Untaken> {
        let mut entries = 0;
        let mut open = vec![(String::new(), Rc::new(Ignores::none()))];
        while let Some((dir, above)) = open.pop() {
            if dir.matches('/').count() > MOST_DEPTH {
                let what = format!("directories stand more than {MOST_DEPTH} deep");
                return Err(Untaken::TooLarge { what });
            }
            let ignores = Rc::new(self.ignores(&dir, above));
            let unreadable = |source| Untaken::Io {
                path: dir.clone(),
                source,
            };
            for entry in std::fs::read_dir(self.dir.join(&dir)).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                entries += 1;
                if entries > MOST_ENTRIES {
                    let what = format!("there are more than {MOST_ENTRIES} files");
                    return Err(Untaken::TooLarge { what });
                }
                let name = entry.file_name();
                if name == OsStr::new(".git") {
                    continue;
                }
                let name = name.to_string_lossy();
                let path = if dir.is_empty() {
                    name.into_owned()
                } else {
                    format!("{dir}/{name}")
                };
                // It may be gone again.
                let Ok(found) = entry.metadata() else {
                    continue;
                };
                if visit(&path, &found, &ignores)? {
                    open.push((path, ignores.clone()));
                }
            }
        }
        Ok(())
    }

    fn ignores(&self, dir: &str, above: Rc<Ignores>) -> Ignores {
        let place = Path::new(ROOT).join(dir);
        let mut rules = GitignoreBuilder::new(&place);
        let path = Path::new(dir).join(".gitignore").display().to_string();
        // One that cannot be read names nothing, as for git.
        let text = self.read(&path, LARGEST_IGNORE).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines() {
            // A line that is no pattern names nothing either.
            let _ = rules.add_line(None, line);
        }
        Ignores {
            rules: rules.build().ok().filter(|rules| !rules.is_empty()),
            above: Some(above),
        }
    }

    fn read(&self, path: &str, most: u64) -> Result<Vec<u8>, Untaken> {
        let unreadable = |source| Untaken::Io {
            path: path.to_owned(),
            source,
        };
        let file = open_beneath(&self.dir, path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        if !found.is_file() {
            return Err(Untaken::NotAFile {
                path: path.to_owned(),
                why: "it is no regular file",
            });
        }
        let mut content = Vec::new();
        let read = file.take(most + 1).read_to_end(&mut content);
        if read.map_err(unreadable)? as u64 > most {
            let what = format!("{path} has more than {most} bytes");
            return Err(Untaken::TooLarge { what });
        }
        Ok(content)
    }
}

type Visit<'a> = dyn FnMut(&str, &Metadata, &Ignores) -> Result<bool, Untaken> + 'a;

/// What the `.gitignore` of a directory and of those above it name.
struct Ignores {
    rules: Option<Gitignore>,
    above: Option<Rc<Ignores>>,
}

impl Ignores {
    fn none() -> Ignores {
        Ignores {
            rules: None,
            above: None,
        }
    }

    /// The deepest file that says something about the path decides.
    fn name(&self, path: &str, is_dir: bool) -> bool {
        let place = Path::new(ROOT).join(path);
        let mut at = Some(self);
        while let Some(ignores) = at {
            let said = ignores.rules.as_ref().map(|r| r.matched(&place, is_dir));
            if let Some(said) = said.filter(|said| !said.is_none()) {
                return said.is_ignore();
            }
            at = ignores.above.as_deref();
        }
        false
    }
}

fn check(path: &str, found: &Metadata) -> Result<(), Untaken> {
    if path.contains(char::REPLACEMENT_CHARACTER) {
        return Err(Untaken::NotAFile {
            path: path.to_owned(),
            why: "its name is no text",
        });
    }
    let why = match found.file_type() {
        kind if kind.is_symlink() => "it is a symbolic link",
        kind if !kind.is_file() => "it is no regular file",
        _ => return Ok(()),
    };
    Err(Untaken::NotAFile {
        path: path.to_owned(),
        why,
    })
}

/// Pipes, sockets and devices.
fn is_unseen_by_git(found: &Metadata) -> bool {
    let kind = found.file_type();
    kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device()
}

/// Part by part, so that no link on the way leads out. A pipe does not make it wait.
fn open_beneath(root: &Path, path: &str) -> io::Result<File> {
    let mut at = File::open(root)?;
    let (dirs, name) = path
        .rsplit_once('/')
        .map_or((None, path), |(d, n)| (Some(d), n));
    for dir in dirs.iter().flat_map(|dirs| dirs.split('/')) {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        at = openat(&at, dir, flags, Mode::empty())?.into();
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(openat(&at, name, flags, Mode::empty())?.into())
}

#[cfg(test)]
mod tests;
