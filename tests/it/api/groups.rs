//! Routes of groups, and of all disks at once.

use serde_json::json;

use super::kit::{Kit, POOL_BYTES};
use crate::driver::memory::MIB;

#[test]
fn groups_are_made_limited_and_destroyed() {
    let kit = Kit::new();
    assert_eq!(kit.get("/v1/groups").json(200), json!([]));
    let limits = json!({"total": {"iops": 10}});
    let made = kit.put("/v1/groups/g", &limits).json(201);
    assert_eq!(made, json!({"name": "g", "limits": limits, "disks": []}));
    assert_eq!(kit.put("/v1/groups/g", &limits).json(200), made);
    let detail = kit
        .put("/v1/groups/g", &json!({"read": {"iops": 5}}))
        .problem(409, "conflict");
    assert!(detail.contains("total.iops 10, not none"), "{detail}");
    let group = kit
        .patch("/v1/groups/g", &json!({"read": {"iops": 5}}))
        .json(200);
    let both = json!({"total": {"iops": 10}, "read": {"iops": 5}});
    assert_eq!(group["limits"], both);
    let none = json!({"total": {"iops": null}});
    let group = kit.patch("/v1/groups/g", &none).json(200);
    assert_eq!(group["limits"], json!({"read": {"iops": 5}}));
    kit.patch("/v1/groups/h", &none).problem(404, "not-found");
    let settings = json!({"size_bytes": MIB, "group": "g"});
    kit.put("/v1/disks/a", &settings).json(201);
    let group = kit.get("/v1/groups/g").json(200);
    assert_eq!(group["disks"], json!(["a"]));
    assert_eq!(kit.get("/v1/groups").json(200), json!([group]));
    kit.delete("/v1/groups/g").problem(409, "conflict");
    kit.patch("/v1/disks/a", &json!({"group": null})).json(200);
    kit.delete("/v1/groups/g").done();
    kit.get("/v1/groups/g").problem(404, "not-found");
}

#[test]
fn the_pool_and_the_version_are_shown() {
    let kit = Kit::new();
    kit.disk("a");
    let pool = kit.get("/v1/pool").json(200);
    assert_eq!(pool["limit_bytes"], POOL_BYTES);
    assert_eq!(pool["disks"], 1);
    let version = kit.get("/v1/version").json(200);
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let health = kit.get("/healthz");
    assert_eq!((health.status, &*health.body), (200, &b"ok\n"[..]));
}

#[test]
fn a_configuration_is_applied_as_a_whole_and_once() {
    let kit = Kit::new();
    let config = json!({
        "group": [{"name": "g", "limits": {"total": {"iops": 7}}}],
        "disk": [{"name": "a", "size_bytes": MIB, "group": "g"}, {"name": "b", "size_bytes": MIB}],
    });
    let dry = kit.put("/v1/config?dry_run=true", &config).json(200);
    assert_eq!(dry["created"], json!(["a", "b"]));
    kit.get("/v1/disks/a").problem(404, "not-found");
    assert_eq!(kit.put("/v1/config", &config).json(200), dry);
    let again = kit.put("/v1/config", &config).json(200);
    assert_eq!(again["unchanged"], json!(["a", "b"]));
    assert_eq!(again["changes"], json!([]));
    // What isn't named stays, null removes, and only a prune removes what isn't named.
    let set = json!({"quota_bytes": 65536, "labels": {"k": "v"}});
    kit.patch("/v1/disks/b", &set).json(200);
    let again = kit.put("/v1/config", &config).json(200);
    assert_eq!(again["unchanged"], json!(["a", "b"]));
    let less = json!({"disk": [{"name": "b", "quota_bytes": null}]});
    let dry = kit.put("/v1/config?dry_run=true", &less).json(200);
    assert_eq!(
        dry["changes"],
        json!([{
            "kind": "disk", "name": "b", "action": "change",
            "fields": [{"field": "quota_bytes", "old": 65536, "new": null}],
        }])
    );
    let dry = kit.put("/v1/config?dry_run=true&prune=true", &less);
    let dry = dry.json(200);
    assert_eq!(dry["destroyed"], json!(["a"]));
    assert_eq!(dry["changes"][0]["fields"][0]["field"], "labels.k");
    let exported = kit.get("/v1/config").json(200);
    let again = kit.put("/v1/config", &exported).json(200);
    assert_eq!(again["unchanged"], json!(["a", "b"]));
    let wrong = json!({"disk": [{"name": "c", "size_bytes": MIB}, {"name": "d", "sise_bytes": 1}]});
    let detail = kit.put("/v1/config", &wrong).problem(400, "invalid");
    assert!(detail.contains("disk[1]"), "{detail}");
    let unknown = json!({"disk": [{"name": "c", "size_bytes": MIB, "colour": "red"}]});
    let detail = kit.put("/v1/config", &unknown).problem(400, "invalid");
    assert!(detail.contains("colour"), "{detail}");
    kit.get("/v1/disks/c").problem(404, "not-found");
}
