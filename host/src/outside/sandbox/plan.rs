//! What the daemon tells the two helpers that build a cell around a command.
//!
//! Touches: nothing.
//! Change here: when a cell needs another mount, limit or setting. Both helpers are this same program, so the plan
//! never meets another version of itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf, absolute};

use serde::{Deserialize, Serialize};

/// Where things lie inside, the same in every cell: what a tool writes down about its place holds in the next one too.
pub const TREE: &str = "/trial/tree";
pub const HOME: &str = "/trial/home";
pub const REPORT: &str = "/trial/report";
pub const REPOSITORY: &str = "/trial/repo";
pub const OBJECTS: &str = "/trial/objects";
pub const HELPER: &str = "/trial/changebus";

/// For `changebus sandbox-enter`, on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    pub bwrap: PathBuf,
    /// The process the cell must not outlive.
    pub parent: i32,
    /// User and group to become before anything of the cell runs, where the daemon is root.
    pub identity: Option<u32>,
    pub mounts: Vec<Mount>,
    /// Small files made up for the cell: path to content.
    pub texts: BTreeMap<PathBuf, String>,
    pub links: BTreeMap<PathBuf, PathBuf>,
    pub env: BTreeMap<String, String>,
    pub network: bool,
    /// Size of `/tmp`, and of `/dev/shm`.
    pub tmp_bytes: u64,
    pub inner: Inner,
}

/// Something of the host that shows inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub from: From,
    pub to: PathBuf,
    pub writable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum From {
    Path(PathBuf),
    /// Shows `lower`; what is written goes to `upper`. `work` lies beside `upper` and is the kernel's.
    Overlay {
        lower: PathBuf,
        upper: PathBuf,
        work: PathBuf,
    },
}

impl Mount {
    pub fn read(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Mount {
        Mount {
            from: From::Path(from.into()),
            to: to.into(),
            writable: false,
        }
    }

    pub fn write(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Mount {
        Mount {
            writable: true,
            ..Mount::read(from, to)
        }
    }

    /// The same, told from the root.
    ///
    /// # Errors
    /// Where the working directory cannot be told.
    pub fn absolute(&self) -> std::io::Result<Mount> {
        let from = match &self.from {
            From::Path(path) => From::Path(absolute(path)?),
            From::Overlay { lower, upper, work } => From::Overlay {
                lower: absolute(lower)?,
                upper: absolute(upper)?,
                work: absolute(work)?,
            },
        };
        Ok(Mount {
            from,
            ..self.clone()
        })
    }

    /// Shows it where it lies.
    pub fn in_place(path: &Path) -> Mount {
        Mount::read(path, path)
    }
}

/// For `changebus sandbox-exec`, which runs inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inner {
    /// Said before the command starts, with the layers that hold; what is said without it comes from a cell that
    /// could not be built.
    pub nonce: String,
    /// A line for `sh -c`.
    pub line: String,
    /// Landlock lets nothing else be written.
    pub writable: Vec<PathBuf>,
    pub limits: Limits,
}

/// Limits of one command and everything it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Private memory of one process.
    pub memory_bytes: u64,
    /// Of all of them together, with what lies in `/tmp` and shared memory.
    pub total_memory_bytes: u64,
    pub processes: u64,
    /// The largest file it may write.
    pub file_bytes: u64,
    /// `/tmp`, and as much again of shared memory.
    pub tmp_bytes: u64,
}
