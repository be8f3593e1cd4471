//! The kept figures, and whether there are more instructions now.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::Failure;

const FILE: &str = "expected.txt";
const ACCEPT: &str = "scripts/bench instructions --accept";
/// How far a figure may be off, either way.
const TOLERANCE: f64 = 0.05;

/// Instructions per request: code that runs once or a few times, and loops over bytes.
#[derive(Debug, Default)]
pub(crate) struct Counts(Vec<(String, [f64; 2])>);

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)
}

impl Counts {
    pub(crate) fn add(&mut self, name: &str, code: f64, loops: f64) {
        self.0.push((name.to_owned(), [code, loops]));
    }

    /// Keep these figures.
    pub(crate) fn keep(&self) -> Result<(), Failure> {
        let mut text = format!(
            "# Instructions per request: code, and loops over bytes. Written by: {ACCEPT}\n\
             # {}\n",
            compiler()
        );
        for (name, [code, loops]) in &self.0 {
            writeln!(text, "{name:24} {code:8.1} {loops:8.1}")?;
        }
        fs::write(path(), &text)?;
        print!("{text}");
        println!("kept in tests/instructions/{FILE}");
        Ok(())
    }

    /// The kept figures, and the compiler of the program that they belong to.
    fn read() -> Result<(Self, String), Failure> {
        let text = fs::read_to_string(path()).map_err(|error| {
            format!("tests/instructions/{FILE}: {error}; make it with {ACCEPT}")
        })?;
        let wrong = |line: &str| format!("{FILE}: no figures in {line:?}; make it anew: {ACCEPT}");
        let mut kept = Self::default();
        let mut notes = Vec::new();
        for line in text.lines() {
            if let Some(note) = line.strip_prefix("# ") {
                notes.push(note.to_owned());
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, code, loops] = words[..] else {
                return Err(wrong(line).into());
            };
            let number = |word: &str| word.parse::<f64>().map_err(|_| wrong(line));
            kept.add(name, number(code)?, number(loops)?);
        }
        Ok((kept, notes.pop().unwrap_or_default()))
    }

    /// Print both. Returns whether no kind of request takes notably more than its kept figure.
    pub(crate) fn compare(&self) -> Result<bool, Failure> {
        let (kept, by) = Self::read()?;
        let mut more = Vec::new();
        let mut fewer = Vec::new();
        println!("{:24} {:>8} {:>8}   kept", "per request", "code", "loops");
        for (name, now) in &self.0 {
            let before = kept.0.iter().find(|(other, _)| other == name);
            let Some((_, before)) = before else {
                return Err(format!("{FILE} has no {name}; make it anew: {ACCEPT}").into());
            };
            let [code, loops] = now;
            println!(
                "{name:24} {code:8.1} {loops:8.1}   {:.1} {:.1}",
                before[0], before[1]
            );
            for (what, (now, before)) in ["", " (loops over bytes)"]
                .iter()
                .zip(now.iter().zip(before))
            {
                let line = format!("{name}{what}: from {before:.1} to {now:.1}");
                // Half an instruction more is noise, however few there were.
                if *now > before * (1.0 + TOLERANCE) + 0.5 {
                    more.push(line);
                } else if *now < before * (1.0 - TOLERANCE) - 0.5 {
                    fewer.push(line);
                }
            }
        }
        let by = if by == compiler() {
            String::new()
        } else {
            format!(" (the kept figures are of {by}, this is {})", compiler())
        };
        let list = |lines: &[String]| lines.join("\n  ");
        if !fewer.is_empty() {
            println!(
                "fewer instructions per request than are kept{by}; keep them with {ACCEPT}:\n  {}",
                list(&fewer)
            );
        }
        if !more.is_empty() {
            eprintln!(
                "error: more instructions per request than are kept{by}:\n  {}\n\
                 find out why (docs/performance.md), or accept them with {ACCEPT}",
                list(&more)
            );
        }
        Ok(more.is_empty())
    }
}

/// Another compiler makes other instructions.
fn compiler() -> String {
    let output = std::process::Command::new("rustc")
        .arg("--version")
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
