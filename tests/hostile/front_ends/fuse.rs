//! A file system that opens files and never answers a read. A front end can mount one with
//! `fusermount3`, without any privilege. Here the test is root, and mounts it itself.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

/// The size that its one file claims.
const FILE_BYTES: u64 = 1 << 30;
const ENOSYS: i32 = 38;

/// Operations of the kernel's protocol.
mod op {
    pub(super) const LOOKUP: u32 = 1;
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const STATFS: u32 = 17;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const POLL: u32 = 40;
}

/// The mounted file system.
pub(crate) struct Hanging {
    folder: TempDir,
    /// Number of waiting reads and polls.
    waiting: Arc<AtomicUsize>,
}

impl Hanging {
    /// `None` if this process may not mount one.
    pub(crate) fn mount() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mut options = OpenOptions::new();
        let device = options.read(true).write(true).open("/dev/fuse").ok()?;
        let status = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o"])
            .arg("fd=0,rootmode=40000,user_id=0,group_id=0,allow_other")
            .arg("hanging")
            .arg(folder.path())
            .stdin(Stdio::from(device.try_clone().unwrap()))
            .stderr(Stdio::null())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            return None;
        }
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&waiting);
        std::thread::spawn(move || serve(&device, &counted));
        Some(Self { folder, waiting })
    }

    /// Its file, which everyone may open.
    pub(crate) fn file(&self) -> File {
        let path = self.folder.path().join("memory");
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(path).unwrap()
    }

    /// Number of requests that wait for an answer that never comes.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // `-f` ends the waiting requests, and with them the server.
        let words = ["-f", "-l"];
        let mut umount = Command::new("umount");
        let _ = umount.args(words).arg(self.folder.path()).status();
    }
}

fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|it| it.to_ne_bytes()).collect()
}

fn halves(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|it| it.to_ne_bytes()).collect()
}

/// What `stat` shows of a node.
fn attributes(node: u64) -> Vec<u8> {
    let mode = if node == 1 { 0o40_755 } else { 0o100_666 };
    let long = words(&[node, FILE_BYTES, FILE_BYTES / 512, 0, 0, 0]);
    [long, halves(&[0, 0, 0, mode, 1, 0, 0, 0, 4096, 0])].concat()
}

/// Answer until the file system is unmounted.
fn serve(device: &File, waiting: &AtomicUsize) {
    let mut request = vec![0; 1 << 20];
    while let Ok(count) = { device }.read(&mut request) {
        if count < 40 {
            continue;
        }
        let u32_at = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| request[at + i]));
        let u64_at = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| request[at + i]));
        let (operation, unique, node) = (u32_at(4), u64_at(8), u64_at(16));
        let answer = match operation {
            op::FORGET | op::INTERRUPT => continue,
            op::READ | op::POLL => {
                waiting.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            op::INIT => Ok(halves(&[
                7, 31, 0, 0, 0, 4096, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ])),
            op::LOOKUP => Ok([words(&[2, 0, 9, 9]), halves(&[0, 0]), attributes(2)].concat()),
            op::GETATTR => Ok([words(&[9]), halves(&[0, 0]), attributes(node)].concat()),
            op::OPEN => Ok(words(&[0, 0])),
            op::STATFS => Ok([
                words(&[0; 5]),
                halves(&[4096, 255, 4096, 0, 0, 0, 0, 0, 0, 0]),
            ]
            .concat()),
            op::FLUSH | op::RELEASE => Ok(Vec::new()),
            _ => Err(ENOSYS),
        };
        let (error, body) = answer.map_or_else(|errno| (-errno, Vec::new()), |body| (0, body));
        let len = u32::try_from(16 + body.len()).unwrap();
        let head = [
            halves(&[len]),
            error.to_ne_bytes().to_vec(),
            words(&[unique]),
        ]
        .concat();
        if rustix::io::write(device, &[head, body].concat()).is_err() {
            // An interrupted request does not end the server.
            continue;
        }
    }
}
