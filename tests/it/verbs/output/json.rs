//! `-o json` on every verb, and the outcome for several names.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::driver::data::pattern;
use crate::verbs::{Daemon, text};

/// A line for each verb, in an order in which each works, and a member of its output with its value
/// afterwards.
const LINES: [(&str, &str, &str); 59] = [
    ("create a --size 1M --label k=v", "/name", "\"a\""),
    ("create a --size 1M --label k=v", "/size_bytes", "1048576"),
    ("create b --image in --size 1M", "/mapped_bytes", "8192"),
    ("image inspect in", "/format", "\"raw\""),
    ("image pull in --name i", "/name", "\"i\""),
    ("image list", "/0/state", "\"present\""),
    ("image show i", "/name", "\"i\""),
    ("image rm i", "/destroyed", "true"),
    ("group create g --iops 9", "/limits/total/iops", "9"),
    ("group set g --iops 8", "/limits/total/iops", "8"),
    ("group list", "/0/name", "\"g\""),
    ("group show g", "/name", "\"g\""),
    ("set a --quota 1M --group g", "/quota_bytes", "1048576"),
    ("limit a --iops 7", "/total/iops", "7"),
    (
        "set a --write-cache volatile",
        "/write_cache",
        "\"volatile\"",
    ),
    ("power-cut a --off", "/disks/0/lost_writes", "0"),
    ("power-on a", "/0/name", "\"a\""),
    ("set a --write-cache stable", "/write_cache", "null"),
    ("resize a 2M", "/disk/size_bytes", "2097152"),
    ("repair a", "/state", "\"ok\""),
    ("import a in", "/mapped_bytes", "8192"),
    ("rename a z", "/name", "\"z\""),
    ("rename z a", "/name", "\"a\""),
    ("snapshot a s", "/name", "\"s\""),
    ("rename a@s t", "/name", "\"t\""),
    ("rename a@t s", "/name", "\"s\""),
    ("snapshots a", "/0/disk", "\"a\""),
    ("show a", "/snapshots/0", "\"s\""),
    ("list", "/1/name", "\"b\""),
    ("map a@s", "/0/mapped", "true"),
    ("digest a@s", "/length_bytes", "2097152"),
    ("diff a@s a", "/same", "true"),
    ("stats a", "/disk", "\"a\""),
    ("stats -l k=v", "/0/disk", "\"a\""),
    ("pool --by label=k", "/0/value", "\"v\""),
    ("wait a --for detached", "/met", "true"),
    ("list --sort name:desc", "/0/name", "\"b\""),
    ("findings a", "/sanitize", "\"off\""),
    ("history on a", "/history/keep", "1000"),
    ("history list a", "/settings/keep", "1000"),
    ("history off a", "/history", "null"),
    ("pool", "/disks", "2"),
    ("fork a@s c", "/parent", "\"a@s\""),
    ("reset c", "/name", "\"c\""),
    ("protect c", "/protected", "true"),
    ("unprotect c", "/name", "\"c\""),
    ("children a@s", "/0", "\"c\""),
    ("export a@s out", "/data_bytes", "8192"),
    ("export a@s out --overwrite", "/name", "\"a@s\""),
    ("apply -f disks.toml", "/created/0", "\"d\""),
    ("export-config", "/disk/0/name", "\"a\""),
    ("attach a --print qemu", "/disk", "\"a\""),
    (
        "ping",
        "/version",
        concat!("\"", env!("CARGO_PKG_VERSION"), "\""),
    ),
    ("openapi", "/openapi", "\"3.1.0\""),
    ("destroy c", "/destroyed", "true"),
    ("set a --group none", "/group", "null"),
    ("group destroy g", "/name", "\"g\""),
    ("destroy a@s", "/name", "\"a@s\""),
    ("destroy a --snapshots", "/name", "\"a\""),
];

/// Verbs that other tests run with JSON, since they need something other than a daemon, or stdin,
/// or never end.
const ELSEWHERE: [&str; 11] = [
    "doctor",
    "bench",
    "crash-explore",
    "crash-states",
    "events",
    "fault",
    "fsck",
    "mount",
    "nbd",
    "record",
    "write",
];
/// Verbs without JSON; `cli::args` has the reasons.
const TEXT_ONLY: [&str; 6] = ["run", "serve", "top", "read", "completions", "man"];

#[test]
fn every_verb_prints_what_it_made_or_found_as_json() {
    let daemon = Daemon::start();
    let mut image = pattern(4096, 1);
    image.resize(1 << 20, 0);
    image[512 << 10..][..4096].fill(7);
    fs::write(daemon.path("in"), image).unwrap();
    fs::write(
        daemon.path("disks.toml"),
        "[[disk]]\nname = \"d\"\nsize = \"1M\"\n",
    )
    .unwrap();
    for (line, member, value) in LINES {
        let output = daemon.run(&format!("{line} -o json"));
        let (said, wrong) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success() && wrong.is_empty(),
            "{line}: {wrong}"
        );
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
        let document: Value = serde_json::from_str(&said).unwrap();
        let wanted: Value = serde_json::from_str(value).unwrap();
        let found = document.pointer(member).cloned().unwrap_or(Value::Null);
        assert_eq!(found, wanted, "{line}: {said}");
    }
}

#[test]
fn no_verb_is_left_out_of_these_tests() {
    let words = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let long = if ["group", "history", "image"].contains(&words[0]) {
            2
        } else {
            1
        };
        words[..long].join(" ")
    };
    let lines = LINES.map(|(line, _, _)| line);
    let mut tried: BTreeSet<String> = lines.iter().map(words).collect();
    tried.extend(
        ELSEWHERE
            .iter()
            .chain(&TEXT_ONLY)
            .map(|verb| (*verb).to_owned()),
    );
    let mut all = BTreeSet::new();
    for verb in super::help::verbs(&[]) {
        match &*verb {
            "group" | "history" | "image" => all.extend(
                super::help::verbs(&[&verb])
                    .iter()
                    .map(|below| format!("{verb} {below}")),
            ),
            _ => drop(all.insert(verb)),
        }
    }
    assert_eq!(tried, all);
}

#[test]
fn a_failure_is_one_line_of_json_with_its_exit_code() {
    let daemon = Daemon::start();
    for (line, code, member, value) in [
        ("show a", 3, "type", json!("urn:ramblk:problem:not-found")),
        ("show a", 3, "status", json!(404)),
        ("create a --size 1000", 2, "field", json!("size_bytes")),
        ("import a nothing", 3, "title", json!("not found")),
        ("apply -f nothing", 1, "type", Value::Null),
        ("--api-socket nowhere ping", 6, "type", Value::Null),
        ("bench nowhere", 1, "type", Value::Null),
        ("fsck nowhere", 1, "type", Value::Null),
        ("export a -", 2, "type", Value::Null),
    ] {
        let output = daemon.run(&format!("{line} -o json"));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(
            output.stdout.is_empty() && said.lines().count() == 1,
            "{line}: {said}"
        );
        let failure: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(failure["exit_code"], code, "{said}");
        assert!(
            failure["detail"]
                .as_str()
                .is_some_and(|detail| detail.len() > 10),
            "{said}"
        );
        assert_eq!(failure[member], value, "{line}: {said}");
    }
}

#[test]
fn a_verb_over_several_names_goes_on_and_says_what_became_of_each() {
    let daemon = Daemon::start();
    for line in [
        "create a --size 1M",
        "create b --size 1M",
        "create c --size 1M",
    ] {
        daemon.ok(line);
    }
    daemon.ok("snapshot b kept");
    // b has a snapshot (4), no-such does not exist (3): the first failure's code counts.
    let output = daemon.run("destroy a b no-such c");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(text(&output.stdout), "a is destroyed\nc is destroyed\n");
    let said = text(&output.stderr);
    let said: Vec<&str> = said.lines().collect();
    assert!(
        said[0].starts_with("error: b: ") && said[0].contains("--snapshots"),
        "{said:?}"
    );
    assert!(said[1].starts_with("error: no-such: "), "{said:?}");
    assert_eq!(
        (said.len(), daemon.json("list")[0]["name"].as_str()),
        (2, Some("b"))
    );

    let output = daemon.run("destroy no-such b@kept b -o json");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(
        text(&output.stdout),
        "{\"name\":\"b@kept\",\"destroyed\":true}\n{\"name\":\"b\",\"destroyed\":true}\n"
    );
    let failure: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        (&failure["name"], &failure["status"]),
        (&json!("no-such"), &json!(404))
    );
}

#[test]
fn groups_are_destroyed_one_by_one_too() {
    let daemon = Daemon::start();
    for line in [
        "group create g",
        "group create h",
        "create a --size 1M --group g",
    ] {
        daemon.ok(line);
    }
    let output = daemon.run("group destroy g no-such h");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(text(&output.stdout), "h is destroyed\n");
    assert_eq!(text(&output.stderr).lines().count(), 2);
}
