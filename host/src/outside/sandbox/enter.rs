//! The first step into a cell: lays out what shall show inside, gives up what the daemon is, and becomes bubblewrap.
//!
//! Touches: files, processes.
//! Change here: when something else must happen before the namespaces of bubblewrap, or it takes other options.
//!
//! Everything the cell shows is mounted on a small filesystem of its own first, in a mount namespace that dies with
//! the cell. So nothing is ever left mounted, an overlay needs no rights on the host, and the user that the cell runs
//! as need not be able to reach where the daemon keeps its things.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{
    Gid, Uid, dup2_stdin, execv, getegid, geteuid, getppid, setgroups, setresgid, setresuid,
};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{PidfdFlags, pidfd_open};

use super::plan::{From, HELPER, Mount, Plan, TREE};

/// The verb of the command line for the step inside.
pub const EXEC_VERB: &str = "sandbox-exec";
/// Bubblewrap itself builds on `/tmp`, so it is everywhere.
const STAGE: &str = "/tmp";
/// User and group inside: an ordinary one, whatever the daemon is. Many tests refuse to run as root.
const INSIDE: &str = "1000";
const HELPER_AT: &str = "/tmp/changebus";
const RUNNING: &str = "/proc/self/exe";

/// Why there is no cell.
#[derive(Debug, thiserror::Error)]
pub enum NotEntered {
    #[error("the plan cannot be read: {0}")]
    Plan(#[from] serde_json::Error),
    #[error("the daemon is gone")]
    Orphaned,
    #[error("{doing}: {source}")]
    System {
        doing: String,
        #[source]
        source: std::io::Error,
    },
}

/// Reads the plan from the standard input. Never returns where all went well.
///
/// # Errors
/// Where the cell cannot be built; nothing of it has run then.
pub fn enter() -> Result<Infallible, NotEntered> {
    let mut text = String::new();
    let read = std::io::stdin().lock().read_to_string(&mut text);
    doing("reading the plan", read)?;
    let plan: Plan = serde_json::from_str(&text)?;
    die_with(plan.parent)?;
    own_mounts(plan.identity.is_some())?;
    // By now, since a mount can only be made of what this namespace holds; and before anything is mounted over it.
    let sources = open_all(&plan)?;
    let helper = helper()?;
    let staged = stage(&plan, &sources)?;
    stage_helper(helper.as_ref())?;
    if let Some(identity) = plan.identity {
        become_nobody(identity)?;
        // A change of identity takes the death signal back.
        die_with(plan.parent)?;
    }
    let nothing = doing("opening /dev/null", File::open("/dev/null"))?;
    doing("closing the plan", dup2_stdin(nothing))?;
    become_bubblewrap(&plan, &staged)
}

fn doing<T>(what: &str, result: Result<T, impl Into<std::io::Error>>) -> Result<T, NotEntered> {
    result.map_err(|error| NotEntered::System {
        doing: what.to_owned(),
        source: error.into(),
    })
}

fn die_with(parent: i32) -> Result<(), NotEntered> {
    doing(
        "asking for the death signal",
        set_pdeathsig(Signal::SIGKILL),
    )?;
    // It may have died before it was asked.
    if getppid().as_raw() == parent {
        Ok(())
    } else {
        Err(NotEntered::Orphaned)
    }
}

/// The open directories and files of a mount: by these they are found whatever is mounted over their paths.
enum Source {
    Path(OwnedFd, bool),
    Overlay {
        lower: OwnedFd,
        upper: OwnedFd,
        work: OwnedFd,
    },
}

fn open_all(plan: &Plan) -> Result<Vec<Source>, NotEntered> {
    plan.mounts.iter().map(source).collect()
}

/// This program, unless another version has taken its place since it was started.
fn helper() -> Result<Option<Source>, NotEntered> {
    // By its path: what runs belongs to the namespace it was started in, and cannot be mounted here.
    let path = doing(RUNNING, std::fs::read_link(RUNNING))?;
    let number = |path: &Path| path.metadata().ok().map(|m| (m.dev(), m.ino()));
    if number(&path) != number(Path::new(RUNNING)) {
        return Ok(None);
    }
    Ok(Some(Source::Path(open(&path)?, false)))
}

fn source(mount: &Mount) -> Result<Source, NotEntered> {
    Ok(match &mount.from {
        From::Path(path) => {
            let is_dir = doing(&format!("{}", path.display()), path.metadata())?.is_dir();
            Source::Path(open(path)?, is_dir)
        }
        From::Overlay { lower, upper, work } => Source::Overlay {
            lower: open(lower)?,
            upper: open(upper)?,
            work: open(work)?,
        },
    })
}

fn open(path: &Path) -> Result<OwnedFd, NotEntered> {
    let opened = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    doing(&format!("{}", path.display()), opened)
}

/// A mount namespace of this cell. Who is not root needs a user namespace for it, as which it stays who it is.
fn own_mounts(is_root: bool) -> Result<(), NotEntered> {
    let (user, group) = (geteuid(), getegid());
    let flags = if is_root {
        CloneFlags::CLONE_NEWNS
    } else {
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUSER
    };
    doing("a namespace of its own", unshare(flags))?;
    if !is_root {
        let says = |path: &str, text: String| doing(path, std::fs::write(path, text));
        says("/proc/self/setgroups", "deny".into())?;
        says("/proc/self/uid_map", format!("{user} {user} 1"))?;
        says("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let none: Option<&str> = None;
    doing(
        "keeping mounts to itself",
        mount(none, "/", none, private, none),
    )
}

/// Everything the plan names, beneath the stage; where each has come to lie.
fn stage(plan: &Plan, sources: &[Source]) -> Result<Vec<PathBuf>, NotEntered> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let options = Some("mode=0755,size=1g");
    let stage = mount(Some("stage"), STAGE, Some("tmpfs"), flags, options);
    doing("a place to build on", stage)?;
    for (nth, text) in plan.texts.values().enumerate() {
        let path = text_at(nth);
        doing("writing a file of the cell", std::fs::write(path, text))?;
    }
    let staged = sources.iter().enumerate();
    staged
        .map(|(nth, source)| put(source, Path::new(STAGE).join(nth.to_string())))
        .collect()
}

fn stage_helper(helper: Option<&Source>) -> Result<(), NotEntered> {
    match helper {
        Some(helper) => put(helper, HELPER_AT.into()).map(drop),
        None => doing(
            "copying the program",
            std::fs::copy(RUNNING, HELPER_AT).map(drop),
        ),
    }
}

fn text_at(nth: usize) -> PathBuf {
    Path::new(STAGE).join(format!("text-{nth}"))
}

fn put(source: &Source, at: PathBuf) -> Result<PathBuf, NotEntered> {
    let told = at.display().to_string();
    let none: Option<&str> = None;
    match source {
        Source::Path(file, is_dir) => {
            if *is_dir {
                doing(&told, std::fs::create_dir(&at))?;
            } else {
                doing(&told, File::create(&at).map(drop))?;
            }
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            doing(&told, mount(Some(&by_number(file)), &at, none, flags, none))?;
        }
        Source::Overlay { lower, upper, work } => {
            doing(&told, std::fs::create_dir(&at))?;
            doing("an overlay", overlay(lower, upper, work, &at))?;
        }
    }
    Ok(at)
}

fn by_number(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn overlay(lower: &OwnedFd, upper: &OwnedFd, work: &OwnedFd, at: &Path) -> nix::Result<()> {
    let mut options = format!(
        "lowerdir={},upperdir={},workdir={}",
        by_number(lower).display(),
        by_number(upper).display(),
        by_number(work).display()
    );
    // Only the machine's own root may write the other kind of attributes.
    if !in_first_user_namespace() {
        options.push_str(",userxattr");
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("overlay"),
        at,
        Some("overlay"),
        flags,
        Some(options.as_str()),
    )
}

fn in_first_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn become_nobody(identity: u32) -> Result<(), NotEntered> {
    let (user, group) = (Uid::from_raw(identity), Gid::from_raw(identity));
    doing("leaving all groups", setgroups(&[]))?;
    doing("changing the group", setresgid(group, group, group))?;
    doing("changing the user", setresuid(user, user, user))
}

fn become_bubblewrap(plan: &Plan, staged: &[PathBuf]) -> Result<Infallible, NotEntered> {
    let inner = serde_json::to_string(&plan.inner)?;
    // Project settings stand among them, and everybody may read the arguments of a process.
    let options = doing("passing options", hidden(&options(plan, staged)))?;
    let number = options.as_raw_fd().to_string();
    let outside = doing("naming itself", itself())?;
    let (program, outside) = ("bwrap", outside.as_raw_fd().to_string());
    let words = [
        program, "--args", &number, "--", HELPER, EXEC_VERB, &inner, &outside,
    ];
    let words: Result<Vec<CString>, _> = words.into_iter().map(CString::new).collect();
    let bwrap = CString::new(plan.bwrap.as_os_str().as_bytes());
    let zero = |_| std::io::Error::other("a zero byte in an argument");
    let (words, bwrap) = (
        doing("starting bubblewrap", words.map_err(zero))?,
        doing("starting bubblewrap", bwrap.map_err(zero))?,
    );
    // What bubblewrap itself has in its environment stays readable inside, whatever it clears later: the daemon gave
    // this process nothing but the mark of the job.
    let told = format!("starting {}", plan.bwrap.display());
    doing(&told, execv(&bwrap, &words))
}

/// This process, which is bubblewrap's outer one from now on, for whoever comes to stand inside. The first process inside
/// asks for a death signal as its outer one does, but it may be too late for one.
fn itself() -> std::io::Result<OwnedFd> {
    let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    fcntl_setfd(&own, FdFlags::empty())?;
    Ok(own)
}

/// A file without a name that the next program still has open.
fn hidden(words: &[Vec<u8>]) -> std::io::Result<File> {
    let file = memfd_create(c"options", MFdFlags::empty())?;
    let mut file = File::from(file);
    for word in words {
        file.write_all(word)?;
        file.write_all(b"\0")?;
    }
    file.rewind()?;
    Ok(file)
}

/// What bubblewrap is told. Its version 0.8, Debian 12's, knows all of it.
fn options(plan: &Plan, staged: &[PathBuf]) -> Vec<Vec<u8>> {
    let mut words = Words::default();
    words.all(&["--unshare-user", "--disable-userns"]);
    words.all(&["--uid", INSIDE, "--gid", INSIDE]);
    words.all(&["--unshare-pid", "--unshare-ipc", "--unshare-uts"]);
    words.all(&["--unshare-cgroup-try", "--hostname", "trial"]);
    if !plan.network {
        words.all(&["--unshare-net"]);
    }
    words.all(&["--new-session", "--die-with-parent", "--cap-drop", "ALL"]);
    words.all(&["--proc", "/proc", "--dev", "/dev"]);
    let size = plan.tmp_bytes.to_string();
    for place in ["/tmp", "/dev/shm"] {
        words.all(&["--size", &size, "--perms", "1777", "--tmpfs", place]);
    }
    words.all(&["--remount-ro", "/dev"]);
    for (to, target) in &plan.links {
        words.one("--symlink").one(target).one(to);
    }
    for (nth, to) in plan.texts.keys().enumerate() {
        words.one("--ro-bind").one(text_at(nth)).one(to);
    }
    words.all(&["--ro-bind", HELPER_AT, HELPER]);
    for (mount, at) in plan.mounts.iter().zip(staged) {
        let how = if mount.writable {
            "--bind"
        } else {
            "--ro-bind"
        };
        words.one(how).one(at).one(&mount.to);
    }
    words.all(&["--remount-ro", "/", "--chdir", TREE]);
    words.all(&["--clearenv"]);
    for (name, value) in &plan.env {
        words.one("--setenv").one(name).one(value);
    }
    words.0
}

#[derive(Default)]
struct Words(Vec<Vec<u8>>);

impl Words {
    fn one(&mut self, word: impl AsRef<std::ffi::OsStr>) -> &mut Words {
        self.0.push(word.as_ref().as_bytes().to_vec());
        self
    }

    fn all(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|w| w.as_bytes().to_vec()));
    }
}
