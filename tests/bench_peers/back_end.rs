//! The back ends that are compared, each a process of its own.

use std::cell::Cell;
use std::fs::{self, File, read_to_string};
use std::os::unix::net::UnixStream;
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
    /// qemu-storage-daemon in front of nbdkit's memory, by its NBD client.
    Nbdkit,
    /// A program that the caller names.
    Other,
    /// A back end made of the rust-vmm crates: see `stock`.
    Stock,
    /// The same over a disk that moves no bytes.
    StockUnmoved,
}

impl Peer {
    /// Whether reads find what was written.
    fn moves_bytes(self) -> bool {
        !matches!(
            self,
            Self::NullCo | Self::RamblkUnmoved | Self::StockUnmoved
        )
    }
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) peer: Peer,
    /// The program of [`Peer::Ramblk`], [`Peer::Stock`] and their kind, and of [`Peer::Other`].
    pub(crate) program: &'a Path,
    /// Further options of `ramblk run` or `ramblk serve`, and all of [`Peer::Other`].
    pub(crate) options: &'a [String],
    /// Disks of 256 MiB, each with a socket of its own.
    pub(crate) disks: usize,
    /// The processor that it must run on; `None` for any.
    pub(crate) cpu: Option<usize>,
}

/// A running back end, killed when dropped.
#[derive(Debug)]
pub(crate) struct BackEnd {
    child: Child,
    /// A process that it needs, and that ends after it.
    _before: Option<Needed>,
    folder: TempDir,
    sockets: Vec<PathBuf>,
    /// Whether its disks have been written.
    filled: Cell<bool>,
}

/// Where the file of [`Peer::File`] lies: a tmpfs on every Linux.
const TMPFS: &str = "/dev/shm";

const LISTENS_WITHIN: Duration = Duration::from_secs(10);

impl BackEnd {
    /// Start a back end with one disk, on the processor of back ends. `more` are options of
    /// `ramblk run`.
    pub(crate) fn start(peer: Peer, settings: &Settings, more: &[&str]) -> Result<Self, Failure> {
        let unmoved = || {
            let missing = "there is no build that moves no bytes; run this by scripts/bench peers";
            settings.unmoved.as_ref().ok_or(missing)
        };
        let own = std::env::current_exe()?;
        let program = match peer {
            Peer::RamblkUnmoved => &unmoved()?.ramblk,
            Peer::StockUnmoved => &unmoved()?.peers,
            Peer::Stock => &own,
            _ => &settings.ramblk,
        };
        let options: Vec<String> = more.iter().map(ToString::to_string).collect();
        Self::launch(&Start {
            peer,
            program,
            options: &options,
            disks: 1,
            cpu: Some(BACK_END_CPU),
        })
    }

    /// Start a back end, and wait until it listens.
    pub(crate) fn launch(start: &Start<'_>) -> Result<Self, Failure> {
        if start.disks > 1 && matches!(start.peer, Peer::Nbdkit | Peer::Other) {
            return Err(format!("{:?} has one disk: leave it out of this row", start.peer).into());
        }
        let folder = if start.peer == Peer::File {
            TempDir::new_in(TMPFS)?
        } else {
            TempDir::new()?
        };
        let sockets = sockets(folder.path(), start.disks);
        let before = nbdkit(start, folder.path())?;
        let mut command = command(start, folder.path(), &sockets)?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(folder.path().join("stderr"))?);
        let child = match start.cpu {
            Some(cpu) => pinned(cpu, || command.spawn())?,
            None => command.spawn(),
        };
        let child = child.map_err(|error| format!("can't start {command:?}: {error}"))?;
        let mut back_end = Self {
            child,
            _before: before,
            folder,
            sockets,
            filled: Cell::new(!start.peer.moves_bytes()),
        };
        let deadline = Instant::now() + LISTENS_WITHIN;
        while !back_end.listens()? {
            if back_end.child.try_wait()?.is_some() || Instant::now() > deadline {
                let said = back_end.stderr();
                return Err(format!("{command:?} does not listen: {said}").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(back_end)
    }

    /// The kernel marks listening Unix sockets with the flag SO_ACCEPTCON. A connection instead
    /// would be one front end too many for back ends that serve only one.
    fn listens(&self) -> Result<bool, Failure> {
        let table = read_to_string("/proc/net/unix")?;
        Ok(self.sockets.iter().all(|socket| {
            let path = socket.to_string_lossy();
            table.lines().any(|line| {
                line.ends_with(&*path) && line.split_whitespace().nth(3) == Some("00010000")
            })
        }))
    }

    fn stderr(&self) -> String {
        let said = read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
        said.trim().replace('\n', "; ")
    }

    /// The socket of its first disk.
    pub(crate) fn socket(&self) -> &Path {
        &self.sockets[0]
    }

    /// The sockets of all its disks.
    pub(crate) fn sockets(&self) -> &[PathBuf] {
        &self.sockets
    }

    /// Whether the disks still need filling. Returns true once: the caller fills them.
    pub(crate) fn wants_filling(&self) -> bool {
        !self.filled.replace(true)
    }

    /// How often its threads have gone to sleep.
    pub(crate) fn wake_ups(&self) -> Result<u64, Failure> {
        self.sum_of_threads("status", |status| {
            let count = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            count.and_then(|count| count.trim().parse().ok())
        })
    }

    /// Processor time of its threads, user and system, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64, Failure> {
        self.sum_of_threads("schedstat", |text| {
            text.split_whitespace().next()?.parse().ok()
        })
    }

    fn sum_of_threads(&self, file: &str, of: fn(&str) -> Option<u64>) -> Result<u64, Failure> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = read_to_string(task?.path().join(file))?;
            sum += of(&text).ok_or_else(|| format!("no figure in a thread's {file}"))?;
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

/// A process that a back end needs, killed when dropped.
#[derive(Debug)]
struct Needed(Child);

impl Drop for Needed {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a back end in this folder listens. `ramblk serve` has a folder for each disk.
fn sockets(folder: &Path, disks: usize) -> Vec<PathBuf> {
    match disks {
        1 => vec![folder.join("vhost.sock")],
        _ => (0..disks)
            .map(|disk| folder.join(format!("disk-{disk}/vhost.sock")))
            .collect(),
    }
}

fn command(start: &Start<'_>, folder: &Path, sockets: &[PathBuf]) -> Result<Command, Failure> {
    let mut command = Command::new(start.program);
    let several = sockets.len() > 1;
    if several && !matches!(start.peer, Peer::Ramblk | Peer::RamblkUnmoved) {
        for folder in sockets.iter().filter_map(|socket| socket.parent()) {
            fs::create_dir(folder)?;
        }
    }
    match start.peer {
        Peer::Ramblk | Peer::RamblkUnmoved if several => {
            let disk = |at| format!("[[disk]]\nname = \"disk-{at}\"\nsize_bytes = {SPAN_BYTES}\n");
            let disks: Vec<String> = (0..sockets.len()).map(disk).collect();
            let config = folder.join("disks.toml");
            fs::write(&config, disks.concat())?;
            command.args(["serve", "--state-dir", "none", "--memory-limit", "4G"]);
            command.arg("--run-dir").arg(folder);
            command.arg("--config").arg(config).args(start.options);
        }
        Peer::Ramblk | Peer::RamblkUnmoved => {
            command.args(["run", "--size", &SPAN_BYTES.to_string()]);
            command.arg("--socket-path").arg(&sockets[0]);
            command.args(start.options);
        }
        Peer::Stock | Peer::StockUnmoved => {
            command.arg("--stock").args(sockets);
        }
        Peer::NullCo => {
            let node = |_| Ok(format!("driver=null-co,size={SPAN_BYTES}"));
            command = storage_daemon(sockets, node)?;
        }
        Peer::Nbdkit => {
            let nbd = folder.join(NBD_SOCKET);
            let nbd = nbd.display();
            let node = |_| Ok(format!("driver=nbd,server.type=unix,server.path={nbd}"));
            command = storage_daemon(sockets, node)?;
        }
        Peer::Other => {
            let socket = sockets[0].to_string_lossy();
            let size = SPAN_BYTES.to_string();
            let fill_in =
                |word: &String| word.replace("{socket}", &socket).replace("{size}", &size);
            command
                .args(start.options.iter().map(fill_in))
                .current_dir(folder);
        }
        Peer::File => {
            let node = |at| {
                let file = folder.join(format!("disk-{at}.raw"));
                File::create(&file)?.set_len(SPAN_BYTES)?;
                let file = file.display();
                Ok(format!("driver=raw,file.driver=file,file.filename={file}"))
            };
            command = storage_daemon(sockets, node)?;
        }
    }
    Ok(command)
}

/// Where nbdkit listens, in a back end's folder.
const NBD_SOCKET: &str = "nbd.sock";

/// Start the server behind [`Peer::Nbdkit`], and wait until it listens.
fn nbdkit(start: &Start<'_>, folder: &Path) -> Result<Option<Needed>, Failure> {
    if start.peer != Peer::Nbdkit {
        return Ok(None);
    }
    let socket = folder.join(NBD_SOCKET);
    let mut command = Command::new("nbdkit");
    command.args(["--foreground", "--unix"]).arg(&socket);
    command.args(["memory", &format!("size={SPAN_BYTES}")]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // It complains about the connection below, which says nothing.
    command.stderr(File::create(folder.join("nbdkit"))?);
    let child = match start.cpu {
        Some(cpu) => pinned(cpu, || command.spawn())?,
        None => command.spawn(),
    };
    let mut child = Needed(child.map_err(|error| format!("can't start {command:?}: {error}"))?);
    let deadline = Instant::now() + LISTENS_WITHIN;
    while UnixStream::connect(&socket).is_err() {
        if child.0.try_wait()?.is_some() || Instant::now() > deadline {
            let said = read_to_string(folder.join("nbdkit")).unwrap_or_default();
            return Err(format!("{command:?} does not listen: {}", said.trim()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Some(child))
}

/// As its manual starts it. An I/O thread makes little difference, since it does not poll for
/// kicks.
fn storage_daemon(
    sockets: &[PathBuf],
    node: impl Fn(usize) -> Result<String, Failure>,
) -> Result<Command, Failure> {
    let mut command = Command::new("qemu-storage-daemon");
    for (at, socket) in sockets.iter().enumerate() {
        command.arg("--blockdev");
        command.arg(format!("{},node-name=d{at}", node(at)?));
        command.arg("--export");
        command.arg(format!(
            "type=vhost-user-blk,id=e{at},node-name=d{at},writable=on,num-queues=2,\
             addr.type=unix,addr.path={}",
            socket.display()
        ));
    }
    Ok(command)
}
