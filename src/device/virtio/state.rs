//! The device's state, which a snapshot of its VM contains.

/// Saves the state of a device's disk, and restores the disk from it.
pub trait SavedState: std::fmt::Debug + Send + Sync {
    /// Save the present state. Returns at most [`MOST_STATE_BYTES`].
    ///
    /// # Errors
    /// The state can't be kept.
    fn save(&self) -> Result<Vec<u8>, StateError>;

    /// Restore the disk from a state. No queue may be served meanwhile.
    ///
    /// # Errors
    /// The state is invalid, belongs to another disk, or no longer exists. Then nothing changes.
    fn load(&self, state: &[u8]) -> Result<(), StateError>;
}

/// The most bytes of a saved state, which fit into any pipe.
pub const MOST_STATE_BYTES: usize = 4096;

/// Why a state can't be saved or loaded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub String);
