//! Tries whether cells can be built on this machine, before anything depends on it.
//!
//! Touches: files, processes.
//! Change here: when a cell needs something else of the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Cell, From, Limits, Mount, NoSandbox, Sandbox, TREE};
use crate::event::{Exit, Layer};

/// Kept of what a proof says.
const OUTPUT: usize = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(30);

impl Sandbox {
    /// Builds a cell and runs nothing in it; the layers that hold on this machine.
    ///
    /// # Errors
    /// Where it cannot be built, with the words of whoever failed.
    pub async fn prove(&self) -> Result<BTreeSet<Layer>, NoSandbox> {
        let place = tempfile::tempdir().map_err(no_place)?;
        self.try_out("exit 0", Mount::read(place.path(), TREE))
            .await
    }

    /// Whether a directory below `dir` can show through and be written over without being changed.
    ///
    /// # Errors
    /// Where it cannot, with the words of whoever failed.
    pub async fn prove_overlay(&self, dir: &Path) -> Result<(), NoSandbox> {
        let place = tempfile::Builder::new()
            .prefix(".overlay-")
            .tempdir_in(dir)
            .map_err(no_place)?;
        self.lay_out(place.path()).map_err(no_place)?;
        let at = |name: &str| place.path().join(name);
        let mount = Mount {
            from: From::Overlay {
                lower: at("lower"),
                upper: at("upper"),
                work: at("work"),
            },
            to: TREE.into(),
            writable: true,
        };
        let line = "echo more >>kept && rm gone && mkdir new && [ $(wc -l <kept) = 2 ]";
        self.try_out(line, mount).await?;
        let kept = std::fs::read(at("lower/kept")).map_err(no_place)?;
        if kept != b"one\n" || !at("lower/gone").exists() {
            let why = "what shows through an overlay was changed".into();
            return Err(NoSandbox::NotBuilt { why });
        }
        Ok(())
    }

    fn lay_out(&self, place: &Path) -> io::Result<()> {
        let names = ["lower", "upper", "work"];
        for name in names {
            std::fs::create_dir(place.join(name))?;
        }
        let files = ["lower/kept", "lower/gone"];
        for name in files {
            std::fs::write(place.join(name), "one\n")?;
        }
        let Some(user) = self.identity() else {
            return Ok(());
        };
        let mut all = names.iter().chain(&files);
        all.try_for_each(|name| std::os::unix::fs::lchown(place.join(name), Some(user), Some(user)))
    }

    async fn try_out(&self, line: &str, mount: Mount) -> Result<BTreeSet<Layer>, NoSandbox> {
        let path = std::env::var("PATH").map(|path| ("PATH".to_owned(), path));
        let cell = Cell {
            line: line.into(),
            mounts: vec![mount],
            env: BTreeMap::from_iter(path),
            network: false,
            limits: Limits {
                memory_bytes: 1 << 30,
                total_memory_bytes: 1 << 30,
                processes: 64,
                file_bytes: 1 << 20,
                tmp_bytes: 1 << 20,
            },
            timeout: PATIENCE,
            grace: Duration::from_secs(1),
            output_bytes: OUTPUT,
        };
        let (finished, layers) = self.run(&cell).await;
        match finished.exit {
            Exit::Code(0) => Ok(layers),
            Exit::NotStarted => Err(NoSandbox::NotBuilt {
                why: finished.output,
            }),
            exit => Err(NoSandbox::NotBuilt {
                why: format!("trying it ended with {exit}: {}", finished.output),
            }),
        }
    }
}

fn no_place(error: io::Error) -> NoSandbox {
    NoSandbox::NotBuilt {
        why: format!("no place to try it in: {error}"),
    }
}
