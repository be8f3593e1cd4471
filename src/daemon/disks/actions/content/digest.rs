//! The digest of a disk's content at one moment: BLAKE3, the same as that of an exported raw image.

use super::reader::{Reader, reader};
use crate::daemon::digest::{Content, Digest};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::settings::names::Target;
use crate::daemon::disks::settings::problems::invalid;
use crate::model::Problem;
use crate::store::Bytes;

/// The bytes to hash in one step: some milliseconds' worth.
const STEP_BYTES: u64 = 32 << 20;

/// A digest that is being computed, of a disk at one moment.
#[derive(Debug)]
pub struct Digesting {
    reader: Reader,
    start_bytes: u64,
    length_bytes: u64,
    digest: Digest,
    /// Under which the result is kept, since a snapshot never changes.
    keep_as: Option<[u64; 3]>,
    found: Option<blake3::Hash>,
}

impl Digesting {
    /// Where the content begins in the disk.
    pub fn start_bytes(&self) -> u64 {
        self.start_bytes
    }

    /// How long the content is.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// Hash some more, which takes some milliseconds. Returns the digest, in hexadecimal, once all
    /// is hashed.
    ///
    /// # Errors
    /// The disk is gone.
    pub fn step(&mut self, disks: &Disks) -> Result<Option<String>, Problem> {
        let (reader, start) = (&self.reader, self.start_bytes);
        let content = Content {
            next_mapped: |at| {
                let found = reader.next_mapped(start + at)?;
                Ok::<_, Problem>(found.map(|(mapped, length)| (mapped - start, length)))
            },
            read: |at, into: &mut [u8]| reader.read(start + at, into),
        };
        let hash = match self.found {
            Some(hash) => Some(hash),
            None => self.digest.step(&content, STEP_BYTES)?,
        };
        if let (Some(key), Some(hash)) = (self.keep_as, hash) {
            disks.digests.keep(key, hash);
        }
        Ok(hash.map(|hash| hash.to_hex().to_string()))
    }
}

/// Begin to compute the digest of a disk or snapshot as it is now, or of `length_bytes` (to its end
/// without) from `start_bytes` on.
///
/// # Errors
/// `not-found`; `invalid` if the range is not inside the disk; `over-budget`.
pub fn begin(
    disks: &Disks,
    target: &Target,
    start_bytes: u64,
    length_bytes: Option<u64>,
) -> Result<Digesting, Problem> {
    let reader = reader(disks, target)?;
    let size_bytes = reader.size_bytes();
    let outside = |field| {
        let detail = format!(
            "{start_bytes}+{} is not inside the disk's {}",
            length_bytes.unwrap_or(0),
            Bytes(size_bytes)
        );
        invalid(field, detail)
    };
    let rest = size_bytes.checked_sub(start_bytes);
    let rest = rest.ok_or_else(|| outside("start_bytes"))?;
    let length = length_bytes.unwrap_or(rest);
    if length > rest {
        return Err(outside("length_bytes"));
    }
    let id = match target.snapshot {
        Some(_) => Some(reader.disk().get_info()?.id),
        None => None,
    };
    let keep_as = id.map(|id| [id, start_bytes, length]);
    Ok(Digesting {
        found: keep_as.and_then(|key| disks.digests.kept(key)),
        keep_as,
        digest: Digest::new(length),
        length_bytes: length,
        start_bytes,
        reader,
    })
}
