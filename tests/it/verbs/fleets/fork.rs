//! `fork` in numbers.

use serde_json::{Value, json};

use crate::verbs::{Daemon, text};

fn names(list: &Value) -> Vec<&str> {
    let disks = list.as_array().unwrap().iter();
    disks.map(|disk| disk["name"].as_str().unwrap()).collect()
}

#[test]
fn patterns_words_and_stdin_name_a_fleet() {
    let daemon = Daemon::start();
    daemon.ok("create golden --size 1M --quota 8M --label role=golden");
    daemon.ok("snapshot golden v1");
    daemon.ok("group create ci --iops 1000");
    let line = "fork golden@v1 vm-{001..120} {web,db}-{name} --size 2M --quota 4M --on-full stall \
                --group ci --label fleet=ci --serial s-{name} --queues 2 --iops 50 \
                --write-cache volatile --read-only false";
    let said = daemon.ok(line);
    assert_eq!(
        said,
        "vm-001 to db-golden: 122 disks are forked from golden@v1\n"
    );
    let said = daemon.ok(line);
    assert_eq!(
        said,
        "vm-001 to db-golden: all 122 exist already, as asked\n"
    );
    let one = daemon.json("show vm-120");
    for (field, value) in [
        ("size_bytes", json!(2 << 20)),
        ("quota_bytes", json!(4 << 20)),
        ("on_full", json!("stall")),
        ("group", json!("ci")),
        ("labels", json!({"fleet": "ci"})),
        ("serial", json!("s-vm-120")),
        ("queues", json!(2)),
        ("parent", json!("golden@v1")),
        ("write_cache", json!("volatile")),
    ] {
        assert_eq!(one[field], value, "{field}");
    }
    assert_eq!(one["limits"]["total"]["iops"], 50);
    let fed = daemon.feed("fork golden - last -o json", b"a b\nc-{1..2}\n\n");
    assert!(fed.status.success(), "{}", text(&fed.stderr));
    let lines = text(&fed.stdout);
    let disks: Value = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .collect();
    assert_eq!(names(&disks), ["a", "b", "c-1", "c-2", "last"]);
    let said = daemon.ok("fork golden a new");
    assert_eq!(
        said,
        "a to new: 1 disks are forked from golden; 1 existed already, as asked\n"
    );
    assert_eq!(daemon.ok("fork golden a"), "a exists already, as asked\n");
    assert_eq!(daemon.json("show a")["quota_bytes"], 8 << 20, "inherited");
    assert_eq!(daemon.json("show a")["labels"], json!({}), "not inherited");
    // The settings of a fork can be changed, and the command that made it goes on to fit.
    daemon.ok("set a --quota 16M --label mine=1");
    daemon.ok("fork golden a");
    let refused = daemon.refused("fork golden a --quota 4M", 4);
    assert!(
        refused.contains(
            "quota_bytes 16M, not 4M); change these, or destroy it first; 'ramblk resize'"
        ),
        "{refused}"
    );
}

#[test]
fn a_fleet_is_forked_from_an_image() {
    let daemon = Daemon::start();
    std::fs::write(daemon.path("in"), vec![7; 8192]).unwrap();
    daemon.ok("image pull in --name base");
    let said = daemon.ok("fork image://base vm-{1..3} --size 1M");
    assert_eq!(said, "vm-1 to vm-3: 3 disks are forked from image://base\n");
    daemon.ok("fork image://base vm-{1..3} --size 1M");
    let export = daemon.run("export vm-3 -").stdout;
    assert_eq!(
        (export.len(), &export[..3], export[8192]),
        (1 << 20, &[7; 3][..], 0)
    );
    assert_eq!(
        daemon.json("image show base")["forks"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let refused = daemon.refused("fork image://base small --size 4K", 2);
    assert!(refused.contains("does not fit"), "{refused}");
    daemon.refused("fork image://nothing x", 3);
}

#[test]
fn names_that_make_no_fleet_are_refused_with_what_to_write() {
    let daemon = Daemon::start();
    daemon.ok("create golden --size 1M");
    for (line, word) in [
        ("fork golden vm-{9..1}", "smaller number"),
        ("fork golden vm-{}", "makes no name"),
        ("fork golden vm-{1..9999999}", "9999999 names"),
        ("fork golden vm-{1", "without its }"),
        ("fork golden x x", "twice"),
        ("fork golden vm-{1..3} vm-2", "\"vm-2\" is there twice"),
        ("fork golden a/b", "is not a name"),
        ("fork golden -", "no names on stdin"),
        ("fork golden - -", "given twice"),
        ("fork golden x --size 512", "does not fit"),
        (
            "fork golden x --serial longer-than-twenty-by-{name}",
            "serial",
        ),
        ("fork golden@ x", "NAME@SNAPSHOT"),
    ] {
        let refused = daemon.refused(line, 2);
        assert!(refused.contains(word), "{line}: {refused}");
    }
    daemon.refused("fork nothing x-{1..3}", 3);
    let refused = daemon.refused("fork golden vm-{1..100000}", 1);
    assert!(refused.contains("100000 names of new disks"), "{refused}");
    daemon.ok("create vm-7 --size 1M");
    let refused = daemon.refused("fork golden vm-{1..9}", 4);
    assert!(refused.contains("vm-7"), "{refused}");
    assert_eq!(names(&daemon.json("list")), ["golden", "vm-7"]);
}

#[test]
fn a_fork_may_have_blocks_of_the_other_size_and_the_same_content() {
    let daemon = Daemon::start();
    daemon.ok("create small --size 1000K --quota 2M");
    let refused = daemon.refused("create odd --size 1536 --block-size 4096", 2);
    assert!(refused.contains("4096"), "{refused}");
    // A sector in the middle of a block of 4096.
    daemon.feed("write small 2560", &[7; 512]);
    daemon.ok("snapshot small s");
    daemon.feed("write small 8192", &[8; 512]);
    daemon.ok("fork small@s large-{1..2} --block-size 4096");
    daemon.ok("fork small@s large-{1..2} --block-size 4096");
    let shown = daemon.json("show large-2");
    assert_eq!(
        (
            &shown["block_size"],
            &shown["size_bytes"],
            &shown["quota_bytes"]
        ),
        (&4096.into(), &(1000 << 10).into(), &(2 << 20).into())
    );
    let same = daemon.json("digest small@s")["blake3"].clone();
    assert_eq!(daemon.json("digest large-2")["blake3"], same);
    // And back, with what was written since.
    daemon.feed("write large-1 4096", &[9; 4096]);
    daemon.ok("fork large-1 again --block-size 512");
    let content = daemon.run("export again -").stdout;
    assert_eq!(content[2560..3072], [7; 512]);
    assert_eq!(content[4096..8192], [9; 4096]);
    assert_eq!(daemon.json("show again")["block_size"], 512);
    daemon.ok("reset large-1");
    assert_eq!(daemon.json("digest large-1")["blake3"], same);
    // Whole blocks, unless a size is given.
    daemon.ok("create ragged --size 2560");
    daemon.ok("fork ragged whole --block-size 4096");
    assert_eq!(daemon.json("show whole")["size_bytes"], 4096);
    let refused = daemon.refused("fork ragged x --block-size 4096 --size 5K", 2);
    assert!(refused.contains("4096"), "{refused}");
    for size in ["0", "1", "1024", "8192", "18446744073709551615"] {
        let refused = daemon.refused(&format!("fork small x --block-size {size}"), 2);
        assert!(refused.contains("use 512 or 4096"), "{refused}");
    }
    let refused = daemon.refused("fork small large-1 --block-size 512", 4);
    assert!(refused.contains("large-1"), "{refused}");
    std::fs::write(daemon.path("in"), [7; 8192]).unwrap();
    daemon.ok("image pull in --name base");
    daemon.ok("fork image://base of-base --block-size 4096");
    assert_eq!(daemon.json("show of-base")["block_size"], 4096);
}
