//! What messages say to do, in words of the command line.

use std::fs;

use crate::verbs::{Daemon, text};

/// Run each line, which must fail with this code and say this.
fn all_say(daemon: &Daemon, refused: &[(&str, i32, &str)]) {
    for &(line, code, said) in refused {
        let refused = daemon.refused(line, code);
        assert_eq!(refused, format!("error: {said}\n"), "{line}");
    }
}

#[test]
fn a_name_of_another_format_is_no_raw_image() {
    let daemon = Daemon::start();
    daemon.ok("create db --size 1M");
    for name in ["x.vmdk", "x.qcow2.gz", "x.raw.gz", "x.img.XZ", "x.vhdx"] {
        let refused = daemon.refused(&format!("export db {name}"), 2);
        let said = "would be a raw image: give --format raw, or a name that ends in .qcow2, .zst";
        assert!(refused.contains(&format!("{name} {said}")), "{refused}");
        assert!(!daemon.path(name).exists(), "{name}");
    }
    for line in [
        "export db x.gz --format raw",
        "export db x.vmdk --format qcow2",
        "export db x",
        "export db x.img",
    ] {
        daemon.ok(line);
    }
}

#[test]
fn reset_takes_a_snapshot_with_the_name_of_its_disk() {
    let daemon = Daemon::start();
    daemon.ok("create golden --size 1M");
    daemon.ok("create other --size 1M");
    daemon.ok("snapshot golden v1");
    assert_eq!(
        daemon.ok("reset golden --to golden@v1"),
        "golden is reset to golden@v1\n"
    );
    all_say(
        &daemon,
        &[
            (
                "reset golden@v1",
                2,
                "golden@v1 is a snapshot: use 'ramblk reset golden --to v1'",
            ),
            (
                "reset other --to golden@v1",
                2,
                "--to can't be 'golden@v1', which is of golden only: give a snapshot that each \
                 disk has, as in --to v1",
            ),
            (
                "reset golden --to v2",
                3,
                "there is no snapshot named \"golden@v2\"; 'ramblk snapshots golden' shows those \
                 that exist",
            ),
        ],
    );
}

#[test]
fn golden_images_have_verbs_of_their_own() {
    let daemon = Daemon::start();
    fs::write(daemon.path("disk.img"), [7; 4096]).unwrap();
    daemon.ok("create db --size 1M");
    // It says so before it has read anything.
    let refused = daemon.refused("image pull none.img --name a/b", 2);
    assert!(refused.contains("\"a/b\" is not a name"), "{refused}");
    daemon.ok("image pull disk.img --name debian");
    let golden = "image://debian is a golden image: see 'ramblk image show debian', or fork it";
    all_say(
        &daemon,
        &[
            ("image inspect image://debian", 2, golden),
            ("import db image://debian", 2, golden),
            (
                "create vm2 --image debian",
                1,
                "can't read image \"debian\": No such file or directory (os error 2); golden \
                 images are image://NAME ('ramblk image list')",
            ),
            (
                "create vm2 --image ./debian",
                1,
                "can't read image \"./debian\": No such file or directory (os error 2)",
            ),
        ],
    );
    daemon.ok("create vm3 --image image://debian");
    let refused = daemon.refused("image rm debian", 4);
    assert!(
        refused.ends_with("; destroy it first, or use --force\n"),
        "{refused}"
    );
    let wrong = format!("sha256:{}", "0".repeat(64));
    let line = format!("create vm2 --image disk.img --digest {wrong}");
    let refused = daemon.refused(&line, 1);
    assert!(refused.contains("so nothing is made of it"), "{refused}");
}

#[test]
fn options_stand_in_place_of_names_of_the_api() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    daemon.ok("snapshot a s");
    daemon.ok("fork a@s b");
    let forked = "disk \"b\" was forked from \"a@s\" and could not be reset to it any more, though \
                  each keeps its content; destroy these first, or use --force";
    let grace = "a time to wait for a front end needs --on-detach reset or destroy";
    all_say(
        &daemon,
        &[
            ("destroy a@s", 4, forked),
            (
                "destroy a",
                4,
                "disk \"a\" has snapshots (s); destroy these first, or all of them with it: \
                 --snapshots",
            ),
            (
                "power-cut a",
                2,
                "disk \"a\" has no volatile write cache, so a power cut loses nothing: create it \
                 with --write-cache volatile, or detach it and use 'ramblk set' with that",
            ),
            ("create c --size 1M --grace 5s", 2, grace),
            ("set a --grace 5s", 2, grace),
            ("fork a c --grace 5s", 2, grace),
        ],
    );
}

#[test]
fn several_limits_have_the_names_of_their_disks() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M --label k=v");
    daemon.ok("create b --size 1M");
    daemon.ok("limit b --iops 1");
    assert_eq!(daemon.ok("limit a b"), "a: none\nb: 1 request/s\n");
    assert_eq!(
        daemon.ok("limit a b -o json"),
        "{\"disk\":\"a\",\"limits\":{}}\n{\"disk\":\"b\",\"limits\":{\"total\":{\"iops\":1}}}\n"
    );
    assert_eq!(
        daemon.ok("limit -l k=v -o json"),
        "{\"disk\":\"a\",\"limits\":{}}\n"
    );
    assert_eq!(daemon.ok("limit a -o json"), "{}\n");
}

#[test]
fn man_prints_the_page_of_a_verb_and_says_how_many_it_has_written() {
    let daemon = Daemon::start();
    let page = daemon.ok("man fork");
    assert!(page.contains(".TH ramblk-fork 1"), "{page}");
    assert!(!daemon.path("fork").exists());
    fs::create_dir(daemon.path("fork")).unwrap();
    let said = daemon.ok("man fork");
    let there = fs::read_dir(daemon.path("fork")).unwrap().count();
    assert_eq!(said, format!("{there} pages are in fork\n"));
}

#[test]
fn a_write_that_is_too_long_is_told_how_much_there_is_behind_its_offset() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let output = daemon.feed("write a 1048528", &[1; 49]);
    let said = "error: the content has more than the 48 bytes up to the disk's end\n";
    assert_eq!(text(&output.stderr), said);
}
