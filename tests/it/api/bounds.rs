//! Too many, too long, too slow.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ramblk::daemon::api::Options;
use serde_json::json;

use super::kit::Kit;
use crate::driver::memory::MIB;

#[test]
fn a_body_has_a_bound_whether_it_is_announced_or_not() {
    let kit = Kit::new();
    let mut client = kit.connect();
    let head = "PUT /v1/disks/a HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    client.send(format!("{head}content-length: 1048577\r\n\r\n").as_bytes());
    client.answer("PUT").problem(413, "too-large");
    let mut client = kit.connect();
    client.send(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes());
    let chunk = format!("{:x}\r\n{}\r\n", MIB, " ".repeat(MIB as usize));
    client.send(chunk.as_bytes());
    client.send(b"1\r\n \r\n0\r\n\r\n");
    client.answer("PUT").problem(413, "too-large");
}

#[test]
fn who_sends_a_head_too_slowly_is_cut_off() {
    let kit = Kit::with(Options {
        header_time: Duration::from_millis(300),
        ..Options::default()
    });
    let mut slow = kit.connect();
    slow.send(b"GET /v1/version HTTP/1.1\r\n");
    let mut silent = kit.connect();
    let mut idle = kit.connect();
    assert_eq!(idle.ask("GET", "/healthz", None).status, 200);
    for (client, what) in [
        (&mut slow, "slow"),
        (&mut silent, "silent"),
        (&mut idle, "idle"),
    ] {
        assert!(client.closes_within(Duration::from_secs(5)), "{what}");
    }
    assert_eq!(kit.get("/healthz").status, 200);
}

#[test]
fn who_sends_a_body_too_slowly_gets_a_timeout() {
    let kit = Kit::with(Options {
        request_time: Duration::from_secs(1),
        idle_time: Duration::from_secs(1),
        ..Options::default()
    });
    kit.disk("a");
    let begin = |path: &str, media: &str| {
        let mut client = kit.connect();
        let head = format!("PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media}\r\n");
        client.send(format!("{head}content-length: 512\r\n\r\n{{").as_bytes());
        client.answer("PUT")
    };
    begin("/v1/disks/b", "application/json").problem(504, "timeout");
    begin("/v1/disks/a/data", "application/octet-stream").problem(504, "timeout");
}

#[test]
fn a_transfer_may_take_longer_than_a_request() {
    let kit = Kit::with(Options {
        request_time: Duration::from_secs(1),
        ..Options::default()
    });
    kit.disk("a");
    let mut client = kit.connect();
    let media = "content-type: application/octet-stream";
    let head = format!("PUT /v1/disks/a/data HTTP/1.1\r\nhost: x\r\n{media}\r\n");
    client.send(format!("{head}content-length: 512\r\n\r\n").as_bytes());
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(400));
        client.send(&[1; 128]);
    }
    client.answer("PUT").done();
}

#[test]
fn one_connection_too_many_is_answered_and_closed() {
    let kit = Kit::with(Options {
        most_connections: 2,
        ..Options::default()
    });
    let mut first = kit.connect();
    assert_eq!(first.ask("GET", "/healthz", None).status, 200);
    let mut second = kit.connect();
    assert_eq!(second.ask("GET", "/healthz", None).status, 200);
    let mut third = kit.connect();
    let busy = third.answer("GET");
    busy.problem(503, "busy");
    assert_eq!(busy.header("retry-after"), Some("1"));
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(5);
    while kit.connect().raw("GET /healthz", &[], b"").status != 200 {
        assert!(
            Instant::now() < deadline,
            "a place that is free again is given"
        );
    }
    assert_eq!(second.ask("GET", "/healthz", None).status, 200);
}

#[test]
fn requests_transfers_and_listeners_have_bounds_of_their_own() {
    let kit = Kit::with(Options {
        most_requests: 1,
        most_transfers: 1,
        most_listeners: 1,
        ..Options::default()
    });
    let head = "PUT /v1/disks/b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let mut waiting = kit.connect();
    waiting.send(format!("{head}content-length: 24\r\n\r\n").as_bytes());
    let mut listener = kit.connect();
    listener.send(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(listener.head().status, 200);
    crate::harness::eventually("the request has its place", || {
        kit.get("/v1/pool").status == 503
    });
    kit.get("/v1/pool").problem(503, "busy");
    kit.get("/v1/events").problem(503, "busy");
    waiting.send(b"{\"size_bytes\": 1048576 }");
    waiting.answer("PUT").json(201);
    let mut transfer = kit.connect();
    let media = "content-type: application/octet-stream";
    let head = format!("PUT /v1/disks/b/data HTTP/1.1\r\nhost: x\r\n{media}\r\n");
    transfer.send(format!("{head}content-length: 512\r\nexpect: 100-continue\r\n\r\n").as_bytes());
    assert_eq!(transfer.head().status, 100);
    kit.get("/v1/disks/b/data").problem(503, "busy");
    assert_eq!(kit.get("/v1/pool").status, 200);
    transfer.send(&[1; 512]);
    transfer.answer("PUT").done();
}

#[test]
fn many_ask_at_the_same_time_and_all_are_answered() {
    let kit = Kit::new();
    thread::scope(|scope| {
        for thread in 0..64 {
            let kit = &kit;
            scope.spawn(move || {
                let mut client = kit.connect();
                let path = format!("/v1/disks/d{thread}");
                for _ in 0..5 {
                    let settings = json!({"size_bytes": MIB});
                    client.ask("PUT", &path, Some(&settings)).json(201);
                    client.ask("GET", "/v1/disks", None).json(200);
                    assert_eq!(client.ask("GET", "/metrics", None).status, 200);
                    client.ask("DELETE", &path, None).done();
                }
            });
        }
    });
    assert_eq!(kit.get("/v1/disks").json(200), json!([]));
}

#[test]
fn the_end_comes_within_a_second_whoever_is_connected() {
    let mut kit = Kit::new();
    kit.put("/v1/disks/a", &json!({"size_bytes": 1_u64 << 40}))
        .json(201);
    let mut listener = kit.connect();
    listener.send(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(listener.head().status, 200);
    let mut download = kit.connect();
    download.send(b"GET /v1/disks/a/data HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(download.head().status, 200);
    let _silent = kit.connect();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            kit.stop();
            tell.send(began.elapsed()).unwrap();
        });
        assert!(
            listener.chunk().is_none(),
            "the stream of events ends as streams do"
        );
        let took = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(took < Duration::from_millis(1500), "{took:?}");
    });
}
