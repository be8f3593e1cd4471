//! Buckets, of a server that others wrote.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use super::site::{Reply, Site, object};
use crate::driver::data::pattern;
use crate::harness::eventually;
use crate::verbs::{Daemon, text};

pub(super) const BUCKET: &str = "disks";

fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/moto/bin");
    let path = path.join(name);
    assert!(path.exists(), "{path:?} is missing: run scripts/setup");
    path
}

/// A free port on this host.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Run `bucket.py`, and return what it prints.
pub(super) fn python(words: &[&str]) -> String {
    let output = Command::new(tool("python"))
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/remote/bucket.py"
        ))
        .args(words)
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    text(&output.stdout)
}

/// A server with one bucket, as long as the test runs.
pub(crate) struct Moto {
    child: Child,
    pub(super) endpoint: String,
    folder: TempDir,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(tool("moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let endpoint = format!("http://127.0.0.1:{port}");
        let moto = Self {
            child,
            endpoint,
            folder,
        };
        eventually("moto_server answers", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        python(&["make", &moto.endpoint, BUCKET]);
        moto
    }

    /// What the environment of a verb has, to find its buckets.
    pub(crate) fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", "id".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ]
    }

    fn names(&self) -> String {
        python(&["names", &self.endpoint, BUCKET])
    }

    /// The content of an object.
    pub(super) fn get(&self, key: &str) -> Vec<u8> {
        let file = self.folder.path().join("got");
        python(&["get", &self.endpoint, BUCKET, key, file.to_str().unwrap()]);
        fs::read(file).unwrap()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A verb with credentials for an endpoint.
fn verb(daemon: &Daemon, endpoint: &str, line: &str) -> Command {
    let words: Vec<&str> = line.split(' ').collect();
    let mut command = daemon.command(&words);
    command
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_ENDPOINT_URL_S3")
        .env_remove("AWS_REGION");
    command
}

fn run(daemon: &Daemon, endpoint: &str, line: &str) -> Output {
    verb(daemon, endpoint, line).output().unwrap()
}

pub(super) fn ok(daemon: &Daemon, endpoint: &str, line: &str) -> String {
    let output = run(daemon, endpoint, line);
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The one line that a verb says when it fails.
pub(super) fn refused(daemon: &Daemon, endpoint: &str, line: &str) -> String {
    let output = run(daemon, endpoint, line);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!said.contains("X-Amz"), "{said}");
    said
}

/// A daemon with a disk `a` of 40 MiB that is full of data.
fn with_disk() -> (Daemon, Vec<u8>) {
    let daemon = Daemon::start();
    let content = pattern(40 << 20, 5);
    fs::write(daemon.path("image"), &content).unwrap();
    daemon.ok("create a --image image");
    (daemon, content)
}

#[test]
fn a_disk_goes_into_a_bucket_and_comes_back_in_each_format() {
    let moto = Moto::start();
    let (daemon, content) = with_disk();
    for key in ["a.raw", "folder/a b+c=&%.qcow2", "a.zst"] {
        let place = format!("s3://{BUCKET}/{key}");
        let export = |more: &[&str]| {
            let mut command = verb(&daemon, &moto.endpoint, "export a");
            command.arg(&place).args(more).output().unwrap()
        };
        let exported = export(&[]);
        assert!(exported.status.success(), "{}", text(&exported.stderr));
        let mut create = verb(&daemon, &moto.endpoint, "create b --image");
        let created = create.arg(&place).output().unwrap();
        assert!(created.status.success(), "{}", text(&created.stderr));
        assert!(daemon.run("export b -").stdout == content, "{key}");
        daemon.ok("destroy b");
        // Nothing is replaced unless that was asked for.
        let said = export(&[]);
        assert!(
            text(&said.stderr).contains("--overwrite"),
            "{}",
            text(&said.stderr)
        );
        let replaced = export(&["--overwrite"]);
        assert!(replaced.status.success(), "{}", text(&replaced.stderr));
    }
    assert!(moto.get("a.raw") == content);
    // A small one is one request.
    daemon.ok("create c --size 1M");
    ok(
        &daemon,
        &moto.endpoint,
        &format!("export c s3://{BUCKET}/c"),
    );
    assert!(moto.get("c") == vec![0; 1 << 20]);
    assert!(!moto.names().contains("upload"), "{}", moto.names());
}

#[test]
fn an_export_that_is_killed_leaves_neither_an_object_nor_an_upload() {
    let moto = Moto::start();
    let (daemon, _) = with_disk();
    for signal in [Signal::KILL, Signal::INT, Signal::TERM] {
        // Its second request for a part stays without an answer.
        let behind = moto.endpoint.clone();
        let parts = AtomicUsize::new(0);
        let proxy = Site::start(move |_, request| {
            if request.path.contains("partNumber=") && parts.fetch_add(1, Ordering::SeqCst) == 1 {
                std::thread::sleep(Duration::from_secs(60));
            }
            pass_on(&behind, request)
        });
        let endpoint = proxy.url("");
        let line = format!("export a s3://{BUCKET}/killed");
        let mut child = verb(&daemon, &endpoint, &line)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("there is an upload", || {
            moto.names().contains("upload killed")
        });
        let pid = Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        assert!(!child.wait().unwrap().success());
        eventually("it is gone", || moto.names().is_empty());
    }
}

/// Ask the server behind this one, without its body's content mattering.
fn pass_on(endpoint: &str, request: &super::site::Request) -> Reply {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--include",
            "--max-time",
            "20",
            "-X",
            &request.method,
        ])
        .args(["-H", "Expect:", "--data-binary", "@-"])
        .arg(format!("{endpoint}{}", request.path))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write;
            child.stdin.take().unwrap().write_all(&request.body)?;
            child.wait_with_output()
        })
        .unwrap();
    let end = output
        .stdout
        .windows(4)
        .position(|it| it == b"\r\n\r\n")
        .unwrap();
    let head = text(&output.stdout[..end]);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut reply = Reply::status(status).body(&output.stdout[end + 4..]);
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap();
        if name.eq_ignore_ascii_case("etag") {
            reply = reply.with(name, value);
        }
    }
    reply
}

#[test]
fn each_refusal_of_a_bucket_is_one_line_and_leaves_nothing() {
    let (daemon, _) = with_disk();
    let begun = b"<Result><UploadId>u1</UploadId></Result>";
    let refusing = |status: u16, code: &'static str| {
        Site::start(move |_, request| match request.method.as_str() {
            "HEAD" | "DELETE" => Reply::status(404),
            "POST" if request.path.contains("uploads=") => Reply::status(200).body(begun),
            _ => {
                let text = format!("<Error><Code>{code}</Code></Error>");
                Reply::status(status).body(text.as_bytes())
            }
        })
    };
    for (status, code, advice) in [
        (403, "QuotaExceeded", "make room"),
        (507, "XMinioStorageFull", "make room"),
        (403, "AccessDenied", "credentials"),
        (404, "NoSuchBucket", "check the name"),
    ] {
        let site = refusing(status, code);
        let said = refused(&daemon, &site.url(""), &format!("export a s3://{BUCKET}/x"));
        assert!(said.contains(advice), "{said}");
        let ended = site.seen();
        let mut ended = ended.iter().filter(|it| it.method == "DELETE");
        assert!(ended.any(|it| it.path.contains("uploadId=u1")), "{code}");
    }
    // The credentials are for another region, or are missing.
    let site = Site::start(|_, _| Reply::status(301).with("x-amz-bucket-region", "eu-west-1"));
    let said = refused(&daemon, &site.url(""), &format!("export a s3://{BUCKET}/x"));
    assert!(said.contains("AWS_REGION=eu-west-1"), "{said}");
    let mut command = verb(&daemon, &site.url(""), &format!("export a s3://{BUCKET}/x"));
    let output = command
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("AWS_SECRET_ACCESS_KEY"), "{said}");
    // Another program was faster.
    let site = Site::start(move |_, request| match request.method.as_str() {
        "HEAD" | "DELETE" => Reply::status(404),
        "POST" if request.path.contains("uploads=") => Reply::status(200).body(begun),
        "PUT" => Reply::status(200).with("ETag", "\"part\""),
        _ => {
            assert_eq!(request.header("if-none-match"), Some("*"));
            Reply::status(412)
        }
    });
    let said = refused(&daemon, &site.url(""), &format!("export a s3://{BUCKET}/x"));
    assert!(said.contains("--overwrite"), "{said}");
    // Parts and what completes them are tried again.
    let tries = AtomicUsize::new(0);
    let site = Site::start(move |_, request| {
        if request.method == "HEAD" {
            return Reply::status(404);
        }
        if request.path.contains("uploads=") {
            return Reply::status(200).body(begun);
        }
        match tries.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Reply::status(503).with("Retry-After", "0"),
            _ => Reply::status(200).with("ETag", "\"part\""),
        }
    });
    ok(&daemon, &site.url(""), &format!("export a s3://{BUCKET}/x"));
}

#[test]
fn each_refusal_of_an_object_is_one_line_and_leaves_no_disk() {
    let daemon = Daemon::start();
    let create = format!("create new --size 2M --image s3://{BUCKET}/x");
    for (status, code, advice) in [
        (401, "ExpiredToken", "credentials"),
        (403, "AccessDenied", "credentials"),
        (404, "NoSuchKey", "check the name"),
        (404, "NoSuchBucket", "check the name"),
        (410, "Gone", "check the name"),
    ] {
        let site = Site::start(move |_, _| {
            let text = format!("<Error><Code>{code}</Code></Error>");
            Reply::status(status).body(text.as_bytes())
        });
        let said = refused(&daemon, &site.url(""), &create);
        assert!(said.contains(code) && said.contains(advice), "{said}");
        daemon.refused("show new", 3);
    }
    // Signed requests that can't be made, and an object that is larger than the disk.
    let site = Site::start(|_, request| object(request, &[7; 4 << 20], "\"v1\""));
    let mut command = verb(&daemon, &site.url(""), &create);
    let output = command
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("AWS_SECRET_ACCESS_KEY"), "{said}");
    assert!(
        site.seen().is_empty(),
        "nothing is asked without a signature"
    );
    let output = run(&daemon, &site.url(""), &create);
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.lines().count() == 1,
        "{said}"
    );
    daemon.refused("show new", 3);
}

/// Requests are signed as botocore signs them.
#[test]
fn a_signature_is_the_one_that_botocore_makes() {
    let image: &'static [u8] = Box::leak(pattern(1 << 20, 5).into_boxed_slice());
    for (key, token) in [
        ("plain.raw", ""),
        ("a b/\u{fc}+%25&=~'()*!.raw", "to/ken+=="),
    ] {
        let site = Site::start(move |_, request| object(request, image, "\"v1\""));
        let daemon = Daemon::start();
        let mut command = verb(&daemon, &site.url(""), "create a --image");
        command.arg(format!("s3://{BUCKET}/{key}"));
        command.env("AWS_REGION", "eu-west-3");
        if !token.is_empty() {
            command.env("AWS_SESSION_TOKEN", token);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let seen = site.seen();
        let (_, signature) = seen[0].path.split_once("X-Amz-Signature=").unwrap();
        let url = site.url(&seen[0].path);
        let wanted = python(&["sign", "GET", &url, "eu-west-3", "id", "secret", token]);
        assert_eq!(signature, wanted.trim(), "{url}");
    }
}
