//! The name of a disk, or of a snapshot of it.

/// A disk, or a snapshot of it: `NAME` or `NAME@SNAPSHOT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The disk.
    pub disk: String,
    /// The snapshot, if the target is one.
    pub snapshot: Option<String>,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.snapshot {
            Some(snapshot) => write!(f, "{}@{snapshot}", self.disk),
            None => f.write_str(&self.disk),
        }
    }
}
