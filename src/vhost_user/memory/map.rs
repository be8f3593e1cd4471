//! The guest's memory, as a front end describes it: regions of files, mapped here.
//!
//! A [`MemoryMap`] never changes; a new table or a hot-plugged region makes a new map that shares
//! the regions that stay. Rings hold the map that their pointers point into, so a region is
//! unmapped when the last ring that may touch it has stopped.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::FileType;
use vhost::vhost_user::message::{VhostUserMemoryRegion, VhostUserSingleMemoryRegion};

use super::mapping::Mapping;
use super::unshared::{self, Unshared};

/// The most regions of one map, as CONFIGURE_MEM_SLOTS promises.
pub(crate) const MAX_SLOTS: usize = 509;

/// More regions than front ends have without hot-plugged memory.
const MANY: usize = 8;

const PAGE_BYTES: u64 = 4096;
/// `HUGETLBFS_MAGIC` of `statfs(2)`: such files are mapped in units of their block size only.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

/// Why a region can't be mapped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryError {
    #[error("more than {MAX_SLOTS} memory regions")]
    TooMany,
    #[error("region of {size_bytes} bytes at guest address {guest:#x} is empty or wraps around")]
    Wraps { guest: u64, size_bytes: u64 },
    #[error("region at guest address {guest:#x} overlaps one at {other:#x}")]
    Overlap { guest: u64, other: u64 },
    #[error(
        "region at guest address {guest:#x} ends at byte {end_bytes} of a file of {file_bytes}: \
         the front end must share files as large as it says"
    )]
    ShortFile {
        guest: u64,
        end_bytes: u64,
        file_bytes: u64,
    },
    #[error("memory of guest address {guest:#x} is not a regular file that can be mapped")]
    NotAFile { guest: u64 },
    #[error("can't map region at guest address {guest:#x}: {reason}")]
    Map { guest: u64, reason: String },
    #[error(transparent)]
    Unshared(#[from] Unshared),
    #[error("there is no region of {size_bytes} bytes at guest address {guest:#x} to remove")]
    NoSuchRegion { guest: u64, size_bytes: u64 },
}

/// A region as a front end describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegionSpec {
    guest: u64,
    size_bytes: u64,
    user: u64,
    file_offset: u64,
}

impl RegionSpec {
    /// Whether it is that region. The specification identifies a region by guest address, size and
    /// user address, so the file offset is not compared.
    fn is(&self, guest: u64, size_bytes: u64, user: u64) -> bool {
        (self.guest, self.size_bytes, self.user) == (guest, size_bytes, user)
    }

    /// Whether process `pid`, the front end, has `file` mapped privately there.
    fn is_private(&self, file: &File, pid: Option<u32>) -> bool {
        pid.is_some_and(|pid| unshared::is_private(pid, self.user, file))
    }
}

impl From<&VhostUserMemoryRegion> for RegionSpec {
    fn from(region: &VhostUserMemoryRegion) -> Self {
        Self {
            guest: region.guest_phys_addr,
            size_bytes: region.memory_size,
            user: region.user_addr,
            file_offset: region.mmap_offset,
        }
    }
}

impl From<&VhostUserSingleMemoryRegion> for RegionSpec {
    fn from(region: &VhostUserSingleMemoryRegion) -> Self {
        Self {
            guest: region.guest_phys_addr,
            size_bytes: region.memory_size,
            user: region.user_addr,
            file_offset: region.mmap_offset,
        }
    }
}

/// One region, mapped.
#[derive(Debug)]
struct Region {
    guest: u64,
    size_bytes: u64,
    user: u64,
    /// Where the region starts in the mapping, which begins at a page of the file.
    skip: usize,
    mapping: Mapping,
}

impl Region {
    fn map(spec: RegionSpec, file: File, many: bool) -> Result<Self, MemoryError> {
        let RegionSpec {
            guest,
            size_bytes,
            user,
            file_offset,
        } = spec;
        let wraps = MemoryError::Wraps { guest, size_bytes };
        let end_bytes = file_offset.checked_add(size_bytes);
        let fits = guest
            .checked_add(size_bytes)
            .and(user.checked_add(size_bytes));
        let (Some(end_bytes), Some(_), true) = (end_bytes, fits, size_bytes > 0) else {
            return Err(wraps);
        };
        let unreadable = |errno: rustix::io::Errno| MemoryError::Map {
            guest,
            reason: std::io::Error::from(errno).to_string(),
        };
        let stat = rustix::fs::fstat(&file).map_err(unreadable)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(MemoryError::NotAFile { guest });
        }
        let file_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        if file_bytes < end_bytes {
            return Err(MemoryError::ShortFile {
                guest,
                end_bytes,
                file_bytes,
            });
        }
        let unit_bytes = page_bytes(&file).map_err(unreadable)?;
        let start = file_offset / unit_bytes * unit_bytes;
        let skip = file_offset - start;
        let map_bytes = (skip + size_bytes).next_multiple_of(unit_bytes);
        let (Ok(map_bytes), Ok(skip)) = (usize::try_from(map_bytes), usize::try_from(skip)) else {
            return Err(wraps);
        };
        let mapping =
            Mapping::new(&file, start, map_bytes, many).map_err(|error| MemoryError::Map {
                guest,
                reason: error.to_string(),
            })?;
        Ok(Self {
            guest,
            size_bytes,
            user,
            skip,
            mapping,
        })
    }

    /// The host address of byte `offset` of the region.
    fn at(&self, offset: u64) -> *mut u8 {
        // No region is longer than its mapping, whose size is a `usize`.
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.mapping
            .as_ptr()
            .wrapping_add(self.skip)
            .wrapping_add(offset)
    }
}

/// The unit in which a file can be mapped: its page size, huge or not.
pub(crate) fn page_bytes(file: &File) -> Result<u64, rustix::io::Errno> {
    let stat = rustix::fs::fstatfs(file)?;
    let magic = u64::try_from(stat.f_type).unwrap_or(0);
    let block_bytes = u64::try_from(stat.f_bsize).unwrap_or(0);
    Ok(if magic == HUGETLBFS_MAGIC && block_bytes > 0 {
        block_bytes
    } else {
        PAGE_BYTES
    })
}

/// All of a guest's memory that a front end has shared, by guest address.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryMap {
    regions: Vec<Arc<Region>>,
    /// Regions that the front end has mapped privately. What its guest writes there doesn't reach
    /// the file, so they are left out. A VM may have such memory (QEMU's NVDIMM with `share=off`)
    /// beside the memory that its disk uses.
    private: Vec<RegionSpec>,
}

/// A stretch of guest memory that is contiguous in the host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostRange {
    pub(crate) ptr: *mut u8,
    pub(crate) len: usize,
}

impl MemoryMap {
    /// The map of SET_MEM_TABLE that process `pid` sent. Regions may come in any order.
    pub(crate) fn new(
        regions: impl Iterator<Item = (RegionSpec, File)>,
        pid: Option<u32>,
    ) -> Result<Self, MemoryError> {
        let mut map = Self::default();
        for (spec, file) in regions {
            map.insert(spec, file, pid)?;
        }
        match map.private.first() {
            Some(spec) if map.is_empty() => Err(Unshared::Private { guest: spec.guest }.into()),
            _ => Ok(map),
        }
    }

    /// This map and one more region (ADD_MEM_REG).
    pub(crate) fn with(
        &self,
        spec: RegionSpec,
        file: File,
        pid: Option<u32>,
    ) -> Result<Self, MemoryError> {
        let mut map = self.clone();
        map.insert(spec, file, pid)?;
        Ok(map)
    }

    /// This map without one of its regions (REM_MEM_REG).
    pub(crate) fn without(&self, spec: RegionSpec) -> Result<Self, MemoryError> {
        let mut map = self.clone();
        map.regions
            .retain(|region| !spec.is(region.guest, region.size_bytes, region.user));
        map.private
            .retain(|private| !spec.is(private.guest, private.size_bytes, private.user));
        if map.slots() == self.slots() {
            let RegionSpec {
                guest, size_bytes, ..
            } = spec;
            return Err(MemoryError::NoSuchRegion { guest, size_bytes });
        }
        Ok(map)
    }

    /// Regions that the front end has described.
    fn slots(&self) -> usize {
        self.regions.len() + self.private.len()
    }

    fn insert(
        &mut self,
        spec: RegionSpec,
        file: File,
        pid: Option<u32>,
    ) -> Result<(), MemoryError> {
        if self.slots() >= MAX_SLOTS {
            return Err(MemoryError::TooMany);
        }
        if spec.is_private(&file, pid) {
            let guest = spec.guest;
            tracing::debug!(
                guest,
                "a memory region that the front end maps privately is left out"
            );
            self.private.push(spec);
            return Ok(());
        }
        let region = Region::map(spec, file, self.regions.len() >= MANY)?;
        let meets = |a: u64, a_len: u64, b: u64, b_len: u64| a < b + b_len && b < a + a_len;
        for other in &self.regions {
            if meets(
                region.guest,
                region.size_bytes,
                other.guest,
                other.size_bytes,
            ) || meets(region.user, region.size_bytes, other.user, other.size_bytes)
            {
                return Err(MemoryError::Overlap {
                    guest: region.guest,
                    other: other.guest,
                });
            }
        }
        let at = self
            .regions
            .partition_point(|other| other.guest < region.guest);
        self.regions.insert(at, Arc::new(region));
        Ok(())
    }

    /// Whether any region has lost its file. Then zeros may be read instead of the guest's memory.
    pub(crate) fn is_lost(&self) -> bool {
        self.regions.iter().any(|region| region.mapping.is_lost())
    }

    /// Whether there is no memory at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Fail if the front end's own address `user` is in memory that it has mapped privately.
    pub(crate) fn is_shared_at(&self, user: u64) -> Result<(), Unshared> {
        let holds = |spec: &&RegionSpec| user.wrapping_sub(spec.user) < spec.size_bytes;
        match self.private.iter().find(holds) {
            Some(spec) => Err(Unshared::Private { guest: spec.guest }),
            None => Ok(()),
        }
    }

    /// The host memory of `len` bytes at a guest address, or of fewer if their region ends before.
    /// The next region may begin there: call this again for the rest.
    #[inline]
    pub(crate) fn host(&self, guest: u64, len: u64) -> Option<HostRange> {
        let region = self.region(guest)?;
        let offset = guest - region.guest;
        let len = usize::try_from(len.min(region.size_bytes - offset)).ok()?;
        Some(HostRange {
            ptr: region.at(offset),
            len,
        })
    }

    /// The whole region that has a guest address, and the guest address where it begins.
    pub(crate) fn region_at(&self, guest: u64) -> Option<(u64, HostRange)> {
        let region = self.region(guest)?;
        let whole = HostRange {
            ptr: region.at(0),
            len: usize::try_from(region.size_bytes).ok()?,
        };
        Some((region.guest, whole))
    }

    #[inline]
    fn region(&self, guest: u64) -> Option<&Region> {
        let behind = self.regions.partition_point(|region| region.guest <= guest);
        let region = self.regions.get(behind.checked_sub(1)?)?;
        (guest - region.guest < region.size_bytes).then_some(region)
    }

    /// Copy the bytes at one of the front end's own addresses. Returns `false` if they don't lie in
    /// one region.
    pub(crate) fn copy_user(&self, user: u64, to: &mut [u8]) -> bool {
        self.regions.iter().any(|region| {
            let offset = user.checked_sub(region.user);
            let fits = |offset: u64| offset.checked_add(to.len() as u64) <= Some(region.size_bytes);
            let at = offset.filter(|&offset| fits(offset));
            let at = at.and_then(|at| usize::try_from(at).ok());
            at.is_some_and(|at| region.mapping.copy_to(region.skip + at, to))
        })
    }

    /// The host address of `len` bytes at one of the front end's own addresses, by which
    /// SET_VRING_ADDR names rings. They must lie in one region.
    pub(crate) fn user(&self, user: u64, len: u64) -> Option<*mut u8> {
        self.regions.iter().find_map(|region| {
            let offset = user.checked_sub(region.user)?;
            let fits = offset.checked_add(len)? <= region.size_bytes;
            fits.then(|| region.at(offset))
        })
    }
}
