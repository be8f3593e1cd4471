//! Writing a raw image: to a file with holes, a block device, or stdout.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, SeekFrom};

use crate::cli::error::Error;
use crate::daemon::{Bytes, NewFile, remove_at_signal};
use crate::image::data_runs;

/// Zeros, for destinations without holes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// An image to write. A file gets its name only once it is complete.
#[derive(Debug)]
pub(in crate::cli) struct Sink {
    path: PathBuf,
    into: Destination,
    /// Everything before this offset is written.
    at: u64,
}

#[derive(Debug)]
enum Destination {
    /// A new file without a name, and whether it may replace an existing one.
    File(NewFile, bool),
    /// A device, which still has its old content.
    Device(File),
    Stdout,
}

impl Sink {
    /// Open a file for an image of `size_bytes`, or stdout if it is `-`.
    ///
    /// # Errors
    /// It can't be written, exists without `overwrite`, or is a device that is too small.
    pub(in crate::cli) fn open(path: &Path, size: u64, overwrite: bool) -> Result<Self, Error> {
        let sink = |into| Self {
            path: path.to_owned(),
            into,
            at: 0,
        };
        if path == Path::new("-") {
            if io::stdout().is_terminal() {
                return Err(Error::Usage(
                    "stdout is a terminal: send it to a file or a pipe".into(),
                ));
            }
            return Ok(sink(Destination::Stdout));
        }
        let failed = |source| failed(path, source);
        let there = std::fs::metadata(path).ok();
        if there.is_some() && !overwrite {
            return Err(is_there(path));
        }
        match there.map(|there| there.file_type()) {
            Some(kind) if kind.is_block_device() => {
                device(path, size).map(Destination::Device).map(sink)
            }
            Some(kind) if !kind.is_file() => Err(Error::Other(format!(
                "{path:?} is neither a file nor a block device; use - for a pipe"
            ))),
            _ => {
                let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                let new = NewFile::new_in(folder, 0o666).map_err(failed)?;
                new.file().set_len(size).map_err(failed)?;
                remove_at_signal(new.temporary()).map_err(failed)?;
                Ok(sink(Destination::File(new, overwrite)))
            }
        }
    }

    /// Write bytes. What was not written before them becomes zeros.
    pub(in crate::cli) fn write(&mut self, start_bytes: u64, bytes: &[u8]) -> Result<(), Error> {
        self.zero_to(start_bytes)?;
        match &mut self.into {
            Destination::Stdout => io::stdout()
                .lock()
                .write_all(bytes)
                .map_err(Error::Output)?,
            Destination::Device(file) => {
                let written = file.write_all_at(bytes, start_bytes);
                written.map_err(|source| failed(&self.path, source))?;
            }
            Destination::File(new, _) => {
                // Pages of zeros stay holes, even if they were mapped on the disk.
                let written = data_runs(start_bytes, bytes)
                    .try_for_each(|(at, run)| new.file().write_all_at(run, at));
                written.map_err(|source| failed(&self.path, source))?;
            }
        }
        self.at = start_bytes + bytes.len() as u64;
        Ok(())
    }

    /// Complete the image, which ends here, and give it its name.
    pub(in crate::cli) fn finish(mut self, end_bytes: u64) -> Result<(), Error> {
        self.zero_to(end_bytes)?;
        let failed = |source| failed(&self.path, source);
        match self.into {
            Destination::Stdout => io::stdout().lock().flush().map_err(Error::Output),
            Destination::Device(file) => file.sync_all().map_err(failed),
            Destination::File(new, overwrite) => {
                // Otherwise the name could survive a crash of the host, and the content not.
                new.file().sync_all().map_err(failed)?;
                let named = match overwrite {
                    true => new.persist(&self.path),
                    false => new.persist_new(&self.path),
                };
                named.map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => is_there(&self.path),
                    _ => failed(error),
                })
            }
        }
    }

    /// Write zeros from the end of what was written up to here.
    fn zero_to(&mut self, end: u64) -> Result<(), Error> {
        let failed = |source| failed(&self.path, source);
        let length = end.saturating_sub(self.at);
        match &mut self.into {
            // A new file is one hole.
            Destination::File(..) => {}
            _ if length == 0 => {}
            Destination::Stdout => zeros(length, |_, part| io::stdout().lock().write_all(part))
                .map_err(Error::Output)?,
            Destination::Device(file) => {
                let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                if rustix::fs::fallocate(&*file, punch, self.at, length).is_err() {
                    let at = self.at;
                    zeros(length, |done, part| file.write_all_at(part, at + done))
                        .map_err(failed)?;
                }
            }
        }
        self.at = self.at.max(end);
        Ok(())
    }
}

fn is_there(path: &Path) -> Error {
    Error::Other(format!(
        "{path:?} exists already; use --overwrite to replace it"
    ))
}

fn zeros(length: u64, mut write: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut done = 0;
    while done < length {
        let part = usize::try_from(length - done).unwrap_or(usize::MAX);
        let part = &ZEROS[..part.min(ZEROS.len())];
        write(done, part)?;
        done += part.len() as u64;
    }
    Ok(())
}

fn device(path: &Path, size_bytes: u64) -> Result<File, Error> {
    let failed = |source| failed(path, source);
    let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
    let room = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?;
    if room < size_bytes {
        return Err(Error::Other(format!(
            "{path:?} has {}, and the disk {}: use a larger device",
            Bytes(room),
            Bytes(size_bytes)
        )));
    }
    Ok(file)
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::File {
        what: "write",
        path: path.to_owned(),
        source,
    }
}
