//! Looking at a host where virtual machines use disks of ramblk (`ramblk doctor`): what is missing,
//! what is slower than it could be, and what to do. Nothing is changed.
//!
//! Each function reads below a root, which is `/`, or another directory in tests.
//!
//! | file | what it holds |
//! |---|---|
//! | `files` | small files below the root |
//! | `kernel` | KVM, and what the kernel has for sandboxes |
//! | `memory` | huge pages, memory, and limits of control groups and of this user |
//! | `monitors` | virtual machine monitors that are installed, and what each needs |
//! | `guests` | the memory of virtual machines that have a disk now |

mod files;
mod guests;
mod kernel;
mod memory;
mod monitors;

use std::path::Path;

use super::check::diagnosis::Diagnosis;

pub use guests::Attached;

/// What is found on this host. `attached` are the front ends that are connected to disks now.
pub fn doctor(attached: &[Attached]) -> Vec<Diagnosis> {
    let root = Path::new("/");
    let mut found = kernel::look(root);
    found.extend(memory::look(root));
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(monitors::look(&path));
    found.extend(guests::look(root, attached));
    found
}
