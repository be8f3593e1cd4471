//! Everything that can be wrong with a request.

use std::process::Command;

use serde_json::json;

use super::kit::Kit;
use crate::driver::memory::MIB;

const JSON: &str = "content-type: application/json";

#[test]
fn unknown_paths_and_wrong_methods_are_told_apart() {
    let kit = Kit::new();
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/disks/a/b",
        "/v1/disks/a/snapshots/b/c",
        "//",
    ] {
        kit.get(path).problem(404, "not-found");
    }
    let wrong = kit.post("/v1/disks/a", &json!({}));
    wrong.problem(405, "method-not-allowed");
    assert_eq!(wrong.header("allow"), Some("GET,HEAD,PUT,PATCH,DELETE"));
    let wrong = kit.delete("/v1/events");
    wrong.problem(405, "method-not-allowed");
    assert_eq!(wrong.header("allow"), Some("GET,HEAD"));
    let mut client = kit.connect();
    let odd = client.raw("BREW /v1/pool", &[], b"");
    odd.problem(405, "method-not-allowed");
    let head = client.raw("HEAD /v1/nothing", &[], b"");
    assert_eq!((head.status, head.body.len()), (404, 0));
}

#[test]
fn bodies_that_are_wrong_are_refused_with_the_field_at_fault() {
    let kit = Kit::new();
    let put = |body: &str| {
        kit.connect()
            .raw("PUT /v1/disks/a", &[JSON], body.as_bytes())
    };
    let detail = |body: &str| put(body).problem(400, "invalid");
    assert!(detail("{").contains("EOF"));
    assert!(detail("{\"size_bytes\": 1048576} x").contains("trailing"));
    assert!(detail("{}").contains("size_bytes"));
    assert!(detail("{\"size_bytes\": \"1G\"}").starts_with("size_bytes: "));
    assert!(detail("{\"size_bytes\": 1000}").contains("1000"));
    let unknown = put("{\"size_bytes\": 1048576, \"colour\": 1}");
    assert!(unknown.problem(400, "invalid").contains("`labels`"));
    assert!(String::from_utf8_lossy(&unknown.body).contains("\"field\":\"colour\""));
    let nested = detail("{\"size_bytes\": 1048576, \"limits\": {\"read\": {\"iops\": -1}}}");
    assert!(nested.starts_with("limits.read.iops: "), "{nested}");
    let deep = "[".repeat(100_000);
    assert!(detail(&deep).contains("recursion"));
    let mut client = kit.connect();
    let untyped = client.raw("PUT /v1/disks/a", &[], b"{}");
    untyped.problem(415, "unsupported-media-type");
    let empty = client.raw("PUT /v1/disks/a", &[JSON], b"");
    empty.problem(400, "invalid");
    let odd = client.raw("PUT /v1/disks/a", &["content-type: application/xml"], b"{}");
    odd.problem(415, "unsupported-media-type");
    let charset = "content-type: Application/JSON; charset=utf-8";
    client
        .raw("PUT /v1/disks/a", &[charset], b"{\"size_bytes\": 1048576}")
        .json(201);
}

#[test]
fn names_that_are_none_are_refused_everywhere() {
    let kit = Kit::new();
    let settings = json!({"size_bytes": MIB});
    let long = "a".repeat(65);
    for name in [".a", "-a", "a%2Fb", "a%00", "%C3%A4", "a%20b", &long, "%FF"] {
        kit.put(&format!("/v1/disks/{name}"), &settings)
            .problem(400, "invalid");
        kit.get(&format!("/v1/disks/{name}/map"))
            .problem(400, "invalid");
        kit.delete(&format!("/v1/groups/{name}"))
            .problem(400, "invalid");
        kit.put(&format!("/v1/disks/a/snapshots/{name}"), &json!({}))
            .problem(400, "invalid");
        kit.get(&format!("/v1/disks/a/data?snapshot={name}"))
            .problem(400, "invalid");
        kit.get(&format!("/v1/events?disk={name}"))
            .problem(400, "invalid");
    }
    kit.put(&format!("/v1/disks/{}", "a".repeat(64)), &settings)
        .json(201);
}

#[test]
fn queries_that_make_no_sense_are_refused() {
    let kit = Kit::new();
    kit.disk("a");
    for path in [
        "/v1/disks/a/map?nonsense=1",
        "/v1/disks/a/map?limit=1&limit=2",
        "/v1/disks/a/map?start_bytes=-1",
        "/v1/disks/a/map?start_bytes=18446744073709551616",
        "/v1/disks/a/data?force=true",
        "/v1/events?disk=",
    ] {
        kit.get(path).problem(400, "invalid");
    }
    kit.delete("/v1/disks/a?force").problem(400, "invalid");
    kit.put("/v1/config?dry_run=1", &json!({}))
        .problem(400, "invalid");
}

#[test]
fn what_there_is_no_room_for_is_over_budget() {
    let kit = Kit::new();
    let quota = json!({"size_bytes": MIB, "quota_bytes": 1_u64 << 50});
    let answer = kit.put("/v1/disks/a", &quota);
    assert!(matches!(answer.status, 400 | 507), "{answer:?}");
    kit.put("/v1/disks/a", &json!({"size_bytes": 128 * MIB}))
        .json(201);
    let body = vec![1; 80 * MIB as usize];
    let media = ["content-type: application/octet-stream"];
    let full = kit.connect().raw("PUT /v1/disks/a/data", &media, &body);
    full.problem(507, "over-budget");
}

/// Only root can become another user; elsewhere the test does nothing.
#[test]
fn others_may_not_ask_even_if_the_file_lets_them_in() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let kit = Kit::new();
    let open = |path: &std::path::Path, mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    open(kit.socket(), 0o666);
    open(kit.socket().parent().unwrap(), 0o755);
    let ask = |user: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(user).args([
            "curl",
            "-is",
            "http://localhost/v1/version",
            "--unix-socket",
        ]);
        command.arg(kit.socket());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let stranger = ask(&["--reuid=12345", "--regid=12345", "--clear-groups"]);
    assert!(stranger.starts_with("HTTP/1.1 403"), "{stranger}");
    assert!(
        stranger.contains("urn:ramblk:problem:forbidden"),
        "{stranger}"
    );
    let member = ask(&["--reuid=12345", "--regid=0", "--clear-groups"]);
    assert!(member.starts_with("HTTP/1.1 200"), "{member}");
    let supplementary = ask(&["--reuid=12345", "--regid=12345", "--groups=7,0"]);
    assert!(supplementary.starts_with("HTTP/1.1 200"), "{supplementary}");
}
