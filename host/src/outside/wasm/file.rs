//! Files in plugin directories: what lies there, whether one has settled, and its bytes, read once.
//!
//! Touches: files, clock.
//! Change here: when plugins should be found elsewhere, or a kind of file should be told apart.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;

use super::unfit::Unfit;

/// Largest file that is read. Python guests, the largest known, have 18 MiB.
pub const LARGEST: u64 = 64 << 20;
/// A file that has not changed for so long is not being written.
const LONG_AGO: Duration = Duration::from_secs(1);

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Sign {
    fn of(meta: &std::fs::Metadata) -> Sign {
        Sign {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// None where there is no such file; a link that leads nowhere is a file of its own.
    pub fn look(path: &Path) -> Option<Sign> {
        std::fs::metadata(path)
            .or_else(|_| std::fs::symlink_metadata(path))
            .ok()
            .map(|meta| Sign::of(&meta))
    }

    pub fn is_old(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(self.changed.0)
            .is_ok_and(|changed| Duration::from_secs(changed) + LONG_AGO + LONG_AGO <= now)
    }
}

/// A file that would be a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name without the extension.
    pub name: String,
    pub path: PathBuf,
    pub sign: Sign,
}

/// What the directories held when they were looked at.
#[derive(Debug, Default)]
pub struct Scan {
    /// The first file of each name, in the order of the directories.
    pub files: BTreeMap<String, Found>,
    /// Directories that could not be read; nothing is known of their files.
    pub unreadable: Vec<(PathBuf, std::io::Error)>,
}

pub fn scan(dirs: &[PathBuf]) -> Scan {
    let mut scan = Scan::default();
    for dir in dirs {
        match wasm_files(dir) {
            Ok(paths) => {
                for path in paths {
                    scan.add(path);
                }
            }
            Err(error) => scan.unreadable.push((dir.clone(), error)),
        }
    }
    scan
}

impl Scan {
    fn add(&mut self, path: PathBuf) {
        let name = stem(&path);
        if let Some(sign) = Sign::look(&path)
            && !self.files.contains_key(&name)
        {
            self.files.insert(name.clone(), Found { name, path, sign });
        }
    }
}

/// The name of the plugin that a file holds; what only calls itself compiled takes no plugin's name.
pub fn stem(path: &Path) -> String {
    let name = if calls_itself_compiled(path) {
        path.file_name()
    } else {
        path.file_stem()
    };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

pub fn calls_itself_compiled(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("cwasm"))
}

/// `*.wasm` and what only calls itself compiled, sorted; none where there is no such directory. Hidden files are
/// copies on their way.
fn wasm_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|path| {
        let named = path.extension() == Some(OsStr::new("wasm"));
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && (named || calls_itself_compiled(path))
    });
    files.sort();
    Ok(files)
}

/// The whole file, read once: what is looked at, digested and compiled are the same bytes.
pub fn read(path: &Path) -> Result<Vec<u8>, Unfit> {
    let place = within(path)?;
    let meta = std::fs::metadata(&place).map_err(Unfit::Unreadable)?;
    if !meta.is_file() {
        return Err(Unfit::NotRegular);
    }
    if meta.len() > LARGEST {
        return Err(Unfit::TooLarge);
    }
    // Should it have become a pipe or a link since: opening it neither waits nor follows.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits())
        .open(&place)
        .map_err(Unfit::Unreadable)?;
    let before = Sign::of(&file.metadata().map_err(Unfit::Unreadable)?);
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default());
    (&file)
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(Unfit::Unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Unfit::TooLarge);
    }
    let after = Sign::of(&file.metadata().map_err(Unfit::Unreadable)?);
    if before != after || after.size != bytes.len() as u64 {
        return Err(Unfit::Unsettled);
    }
    Ok(bytes)
}

/// Where the file really is; a link may lead about within its directory, not out of it.
fn within(path: &Path) -> Result<PathBuf, Unfit> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let real_dir = dir.canonicalize().map_err(Unfit::Unreadable)?;
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) => {
            let target = std::fs::read_link(path).map_err(|_| Unfit::Unreadable(error))?;
            return Err(Unfit::LinkOut(target));
        }
    };
    if real.starts_with(&real_dir) {
        Ok(real)
    } else {
        Err(Unfit::LinkOut(real))
    }
}
