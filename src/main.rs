//! The program `ramblk`; see [`ramblk::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ramblk::cli::ramblk()
}
