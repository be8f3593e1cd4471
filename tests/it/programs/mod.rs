//! The programs as processes: options and exit codes, and what they have of their machine.
//!
//! | file | what it is about |
//! |---|---|
//! | `cli` | options, exit codes, sockets, signals |
//! | `image` | raw images on disks |
//! | `bench` | `ramblk bench` |
//! | `hosts` | limits, full logs, missing descriptors |
//! | `removed` | sockets, directories and files that others remove |
//! | `package` | what packages install |
//! | `many` | many disks in one process |

mod bench;
mod cli;
mod hosts;
mod image;
mod many;
mod package;
mod removed;
