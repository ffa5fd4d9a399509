//! Arguments in, exit code out.

mod system;

use std::process::ExitCode;

fn main() -> ExitCode {
    system::raise_open_files();
    promferry::cli::main(system::give_back)
}
