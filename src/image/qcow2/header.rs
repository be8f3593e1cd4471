//! The header of a qcow2 image and its extensions, parsed: what is here is inside of the file.

use super::super::Error;
use super::super::medium::ReadAt;
use super::super::writer::{Base, Labels};

/// The bytes of a header of version 2; version 3 has at least 104.
const V2_BYTES: usize = 72;
const V3_BYTES: usize = 104;
/// The longest name of a base (QEMU, docs/interop/qcow2.txt).
const MOST_NAME_BYTES: usize = 1023;
/// The most bytes of a first table, as QEMU has it.
const MOST_L1_BYTES: u64 = 32 << 20;
/// Extensions: the format of the base, and what ramblk writes: the content's identifier, and that
/// of its base.
pub(super) const BASE_FORMAT: u32 = 0xe279_2aca;
pub(super) const CONTENT_ID: u32 = 0x7262_6c01;
pub(super) const BASE_ID: u32 = 0x7262_6c02;

/// Incompatible features.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::image) enum Compression {
    Zlib,
    Zstd,
}

/// What a header says, checked.
#[derive(Clone, Debug)]
pub(in crate::image) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    /// The size of the disk.
    pub(in crate::image) size_bytes: u64,
    pub(super) l1_bytes: u64,
    pub(super) l1_at: u64,
    pub(super) compression: Compression,
    pub(super) is_extended: bool,
    pub(super) is_dirty: bool,
    pub(super) snapshots: u32,
    pub(in crate::image) labels: Labels,
}

/// What is wrong with a header.
enum Fault {
    Damaged(String),
    Unsupported(String),
}

impl Header {
    /// Read it from the beginning of a file.
    pub(super) fn read(medium: &dyn ReadAt) -> Result<Self, Error> {
        let name = || medium.name().to_owned();
        // A header and its extensions are in the first cluster.
        let length = usize::try_from(medium.size_bytes().min(1 << 21)).unwrap_or(V2_BYTES);
        let mut bytes = vec![0; length.min(V3_BYTES)];
        let failed = |source| Error::Read {
            name: name(),
            source,
        };
        medium.read_at(0, &mut bytes).map_err(failed)?;
        let cluster_bits = be32(&bytes, 20).filter(|bits| (9..=21).contains(bits));
        bytes.resize(length.min(1 << cluster_bits.unwrap_or(9)), 0);
        medium.read_at(0, &mut bytes).map_err(failed)?;
        parse(&bytes, medium.size_bytes()).map_err(|fault| match fault {
            Fault::Damaged(what) => Error::Damaged { name: name(), what },
            Fault::Unsupported(what) => Error::Unsupported { name: name(), what },
        })
    }

    pub(super) fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The logarithm of the entries in a table of the second level.
    pub(super) fn l2_bits(&self) -> u32 {
        self.cluster_bits - if self.is_extended { 4 } else { 3 }
    }
}

fn parse(bytes: &[u8], file_bytes: u64) -> Result<Header, Fault> {
    let damaged = |what: String| Err(Fault::Damaged(what));
    if bytes.len() < V2_BYTES {
        return damaged(format!("it has {} bytes, less than a header", bytes.len()));
    }
    if !bytes.starts_with(b"QFI\xfb") {
        return Err(Fault::Unsupported(
            "does not begin like qcow2: leave out --format, or name its format".into(),
        ));
    }
    let word = |at| be32(bytes, at).unwrap_or(0);
    let long = |at| be64(bytes, at).unwrap_or(0);
    let version = word(4);
    if !(2..=3).contains(&version) {
        return Err(Fault::Unsupported(format!(
            "is qcow2 of version {version}: convert it with 'qemu-img convert -O qcow2'"
        )));
    }
    let cluster_bits = word(20);
    if !(9..=21).contains(&cluster_bits) {
        return damaged(format!("its clusters have 2^{cluster_bits} bytes"));
    }
    if word(32) != 0 {
        return Err(Fault::Unsupported(
            "is encrypted: decrypt it with 'qemu-img convert' and its key first".into(),
        ));
    }
    let (header_bytes, features) = match version {
        2 => (V2_BYTES, 0),
        _ if bytes.len() < V3_BYTES => return damaged("it ends in its header".into()),
        _ => (word(100) as usize, long(72)),
    };
    if !(V2_BYTES..=bytes.len()).contains(&header_bytes) || (version == 3 && header_bytes < 104) {
        return damaged(format!("its header has {header_bytes} bytes"));
    }
    check_features(features)?;
    let compression = match features & COMPRESSION {
        0 => Compression::Zlib,
        _ if header_bytes < 105 => return damaged("its header has no compression type".into()),
        _ => match bytes.get(104) {
            Some(0) => Compression::Zlib,
            Some(1) => Compression::Zstd,
            other => {
                return Err(Fault::Unsupported(format!(
                    "has clusters of the unknown compression type {other:?}: convert it with \
                     'qemu-img convert -O qcow2'"
                )));
            }
        },
    };
    let header = Header {
        version,
        cluster_bits,
        size_bytes: long(24),
        l1_bytes: 0,
        l1_at: long(40),
        compression,
        is_extended: features & EXTENDED_L2 != 0,
        is_dirty: features & DIRTY != 0,
        snapshots: word(60),
        labels: labels(bytes, header_bytes)?,
    };
    if header.is_extended && cluster_bits < 14 {
        return damaged(format!(
            "it has subclusters in clusters of 2^{cluster_bits} bytes"
        ));
    }
    check_l1(header, u64::from(word(36)), file_bytes)
}

fn check_features(features: u64) -> Result<(), Fault> {
    let unsupported = |what: String| Err(Fault::Unsupported(what));
    if features & CORRUPT != 0 {
        return unsupported(
            "is marked as corrupt: repair it with 'qemu-img check -r all' first".into(),
        );
    }
    if features & EXTERNAL_DATA != 0 {
        return unsupported(
            "keeps its data in another file: convert it with 'qemu-img convert -O qcow2'".into(),
        );
    }
    let unknown = features & !(DIRTY | COMPRESSION | EXTENDED_L2);
    if unknown != 0 {
        let bit = unknown.trailing_zeros();
        return unsupported(format!(
            "needs the unknown feature of bit {bit}: convert it with 'qemu-img convert -O qcow2'"
        ));
    }
    Ok(())
}

/// The table of the first level: as long as the size needs, and inside of the file.
fn check_l1(mut header: Header, entries: u64, file_bytes: u64) -> Result<Header, Fault> {
    let damaged = |what: String| Err(Fault::Damaged(what));
    let region_bits = header.cluster_bits + header.l2_bits();
    // At most 2^21 * 2^18 bytes: no overflow.
    let needed = header.size_bytes.div_ceil(1 << region_bits);
    let l1_bytes = needed.checked_mul(8).filter(|&it| it <= MOST_L1_BYTES);
    let Some(l1_bytes) = l1_bytes else {
        return damaged(format!(
            "its size is {} bytes, more than its clusters of {} allow",
            header.size_bytes,
            header.cluster_bytes()
        ));
    };
    if entries < needed {
        return damaged(format!(
            "its first table has {entries} entries and its size needs {needed}"
        ));
    }
    let at = header.l1_at;
    let cluster_bytes = header.cluster_bytes();
    if needed > 0 {
        if at < cluster_bytes || !at.is_multiple_of(cluster_bytes) {
            return damaged(format!("its first table is at {at}"));
        }
        if at.checked_add(l1_bytes).is_none_or(|end| end > file_bytes) {
            return damaged(format!(
                "it is cut off: its first table is at {at}, and the file has {file_bytes} bytes"
            ));
        }
    }
    header.l1_bytes = l1_bytes;
    Ok(header)
}

/// The name of the base, and extensions.
fn labels(bytes: &[u8], header_bytes: usize) -> Result<Labels, Fault> {
    let damaged = |what: &str| Err(Fault::Damaged(what.into()));
    let name_at = be64(bytes, 8).unwrap_or(0);
    let name_bytes = be32(bytes, 16).unwrap_or(0) as usize;
    let name = match usize::try_from(name_at) {
        Ok(0) => None,
        Ok(at) if at >= header_bytes && name_bytes <= MOST_NAME_BYTES => {
            let Some(name) = at
                .checked_add(name_bytes)
                .and_then(|end| bytes.get(at..end))
            else {
                return damaged("the name of its base is not in its first cluster");
            };
            Some(String::from_utf8_lossy(name).into_owned())
        }
        _ => return damaged("the name of its base is not in its first cluster"),
    };
    let (mut format, mut base_id, mut content_id) = (None, None, None);
    let mut at = header_bytes;
    while let (Some(kind), Some(length)) = (be32(bytes, at), be32(bytes, at + 4)) {
        if kind == 0 {
            break;
        }
        let length = length as usize;
        let Some(value) = bytes.get(at + 8..).and_then(|rest| rest.get(..length)) else {
            return damaged("an extension of its header ends beyond its first cluster");
        };
        let text = || Some(String::from_utf8_lossy(value).into_owned());
        match kind {
            BASE_FORMAT => format = text(),
            CONTENT_ID => content_id = text(),
            BASE_ID => base_id = text(),
            // Hints, bitmaps, names of features: nothing that the content depends on.
            _ => {}
        }
        // Each turn goes at least 8 bytes on in at most 2 MiB.
        at += 8 + length.next_multiple_of(8);
    }
    let base = name.is_some().then_some(Base {
        content_id: base_id,
        name,
        format,
    });
    Ok(Labels { content_id, base })
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}
