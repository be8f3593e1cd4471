//! Machines, firmware and kernels: how each finds the disk, and what it sees of it.
//!
//! | file | what it is about |
//! |---|---|
//! | `geometry` | size, serial, blocks and queues, as Linux sees them |
//! | `rings` | rings of several sizes and numbers |
//! | `microvm` | a disk on virtio-mmio |
//! | `boot` | a PC's firmware boots from the disk |
//! | `uefi` | so do UEFI and GRUB |
//! | `uboot` | U-Boot on arm64 |
//! | `kexec` | a kernel that starts another one |
//! | `fleet` | ten machines on forks of one disk, as the README has them |

mod boot;
mod fleet;
mod geometry;
mod kexec;
mod microvm;
mod rings;
mod uboot;
mod uefi;
