//! `fsck`, and `export` without a daemon: what can be saved from the state of one that is stopped.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::error::Error;
use crate::cli::print::layout::{pairs, table};
use crate::cli::print::output::{Output, OutputArgs, say};
use crate::cli::transfer::{Destination, Progress};
use crate::cli::values::size::{human, human_and_exact};
use crate::daemon::{Bytes, Report, Salvage, SavedDisk};
use crate::image::{Labels, Outline, Written};
use crate::model::{Missing, Problem, Target};

/// The most unreadable extents that are listed one by one.
const MOST_LISTED: usize = 1000;

#[derive(Debug, Args)]
pub(in crate::cli) struct Fsck {
    /// The daemon's state directory, or a copy of the file in it.
    state_dir: PathBuf,

    #[command(flatten)]
    output: OutputArgs,
}

impl Fsck {
    pub(in crate::cli) fn run(self) -> Result<(), Error> {
        let report = Salvage::open(&self.state_dir)?.report();
        self.output.print(&report, human_report)?;
        if report.clean {
            return Ok(());
        }
        Err(Error::Other(format!(
            "{:?} is damaged ({} findings); export intact disks with 'ramblk export \
             --state-dir', and damaged ones with --partial",
            report.path,
            report.findings.len() as u64 + report.more_findings
        )))
    }
}

fn human_report(report: &Report) -> String {
    let mut text = pairs(&[
        ("file", report.path.display().to_string()),
        ("layout", report.layout.to_string()),
        ("id", report.id.clone()),
        ("length", human_and_exact(report.file_bytes)),
        ("memory", human_and_exact(report.memory_bytes)),
        ("unused of it", human(report.unused_bytes)),
        ("images", report.images.len().to_string()),
        ("groups", report.groups.len().to_string()),
    ]);
    let rows = report.disks.iter().map(|disk| {
        vec![
            disk.name.clone(),
            human(disk.size_bytes),
            human(disk.mapped_bytes),
            human(disk.lost_bytes),
            can_be_saved(disk).into(),
        ]
    });
    text.push('\n');
    let head = ["NAME", "SIZE", "MAPPED", "LOST", "CAN BE SAVED"];
    text.push_str(&table(&head, &[1, 2, 3], rows.collect()));
    text.push('\n');
    for damage in &report.findings {
        text.push_str(&damage.what);
        if !damage.disks.is_empty() {
            let _ = write!(text, " (affects {})", damage.disks.join(", "));
        }
        text.push('\n');
    }
    match report.more_findings {
        0 if report.clean => text.push_str("nothing is wrong\n"),
        0 => {}
        more => drop(writeln!(text, "{more} more findings")),
    }
    text
}

/// How much of a disk can be exported.
fn can_be_saved(disk: &SavedDisk) -> &'static str {
    match (disk.importing, disk.whole) {
        (true, _) => "no, was importing",
        (false, true) => "whole",
        (false, false) => "in part",
    }
}

/// Extents that can't be read.
#[derive(Debug, Default)]
struct Lost {
    listed: Vec<(u64, u64)>,
    count: usize,
    bytes: u64,
}

impl Lost {
    fn of(salvage: &Salvage, target: &Target) -> Result<Self, Error> {
        let mut lost = Self::default();
        for part in salvage.parts(target)? {
            let part = part?;
            if part.is_lost() {
                lost.count += 1;
                lost.bytes += part.length_bytes;
                if lost.listed.len() < MOST_LISTED {
                    lost.listed.push((part.start_bytes, part.length_bytes));
                }
            }
        }
        Ok(lost)
    }

    fn list(&self) {
        for (start_bytes, length_bytes) in &self.listed {
            say(&format!(
                "lost: {} at byte {start_bytes}, zeros in the image",
                Bytes(*length_bytes)
            ));
        }
        match self.count - self.listed.len() {
            0 => {}
            more => say(&format!("lost: {more} more extents")),
        }
    }
}

/// Write a disk of a daemon that is not running to an image: whether to overwrite an existing
/// file, whether to have zeros for unreadable extents, and the format. Returns the disk's size and
/// how much of it is data, in bytes.
pub(super) fn export(
    state_dir: &Path,
    target: &Target,
    file: &Path,
    (overwrite, partial, format): (bool, bool, Written),
) -> Result<(u64, u64), Error> {
    let salvage = Salvage::open(state_dir)?;
    let name = target.to_string();
    let Some(disk) = salvage.disk(target) else {
        let what = format!("no {name:?} in {state_dir:?}; 'ramblk fsck' lists the disks in it");
        let missing = match target.snapshot {
            Some(_) => Missing::Snapshot,
            None => Missing::Disk,
        };
        return Err(Error::Problem(Box::new(Problem::missing(missing, what))));
    };
    if disk.importing {
        return Err(Error::Other(format!(
            "{name:?} was importing, and its content is incomplete; create it again from its image"
        )));
    }
    let lost = Lost::of(&salvage, target)?;
    if lost.count > 0 && !partial {
        return Err(Error::Other(format!(
            "{} of {name:?} can't be read, in {} extents, the first at byte {}; use --partial to \
             have zeros there",
            Bytes(lost.bytes),
            lost.count,
            lost.listed.first().map_or(0, |(start, _)| *start)
        )));
    }
    let destination = Destination::open(file, disk.size_bytes, overwrite, format)?;
    let mut outline = None;
    if destination.wants_outline() {
        let outline = outline.insert(Outline::new(disk.size_bytes));
        for part in salvage.parts(target)? {
            let part = part?;
            outline.data(part.start_bytes..part.start_bytes + part.length_bytes);
        }
    }
    let mut sink = destination.begin(Labels::default(), outline)?;
    let progress = Progress::new("export", Some(disk.size_bytes), Output::Human);
    let (mut bytes, mut written) = (Vec::new(), 0);
    for part in salvage.parts(target)? {
        let part = part?;
        salvage.read(&part, &mut bytes)?;
        sink.write(part.start_bytes, &bytes)?;
        written += bytes.len() as u64;
        progress.at(part.start_bytes);
    }
    sink.finish(disk.size_bytes)?;
    progress.end();
    lost.list();
    Ok((disk.size_bytes, written))
}
