//! Server-sent events.

use std::collections::BTreeMap;
use std::time::Duration;

use ramblk::daemon::api::Options;
use ramblk::model::EventKind;
use serde_json::{Value, json};

use super::kit::{Client, Kit};
use crate::driver::disk::Disk;
use crate::driver::memory::MIB;

/// A listener, and what it has received and not used yet.
struct Listener {
    client: Client,
    text: String,
}

impl Listener {
    fn new(kit: &Kit, query: &str) -> Self {
        let mut client = kit.connect();
        let first = format!("GET /v1/events{query} HTTP/1.1\r\nhost: x\r\n\r\n");
        client.send(first.as_bytes());
        let head = client.head();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        let text = String::new();
        Self { client, text }
    }

    /// The lines of the next message.
    fn message(&mut self) -> Vec<String> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let lines = message.lines().map(str::to_owned).collect();
                self.text = rest.to_owned();
                return lines;
            }
            let chunk = self.client.chunk().expect("more events");
            self.text += &String::from_utf8(chunk).unwrap();
        }
    }

    /// The next event: its name and data, which both contain its number.
    fn event(&mut self) -> (String, Value) {
        let lines = self.message();
        let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
        let event = field("event: ").unwrap().to_owned();
        let data: Value = serde_json::from_str(field("data: ").unwrap()).unwrap();
        if event != "missed" {
            assert_eq!(field("id: ").unwrap(), data["id"].to_string());
            assert_eq!(data["type"], event);
        }
        (event, data)
    }

    fn names(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.event().0).collect()
    }
}

#[test]
fn what_happens_to_disks_is_told_in_order() {
    let kit = Kit::new();
    kit.disk("b");
    let mut all = Listener::new(&kit, "");
    let mut one = Listener::new(&kit, "?disk=b");
    kit.disk("a");
    kit.patch("/v1/disks/a", &json!({"size_bytes": 2 * MIB}))
        .json(200);
    kit.put("/v1/disks/a/snapshots/s", &json!({})).json(201);
    kit.post("/v1/disks/a/forks", &json!({"name": "f"}))
        .json(201);
    let (first, data) = all.event();
    assert_eq!((&*first, &data["disk"]), ("created", &json!("a")));
    let names = all.names(3);
    assert_eq!(names, ["resized", "snapshot", "forked"]);
    let front_end = Disk::attach(&kit.front_end_socket("a"));
    assert_eq!(all.event().0, "attached");
    drop(front_end);
    assert_eq!(all.event().0, "detached");
    kit.delete("/v1/disks/b").done();
    assert_eq!(all.event().0, "destroyed");
    assert_eq!(one.names(1), ["destroyed"]);
}

#[test]
fn who_reads_too_slowly_is_told_how_much_was_missed() {
    let kit = Kit::new();
    let mut slow = Listener::new(&kit, "");
    let events = kit.disks.events();
    let long = "x".repeat(4096);
    let details = BTreeMap::from([("detail".to_owned(), long.into())]);
    let told = 5000;
    for _ in 0..told {
        events.tell(EventKind::Changed, None, details.clone());
    }
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < told {
        match slow.event() {
            (name, data) if name == "missed" => missed += data["missed"].as_u64().unwrap(),
            _ => seen += 1,
        }
    }
    assert!(missed > 0, "nothing was kept for ever");
    assert_eq!(seen + missed, told);
}

#[test]
fn a_comment_comes_when_nothing_else_does() {
    let kit = Kit::with(Options {
        keep_alive_time: Duration::from_millis(50),
        ..Options::default()
    });
    let mut listener = Listener::new(&kit, "");
    assert_eq!(listener.message(), [":"]);
    assert_eq!(listener.message(), [":"]);
}
