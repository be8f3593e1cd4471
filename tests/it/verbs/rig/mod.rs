//! Disks that fail on command, or go back.

mod faults;
mod history;
mod power;
mod sanitize;
