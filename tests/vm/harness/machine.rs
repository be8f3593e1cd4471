//! The QEMU command line of a guest.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The name of the guest's script among the files of QEMU's firmware device.
const JOB: &str = "opt/ramblk.job";

/// Kernel options of every machine. Linux counts ticks of its timer while it starts, and panics if
/// it sees too few ("IO-APIC + timer doesn't work"): on a busy host an emulated processor gets none
/// in that time. Of 60 guests, 20 at a time beside 6 busy loops on two processors, 11 ended so, and
/// without the check none.
const KERNEL_OPTIONS: &str = "console=ttyS0 quiet panic=-1 no_timer_check";

/// The disk's bus.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Bus {
    Pci,
    /// Registers at a fixed address in the layout before virtio 1, QEMU's default.
    LegacyMmio,
    /// The same with the registers of virtio 1 (§4.2).
    Mmio,
}

/// The hardware around the disk.
#[derive(Clone, Copy, PartialEq)]
enum Board {
    /// A PC with PCI Express.
    Q35,
    /// A PC without PCI: all devices are on virtio-mmio.
    Microvm(Bus),
    /// arm64, with U-Boot as its firmware.
    Arm(Bus),
}

/// A virtual machine's shape.
pub(crate) struct Machine {
    board: Board,
    cpus: u32,
    queues: u32,
    ring: u16,
    indirect: bool,
    reboots: bool,
    unplugs: bool,
    memory: String,
    extra: Vec<OsString>,
}

impl Machine {
    /// One processor and one queue; the machine ends when the guest reboots.
    pub(crate) fn new() -> Self {
        Self {
            board: Board::Q35,
            cpus: 1,
            queues: 1,
            ring: 128,
            indirect: true,
            reboots: false,
            unplugs: false,
            memory: "512M".into(),
            extra: Vec::new(),
        }
    }

    /// A machine of QEMU's smallest kind.
    pub(crate) fn microvm(bus: Bus) -> Self {
        Self {
            board: Board::Microvm(bus),
            ..Self::new()
        }
    }

    /// An arm64 machine that runs only its firmware, U-Boot.
    pub(crate) fn uboot(bus: Bus) -> Self {
        Self {
            board: Board::Arm(bus),
            ..Self::new()
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

    /// The guest may not put a request's descriptors into an indirect table.
    pub(crate) fn direct(mut self) -> Self {
        self.indirect = false;
        self
    }

    /// A reboot starts the guest again.
    pub(crate) fn reboots(mut self) -> Self {
        self.reboots = true;
        self
    }

    /// The disk can be unplugged and plugged in again while the guest runs; see [`Self::disk`].
    pub(crate) fn unplugs(mut self) -> Self {
        self.unplugs = true;
        self
    }

    /// With `-m` options for memory; the first figure is present at the start.
    pub(crate) fn memory(mut self, memory: &str) -> Self {
        self.memory = memory.into();
        self
    }

    /// With UEFI firmware, which keeps its variables in the file `variables`.
    pub(crate) fn uefi(mut self, variables: &Path) -> Self {
        std::fs::copy(installed(OVMF_VARIABLES, "ovmf"), variables).unwrap();
        let drive = "if=pflash,format=raw,unit=";
        let code = installed(OVMF_CODE, "ovmf");
        self.extra = vec![
            "-drive".into(),
            joined(&format!("{drive}0,readonly=on,file="), code.as_os_str()),
            "-drive".into(),
            joined(&format!("{drive}1,file="), variables.as_os_str()),
        ];
        self
    }

    /// The command line of this machine, running Linux with the script in the file `job`.
    pub(crate) fn linux(&self, socket: &OsStr, job: &Path) -> Vec<OsString> {
        let mut args = self.hardware(socket, "");
        args.extend(["-kernel".into(), guest_file("vmlinuz").into()]);
        args.extend(["-initrd".into(), guest_file("initramfs.cpio").into()]);
        let mut options = KERNEL_OPTIONS.to_owned();
        if matches!(self.board, Board::Microvm(_)) {
            // It has no clock against which to measure the speed of an emulated processor.
            options += &format!(" tsc_early_khz={}", host_khz());
        }
        args.extend(["-append".into(), options.into()]);
        args.extend(job_option(job));
        args
    }

    /// The command line of this machine, booting from its disk.
    pub(crate) fn bare(&self, socket: &OsStr, job: &Path) -> Vec<OsString> {
        let mut args = self.hardware(socket, ",bootindex=1");
        args.extend(job_option(job));
        args
    }

    /// The disk in the form of QEMU's options, and of `device_add`, separated by commas.
    pub(crate) fn disk(&self) -> String {
        let Self {
            queues,
            ring,
            indirect,
            ..
        } = self;
        let device = match self.bus() {
            Bus::Pci => "vhost-user-blk-pci",
            Bus::LegacyMmio | Bus::Mmio => "vhost-user-blk",
        };
        let slot = if self.unplugs { ",bus=bay" } else { "" };
        format!(
            "{device},id=disk,chardev=c0,num-queues={queues},queue-size={ring},\
             indirect_desc={indirect}{slot}"
        )
    }

    fn bus(&self) -> Bus {
        match self.board {
            Board::Q35 => Bus::Pci,
            Board::Microvm(bus) | Board::Arm(bus) => bus,
        }
    }

    fn hardware(&self, socket: &OsStr, disk_options: &str) -> Vec<OsString> {
        let (program, board) = match self.board {
            Board::Q35 => ("qemu-system-x86_64 -cpu max", "q35"),
            Board::Microvm(_) => ("qemu-system-x86_64 -cpu max", "microvm,pit=off"),
            Board::Arm(_) => ("qemu-system-aarch64 -cpu cortex-a57", "virt"),
        };
        let memory = &self.memory;
        let at_first = memory.split(',').next().unwrap_or_default();
        let line = format!(
            "{program} -accel tcg,thread=multi -m {memory} -machine {board},memory-backend=mem \
             -object memory-backend-memfd,id=mem,size={at_first},share=on \
             -nodefaults -display none -serial stdio -smp {}",
            self.cpus
        );
        let mut args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        if self.bus() == Bus::Mmio {
            args.extend(["-global", "virtio-mmio.force-legacy=false"].map(OsString::from));
        }
        if matches!(self.board, Board::Arm(_)) {
            args.extend(["-bios".into(), installed(UBOOT, "u-boot-qemu").into()]);
        }
        if self.unplugs {
            args.extend(["-device", "pcie-root-port,id=bay"].map(OsString::from));
        }
        args.extend([
            "-chardev".into(),
            joined("socket,id=c0,reconnect=1,path=", socket),
        ]);
        args.extend(["-device".into(), (self.disk() + disk_options).into()]);
        if !self.reboots {
            args.push("-no-reboot".into());
        }
        args.extend(self.extra.iter().cloned());
        args
    }
}

/// U-Boot for QEMU's arm64 machine, from Debian.
const UBOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";

/// UEFI for PCs, from Debian, and its initial variables.
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The options that pass a script to Linux, however it is booted.
fn job_option(job: &Path) -> [OsString; 2] {
    let file = joined(&format!("name={JOB},file="), job.as_os_str());
    ["-fw_cfg".into(), file]
}

/// The frequency of the host's time stamp counter, which an emulated processor's follows.
fn host_khz() -> u64 {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let line = processors.lines().find(|line| line.starts_with("cpu MHz"));
    let mhz = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    // Other hosts don't say. A wrong guess only makes the guest's clock wrong.
    mhz.map_or(2_000_000, |mhz| {
        format!("{:.0}", mhz * 1000.0).parse().unwrap()
    })
}

/// A file of a package that `scripts/setup` installs.
pub(crate) fn installed(path: &str, package: &str) -> PathBuf {
    assert!(
        Path::new(path).exists(),
        "{path} is missing: run scripts/setup, or install {package}"
    );
    path.into()
}

/// A file that `scripts/setup` makes.
pub(crate) fn guest_file(name: &str) -> PathBuf {
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
