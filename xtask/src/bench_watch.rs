//! Measures what watching costs: a hundred idle repositories, and how soon a push to one is seen.
//!
//! Touches: clock, files, processes, git.
//! Change here: when another cost of watching should be known. It ends by itself, whatever happens.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

const REPOSITORIES: usize = 100;
const INTERVAL: Duration = Duration::from_secs(30);
const INTERVALS: u32 = 3;
const PUSHES: usize = 3;
/// For the look itself, and for this program to notice that it was taken.
const MARGIN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(180);

/// Prints a block of Markdown for `docs/measurements.md`.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let bench = Bench::set_up(root)?;
    let mut daemon = Daemon::start(&bench)?;
    let adopting = Instant::now();
    bench.until(|events| count(events, "adopted") >= REPOSITORIES)?;
    let adopted = adopting.elapsed();
    eprintln!("xtask: {REPOSITORIES} repositories adopted, now idle for {INTERVALS} intervals");
    std::thread::sleep(INTERVAL);
    let before = daemon.cost()?;
    std::thread::sleep(INTERVAL * INTERVALS);
    let after = daemon.cost()?;
    eprintln!("xtask: pushing to {PUSHES} repositories");
    let seen = bench.push_and_wait()?;
    daemon.stop();
    println!("{}", told(adopted, &before, &after, &seen)?);
    Ok(())
}

/// Repositories and a configuration in a directory that goes with this value.
struct Bench {
    dir: PathBuf,
    program: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Bench {
    fn set_up(root: &Path) -> anyhow::Result<Bench> {
        let dir = std::env::temp_dir().join(format!("changebus-bench-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("making {}", dir.display()))?;
        let program = root.join("target/debug/changebus");
        let bench = Bench { dir, program };
        bench.git(&["init", "--quiet", "--initial-branch=main", "seed"])?;
        std::fs::write(bench.dir.join("seed/readme"), "hello\n")?;
        bench.commit("Begin")?;
        for n in 0..REPOSITORIES {
            bench.git(&["clone", "--quiet", "--bare", "seed", &repository(n)])?;
        }
        std::fs::write(bench.config(), bench.settings())?;
        Ok(bench)
    }

    fn config(&self) -> PathBuf {
        self.dir.join("changebus.toml")
    }

    fn settings(&self) -> String {
        let state = self.dir.join("state");
        let mut text = format!(
            "[host]\nstate = {state:?}\n\n[watch]\ninterval_seconds = {}\n",
            INTERVAL.as_secs()
        );
        for n in 0..REPOSITORIES {
            let repo = self.dir.join(repository(n));
            let _ = write!(
                text,
                "\n[projects.p{n:03}]\nrepo = {repo:?}\ntest = \"true\"\n"
            );
        }
        text
    }

    fn commit(&self, message: &str) -> anyhow::Result<()> {
        self.git(&["-C", "seed", "add", "--all"])?;
        self.git(&["-C", "seed", "commit", "--quiet", "-m", message])
    }

    fn git(&self, args: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new("git");
        command.current_dir(&self.dir).args(args);
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Bench");
            command.env(format!("GIT_{role}_EMAIL"), "bench@localhost");
        }
        let status = command.status().context("git could not be started")?;
        if !status.success() {
            bail!("git {args:?} failed ({status})");
        }
        Ok(())
    }

    /// The log so far, one JSON object a line; empty before there is one.
    fn events(&self) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .arg("--config")
            .arg(self.config())
            .args(["events", "--json"])
            .output()
            .context("changebus could not be started")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn until(&self, satisfied: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        while !satisfied(&self.events()?) {
            if started.elapsed() > PATIENCE {
                bail!("the daemon did not come that far within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        Ok(())
    }

    /// How long after the push each was seen.
    fn push_and_wait(&self) -> anyhow::Result<Vec<Duration>> {
        std::fs::write(self.dir.join("seed/readme"), "hello again\n")?;
        self.commit("Greet again")?;
        let mut seen = Vec::new();
        for nth in 0..PUSHES {
            let n = nth * REPOSITORIES / PUSHES;
            let pushed = Instant::now();
            let to = self.dir.join(repository(n)).display().to_string();
            self.git(&["-C", "seed", "push", "--quiet", &to, "HEAD:main"])?;
            self.until(|events| {
                let is_it = |line: &&str| {
                    line.contains("\"change-seen\"")
                        && line.contains(&format!("\"project\":\"p{n:03}\""))
                };
                events.lines().any(|line| is_it(&line))
            })?;
            seen.push(pushed.elapsed());
        }
        Ok(seen)
    }
}

fn repository(n: usize) -> String {
    format!("r{n:03}.git")
}

fn count(events: &str, word: &str) -> usize {
    let quoted = format!("\"{word}\"");
    events.lines().filter(|l| l.contains(&quoted)).count()
}

/// What a process has used so far, children that ended included.
struct Cost {
    at: Instant,
    own_ticks: u64,
    children_ticks: u64,
    resident_kib: u64,
    peak_kib: u64,
    threads: usize,
    wakeups: u64,
}

/// The daemon; ended with this value.
struct Daemon(Child);

impl Daemon {
    fn start(bench: &Bench) -> anyhow::Result<Daemon> {
        let child = Command::new(&bench.program)
            .arg("--config")
            .arg(bench.config())
            .arg("run")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(Daemon(child.context("changebus could not be started")?))
    }

    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    fn cost(&self) -> anyhow::Result<Cost> {
        let place = PathBuf::from(format!("/proc/{}", self.0.id()));
        let stat = std::fs::read_to_string(place.join("stat")).context("the daemon has ended")?;
        // The name in parentheses may hold blanks; what follows it does not.
        let after_name = stat.rsplit_once(')').context("stat has a name")?.1;
        let fields: Vec<u64> = after_name
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let field = |n: usize| fields.get(n).copied().unwrap_or(0);
        let status = std::fs::read_to_string(place.join("status"))?;
        let (threads, wakeups) = wakeups(&place)?;
        Ok(Cost {
            at: Instant::now(),
            own_ticks: field(11) + field(12),
            children_ticks: field(13) + field(14),
            resident_kib: line(&status, "VmRSS:"),
            peak_kib: line(&status, "VmHWM:"),
            threads,
            wakeups,
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Threads, and how often they all together went to sleep and were woken.
fn wakeups(place: &Path) -> anyhow::Result<(usize, u64)> {
    let (mut threads, mut sum) = (0, 0);
    for task in std::fs::read_dir(place.join("task"))? {
        // A thread may end while it is being looked at.
        if let Ok(status) = std::fs::read_to_string(task?.path().join("status")) {
            threads += 1;
            sum += line(&status, "voluntary_ctxt_switches:");
        }
    }
    Ok((threads, sum))
}

fn line(status: &str, key: &str) -> u64 {
    let found = status.lines().find_map(|line| line.strip_prefix(key));
    let number = found.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn told(
    adopted: Duration,
    before: &Cost,
    after: &Cost,
    seen: &[Duration],
) -> anyhow::Result<String> {
    let hertz: f64 = said("getconf", &["CLK_TCK"])?.parse()?;
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let percent = |from: u64, to: u64| (to - from) as f64 / hertz / seconds * 100.0;
    let latest = seen.iter().max().copied().unwrap_or_default();
    let each: Vec<String> = seen
        .iter()
        .map(|s| format!("{:.1} s", s.as_secs_f64()))
        .collect();
    Ok(format!(
        "{REPOSITORIES} repositories on one disk, polled every {} s, debug build; {}; {}; `cargo xtask bench-watch`.\n\n\
         | what | measured |\n|---|---|\n\
         | all adopted after start | {:.1} s |\n\
         | CPU of the daemon itself, idle over {seconds:.0} s | {:.2} % of one core |\n\
         | CPU of the git processes it starts | {:.2} % of one core |\n\
         | resident memory | {} MiB (peak {} MiB) |\n\
         | threads | {} |\n\
         | wake-ups of all its threads | {:.0} a second |\n\
         | a push is seen after | {} (one interval of {} s and the look: {}) |\n",
        INTERVAL.as_secs(),
        machine()?,
        said("date", &["-u", "+%F"])?,
        adopted.as_secs_f64(),
        percent(before.own_ticks, after.own_ticks),
        percent(before.children_ticks, after.children_ticks),
        after.resident_kib / 1024,
        after.peak_kib / 1024,
        after.threads,
        (after.wakeups - before.wakeups) as f64 / seconds,
        each.join(", "),
        INTERVAL.as_secs(),
        if latest <= INTERVAL + MARGIN {
            "kept"
        } else {
            "BROKEN"
        },
    ))
}

fn machine() -> anyhow::Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find(|l| l.starts_with("model name"));
    let model = model.and_then(|l| l.split(':').nth(1)).unwrap_or(" CPU");
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "{cores} cores,{model}, {}",
        said("uname", &["-sr"])?
    ))
}

fn said(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("{program} could not be started"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
