//! Uploads and downloads.

use std::io::Write;

use serde_json::json;

use super::kit::{Answer, Kit};
use crate::driver::data::pattern;
use crate::driver::disk::Disk;
use crate::driver::memory::MIB;

const PLAIN: &str = "content-type: application/octet-stream";
const FRAMES: &str = "content-type: application/vnd.ramblk.extents";
const ACCEPT_FRAMES: &str = "accept: application/vnd.ramblk.extents";

fn frame(start: u64, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u64;
    [&start.to_le_bytes()[..], &length.to_le_bytes(), data].concat()
}

/// Start and length of each frame, and the data of all frames.
fn parse(mut body: &[u8]) -> (Vec<(u64, u64)>, Vec<u8>) {
    let (mut frames, mut all) = (Vec::new(), Vec::new());
    while !body.is_empty() {
        let number = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
        let (start, length) = (number(0), number(8));
        frames.push((start, length));
        let end = 16 + length as usize;
        all.extend_from_slice(&body[16..end]);
        body = &body[end..];
    }
    (frames, all)
}

fn upload(kit: &Kit, path: &str, media: &str, body: &[u8]) -> Answer {
    kit.connect().raw(&format!("PUT {path}"), &[media], body)
}

fn download(kit: &Kit, path: &str, headers: &[&str]) -> Answer {
    kit.connect().raw(&format!("GET {path}"), headers, b"")
}

#[test]
fn a_list_of_all_frames_comes_before_them_if_it_is_asked_for() {
    let kit = Kit::new();
    let size = 64 * MIB;
    kit.put("/v1/disks/a", &json!({"size_bytes": size}))
        .json(201);
    let long = pattern(MIB as usize, 5);
    let content = [
        frame(4096, &[1; 512]),
        frame(8 * MIB, &long),
        frame(9 * MIB, &long),
        frame(size, &[]),
    ]
    .concat();
    upload(&kit, "/v1/disks/a/data", FRAMES, &content).done();
    let plain = download(&kit, "/v1/disks/a/data", &[ACCEPT_FRAMES]).body;
    let listed = download(&kit, "/v1/disks/a/data?list=true", &[ACCEPT_FRAMES]).body;
    // The two long frames are one extent there.
    let header = |start: u64, length: u64| [start.to_le_bytes(), length.to_le_bytes()].concat();
    let list = [header(4096, 512), header(8 * MIB, 2 * MIB), header(size, 0)].concat();
    assert_eq!(listed[..list.len()], list);
    assert!(listed[list.len()..] == plain);
    let refused = download(&kit, "/v1/disks/a/data?list=true", &[]);
    assert_eq!(refused.status, 400);
}

#[test]
fn plain_content_goes_in_and_comes_out() {
    let kit = Kit::new();
    let size = 3 * MIB + 512;
    kit.put("/v1/disks/a", &json!({"size_bytes": size}))
        .json(201);
    let content = pattern(2 * MIB as usize + 1536, 5);
    upload(&kit, "/v1/disks/a/data", PLAIN, &content).done();
    let back = download(&kit, "/v1/disks/a/data", &[]);
    assert_eq!((back.status, back.body.len() as u64), (200, size));
    assert_eq!(back.header("content-length"), Some(&*size.to_string()));
    assert!(back.body.starts_with(&content));
    assert!(back.body[content.len()..].iter().all(|byte| *byte == 0));
    // Everything behind it becomes zeros.
    upload(&kit, "/v1/disks/a/data", PLAIN, &[9; 100]).done();
    let back = download(&kit, "/v1/disks/a/data", &[]).body;
    assert_eq!(back[..100], [9; 100]);
    assert!(back[100..].iter().all(|byte| *byte == 0));
}

#[test]
fn one_range_is_answered_as_such() {
    let kit = Kit::new();
    kit.disk("a");
    let content = pattern(8192, 3);
    upload(&kit, "/v1/disks/a/data", PLAIN, &content).done();
    let part = download(&kit, "/v1/disks/a/data", &["range: bytes=100-4999"]);
    assert_eq!((part.status, &*part.body), (206, &content[100..5000]));
    assert_eq!(part.header("content-range"), Some("bytes 100-4999/1048576"));
    let last = download(&kit, "/v1/disks/a/data", &["range: bytes=-5"]);
    assert_eq!((last.status, &*last.body), (206, &[0; 5][..]));
    let beyond = download(&kit, "/v1/disks/a/data", &["range: bytes=1048576-"]);
    beyond.problem(416, "invalid");
    assert_eq!(beyond.header("content-range"), Some("bytes */1048576"));
    let head = kit.connect().raw("HEAD /v1/disks/a/data", &[], b"");
    assert_eq!(head.header("content-length"), Some("1048576"));
}

#[test]
fn frames_hold_what_is_mapped_and_nothing_else() {
    let kit = Kit::new();
    // A disk that would take for ever if every byte were moved.
    kit.put("/v1/disks/big", &json!({"size_bytes": 1_u64 << 40}))
        .json(201);
    let far = (1 << 40) - 4096;
    let content = [
        frame(512, &[1; 1024]),
        frame(far, &[2; 512]),
        frame(1 << 40, &[]),
    ]
    .concat();
    upload(&kit, "/v1/disks/big/data", FRAMES, &content).done();
    let back = download(&kit, "/v1/disks/big/data", &[ACCEPT_FRAMES]);
    assert_eq!(
        back.header("content-type"),
        Some("application/vnd.ramblk.extents")
    );
    assert_eq!(back.body, content);
    // Data between the frames is discarded, and data behind the last one.
    let less = [frame(1024, &[3; 512]), frame(8192, &[])].concat();
    upload(&kit, "/v1/disks/big/data", FRAMES, &less).done();
    let (frames, data) = parse(&download(&kit, "/v1/disks/big/data", &[ACCEPT_FRAMES]).body);
    assert_eq!(frames, [(1024, 512), (1 << 40, 0)]);
    assert_eq!(data, [3; 512]);
}

#[test]
fn frames_are_short_and_in_order() {
    let kit = Kit::new();
    kit.put("/v1/disks/a", &json!({"size_bytes": 8 * MIB}))
        .json(201);
    let content = pattern(5 * MIB as usize, 1);
    upload(&kit, "/v1/disks/a/data", PLAIN, &content).done();
    let (frames, data) = parse(&download(&kit, "/v1/disks/a/data", &[ACCEPT_FRAMES]).body);
    assert_eq!(data, content);
    assert_eq!(frames.last(), Some(&(8 * MIB, 0)));
    assert!(frames.iter().all(|(_, length)| *length <= MIB));
    assert!(frames.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0));
}

#[test]
fn a_download_is_of_one_moment() {
    let kit = Kit::new();
    kit.put("/v1/disks/a", &json!({"size_bytes": 32 * MIB}))
        .json(201);
    let mut guest = Disk::attach(&kit.front_end_socket("a"));
    guest.q().write(0, &[1; 512]).unwrap();
    let last = (32 * MIB - 512) / 512;
    guest.q().write(last, &[1; 512]).unwrap();
    let mut client = kit.connect();
    client.send(b"GET /v1/disks/a/data HTTP/1.1\r\nhost: x\r\n\r\n");
    // The download has begun, and most of it can't have been read yet.
    assert_eq!(client.head().status, 200);
    guest.q().write(last, &[2; 512]).unwrap();
    let mut whole = vec![0; 32 * MIB as usize];
    client.read_exact(&mut whole);
    assert_eq!(whole[whole.len() - 512..], [1; 512]);
    assert_eq!(guest.q().read(last, 512).unwrap(), [2; 512]);
}

#[test]
fn a_snapshot_can_be_read() {
    let kit = Kit::new();
    kit.disk("a");
    upload(&kit, "/v1/disks/a/data", PLAIN, &[1; 512]).done();
    kit.put("/v1/disks/a/snapshots/s", &json!({})).json(201);
    upload(&kit, "/v1/disks/a/data", PLAIN, &[2; 512]).done();
    let first = |path: &str| download(&kit, path, &["range: bytes=0-0"]).body;
    assert_eq!(first("/v1/disks/a/data?snapshot=s"), [1]);
    assert_eq!(first("/v1/disks/a/data"), [2]);
    let none = download(&kit, "/v1/disks/a/data?snapshot=t", &[]);
    none.problem(404, "not-found");
}

#[test]
fn an_upload_that_makes_no_sense_is_refused() {
    let kit = Kit::new();
    kit.disk("a");
    let path = "/v1/disks/a/data";
    let long = vec![1; MIB as usize + 512];
    upload(&kit, path, PLAIN, &long).problem(413, "too-large");
    upload(&kit, path, FRAMES, &frame(0, &[1; 512])).problem(400, "invalid");
    upload(&kit, path, FRAMES, &frame(MIB, &[1; 512])).problem(400, "invalid");
    upload(&kit, path, "content-type: text/plain", b"x").problem(415, "unsupported-media-type");
    upload(&kit, "/v1/disks/b/data", PLAIN, &[1; 512]).problem(404, "not-found");
    let _guest = Disk::attach(&kit.front_end_socket("a"));
    upload(&kit, path, PLAIN, &[1; 512]).problem(409, "attached");
    upload(&kit, &format!("{path}?force=true"), PLAIN, &[1; 512]).done();
}

#[test]
fn an_upload_of_unknown_length_ends_where_the_disk_does() {
    let kit = Kit::new();
    kit.disk("a");
    let mut client = kit.connect();
    let head = "PUT /v1/disks/a/data HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n";
    client.send(format!("{head}{PLAIN}\r\n\r\n").as_bytes());
    for _ in 0..3 {
        let mut chunk = format!("{:x}\r\n", MIB / 2).into_bytes();
        chunk.extend(vec![1; MIB as usize / 2]);
        chunk.write_all(b"\r\n").unwrap();
        client.send(&chunk);
    }
    client.send(b"0\r\n\r\n");
    client.answer("PUT").problem(400, "invalid");
}

#[test]
fn plain_bytes_of_unknown_length_that_break_off_leave_what_was_there() {
    let kit = Kit::new();
    kit.disk("a");
    let path = "/v1/disks/a/data";
    upload(&kit, path, PLAIN, &[1; 512]).done();
    let mut client = kit.connect();
    let head = "PUT /v1/disks/a/data HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n";
    client.send(format!("{head}{PLAIN}\r\n\r\n200\r\n").as_bytes());
    client.send(&[2; 512]);
    client.send(b"\r\nno chunk\r\n");
    client.answer("PUT").problem(400, "invalid");
    let first = download(&kit, path, &["range: bytes=0-0"]).body;
    assert_eq!(first, [1]);
}
