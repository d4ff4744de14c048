//! `changebus compile-plugin`: compiles one plugin for the daemon and ends. Nobody calls it by hand.
//!
//! Touches: terminal.
//! Change here: when the daemon should tell its compiler something more.

use std::path::PathBuf;

use super::ExitCode;
use crate::outside::wasm::{Layout, compile_here};

pub use crate::outside::wasm::COMPILE_VERB as VERB;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the code is left.
    #[arg(long)]
    cache: PathBuf,
    #[arg(long)]
    layout: Layout,
}

/// Reads the component from the standard input; says on the standard error why it does not compile.
pub fn run(args: &Args) -> ExitCode {
    match compile_here(&args.cache, args.layout, std::io::stdin().lock()) {
        Ok(()) => ExitCode::Ok,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::Failed
        }
    }
}
