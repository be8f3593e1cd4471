//! Files in a folder, the programs beside which images are read, and content.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ramblk::image::{
    Error, FileMedium, ImageFormat, ImageReader, Opening, Output, Part, ReadAt, open,
};
use tempfile::TempDir;

use crate::driver::data::pattern;

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;

/// A folder for one test.
pub(super) struct Rig(TempDir);

impl Rig {
    pub(super) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Run a line of a shell in the folder. Returns its stdout.
    pub(super) fn sh(&self, line: &str) -> String {
        let program = Command::new("sh")
            .args(["-ec", line])
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&program.stderr);
        assert!(program.status.success(), "{line}: {stderr}");
        String::from_utf8_lossy(&program.stdout).into_owned()
    }

    /// Make a pipe that another process writes a file into. It must be read. Returns its name.
    pub(super) fn feed(&self, name: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let pipe = format!("pipe{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sh(&format!(
            "mkfifo {pipe}; (exec >/dev/null 2>&1; cat {name} > {pipe}) &"
        ));
        pipe
    }

    /// What `qemu-img` reads of an image.
    pub(super) fn qemu_reads(&self, name: &str) -> Vec<u8> {
        self.sh(&format!(
            "qemu-img convert -f qcow2 -O raw {name} {name}.converted"
        ));
        self.read(&format!("{name}.converted"))
    }

    /// All content of an image.
    pub(super) fn content(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.content_as(name, &Opening::default())
    }

    /// All content of an image that is opened in some way.
    pub(super) fn content_as(&self, name: &str, how: &Opening) -> Result<Vec<u8>, Error> {
        content(&mut *open(&self.path(name), how)?)
    }

    pub(super) fn medium(&self, name: &str) -> Arc<dyn ReadAt> {
        Arc::new(FileMedium::open(&self.path(name)).unwrap())
    }

    /// Why an image can't be read, on one line.
    pub(super) fn why_not(&self, name: &str, how: &Opening) -> String {
        let error = self
            .content_as(name, how)
            .expect_err("it is read")
            .to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    }
}

/// All content of an image. What no part has is zeros.
pub(super) fn content(image: &mut dyn ImageReader) -> Result<Vec<u8>, Error> {
    let mut all: Vec<u8> = Vec::new();
    let size_bytes = image.about().size_bytes;
    while let Some(part) = image.next()? {
        let Part::Data { start_bytes, bytes } = part else {
            panic!("zeros that nothing is under");
        };
        let start = usize::try_from(start_bytes).unwrap();
        assert!(start.is_multiple_of(4096), "a part at {start}");
        assert!(start >= all.len() && !bytes.is_empty(), "a part at {start}");
        all.resize(start, 0);
        all.extend_from_slice(bytes);
    }
    let end = image.end_bytes()?;
    if let Some(size_bytes) = size_bytes {
        assert_eq!(size_bytes, end, "the size that was said before");
    }
    all.resize(usize::try_from(end).unwrap(), 0);
    Ok(all)
}

/// Content with text, noise, stretches of one byte, zeros, and short data between zeros.
pub(super) fn mixed(length: usize) -> Vec<u8> {
    let mut all = vec![0; length];
    let mut put = |at: usize, bytes: &[u8]| {
        let end = length.min(at + bytes.len());
        if at < end {
            all[at..end].copy_from_slice(&bytes[..end - at]);
        }
    };
    let text: Vec<u8> = (0..40_000)
        .flat_map(|n: u32| n.to_string().into_bytes())
        .collect();
    put(0, &text);
    put(300 * KIB, &pattern(200 * KIB, 1));
    put(MIB - 700, &[7; 1500]);
    put(MIB + 300 * KIB, &[0xee; 300 * KIB]);
    put(2 * MIB + 512, b"short");
    put(length - length.min(5000), &pattern(5000, 3));
    all
}

/// With an image's format named.
pub(super) fn named(format: ImageFormat) -> Opening<'static> {
    Opening {
        format: Some(format),
        ..Opening::default()
    }
}

/// A file that an image is written into.
pub(super) fn file(path: &Path) -> Box<dyn Output> {
    #[derive(Debug)]
    struct Plain(fs::File);

    impl Write for Plain {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output for Plain {
        fn name(&self) -> &str {
            "file"
        }

        fn finish(self: Box<Self>) -> Result<(), Error> {
            Ok(())
        }
    }
    Box::new(Plain(fs::File::create(path).unwrap()))
}
