//! What ends while a disk is used: guests, machines, daemons, and connections between them.
//!
//! | file | what it is about |
//! |---|---|
//! | `restarts` | guests and machines restart |
//! | `sleep` | a guest is suspended and resumed |
//! | `hotplug` | disks and memory come and go |
//! | `command` | a disk that lives as long as its machine |
//! | `shutdown` | ramblk is told to stop |
//! | `kills` | the daemon is killed under a file system |
//! | `orders` | guest, machine and daemon end in every order |
//! | `libvirt` | libvirt makes the disks of a domain, and ends them with it |

mod command;
mod hotplug;
mod kills;
mod libvirt;
mod orders;
mod restarts;
mod shutdown;
mod sleep;
