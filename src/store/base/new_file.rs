//! A file that gets its name when it is complete.
//!
//! If the file system supports `O_TMPFILE`, the file has no name before, and nothing is left behind
//! however the process ends. Otherwise it has a temporary name, which a signal handler can remove.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tempfile::{Builder, TempPath};

/// The prefix of temporary names.
const PREFIX: &str = ".ramblk-";
/// The directory through which an open file gets a name.
const OPEN_FILES: &str = "/proc/self/fd";

/// A file that has no name yet, or a temporary one.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    folder: PathBuf,
    temporary: Temporary,
}

/// The temporary name of a new file, if it has one. It is removed when the last clone is dropped.
#[derive(Clone, Debug, Default)]
pub struct Temporary(Arc<Mutex<Option<TempPath>>>);

impl Temporary {
    /// Remove the name, if it exists. Don't use the file afterwards.
    pub fn remove(&self) {
        drop(self.0.lock().take());
    }
}

impl NewFile {
    /// Create an empty file in `folder`, open for reading and writing. Its permissions are `mode`
    /// without the bits of the process's umask.
    ///
    /// # Errors
    /// The system's, for example if the folder doesn't exist.
    pub fn new_in(folder: &Path, mode: u32) -> io::Result<Self> {
        if Path::new(OPEN_FILES).exists() {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            match rustix::fs::open(folder, flags, Mode::from_raw_mode(mode)) {
                Ok(file) => {
                    return Ok(Self {
                        file: file.into(),
                        folder: folder.to_owned(),
                        temporary: Temporary::default(),
                    });
                }
                // A file with a name would be refused too, and the error would have that name.
                Err(error @ (Errno::NOENT | Errno::NOTDIR | Errno::ACCESS)) => {
                    return Err(error.into());
                }
                Err(_) => {}
            }
        }
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        let mut builder = Builder::new();
        let named = builder.prefix(PREFIX).permissions(permissions);
        let (file, path) = named.tempfile_in(folder)?.into_parts();
        Ok(Self {
            file,
            folder: folder.to_owned(),
            temporary: Temporary(Arc::new(Mutex::new(Some(path)))),
        })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The temporary name that it has or will have for a moment, for a handler that ends the
    /// process.
    pub fn temporary(&self) -> Temporary {
        self.temporary.clone()
    }

    /// Give it its name, unless another file has that name.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if one has; or the system's.
    pub fn persist_new(self, path: &Path) -> io::Result<()> {
        let mut temporary = self.temporary.0.lock();
        match temporary.take() {
            Some(named) => Ok(named.persist_noclobber(path)?),
            None => self.link(path),
        }
    }

    /// Give it its name, and replace a file of that name at one instant.
    ///
    /// # Errors
    /// The name is that of something else than a file, such as a device; or the system's. Then what
    /// has the name stays.
    pub fn persist(self, path: &Path) -> io::Result<()> {
        // The system would replace anything but a folder.
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(io::Error::other(
                "it is no file, and only files are replaced",
            ));
        }
        // A handler that ends the process waits until the temporary name is gone.
        let mut temporary = self.temporary.0.lock();
        if let Some(named) = temporary.take() {
            return Ok(named.persist(path)?);
        }
        let mut builder = Builder::new();
        let named = builder.prefix(PREFIX);
        let named = named.make_in(&self.folder, |temporary| self.link(temporary))?;
        Ok(named.into_temp_path().persist(path)?)
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        let open = format!("{OPEN_FILES}/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(
            CWD,
            open,
            CWD,
            path,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// As on a file system that has no files without a name.
    fn named(folder: &Path) -> NewFile {
        let (file, path) = Builder::new().tempfile_in(folder).unwrap().into_parts();
        NewFile {
            file,
            folder: folder.to_owned(),
            temporary: Temporary(Arc::new(Mutex::new(Some(path)))),
        }
    }

    #[test]
    fn a_new_file_has_its_name_when_it_is_given_and_leaves_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let names = || fs::read_dir(dir.path()).unwrap().count();
        for (round, make) in [named, |folder: &Path| {
            NewFile::new_in(folder, 0o600).unwrap()
        }]
        .into_iter()
        .enumerate()
        {
            let _ = fs::remove_file(&path);
            make(dir.path()).temporary().remove();
            drop(make(dir.path()));
            assert_eq!(names(), 0);
            let text = round.to_string();
            let new = make(dir.path());
            new.file().write_all(text.as_bytes()).unwrap();
            new.persist_new(&path).unwrap();
            assert_eq!((fs::read_to_string(&path).unwrap(), names()), (text, 1));
            let refused = make(dir.path()).persist_new(&path).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(names(), 1);
            make(dir.path()).persist(&path).unwrap();
            assert_eq!((fs::read(&path).unwrap(), names()), (Vec::new(), 1));
        }
        fs::remove_file(&path).unwrap();
        let _socket = UnixListener::bind(&path).unwrap();
        let refused = named(dir.path()).persist(&path).unwrap_err().to_string();
        assert!(refused.contains("no file"), "{refused}");
        assert!(!fs::metadata(&path).unwrap().is_file());
    }
}
