//! Looking at content and changing a part of it: digests, differences, writes.

use serde_json::{Value, json};

use super::kit::{Answer, Kit};
use crate::driver::data::pattern;
use crate::driver::disk::Disk;
use crate::driver::memory::MIB;

const PLAIN: &str = "content-type: application/octet-stream";

fn upload(kit: &Kit, name: &str, body: &[u8]) {
    let path = format!("PUT /v1/disks/{name}/data");
    kit.connect().raw(&path, &[PLAIN], body).done();
}

fn write(kit: &Kit, query: &str, body: &[u8]) -> Answer {
    let path = format!("PATCH /v1/disks/a/data?{query}");
    kit.connect().raw(&path, &[PLAIN], body)
}

fn content(kit: &Kit, target: &str) -> Vec<u8> {
    let path = format!("GET /v1/disks/{target}");
    let answer = kit.connect().raw(&path, &[], b"");
    assert_eq!(answer.status, 200);
    answer.body
}

fn digest(kit: &Kit, target: &str) -> String {
    let answer = kit.get(&format!("/v1/disks/{target}")).json(200);
    answer["blake3"].as_str().unwrap().to_owned()
}

/// The field at fault.
fn field(answer: &Answer) -> Value {
    answer.problem(400, "invalid");
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    problem["field"].clone()
}

/// The lines of a comparison: extents, and the last one.
fn diff(kit: &Kit, query: &str) -> (Vec<Value>, Value) {
    let answer = kit.get(&format!("/v1/disks/{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = String::from_utf8(answer.body).unwrap();
    let mut lines: Vec<Value> = lines
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let end = lines.pop().unwrap();
    (lines, end)
}

#[test]
fn a_digest_is_that_of_the_downloaded_bytes() {
    let kit = Kit::new();
    kit.put("/v1/disks/a", &json!({"size_bytes": 40 * MIB + 512}))
        .json(201);
    upload(&kit, "a", &pattern(3 * MIB as usize + 700, 4));
    write(&kit, &format!("start_bytes={}", 39 * MIB + 5), &[7; 1000]).done();
    kit.connect()
        .ask("PUT", "/v1/disks/a/snapshots/s", None)
        .json(201);
    let whole = content(&kit, "a/data");
    let wanted = blake3::hash(&whole).to_hex().to_string();
    assert_eq!(digest(&kit, "a/digest"), wanted);
    write(&kit, "start_bytes=0", b"x").done();
    assert_ne!(digest(&kit, "a/digest"), wanted);
    // The second one is remembered.
    for _ in 0..2 {
        assert_eq!(digest(&kit, "a/digest?snapshot=s"), wanted);
    }
    let part = &whole[1000..30_000_000];
    let wanted = blake3::hash(part).to_hex().to_string();
    let query = "a/digest?snapshot=s&start_bytes=1000&length_bytes=29999000";
    assert_eq!(digest(&kit, query), wanted);
    let nothing = blake3::hash(b"").to_hex().to_string();
    assert_eq!(digest(&kit, "a/digest?length_bytes=0"), nothing);
    for query in ["start_bytes=99999999", "length_bytes=99999999"] {
        let refused = kit.get(&format!("/v1/disks/a/digest?{query}"));
        assert_eq!(field(&refused), query.split('=').next().unwrap());
    }
    kit.get("/v1/disks/b/digest").problem(404, "not-found");
}

#[test]
fn a_digest_ends_with_its_client_and_other_requests_are_answered_meanwhile() {
    let kit = Kit::new();
    // Most of it lies beyond the table, so each takes hours.
    kit.put("/v1/disks/a", &json!({"size_bytes": 64_u64 << 40}))
        .json(201);
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut client = kit.connect();
        client.send(b"GET /v1/disks/a/digest HTTP/1.1\r\nhost: localhost\r\n\r\n");
        waiting.push(client);
    }
    crate::harness::eventually("all transfers are taken", || {
        kit.get("/v1/disks/a/digest?length_bytes=1").status == 503
    });
    kit.get("/v1/disks").json(200);
    kit.delete("/v1/disks/a").done();
    drop(waiting);
    kit.disk("b");
    crate::harness::eventually("the transfers end", || {
        kit.get("/v1/disks/b/digest").status == 200
    });
}

#[test]
fn differences_have_kinds_and_what_is_the_same_is_left_out() {
    let kit = Kit::new();
    kit.disk("a");
    upload(&kit, "a", &pattern(MIB as usize, 1));
    kit.connect()
        .ask("PUT", "/v1/disks/a/snapshots/s", None)
        .json(201);
    let same = json!({"same": true, "from_bytes": MIB, "to_bytes": MIB});
    assert_eq!(diff(&kit, "a/diff?with=a%40s"), (vec![], same.clone()));
    write(&kit, "start_bytes=1000", &[1; 4000]).done();
    write(&kit, "start_bytes=524288", &[0; 8192]).done();
    // Written, and the same bytes as before.
    write(
        &kit,
        "start_bytes=65536",
        &pattern(MIB as usize, 1)[65536..69632],
    )
    .done();
    let extent = |start: u64, length: u64, kind: &str| {
        let mut extent = json!({"kind": kind});
        (extent["start_bytes"], extent["length_bytes"]) = (start.into(), length.into());
        extent
    };
    let differs = json!({"same": false, "from_bytes": MIB, "to_bytes": MIB});
    let (extents, end) = diff(&kit, "a/diff?snapshot=s&with=a");
    let wanted = [extent(512, 4608, "data"), extent(524_288, 8192, "zero")];
    assert_eq!((extents, &end), (wanted.to_vec(), &differs));
    let (extents, _) = diff(&kit, "a/diff?with=a%40s");
    let wanted = [extent(512, 4608, "data"), extent(524_288, 8192, "data")];
    assert_eq!(extents, wanted.to_vec());
    // A disk that is no relative, with the same bytes.
    kit.disk("b");
    let bytes = content(&kit, "a/data?snapshot=s");
    upload(&kit, "b", &bytes);
    assert_eq!(diff(&kit, "a/diff?snapshot=s&with=b"), (vec![], same));
    // And a longer one.
    kit.put(
        "/v1/disks/c",
        &json!({"size_bytes": 2 * MIB, "block_size": 4096}),
    )
    .json(201);
    upload(&kit, "c", &[&bytes[..], &[5; 512]].concat());
    let (extents, end) = diff(&kit, "b/diff?with=c");
    assert_eq!(extents, [extent(MIB, 4096, "data")]);
    assert_eq!(
        end,
        json!({"same": false, "from_bytes": MIB, "to_bytes": 2 * MIB})
    );
    let (extents, _) = diff(&kit, "c/diff?with=b");
    assert_eq!(extents, Vec::<Value>::new());
    kit.get("/v1/disks/a/diff?with=d").problem(404, "not-found");
    kit.get("/v1/disks/a/diff").problem(400, "invalid");
}

#[test]
fn a_write_changes_its_bytes_and_no_others() {
    let kit = Kit::new();
    kit.disk("a");
    let mut wanted = pattern(MIB as usize, 9);
    upload(&kit, "a", &wanted);
    let edits: [(usize, Vec<u8>); 5] = [
        (0, vec![1]),
        (511, vec![2; 2]),
        (4096, vec![0; 8192]),
        (70_001, vec![3; 99_999]),
        (MIB as usize - 1, vec![4]),
    ];
    for (start, bytes) in edits {
        write(&kit, &format!("start_bytes={start}"), &bytes).done();
        wanted[start..start + bytes.len()].copy_from_slice(&bytes);
        assert!(content(&kit, "a/data") == wanted, "at {start}");
    }
    let extents = kit.get("/v1/disks/a/map").json(200)["extents"].clone();
    assert_eq!(
        extents[1]["start_bytes"], 4096,
        "zeros take no memory: {extents}"
    );
    for (query, body, status, kind) in [
        ("start_bytes=1048576", &b"x"[..], 400, "invalid"),
        ("start_bytes=1048575", b"xy", 413, "too-large"),
        ("start_bytes=0", b"", 400, "invalid"),
        ("force=true", b"x", 400, "invalid"),
    ] {
        write(&kit, query, body).problem(status, kind);
    }
    assert!(content(&kit, "a/data") == wanted);
}

#[test]
fn a_write_beside_a_front_end_needs_force_and_whole_blocks() {
    let kit = Kit::new();
    kit.disk("a");
    let socket = kit.front_end_socket("a");
    let guest = Disk::attach(&socket);
    let refused = write(&kit, "start_bytes=0", &[1; 512]);
    refused.problem(409, "attached");
    let unaligned = write(&kit, "start_bytes=1&force=true", &[1; 512]);
    assert_eq!(field(&unaligned), "start_bytes");
    let part = write(&kit, "start_bytes=0&force=true", &[1; 100]);
    assert_eq!(field(&part), "body");
    write(&kit, "start_bytes=512&force=true", &[1; 512]).done();
    drop(guest);
    let content = content(&kit, "a/data");
    assert!(content[..512] == [0; 512] && content[512..1024] == [1; 512]);
}

#[test]
fn a_write_that_breaks_off_or_comes_too_late_changes_nothing() {
    let kit = Kit::new();
    kit.disk("a");
    upload(&kit, "a", &[5; 4096]);
    let charged = |kit: &Kit| kit.get("/v1/pool").json(200)["charged_bytes"].clone();
    let before = charged(&kit);
    let begin = |length: usize| {
        let mut client = kit.connect();
        let path = "/v1/disks/a/data?start_bytes=0";
        let head =
            format!("PATCH {path} HTTP/1.1\r\nhost: a\r\n{PLAIN}\r\ncontent-length: {length}");
        client.send(format!("{head}\r\n\r\n").as_bytes());
        client.send(&[6; 512]);
        client
    };
    drop(begin(100_000));
    crate::harness::eventually("what had arrived is gone", || charged(&kit) == before);
    assert!(content(&kit, "a/data")[..4096] == [5; 4096]);
    // Something else writes before the last byte has come.
    let mut late = begin(1024);
    crate::harness::eventually("it has begun", || charged(&kit) != before);
    write(&kit, "start_bytes=8192", &[7; 512]).done();
    late.send(&[6; 512]);
    late.answer("PATCH").problem(409, "conflict");
    let content = content(&kit, "a/data");
    assert!(content[..4096] == [5; 4096] && content[8192..8704] == [7; 512]);
}
