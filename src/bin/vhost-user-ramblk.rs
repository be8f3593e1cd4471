//! The program `vhost-user-ramblk`: a vhost-user back end by QEMU's conventions.

use std::process::ExitCode;

fn main() -> ExitCode {
    ramblk::cli::vhost_user_ramblk()
}
