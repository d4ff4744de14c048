//! `changebus drain`: this host takes nothing new, and gives back what it has as soon as nothing is under way in it.
//!
//! Touches: files, terminal.
//! Change here: when a host should be emptied otherwise. Who looks at the file is `fleet/keep.rs`.

use anyhow::Context;

use super::ExitCode;
use crate::config::{BusKind, Config};
use crate::fleet;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take projects again.
    #[arg(long)]
    off: bool,
    /// For whoever wonders.
    #[arg(long, default_value = "")]
    reason: String,
}

pub fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    if config.bus.kind == BusKind::Embedded {
        anyhow::bail!(
            "bus.kind is \"embedded\": there is no other host that could take this one's projects"
        );
    }
    let file = fleet::drain_file(&config.host.state);
    let shown = file.display();
    if args.off {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {shown}"));
            }
            _ => eprintln!("this host takes projects again"),
        }
    } else {
        std::fs::write(&file, &args.reason).with_context(|| format!("writing {shown}"))?;
        eprintln!("this host takes nothing new; `changebus drain --off` takes it back");
    }
    Ok(ExitCode::Ok)
}
