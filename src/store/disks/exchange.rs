//! All of a disk's content at one instant: that of a snapshot, or of a disk that was filled for
//! it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::inner::DiskInner;
use super::leftover::Leftover;
use super::store::Store;
use crate::store::base::error::Error;
use crate::store::base::points;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::TOP;
use crate::store::layout::record::check_settings;
use crate::store::pages::tree::Tree;

impl Store {
    /// Give a disk the content and size of another one, by default a snapshot of it. Whoever is
    /// connected sees the change at one moment; what only the old content held is freed when the
    /// answer is dropped.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::IsReadOnly`], [`Error::Unimplemented`] between disks of
    /// different sector sizes, [`Error::is_want_of_memory`].
    pub fn reset(&self, key: &str, to: &str) -> Result<Leftover, Error> {
        self.reset_with(key, to, None)
    }

    /// As [`Store::reset`], and with other settings from the same instant on, if there are any.
    ///
    /// # Errors
    /// As there; [`Error::SettingsTooLong`].
    pub fn reset_with(
        &self,
        key: &str,
        to: &str,
        settings: Option<&[u8]>,
    ) -> Result<Leftover, Error> {
        settings.map_or(Ok(()), check_settings)?;
        let _slots = self.table.lock();
        let (core, to) = (self.find(key)?, self.find(to)?);
        if Arc::ptr_eq(&core, &to) {
            return Ok(Leftover::new(&self.table));
        }
        core.reset(&to, settings)
    }

    /// Give a disk the content and size of another one, to which nobody writes any more, with what
    /// that was charged for, and these settings; and end that one. Whoever is connected, and
    /// whoever opens the store after a crash, sees all of it or nothing. What the disk had is freed
    /// when the answer is dropped, which costs what is mapped; snapshots keep what they share of
    /// it, and that counts for the store's limit alone then.
    ///
    /// # Errors
    /// As [`Store::reset`]; [`Error::SettingsTooLong`]; [`Error::OverQuota`] if the other one takes
    /// more than this one's quota allows; [`Error::Exists`] if both are the same.
    pub fn take_over(&self, key: &str, from: &str, settings: &[u8]) -> Result<Leftover, Error> {
        let _slots = self.table.lock();
        let (core, other) = (self.find(key)?, self.find(from)?);
        if Arc::ptr_eq(&core, &other) {
            return Err(Error::Exists {
                key: from.to_owned(),
            });
        }
        let root = core.take_over(&other, settings)?;
        points::reach("content-taken-over");
        self.disks.write().remove(from);
        // Its tree is the other one's too, and stays.
        let mut left = other.end();
        left.entries.push((root, TOP));
        Ok(left)
    }
}

impl Tree {
    /// The account that pays for what is taken.
    pub(crate) fn account(&self) -> u16 {
        self.account.load(Ordering::Relaxed)
    }

    /// Each pays with the other's account from now on. Under all shards of one of them, while
    /// nobody writes to the other.
    fn exchange_account(&self, with: &Self) {
        let own = self.account();
        self.account.store(with.account(), Ordering::Relaxed);
        with.account.store(own, Ordering::Relaxed);
    }
}

impl DiskInner {
    /// Take over content, size and charge of a disk that nobody writes to and that ends after this.
    /// Returns the tree that this one had. The disk table is locked.
    pub(crate) fn take_over(&self, from: &Self, settings: &[u8]) -> Result<Entry, Error> {
        check_settings(settings)?;
        self.check_may_become(from)?;
        let quota_bytes = self.record().spec.quota_bytes;
        if let Some(quota_bytes) = quota_bytes.filter(|&bytes| bytes < from.charged_bytes()) {
            return Err(Error::OverQuota { quota_bytes });
        }
        let moment = from.share();
        let mut before = Entry::NONE;
        let taken = self.replace(
            |record| {
                record.spec.size_bytes = moment.capacity.bytes();
                settings.clone_into(&mut record.settings);
            },
            Some(moment.root),
            || {
                before = self.tree().root_entry();
                // What is in the new tree was paid for by its own account, and goes on being so.
                self.tree().exchange_account(from.tree());
                Ok(())
            },
            || {
                self.map().set_capacity(moment.capacity);
                self.tree().mapped.take_over(&moment.mapped);
            },
        );
        taken.inspect_err(|_| {
            self.tree().exchange_account(from.tree());
            drop(from.unshare(moment.root));
        })?;
        let budget = self.table.pool.budget();
        let account = budget.account(self.tree().account());
        account.set_quota(quota_bytes);
        self.table.pool.make_room();
        Ok(before)
    }

    /// Whether this disk's content can become another one's.
    fn check_may_become(&self, other: &Self) -> Result<(), Error> {
        if self.is_snapshot() {
            return Err(Error::IsReadOnly {
                key: self.record().key,
            });
        }
        if self.sector_size() != other.sector_size() {
            return Err(Error::Unimplemented {
                what: "a reset to a disk with another sector size; fork that one instead".into(),
            });
        }
        Ok(())
    }
}
