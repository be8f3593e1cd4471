//! Where everything of a qcow2 image is that is being written: its tables, and how often each
//! cluster of the file is referred to.

use super::super::writer::Labels;
use super::header::{BASE_FORMAT, BASE_ID, CONTENT_ID};

/// The size of a cluster, as `qemu-img` has it.
pub(in crate::image) const CLUSTER_BYTES: usize = 64 << 10;
const CLUSTER: u64 = CLUSTER_BYTES as u64;
const CLUSTER_BITS: u32 = 16;
/// Entries of a table of the second level.
pub(super) const ENTRIES: u64 = CLUSTER / 8;
/// Counts of references in a block, of 16 bits each.
pub(super) const COUNTS: u64 = CLUSTER / 2;
/// A cluster that is referred to once.
pub(super) const COPIED: u64 = 1 << 63;
/// An entry for a cluster of zeros.
pub(super) const ZERO: u64 = 1;
/// A compressed cluster.
pub(super) const PACKED: u64 = 1 << 62;
/// Where the number of sectors begins in an entry of a compressed cluster.
const SECTORS_SHIFT: u32 = 62 - (CLUSTER_BITS - 8);
const HEADER_BYTES: u32 = 112;

/// What is written behind all clusters, piece by piece, and then the header.
pub(super) type Tail = (Vec<Vec<u8>>, Result<Vec<u8>, String>);

/// Tables and counts.
#[derive(Debug)]
pub(super) struct Layout {
    labels: Labels,
    compressed: bool,
    /// Everything before this is written.
    at: u64,
    /// How often each cluster of the file is referred to.
    counts: Vec<u16>,
    l1: Vec<u64>,
    /// The region whose table is being filled, and the table.
    region: u64,
    table: Vec<u64>,
}

impl Layout {
    /// An image with its header's place.
    pub(super) fn new(labels: Labels, compressed: bool) -> Self {
        Self {
            labels,
            compressed,
            at: CLUSTER,
            counts: vec![1],
            l1: Vec::new(),
            region: 0,
            table: Vec::new(),
        }
    }

    /// The next beginning of a cluster, and how far it is to there.
    pub(super) fn align(&mut self) -> (u64, usize) {
        let at = self.at.next_multiple_of(CLUSTER);
        let gap = usize::try_from(at - self.at).unwrap_or(0);
        self.at = at;
        (at, gap)
    }

    /// Take whole clusters, which are referred to once.
    pub(super) fn add_clusters(&mut self, count: u64) {
        let first = self.at / CLUSTER;
        self.at += count * CLUSTER;
        for cluster in first..first + count {
            self.refer(cluster);
        }
    }

    /// Take room for a compressed cluster. Returns its entry, without the flag.
    pub(super) fn add_packed(&mut self, length: usize) -> u64 {
        let start = self.at;
        let end = start + length as u64;
        self.at = end;
        // A reader reads whole sectors, and so counts `qemu-img check`.
        let sectors = (end - 1) / 512 - start / 512;
        let last = (start / 512 + sectors) * 512 / CLUSTER;
        for cluster in start / CLUSTER..=last {
            self.refer(cluster);
        }
        start | (sectors << SECTORS_SHIFT)
    }

    fn refer(&mut self, cluster: u64) {
        let index = usize::try_from(cluster).unwrap_or(usize::MAX);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        // A cluster has at most 64 Ki bytes, and what it is referred to for has several.
        self.counts[index] = self.counts[index].saturating_add(1);
    }

    /// Whether a cluster of the disk is in another region than those before it.
    pub(super) fn is_other_region(&self, number: u64) -> bool {
        number / ENTRIES != self.region
    }

    /// Set the entry of a cluster of the disk.
    pub(super) fn set(&mut self, number: u64, entry: u64) {
        self.region = number / ENTRIES;
        let entries = usize::try_from(ENTRIES).unwrap_or(0);
        self.table.resize(entries, 0);
        if let Some(place) = self.table.get_mut((number % ENTRIES) as usize) {
            *place = entry;
        }
    }

    /// The bytes of the table that was filled, if there is one.
    pub(super) fn take_table(&mut self) -> Option<Vec<u8>> {
        let table = std::mem::take(&mut self.table);
        (!table.is_empty()).then(|| bytes_of(&table))
    }

    /// The table that was taken is at this offset.
    pub(super) fn end_table(&mut self, at: u64) {
        let index = usize::try_from(self.region).unwrap_or(usize::MAX);
        if self.l1.len() <= index {
            self.l1.resize(index + 1, 0);
        }
        self.l1[index] = at | COPIED;
        self.add_clusters(1);
    }

    /// The first table, and the counts, which follow at `at`; and the header of a disk of this
    /// size.
    pub(super) fn finish(&mut self, at: u64, size_bytes: u64) -> Tail {
        let size_bytes = size_bytes.next_multiple_of(512);
        let entries = usize::try_from(l1_entries(size_bytes)).unwrap_or(usize::MAX);
        self.l1.resize(entries.max(self.l1.len()), 0);
        let l1_clusters = (self.l1.len() as u64 * 8).div_ceil(CLUSTER);
        self.add_clusters(l1_clusters);
        let counts_at = self.at;
        let (tables, blocks) = count_clusters(counts_at / CLUSTER);
        self.add_clusters(tables + blocks);
        let first_block = counts_at + tables * CLUSTER;
        let table: Vec<u64> = (0..blocks).map(|it| first_block + it * CLUSTER).collect();
        let tail = vec![
            padded(bytes_of(&self.l1)),
            padded(bytes_of(&table)),
            padded(self.counts.iter().flat_map(|it| it.to_be_bytes()).collect()),
        ];
        let header = Header {
            labels: &self.labels,
            compressed: self.compressed,
            size: size_bytes,
            l1: at,
            l1_entries: self.l1.len() as u64,
            counts: counts_at,
            count_tables: tables,
        };
        (tail, header.bytes())
    }
}

/// Where the tables of an image are, and what its header says beside that.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) labels: &'a Labels,
    pub(super) compressed: bool,
    /// The size of the disk in bytes.
    pub(super) size: u64,
    /// The first table, and its entries.
    pub(super) l1: u64,
    pub(super) l1_entries: u64,
    /// The table of counts, and its clusters.
    pub(super) counts: u64,
    pub(super) count_tables: u64,
}

impl Header<'_> {
    /// Its bytes, a cluster of them.
    ///
    /// # Errors
    /// The name of the base is too long.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, String> {
        let base = self.labels.base.as_ref();
        let mut extensions = Vec::new();
        let mut add = |kind: u32, text: Option<&str>| {
            if let Some(text) = text {
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                extensions.extend_from_slice(&kind.to_be_bytes());
                extensions.extend_from_slice(&length.to_be_bytes());
                extensions.extend_from_slice(text.as_bytes());
                extensions.resize(extensions.len().next_multiple_of(8), 0);
            }
        };
        add(BASE_FORMAT, base.and_then(|base| base.format.as_deref()));
        add(CONTENT_ID, self.labels.content_id.as_deref());
        add(BASE_ID, base.and_then(|base| base.content_id.as_deref()));
        extensions.extend_from_slice(&[0; 8]);
        let name = base.and_then(|base| base.name.as_deref()).unwrap_or("");
        let name_at = HEADER_BYTES as usize + extensions.len();
        if name.len() > 1023 || name_at + name.len() > CLUSTER_BYTES {
            return Err(format!("the name of its base has {} bytes", name.len()));
        }
        let short = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let mut head = Vec::with_capacity(CLUSTER_BYTES);
        let name_at = if name.is_empty() { 0 } else { name_at as u64 };
        head.extend_from_slice(b"QFI\xfb\0\0\0\x03");
        head.extend_from_slice(&name_at.to_be_bytes());
        head.extend_from_slice(&short(name.len() as u64).to_be_bytes());
        head.extend_from_slice(&CLUSTER_BITS.to_be_bytes());
        head.extend_from_slice(&self.size.to_be_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&short(self.l1_entries).to_be_bytes());
        head.extend_from_slice(&self.l1.to_be_bytes());
        head.extend_from_slice(&self.counts.to_be_bytes());
        head.extend_from_slice(&short(self.count_tables).to_be_bytes());
        // No snapshots.
        head.extend_from_slice(&[0; 12]);
        let incompatible: u64 = if self.compressed { 1 << 3 } else { 0 };
        head.extend_from_slice(&incompatible.to_be_bytes());
        head.extend_from_slice(&[0; 16]);
        // Counts of 2^4 bits.
        head.extend_from_slice(&4_u32.to_be_bytes());
        head.extend_from_slice(&HEADER_BYTES.to_be_bytes());
        head.push(u8::from(self.compressed));
        head.extend_from_slice(&[0; 7]);
        head.extend_from_slice(&extensions);
        head.extend_from_slice(name.as_bytes());
        Ok(padded(head))
    }
}

/// How many entries the first table of a disk of this size has.
pub(super) fn l1_entries(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(ENTRIES * CLUSTER).max(1)
}

/// How many clusters the table of counts and the counts take, for a file that has `others` beside
/// them: they count themselves too.
pub(super) fn count_clusters(others: u64) -> (u64, u64) {
    let (mut tables, mut blocks) = (0, 0);
    loop {
        let wanted = (others + tables + blocks).div_ceil(COUNTS);
        let tables_wanted = (wanted * 8).div_ceil(CLUSTER);
        if (wanted, tables_wanted) == (blocks, tables) {
            return (tables, blocks);
        }
        (blocks, tables) = (wanted, tables_wanted);
    }
}

pub(super) fn bytes_of(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|it| it.to_be_bytes()).collect()
}

/// With zeros up to the end of a cluster.
pub(super) fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(CLUSTER_BYTES), 0);
    bytes
}
