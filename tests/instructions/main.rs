//! How many instructions a request takes from the avail ring to the used ring, held against kept
//! figures.
//!
//! The program starts itself under valgrind's callgrind, where the code of a worker serves rings
//! of ours. Instructions are counted from the driver's kick until the worker would sleep again;
//! those that run often in one request copy or fill bytes and are counted apart, or they would hide
//! all others: what a processor does in one step (`rep movsb`) callgrind counts as thousands.
//! Counts don't depend on the machine's load, and hardly on the machine: `scripts/test` fails if a
//! kind of request takes 5 % more than is kept in `expected.txt`. The library has the switch
//! `rings` and no `hooks` here (`src/build.rs`), so what is counted is what is shipped.
//!
//! | file | what it holds |
//! |---|---|
//! | `main` | words, and the run under valgrind |
//! | `work` | what is run: rings, requests, and the turns of a worker |
//! | `profile` | what callgrind writes |
//! | `expected` | the kept figures |
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "its output is what it is for, and its numbers are small"
)]

mod expected;
mod profile;
mod work;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use expected::Counts;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["--work"] => work::run().map(|()| true),
        ["--accept"] => count().and_then(|counts| counts.keep()).map(|()| true),
        [] => count().and_then(|counts| counts.compare()),
        _ => Err("give nothing, or --accept to keep the figures as they are now".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Run [`work::run`] under callgrind.
fn count() -> Result<Counts, Failure> {
    if ramblk::vhost_user::fuzz::HAS_HOOKS {
        return Err(
            "this is a build with hooks; count what is shipped: scripts/bench instructions".into(),
        );
    }
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("profile");
    let counted = work::COUNTED;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet", "--dump-instr=yes"]);
    command.args(["--compress-strings=no", "--compress-pos=no"]);
    command.arg(format!("--callgrind-out-file={}", output.display()));
    command.arg(format!("--toggle-collect=*{counted}*"));
    command.arg(format!("--dump-after=*{}*", work::KIND_ENDS));
    command.arg(std::env::current_exe()?).arg("--work");
    // The C library would choose other routines on other processors.
    command.env("GLIBC_TUNABLES", PLAINEST);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let ended = command
        .status()
        .map_err(|error| format!("can't start valgrind: {error}; scripts/setup installs it"))?;
    if !ended.success() {
        return Err(format!("the run under valgrind ended with {ended}").into());
    }
    read(&output)
}

/// The processor features that the C library may not use.
const PLAINEST: &str = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,\
                        -AVX_Fast_Unaligned_Load,-Prefer_No_VZEROUPPER,-SSSE3,-SSE4_1,-SSE4_2";

/// One profile per kind of request, in the order in which they were run.
fn read(output: &Path) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for (at, kind) in work::KINDS.iter().enumerate() {
        let part = format!("{}.{}", output.display(), at + 1);
        let text = std::fs::read_to_string(&part).map_err(|error| format!("{part}: {error}"))?;
        let [code, loops] = profile::per_request(&text, kind.requests())?;
        counts.add(kind.name, code, loops);
    }
    Ok(counts)
}
