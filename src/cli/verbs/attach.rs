//! `attach`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::recipes::{Version, Vmm, Wanted, recipe};
use crate::client::{Client, path};
use crate::model::Disk;

#[derive(Debug, Args)]
pub(in crate::cli) struct Attach {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

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
        let disk: Disk = client.get(&path::disk(&self.name))?;
        let wanted = Wanted {
            vmm: self.print,
            qemu_version: self.qemu_version.unwrap_or_else(Version::here),
            bus: self.bus,
            remove: self.remove,
        };
        let recipe = recipe(&wanted, &disk);
        self.output.print(&recipe, |recipe| recipe.text.clone())
    }
}
