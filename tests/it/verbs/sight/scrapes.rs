//! `serve --metrics-listen` and `--metrics-label`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::verbs::{Daemon, RAMBLK, text};

/// A port of the loopback address that nothing listens at.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    text(&answer)
}

#[test]
fn metrics_are_served_over_tcp_and_nothing_else_is() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let daemon = Daemon::start_with(&["--metrics-listen", &address, "--metrics-label", "tenant"]);
    daemon.ok("create a --size 1M --label tenant=x");
    let answer = ask(port, "GET /metrics");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4"),
        "{answer}"
    );
    assert!(answer.contains("label_tenant=\"x\"} 1"), "{answer}");
    for (request, status) in [
        ("GET /v1/disks", "404"),
        ("GET /", "404"),
        ("DELETE /v1/disks/a", "404"),
        ("POST /metrics", "405"),
    ] {
        let answer = ask(port, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
    }
    // Crowds that say nothing are turned away, and a scrape comes through again.
    let crowd: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(("127.0.0.1", port)))
        .collect();
    drop(crowd);
    crate::harness::eventually("a scrape comes through", || {
        let stream = TcpStream::connect(("127.0.0.1", port));
        let mut stream = stream.unwrap();
        let head = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut answer = String::new();
        stream.write_all(head).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    });
}

#[test]
fn what_prometheus_can_not_take_is_refused_at_the_start() {
    let folder = tempfile::TempDir::new().unwrap();
    let run_dir = folder.path().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (option, value, word) in [
        ("--metrics-label", "vm.owner", "letters, digits and _"),
        ("--metrics-label", "a/b", "letters, digits and _"),
        ("--metrics-label", "", "letters, digits and _"),
        ("--metrics-listen", "9111", "--metrics-listen"),
        ("--metrics-listen", &address, "can't listen for scrapes"),
    ] {
        let output = std::process::Command::new(RAMBLK)
            .args([
                "serve",
                "--state-dir",
                "none",
                "--run-dir",
                run_dir,
                option,
                value,
            ])
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{value}: {said}");
        assert!(said.contains(word), "{value}: {said}");
    }
}
