//! `power-cut` and `power-on`: what a disk is left with when its power is cut.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::error::{Error, in_options};
use crate::cli::print::output::OutputArgs;
use crate::cli::print::power;
use crate::cli::values::power::{Keep, parse_tear_unit};
use crate::cli::verbs::select::Selector;
use crate::client::{Client, Method};
use crate::crash::TearUnit;
use crate::model::{self, Disk, PowerCutRequest, PowerOnRequest};

#[derive(Debug, Args)]
pub(in crate::cli) struct Cut {
    /// Disks with a volatile write cache; all lose their power at one instant.
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    names: Vec<String>,

    #[command(flatten)]
    selector: Selector,

    /// Which of the writes are kept that no flush has made stable.
    #[arg(long, value_enum, default_value_t = Keep::None)]
    keep: Keep,

    /// Tear writes that are kept: with all and prefix, the last one.
    #[arg(long)]
    torn: bool,

    /// Leave random bytes in place of some writes.
    #[arg(long)]
    garbage: bool,

    /// What the disk promises to write whole: a power of two from 512 to 65536.
    #[arg(long, value_name = "BYTES", value_parser = parse_tear_unit, default_value = "4096")]
    tear_unit: TearUnit,

    /// What random choices come from: the same seed makes the same ones.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Leave the disk alone, and make beside it what it would be after the cut.
    #[arg(long, value_name = "NEW", value_parser = NonEmptyStringValueParser::new())]
    fork: Option<String>,

    /// Don't listen again before 'ramblk power-on'.
    #[arg(long)]
    off: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Cut {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let request = PowerCutRequest {
            disks: self.selector.names_or(client, &self.names)?,
            keep: self.keep.into(),
            torn: self.torn,
            garbage: self.garbage,
            tear_unit_bytes: Some(self.tear_unit.bytes()),
            seed: self.seed,
            fork: self.fork,
            off: self.off,
        };
        let (_, cut): (_, model::PowerCut) = client
            .send(Method::POST, "/v1/power-cut", &request)
            .map_err(in_options)?;
        let off = request.off.then(|| request.disks.join(" "));
        let off = off.map(|names| format!("the power is off until 'ramblk power-on {names}'\n"));
        self.output
            .print(&cut, |cut| power::cut(cut) + &off.unwrap_or_default())
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct On {
    /// Disks whose power was cut with --off.
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    names: Vec<String>,

    #[command(flatten)]
    selector: Selector,

    #[command(flatten)]
    output: OutputArgs,
}

impl On {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let request = PowerOnRequest {
            disks: self.selector.names_or(client, &self.names)?,
        };
        let (_, disks): (_, Vec<Disk>) = client.send(Method::POST, "/v1/power-on", &request)?;
        self.output.print(&disks, |disks| {
            let each = disks.iter();
            each.map(|disk| format!("{} has power\n", disk.name))
                .collect()
        })
    }
}
