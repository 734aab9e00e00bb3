//! The program `afferent`: reads the command line, runs one command, and says how it ended. Everything else is in the library.

use afferent_api::command::{self, CommandLine};
use std::process::ExitCode;

/// Decoding and columns allocate from many threads at once, which this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(command::main(CommandLine::read()).code())
}
