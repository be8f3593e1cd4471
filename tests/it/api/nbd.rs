//! `GET /v1/disks/NAME/nbd`: connections that become NBD's, and how slow their clients may be.

use std::time::Duration;

use ramblk::daemon::api::Options;
use serde_json::json;

use super::kit::{Client, Kit};
use crate::driver::disk::{ALL, Disk};
use crate::harness::eventually;

const SOON: Duration = Duration::from_secs(10);
/// More than a socket holds.
const READ_ALL: u32 = 16 << 20;

/// A request for an upgrade.
pub(super) fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: keep-alive, Upgrade\r\n\
         upgrade: nbd\r\n\r\n"
    )
}

/// A connection that was upgraded and greeted.
fn upgraded(kit: &Kit, path: &str) -> Client {
    let mut client = kit.connect();
    client.send(upgrade(path).as_bytes());
    let head = client.head();
    assert_eq!(head.status, 101, "{head:?}");
    assert_eq!(head.header("upgrade"), Some("nbd"));
    let mut hello = [0; 18];
    client.read_exact(&mut hello);
    assert_eq!(&hello, b"NBDMAGICIHAVEOPT\0\x03");
    client
}

/// Go on with the export. Returns its size and flags.
fn go(client: &mut Client) -> (u64, u16) {
    let option = [b"IHAVEOPT".as_slice(), &[0, 0, 0, 1, 0, 0, 0, 0]].concat();
    client.send(&[&[0, 0, 0, 3][..], &option].concat());
    let mut size = [0; 8];
    client.read_exact(&mut size);
    let mut flags = [0; 2];
    client.read_exact(&mut flags);
    (u64::from_be_bytes(size), u16::from_be_bytes(flags))
}

fn request(command: u16, len: u32) -> Vec<u8> {
    let head = [0x2560_9513_u32.to_be_bytes(), [0, 0, 0, 0]].concat();
    let mut request = [&head[..], &[0; 16], &len.to_be_bytes()].concat();
    request[6..8].copy_from_slice(&command.to_be_bytes());
    request
}

/// The first byte of the disk as this connection sees it.
fn first(client: &mut Client) -> u8 {
    client.send(&request(0, 512));
    let mut reply = [0; 16 + 512];
    client.read_exact(&mut reply);
    assert_eq!(reply[4..8], [0; 4]);
    reply[16]
}

#[test]
fn what_is_no_upgrade_or_can_not_be_served_is_a_problem() {
    let kit = Kit::new();
    kit.disk("a");
    let plain = kit.get("/v1/disks/a/nbd");
    assert_eq!(plain.header("upgrade"), Some("nbd"));
    let detail = plain.problem(426, "invalid");
    assert!(detail.contains("Upgrade: nbd"), "{detail}");
    let ask = |text: String| {
        let mut client = kit.connect();
        client.send(text.as_bytes());
        client.answer("GET")
    };
    let other = upgrade("/v1/disks/a/nbd").replace("upgrade: nbd", "upgrade: websocket");
    ask(other).problem(426, "invalid");
    let silent = upgrade("/v1/disks/a/nbd").replace("keep-alive, Upgrade", "keep-alive");
    ask(silent).problem(426, "invalid");
    let old = upgrade("/v1/disks/a/nbd").replace("HTTP/1.1", "HTTP/1.0");
    ask(old).problem(426, "invalid");
    for (path, status, kind) in [
        ("/v1/disks/b/nbd", 404, "not-found"),
        ("/v1/disks/a/nbd?snapshot=s", 404, "not-found"),
        ("/v1/disks/a/nbd?snapshot=s&rw=true", 400, "invalid"),
        ("/v1/disks/a/nbd?rw=perhaps", 400, "invalid"),
        ("/v1/disks/a/nbd?view=@", 400, "invalid"),
        ("/v1/disks/a/nbd?write=true", 400, "invalid"),
    ] {
        ask(upgrade(path)).problem(status, kind);
    }
    let guest = Disk::attach_with(&kit.front_end_socket("a"), ALL, 1, 64);
    ask(upgrade("/v1/disks/a/nbd?rw=true")).problem(409, "attached");
    drop(guest);
    let importing = json!({"size_bytes": 1 << 20});
    kit.put("/v1/disks/i?image=x&image_bytes=512", &importing)
        .json(201);
    ask(upgrade("/v1/disks/i/nbd")).problem(409, "conflict");
}

#[test]
fn connections_with_one_name_see_one_moment() {
    let kit = Kit::new();
    kit.disk("a");
    let mut guest = Disk::attach_with(&kit.front_end_socket("a"), ALL, 1, 64);
    let mut write = |byte| guest.q().write(0, &[byte; 512]).unwrap();
    let open = |query: &str| {
        let mut client = upgraded(&kit, &format!("/v1/disks/a/nbd{query}"));
        let (_, flags) = go(&mut client);
        (client, flags & 1 << 8 != 0)
    };
    write(1);
    let (mut one, may_be_several) = open("?view=v");
    assert!(may_be_several);
    write(2);
    let (mut two, _) = open("?view=v");
    let (mut other, _) = open("?view=w");
    let (mut unnamed, may_be_several) = open("");
    assert!(!may_be_several, "the next one would see another moment");
    write(3);
    assert_eq!([&mut one, &mut two].map(first), [1, 1]);
    assert_eq!([&mut other, &mut unnamed].map(first), [2, 2]);
    drop(one);
    assert_eq!(first(&mut open("?view=v").0), 1, "as long as one is open");
    drop(two);
    eventually("the moment is gone", || first(&mut open("?view=v").0) == 3);
}

#[test]
fn a_client_may_wait_between_requests_and_not_within_one() {
    let kit = Kit::with(Options {
        header_time: Duration::from_millis(400),
        idle_time: Duration::from_millis(400),
        ..Options::default()
    });
    kit.put("/v1/disks/a", &json!({"size_bytes": READ_ALL}))
        .json(201);
    let path = "/v1/disks/a/nbd?view=v";
    let mut patient = upgraded(&kit, path);
    let (size, _) = go(&mut patient);
    assert_eq!(size, u64::from(READ_ALL));
    let mut silent = upgraded(&kit, path);
    let mut half_option = upgraded(&kit, path);
    half_option.send(b"\0\0\0\x03IHAVE");
    let mut half_request = upgraded(&kit, path);
    go(&mut half_request);
    half_request.send(&request(0, 512)[..20]);
    let mut half_write = upgraded(&kit, "/v1/disks/a/nbd?rw=true");
    go(&mut half_write);
    half_write.send(&request(1, 4096));
    half_write.send(&[7; 512]);
    for (client, what) in [
        (&mut silent, "nothing at all"),
        (&mut half_option, "half an option"),
        (&mut half_request, "half a request"),
        (&mut half_write, "half a write"),
    ] {
        assert!(client.closes_within(SOON), "{what}");
    }
    // One that doesn't read its replies.
    let mut deaf = upgraded(&kit, path);
    go(&mut deaf);
    deaf.send(&request(0, READ_ALL));
    std::thread::sleep(Duration::from_millis(1500));
    let got = deaf.drain();
    assert!(got < READ_ALL as usize, "it got all {got} bytes");
    assert_eq!(first(&mut patient), 0, "and this one may wait for ever");
    let shown = kit.get("/v1/disks/a").json(200);
    assert_eq!(shown["attached"], false, "{shown}");
}

#[test]
fn a_client_that_does_not_wait_for_the_answer_is_closed() {
    let kit = Kit::new();
    kit.disk("a");
    let mut client = kit.connect();
    let early = [upgrade("/v1/disks/a/nbd").as_bytes(), &[0, 0, 0, 3]].concat();
    client.send(&early);
    assert_eq!(client.head().status, 101);
    assert!(client.closes_within(SOON));
}

#[test]
fn there_are_so_many_connections_of_nbd_and_no_more() {
    let kit = Kit::with(Options {
        most_nbd: 2,
        ..Options::default()
    });
    kit.disk("a");
    let one = upgraded(&kit, "/v1/disks/a/nbd");
    let _two = upgraded(&kit, "/v1/disks/a/nbd");
    let ask = || {
        let mut client = kit.connect();
        client.send(upgrade("/v1/disks/a/nbd").as_bytes());
        client.head().status
    };
    assert_eq!(ask(), 503);
    assert_eq!(kit.get("/v1/disks").status, 200);
    drop(one);
    eventually("there is room", || ask() == 101);
}
