//! The hub as a program.

use std::process::ExitCode;

/// glibc's allocator gives memory back only from the end of its heaps, so that what a burst took stays taken.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    wsc_hub::app::program::main()
}
