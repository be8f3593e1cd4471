//! A disk gets the content of a fork of it, and pays for it.

use super::inner::DiskInner;
use super::leftover::Leftover;
use super::store::Store;
use crate::store::base::error::Error;
use crate::store::base::range::PAGE_BYTES;
use crate::store::layout::levels::TOP;
use crate::store::layout::record::check_settings;
use crate::store::pages::subtrees::charge;

impl Store {
    /// The same as [`Store::reset_with`] to a fork `from`, to which no connection may write any
    /// more. The memory that the fork took is charged to this disk from now on, whatever its quota;
    /// for that, see [`Store::check_absorb`]. Destroying the fork then frees what only it has.
    ///
    /// # Errors
    /// The same as [`Store::reset_with`].
    pub fn absorb(&self, key: &str, from: &str, settings: &[u8]) -> Result<Leftover, Error> {
        check_settings(settings)?;
        let _slots = self.table.lock();
        let (disk, from) = (self.find(key)?, self.find(from)?);
        let left = disk.reset(&from, Some(settings), 0)?;
        // Its own entries keep the fork as it is, also if something writes to the disk by now.
        let (pays, heir) = (account_of(&from), account_of(&disk));
        charge::pass_on(self.table.pool(), from.root(), TOP, pays, heir);
        Ok(left)
    }

    /// Check that a disk which absorbs `from` is within its quota then, or takes no more memory
    /// than now. `from` is a fork of the disk as it is. Old content that only the disk and the
    /// disks `leaving` have doesn't count: the caller ends or resets those next.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::OverQuota`].
    pub fn check_absorb(&self, key: &str, from: &str, leaving: &[&str]) -> Result<(), Error> {
        let _slots = self.table.lock();
        let (disk, from) = (self.find(key)?, self.find(from)?);
        let quota_bytes = disk.with_record(|record| record.spec.quota_bytes);
        let (had, comes) = (disk.charged_bytes(), from.charged_bytes());
        let Some(quota_bytes) = quota_bytes.filter(|&quota| had + comes > quota) else {
            return Ok(());
        };
        let root = disk.root();
        let mut references = 1;
        for key in leaving {
            references += u32::from(self.find(key)?.root().bare() == root.bare());
        }
        let (pool, old) = (self.table.pool(), (root, references));
        let goes = charge::freed(pool, old, from.root(), TOP, account_of(&disk)) * PAGE_BYTES;
        // The blocks of the fork's record stay behind.
        let settings = from.with_record(|record| !record.settings.is_empty());
        let comes = comes.saturating_sub(PAGE_BYTES * (1 + u64::from(settings)));
        let has = (had + comes).saturating_sub(goes);
        match has <= quota_bytes || has <= had {
            true => Ok(()),
            false => Err(Error::OverQuota { quota_bytes }),
        }
    }
}

fn account_of(disk: &DiskInner) -> u16 {
    disk.map().tree.nodes.account()
}
