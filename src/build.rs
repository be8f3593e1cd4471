//! The build script: turns `RAMBLK_TEST`, a list of switches with commas between them, into cfgs
//! for the library and its tests. They are no cargo features, so that `--all-features` is something
//! to ship.
//!
//! | switch | cfg | what it does |
//! |---|---|---|
//! | `hooks` | `ramblk_hooks` | points at which a test has the process killed or fail, and the rings and sessions that the fuzz targets drive; all of it waits for a variable or a call |
//! | `schedules` | `ramblk_schedules` | locks and atomics are those of a scheduler that tries out interleavings; needs the feature `shuttle` |
//! | `null` | `ramblk_null` | disks move no bytes: what a request costs then is what rings and look-ups cost |
//!
//! Without the variable an unoptimised build has the hooks, and an optimised one has nothing. So
//! nearly all tests share one build of the library, whatever was built before.
#![allow(clippy::panic, reason = "that is how a build script fails")]

const SWITCHES: [&str; 3] = ["hooks", "schedules", "null"];

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed=RAMBLK_TEST");
    for switch in SWITCHES {
        println!("cargo::rustc-check-cfg=cfg(ramblk_{switch})");
    }
    let wanted = std::env::var("RAMBLK_TEST").unwrap_or_else(|_| {
        let is_optimised = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
        if is_optimised { "" } else { "hooks" }.to_owned()
    });
    for switch in wanted.split(',').filter(|switch| !switch.is_empty()) {
        assert!(
            SWITCHES.contains(&switch),
            "RAMBLK_TEST: what is {switch:?}? There are {SWITCHES:?}"
        );
        println!("cargo::rustc-cfg=ramblk_{switch}");
    }
}
