//! The back ends that are compared, each a process of its own.

use std::cell::Cell;
use std::fs::{self, File, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Settings;
use crate::generator::SPAN_BYTES;
use crate::measure::Failure;
use crate::place::{BACK_END_CPU, pinned};

/// A peer that serves a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// This program.
    Ramblk,
    /// The same, built so that disks move no bytes.
    RamblkUnmoved,
    /// qemu-storage-daemon on a null disk, which moves no bytes.
    NullCo,
    /// qemu-storage-daemon on a raw file on a tmpfs.
    File,
    /// A back end made of the rust-vmm crates: see `stock`.
    Stock,
    /// The same over a disk that moves no bytes.
    StockUnmoved,
}

/// A running back end, killed when dropped.
#[derive(Debug)]
pub(crate) struct BackEnd {
    child: Child,
    folder: TempDir,
    socket: PathBuf,
    /// Whether its disk has been written.
    filled: Cell<bool>,
}

/// Where the file of [`Peer::File`] lies: a tmpfs on every Linux.
const TMPFS: &str = "/dev/shm";

const LISTENS_WITHIN: Duration = Duration::from_secs(10);

impl BackEnd {
    /// Start a back end with a disk of 256 MiB. `more` are options of `ramblk run`.
    pub(crate) fn start(peer: Peer, settings: &Settings, more: &[&str]) -> Result<Self, Failure> {
        let folder = if peer == Peer::File {
            TempDir::new_in(TMPFS)?
        } else {
            TempDir::new()?
        };
        let socket = folder.path().join("vhost.sock");
        let mut command = command(peer, settings, folder.path(), &socket)?;
        if matches!(peer, Peer::Ramblk | Peer::RamblkUnmoved) {
            command.args(more);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(folder.path().join("stderr"))?);
        let child = pinned(BACK_END_CPU, || command.spawn())?
            .map_err(|error| format!("can't start {command:?}: {error}"))?;
        let mut back_end = Self {
            child,
            folder,
            socket,
            filled: Cell::new(matches!(
                peer,
                Peer::RamblkUnmoved | Peer::NullCo | Peer::StockUnmoved
            )),
        };
        let deadline = Instant::now() + LISTENS_WITHIN;
        while !back_end.listens()? {
            if back_end.child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(format!("{peer:?} does not listen: {}", back_end.stderr()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(back_end)
    }

    /// The kernel marks listening Unix sockets with the flag SO_ACCEPTCON. A connection instead
    /// would be one front end too many for back ends that serve only one.
    fn listens(&self) -> Result<bool, Failure> {
        let path = self.socket.to_string_lossy();
        let table = read_to_string("/proc/net/unix")?;
        Ok(table.lines().any(|line| {
            line.ends_with(&*path) && line.split_whitespace().nth(3) == Some("00010000")
        }))
    }

    fn stderr(&self) -> String {
        let said = read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
        said.trim().replace('\n', "; ")
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether the disk still needs filling. Returns true once: the caller fills it.
    pub(crate) fn wants_filling(&self) -> bool {
        !self.filled.replace(true)
    }

    /// How often its threads have gone to sleep.
    pub(crate) fn wake_ups(&self) -> Result<u64, Failure> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let status = read_to_string(task?.path().join("status"))?;
            let count = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sum += count.ok_or("no count of switches")?.trim().parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Whether most of its shared memory is in huge pages.
    pub(crate) fn has_huge_pages(&self) -> Result<bool, Failure> {
        let maps = read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let kib = maps
            .lines()
            .find_map(|line| line.strip_prefix("ShmemPmdMapped:"));
        let kib = kib.and_then(|text| text.trim().strip_suffix(" kB"));
        let kib: u64 = kib.map_or(Ok(0), str::parse)?;
        Ok(kib << 10 > SPAN_BYTES / 2)
    }
}

impl Drop for BackEnd {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(
    peer: Peer,
    settings: &Settings,
    folder: &Path,
    socket: &Path,
) -> Result<Command, Failure> {
    let unmoved = || {
        let missing = "there is no build that moves no bytes; run this by scripts/bench peers";
        settings.unmoved.as_ref().ok_or(missing)
    };
    let size = SPAN_BYTES.to_string();
    let ramblk = |program: &Path| {
        let mut command = Command::new(program);
        command
            .args(["run", "--size", &size, "--socket-path"])
            .arg(socket);
        command
    };
    let stock = |program: &Path| {
        let mut command = Command::new(program);
        command.arg("--stock").arg(socket);
        command
    };
    Ok(match peer {
        Peer::Ramblk => ramblk(&settings.ramblk),
        Peer::RamblkUnmoved => ramblk(&unmoved()?.ramblk),
        Peer::NullCo => storage_daemon(&format!("driver=null-co,node-name=d,size={size}"), socket),
        Peer::File => {
            let file = folder.join("disk.raw");
            File::create(&file)?.set_len(SPAN_BYTES)?;
            let file = file.display();
            let node = format!("driver=raw,node-name=d,file.driver=file,file.filename={file}");
            storage_daemon(&node, socket)
        }
        Peer::Stock => stock(&std::env::current_exe()?),
        Peer::StockUnmoved => stock(&unmoved()?.peers),
    })
}

/// As its manual starts it. An I/O thread makes little difference, since it does not poll for
/// kicks.
fn storage_daemon(node: &str, socket: &Path) -> Command {
    let mut command = Command::new("qemu-storage-daemon");
    command.args(["--blockdev", node, "--export"]);
    command.arg(format!(
        "type=vhost-user-blk,id=e,node-name=d,writable=on,num-queues=2,\
         addr.type=unix,addr.path={}",
        socket.display()
    ));
    command
}
