//! Where the figures come from, and the page that keeps the latest ones.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Settings;
use crate::measure::Failure;
use crate::plot;
use crate::table::Line;

const PAGE: &str = "docs/performance.md";
const PLOT: &str = "docs/performance.svg";
/// [`save`] writes what is between these lines.
const BEGIN: &str =
    "<!-- figures: scripts/bench peers --save writes what is between these lines -->";
const END: &str = "<!-- end of figures -->";

/// The machine, its settings, and what was run.
pub(crate) fn machine(settings: &Settings, words: &[String]) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let cpu = cpu.unwrap_or("").trim_matches([' ', '\t', ':']).to_owned();
    let kernel = read("/proc/sys/kernel/osrelease");
    let huge = "/sys/kernel/mm/transparent_hugepage";
    let [private, shared] =
        ["enabled", "shmem_enabled"].map(|name| chosen(&read(&format!("{huge}/{name}"))));
    // Paths of builds mean nothing on another machine.
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| settings.wanted.iter().any(|name| name == word) || *word == "--quick")
        .collect();
    let command = format!("scripts/bench peers {}", words.join(" "));
    let items = [
        format!("{cores} x {cpu}, Linux {kernel}"),
        format!("transparent huge pages: {private}, of shared memory: {shared}"),
        said("qemu-storage-daemon", &["--version"]),
        format!(
            "ramblk {}",
            said("git", &["describe", "--always", "--dirty", "--tags"])
        ),
        format!(
            "{}, `{}`",
            said("date", &["-u", "+%Y-%m-%d"]),
            command.trim()
        ),
    ];
    items.map(|item| format!("- {item}\n")).concat()
}

/// How rows with bars are measured.
pub(crate) fn how(settings: &Settings) -> String {
    format!(
        "- medians of {} rounds of {} s each; in parentheses the lowest and highest of the \
         rounds' own ratios\n",
        settings.rounds(),
        settings.seconds()
    )
}

fn read(file: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.trim().to_owned()
}

/// The word in brackets.
fn chosen(text: &str) -> String {
    let word = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    word.map_or("unknown", |(word, _)| word).to_owned()
}

/// The first line of a program's output.
fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    match text.lines().next() {
        Some(line) => line.to_owned(),
        None => format!("{program}: unknown"),
    }
}

/// Write the figures into the page.
pub(crate) fn save(machine: &str, lines: &[Line]) -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join(PAGE))?;
    let marks = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) =
        marks.ok_or_else(|| format!("{PAGE} has lost the lines {BEGIN} {END}"))?;
    let table: Vec<String> = lines.iter().map(Line::to_string).collect();
    let (head, table) = (Line::head(), table.join("\n"));
    let plot = "![Each peer's throughput](performance.svg)";
    let page = format!("{before}{BEGIN}\n\n{machine}\n{head}\n{table}\n\n{plot}\n\n{END}{after}");
    plot::draw(&root.join(PLOT), lines)?;
    fs::write(root.join(PAGE), page)?;
    println!("\nwritten: {PAGE}, {PLOT}");
    Ok(())
}
