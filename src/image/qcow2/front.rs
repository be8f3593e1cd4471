//! Writing a qcow2 image into a pipe: where everything will be follows from an outline, so all
//! tables come first, and then the clusters with data.
//!
//! ```text
//! header │ table of counts │ counts │ first table │ tables of the second level │ data
//! ```

use std::io;
use std::ops::Range;

use super::super::Error;
use super::super::writer::{ImageWriter, Labels, Output, ZEROS};
use super::assembly::{Assembly, shares};
use super::layout::{
    CLUSTER_BYTES, COPIED, COUNTS, Header, ZERO, bytes_of, count_clusters, l1_entries, padded,
};
use super::outline::{Kind, Outline};

const CLUSTER: u64 = CLUSTER_BYTES as u64;

/// A qcow2 image whose tables are written, and whose clusters follow.
#[derive(Debug)]
pub(in crate::image) struct FrontWriter {
    output: Box<dyn Output>,
    outline: Outline,
    assembly: Assembly,
    /// Clusters of the disk before this are written.
    next: u64,
}

impl FrontWriter {
    /// Write the tables of an image with this outline.
    pub(in crate::image) fn new(
        output: Box<dyn Output>,
        labels: &Labels,
        outline: Outline,
    ) -> Result<Self, Error> {
        let mut new = Self {
            output,
            outline,
            assembly: Assembly::new(),
            next: 0,
        };
        let written = new.tables(labels);
        written.map_err(|source| new.failed(source))?;
        Ok(new)
    }

    fn tables(&mut self, labels: &Labels) -> io::Result<()> {
        let Self {
            output, outline, ..
        } = self;
        let size = outline.end_bytes().next_multiple_of(512);
        let data = outline.data_from(0).count() as u64;
        let l1_entries = l1_entries(size);
        let l1_clusters = (l1_entries * 8).div_ceil(CLUSTER);
        let tables = outline.tables().count() as u64;
        // Without the counts and their table.
        let others = 1 + l1_clusters + tables + data;
        let (count_tables, count_blocks) = count_clusters(others);
        let l1_at = (1 + count_tables + count_blocks) * CLUSTER;
        let tables_at = l1_at + l1_clusters * CLUSTER;
        let header = Header {
            labels,
            compressed: false,
            size,
            l1: l1_at,
            l1_entries,
            counts: CLUSTER,
            count_tables,
        };
        output.write_all(&header.bytes().map_err(io::Error::other)?)?;
        let blocks_at = (1 + count_tables) * CLUSTER;
        let blocks: Vec<u64> = (0..count_blocks)
            .map(|it| blocks_at + it * CLUSTER)
            .collect();
        output.write_all(&padded(bytes_of(&blocks)))?;
        let mut counted = others + count_tables + count_blocks;
        for _ in 0..count_blocks {
            let used = counted.min(COUNTS);
            counted -= used;
            // Each is referred to once.
            let block = [0, 1].repeat(usize::try_from(used).unwrap_or_default());
            output.write_all(&padded(block))?;
        }
        let mut l1 = vec![0; usize::try_from(l1_entries).unwrap_or_default()];
        for (at, number) in (tables_at..).step_by(CLUSTER_BYTES).zip(outline.tables()) {
            let entry = usize::try_from(number).ok().and_then(|it| l1.get_mut(it));
            if let Some(entry) = entry {
                *entry = at | COPIED;
            }
        }
        output.write_all(&padded(bytes_of(&l1)))?;
        let mut data_at = tables_at + tables * CLUSTER;
        for number in outline.tables() {
            let entry = |kind: &Kind| match kind {
                Kind::Hole => 0,
                Kind::Zero => ZERO,
                Kind::Data => {
                    data_at += CLUSTER;
                    (data_at - CLUSTER) | COPIED
                }
            };
            let table: Vec<u64> = outline.table(number).iter().map(entry).collect();
            output.write_all(&bytes_of(&table))?;
        }
        Ok(())
    }

    /// Write the cluster that was put together, and zeros for those before it that the outline has
    /// and no call named.
    fn end_cluster(&mut self) -> Result<(), Error> {
        let Some((number, _)) = self.assembly.end() else {
            return Ok(());
        };
        self.skip_to(number)?;
        if self.outline.data_from(number).next() != Some(number) {
            let at = number * CLUSTER;
            let text = format!("there is data at {at}, where none was announced");
            return Err(self.failed(io::Error::other(text)));
        }
        let written = self.output.write_all(self.assembly.bytes());
        self.next = number + 1;
        written.map_err(|source| self.failed(source))
    }

    fn skip_to(&mut self, number: u64) -> Result<(), Error> {
        for skipped in self.outline.data_from(self.next) {
            if skipped >= number {
                break;
            }
            let written = self.output.write_all(&ZEROS[..CLUSTER_BYTES]);
            written.map_err(|source| Error::Write {
                name: self.output.name().to_owned(),
                source,
            })?;
        }
        self.next = number;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Write {
            name: self.output.name().to_owned(),
            source,
        }
    }
}

impl ImageWriter for FrontWriter {
    fn data(&mut self, at_bytes: u64, bytes: &[u8]) -> Result<(), Error> {
        for share in shares(at_bytes..at_bytes + bytes.len() as u64) {
            if !self.assembly.is_at(share.number) {
                self.end_cluster()?;
                self.assembly.begin(share.number);
            }
            self.assembly.add(&share, Some(bytes));
        }
        Ok(())
    }

    fn zero(&mut self, _: Range<u64>) -> Result<(), Error> {
        // The tables have it, or it is beside data.
        Ok(())
    }

    fn finish(mut self: Box<Self>, end_bytes: u64) -> Result<(), Error> {
        self.end_cluster()?;
        if end_bytes != self.outline.end_bytes() {
            let text = format!(
                "its content ends at {end_bytes}, and {} was announced",
                self.outline.end_bytes()
            );
            return Err(self.failed(io::Error::other(text)));
        }
        self.skip_to(u64::MAX)?;
        self.output.finish()
    }
}
