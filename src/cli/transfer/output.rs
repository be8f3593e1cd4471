//! Where an image is written to: a file that gets its name when it is complete, a block device, or
//! stdout.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, SeekFrom};

use crate::cli::error::Error;
use crate::daemon::{Bytes, NewFile, remove_at_signal};
use crate::image::{self, Output};

/// Open the file or block device of this name for an image, or stdout if it is `-`. `size_bytes` is
/// how long it becomes, if that is known.
///
/// # Errors
/// It can't be written, exists without `overwrite`, or is a device that is too small.
pub(in crate::cli) fn output(
    path: &Path,
    size_bytes: Option<u64>,
    overwrite: bool,
) -> Result<Box<dyn Output>, Error> {
    if path == Path::new("-") {
        if io::stdout().is_terminal() {
            return Err(Error::Usage(
                "stdout is a terminal: send it to a file or a pipe".into(),
            ));
        }
        return Ok(Box::new(Stdout));
    }
    let there = std::fs::metadata(path).ok();
    if there.is_some() && !overwrite {
        return Err(Error::Other(format!("{path:?} {IS_THERE}")));
    }
    match there.map(|there| there.file_type()) {
        Some(kind) if kind.is_block_device() => Ok(Box::new(Device::open(path, size_bytes)?)),
        Some(kind) if !kind.is_file() => Err(Error::Other(format!(
            "{path:?} is neither a file nor a block device; use - for a pipe"
        ))),
        _ => Ok(Box::new(Whole::open(path, size_bytes, overwrite)?)),
    }
}

const IS_THERE: &str = "exists already; use --overwrite to replace it";

#[derive(Debug)]
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Without the buffer of lines that `io::stdout` has.
        Ok(rustix::io::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Stdout {
    fn name(&self) -> &str {
        "stdout"
    }

    fn finish(self: Box<Self>) -> Result<(), image::Error> {
        Ok(())
    }
}

/// A file without a name until it is complete.
#[derive(Debug)]
struct Whole {
    path: PathBuf,
    name: String,
    new: NewFile,
    overwrite: bool,
    /// Everything before this is written, or a hole.
    at: u64,
}

impl Whole {
    fn open(path: &Path, size_bytes: Option<u64>, overwrite: bool) -> Result<Self, Error> {
        let failed = |source| failed(path, source);
        let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let new = NewFile::new_in(folder, 0o666).map_err(failed)?;
        // A limit on the sizes of files is met now, and not at the end.
        new.file()
            .set_len(size_bytes.unwrap_or(0))
            .map_err(failed)?;
        remove_at_signal(new.temporary()).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            name: path.to_string_lossy().into_owned(),
            new,
            overwrite,
            at: 0,
        })
    }

    fn complete(self) -> io::Result<()> {
        self.new.file().set_len(self.at)?;
        // Otherwise the name could survive a crash of the host, and the content not.
        self.new.file().sync_all()?;
        match self.overwrite {
            true => self.new.persist(&self.path),
            false => self.new.persist_new(&self.path),
        }
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.new.file().write_at(bytes, self.at)?;
        self.at += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Whole {
    fn name(&self) -> &str {
        &self.name
    }

    fn skip(&mut self, length_bytes: u64) -> io::Result<()> {
        self.at += length_bytes;
        Ok(())
    }

    fn head_bytes(&self) -> u64 {
        u64::MAX
    }

    fn rewrite_head(&mut self, head: &[u8]) -> io::Result<()> {
        self.new.file().write_all_at(head, 0)
    }

    fn finish(self: Box<Self>) -> Result<(), image::Error> {
        let name = self.name.clone();
        self.complete().map_err(|source| image::Error::Write {
            name,
            source: match source.kind() {
                io::ErrorKind::AlreadyExists => io::Error::other(format!("it {IS_THERE}")),
                _ => source,
            },
        })
    }
}

/// A block device, which still has its old content behind `at`.
#[derive(Debug)]
struct Device {
    name: String,
    file: File,
    at: u64,
}

impl Device {
    fn open(path: &Path, size_bytes: Option<u64>) -> Result<Self, Error> {
        let failed = |source| failed(path, source);
        let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
        let room = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?;
        if let Some(size_bytes) = size_bytes.filter(|&size_bytes| room < size_bytes) {
            return Err(Error::Other(format!(
                "{path:?} has {}, and the disk {}: use a larger device",
                Bytes(room),
                Bytes(size_bytes)
            )));
        }
        let name = path.to_string_lossy().into_owned();
        Ok(Self { name, file, at: 0 })
    }
}

impl Write for Device {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write_at(bytes, self.at)?;
        self.at += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Device {
    fn name(&self) -> &str {
        &self.name
    }

    fn skip(&mut self, length_bytes: u64) -> io::Result<()> {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(&self.file, punch, self.at, length_bytes).is_ok() {
            self.at += length_bytes;
            return Ok(());
        }
        io::copy(&mut io::Read::take(io::repeat(0), length_bytes), self).map(|_| ())
    }

    fn head_bytes(&self) -> u64 {
        u64::MAX
    }

    fn rewrite_head(&mut self, head: &[u8]) -> io::Result<()> {
        self.file.write_all_at(head, 0)
    }

    fn finish(self: Box<Self>) -> Result<(), image::Error> {
        let name = self.name;
        let synced = self.file.sync_all();
        synced.map_err(|source| image::Error::Write { name, source })
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::File {
        what: "write",
        path: path.to_owned(),
        source,
    }
}
