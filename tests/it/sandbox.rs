//! Hostile tests in a cell, and the same ones outside, where they succeed.
//!
//! Touches: files, processes, git, network (loopback).
//! Change here: when a cell must hold something else. What is tried is in `sandbox/probes.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use changebus::event::{Exit, Fact, Layer};
use changebus::outside::process::Finished;
use changebus::outside::sandbox::{Cell, Limits, Mount, Sandbox, TREE};
use changebus_tests::world::{World, program};
use nix::unistd::geteuid;

use crate::orders;
use crate::plugins::assert_passes;
use probes::{PROBES, Probe};

mod probes;

const KEY: &str = "sk-canary-1234567890";
/// Somebody who is not root, and whom nothing here belongs to.
const NOBODY: &str = "65534";

/// What there is to get, outside.
struct Prey {
    dir: tempfile::TempDir,
    tcp: u16,
    udp: u16,
    name: String,
    victim: Child,
}

impl Drop for Prey {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

impl Prey {
    fn new() -> Prey {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("credentials"), "secret").unwrap();
        for place in ["tree", "fill", "outside"] {
            std::fs::create_dir(at(place)).unwrap();
        }
        repository(&at("other"), "other");
        repository(&at("own"), "own");
        let work = ["worktree", "add", "--quiet", "--detach"];
        git(
            &at("own"),
            &[&work[..], &[at("tree").to_str().unwrap()]].concat(),
        );
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UnixListener::bind(at("socket")).unwrap();
        let name = format!("changebus-prey-{}", std::process::id());
        let abstracted = SocketAddr::from_abstract_name(&name).unwrap();
        let abstracted = UnixListener::bind_addr(&abstracted).unwrap();
        let ports = (
            tcp.local_addr().unwrap().port(),
            udp.local_addr().unwrap().port(),
        );
        std::thread::spawn(move || tcp.incoming().flatten().for_each(answer));
        std::thread::spawn(move || socket.incoming().flatten().for_each(answer));
        std::thread::spawn(move || abstracted.incoming().flatten().for_each(answer));
        std::thread::spawn(move || {
            while let Ok((_, from)) = udp.recv_from(&mut [0; 512]) {
                let _ = udp.send_to(b"BREACH", from);
            }
        });
        let victim = Command::new("sleep").arg("600").spawn().unwrap();
        Prey {
            dir,
            tcp: ports.0,
            udp: ports.1,
            name,
            victim,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a probe is told; of the key only how it begins.
    fn told(&self, fill: &str) -> BTreeMap<String, String> {
        let text = |path: PathBuf| path.display().to_string();
        let own = [
            ("SECRET_FILE", text(self.at("credentials"))),
            ("OTHER_REPO", text(self.at("other/.git"))),
            ("OUTSIDE", text(self.at("outside"))),
            ("SOCKET", text(self.at("socket"))),
            ("TCP", self.tcp.to_string()),
            ("UDP", self.udp.to_string()),
            ("ABSTRACT", self.name.clone()),
            ("VICTIM", self.victim.id().to_string()),
            ("FILL", fill.to_owned()),
            ("KEY_STARTS", "sk-canary".to_owned()),
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", "/tmp".to_owned()),
        ];
        own.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// As a tool without a sandbox runs it: with everything this process has.
    fn outside(&self, line: &str) -> String {
        let fill = self.at("fill").display().to_string();
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(self.at("tree"))
            .envs(self.told(&fill))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        said(&output)
    }

    async fn inside(&self, sandbox: &Sandbox, line: &str) -> (Finished, BTreeSet<Layer>) {
        let mounts = vec![
            // Where the tree says it is.
            Mount::in_place(&self.at("own")),
            Mount::write(self.at("tree"), TREE),
        ];
        let cell = Cell {
            env: self.told("/tmp"),
            ..cell(line, mounts)
        };
        sandbox.run(&cell).await
    }
}

fn answer(mut stream: impl Write) {
    let _ = stream.write_all(b"BREACH");
}

fn cell(line: &str, mounts: Vec<Mount>) -> Cell {
    Cell {
        line: line.to_owned(),
        mounts,
        env: [("PATH".to_owned(), std::env::var("PATH").unwrap())].into(),
        network: false,
        limits: Limits {
            memory_bytes: 512 << 20,
            total_memory_bytes: 2 << 30,
            processes: 64,
            file_bytes: 50 << 20,
            tmp_bytes: 50 << 20,
        },
        timeout: Duration::from_secs(60),
        grace: Duration::from_secs(1),
        output_bytes: 1 << 20,
    }
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn repository(dir: &Path, message: &str) {
    std::fs::create_dir(dir).unwrap();
    git(dir, &["init", "--quiet", "--initial-branch=main"]);
    std::fs::write(dir.join("a"), message).unwrap();
    git(dir, &["add", "a"]);
    git(dir, &["commit", "--quiet", "-m", message]);
}

fn git(dir: &Path, args: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@localhost"])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", said(&output));
}

async fn sandbox() -> Sandbox {
    let sandbox = Sandbox::find(program(), Path::new("/")).unwrap();
    sandbox.prove().await.unwrap();
    sandbox
}

fn is_breach(said: &str) -> bool {
    said.lines().any(|line| line == "BREACH")
}

/// The test of that name in a process of its own, which has the key in its environment; as `user` where one is named.
fn alone(test: &str, user: Option<&str>) -> Output {
    let this = std::env::current_exe().unwrap();
    let place = tempfile::tempdir().unwrap();
    let mut command = match user {
        None => Command::new(&this),
        Some(user) => {
            let id: u32 = user.parse().unwrap();
            std::os::unix::fs::chown(place.path(), Some(id), Some(id)).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
            command.arg(&this);
            command
        }
    };
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("ANTHROPIC_API_KEY", KEY)
        .env("TMPDIR", place.path())
        .env("HOME", place.path())
        .current_dir(place.path());
    command.output().unwrap()
}

#[test]
fn what_hostile_tests_try_succeeds_outside_and_fails_in_a_cell() {
    assert_passes(alone("sandbox::alone_hostile_tests", None));
}

#[test]
fn what_hostile_tests_try_fails_in_a_cell_of_an_ordinary_user_too() {
    assert!(
        geteuid().is_root(),
        "only root can become an ordinary user; without it, the test above has been run as one"
    );
    assert_passes(alone("sandbox::alone_hostile_tests", Some(NOBODY)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run in a process of its own, whose environment holds a key"]
async fn alone_hostile_tests() {
    assert_eq!(std::env::var("ANTHROPIC_API_KEY").as_deref(), Ok(KEY));
    let sandbox = sandbox().await;
    let prey = Prey::new();
    if let Some(user) = sandbox.identity() {
        // What a cell may write is given to its user before; see `Workspace::settle`.
        std::os::unix::fs::chown(prey.at("tree"), Some(user), Some(user)).unwrap();
    }
    let mut problems = vec![];
    for Probe {
        name,
        line,
        vacuous,
    } in PROBES
    {
        let control = prey.outside(line);
        let excused = vacuous.filter(|(_, check)| prey.outside(check).trim() == "YES");
        if let Some((why, _)) = excused {
            println!("{name}: proves nothing here: {why}");
        }
        if !is_breach(&control) && excused.is_none() {
            problems.push(format!(
                "{name}: proves nothing, it fails outside: {control}"
            ));
        }
        let (finished, layers) = prey.inside(&sandbox, line).await;
        println!(
            "{name}: outside {}, inside {}",
            control.trim(),
            finished.output.trim()
        );
        if !matches!(finished.exit, Exit::Code(_)) || layers.len() < 4 {
            problems.push(format!("{name}: {:?}, {layers:?}", finished.exit));
        }
        if is_breach(&finished.output) {
            problems.push(format!("{name}: succeeds in a cell"));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert_eq!(geteuid().is_root(), sandbox.identity().is_some());
}

/// Processes of the machine with this on their command line.
fn running(words: &str) -> usize {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = pids.filter_map(|pid| std::fs::read(pid.path().join("cmdline")).ok());
    let texts = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    texts.filter(|text| text.starts_with(words)).count()
}

async fn gone(words: &str) {
    while running(words) > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Ends on its own where nobody ends it, and is told from all others by how long it takes.
fn long_sleep(nth: u32) -> String {
    format!("sleep 600.{}{nth}", std::process::id())
}

async fn in_a_bare_cell(line: &str, change: impl FnOnce(&mut Cell)) -> Finished {
    let tree = tempfile::tempdir().unwrap();
    let mut cell = cell(line, vec![Mount::read(tree.path(), TREE)]);
    change(&mut cell);
    sandbox().await.run(&cell).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_that_holds_the_output_holds_up_nothing_and_dies_with_the_cell() {
    for (nth, escape) in ["setsid", "setsid env -i", "setsid -f"].iter().enumerate() {
        let sleep = long_sleep(nth as u32);
        let line = format!("{escape} {sleep} & sleep 0.2; echo done");
        let finished = in_a_bare_cell(&line, |_| {}).await;
        assert_eq!(finished.exit, Exit::Code(0), "{}", finished.output);
        assert_eq!(finished.output, "done\n");
        gone(&sleep).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_never_ends_may_say_its_last_words_and_is_gone_with_all_it_started() {
    let sleep = long_sleep(7);
    let line = format!("setsid {sleep} & trap 'echo bye; exit' TERM; while :; do sleep 0.05; done");
    let finished = in_a_bare_cell(&line, |cell| {
        cell.timeout = Duration::from_secs(2);
        cell.grace = Duration::from_secs(60);
    })
    .await;
    assert_eq!(finished.exit, Exit::TimedOut { after_seconds: 2 });
    assert!(finished.output.ends_with("bye\n"), "{}", finished.output);
    gone(&sleep).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_goes_when_nobody_waits_for_it_any_more() {
    let sleep = long_sleep(8);
    let line = format!("setsid {sleep} & {sleep}");
    let run = tokio::spawn(async move { in_a_bare_cell(&line, |_| {}).await });
    while running(&sleep) < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    gone(&sleep).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_is_cut_in_the_middle() {
    let finished = in_a_bare_cell(
        "echo first; head -c 50000000 /dev/zero | tr '\\0' y; echo; echo last",
        |_| {},
    )
    .await;
    assert!(finished.output.starts_with("first\nyyy"));
    assert!(finished.output.ends_with("yyy\nlast\n"));
    assert!(finished.output.len() < 2 << 20 && finished.left_out > 40_000_000);
}

/// Python with so many children. What it does `before` they come they share; each does `then` and stays for a while.
struct Crowd {
    name: String,
    line: String,
}

impl Crowd {
    fn of(count: u32, before: &str, then: &str, seconds: u32) -> Crowd {
        let name = format!("# {before} {then} {}\n", std::process::id());
        let line = format!(
            "python3 -c '{name}import ctypes, os, time\n{before}\nfor _ in range({count}):\n  if os.fork() == 0:\n    {then}\n    \
             time.sleep({seconds})\n    os._exit(0)\nprint(\"they came\", flush=True)\nfor _ in range({count}): os.wait()\n\
             print(\"they went\")'"
        );
        Crowd { name, line }
    }

    async fn within(&self, mib: u64) -> Finished {
        let finished = in_a_bare_cell(&self.line, |cell| {
            cell.limits.total_memory_bytes = mib << 20;
            cell.limits.tmp_bytes = 1 << 30;
            cell.limits.file_bytes = 1 << 30;
            cell.limits.processes = 128;
        });
        let finished = finished.await;
        gone(&format!("python3 -c {}", self.name)).await;
        finished
    }

    async fn is_stopped_within(&self, mib: u64) {
        let finished = self.within(mib).await;
        assert!(finished.outgrown, "{}: {}", self.line, finished.output);
        assert_eq!(finished.exit, Exit::Signal(9));
    }

    async fn lives_within(&self, mib: u64) {
        let finished = self.within(mib).await;
        let said = (finished.outgrown, finished.exit, &finished.output[..]);
        let well = (false, Exit::Code(0), "they came\nthey went\n");
        assert_eq!(said, well, "{}", self.line);
    }
}

#[test]
fn a_crowd_of_small_processes_is_stopped_for_what_they_hold_together() {
    assert_passes(alone("sandbox::alone_crowds", None));
}

#[test]
fn so_is_a_crowd_of_an_ordinary_user() {
    assert_passes(alone("sandbox::alone_crowds", Some(NOBODY)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run in a process of its own, as root and as an ordinary user"]
async fn alone_crowds() {
    const HOLD: &str = "kept = b\"x\" * (100 << 20)";
    // Each may have five times as much.
    Crowd::of(30, "", HOLD, 600).is_stopped_within(1024).await;
    Crowd::of(5, "", HOLD, 2).lives_within(1024).await;
    Crowd::of(30, HOLD, "", 2).lives_within(1024).await;
    // Who may not be looked at is told by less.
    let shy = format!("ctypes.CDLL(None).prctl(4, 0); {HOLD}");
    Crowd::of(30, "", &shy, 600).is_stopped_within(1024).await;
    let file = "open(\"/tmp/large\", \"wb\").write(b\"x\" * (300 << 20))";
    Crowd::of(1, file, "", 600).is_stopped_within(200).await;
    Crowd::of(1, file, "", 2).lives_within(600).await;
    let map = "import mmap; kept = mmap.mmap(-1, 300 << 20); kept.write(b\"x\" * (300 << 20))";
    Crowd::of(9, map, "", 600).is_stopped_within(200).await;
    Crowd::of(9, map, "", 2).lives_within(600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suite_that_holds_too_much_together_is_stopped_and_told() {
    let mut world = orders::watched("").await;
    world.project("sandbox.total_memory_mib = 512");
    world.policy("trouble_wait_seconds = 0");
    world.test(&Crowd::of(30, "", "kept = b\"x\" * (100 << 20)", 600).line);
    orders::break_it(&world);
    let (story, _) = world.fix(&[]);
    let told = problem(&world).await.unwrap_or_else(|| panic!("{story:#}"));
    assert_eq!(
        told,
        "the command and its children used more than 512 MiB of memory together (sandbox.total_memory_mib)"
    );
    assert_eq!(world.processes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_of_every_language_run_in_a_cell() {
    let line = "python3 -c 'print(sum([1,2]))' && node -e 'console.log(3)' && git --version && cargo --version && \
                perl -e 'print 3' && id -un && python3 -c 'import socket; s=socket.create_server((\"127.0.0.1\",0)); \
                socket.create_connection(s.getsockname()); print(\"own loopback\")'";
    let finished = in_a_bare_cell(line, |cell| {
        cell.limits.memory_bytes = 2 << 30;
        let toolchains = changebus::outside::sandbox::rustup_home();
        let path = toolchains.map(|path| path.display().to_string());
        cell.env
            .extend(path.map(|path| ("RUSTUP_HOME".to_owned(), path)));
    })
    .await;
    assert_eq!(finished.exit, Exit::Code(0), "{}", finished.output);
    assert!(
        finished.output.contains("trial\nown loopback\n"),
        "{}",
        finished.output
    );
}

#[test]
fn without_bubblewrap_nothing_runs_and_it_is_told_what_to_install() {
    let path = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(which("git"), path.path().join("git")).unwrap();
    assert_refuses(
        |command| command.env("PATH", path.path()),
        "bubblewrap is not installed",
    );
}

#[test]
fn without_user_namespaces_nothing_runs_and_it_is_told_why() {
    let tight = [
        "--dev-bind",
        "/",
        "/",
        "--unshare-user",
        "--disable-userns",
        "--",
    ];
    let output = Command::new(which("bwrap"))
        .args(tight)
        .arg(program())
        .args(["check", "--offline"])
        .env("XDG_STATE_HOME", "/nonexistent")
        .output()
        .unwrap();
    let said = said(&output);
    assert!(
        said.contains("BAD sandbox: a sandbox cannot be built here"),
        "{said}"
    );
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut places = std::env::split_paths(&path).map(|dir| dir.join(program));
    places.find(|place| place.is_file()).unwrap()
}

/// Neither `fix` nor the daemon starts a test, and both say `why`.
fn assert_refuses(change: impl Fn(&mut Command) -> &mut Command, why: &str) {
    let place = tempfile::tempdir().unwrap();
    let (repo, ran) = (place.path().join("repo"), place.path().join("ran"));
    repository(&repo, "one");
    git(&repo, &["commit", "--quiet", "--allow-empty", "-m", "two"]);
    let test = format!("touch {}", ran.display());
    let config = place.path().join("changebus.toml");
    let text = format!(
        "[projects.app]\nrepo = {:?}\ntest = {test:?}\n",
        repo.display().to_string()
    );
    std::fs::write(&config, text).unwrap();
    let state = place.path().join("state");
    let verbs = [
        vec!["fix", repo.to_str().unwrap(), "--test", &test],
        vec!["run", "--config", config.to_str().unwrap()],
    ];
    for verb in verbs {
        let mut command = Command::new(program());
        command.args(&verb).arg("--state").arg(&state);
        let output = change(&mut command).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{verb:?}: {said}");
        assert!(said.contains(why), "{verb:?}: {said}");
        assert!(!ran.exists(), "{verb:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_without_a_sandbox_are_told_in_every_report_and_nothing_is_merged_on_them() {
    let mut world = orders::watched("").await;
    world.without_a_sandbox();
    orders::break_it(&world);
    let before = world.tip();
    let (story, code) = world.fix(&[]);
    assert_eq!((code, world.tip()), (4, before), "{story:#}");
    let reasons = story["verdict"]["reasons"].to_string();
    assert!(
        reasons.contains("its tests ran without a sandbox"),
        "{reasons}"
    );
    let reports = world
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event.fact {
            Fact::Tested { report, .. } => Some(report.sandbox.is_empty()),
            Fact::Tried { trial } => Some(trial.unsandboxed),
            _ => None,
        });
    let told: Vec<bool> = reports.collect();
    assert!(told.len() > 3 && told.iter().all(|told| *told), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_report_names_the_layers_that_held() {
    let world = orders::watched("").await;
    orders::break_it(&world);
    let (story, code) = world.fix(&[]);
    assert_eq!(code, 0, "{story:#}");
    let mut reports = world
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event.fact {
            Fact::Tested { report, .. } => Some(report.sandbox),
            _ => None,
        });
    let first = reports.next().unwrap();
    for layer in [
        Layer::Namespaces,
        Layer::Limits,
        Layer::Landlock,
        Layer::Seccomp,
    ] {
        assert!(first.contains(&layer), "{first:?}");
    }
    assert!(reports.all(|layers| layers == first));
}

#[test]
fn check_names_every_layer() {
    let output = Command::new(program())
        .args(["check", "--offline", "--state"])
        .arg(tempfile::tempdir().unwrap().path())
        .output()
        .unwrap();
    let said = said(&output);
    let layers = if geteuid().is_root() {
        "namespaces, identity, limits, landlock, seccomp"
    } else {
        "namespaces, limits, landlock, seccomp"
    };
    assert!(said.contains(&format!("ok  sandbox: {layers}")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fills_the_disk_is_stopped_and_told() {
    let mut world = orders::watched("").await;
    world.project("sandbox.disk_mib = 20");
    world.policy("trouble_wait_seconds = 0");
    // Many small files in the tree: no single one is too large, and none lies in /tmp.
    world.test("i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero >fill$i; done");
    orders::break_it(&world);
    let (story, _) = world.fix(&[]);
    let told = problem(&world).await.unwrap_or_else(|| panic!("{story:#}"));
    assert!(
        told.contains("wrote more than 20 MiB (sandbox.disk_mib)"),
        "{told}"
    );
}

/// Of the first report.
async fn problem(world: &World) -> Option<String> {
    let events = world.events().await;
    events.into_iter().find_map(|event| match event.fact {
        Fact::Tested { report, .. } => report.problem,
        _ => None,
    })
}
