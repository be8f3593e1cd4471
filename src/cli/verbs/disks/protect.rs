//! `protect`, `unprotect`, `children`: what must not go, and what depends on it.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::values::target::parse_target;
use crate::cli::verbs::each::each;
use crate::cli::verbs::images::address::{find, on_host};
use crate::cli::verbs::select::Selector;
use crate::client::{Client, Method, path};
use crate::model::{
    Disk, DiskPatch, GoldenImage, GoldenPatch, Patched, Snapshot, SnapshotPatch, Target,
};

/// What can be protected, and have forks.
enum Named {
    Disk(String),
    Snapshot(Target),
    Image(GoldenImage),
}

impl Named {
    fn find(client: &Client, text: &str) -> Result<Self, Error> {
        if let Some(image) = on_host(Path::new(text)) {
            return Ok(Self::Image(find(client, image)?));
        }
        let target = parse_target(text).map_err(Error::Usage)?;
        Ok(match target.snapshot {
            Some(_) => Self::Snapshot(target),
            None => Self::Disk(target.disk),
        })
    }
}

/// Something whose protection was changed.
#[derive(Debug, Serialize)]
struct Protection<'n> {
    name: &'n str,
    protected: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Protect {
    /// Disks, snapshots as NAME@SNAPSHOT, and images as image://NAME.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    selector: Selector,

    #[command(flatten)]
    output: OutputArgs,
}

impl Protect {
    pub(in crate::cli) fn run(self, client: &Client, protected: bool) -> Result<(), Error> {
        let names = self.selector.names_or(client, &self.names)?;
        each(&names, self.output, |name| {
            set(client, name, protected)?;
            self.output.print(&Protection { name, protected }, |it| {
                let not = if protected { "" } else { "not " };
                format!("{} is {not}protected\n", it.name)
            })
        })
    }
}

fn set(client: &Client, name: &str, protected: bool) -> Result<(), Error> {
    let protected = Some(protected);
    match Named::find(client, name)? {
        Named::Disk(disk) => {
            let patch = DiskPatch {
                protected,
                ..DiskPatch::default()
            };
            let _: (_, Patched) = client.send(Method::PATCH, &path::disk(&disk), &patch)?;
        }
        Named::Snapshot(target) => {
            let snapshot = target.snapshot.as_deref().unwrap_or_default();
            let path = path::snapshot(&target.disk, snapshot);
            let patch = SnapshotPatch { protected };
            let _: (_, Snapshot) = client.send(Method::PATCH, &path, &patch)?;
        }
        Named::Image(image) => {
            let path = path::image(&image.digest.to_string());
            let patch = GoldenPatch { protected };
            let _: (_, GoldenImage) = client.send(Method::PATCH, &path, &patch)?;
        }
    }
    Ok(())
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Children {
    /// Disks, snapshots as NAME@SNAPSHOT, and images as image://NAME.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    selector: Selector,

    #[command(flatten)]
    output: OutputArgs,
}

impl Children {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let mut children = Vec::new();
        for name in self.selector.names_or(client, &self.names)? {
            children.extend(forks(client, &name)?);
        }
        self.output.print(&children, |children| {
            children.iter().map(|name| format!("{name}\n")).collect()
        })
    }
}

/// The forks of a disk, a snapshot or an image.
fn forks(client: &Client, name: &str) -> Result<Vec<String>, Error> {
    Ok(match Named::find(client, name)? {
        Named::Disk(disk) => {
            let disk: Disk = client.get(&path::disk(&disk))?;
            disk.children.unwrap_or_default()
        }
        Named::Snapshot(target) => {
            let snapshot = target.snapshot.as_deref().unwrap_or_default();
            let snapshot: Snapshot = client.get(&path::snapshot(&target.disk, snapshot))?;
            snapshot.children
        }
        Named::Image(image) => image.forks,
    })
}
