//! Routes of disks.

use serde_json::{Value, json};

use super::kit::Kit;
use crate::driver::disk::Disk;
use crate::driver::memory::MIB;

#[test]
fn a_disk_is_made_once_and_found_again() {
    let kit = Kit::new();
    let settings = json!({"size_bytes": 4 * MIB, "labels": {"vm": "a"}, "queues": 2});
    let made = kit.put("/v1/disks/a", &settings).json(201);
    assert_eq!(made["name"], "a");
    assert_eq!(made["size_bytes"], 4 * MIB);
    assert_eq!(made["block_size"], 512);
    let socket = kit.front_end_socket("a");
    assert_eq!(made["socket"], socket.to_str().unwrap());
    assert!(socket.exists());
    let again = kit.put("/v1/disks/a", &settings).json(200);
    assert_eq!(again, made);
    let other = kit.put("/v1/disks/a", &json!({"size_bytes": 8 * MIB}));
    let detail = other.problem(409, "conflict");
    assert!(detail.contains("size"), "{detail}");
    let shown = kit.get("/v1/disks/a").json(200);
    assert!(shown["unique_bytes"].is_u64() && made["unique_bytes"].is_null());
    assert_eq!(shown["labels"], json!({"vm": "a"}));
}

#[test]
fn lists_are_sorted_and_choose_by_all_labels() {
    let kit = Kit::new();
    let make = |name: &str, labels: Value| {
        let settings = json!({"size_bytes": MIB, "labels": labels});
        kit.put(&format!("/v1/disks/{name}"), &settings).json(201);
    };
    make("b", json!({"vm": "1", "role": "data"}));
    make("c", json!({"vm": "2", "role": "data"}));
    make("a", json!({}));
    let names = |query: &str| -> Vec<String> {
        let list = kit.get(&format!("/v1/disks{query}")).json(200);
        let list = list.as_array().unwrap().iter();
        list.map(|disk| disk["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(""), ["a", "b", "c"]);
    assert_eq!(names("?label=role=data"), ["b", "c"]);
    assert_eq!(names("?label=role=data&label=vm=2"), ["c"]);
    assert_eq!(names("?label=role%3Ddata&label=vm=3"), [""; 0]);
    kit.get("/v1/disks?label=role").problem(400, "invalid");
    kit.get("/v1/disks?lable=role=data").problem(400, "invalid");
}

#[test]
fn a_patch_changes_what_it_names_and_null_takes_away() {
    let kit = Kit::new();
    let settings = json!({
        "size_bytes": MIB, "quota_bytes": MIB, "labels": {"keep": "1", "drop": "2"},
    });
    kit.put("/v1/disks/a", &settings).json(201);
    let patch = json!({"size_bytes": 2 * MIB, "quota_bytes": null, "labels": {"drop": null}});
    let patched = kit.patch("/v1/disks/a", &patch).json(200);
    assert_eq!(patched["disk"]["size_bytes"], 2 * MIB);
    assert_eq!(patched["disk"]["quota_bytes"], Value::Null);
    assert_eq!(patched["disk"]["labels"], json!({"keep": "1"}));
    assert_eq!(patched["resized"]["from_bytes"], MIB);
    let mut client = kit.connect();
    let merge = ["content-type: application/merge-patch+json"];
    let answer = client.raw("PATCH /v1/disks/a", &merge, b"{\"on_full\":\"stall\"}");
    assert_eq!(answer.json(200)["disk"]["on_full"], "stall");
    let shrink = kit.patch("/v1/disks/a", &json!({"size_bytes": MIB}));
    shrink.problem(409, "would-lose-data");
    let shrunk = kit.patch("/v1/disks/a", &json!({"size_bytes": MIB, "shrink": true}));
    assert_eq!(shrunk.json(200)["resized"]["to_bytes"], MIB);
}

#[test]
fn a_disk_in_use_is_destroyed_by_force_only() {
    let kit = Kit::new();
    kit.disk("a");
    let mut front_end = Disk::attach(&kit.front_end_socket("a"));
    front_end.q().write(0, &[1; 512]).unwrap();
    assert_eq!(kit.get("/v1/disks/a").json(200)["attached"], true);
    kit.delete("/v1/disks/a").problem(409, "attached");
    kit.delete("/v1/disks/a?force=yes").problem(400, "invalid");
    kit.delete("/v1/disks/a?force=true").done();
    kit.get("/v1/disks/a").problem(404, "not-found");
    kit.delete("/v1/disks/a").problem(404, "not-found");
    assert!(front_end.q().write(0, &[1; 512]).is_err());
}

#[test]
fn maps_come_in_parts() {
    let kit = Kit::new();
    kit.disk("a");
    let mut front_end = Disk::attach(&kit.front_end_socket("a"));
    for sector in [0, 8, 16] {
        front_end.q().write(sector, &[1; 512]).unwrap();
    }
    let mut extents = Vec::new();
    let mut next = Some(0);
    let mut parts = 0;
    while let Some(start) = next {
        let map = kit.get(&format!("/v1/disks/a/map?limit=2&start_bytes={start}"));
        let map = map.json(200);
        extents.extend(map["extents"].as_array().unwrap().clone());
        next = map["next_bytes"].as_u64();
        parts += 1;
    }
    assert_eq!(parts, 3);
    let whole = kit.get("/v1/disks/a/map").json(200);
    assert_eq!(whole["extents"].as_array().unwrap(), &extents);
    assert_eq!(extents.len(), 6);
    let mapped = json!({"start_bytes": 4096, "length_bytes": 512, "mapped": true});
    assert_eq!(extents[2], mapped);
    let total: u64 = extents
        .iter()
        .map(|e| e["length_bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(total, MIB);
    kit.put("/v1/disks/a/snapshots/s", &json!({}));
    front_end.q().write(24, &[1; 512]).unwrap();
    let count = |path: &str| kit.get(path).json(200)["extents"].as_array().unwrap().len();
    assert_eq!(count("/v1/disks/a/map"), 8);
    assert_eq!(count("/v1/disks/a/map?snapshot=s"), 6);
    for limit in ["0", "65537", "-1", "x"] {
        let answer = kit.get(&format!("/v1/disks/a/map?limit={limit}"));
        answer.problem(400, "invalid");
    }
}

#[test]
fn statistics_count_what_a_guest_did() {
    let kit = Kit::new();
    kit.disk("a");
    let mut front_end = Disk::attach(&kit.front_end_socket("a"));
    front_end.q().write(0, &[1; 4096]).unwrap();
    front_end.q().read(0, 512).unwrap();
    front_end.q().flush().unwrap();
    let stats = kit.get("/v1/disks/a/stats").json(200);
    let operations = &stats["operations"];
    assert_eq!(operations["write"]["completed"], 1);
    assert_eq!(operations["write"]["bytes"], 4096);
    assert_eq!(operations["read"]["bytes"], 512);
    assert_eq!(operations["flush"]["completed"], 1);
    kit.get("/v1/disks/b/stats").problem(404, "not-found");
}

#[test]
fn limits_are_shown_and_set() {
    let kit = Kit::new();
    kit.disk("a");
    assert_eq!(kit.get("/v1/disks/a/limits").json(200), json!({}));
    let limits = json!({"total": {"iops": 100}, "write": {"bytes_per_second": 1048576}});
    let set = kit.put("/v1/disks/a/limits", &limits).json(200);
    assert_eq!(set, limits);
    assert_eq!(kit.get("/v1/disks/a/limits").json(200), limits);
    assert_eq!(kit.get("/v1/disks/a").json(200)["limits"], limits);
    let nothing = kit.put("/v1/disks/a/limits", &json!({})).json(200);
    assert_eq!(nothing, json!({}));
}

#[test]
fn a_disk_is_changed_only_while_it_has_the_tag_that_is_named() {
    let kit = Kit::new();
    kit.disk("a");
    let shown = kit.get("/v1/disks/a");
    let tag = shown.header("etag").unwrap().to_owned();
    let disk = shown.json(200);
    let id = disk["id"].as_str().unwrap();
    assert_eq!(tag, format!("\"{id}-1\""));
    let json = "content-type: application/json";
    let change = |tag: &str, method: &str| {
        let header = format!("if-match: {tag}");
        let body: &[u8] = if method == "PATCH" {
            b"{\"quota_bytes\": 1048576}"
        } else {
            b""
        };
        kit.connect()
            .raw(&format!("{method} /v1/disks/a"), &[json, &header], body)
    };
    let patched = change(&tag, "PATCH");
    patched.json(200);
    assert_eq!(patched.header("etag"), Some(&*format!("\"{id}-2\"")));
    for method in ["PATCH", "DELETE"] {
        let detail = change(&tag, method).problem(412, "changed");
        assert!(detail.contains("-2\""), "{detail}");
    }
    change("\"x\", *", "PATCH").json(200);
    let other = format!("W/{tag}, \"{id}-2\"");
    assert_eq!(change(&other, "DELETE").status, 204);
}
