//! The `gatepost` program.

use std::process::ExitCode;

// Judging makes and drops many small values on several threads; benches/README.md has the difference that it makes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gatepost::cli::main()
}
