//! Which states `crash-explore` and `crash-states` make: `--keep`, `--torn`, `--garbage` and
//! `--count`.

use std::fs;

use serde_json::{Value, json};

use super::explore::{COMMITTED, recorded};

/// Bad: a block is neither whole nor empty.
const WHOLE: &str =
    r#"a=$(head -c 4096 "$1" | tr -d '\0' | wc -c); [ "$a" = 0 ] || [ "$a" = 4096 ]"#;
/// Bad: the block has something that was never written.
const WRITTEN: &str = r#"[ -z "$(head -c 4096 "$1" | tr -d '\0A')" ]"#;

#[test]
fn keep_says_which_states_are_made_and_tears_and_garbage_are_asked_for() {
    let daemon = recorded(false);
    for (options, script, code) in [
        // The commit is on the disk only behind the data.
        ("--keep none", COMMITTED, 0),
        ("--keep all", COMMITTED, 0),
        ("--keep prefix", COMMITTED, 0),
        ("--keep subset", COMMITTED, 1),
        ("--keep reorder", COMMITTED, 1),
        ("--keep prefix --tear-unit 512", WHOLE, 0),
        ("--keep prefix --tear-unit 512 --torn", WHOLE, 1),
        ("--keep subset --tear-unit 512 --torn --no-torn", WHOLE, 0),
        ("--keep subset --tear-unit 512 --torn", WHOLE, 1),
        ("--tear-unit 512 --garbage", WRITTEN, 1),
        ("--keep prefix --garbage", WRITTEN, 1),
        ("", WRITTEN, 0),
    ] {
        let (found, report) = daemon.explore(options, script);
        assert_eq!(found, code, "{options}: {report}");
    }
    let (_, none) = daemon.explore("--keep none", "true");
    assert_eq!(none["states"], none["points"], "one of each moment");
    let (code, refused) = daemon.explore("--keep none --torn", "true");
    assert_eq!(code, 2, "{refused}");
    let (code, refused) = daemon.explore("--keep none --garbage", "true");
    assert_eq!(code, 2, "{refused}");
}

#[test]
fn garbage_is_told_made_small_and_made_again_from_its_name() {
    let daemon = recorded(false);
    let (code, report) = daemon.explore("--garbage --no-torn --minimize --jobs 1", WRITTEN);
    assert_eq!(code, 1, "{report}");
    let found = &report["found"][0];
    let losses = found["losses"].as_array().unwrap();
    assert_eq!(losses.len(), 1, "{report}");
    assert_eq!(
        (&losses[0]["sector"], &losses[0]["fate"]),
        (&json!(0), &json!("garbage"))
    );
    for name in ["state", "minimal"] {
        let name = found[name].as_str().unwrap();
        assert!(name.contains('='), "{name}");
        let (code, again) = daemon.explore(&format!("--state {name}"), WRITTEN);
        assert_eq!((code, &again["states"]), (1, &json!(1)), "{again}");
    }
}

#[test]
fn a_tear_unit_that_is_not_given_is_the_physical_block_and_is_in_the_report() {
    let daemon = recorded(true);
    // Its logical block is smaller.
    assert_eq!(daemon.json("show a")["block_size"], 512);
    let (code, report) = daemon.explore("", WHOLE);
    assert_eq!(
        (code, &report["tear_unit_bytes"]),
        (0, &json!(4096)),
        "{report}"
    );
    let said = daemon.ok("crash-explore a -- true");
    assert!(said.contains("tear unit 4096"), "{said}");
    let said = daemon.ok("crash-states a --name t-{1..}");
    assert!(said.contains("tear unit 4096"), "{said}");
}

#[test]
fn a_count_picks_the_same_states_for_the_same_seed() {
    let daemon = recorded(false);
    let states = |options: &str| {
        let options = format!("--tear-unit 512 {options}");
        let (code, report) = daemon.explore(&options, "false");
        assert_eq!(code, 1, "{report}");
        let found = report["found"].as_array().unwrap();
        let names = found
            .iter()
            .map(|it| it["state"].as_str().unwrap().to_owned());
        (
            report["states"].as_u64().unwrap(),
            names.collect::<Vec<_>>(),
        )
    };
    let all = states("");
    let (count, some) = states("--count 9 --seed 3 --jobs 1");
    assert!(count == 9 && all.0 > 9, "{count} of {}", all.0);
    assert_eq!(states("--count 9 --seed 3 --jobs 3").1, some);
    assert_ne!(states("--count 9 --seed 4 --jobs 1").1, some);
    assert_eq!(states("--count 100000").0, all.0);
}

#[test]
fn states_of_every_policy_have_the_same_bytes_as_disks_and_as_files() {
    let daemon = recorded(false);
    for (at, policy) in [
        "--keep reorder --torn --garbage",
        "--keep subset --garbage --tear-unit 512",
        "--keep prefix --torn --tear-unit 512",
        "--keep prefix",
        "--keep all --torn --tear-unit 512",
        "--keep none",
    ]
    .into_iter()
    .enumerate()
    {
        let made = daemon.json(&format!(
            "crash-states a --count 6 --seed 5 --name s{at}-{{1..}} {policy}"
        ));
        for one in made.as_array().unwrap() {
            let [disk, state] = ["disk", "state"].map(|key| one[key].as_str().unwrap());
            let content = daemon.run(&format!("export {disk} -")).stdout;
            let file = daemon.path(disk);
            let copy = format!("cp \"$1\" {}", file.display());
            let (code, report) = daemon.explore(&format!("--state {state}"), &copy);
            assert_eq!(code, 0, "{report}");
            assert!(
                content == fs::read(file).unwrap(),
                "{policy}: {disk} is {state}"
            );
        }
        let again = format!("crash-states a --count 6 --seed 5 --name t{at}-{{1..}} {policy}");
        let of = |made: &Value| {
            let made = made.as_array().unwrap().iter();
            made.map(|one| one["state"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(&daemon.json(&again)), of(&made), "{policy}");
    }
    daemon.refused("crash-states a --keep none --torn --name d-{1..}", 2);
    daemon.refused("crash-states a --keep none --garbage --name d-{1..}", 2);
    daemon.refused("crash-states a --tear-unit 1000 --name d-{1..}", 2);
}
