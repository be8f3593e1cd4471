//! `ramblk nbd`, with clients that others made.
//!
//! | file | what it holds |
//! |---|---|
//! | `tools` | what these tools see is what guests wrote, and the other way round |
//! | `rules` | who may read and write when, and what ends a view |
//! | `wrong` | requests that no honest client makes |

mod rules;
mod tools;
mod wrong;

use std::io::{BufRead, BufReader};
use std::process::{Child, Output, Stdio};

use rustix::process::{Pid, Signal};

use crate::driver::disk::{ALL, Disk};
use crate::verbs::{Daemon, text};

/// A driver with one queue on a disk.
fn attach(daemon: &Daemon, disk: &str) -> Disk {
    Disk::attach_with(&daemon.socket(disk), ALL, 1, 64)
}

/// Run `ramblk nbd OPTIONS -- sh -c SCRIPT`, where the script has `$uri`.
fn nbd(daemon: &Daemon, options: &str, script: &str) -> Output {
    let mut words = vec!["nbd"];
    words.extend(options.split_whitespace());
    words.extend(["--", "sh", "-ec", script]);
    daemon.command(&words).output().unwrap()
}

/// The same, which must succeed. Returns what it prints.
fn ok(daemon: &Daemon, options: &str, script: &str) -> String {
    let output = nbd(daemon, options, script);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{script}: {out}\n{err}");
    out
}

/// A running `ramblk nbd` without a command.
struct Serving {
    child: Child,
    uri: String,
}

impl Serving {
    fn start(daemon: &Daemon, options: &str) -> Self {
        let mut words = vec!["nbd"];
        words.extend(options.split_whitespace());
        let mut child = daemon
            .command(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut uri = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut uri).unwrap();
        let uri = uri.trim_end().to_owned();
        assert!(uri.starts_with("nbd+unix:///?socket=/"), "{uri}");
        Self { child, uri }
    }

    fn socket(&self) -> &str {
        self.uri.split_once("socket=").unwrap().1
    }

    /// End it by a signal, and return its exit code.
    fn end(mut self, signal: Signal) -> Option<i32> {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
