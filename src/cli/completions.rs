//! `promferry completions SHELL`

use clap::CommandFactory;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The shell to print completions for
    shell: clap_complete::Shell,
}

pub(super) fn main(arguments: Arguments) -> u8 {
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "promferry", &mut std::io::stdout());
    0
}
