//! An image on another host, in the process that serves it: a helper reads it, and only frames
//! come from there.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::fetch::{Head, MOST_HEAD_BYTES};
use crate::cli::error::{EXIT_USAGE, Error};
use crate::cli::transfer::{FETCH, HELPER, PROGRAM};
use crate::image::{self, About, ImageFormat, ImageReader, Labels, Part};
use crate::model::frames::{HEADER_BYTES, MOST_BYTES};

/// The longest text of an error.
const MOST_ERROR_BYTES: u64 = 16 << 10;
/// The signal that ends a process which makes a call that its sandbox refuses.
const SIGSYS: i32 = rustix::process::Signal::SYS.as_raw();
/// What a frame's data begins at a multiple of.
const PAGE_BYTES: u64 = 4096;

/// What to fetch.
#[derive(Debug)]
pub(in crate::cli) struct Fetching<'a> {
    /// Where it is.
    pub(in crate::cli) source: &'a Path,
    /// The options of its format.
    pub(in crate::cli) words: Vec<OsString>,
    /// The most bytes that it may have.
    pub(in crate::cli) most_bytes: Option<u64>,
    /// The number of a descriptor that the helper must not have.
    pub(in crate::cli) not_inherited: Option<i32>,
}

/// Open an image by a helper.
///
/// # Errors
/// What the helper says.
pub(in crate::cli) fn fetched(what: &Fetching<'_>) -> Result<Box<dyn ImageReader>, Error> {
    if let Some(fd) = what.not_inherited {
        crate::daemon::keep_from_children(fd)?;
    }
    let mut program = Command::new(PROGRAM);
    program.args([HELPER, FETCH]).args(&what.words);
    if let Some(bytes) = what.most_bytes {
        program.arg("--most-bytes").arg(bytes.to_string());
    }
    let failed = |error: io::Error| {
        Error::Other(format!(
            "the process that reads the image can't start: {error}"
        ))
    };
    let mut child = program
        .arg("--")
        .arg(what.source)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let out = child.stdout.take();
    let out = out.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
    let mut frames = BufReader::with_capacity(HEADER_BYTES + MOST_BYTES, out);
    let mut line = String::new();
    let read = (&mut frames).take(MOST_HEAD_BYTES).read_line(&mut line);
    let mut helper = Helper(child);
    let head: Head = match read.is_ok().then(|| serde_json::from_str(&line)) {
        Some(Ok(head)) => head,
        _ => {
            let (code, text) = helper.end();
            return Err(match code {
                Some(code) if code == i32::from(EXIT_USAGE) => Error::Usage(text),
                _ => Error::Other(text),
            });
        }
    };
    Ok(Box::new(Fetched {
        about: About {
            name: head.name,
            format: ImageFormat::Raw,
            size_bytes: head.size_bytes,
            identity: head.identity,
            labels: Labels::default(),
            properties: Vec::new(),
        },
        helper,
        frames,
        data: Vec::new(),
        at_bytes: 0,
        ended: false,
    }))
}

/// The process that reads the image. It ends with this value.
#[derive(Debug)]
struct Helper(Child);

impl Helper {
    /// Its exit code, and the last line that it wrote to stderr.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut text = Vec::new();
        if let Some(said) = self.0.stderr.take() {
            let _ = said.take(MOST_ERROR_BYTES).read_to_end(&mut text);
        }
        let status = self.0.wait().ok();
        let code = status.and_then(|status| status.code());
        let text = String::from_utf8_lossy(&text);
        let last = text.trim_end().lines().last();
        let last = last.unwrap_or(match status.and_then(|status| status.signal()) {
            Some(SIGSYS) => {
                "the process that reads the image was ended by its sandbox: if the image is no \
                 attack, report it"
            }
            _ => "the process that reads the image was killed",
        });
        (code, last.replace(char::is_control, "?"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An image that a helper reads.
#[derive(Debug)]
struct Fetched {
    about: About,
    helper: Helper,
    frames: BufReader<ChildStdout>,
    data: Vec<u8>,
    at_bytes: u64,
    ended: bool,
}

impl Fetched {
    fn failed(&self, text: impl Into<String>) -> image::Error {
        image::Error::Read {
            name: self.about.name.clone(),
            source: io::Error::other(text.into()),
        }
    }

    /// Why the helper's frames end.
    fn broken(&mut self) -> image::Error {
        let (_, text) = self.helper.end();
        // It names the image as this error does.
        let begin = format!("can't read image {:?}: ", self.about.name);
        let text = text.strip_prefix(&begin).unwrap_or(&text).to_owned();
        self.failed(text)
    }
}

impl ImageReader for Fetched {
    fn about(&self) -> &About {
        &self.about
    }

    fn next(&mut self) -> Result<Option<Part<'_>>, image::Error> {
        if self.ended {
            return Ok(None);
        }
        let mut head = [0; HEADER_BYTES];
        if self.frames.read_exact(&mut head).is_err() {
            return Err(self.broken());
        }
        let number = |at: usize| head[at..at + 8].try_into().map(u64::from_le_bytes);
        let (start_bytes, length) = (number(0).unwrap_or(0), number(8).unwrap_or(0));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let is_page = start_bytes.is_multiple_of(PAGE_BYTES) || length == 0;
        let end_bytes = start_bytes.checked_add(length as u64);
        let Some(end_bytes) =
            end_bytes.filter(|_| is_page && length <= MOST_BYTES && start_bytes >= self.at_bytes)
        else {
            return Err(self.failed("bug: the process that reads it sent a frame that can't be"));
        };
        self.at_bytes = end_bytes;
        if length == 0 {
            self.ended = true;
            return Ok(None);
        }
        self.data.resize(length, 0);
        if self.frames.read_exact(&mut self.data).is_err() {
            return Err(self.broken());
        }
        let bytes = &self.data[..];
        Ok(Some(Part::Data { start_bytes, bytes }))
    }

    fn swap(&mut self, spare: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.data, spare)
    }

    fn end_bytes(&mut self) -> Result<u64, image::Error> {
        match self.helper.end() {
            (Some(0), _) => Ok(self.at_bytes),
            (_, text) => Err(self.failed(text)),
        }
    }

    fn progress(&self) -> (u64, Option<u64>) {
        (self.at_bytes, self.about.size_bytes)
    }
}
