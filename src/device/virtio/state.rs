//! What the device saves of itself for a snapshot of its VM.

/// Saves the state of a device's disk, and brings the disk back to it.
pub trait SavedState: std::fmt::Debug + Send + Sync {
    /// The state as it is now, in no more than [`MOST_STATE_BYTES`].
    ///
    /// # Errors
    /// If it can't be kept.
    fn save(&self) -> Result<Vec<u8>, StateError>;

    /// Bring the disk back to a state. No queue may be served meanwhile.
    ///
    /// # Errors
    /// If the state isn't one, or not of this disk, or its bytes are gone; then nothing has
    /// changed.
    fn load(&self, state: &[u8]) -> Result<(), StateError>;
}

/// Most bytes of a saved state: it fits any pipe.
pub const MOST_STATE_BYTES: usize = 4096;

/// Why a state can't be saved or loaded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub String);
