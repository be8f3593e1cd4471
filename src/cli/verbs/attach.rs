//! `attach`: what to type so that a VMM gets a disk.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::recipes::{Recipe, Version, Vmm, Wanted, recipe};
use crate::cli::verbs::each::each;
use crate::cli::verbs::select::Disks;
use crate::client::{Client, path};
use crate::model::Disk;

#[derive(Debug, Args)]
pub(in crate::cli) struct Attach {
    #[command(flatten)]
    disks: Disks,

    /// The VMM to print for.
    #[arg(long, value_enum, value_name = "VMM")]
    print: Vmm,

    /// Version of QEMU, as in 7.2 or 9.2. The default is that of the installed QEMU.
    #[arg(long, value_name = "VERSION", value_parser = Version::parse)]
    qemu_version: Option<Version>,

    /// The bus to plug the disk into, with qmp: for example a free pcie-root-port.
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    bus: Option<String>,

    /// Print how to remove the disk again, with qmp.
    #[arg(long)]
    remove: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Attach {
    pub(super) fn run(self, client: &Client) -> Result<(), Error> {
        if self.print != Vmm::Qmp && (self.remove || self.bus.is_some()) {
            return Err(Error::Usage("--bus and --remove need --print qmp".into()));
        }
        let names = self.disks.names(client)?;
        let wanted = Wanted {
            vmm: self.print,
            qemu_version: self.qemu_version.unwrap_or_else(Version::here),
            bus: self.bus,
            remove: self.remove,
        };
        // QMP has no empty lines.
        let gap = if self.print == Vmm::Qmp { "" } else { "\n" };
        let mut between = "";
        each(&names, self.output, |name| {
            let disk: Disk = client.get(&path::disk(name))?;
            let before = std::mem::replace(&mut between, gap);
            let text = |recipe: &Recipe| format!("{before}{}", recipe.text);
            self.output.print(&recipe(&wanted, &disk), text)
        })
    }
}
