//! Parses the arguments, runs the command, turns its outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use terrarium::cli::Cli;

/// Requests allocate small things on every core; this allocator is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    terrarium::cli::run(Cli::parse())
}
