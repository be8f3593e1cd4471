//! `--sanitize`, and `findings`.

use super::Daemon;

#[test]
fn a_sanitizer_is_set_shown_exported_and_taken_away() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M --sanitize log");
    assert_eq!(daemon.json("show a")["sanitize"], "log");
    assert!(daemon.ok("export-config").contains("sanitize = \"log\""));
    daemon.ok("fork a b");
    assert_eq!(daemon.json("findings b")["sanitize"], "log");
    daemon.ok("set a --sanitize fail");
    let found = daemon.json("findings a");
    assert_eq!(found["sanitize"], "fail");
    assert_eq!(found["counts"]["unwritten_reads"], 0);
    let shown = daemon.ok("show a");
    assert!(shown.contains("sanitizer"), "{shown}");
    daemon.ok("set a --sanitize off");
    assert_eq!(daemon.json("show a").get("sanitize"), None);
    assert!(!daemon.ok("stats a").contains("sanitizer"));
    daemon.refused("set a --sanitize always", 2);
    daemon.refused("findings c", 3);
}
