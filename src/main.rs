//! Arguments in, exit code out.

mod system;

use std::process::ExitCode;

fn main() -> ExitCode {
    system::raise_open_files();
    promferry::cli::main(promferry::cli::System {
        give_back: system::give_back,
        terminal_size: system::terminal_size,
        set_keys: system::set_keys,
        stop: system::stop,
    })
}
