//! The owners of sockets over kills of the daemon, in a host whose users come and go: a mount
//! namespace with `/etc/passwd` and `/etc/group` of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use crate::daemon::Daemon;
use crate::driver::disk::Disk as Guest;

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");

const USERS: &str = "root:x:0:0::/:/bin/sh\nvm1:x:12345:12345::/:\n";
const VM2: &str = "vm2:x:23456:23456::/:\n";
const GROUPS: &str = "root:x:0:\njail:x:34567:\n";

/// Whether there can be such a namespace here.
fn has_namespaces() -> bool {
    let mut tried = Command::new("unshare");
    tried.args(["-m", "true"]).stderr(Stdio::null());
    tried.status().is_ok_and(|status| status.success())
}

fn begin(more: &[&str]) -> Daemon {
    Daemon::begin(more, |folder| {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("passwd"), format!("{USERS}{VM2}")).unwrap();
        fs::write(folder.join("group"), GROUPS).unwrap();
        let mount = "mount --bind \"$0/passwd\" /etc/passwd && \
                     mount --bind \"$0/group\" /etc/group && exec \"$@\"";
        let folder = folder.to_str().unwrap();
        let words = ["unshare", "-m", "sh", "-c", mount, folder, RAMBLK];
        words.map(str::to_owned).to_vec()
    })
}

fn owner(daemon: &Daemon, disk: &str) -> (u32, u32, u32) {
    let about = fs::symlink_metadata(daemon.socket(disk)).unwrap();
    (about.uid(), about.gid(), about.mode() & 0o777)
}

#[test]
fn sockets_keep_their_owners_over_kills_and_disks_outlive_their_users() {
    if !rustix::process::geteuid().is_root() || !has_namespaces() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED: there are no mount namespaces");
        return;
    }
    for sandbox in ["off", "on"] {
        let mut daemon = begin(&["--sandbox", sandbox]);
        daemon.answers();
        daemon.say(&["create", "a", "--size", "1M", "--socket-owner", "vm1"]);
        daemon.say(&["create", "b", "--size", "1M", "--socket-owner", "vm2:jail"]);
        let mut guest = Guest::attach(&daemon.socket("b"));
        guest.q().write(0, &[3; 512]).unwrap();
        drop(guest);
        daemon.say(&["wait", "b", "--for", "detached"]);
        let given = [(12345, 0, 0o660), (23456, 34567, 0o660)];
        assert_eq!(["a", "b"].map(|disk| owner(&daemon, disk)), given);
        daemon.kill();
        daemon.start_again();
        daemon.answers();
        assert_eq!(["a", "b"].map(|disk| owner(&daemon, disk)), given);
        daemon.kill();

        // Its user is gone.
        let folder = daemon.state().parent().unwrap().to_owned();
        fs::write(folder.join("passwd"), USERS).unwrap();
        daemon.clear_log();
        daemon.start_again();
        daemon.answers();
        assert_eq!(owner(&daemon, "a"), given[0]);
        assert_eq!(owner(&daemon, "b"), (0, 0, 0o660));
        let log = daemon.log();
        assert!(log.contains("the daemon keeps a disk's socket"), "{log}");
        assert!(log.contains("vm2"), "{log}");
        assert_eq!(daemon.field("b", "socket_owner"), "vm2:jail");
        let why = daemon.field("b", "socket_not_given").to_string();
        assert!(why.contains("no user"), "{why}");
        let shown = daemon.say(&["show", "b"]);
        assert!(shown.contains("the daemon, instead of vm2:jail"), "{shown}");
        let told = daemon.say(&["events", "--since", "10m", "--no-follow", "-o", "json"]);
        assert!(told.contains("\"socket-not-given\""), "{told}");
        assert_eq!(
            Guest::attach(&daemon.socket("b")).q().read(0, 512),
            Ok(vec![3; 512])
        );

        // And back, in the same file.
        fs::write(folder.join("passwd"), format!("{USERS}{VM2}")).unwrap();
        daemon.say(&["set", "b", "--socket-owner", "vm2:jail"]);
        assert_eq!(owner(&daemon, "b"), given[1]);
        assert!(!daemon.say(&["show", "b"]).contains("instead of"));
    }
}
