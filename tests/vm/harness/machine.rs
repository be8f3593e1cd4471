//! The QEMU command line of a guest.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Where the guest finds its script among the files that QEMU's firmware device offers.
const JOB: &str = "opt/ramblk.job";

/// A virtual machine's shape.
pub(crate) struct Machine {
    cpus: u32,
    queues: u32,
    ring: u16,
    indirect: bool,
    reboots: bool,
}

impl Machine {
    /// One processor and one queue, which ends when the guest reboots.
    pub(crate) fn new() -> Self {
        Self {
            cpus: 1,
            queues: 1,
            ring: 128,
            indirect: true,
            reboots: false,
        }
    }

    /// With this many processors, and a queue for each.
    pub(crate) fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self.queues = cpus;
        self
    }

    /// With rings of this many entries instead of 128.
    pub(crate) fn ring(mut self, entries: u16) -> Self {
        self.ring = entries;
        self
    }

    /// Whose disk does not let the guest put a request's descriptors into a table beside the ring.
    pub(crate) fn direct(mut self) -> Self {
        self.indirect = false;
        self
    }

    /// A reboot starts the guest again.
    pub(crate) fn reboots(mut self) -> Self {
        self.reboots = true;
        self
    }

    /// The command line of this machine running Linux with the script in the file `job`.
    pub(crate) fn linux(&self, socket: &OsStr, job: &Path) -> Vec<OsString> {
        let mut args = self.hardware(socket, "");
        args.extend(["-kernel".into(), guest_file("vmlinuz").into()]);
        args.extend(["-initrd".into(), guest_file("initramfs.cpio").into()]);
        args.extend(["-append", "console=ttyS0 quiet panic=-1"].map(OsString::from));
        args.extend([
            "-fw_cfg".into(),
            joined(&format!("name={JOB},file="), job.as_os_str()),
        ]);
        args
    }

    /// The command line of this machine booting from its disk.
    pub(crate) fn bare(&self, socket: &OsStr) -> Vec<OsString> {
        self.hardware(socket, ",bootindex=1")
    }

    fn hardware(&self, socket: &OsStr, disk_options: &str) -> Vec<OsString> {
        let Self {
            cpus,
            queues,
            ring,
            indirect,
            reboots,
        } = self;
        let mut args: Vec<OsString> =
            "qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 512M \
             -machine q35,memory-backend=mem \
             -object memory-backend-memfd,id=mem,size=512M,share=on \
             -nodefaults -display none -serial stdio"
                .split_whitespace()
                .map(OsString::from)
                .collect();
        args.extend(["-smp".into(), cpus.to_string().into()]);
        args.extend([
            "-chardev".into(),
            joined("socket,id=c0,reconnect=1,path=", socket),
        ]);
        let disk = format!(
            "vhost-user-blk-pci,chardev=c0,num-queues={queues},queue-size={ring},\
             indirect_desc={indirect}{disk_options}"
        );
        args.extend(["-device".into(), disk.into()]);
        if !reboots {
            args.push("-no-reboot".into());
        }
        args
    }
}

/// A file that `scripts/setup` makes.
fn guest_file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/guest")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: run scripts/setup first",
        path.display()
    );
    path
}

/// An argument that ends with a path.
fn joined(before: &str, path: &OsStr) -> OsString {
    let mut argument = OsString::from(before);
    argument.push(path);
    argument
}
