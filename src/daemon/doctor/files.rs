//! Small files of the system, below a root.

use std::path::Path;

/// The content of a small file below `root`, without spaces around it.
pub(super) fn read(root: &Path, name: &str) -> Option<String> {
    // Some list names of files, which are any bytes.
    let bytes = std::fs::read(root.join(name)).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Trees of files for tests.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(super) mod tree {
    use tempfile::TempDir;

    /// A root with these files.
    pub(in crate::daemon::doctor) fn with(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }
}
