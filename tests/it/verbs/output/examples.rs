//! The examples of each help and manual page, run as they stand there, in a bash, beside a daemon
//! with the disks that they name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::eventually;
use crate::state::arena::{Arena, scratch};
use crate::verbs::{RAMBLK, text};

/// What the examples use, beside `disk.raw` of 1 MiB and `fleet.toml`.
const FURNISHING: &str = "set -e
ramblk group create tenants --iops 1000
ramblk group create empty
ramblk create golden --size 64M
ramblk import golden disk.raw
ramblk snapshot golden v1
ramblk write golden 1M < disk.raw
ramblk snapshot golden v2
ramblk fork golden@v1 vm1 vm2 --label vm=web --group tenants
ramblk image pull disk.raw --name debian --keep
ramblk image pull other.raw --name unused --keep
ramblk create kept --size 1M
ramblk history on kept
ramblk create volatile --size 1M --write-cache volatile
ramblk create recorded --size 1M
ramblk record start recorded
ramblk bench run/recorded/vhost.sock --op write --requests 20 --warm-up 0
ramblk create other --size 1M
ramblk record start other
ramblk create faulty --size 1M --fault error,op=write,times=1 --fault stall,op=flush";

const FLEET: &str = "[[group]]\nname = \"tenants\"\nlimits = { total = { iops = 9000 } }\n\
                     [[disk]]\nname = \"declared\"\nsize = \"1M\"\n";

/// What must be done before the examples of a verb.
const BEFORE: [(&str, &str); 3] = [
    ("power-on", "ramblk power-cut volatile --off"),
    (
        "record mark",
        "ramblk record rm recorded && ramblk record start recorded",
    ),
    (
        "record stop",
        "ramblk record rm recorded && ramblk record start recorded",
    ),
];

/// Examples whose answer is another exit code, as their texts say.
const ANSWERS: [(&str, i32); 3] = [
    ("ramblk diff golden@v1 golden@v2", 1),
    ("ramblk apply -f fleet.toml --dry-run", 8),
    // A host may have a problem or nothing to tell.
    ("ramblk doctor", 9),
];

/// A daemon in a folder of its own.
struct World {
    folder: TempDir,
    child: Child,
}

impl World {
    /// A daemon with the disks of `state`, if that is there.
    fn new(state: Option<&Arena>) -> Self {
        let folder = scratch();
        let path = |name: &str| folder.path().join(name);
        let content: Vec<u8> = (0..1 << 17).flat_map(|at: u64| at.to_le_bytes()).collect();
        fs::write(path("disk.raw"), &content).unwrap();
        fs::write(path("other.raw"), &content[..4096]).unwrap();
        fs::write(path("fleet.toml"), FLEET).unwrap();
        for name in ["state", "state.old"] {
            fs::create_dir(path(name)).unwrap();
            if let Some(state) = state {
                state.store_at(&path(name).join("arena"));
            }
        }
        let child = Command::new(RAMBLK)
            .args(["serve", "--memory-limit", "256M", "--run-dir", "run"])
            .args(["--state-dir", "state"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        let world = Self { folder, child };
        eventually("the daemon answers", || {
            world.run("ramblk ping").status.success()
        });
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Run a line in a bash that finds this `ramblk`.
    fn run(&self, line: &str) -> Output {
        let programs = Path::new(RAMBLK).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        Command::new("timeout")
            .args(["60", "bash", "-c", line])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("RAMBLK_API", self.path("run/api.sock"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// End the daemon. Returns what it kept.
    fn end(mut self) -> Arena {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap();
        Arena::load(&self.path("state/arena"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Run the examples of a verb one after the other. Returns those that failed.
fn faults(verb: &str, examples: &[&Value], state: &Arena) -> Vec<String> {
    let world = World::new(Some(state));
    for (_, before) in BEFORE.iter().filter(|(name, _)| *name == verb) {
        assert!(world.run(before).status.success(), "{before}");
    }
    let mut found = Vec::new();
    for example in examples {
        let line = example["line"].as_str().unwrap();
        let output = world.run(line);
        let code = output.status.code();
        let answer = ANSWERS.iter().find(|(answers, _)| *answers == line);
        if code != Some(0) && code != answer.map(|(_, code)| *code) {
            found.push(format!("{line}: {code:?}: {}", text(&output.stderr)));
        }
    }
    found
}

#[test]
fn every_example_of_the_manual_runs_as_it_stands_there() {
    let world = World::new(None);
    let furnished = world.run(FURNISHING);
    assert!(furnished.status.success(), "{}", text(&furnished.stderr));
    let listed = text(&world.run("ramblk man --examples").stdout);
    let all = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let all: Vec<Value> = all.collect();
    let state = world.end();
    let mut verbs: Vec<&str> = all.iter().map(|it| it["verb"].as_str().unwrap()).collect();
    verbs.dedup();
    assert!(verbs.len() > 70, "{verbs:?}");
    let run: Vec<&Value> = all.iter().filter(|it| it["not_run"].is_null()).collect();
    assert!(all.len() - run.len() < 20, "too many aren't run");
    let left = Mutex::new(verbs);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(verb) = { left.lock().unwrap().pop() } {
                    let own = run.iter().filter(|it| it["verb"] == verb);
                    let own: Vec<&Value> = own.copied().collect();
                    found.lock().unwrap().extend(faults(verb, &own, &state));
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    assert!(found.is_empty(), "{found:#?}");
}
