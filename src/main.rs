//! Arguments in, exit code out.

mod startup_pages;

use std::process::ExitCode;

fn main() -> ExitCode {
    promferry::cli::main(startup_pages::give_back)
}
