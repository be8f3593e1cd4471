//! The build script: turns `RAMBLK_TEST`, a list of switches with commas between them, into cfgs
//! for the library and its tests. They are no cargo features, so that `--all-features` builds
//! what can be shipped.
//!
//! | switch | what it does |
//! |---|---|
//! | `hooks` | points at which a test kills the process or has it fail; each asks for a variable, |
//! | | also while a request is served |
//! | `rings` | public names for the rings and sessions that fuzz targets and the counting of |
//! | | instructions drive; what serves requests is what is shipped |
//! | `schedules` | locks and atomics are those of a scheduler that tries out interleavings; |
//! | | needs the feature `shuttle` |
//! | `null` | disks move no bytes: what remains is the cost of rings and look-ups |
//!
//! The cfg of `hooks` is `ramblk_hooks`, and so on.
//!
//! An optimised build also has `ramblk_kept_document`: it contains the API's document as it is kept
//! in `tests/it/snapshots`, and nothing that makes it. That text and some pages of the guide are
//! built in packed (`src/kept.rs`).
//!
//! Without the variable, an unoptimised build has `hooks` and `rings`, and an optimised one has
//! neither. So nearly all tests share one build of the library.
#![allow(clippy::panic, reason = "that is how a build script fails")]

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Pages of the guide, parts of which are parts of the manual too.
const PAGES: [&str; 3] = [
    "docs/guide/reference/api.md",
    "docs/guide/reference/cli.md",
    "docs/guide/test-rig.md",
];

const SWITCHES: [&str; 4] = ["hooks", "rings", "schedules", "null"];

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed=RAMBLK_TEST");
    for switch in SWITCHES {
        println!("cargo::rustc-check-cfg=cfg(ramblk_{switch})");
    }
    println!("cargo::rustc-check-cfg=cfg(ramblk_kept_document)");
    let is_optimised = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if is_optimised {
        println!("cargo::rustc-cfg=ramblk_kept_document");
        keep_document();
    }
    if std::env::var_os("CARGO_FEATURE_CLI").is_some() {
        for page in PAGES {
            pack(page.rsplit('/').next().unwrap_or(page), &read(page));
        }
    }
    let wanted = std::env::var("RAMBLK_TEST")
        .unwrap_or_else(|_| if is_optimised { "" } else { "hooks,rings" }.to_owned());
    for switch in wanted.split(',').filter(|switch| !switch.is_empty()) {
        assert!(
            SWITCHES.contains(&switch),
            "RAMBLK_TEST: what is {switch:?}? There are {SWITCHES:?}"
        );
        println!("cargo::rustc-cfg=ramblk_{switch}");
    }
}

/// Packs the kept document without the spaces between its words.
fn keep_document() {
    // The test's own words come first. No string goes over the end of a line.
    let document: String = read("tests/it/snapshots/openapi.snap")
        .lines()
        .skip_while(|line| *line != "{")
        .map(str::trim_start)
        .collect();
    pack("openapi.json", &document);
}

fn read(path: &str) -> String {
    println!("cargo::rerun-if-changed={path}");
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Writes a text for `src/kept.rs`: each is packed to a fifth, and seldom read.
fn pack(name: &str, text: &str) {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    let folder = std::env::var_os("OUT_DIR").unwrap_or_default();
    let path = std::path::Path::new(&folder).join(format!("{name}.z"));
    packed
        .write_all(text.as_bytes())
        .and_then(|()| packed.finish())
        .and_then(|packed| std::fs::write(&path, packed))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
