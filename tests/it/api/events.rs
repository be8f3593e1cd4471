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
        Self::after(kit, query, "")
    }

    /// A listener that names the last event that it has seen.
    fn after(kit: &Kit, query: &str, last: &str) -> Self {
        let mut client = kit.connect();
        let first =
            format!("GET /v1/events{query} HTTP/1.1\r\nhost: x\r\nlast-event-id: {last}\r\n\r\n");
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
        if !["missed", "restarted"].contains(&&*event) {
            let id = format!("{}-{}", data["run"].as_str().unwrap(), data["id"]);
            assert_eq!(field("id: ").unwrap(), id);
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

#[test]
fn events_say_who_did_what_with_old_and_new_values() {
    let kit = Kit::new();
    let mut all = Listener::new(&kit, "");
    kit.disk("a");
    let change = json!({"labels": {"vm": "b"}, "quota_bytes": 1 << 20});
    kit.patch("/v1/disks/a", &change).json(200);
    kit.put("/v1/groups/g", &json!({"read": {"iops": 5}}))
        .json(201);
    kit.patch("/v1/groups/g", &json!({"read": {"iops": 6}}))
        .json(200);
    kit.delete("/v1/groups/g").done();
    let (pid, uid) = (std::process::id(), rustix::process::getuid().as_raw());
    let (_, created) = all.event();
    let actor = &created["actor"];
    assert_eq!(
        (&actor["kind"], &actor["pid"], &actor["uid"]),
        (&json!("client"), &json!(pid), &json!(uid))
    );
    assert!(!actor["process"].as_str().unwrap().is_empty());
    let (kind, changed) = all.event();
    let wanted = json!([
        {"field": "labels.vm", "old": null, "new": "b"},
        {"field": "quota_bytes", "old": null, "new": 1 << 20},
    ]);
    assert_eq!((&*kind, &changed["changes"]), ("changed", &wanted));
    let of_group: Vec<_> = (0..3).map(|_| all.event()).collect();
    let kinds: Vec<_> = of_group.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["group-created", "group-changed", "group-destroyed"]);
    let wanted = json!([{"field": "read.iops", "old": 5, "new": 6}]);
    assert_eq!(of_group[1].1["changes"], wanted);
    assert_eq!(of_group[1].1["details"]["group"], "g");
    let front_end = Disk::attach(&kit.front_end_socket("a"));
    drop(front_end);
    for wanted in ["attached", "detached"] {
        let (kind, event) = all.event();
        let actor = &event["actor"];
        assert_eq!(
            (&*kind, &actor["kind"], &actor["pid"], &actor["session"]),
            (wanted, &json!("front-end"), &json!(pid), &json!(0))
        );
    }
}

#[test]
fn what_a_broken_off_upload_was_is_said_of_its_client() {
    let kit = Kit::new();
    kit.disk("a");
    let mut all = Listener::new(&kit, "");
    let mut client = kit.connect();
    let head = format!(
        "PUT /v1/disks/a/data HTTP/1.1\r\nhost: x\r\ncontent-length: {MIB}\r\n\
         content-type: application/octet-stream\r\n\r\nabc"
    );
    client.send(head.as_bytes());
    drop(client);
    let (kind, event) = all.event();
    assert_eq!(
        (&*kind, &event["actor"]["kind"]),
        ("import-failed", &json!("client"))
    );
}

#[test]
fn who_comes_back_hears_what_was_missed() {
    let kit = Kit::new();
    let mut before = Listener::new(&kit, "");
    kit.disk("a");
    let (_, last) = before.event();
    drop(before);
    kit.disk("b");
    kit.delete("/v1/disks/a").done();
    let id = format!("{}-{}", last["run"].as_str().unwrap(), last["id"]);
    let mut again = Listener::after(&kit, "", &id);
    assert_eq!(again.names(2), ["created", "destroyed"]);
    kit.disk("c");
    assert_eq!(again.event().1["disk"], "c", "and it goes on");
    let mut queried = Listener::new(&kit, &format!("?after={id}&disk=b"));
    assert_eq!(queried.event().1["disk"], "b");
    // A disk that is gone has a past, and no more.
    let mut gone = Listener::new(&kit, "?disk=a&since_seconds=600");
    assert_eq!(gone.names(2), ["created", "destroyed"]);
    assert!(gone.client.chunk().is_none(), "the stream ended");
    kit.get("/v1/events?disk=a").problem(404, "not-found");
    kit.get("/v1/events?disk=never&since_seconds=600")
        .problem(404, "not-found");
    let mut past = Listener::new(&kit, "?since_seconds=600&follow=false");
    let kinds = past.names(5);
    assert_eq!(
        kinds,
        ["started", "created", "created", "destroyed", "created"]
    );
    assert!(past.client.chunk().is_none(), "the stream ended");
}

#[test]
fn a_restart_is_visible_to_who_comes_back() {
    let kit = Kit::new();
    kit.disk("a");
    let mut after = Listener::after(&kit, "", "00000000-17");
    let (kind, data) = after.event();
    assert_eq!((&*kind, data), ("restarted", json!({"restarted": true})));
    assert_eq!(after.names(2), ["started", "created"]);
    for id in ["17", "x", "00000000-", "00000000-99999999999999999999"] {
        let answer = kit.get(&format!("/v1/events?after={id}"));
        let detail = answer.problem(400, "invalid");
        assert!(detail.contains("is not the id of an event"), "{detail}");
    }
}
