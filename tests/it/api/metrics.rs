//! Metrics, as Prometheus and its dashboards see them.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::kit::Kit;
use crate::driver::disk::Disk;
use crate::house::tidy::root;

/// The metrics of a disk that was used in every way, and of one that wasn't.
fn metrics() -> String {
    let kit = Kit::new();
    kit.disk("busy");
    kit.disk("idle");
    let mut guest = Disk::attach(&kit.front_end_socket("busy"));
    guest.q().write(0, &[1; 4096]).unwrap();
    guest.q().read(0, 4096).unwrap();
    guest.q().flush().unwrap();
    let answer = kit.get("/metrics");
    let media = answer.header("content-type").unwrap();
    assert!(media.starts_with("text/plain; version=0.0.4"), "{media}");
    String::from_utf8(answer.body).unwrap()
}

#[test]
fn counters_are_what_a_guest_did() {
    let text = metrics();
    for line in [
        "ramblk_disk_reads_completed_total{disk=\"busy\"} 1",
        "ramblk_disk_written_bytes_total{disk=\"busy\"} 4096",
        "ramblk_disk_flush_requests_total{disk=\"busy\"} 1",
        "ramblk_disk_reads_completed_total{disk=\"idle\"} 0",
        "ramblk_disk_attached{disk=\"busy\"} 1",
        "ramblk_disk_attached{disk=\"idle\"} 0",
        "ramblk_disk_size_bytes{disk=\"idle\"} 1048576",
        "ramblk_disk_request_duration_seconds_count{disk=\"busy\",operation=\"read\"} 1",
        "ramblk_disks 2",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    let last = "seconds_bucket{le=\"+Inf\",disk=\"busy\",operation=\"read\"} 1";
    assert!(text.contains(last), "{text}");
    let idle_histogram = "request_duration_seconds_count{disk=\"idle\"";
    assert!(
        !text.contains(idle_histogram),
        "idle disks have no histograms"
    );
}

#[test]
fn prometheus_finds_nothing_to_complain_of() {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool; scripts/setup installs it");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(metrics().as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// The names of metrics in a query, which begin with `ramblk_`.
fn names(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("ramblk_"))
}

fn queries(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "expr" || key == "query" => {
                        into.push(text.clone());
                    }
                    _ => queries(value, into),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, into)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_what_there_is() {
    let text = metrics();
    let known: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let path = root().join("docs/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "ids are unique");
        for field in ["type", "title", "gridPos"] {
            assert!(!panel[field].is_null(), "{panel} has no {field}");
        }
    }
    let mut all = Vec::new();
    queries(&dashboard, &mut all);
    assert!(all.len() > 10);
    for query in &all {
        for name in names(query) {
            assert!(known.contains(name), "{name} of {query:?} is no metric");
        }
    }
}
