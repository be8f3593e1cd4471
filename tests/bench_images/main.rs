//! How fast images are imported, by `scripts/bench images`: into a daemon, beside `qemu-img
//! convert` to a file on a tmpfs and the decompressors of the formats.
//!
//! It prints a Markdown table. An import should be bound by its decompressor: the bars are 1.2
//! times the rate of `qemu-img` for compressed qcow2, and 0.9 times that of `zstd -d` for zstd.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark that can't be run ends, and its figures go to the terminal"
)]

#[allow(dead_code, reason = "shared with other benchmarks")]
#[path = "../bench_limits/daemon.rs"]
mod daemon;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use daemon::Daemon;

/// An image, and the program beside which it is imported.
struct Row {
    name: &'static str,
    /// Makes `image` of `raw`, in a folder on a tmpfs.
    make: &'static str,
    /// Makes the raw image `out` of it.
    other: &'static str,
    /// How many times as fast as the other program an import should be.
    bar: Option<f64>,
}

const ROWS: [Row; 7] = [
    Row {
        name: "qcow2-zlib",
        make: "qemu-img convert -f raw -O qcow2 -c -m 2 raw image",
        other: "qemu-img convert -f qcow2 -O raw image out",
        bar: Some(1.2),
    },
    Row {
        name: "qcow2-zstd",
        make: "qemu-img convert -f raw -O qcow2 -c -m 2 -o compression_type=zstd raw image",
        other: "qemu-img convert -f qcow2 -O raw image out",
        bar: Some(1.2),
    },
    Row {
        name: "qcow2-plain",
        make: "qemu-img convert -f raw -O qcow2 raw image",
        other: "qemu-img convert -f qcow2 -O raw image out",
        bar: None,
    },
    Row {
        name: "zst-frames",
        make: "EXPORT",
        other: "zstd -qdf -T2 image -o out",
        bar: Some(0.9),
    },
    Row {
        name: "zst-one-frame",
        make: "zstd -q -T2 raw -o image",
        other: "zstd -qdf -T2 image -o out",
        bar: Some(0.9),
    },
    Row {
        name: "gz",
        make: "gzip -1c raw > image",
        other: "gzip -dc image > out",
        bar: None,
    },
    Row {
        name: "xz-blocks",
        make: "xz -0 -T2 --block-size=8MiB -c raw > image",
        other: "xz -dc -T2 image > out",
        bar: None,
    },
];

/// Content that is compressed to about a third, as that of a disk with programs and texts is: words
/// of a small dictionary, some noise, and no page of zeros.
fn content(path: &Path, bytes: u64) {
    let mut random = fastrand::Rng::with_seed(17);
    let words: Vec<Vec<u8>> = (0..2048)
        .map(|_| (0..random.usize(3..14)).map(|_| random.u8(..)).collect())
        .collect();
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut page = Vec::with_capacity(8192);
    for _ in 0..bytes / 4096 {
        page.clear();
        while page.len() < 4096 {
            let skewed = random.usize(..words.len()) * random.usize(..words.len()) / words.len();
            page.extend_from_slice(&words[skewed]);
        }
        if random.u8(..10) == 0 {
            random.fill(&mut page);
        }
        file.write_all(&page[..4096]).unwrap();
    }
    file.flush().unwrap();
}

fn sh(folder: &Path, line: &str) {
    let status = Command::new("sh")
        .args(["-ec", line])
        .current_dir(folder)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{line}");
}

fn timed(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}

/// The middle of the times.
fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn measure(row: &Row, folder: &Path, bytes: u64, rounds: usize) {
    let daemon = Daemon::start();
    let size = bytes.to_string();
    let image = folder.join("image");
    let image = image.to_str().unwrap();
    if row.make == "EXPORT" {
        let raw = folder.join("raw");
        daemon.say(&["create", "a", "--image", raw.to_str().unwrap()]);
        daemon.say(&["export", "a", image, "--format", "zst"]);
        daemon.say(&["destroy", "a"]);
    } else {
        sh(folder, row.make);
    }
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        daemon.say(&["create", "a", "--size", &size]);
        ours.push(timed(|| daemon.say(&["import", "a", image])));
        daemon.say(&["destroy", "a"]);
        others.push(timed(|| sh(folder, row.other)));
        sh(folder, "rm out");
    }
    sh(folder, "rm image");
    let (ours, other) = (middle(ours), middle(others));
    let rate = |seconds: f64| bytes as f64 / seconds / 1e6;
    let met = match row.bar {
        None => "–",
        Some(bar) if other / ours >= bar => "yes",
        Some(_) => "no",
    };
    let bar = row.bar.map_or_else(|| "–".into(), |bar| format!("{bar}"));
    println!(
        "| {} | {:.0} | {:.0} (`{}`) | {:.2} | {bar} | {met} |",
        row.name,
        rate(ours),
        rate(other),
        row.other.split(' ').next().unwrap_or_default(),
        other / ours
    );
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_quick = words.iter().any(|word| word == "--quick");
    let (bytes, rounds) = if is_quick {
        (64 << 20, 3)
    } else {
        (256 << 20, 5)
    };
    let wanted: Vec<&String> = words.iter().filter(|it| !it.starts_with("--")).collect();
    let folder = tempfile::Builder::new().tempdir_in("/dev/shm").unwrap();
    content(&folder.path().join("raw"), bytes);
    println!("| row | import, MB/s | the other, MB/s | times as fast | bar | met |");
    println!("|---|---|---|---|---|---|");
    for row in &ROWS {
        if wanted.is_empty()
            || wanted
                .iter()
                .any(|name| row.name.starts_with(name.as_str()))
        {
            measure(row, folder.path(), bytes, rounds);
        }
    }
}
