//! Headers and parameters that aren't honoured, and content of the wrong kind.

use serde_json::{Value, json};

use super::kit::{Answer, Kit};
use crate::driver::data::pattern;
use crate::driver::memory::MIB;

const PLAIN: &str = "content-type: application/octet-stream";
const JSON: &str = "content-type: application/json";
/// An empty gzip file.
const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\x03\0\0\0\0\0\0\0\0\0";

/// Check for a problem with this status that names this field.
#[track_caller]
fn at(answer: &Answer, status: u16, field: &str) {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer.status, status, "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["field"], field, "{problem}");
}

fn content(kit: &Kit) -> Vec<u8> {
    kit.get("/v1/disks/a/data").body
}

#[test]
fn bytes_that_are_encoded_do_not_become_the_disk() {
    let kit = Kit::new();
    kit.disk("a");
    let bytes = pattern(4096, 1);
    let put = |headers: &[&str]| kit.connect().raw("PUT /v1/disks/a/data", headers, &bytes);
    put(&[PLAIN, "content-encoding: identity"]).done();
    let before = content(&kit);
    for encoding in ["gzip", "zstd", "identity, gzip", "aws-chunked", "GZIP"] {
        let encoding = format!("content-encoding: {encoding}");
        let answer = put(&[PLAIN, &encoding]);
        at(&answer, 415, "content-encoding");
        assert_eq!(answer.header("accept-encoding"), Some("identity"));
    }
    let answer = put(&[PLAIN, "content-transfer-encoding: base64"]);
    at(&answer, 415, "content-transfer-encoding");
    let mut coded = b"PUT /v1/disks/a/data HTTP/1.1\r\nhost: a\r\n".to_vec();
    coded.extend_from_slice(b"content-type: application/octet-stream\r\n");
    coded.extend_from_slice(b"transfer-encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
    let mut client = kit.connect();
    client.send(&coded);
    at(&client.answer("PUT"), 501, "transfer-encoding");
    // JSON bodies have encodings too.
    for (first, body) in [
        ("PUT /v1/disks/b", r#"{"size_bytes": 1048576}"#),
        ("PATCH /v1/disks/a", r#"{"labels": {"a": "b"}}"#),
        ("PUT /v1/config", "{}"),
        ("POST /v1/disks/a/forks", r#"{"name": "b"}"#),
    ] {
        let headers = [JSON, "content-encoding: br"];
        let answer = kit.connect().raw(first, &headers, body.as_bytes());
        at(&answer, 415, "content-encoding");
    }
    assert!(content(&kit) == before);
    kit.get("/v1/disks/b").problem(404, "not-found");
}

#[test]
fn a_header_that_is_not_honoured_is_not_passed_over() {
    let kit = Kit::new();
    kit.disk("a");
    let bytes = pattern(4096, 1);
    for (header, status) in [
        ("content-range: bytes 0-4095/8192", 400),
        ("range: bytes=0-4095", 400),
        ("if-match: \"v1\"", 412),
        ("if-none-match: *", 412),
        ("if-unmodified-since: Sat, 29 Oct 1994 19:43:31 GMT", 412),
        ("content-md5: Q2hlY2sgSW50ZWdyaXR5IQ==", 400),
        (
            "digest: sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=",
            400,
        ),
        (
            "content-digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
            400,
        ),
        (
            "repr-digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
            400,
        ),
        ("trailer: content-digest", 400),
        ("upload-offset: 4096", 400),
        ("upload-complete: ?0", 400),
        ("x-http-method-override: DELETE", 400),
        ("expect: a-miracle", 417),
    ] {
        let name = header.split(':').next().unwrap();
        let answer = kit
            .connect()
            .raw("PUT /v1/disks/a/data", &[PLAIN, header], &bytes);
        at(&answer, status, name);
        let answer =
            kit.connect()
                .raw("PUT /v1/disks/b", &[JSON, header], b"{\"size_bytes\": 512}");
        at(&answer, status, name);
    }
    for header in [
        "if-match: \"v1\"",
        "if-unmodified-since: Sat, 29 Oct 1994 19:43:31 GMT",
    ] {
        let name = header.split(':').next().unwrap();
        at(
            &kit.connect().raw("GET /v1/disks/a/data", &[header], b""),
            412,
            name,
        );
        at(
            &kit.connect().raw("DELETE /v1/disks/a", &[header], b""),
            412,
            name,
        );
    }
    assert!(content(&kit).iter().all(|byte| *byte == 0));
}

#[test]
fn a_type_that_would_change_what_bytes_mean_is_not_passed_over() {
    let kit = Kit::new();
    kit.disk("a");
    let bytes = pattern(4096, 1);
    let twice = [PLAIN, "content-type: text/plain"];
    let answer = kit.connect().raw("PUT /v1/disks/a/data", &twice, &bytes);
    at(&answer, 400, "content-type");
    let charset = ["content-type: application/json; charset=utf-16"];
    let answer = kit
        .connect()
        .raw("PUT /v1/disks/b", &charset, b"{\"size_bytes\": 512}");
    at(&answer, 415, "content-type");
    let form = ["content-type: multipart/form-data; boundary=x"];
    let answer = kit.connect().raw("PUT /v1/disks/a/data", &form, b"--x--");
    at(&answer, 415, "content-type");
    // These may be ignored: the answer is the whole content.
    for header in [
        "if-none-match: \"v1\"",
        "if-modified-since: Sat, 29 Oct 1994 19:43:31 GMT",
    ] {
        assert_eq!(
            kit.connect()
                .raw("GET /v1/disks/a/data", &[header], b"")
                .status,
            200
        );
    }
    let charset = ["content-type: application/json; charset=UTF-8"];
    kit.connect()
        .raw("PUT /v1/disks/b", &charset, b"{\"size_bytes\": 512}")
        .json(201);
    assert!(content(&kit).iter().all(|byte| *byte == 0));
}

#[test]
fn a_part_of_another_version_is_not_joined_to_this_one() {
    let kit = Kit::new();
    kit.disk("a");
    let ask = |headers: &[&str]| kit.connect().raw("GET /v1/disks/a/data", headers, b"");
    assert_eq!(ask(&["range: bytes=0-9"]).body.len(), 10);
    let answer = ask(&["range: bytes=0-9", "if-range: \"v1\""]);
    assert_eq!((answer.status, answer.body.len() as u64), (200, MIB));
}

#[test]
fn what_is_accepted_is_what_comes() {
    let kit = Kit::new();
    kit.disk("a");
    let frames = "application/vnd.ramblk.extents";
    let plain = "application/octet-stream";
    for (accept, wanted) in [
        ("*/*", Some(plain)),
        ("application/*", Some(plain)),
        (frames, Some(frames)),
        ("application/vnd.ramblk.extents, */*;q=0.1", Some(frames)),
        ("application/vnd.ramblk.extents;q=0", None),
        ("*/*, application/vnd.ramblk.extents;q=0", Some(plain)),
        (
            "application/octet-stream, application/vnd.ramblk.extents;q=0.5",
            Some(plain),
        ),
        ("application/x-qcow2", None),
        ("application/octet-stream;q=0", None),
    ] {
        let header = format!("accept: {accept}");
        let answer = kit.connect().raw("GET /v1/disks/a/data", &[&header], b"");
        match wanted {
            Some(media) => assert_eq!(answer.header("content-type"), Some(media), "{accept}"),
            None => at(&answer, 406, "accept"),
        }
    }
}

#[test]
fn a_parameter_that_an_operation_does_not_know_is_refused_by_each() {
    let kit = Kit::new();
    kit.disk("a");
    let document = kit.get("/openapi.json").json(200);
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.replace("{name}", "a").replace("{snapshot}", "s");
        for method in item.as_object().unwrap().keys() {
            let first = format!("{} {path}?no_such=1", method.to_uppercase());
            at(&kit.connect().raw(&first, &[JSON], b""), 400, "no_such");
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked}");
    for (first, field) in [
        ("GET /v1/disks/a/map?limit=1&limit=2", "limit"),
        ("GET /v1/disks/a/map?limit=0", "limit"),
        ("GET /v1/disks/a/map?limit=many", "limit"),
        ("GET /v1/disks/a/map?start_bytes=-1", "start_bytes"),
        ("GET /v1/disks/a/map?snapshot=.no", "snapshot"),
        ("GET /v1/disks?label=novalue", "label"),
        ("GET /v1/disks?label=a=%ff", "label"),
        ("DELETE /v1/disks/a?force=maybe", "force"),
        ("DELETE /v1/disks/a?force=true&force=true", "force"),
        ("GET /v1/disks/.no", "name"),
        ("GET /v1/disks/%ff", "name"),
        ("GET /v1/disks/a/snapshots/.no", "snapshot"),
        ("GET /v1/events?disk=.no", "disk"),
    ] {
        at(&kit.connect().raw(first, &[], b""), 400, field);
    }
    let two = kit.get("/v1/disks?label=a=b&label=c=d").json(200);
    assert_eq!(two, json!([]));
    kit.get("/v1/disks/a").json(200);
}

#[test]
fn a_body_where_none_is_taken_is_not_passed_over() {
    let kit = Kit::new();
    kit.disk("a");
    for first in [
        "PUT /v1/disks/a/snapshots/s",
        "DELETE /v1/disks/a",
        "GET /v1/disks",
    ] {
        let said = kit.connect().raw(first, &[JSON], b"{\"force\": true}");
        let said = said.problem(400, "invalid");
        assert!(said.contains("no body"), "{said}");
    }
    let answer = kit
        .connect()
        .raw("PUT /v1/disks/a/snapshots/s", &["content-length: 0"], b"");
    answer.json(201);
}

#[test]
fn foreign_content_is_refused_unless_it_is_said_to_be_raw() {
    let kit = Kit::new();
    kit.disk("a");
    let put = |path: &str, body: &[u8]| kit.connect().raw(&format!("PUT {path}"), &[PLAIN], body);
    let mut long = GZIP.to_vec();
    long.resize(MIB as usize, 7);
    for body in [GZIP, &long] {
        let answer = put("/v1/disks/a/data", body);
        at(&answer, 415, "format");
        let said = answer.problem(415, "unsupported-media-type");
        assert!(
            said.contains("gzip -dc") && !said.contains("ramblk"),
            "{said}"
        );
    }
    let mut footer = vec![0; 512];
    footer[..8].copy_from_slice(b"conectix");
    footer[12..16].copy_from_slice(&0x1_0000_u32.to_be_bytes());
    footer[60..64].copy_from_slice(&2_u32.to_be_bytes());
    let vhd = [pattern(MIB as usize - 512, 3), footer].concat();
    at(&put("/v1/disks/a/data", &vhd), 415, "format");
    put("/v1/disks/a/data?format=raw", &vhd).done();
    assert!(content(&kit) == vhd);
    put("/v1/disks/a/data?format=raw", &long).done();
    assert!(content(&kit) == long);
    at(&put("/v1/disks/a/data?format=qcow2", &long), 400, "format");
    // The content of a disk may look like anything.
    let frames = [
        &0_u64.to_le_bytes()[..],
        &512_u64.to_le_bytes(),
        &long[..512],
    ]
    .concat();
    let frames = [&frames[..], &MIB.to_le_bytes(), &0_u64.to_le_bytes()].concat();
    let media = ["content-type: application/vnd.ramblk.extents"];
    kit.connect()
        .raw("PUT /v1/disks/a/data", &media, &frames)
        .done();
}
