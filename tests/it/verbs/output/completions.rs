//! Completions, tried in the shells themselves, with a daemon and without.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::verbs::{Daemon, RAMBLK, text};

/// A daemon with names.
fn furnished() -> Daemon {
    let daemon = Daemon::start();
    for line in [
        "group create tenants",
        "create golden --size 1M --label vm=web",
        "create gold2 --size 1M",
        "snapshot golden v1",
        "snapshot golden v2",
        "fault add golden delay=1ms,op=flush,id=slow",
        "fault add golden error,op=write",
        "fault add gold2 stall,op=read,id=other",
        "image pull system.img --name system",
    ] {
        if line.starts_with("image") {
            fs::write(daemon.path("system.img"), [7; 1 << 20]).unwrap();
        }
        daemon.ok(line);
    }
    daemon
}

/// What a line may become: each candidate.
fn complete(daemon: &Daemon, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let output = daemon
        .command(&[&["__complete", "--"], &words[..]].concat())
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let lines = text(&output.stdout);
    let values = lines.lines().map(|line| line.split('\t').next().unwrap());
    values.map(str::to_owned).collect()
}

#[test]
fn arguments_are_completed_with_names_that_the_daemon_has() {
    let daemon = furnished();
    for (line, wanted) in [
        ("ramblk resize gol", &["gold2", "golden"][..]),
        ("ramblk show golden@", &["golden@v1", "golden@v2"]),
        ("ramblk diff golden@v1 golden@v2", &["golden@v2"]),
        ("ramblk set gold2 --group t", &["tenants"]),
        ("ramblk group show ", &["tenants"]),
        ("ramblk list --label vm", &["vm=web"]),
        ("ramblk reset golden --to v", &["v1", "v2"]),
        ("ramblk snapsho", &["snapshot", "snapshots"]),
        ("ramblk pool --outp", &["--output"]),
        ("ramblk list -o j", &["json"]),
        ("ramblk create gol", &[]),
        ("ramblk fault rm golden ", &["f1", "slow"]),
        ("ramblk fault rm golden slow ", &["f1"]),
        ("ramblk fault release gold2 o", &["other"]),
        ("ramblk create new --image im", &["image://system"]),
        ("ramblk create new --image syst", &["system.img"]),
        ("ramblk serve --sandbox s", &["strict"]),
        ("ramblk run --sandbox o", &["off", "on"]),
        ("ramblk list --sort m", &["mapped", "memory"]),
        (
            "ramblk list --columns name,m",
            &["name,mapped", "name,memory"],
        ),
        (
            "ramblk fault add golden --op read,w",
            &["read,write", "read,write-zeroes"],
        ),
        (
            "ramblk wait golden --for ",
            &["attached", "detached", "imported", "quiet="],
        ),
        ("ramblk pool --by ", &["group", "label="]),
        ("ramblk create new --block-size ", &["4096", "512"]),
    ] {
        let mut found = complete(&daemon, line);
        found.retain(|it| !it.starts_with('-') || line.contains("--outp"));
        found.sort();
        assert_eq!(found, wanted, "{line}");
    }
    let socket = daemon.path("api.sock");
    let line = format!("ramblk --api-socket {} resize golde", socket.display());
    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(RAMBLK)
        .args([&["__complete", "--"], &words[..]].concat())
        .env("RAMBLK_API", "/nowhere")
        .output()
        .unwrap();
    assert!(text(&output.stdout).starts_with("golden\t1M"), "{output:?}");
}

#[test]
fn without_a_daemon_that_answers_completions_are_silent_and_quick() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    // It never accepts a connection.
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in ["/nowhere/api.sock", socket.to_str().unwrap()] {
        let began = Instant::now();
        let output = Command::new(RAMBLK)
            .args(["__complete", "--", "ramblk", "show", ""])
            .env("RAMBLK_API", path)
            .output()
            .unwrap();
        // The bound is 250 ms, and the tests share the machine.
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{:?}",
            began.elapsed()
        );
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
}

/// A script of `ramblk completions` in a file, and a `PATH` with this `ramblk`.
fn script(daemon: &Daemon, shell: &str) -> (String, String) {
    let path = daemon.path(&format!("ramblk.{shell}"));
    fs::write(&path, daemon.ok(&format!("completions {shell}"))).unwrap();
    let programs = std::path::Path::new(RAMBLK).parent().unwrap();
    let others = std::env::var("PATH").unwrap();
    let search = format!("{}:{others}", programs.display());
    (path.display().to_string(), search)
}

/// Run a shell with a program for it, the completions' script as its argument.
fn shell(daemon: &Daemon, shell: &str, words: &[&str], program: &str) -> Option<String> {
    let (file, search) = script(daemon, shell);
    let output = Command::new(shell)
        .args(words)
        .arg(program)
        .args([shell, &file])
        .env("PATH", search)
        .env("RAMBLK_API", daemon.path("api.sock"))
        .env("HOME", daemon.path("."))
        .current_dir(daemon.path("."))
        .output();
    let Ok(output) = output else {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no {shell}");
        return None;
    };
    assert!(output.stderr.is_empty(), "{output:?}");
    Some(text(&output.stdout))
}

#[test]
fn bash_completes_names_also_behind_what_it_takes_for_the_end_of_a_word() {
    let daemon = furnished();
    // bash itself cuts a line into words at each of COMP_WORDBREAKS, of which @ and = are some.
    let program = r#"
        source "$1"
        try() {
            COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=($2) COMP_CWORD=$3 COMPREPLY=()
            _ramblk ramblk; echo "${COMPREPLY[*]}"
        }
        try 'ramblk snapsho' 'ramblk snapsho' 1
        try 'ramblk resize gol' 'ramblk resize gol' 2
        try 'ramblk show golden@' 'ramblk show golden @' 3
        try 'ramblk show golden@v2' 'ramblk show golden @ v2' 4
        try 'ramblk list --label vm=' 'ramblk list --label vm =' 4
        try 'ramblk fault rm golden s' 'ramblk fault rm golden s' 4
        try 'ramblk create new --image image://' 'ramblk create new --image image : //' 6
        complete -p ramblk"#;
    let told = shell(&daemon, "bash", &["--norc", "-c"], program).unwrap();
    let wanted = "snapshot snapshots\ngold2 golden\nv1 v2\nv2\nweb\nslow\n//system\n";
    assert!(told.starts_with(wanted), "{told}");
    assert!(told.contains("-F _ramblk ramblk"), "{told}");
}

#[test]
fn zsh_completes_names_as_a_person_types() {
    let daemon = furnished();
    let program = r#"
        zmodload zsh/zpty
        zpty it zsh -f -i
        zpty -w it "PS1=; stty -echo; autoload -U compinit; compinit -u -D; source $1"
        zpty -w it "echo re''ady"
        zpty -r -m it line '*ready*' >/dev/null
        zpty -w -n it $'ramblk show golden@v1\t' && zpty -w -n it $'\C-aecho \C-e\n'
        sleep 1
        zpty -w -n it $'ramblk resize golde\t' && zpty -w -n it $'\C-aecho \C-e\n'
        sleep 1
        zpty -w -n it $'ramblk fault rm golden sl\t' && zpty -w -n it $'\C-aecho \C-e\n'
        sleep 1
        zpty -w -n it $'ramblk create new --image image://sy\t' && zpty -w -n it $'\C-aecho \C-e\n'
        sleep 1
        zpty -w it "echo do''ne"
        zpty -r -m it line '*done*'; print -r -- $line"#;
    let Some(told) = shell(&daemon, "zsh", &["-f", "-c"], program) else {
        return;
    };
    for wanted in [
        "ramblk show golden@v1",
        "ramblk resize golden",
        "ramblk fault rm golden slow",
        "ramblk create new --image image://system",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told:?}");
    }
}

#[test]
fn fish_completes_names_with_what_they_are() {
    let daemon = furnished();
    let program = r#"
        source $argv[2]
        complete -C 'ramblk snapsho'
        complete -C 'ramblk resize golde'
        complete -C 'ramblk show golden@'
        complete -C 'ramblk list --label vm'
        complete -C 'ramblk fault rm golden sl'
        complete -C 'ramblk create new --image image://sy'
        complete -C 'ramblk create new --image syst'"#;
    let Some(told) = shell(&daemon, "fish", &["--no-config", "-c"], program) else {
        return;
    };
    for wanted in [
        "snapshots\tList a disk's snapshots",
        "golden\t1M",
        "golden@v1\tsnapshot",
        "golden@v2\tsnapshot",
        "vm=web\tlabel",
        "slow\tdelay=1ms,id=slow,op=flush",
        "image://system\t1M",
        "system.img",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
}
