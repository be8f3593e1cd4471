//! Disks in every state that can block a caller, and every operation on another disk beside them.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ramblk::store::Store;
use serde_json::{Value, json};

use super::kit::{Client, Kit, POOL_BYTES};
use crate::driver::disk::Disk;
use crate::driver::kind::OUT;
use crate::driver::memory::MIB;
use crate::harness::eventually;

/// No operation may take longer.
const LIMIT: Duration = Duration::from_secs(1);
const PLAIN: &str = "content-type: application/octet-stream";

/// What must stay alive to keep the disks in their states.
#[derive(Default)]
struct Held {
    guests: Vec<Disk>,
    deaf: Vec<UnixStream>,
    uploads: Vec<Client>,
}

/// Submit a guest's write of a whole disk, without waiting for it.
fn begin_write(guest: &mut Disk, bytes: usize) {
    let pieces = guest.q().lay_out(OUT, 0, &vec![7; bytes], 0);
    let head = guest.q().direct(0, &pieces);
    guest.q().submit(head);
}

impl Held {
    /// A full disk, with a guest's write that waits for memory.
    fn stalled(&mut self, kit: &Kit, name: &str) {
        let body = json!({"size_bytes": MIB, "quota_bytes": 65536, "on_full": "stall"});
        kit.put(&format!("/v1/disks/{name}"), &body).json(201);
        let mut guest = Disk::attach(&kit.front_end_socket(name));
        begin_write(&mut guest, 256 << 10);
        self.guests.push(guest);
    }

    /// A disk that was destroyed under its guest.
    fn ghost(&mut self, kit: &Kit, name: &str) {
        kit.disk(name);
        let mut guest = Disk::attach(&kit.front_end_socket(name));
        guest.q().write(0, &[1; 4096]).unwrap();
        kit.delete(&format!("/v1/disks/{name}?force=true")).done();
        self.guests.push(guest);
    }

    /// A disk whose front end keeps sending messages and reads no reply.
    fn deaf(&mut self, kit: &Kit, name: &str) {
        kit.disk(name);
        let mut front_end = UnixStream::connect(kit.front_end_socket(name)).unwrap();
        front_end.set_nonblocking(true).unwrap();
        let get_features: Vec<u8> = [1_u32, 1, 0]
            .iter()
            .flat_map(|it| it.to_le_bytes())
            .collect();
        while front_end.write_all(&get_features).is_ok() {}
        self.deaf.push(front_end);
    }

    /// A disk whose upload has stopped in the middle.
    fn importing(&mut self, kit: &Kit, name: &str) {
        kit.disk(name);
        let mut client = kit.connect();
        let head = format!(
            "PUT /v1/disks/{name}/data HTTP/1.1\r\nhost: localhost\r\n{PLAIN}\r\n\
             content-length: {MIB}\r\n\r\n"
        );
        client.send(head.as_bytes());
        client.send(&vec![5; 300_000]);
        self.uploads.push(client);
    }
}

/// Disks on which an earlier process crashed.
fn failed(store: &Arc<Store>, names: &[String]) {
    let kit = Kit::over(Arc::clone(store));
    names.iter().for_each(|name| kit.disk(name));
    drop(kit);
    for name in names {
        let disk = store.open(name).unwrap();
        let mut kept: Value = serde_json::from_slice(&disk.settings().unwrap()).unwrap();
        kept["failure"] = "a test says so".into();
        disk.set_settings(kept.to_string().as_bytes()).unwrap();
    }
}

fn state(kit: &Kit, name: &str) -> String {
    let disk = kit.get(&format!("/v1/disks/{name}")).json(200);
    disk["state"].as_str().unwrap().to_owned()
}

type Verb = (&'static str, &'static str, String, Option<Value>, u16);

/// Each operation on a disk in none of these states, in an order that works, with the status of its
/// answer.
fn verbs(at: &str) -> Vec<Verb> {
    let disk = format!("/v1/disks/{at}");
    let of = |rest: &str| format!("{disk}{rest}");
    let group = format!("/v1/groups/{at}");
    let limits = json!({"total": {"iops": 1000}});
    let small = Some(json!({"size_bytes": MIB, "write_cache": "volatile"}));
    let bound = Some(json!({"read": {"iops": 100_000}}));
    let grown = Some(json!({"size_bytes": 2 * MIB}));
    let nothing = Some(json!({}));
    let away = Some(json!({"name": format!("{at}-2")}));
    let home = Some(json!({"name": at}));
    let fork = Some(json!({"name": format!("{at}-fork")}));
    let back = Some(json!({"to": "s"}));
    let diff = of(&format!("/diff?with={at}"));
    // Each round has its own image, which is sent once.
    let image = format!(
        "/v1/images/sha256:{:064x}",
        at.len() + usize::from(at.as_bytes()[at.len() - 1])
    );
    let source = Some(json!({"source": "a"}));
    let sent = format!("{image}/data?fetch=NUMBER");
    let mut verbs = vec![
        ("put_disk", "PUT", of(""), small, 201),
        ("get_disk", "GET", of(""), None, 200),
        ("list_disks", "GET", "/v1/disks".into(), None, 200),
        ("put_image", "PUT", image.clone(), source, 201),
        ("put_image_data", "PUT", sent, None, 201),
        ("get_image", "GET", image.clone(), None, 200),
        ("patch_image", "PATCH", image.clone(), nothing.clone(), 200),
        ("list_images", "GET", "/v1/images".into(), None, 200),
        ("delete_image", "DELETE", image, None, 204),
        ("put_group", "PUT", group.clone(), Some(limits.clone()), 201),
        ("patch_group", "PATCH", group.clone(), bound, 200),
        ("get_group", "GET", group.clone(), None, 200),
        ("list_groups", "GET", "/v1/groups".into(), None, 200),
        ("patch_disk", "PATCH", of(""), grown, 200),
        ("rename_disk", "POST", of("/rename"), away, 200),
        ("rename_disk", "POST", format!("{disk}-2/rename"), home, 200),
        ("put_data", "PUT", of("/data"), None, 204),
        ("get_data", "GET", of("/data"), None, 200),
        ("get_map", "GET", of("/map"), None, 200),
        ("get_nbd", "GET", of("/nbd"), None, 101),
        ("patch_data", "PATCH", of("/data?start_bytes=0"), None, 204),
        ("get_digest", "GET", of("/digest"), None, 200),
        ("get_diff", "GET", diff, None, 200),
        ("get_stats", "GET", of("/stats"), None, 200),
        ("wait_for_disk", "GET", of("/wait?for=detached"), None, 200),
        ("put_limits", "PUT", of("/limits"), Some(limits), 200),
        ("get_limits", "GET", of("/limits"), None, 200),
        ("put_snapshot", "PUT", of("/snapshots/s"), nothing, 201),
        ("get_snapshot", "GET", of("/snapshots/s"), None, 200),
        ("list_snapshots", "GET", of("/snapshots"), None, 200),
        ("fork_disk", "POST", of("/forks"), fork, 201),
        ("reset_disk", "POST", of("/reset"), back, 200),
        (
            "delete_snapshot",
            "DELETE",
            of("/snapshots/s?force=true"),
            None,
            204,
        ),
    ];
    verbs.extend(fleet_verbs(at));
    verbs.extend(daemon_verbs());
    verbs.extend(rig_verbs(at));
    let gone = of("?force=true&snapshots=true");
    verbs.push(("delete_disk", "DELETE", gone, None, 204));
    verbs.push(("delete_group", "DELETE", group, None, 204));
    verbs
}

/// The same of operations on several disks, and on what keeps them.
fn fleet_verbs(at: &str) -> Vec<Verb> {
    let disk = format!("/v1/disks/{at}");
    let forks = Some(json!({"sources": [{"disk": at, "names": [format!("{at}-more")]}]}));
    let kept = Some(json!({"disks": [at], "name": "t"}));
    let back = Some(json!({"disks": [at], "to": "t"}));
    let open = Some(json!({"protected": false}));
    vec![
        ("fork_disks", "POST", "/v1/forks".into(), forks, 201),
        ("delete_disk", "DELETE", format!("{disk}-more"), None, 204),
        ("take_snapshots", "POST", "/v1/snapshots".into(), kept, 201),
        ("reset_disks", "POST", "/v1/resets".into(), back, 200),
        (
            "rename_snapshot",
            "POST",
            format!("{disk}/snapshots/t/rename"),
            Some(json!({"name": "t"})),
            200,
        ),
        (
            "patch_snapshot",
            "PATCH",
            format!("{disk}/snapshots/t"),
            open,
            200,
        ),
    ]
}

/// The same of operations on the daemon.
fn daemon_verbs() -> Vec<Verb> {
    let no_disk = Some(json!({"disk": []}));
    vec![
        ("get_config", "GET", "/v1/config".into(), None, 200),
        ("put_config", "PUT", "/v1/config".into(), no_disk, 200),
        ("get_pool", "GET", "/v1/pool".into(), None, 200),
        ("list_stats", "GET", "/v1/stats".into(), None, 200),
        ("get_usage", "GET", "/v1/usage?by=group".into(), None, 200),
        ("get_version", "GET", "/v1/version".into(), None, 200),
        ("get_metrics", "GET", "/metrics".into(), None, 200),
        ("get_health", "GET", "/healthz".into(), None, 200),
        ("get_openapi", "GET", "/openapi.json".into(), None, 200),
        ("get_events", "GET", "/v1/events".into(), None, 200),
    ]
}

/// The same of operations for tests.
fn rig_verbs(at: &str) -> Vec<Verb> {
    let disk = format!("/v1/disks/{at}");
    let of = |rest: &str| format!("{disk}{rest}");
    let nothing = Some(json!({}));
    let rule = Some(json!({"rule": "error,op=flush"}));
    let mark = Some(json!({"text": "a mark"}));
    let crashed = Some(json!({"name": format!("{at}-crashed"), "state": "2:first.0"}));
    let itself = Some(json!({"disks": [at]}));
    vec![
        ("get_findings", "GET", of("/findings"), None, 200),
        ("get_history", "GET", of("/history"), None, 200),
        ("add_fault", "POST", of("/faults"), rule, 201),
        ("list_faults", "GET", of("/faults"), None, 200),
        ("release_fault", "PUT", of("/faults/f1/release"), None, 200),
        ("get_fault_log", "GET", of("/fault-log"), None, 200),
        ("remove_fault", "DELETE", of("/faults/f1"), None, 204),
        ("clear_faults", "DELETE", of("/faults"), None, 204),
        ("put_recording", "PUT", of("/recording"), nothing, 201),
        ("mark_recording", "POST", of("/recording/marks"), mark, 201),
        ("make_state", "POST", of("/recording/states"), crashed, 201),
        (
            "delete_disk",
            "DELETE",
            format!("{disk}-crashed"),
            None,
            204,
        ),
        ("get_recording", "GET", of("/recording"), None, 200),
        ("stop_recording", "POST", of("/recording/stop"), None, 200),
        ("get_log", "GET", of("/recording/log"), None, 200),
        ("delete_recording", "DELETE", of("/recording"), None, 204),
        ("put_log", "PUT", of("/recording/log"), None, 201),
        ("delete_recording", "DELETE", of("/recording"), None, 204),
        (
            "power_cut",
            "POST",
            "/v1/power-cut".into(),
            itself.clone(),
            200,
        ),
        ("power_on", "POST", "/v1/power-on".into(), itself, 200),
    ]
}

/// Run all operations, and name those that took too long.
fn ask_all(kit: &Kit, at: &str) -> Vec<(&'static str, Duration)> {
    let (mut slow, mut fetch, mut log) = (Vec::new(), 0, Vec::new());
    for (operation, method, path, body, status) in verbs(at) {
        let mut client = kit.connect();
        let began = Instant::now();
        let answer = match operation {
            "put_data" | "patch_data" | "put_image_data" => {
                let path = path.replace("NUMBER", &u64::to_string(&fetch));
                client.raw(&format!("{method} {path}"), &[PLAIN], &vec![3; 2 << 20])
            }
            "put_log" => client.raw(&format!("{method} {path}"), &[PLAIN], &log),
            "get_events" => {
                client.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes());
                client.head()
            }
            "get_nbd" => {
                client.send(super::nbd::upgrade(&path).as_bytes());
                client.head()
            }
            _ => client.ask(method, &path, body.as_ref()),
        };
        let took = began.elapsed();
        assert_eq!(answer.status, status, "{operation}: {answer:?}");
        if operation == "put_image" {
            fetch = answer.json(201)["fetch"].as_u64().unwrap();
        }
        if operation == "get_log" {
            log = answer.body;
        }
        if took > LIMIT {
            slow.push((operation, took));
        }
    }
    kit.delete(&format!("/v1/disks/{at}-fork")).done();
    slow
}

#[test]
fn no_state_of_any_disk_holds_up_a_verb_on_another() {
    let names = |what: &str, count: usize| -> Vec<String> {
        (0..count)
            .map(|number| format!("{what}-{number}"))
            .collect()
    };
    let store = Arc::new(Store::new(POOL_BYTES).unwrap());
    let failed_ones = names("failed", 6);
    failed(&store, &failed_ones);
    let kit = Kit::over(store);
    let stalled = names("stalled", 8);
    let mut held = Held::default();
    stalled.iter().for_each(|name| held.stalled(&kit, name));
    names("ghost", 6)
        .iter()
        .for_each(|name| held.ghost(&kit, name));
    names("deaf", 6)
        .iter()
        .for_each(|name| held.deaf(&kit, name));
    names("importing", 6)
        .iter()
        .for_each(|name| held.importing(&kit, name));
    assert_eq!(stalled.len() + failed_ones.len() + 6 + 6 + 6, 32);
    let are_as_they_should = || {
        stalled.iter().all(|name| state(&kit, name) == "stalled")
            && failed_ones.iter().all(|name| state(&kit, name) == "failed")
    };
    eventually("all disks are in their states", are_as_they_should);

    let document = kit.get("/openapi.json").json(200);
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|methods| methods.as_object().unwrap().values());
    let there: BTreeSet<_> = operations
        .filter_map(|it| it["operationId"].as_str())
        .collect();
    let asked: BTreeSet<_> = verbs("x").iter().map(|verb| verb.0).collect();
    assert_eq!(asked, there, "each operation of the API has its line here");

    // A machine that is busy with other work may be slow once.
    let slow: Vec<_> = (0..3)
        .map(|round| ask_all(&kit, &format!("other-{round}")))
        .collect();
    assert!(slow.iter().any(Vec::is_empty), "{slow:?}");
    assert!(are_as_they_should());
}
