//! Metrics, as Prometheus and its dashboards see them.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::kit::Kit;
use crate::driver::disk::Disk;
use crate::driver::memory::MIB;
use crate::harness::unpacked;
use crate::house::tidy::root;

/// The metrics of a disk that was used in every way, and of one that wasn't.
fn metrics() -> String {
    let kit = Kit::new();
    kit.disk("busy");
    kit.disk("idle");
    let group = json!({"read": {"iops": 900_000}, "total": {"bytes_per_second": 1_u64 << 33}});
    kit.put("/v1/groups/g", &group).json(201);
    let change =
        json!({"group": "g", "labels": {"tenant": "a \"b\"", "vm": "x"}, "quota_bytes": MIB});
    kit.patch("/v1/disks/busy", &change).json(200);
    let odd = json!({
        "size_bytes": MIB,
        "write_cache": "volatile",
        "history": {"keep": 5},
        "life": {"ttl_ms": 3_600_000},
    });
    kit.put("/v1/disks/odd", &odd).json(201);
    kit.disks.show_labels(vec!["tenant".to_owned()]);
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
        "ramblk_disks 3",
        "ramblk_disk_volatile_bytes{disk=\"odd\"} 0",
        "ramblk_disk_history_points{disk=\"odd\"} 0",
        "ramblk_disk_protected{disk=\"odd\"} 0",
        "ramblk_parked_requests 0",
        "ramblk_group_disks{group=\"g\"} 1",
        "ramblk_group_limit_iops{group=\"g\",operation=\"read\"} 900000",
        "ramblk_group_limit_bytes_per_second{group=\"g\",operation=\"all\"} 8589934592",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    let info = |disk: &str, rest: &str| {
        let begin = format!("ramblk_disk_info{{disk=\"{disk}\",id=\"");
        let line = text.lines().find(|line| line.starts_with(&begin));
        assert!(
            line.is_some_and(|line| line.ends_with(rest)),
            "{disk}: {text}"
        );
    };
    info("busy", "group=\"g\",label_tenant=\"a \\\"b\\\"\"} 1");
    info("idle", "group=\"\",label_tenant=\"\"} 1");
    let ends = text
        .lines()
        .find_map(|line| line.strip_prefix("ramblk_disk_ends_in_seconds{disk=\"odd\"} "));
    let ends: u64 = ends.unwrap().parse().unwrap();
    assert!((3500..3600).contains(&ends), "{ends}");
    for name in [
        "ramblk_thread_polled_seconds_total{thread=\"work-0\"}",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "ramblk_thread_cpu_seconds_total{thread=\"work-0\"}",
    ] {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        assert!(
            value.is_some_and(|value| value >= 0.0),
            "{name} is not in\n{text}"
        );
    }
    let last = "seconds_bucket{le=\"+Inf\",disk=\"busy\",operation=\"read\"} 1";
    assert!(text.contains(last), "{text}");
    let idle_histogram = "request_duration_seconds_count{disk=\"idle\"";
    assert!(
        !text.contains(idle_histogram),
        "idle disks have no histograms"
    );
}

/// The value of a metric without other labels than are in its name.
fn value(kit: &Kit, name: &str) -> f64 {
    let text = String::from_utf8(kit.get("/metrics").body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn polling_in_vain_is_counted_and_sleep_is_not() {
    let kit = Kit::new();
    kit.disk("a");
    let polled = || {
        value(
            &kit,
            "ramblk_thread_polled_seconds_total{thread=\"work-0\"}",
        )
    };
    let worked = || value(&kit, "ramblk_thread_cpu_seconds_total{thread=\"work-0\"}");
    let mut guest = Disk::attach(&kit.front_end_socket("a"));
    for _ in 0..200 {
        guest.q().write(0, &[1; 4096]).unwrap();
    }
    // Only what is polled, and at the beginning also between requests that come one by one.
    let used = polled();
    assert!(used > 0.0 && used < 5.0, "{used}");
    assert!(worked() > 0.0);
    // The ring goes cold, and its worker sleeps.
    std::thread::sleep(Duration::from_millis(300));
    let rested = polled();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(polled(), rested);
}

#[test]
fn prometheus_finds_nothing_to_complain_of() {
    let mut promtool = Command::new(unpacked("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: run scripts/setup");
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

/// The names of metrics in a query.
fn names(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("ramblk_") || word.starts_with("process_"))
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

/// The names of all metrics that are served.
fn known(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect()
}

#[test]
fn alerts_are_about_what_there_is() {
    let path = root().join("docs/prometheus-alerts.yml");
    let checked = Command::new(unpacked("promtool"))
        .args(["check", "rules"])
        .arg(&path)
        .output();
    let checked = checked.expect("promtool: run scripts/setup");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success() && said.contains("9 rules found"),
        "{said}"
    );
    let text = metrics();
    let known = known(&text);
    let rules = std::fs::read_to_string(&path).unwrap();
    let queries = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let queries: Vec<&str> = queries.collect();
    assert_eq!(queries.len(), 9);
    for query in queries {
        let mut found = 0;
        for name in names(query) {
            assert!(known.contains(name), "{name} of {query:?} is no metric");
            found += 1;
        }
        assert!(found > 0, "{query}");
    }
}

#[test]
fn the_dashboard_shows_what_there_is() {
    let text = metrics();
    let known = known(&text);
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
