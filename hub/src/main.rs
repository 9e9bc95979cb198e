//! The hub as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    wsc_hub::app::program::main()
}
