//! The QEMU command line of a guest.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Where the guest finds its script among the files that QEMU's firmware device offers.
const JOB: &str = "opt/ramblk.job";

/// What Linux's kernel is told about every machine.
const KERNEL_OPTIONS: &str = "console=ttyS0 quiet panic=-1";

/// What the disk is plugged into.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Bus {
    Pci,
    /// Registers at a fixed address, as QEMU has them by default: those before virtio 1.
    LegacyMmio,
    /// The same with those of virtio 1 (§4.2).
    Mmio,
}

/// The hardware around the disk.
#[derive(Clone, Copy, PartialEq)]
enum Board {
    /// A PC with PCI Express.
    Q35,
    /// A PC without PCI, whose devices are all on virtio-mmio.
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
    /// One processor and one queue, which ends when the guest reboots.
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

    /// An arm64 machine that ends in its firmware, U-Boot.
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

    /// Whose disk can be taken out and put in again while the guest runs; see [`Self::disk`].
    pub(crate) fn unplugs(mut self) -> Self {
        self.unplugs = true;
        self
    }

    /// With memory as QEMU's `-m` has it, of which this much is there at first.
    pub(crate) fn memory(mut self, memory: &str) -> Self {
        self.memory = memory.into();
        self
    }

    /// With UEFI firmware, whose variables are kept in the file `variables`.
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

    /// The command line of this machine running Linux with the script in the file `job`.
    pub(crate) fn linux(&self, socket: &OsStr, job: &Path) -> Vec<OsString> {
        let mut args = self.hardware(socket, "");
        args.extend(["-kernel".into(), guest_file("vmlinuz").into()]);
        args.extend(["-initrd".into(), guest_file("initramfs.cpio").into()]);
        let mut options = KERNEL_OPTIONS.to_owned();
        if matches!(self.board, Board::Microvm(_)) {
            // It has no clock that an emulated processor's could be measured by.
            options += &format!(" tsc_early_khz={}", host_khz());
        }
        args.extend(["-append".into(), options.into()]);
        args.extend(job_option(job));
        args
    }

    /// The command line of this machine booting from its disk.
    pub(crate) fn bare(&self, socket: &OsStr, job: &Path) -> Vec<OsString> {
        let mut args = self.hardware(socket, ",bootindex=1");
        args.extend(job_option(job));
        args
    }

    /// The disk as QEMU's options have it; as `device_add` does too, separated by commas.
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

/// U-Boot for QEMU's arm64 machine, as Debian has it.
const UBOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";

/// UEFI for PCs, as Debian has it, and its variables as they are at first.
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The words that hand a script to Linux, however that is booted.
fn job_option(job: &Path) -> [OsString; 2] {
    let file = joined(&format!("name={JOB},file="), job.as_os_str());
    ["-fw_cfg".into(), file]
}

/// How fast the host's time stamp counter runs, which an emulated processor's follows.
fn host_khz() -> u64 {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let line = processors.lines().find(|line| line.starts_with("cpu MHz"));
    let mhz = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    // Hosts of other kinds don't say. A guess makes the guest's clock go wrong, and that is all.
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
