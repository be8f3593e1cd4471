//! The files of a layer: a tar archive, read front to back.

use std::io::{self, Read};

use super::super::error::Fault;

const BLOCK_BYTES: usize = 512;
/// The longest name or list of attributes.
const MOST_NAME_BYTES: u64 = 64 << 10;
/// The most bytes of other files that are skipped, so that an archive ends some day.
const MOST_SKIPPED_BYTES: u64 = 64 << 30;
/// The folder of the disk.
const FOLDER: &str = "disk/";

/// A file in the folder `/disk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DiskFile {
    pub(super) name: String,
    /// Where its bytes begin in the archive.
    pub(super) start_bytes: u64,
    pub(super) size_bytes: u64,
}

/// An archive that is read front to back.
pub(super) struct Tar<R> {
    bytes: R,
    at_bytes: u64,
    skipped_bytes: u64,
}

impl<R: Read> Tar<R> {
    pub(super) fn new(bytes: R) -> Self {
        Self {
            bytes,
            at_bytes: 0,
            skipped_bytes: 0,
        }
    }

    /// The next file in `/disk`. The archive is then at its first byte.
    pub(super) fn next_disk(
        &mut self,
        mut seek: impl FnMut(&mut R, u64) -> bool,
    ) -> Result<Option<DiskFile>, Fault> {
        let (mut long_name, mut long_size) = (None, None);
        loop {
            let mut header = [0; BLOCK_BYTES];
            if !self.fill(&mut header)? || header.iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            check(&header)?;
            let kind = header[156];
            let own_bytes = number(&header[124..136])?;
            match kind {
                b'L' | b'x' => {
                    let attributes = self.text(own_bytes)?;
                    match kind {
                        b'L' => long_name = Some(text(&attributes)),
                        _ => {
                            let (name, size) = pax(&attributes);
                            long_name = name.or(long_name);
                            long_size = size.or(long_size);
                        }
                    }
                    continue;
                }
                _ => {}
            }
            let size_bytes = long_size.take().unwrap_or(own_bytes);
            let name = long_name.take().unwrap_or_else(|| name(&header));
            let is_file = matches!(kind, b'0' | b'7' | 0);
            let found = disk_name(&name).filter(|_| is_file && size_bytes > 0);
            if let Some(name) = found {
                return Ok(Some(DiskFile {
                    name: name.to_owned(),
                    start_bytes: self.at_bytes,
                    size_bytes,
                }));
            }
            // Links and folders have no bytes, whatever their size says, except in old archives.
            let has_bytes = is_file || !matches!(kind, b'1'..=b'6');
            self.skip(if has_bytes { size_bytes } else { 0 }, &mut seek)?;
        }
    }

    /// Skip the bytes of a file, and what pads them.
    pub(super) fn skip(
        &mut self,
        size_bytes: u64,
        seek: &mut impl FnMut(&mut R, u64) -> bool,
    ) -> Result<(), Fault> {
        let padded = size_bytes.checked_next_multiple_of(BLOCK_BYTES as u64);
        let to = padded.and_then(|padded| self.at_bytes.checked_add(padded));
        let to = to.ok_or_else(|| damaged("a file is larger than any archive"))?;
        self.skip_to(to, seek)
    }

    /// Skip what pads a file that the caller has read.
    pub(super) fn align(&mut self) -> Result<(), Fault> {
        let to = self.at_bytes.checked_next_multiple_of(BLOCK_BYTES as u64);
        self.skip_to(to.unwrap_or(self.at_bytes), &mut |_, _| false)
    }

    fn skip_to(
        &mut self,
        to: u64,
        seek: &mut impl FnMut(&mut R, u64) -> bool,
    ) -> Result<(), Fault> {
        if seek(&mut self.bytes, to) {
            self.at_bytes = to;
            return Ok(());
        }
        self.skipped_bytes += to - self.at_bytes;
        if self.skipped_bytes > MOST_SKIPPED_BYTES {
            return Err(damaged("it has more than 64 GiB of other files"));
        }
        let mut rest = (&mut self.bytes).take(to - self.at_bytes);
        let skipped = io::copy(&mut rest, &mut io::sink()).map_err(|error| broken(&error))?;
        match self.at_bytes + skipped == to {
            true => {
                self.at_bytes = to;
                Ok(())
            }
            false => Err(damaged("it ends within a file")),
        }
    }

    /// The caller has read this much of a file.
    pub(super) fn was_read(&mut self, size_bytes: u64) {
        self.at_bytes += size_bytes;
    }

    pub(super) fn bytes(&mut self) -> &mut R {
        &mut self.bytes
    }

    fn text(&mut self, size_bytes: u64) -> Result<Vec<u8>, Fault> {
        if size_bytes > MOST_NAME_BYTES {
            return Err(damaged("a name is longer than 64 KiB"));
        }
        let padded = size_bytes.next_multiple_of(BLOCK_BYTES as u64);
        let mut text = vec![0; usize::try_from(padded).unwrap_or(0)];
        if !self.fill(&mut text)? {
            return Err(damaged("it ends within a name"));
        }
        text.truncate(usize::try_from(size_bytes).unwrap_or(0));
        Ok(text)
    }

    /// Fill a block. Returns whether there was one.
    fn fill(&mut self, into: &mut [u8]) -> Result<bool, Fault> {
        let mut filled = 0;
        while filled < into.len() {
            match self.bytes.read(&mut into[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(damaged("it ends within a block")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        self.at_bytes += into.len() as u64;
        Ok(true)
    }
}

/// The name of a file that is in the folder `/disk`, and in no folder below it.
fn disk_name(path: &str) -> Option<&str> {
    let path = path.trim_start_matches("./").trim_start_matches('/');
    let name = path.strip_prefix(FOLDER)?;
    let is_marker = name.starts_with(".wh.");
    (!name.is_empty() && !name.contains('/') && !is_marker).then_some(name)
}

fn check(header: &[u8; BLOCK_BYTES]) -> Result<(), Fault> {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    // The sum itself counts as spaces.
    let own = sum(&header[..148]) + 8 * u64::from(b' ') + sum(&header[156..]);
    match number(&header[148..156]) {
        Ok(told) if told == own => Ok(()),
        _ => Err(damaged("a header has a wrong sum")),
    }
}

/// A number in octal digits, or in base 256 with its first bit set.
fn number(field: &[u8]) -> Result<u64, Fault> {
    let wrong = || damaged("a number can't be read");
    if field[0] & 0x80 != 0 {
        return field[1..]
            .iter()
            .try_fold(u64::from(field[0] & 0x7f), |all, &byte| {
                let shifted = all.checked_mul(256).ok_or_else(wrong)?;
                Ok(shifted | u64::from(byte))
            });
    }
    let digits = field.iter().skip_while(|&&byte| byte == b' ');
    let digits = digits.take_while(|byte| !matches!(byte, b' ' | 0));
    digits.clone().try_fold(0, |all: u64, &byte| match byte {
        b'0'..=b'7' => {
            let shifted = all.checked_mul(8).ok_or_else(wrong)?;
            Ok(shifted + u64::from(byte - b'0'))
        }
        _ => Err(wrong()),
    })
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

fn name(header: &[u8; BLOCK_BYTES]) -> String {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    match &header[257..262] == b"ustar" && !prefix.is_empty() && header[262] == 0 {
        true => format!("{prefix}/{name}"),
        false => name,
    }
}

/// The path and the size among attributes: lines of `LENGTH NAME=VALUE`.
fn pax(attributes: &[u8]) -> (Option<String>, Option<u64>) {
    let (mut name, mut size) = (None, None);
    for line in attributes.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some((key, value)) = line.split_once(' ').and_then(|(_, it)| it.split_once('=')) else {
            continue;
        };
        match key {
            "path" => name = Some(value.to_owned()),
            "size" => size = value.parse().ok(),
            _ => {}
        }
    }
    (name, size)
}

fn damaged(what: &str) -> Fault {
    Fault::Content(format!("a layer of it is damaged: {what}; push it again"))
}

fn broken(error: &io::Error) -> Fault {
    let fault = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Fault>());
    fault
        .cloned()
        .unwrap_or_else(|| damaged(&error.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut header = [0; BLOCK_BYTES];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[148..156].fill(b' ');
        header[156] = kind;
        header[257..263].copy_from_slice(b"ustar\0");
        let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut all = header.to_vec();
        all.extend_from_slice(content);
        all.resize(all.len().next_multiple_of(BLOCK_BYTES), 0);
        all
    }

    fn find(archive: &[u8]) -> Result<Option<DiskFile>, Fault> {
        Tar::new(archive).next_disk(|_, _| false)
    }

    #[test]
    fn the_file_in_the_folder_is_found() {
        let long = "12 size=700\n26 path=./disk/long.qcow2\n";
        let archive = [
            entry("etc/disk/a", b'0', b"no"),
            entry("disk/", b'5', b""),
            entry("disk/link", b'2', b""),
            entry("disk/.wh.old", b'0', b"x"),
            entry("disk/sub/file", b'0', b"x"),
            entry("x", b'x', long.as_bytes()),
            entry("disk/cut", b'0', &[7; 700]),
        ]
        .concat();
        let found = find(&archive).unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.size_bytes), ("long.qcow2", 700));
        let start = usize::try_from(found.start_bytes).unwrap();
        assert_eq!(archive[start..start + 700], [7; 700]);
        assert_eq!(
            find(&entry("./disk/a", 0, b"x")).unwrap().unwrap().name,
            "a"
        );
        assert_eq!(find(&[]).unwrap(), None);
        assert_eq!(find(&entry("other", b'0', b"x")).unwrap(), None);
    }

    #[test]
    fn a_damaged_archive_is_an_error() {
        let good = entry("other", b'0', &[1; 2000]);
        for cut in [1, 511, 513, 1500] {
            assert!(find(&good[..cut]).is_err(), "{cut}");
        }
        let mut wrong_sum = good.clone();
        wrong_sum[0] = b'X';
        assert!(find(&wrong_sum).is_err());
        let mut huge = [0; BLOCK_BYTES];
        huge[124..136].fill(0xff);
        huge[148..156].fill(b' ');
        let sum: u64 = huge.iter().map(|&byte| u64::from(byte)).sum();
        huge[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(find(&huge).is_err());
    }
}
