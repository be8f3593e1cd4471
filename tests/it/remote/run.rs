//! `ramblk run` with a URL: what reads it isn't what serves.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::site::{Reply, Site, object};
use crate::driver::data::pattern;
use crate::driver::disk::Disk;
use crate::harness::Ramblk;
use crate::verbs::text;

#[test]
fn a_disk_is_served_by_a_process_that_had_no_network() {
    let image: &'static [u8] = Box::leak(pattern(9 << 20, 4).into_boxed_slice());
    let site = Site::start(move |_, request| object(request, image, "\"v1\""));
    let ramblk = Ramblk::run(&["--image", &site.url("/disk.raw")]);
    let mut disk = Disk::attach(ramblk.socket());
    for at in [0, 5 << 20, (9 << 20) - 4096] {
        assert_eq!(
            disk.q().read(at as u64 / 512, 4096).unwrap(),
            image[at..at + 4096]
        );
    }
    assert_eq!(disk.q().read((9 << 20) / 512, 4096).unwrap(), [0; 4096]);
    // The helper is gone, and there was never a thread for requests in this process. What may be
    // there is the broker of its sandbox.
    let pid = ramblk.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    for child in children.split_whitespace() {
        let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap();
        assert_eq!(name.trim(), "ramblk-broker");
    }
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let name = fs::read_to_string(task.unwrap().path().join("comm")).unwrap();
        assert_ne!(name.trim(), "ramblk-remote");
    }
}

#[test]
fn an_image_that_cannot_be_read_ends_run_with_one_line() {
    let image: &'static [u8] = Box::leak(pattern(30 << 20, 4).into_boxed_slice());
    let site = Site::start(move |number, request| match request.path.as_str() {
        "/gone" => Reply::status(404),
        "/html" => object(request, &b"<!DOCTYPE html>".repeat(1000), "\"v1\""),
        _ if number < 4 => object(request, image, "\"v1\""),
        _ => object(request, image, "\"v2\""),
    });
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("vhost.sock");
    let run = |url: &str, more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ramblk"))
            .args(["run", "--image", url, "--socket-path"])
            .arg(&socket)
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!socket.exists());
        (output.status.code(), said)
    };
    let (code, said) = run(&site.url("/disk"), &[]);
    assert!(said.contains("changed while it was read"), "{said}");
    assert_eq!(
        (code, said.matches("can't read").count()),
        (Some(1), 1),
        "{said}"
    );
    let (code, said) = run(&site.url("/gone"), &[]);
    assert!(code == Some(1) && said.contains("404"), "{said}");
    let (code, said) = run(&site.url("/html"), &[]);
    assert!(code == Some(1) && said.contains("HTML"), "{said}");
    let (code, said) = run("s3://bucket", &[]);
    assert!(
        code == Some(2) && said.contains("s3://BUCKET/KEY"),
        "{said}"
    );
    let wrong = format!("sha256:{}", "0".repeat(64));
    let site = Site::start(move |_, request| object(request, image, "\"v1\""));
    let (code, said) = run(&site.url("/disk"), &["--digest", &wrong]);
    assert!(code == Some(1) && said.contains(&wrong), "{said}");
}

#[test]
fn a_helper_ends_with_the_process_that_started_it() {
    let site = Site::start(|_, _| {
        Reply::status(200)
            .body(&[1; 100_000])
            .stall(50_000, Duration::from_secs(60))
    });
    let folder = TempDir::new().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ramblk"))
        .args([
            "run",
            "--size",
            "1M",
            "--image",
            &site.url("/"),
            "--socket-path",
        ])
        .arg(folder.path().join("vhost.sock"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let helper = std::cell::RefCell::new(String::new());
    crate::harness::eventually("it reads", || {
        *helper.borrow_mut() = fs::read_to_string(&children).unwrap().trim().to_owned();
        !helper.borrow().is_empty() && !site.seen().is_empty()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    crate::harness::eventually("the helper is gone", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", helper.borrow()));
        stat.map_or(true, |stat| stat.contains(") Z "))
    });
}
