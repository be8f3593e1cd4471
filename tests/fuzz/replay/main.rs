//! Replays the kept inputs of the fuzz targets without the fuzzer, in seconds.
//!
//! To create the seeds of a corpus anew, without a corpus:
//! `FUZZ_SEEDS=FOLDER cargo test --test fuzz seeds`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[cfg(not(ramblk_rings))]
compile_error!("an optimised build has no rings with public names: set RAMBLK_TEST=rings");

#[path = "../checks/mod.rs"]
mod checks;
mod images;
mod seeds;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use checks::reached::Reached;

/// The number of panics so far, including caught ones.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            before(info);
        }));
    });
}

/// Run a target alone, until its thread has ended: targets inspect descriptors and mappings of the
/// whole process.
fn alone<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, run);
        thread.unwrap().join()
    })
    .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// The files of a folder, by name; none if there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Replay all kept inputs of a target, and return what they led to.
fn replay(target: &str, check: fn(&[u8]) -> Reached) -> BTreeSet<&'static str> {
    watch_for_panics();
    alone(|| replay_all(target, check))
}

fn replay_all(target: &str, check: fn(&[u8]) -> Reached) -> BTreeSet<&'static str> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let corpus = files(&root.join("corpus").join(target));
    assert!(!corpus.is_empty(), "nothing was kept for {target}");
    let regressions = files(&root.join("regressions").join(target));
    let before = PANICS.load(Ordering::Relaxed);
    let mut reached = BTreeSet::new();
    for file in corpus.iter().chain(&regressions) {
        let input = fs::read(file).unwrap();
        let result = std::panic::catch_unwind(|| check(&input));
        let result = result.unwrap_or_else(|_| panic!("{} fails", file.display()));
        reached.extend(result.names());
        // A panic that a worker caught is a bug as well.
        let panics = PANICS.load(Ordering::Relaxed) - before;
        assert_eq!(panics, 0, "{}", file.display());
    }
    reached
}

#[test]
fn kept_requests_reach_each_status() {
    let reached = replay("request", checks::request::check);
    let wanted = ["OK", "IOERR", "UNSUPP", "no status", "out of memory"];
    assert_eq!(reached, BTreeSet::from(wanted));
}

#[test]
fn kept_rings_are_served_and_fail_in_each_way() {
    let reached = replay("ring", checks::ring::check);
    let wanted = [
        "Address",
        "AvailJump",
        "Head",
        "IndirectNext",
        "IndirectTable",
        "Nested",
        "Next",
        "Size",
        "TooLong",
        "called",
        "continued",
        "damaged",
        "most at once",
        "not called",
        "plain read",
        "plain read in a table",
        "plain write",
        "plain write in a table",
        "served",
        "several at once",
    ];
    assert_eq!(reached, BTreeSet::from(wanted));
}

#[test]
fn kept_regions_are_recovered_and_refused_in_each_way() {
    let reached = replay("inflight", checks::inflight::check);
    let wanted = [
        "AvailJump",
        "Head",
        "Shape",
        "Size",
        "Version",
        "clean",
        "completed",
        "killed",
        "killed amid several",
        "made",
        "opened",
        "other",
        "recovered",
        "several at once",
    ];
    assert_eq!(reached, BTreeSet::from(wanted));
}

#[test]
fn kept_conversations_have_every_option_and_command() {
    let reached = replay("nbd", checks::nbd::check);
    let wanted = [
        "ABORT",
        "BLOCK_STATUS",
        "CACHE",
        "EINVAL",
        "EIO",
        "ENOSPC",
        "EPERM",
        "ERR_INVALID",
        "ERR_UNKNOWN",
        "ERR_UNSUP",
        "EXPORT_NAME",
        "FLUSH",
        "GO",
        "INFO",
        "LIST",
        "LIST_META_CONTEXT",
        "OFFSET_HOLE",
        "READ",
        "SET_META_CONTEXT",
        "STRUCTURED_REPLY",
        "TRIM",
        "WRITE",
        "WRITE_ZEROES",
        "client flags",
        "cut off",
        "dirty bitmap",
        "left",
        "magic",
        "no export",
    ];
    for name in wanted {
        assert!(reached.contains(name), "no kept conversation has {name}");
    }
}

#[test]
fn kept_qcow2_images_are_read_and_refused_in_each_way() {
    let reached = replay("qcow2", checks::image::qcow2);
    let wanted = [
        "base",
        "compressed",
        "damaged",
        "data",
        "large",
        "read",
        "unsupported",
        "zeros",
    ];
    assert_eq!(reached, BTreeSet::from(wanted));
}

#[test]
fn kept_frames_are_read_as_they_are_decompressed() {
    let reached = replay("frames", checks::image::frames);
    let wanted = ["a change", "a stream", "damaged", "large", "read", "whole"];
    assert_eq!(reached, BTreeSet::from(wanted));
}

#[test]
fn kept_sessions_take_every_message_that_is_offered() {
    let reached = replay("session", checks::session::check);
    let wanted = [
        "ADD_MEM_REG",
        "CHECK_DEVICE_STATE",
        "GET_CONFIG",
        "GET_FEATURES",
        "GET_INFLIGHT_FD",
        "GET_MAX_MEM_SLOTS",
        "GET_PROTOCOL_FEATURES",
        "GET_QUEUE_NUM",
        "GET_VRING_BASE",
        "REM_MEM_REG",
        "RESET_DEVICE",
        "RESET_OWNER",
        "SET_BACKEND_REQ_FD",
        "SET_CONFIG",
        "SET_DEVICE_STATE_FD",
        "SET_FEATURES",
        "SET_INFLIGHT_FD",
        "SET_MEM_TABLE",
        "SET_OWNER",
        "SET_PROTOCOL_FEATURES",
        "SET_VRING_ADDR",
        "SET_VRING_BASE",
        "SET_VRING_CALL",
        "SET_VRING_ENABLE",
        "SET_VRING_ERR",
        "SET_VRING_KICK",
        "SET_VRING_NUM",
        "refused",
        "served",
    ];
    for name in wanted {
        assert!(reached.contains(name), "no kept session has {name}");
    }
}
