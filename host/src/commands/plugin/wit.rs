//! `changebus plugin wit`: the interface packages of this host, for tools of any language.
//!
//! Touches: files, terminal.
//! Change here: when the packages are laid out otherwise.

use std::path::PathBuf;

use anyhow::bail;

use super::carried;
use crate::commands::ExitCode;

/// Where the packages stand in the carried sources; a directory of an author's world has them at the same place.
const PACKAGES: &str = "wit/deps/";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory to lay them into, as `deps/`; your own world goes beside it.
    #[arg(default_value = "wit")]
    dir: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let deps = args.dir.join("deps");
    if deps.exists() {
        bail!(
            "{}: is there already; remove it first, or name another directory",
            deps.display()
        );
    }
    let packages = carried::FILES
        .iter()
        .filter_map(|(path, text)| Some((path.strip_prefix(PACKAGES)?, text)));
    for (path, text) in packages {
        carried::lay(&deps.join(path), text)?;
    }
    println!(
        "{}: the packages; write the world of your plugin beside it, such as {}:",
        deps.display(),
        args.dir.join("world.wit").display()
    );
    println!("    package mine:plugin;");
    println!("    world plugin {{");
    println!("      import changebus:host/workspace@0.1.1;    // what it uses, and no more");
    println!(
        "      export changebus:strategy/fix@0.1.1;      // or scorer/judge, or escalation/gate"
    );
    println!("    }}");
    Ok(ExitCode::Ok)
}
