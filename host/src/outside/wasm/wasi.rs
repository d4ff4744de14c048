//! The little of WASI that a plain wasip2 guest cannot start without: an empty environment and a console.
//!
//! Touches: wasm.
//! Change here: when toolchains need another harmless interface just to start. Clocks, random numbers, files
//! and sockets stay out: a guest must do the same thing every time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliCtxView};
use wasmtime_wasi::p2::bindings::cli;
use wasmtime_wasi_io::bindings::wasi::io;

use super::imports::State;
use super::log::LogBook;
use super::task::LogLevel;

/// Longest line of a console that is put together before it is passed on.
const LINE: usize = 4 << 10;

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// Lets a guest find `wasi:io` and `wasi:cli`, and nothing else of WASI.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    io::error::add_to_linker::<_, Io>(linker, |state| &mut state.table)?;
    io::poll::add_to_linker::<_, Io>(linker, |state| &mut state.table)?;
    io::streams::add_to_linker::<_, Io>(linker, |state| &mut state.table)?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, console)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, console)?;
    cli::stdin::add_to_linker::<_, WasiCli>(linker, console)?;
    cli::stdout::add_to_linker::<_, WasiCli>(linker, console)?;
    cli::stderr::add_to_linker::<_, WasiCli>(linker, console)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, console)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, console)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, console)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, console)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, console)
}

/// No arguments, no variables, no input; what the guest prints becomes log lines.
pub fn context(book: &Arc<LogBook>) -> WasiCtx {
    WasiCtx::builder()
        .stdout(Console {
            book: Arc::clone(book),
            level: LogLevel::Info,
        })
        .stderr(Console {
            book: Arc::clone(book),
            level: LogLevel::Error,
        })
        .build()
}

fn console(state: &mut State) -> WasiCliCtxView<'_> {
    WasiCliCtxView {
        ctx: state.wasi.cli(),
        table: &mut state.table,
    }
}

struct Console {
    book: Arc<LogBook>,
    level: LogLevel,
}

impl IsTerminal for Console {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Console {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Lines {
            book: Arc::clone(&self.book),
            level: self.level,
            line: Vec::new(),
        })
    }
}

/// Cuts a stream of bytes into log lines.
struct Lines {
    book: Arc<LogBook>,
    level: LogLevel,
    line: Vec<u8>,
}

impl Lines {
    fn push(&mut self, byte: u8) {
        if byte != b'\n' {
            self.line.push(byte);
        }
        if byte == b'\n' || self.line.len() >= LINE {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() && !text.starts_with("note: run with `RUST_BACKTRACE") {
            self.book.write(self.level, &text, &[]);
        }
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        bytes.iter().for_each(|byte| self.push(*byte));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.end_line();
        Poll::Ready(Ok(()))
    }
}
