//! Routes of snapshots, forks and resets.

use serde_json::json;

use super::kit::Kit;
use crate::driver::disk::Disk;
use crate::driver::memory::MIB;

#[test]
fn snapshots_are_taken_shown_and_destroyed() {
    let kit = Kit::new();
    kit.disk("a");
    assert_eq!(kit.get("/v1/disks/a/snapshots").json(200), json!([]));
    let taken = kit.put("/v1/disks/a/snapshots/s1", &json!({})).json(201);
    assert_eq!(
        (&taken["disk"], &taken["name"]),
        (&json!("a"), &json!("s1"))
    );
    let again = kit.put("/v1/disks/a/snapshots/s1", &json!({}));
    again.problem(409, "conflict");
    assert_eq!(kit.get("/v1/disks/a/snapshots/s1").json(200), taken);
    assert_eq!(kit.get("/v1/disks/a/snapshots").json(200), json!([taken]));
    kit.get("/v1/disks/a/snapshots/s2")
        .problem(404, "not-found");
    kit.get("/v1/disks/b/snapshots").problem(404, "not-found");
    kit.delete("/v1/disks/a").problem(409, "conflict");
    kit.delete("/v1/disks/a/snapshots/s1").done();
    kit.delete("/v1/disks/a/snapshots/s1")
        .problem(404, "not-found");
    kit.put("/v1/disks/a/snapshots/s3", &json!({})).json(201);
    kit.delete("/v1/disks/a?snapshots=true").done();
}

#[test]
fn a_fork_begins_with_the_content_and_a_reset_brings_it_back() {
    let kit = Kit::new();
    kit.disk("a");
    let mut guest = Disk::attach(&kit.front_end_socket("a"));
    guest.q().write(0, &[1; 512]).unwrap();
    kit.put("/v1/disks/a/snapshots/s", &json!({})).json(201);
    guest.q().write(0, &[2; 512]).unwrap();
    let fork = |body| kit.post("/v1/disks/a/forks", &body);
    let forked = fork(json!({"name": "f", "snapshot": "s", "queues": 1})).json(201);
    assert_eq!(
        (&forked["size_bytes"], &forked["queues"]),
        (&json!(MIB), &json!(1))
    );
    fork(json!({"name": "f"})).problem(409, "conflict");
    fork(json!({"name": "g", "snapshot": "t"})).problem(404, "not-found");
    let mut fork = Disk::attach(&kit.front_end_socket("f"));
    assert_eq!(fork.q().read(0, 512).unwrap(), [1; 512]);
    let reset = |body| kit.post("/v1/disks/a/reset", &body);
    reset(json!({"to": "s"})).problem(409, "attached");
    reset(json!({"to": "s", "force": true})).json(200);
    assert_eq!(guest.q().read(0, 512).unwrap(), [1; 512]);
    reset(json!({"to": "t", "force": true})).problem(404, "not-found");
}
