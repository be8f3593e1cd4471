//! Golden images over the API: who is told to fetch one, and how the others wait.

use std::time::{Duration, Instant};

use serde_json::json;

use super::kit::{Answer, Kit};
use crate::driver::memory::MIB;

const PLAIN: &str = "content-type: application/octet-stream";

fn path(number: u8) -> String {
    format!("/v1/images/sha256:{}", format!("{number:02x}").repeat(32))
}

/// Ask for an image. Returns the number, if this client is to send it.
fn offer(kit: &Kit, number: u8, query: &str, status: u16) -> Option<u64> {
    let source = json!({"source": "a.raw"});
    let answer = kit.put(&(path(number) + query), &source).json(status);
    answer["fetch"].as_u64()
}

fn send(kit: &Kit, number: u8, fetch: u64, bytes: &[u8]) -> Answer {
    let line = format!("PUT {}/data?fetch={fetch}", path(number));
    kit.connect().raw(&line, &[PLAIN], bytes)
}

#[test]
fn one_client_is_told_to_fetch_and_the_others_wait_until_that_has_ended() {
    let kit = Kit::new();
    let fetch = offer(&kit, 1, "", 201).unwrap();
    assert_eq!(offer(&kit, 1, "", 202), None);
    std::thread::scope(|scope| {
        let waits = || {
            let began = Instant::now();
            let fetch = offer(&kit, 1, "?wait_seconds=8", 200);
            assert!(began.elapsed() < Duration::from_secs(7), "nothing woke it");
            fetch
        };
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(waits)).collect();
        std::thread::sleep(Duration::from_millis(200));
        let sent = send(&kit, 1, fetch, &vec![7; MIB as usize]).json(201);
        assert_eq!(
            (&sent["state"], &sent["size_bytes"]),
            (&"present".into(), &MIB.into())
        );
        for client in waiting {
            assert_eq!(client.join().unwrap(), None);
        }
    });
    // One that waits is told to fetch when the other fails, and only one.
    let fetch = offer(&kit, 2, "", 201).unwrap();
    std::thread::scope(|scope| {
        let ask = || {
            let source = json!({"source": "a.raw"});
            let answer = kit.put(&(path(2) + "?wait_seconds=3"), &source);
            answer.json(answer.status)["fetch"].as_u64()
        };
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        std::thread::sleep(Duration::from_millis(200));
        send(&kit, 2, fetch, b"").problem(400, "invalid");
        let told = waiting.into_iter().filter_map(|it| it.join().unwrap());
        assert_eq!(told.count(), 1);
    });
}

#[test]
fn what_can_be_wrong_with_a_request_for_an_image_is_said() {
    let kit = Kit::new();
    kit.get("/v1/images/none").problem(404, "not-found");
    kit.get(&path(1)).problem(404, "not-found");
    kit.delete(&path(1)).problem(404, "not-found");
    let source = json!({"source": "a.raw"});
    let said = kit.put("/v1/images/none", &source).problem(400, "invalid");
    assert!(said.contains("64 hexadecimal digits"), "{said}");
    kit.get("/v1/images/a:b").problem(400, "invalid");
    kit.put(&(path(1) + "?wait_seconds=9"), &source)
        .problem(400, "invalid");
    for body in [
        json!({}),
        json!({"source": ""}),
        json!({"source": "a", "name": "a b"}),
        json!({"source": "a", "format": "RAW!"}),
        json!({"source": "a", "colour": 1}),
    ] {
        kit.put(&path(1), &body).problem(400, "invalid");
    }
    send(&kit, 1, 1, b"x").problem(409, "conflict");
    let fetch = offer(&kit, 1, "", 201).unwrap();
    // What is no raw image leaves none.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\x03\0\0\0\0\0\0\0\0\0";
    send(&kit, 1, fetch, gzip).problem(415, "unsupported-media-type");
    kit.get(&path(1)).problem(404, "not-found");
    let fetch = offer(&kit, 1, "", 201).unwrap();
    send(&kit, 1, fetch, &[7; 4096]).json(201);
    let disk = |query: &str| kit.put(&format!("/v1/disks/a?{query}"), &json!({"size_bytes": MIB}));
    disk("from_image=none").problem(404, "not-found");
    disk("from_image=a:b").problem(400, "invalid");
    let which = path(1).replace("/v1/images/", "from_image=");
    disk(&format!("{which}&image=b")).problem(400, "invalid");
    disk(&which).json(201);
    disk(&which).json(200);
    disk("").json(200);
    kit.delete(&path(1)).problem(409, "conflict");
    kit.delete(&(path(1) + "?force=true")).done();
    assert_eq!(kit.get("/v1/images").json(200), json!([]));
}
