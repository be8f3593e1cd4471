//! The disks of a store, by key.

use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::Arc;

use parking_lot::RwLock;

use super::disk::{Disk, DiskCore, DiskSpec};
use super::pool::{PagePool, Reclaimer};
use super::{Error, MAX_KEY_BYTES};

/// A set of disks that share one memory limit.
#[derive(Debug)]
pub struct Store {
    disks: RwLock<HashMap<String, Arc<DiskCore>>>,
    pool: Arc<PagePool>,
    _reclaimer: Reclaimer,
}

impl Store {
    /// An empty store whose disks together never take more than `limit_bytes` of memory, pages and
    /// tables included.
    ///
    /// # Errors
    /// [`Error::Reserve`] if the system gives no address space or thread.
    pub fn new(limit_bytes: u64) -> Result<Self, Error> {
        let pool = Arc::new(PagePool::new(limit_bytes)?);
        let reclaimer = Reclaimer::start(Arc::clone(&pool))?;
        Ok(Self {
            disks: RwLock::default(),
            pool,
            _reclaimer: reclaimer,
        })
    }

    /// Make a new, empty disk and connect to it.
    ///
    /// # Errors
    /// [`Error::Exists`] if the key is taken, live or not connected to; [`Error::InvalidKey`],
    /// [`Error::InvalidSize`].
    pub fn create(&self, key: &str, spec: &DiskSpec) -> Result<Disk, Error> {
        let core = self.new_core(key, spec)?;
        match self.disks.write().entry(key.to_owned()) {
            hash_map::Entry::Occupied(_) => Err(Error::Exists {
                key: key.to_owned(),
            }),
            hash_map::Entry::Vacant(vacant) => Ok(Disk::open(Arc::clone(vacant.insert(core)))),
        }
    }

    /// Connect to a disk that exists.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn open(&self, key: &str) -> Result<Disk, Error> {
        let core = self.disks.read().get(key).cloned();
        core.map(Disk::open).ok_or_else(|| Error::Unknown {
            key: key.to_owned(),
        })
    }

    /// Connect to a disk, making it if there is none: 32768 sectors of 512 bytes.
    ///
    /// # Errors
    /// [`Error::InvalidKey`].
    pub fn connect(&self, key: &str) -> Result<Disk, Error> {
        self.connect_or(key, &DiskSpec::default())
    }

    /// Connect to a disk, making it as `spec` says if there is none.
    ///
    /// # Errors
    /// [`Error::InvalidKey`], [`Error::InvalidSize`].
    pub fn connect_or(&self, key: &str, spec: &DiskSpec) -> Result<Disk, Error> {
        let core = self.new_core(key, spec)?;
        let mut disks = self.disks.write();
        Ok(Disk::open(Arc::clone(
            disks.entry(key.to_owned()).or_insert(core),
        )))
    }

    /// End a disk: its memory is freed now, and whoever is connected gets [`Error::Disconnected`].
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn destroy(&self, key: &str) -> Result<(), Error> {
        let core = self.disks.write().remove(key);
        core.ok_or_else(|| Error::Unknown {
            key: key.to_owned(),
        })?
        .destroy();
        Ok(())
    }

    /// The keys of all disks, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.disks.read().keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// The memory limit, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.pool.limit_bytes()
    }

    /// Bytes of memory that all disks take now: pages in use and the tables that name them.
    pub fn charged_bytes(&self) -> u64 {
        self.pool.charged_bytes()
    }

    fn new_core(&self, key: &str, spec: &DiskSpec) -> Result<Arc<DiskCore>, Error> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(Error::InvalidKey {
                len_bytes: key.len(),
            });
        }
        Ok(Arc::new(DiskCore::new(key, *spec, Arc::clone(&self.pool))?))
    }
}
