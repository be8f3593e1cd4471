//! `history`, and its points behind other verbs.

use crate::verbs::Daemon;

#[test]
fn a_history_is_begun_listed_shown_exported_and_ended() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let off = daemon.ok("history list a");
    assert!(off.contains("history on"), "{off}");
    let on = daemon.ok("history on a --every 20ms --keep 7 --limit 1M");
    assert_eq!(
        on,
        "a: history each 20ms, keeps 7, limit 1M: 0 points with 0 of their own\n"
    );
    let history = &daemon.json("show a")["history"];
    assert_eq!(
        (&history["interval_ms"], &history["keep"]),
        (&20.into(), &7.into())
    );
    crate::harness::eventually("it is time", || {
        !daemon.json("history list a")["points"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    let listed = daemon.ok("history list a");
    assert!(listed.contains("a@time:1 "), "{listed}");
    daemon.ok("fork a@time:1 b");
    daemon.ok("diff a@time:1 b");
    daemon.ok("digest a@time:1");
    daemon.ok("map a@time:1");
    daemon.ok("read a@time:1 0 512");
    daemon.ok("show a@time:1");
    daemon.ok(&format!(
        "export a@time:1 {}",
        daemon.path("point.raw").display()
    ));
    daemon.refused("destroy a@time:1", 2);
    daemon.refused("snapshot a time:1", 2);
    daemon.ok("reset a --to time:1");
    daemon.refused("fork a@time:999 c", 3);
    daemon.refused("fork a@time:x c", 3);
    daemon.refused("history on a --every 5", 2);
    daemon.refused("history on c", 3);
    let file = daemon.ok("export-config");
    assert!(file.contains("every = \"20ms\""), "{file}");
    let path = daemon.path("disks.toml");
    std::fs::write(&path, &file).unwrap();
    daemon.ok(&format!("apply -f {}", path.display()));
    std::fs::write(
        &path,
        "[[disk]]\nname = \"a\"\nhistory = \"none\"\n\
         [[disk]]\nname = \"b\"\nhistory = { every = \"64M\", keep = 3 }\n",
    )
    .unwrap();
    daemon.ok(&format!("apply -f {}", path.display()));
    assert_eq!(daemon.json("show a").get("history"), None);
    assert_eq!(daemon.json("show b")["history"]["written_bytes"], 64 << 20);
    assert_eq!(daemon.ok("history off b"), "b: history off\n");
}
