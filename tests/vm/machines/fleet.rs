//! The way of README.md, "Ten machines in five minutes", as a reader types it.

use std::path::Path;
use std::process::Command;

use crate::blocks::{Fate, as_script, of_page};

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");

#[test]
fn the_first_page_s_ten_machines_boot_on_forks_of_one_disk() {
    let sections = of_page("README.md");
    let section = sections
        .iter()
        .find(|section| section.title == "Ten machines in five minutes");
    let here = Fate::RunBy("tests/vm/machines/fleet.rs".to_owned());
    let blocks = section.unwrap().blocks.iter().filter(|b| b.fate == here);
    let script: String = blocks.map(|block| as_script(&block.commands)).collect();
    let run_dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let run_dir = run_dir.path().to_str().unwrap();
    let script = script.replace("/run/ramblk", run_dir) + "kill $(jobs -p); wait\n";

    let programs = Path::new(RAMBLK).parent().unwrap().display();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("timeout")
        .args(["500", "bash", "-eu", "-c", &script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", format!("{programs}:{path}"))
        .env("RUNTIME_DIRECTORY", run_dir)
        // Until its socket is there, verbs would find a daemon that this host runs for itself.
        .env("RAMBLK_API", format!("{run_dir}/api.sock"))
        .env_remove("XDG_RUNTIME_DIR")
        .output()
        .unwrap();
    let [said, errors] =
        [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
    assert!(output.status.success(), "{said}\n{errors}");
    for number in 1..=10 {
        let greeting = format!("vm-{number:02}: hello from golden");
        assert!(said.contains(&greeting), "{greeting}\n{said}\n{errors}");
    }
}
