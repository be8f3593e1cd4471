//! A shell with `ramblk` in its PATH, in which the commands of a section run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::blocks::{Fate, Section, as_script};
use crate::verbs::Daemon;

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");

/// What the pages call the run directory of a daemon; a test has one elsewhere.
const RUN_DIR: &str = "/run/ramblk";

/// What reaches processes and services that aren't the test's own.
const BEYOND: [&str; 5] = ["pidof", "pgrep", "pkill", "killall", "systemctl"];

/// How long the commands of a section may take, in seconds.
const LIMIT: &str = "120";

/// What a shell runs for a section, with the daemons' sockets as $HERE and $THERE; empty if all of
/// its blocks are left out.
pub(crate) fn script(section: &Section, begin: &str) -> String {
    let mut script = String::new();
    for block in &section.blocks {
        let daemon = match block.fate {
            Fate::Here | Fate::Each => "HERE",
            Fate::There => "THERE",
            Fate::RunBy(_) | Fate::NotRun(_) => continue,
        };
        let commands = as_script(&block.commands);
        script += &format!(
            "export RAMBLK_API=\"${daemon}\"\n{}{commands}",
            block.hidden
        );
    }
    if script.is_empty() {
        return script;
    }
    format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{begin}{script}")
}

/// Run the commands of a section in a folder, and return what they said if one of them failed.
pub(crate) fn run(script: &str, folder: &Path, variables: &[(&str, String)]) -> Result<(), String> {
    let programs = Path::new(RAMBLK).parent().unwrap().display();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("timeout")
        .args([LIMIT, "bash", "-euxo", "pipefail", "-c", script])
        .current_dir(folder)
        .env("PATH", format!("{programs}:{path}:/usr/sbin:/sbin"))
        .env_remove("XDG_RUNTIME_DIR")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    Err(said.concat())
}

/// Run the commands of a section with a daemon and a folder of their own.
pub(super) fn run_alone(section: &Section, begin: &str) -> Result<(), String> {
    let script = script(section, begin);
    if script.is_empty() {
        return Ok(());
    }
    if let Some(word) = BEYOND.iter().find(|word| script.contains(**word)) {
        return Err(format!("{word:?} reaches beyond the test: say `not run`"));
    }
    let folder = TempDir::new().unwrap();
    if script.contains("ramblk serve") {
        // The reader's own daemon, in the place where a service would have it.
        let run = folder.path().join("run");
        fs::create_dir(&run).unwrap();
        let run = run.to_str().unwrap().to_owned();
        let script = script.replace(RUN_DIR, &run);
        // Until that is there, verbs would find a daemon that this host runs for itself.
        let api = format!("{run}/api.sock");
        let places = [("HERE", api), ("RUNTIME_DIRECTORY", run)];
        return self::run(&script, folder.path(), &places);
    }
    let [here, there] = [Daemon::start(), Daemon::start()];
    let [api, run_dir] = ["api.sock", "run"].map(|name| here.path(name).display().to_string());
    let script = script
        .replace(&format!("{RUN_DIR}/api.sock"), &api)
        .replace(RUN_DIR, &run_dir);
    let sockets = [
        ("HERE", api),
        ("THERE", there.path("api.sock").display().to_string()),
    ];
    self::run(&script, folder.path(), &sockets)
}
