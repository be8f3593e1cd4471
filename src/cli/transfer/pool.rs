//! Memory of parts that are being sent, used again for later ones: new memory costs as much as a
//! copy.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::client::Bytes;

/// The most memory that waits for its next use, in pieces of about 1 MiB.
const MOST_SPARES: usize = 8;

/// Memory that may be used again.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.0.lock().len())
    }
}

impl Pool {
    /// Memory with anything in it, or none yet.
    pub(super) fn spare(&self) -> Vec<u8> {
        self.0.lock().pop().unwrap_or_default()
    }

    /// These bytes. Their memory is used again when the last reference to them is dropped.
    pub(super) fn lend(&self, memory: Vec<u8>) -> Bytes {
        let pool = self.clone();
        Bytes::from_owner(Lent { memory, pool })
    }
}

struct Lent {
    memory: Vec<u8>,
    pool: Pool,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut spares = self.pool.0.lock();
        if spares.len() < MOST_SPARES {
            spares.push(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_nothing_refers_to_it() {
        let pool = Pool::default();
        let memory = vec![7; 4096];
        let address = memory.as_ptr();
        let lent = pool.lend(memory);
        let slice = lent.slice(10..20);
        drop(lent);
        assert_eq!(pool.spare(), Vec::<u8>::new(), "a slice is in use");
        assert_eq!(slice[..], [7; 10]);
        drop(slice);
        let again = pool.spare();
        assert_eq!(again.as_ptr(), address);
        let all: Vec<_> = (0..2 * MOST_SPARES)
            .map(|_| pool.lend(vec![0; 10]))
            .collect();
        drop(all);
        assert_eq!(pool.0.lock().len(), MOST_SPARES);
    }
}
