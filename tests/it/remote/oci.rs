//! Registries: one that others wrote, and servers that misbehave.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ramblk::image::{Medium, Written};
use ramblk::remote::{Error, Opened, Opening, Patience, Place, Writing, create, open};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::s3::free_port;
use super::site::{Reply, Request, Site, object};
use crate::driver::data::pattern;
use crate::harness::{eventually, unpacked};
use crate::verbs::{Daemon, text};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const TITLE: &str = "org.opencontainers.image.title";

/// A registry, as long as the test runs.
pub(super) struct Registry {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Registry {
    pub(super) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  \
             filesystem: {{rootdirectory: {}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            folder.path().join("data").display()
        );
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let child = Command::new(unpacked("docker-registry"))
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry: run scripts/setup");
        eventually("the registry answers", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self {
            child,
            port,
            folder,
        }
    }

    pub(super) fn place(&self, rest: &str) -> String {
        format!("oci://127.0.0.1:{}/{rest}", self.port)
    }

    fn url(&self, rest: &str) -> String {
        format!("http://127.0.0.1:{}/v2/{rest}", self.port)
    }

    /// Run curl, and return the headers and the body.
    fn curl(&self, words: &[&str]) -> String {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--include"])
            .args(words)
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        text(&output.stdout)
    }

    /// Push a blob by other means. Returns its descriptor.
    pub(super) fn blob(&self, repository: &str, kind: &str, bytes: &[u8]) -> Value {
        let file = self.folder.path().join("blob");
        fs::write(&file, bytes).unwrap();
        let digest = digest(&file);
        let begun = self.curl(&[
            "-X",
            "POST",
            &self.url(&format!("{repository}/blobs/uploads/")),
        ]);
        let location = begun
            .lines()
            .find_map(|line| line.strip_prefix("Location: "));
        let to = format!("{}&digest={digest}", location.unwrap().trim());
        let data = format!("@{}", file.display());
        let kind_header = "Content-Type: application/octet-stream";
        self.curl(&["-X", "PUT", "-H", kind_header, "--data-binary", &data, &to]);
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    /// Push a manifest by other means. Returns its descriptor.
    fn manifest(&self, repository: &str, version: &str, kind: &str, manifest: &Value) -> Value {
        let file = self.folder.path().join("manifest");
        let text = manifest.to_string();
        fs::write(&file, &text).unwrap();
        let digest = digest(&file);
        let version = if version.is_empty() { &digest } else { version };
        let to = self.url(&format!("{repository}/manifests/{version}"));
        let data = format!("@{}", file.display());
        let header = format!("Content-Type: {kind}");
        self.curl(&["-X", "PUT", "-H", &header, "--data-binary", &data, &to]);
        json!({ "mediaType": kind, "digest": digest, "size": text.len() })
    }

    /// Push an image of these layers by other means.
    pub(super) fn image(&self, repository: &str, version: &str, layers: &[Value]) -> Value {
        let config = self.blob(
            repository,
            "application/vnd.oci.image.config.v1+json",
            b"{}",
        );
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        self.manifest(repository, version, MANIFEST, &manifest)
    }

    pub(super) fn get(&self, rest: &str) -> Value {
        let accept = format!("Accept: {INDEX}, {MANIFEST}");
        let got = self.curl(&["-H", &accept, &self.url(rest)]);
        let (_, body) = got.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn digest(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    let line = text(&output.stdout);
    format!("sha256:{}", line.split(' ').next().unwrap())
}

/// A tar archive of these files, packed by `packer` if that isn't empty.
pub(super) fn archive(files: &[(&str, &[u8])], packer: &str) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let mut names = Vec::new();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        names.push(*name);
    }
    let file = folder.path().join("out.tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(folder.path()).arg("-cf").arg(&file);
    assert!(tar.args(names).status().unwrap().success());
    match packer {
        "" => fs::read(file).unwrap(),
        packer => {
            Command::new(packer)
                .arg("-c")
                .arg(file)
                .output()
                .unwrap()
                .stdout
        }
    }
}

fn opened(place: &str, platform: Option<&str>) -> Result<Opened, Error> {
    let how = Opening {
        patience: Patience {
            first_pause: std::time::Duration::from_millis(5),
            ..Patience::default()
        },
        platform: platform.map(str::to_owned),
        ..Opening::default()
    };
    open(&Place::parse(Path::new(place))?, &how)
}

fn content(place: &str, platform: Option<&str>) -> Result<Vec<u8>, String> {
    match opened(place, platform)
        .map_err(|error| error.to_string())?
        .medium
    {
        Medium::Seekable(medium) => {
            let mut all = vec![0; medium.size_bytes() as usize];
            medium
                .read_at(0, &mut all)
                .map_err(|error| error.to_string())?;
            medium.verify().map_err(|error| error.to_string())?;
            Ok(all)
        }
        Medium::Stream(mut stream) => {
            let mut all = Vec::new();
            let read = std::io::Read::read_to_end(&mut stream.bytes, &mut all);
            read.map_err(|error| error.to_string())?;
            Ok(all)
        }
    }
}

#[test]
fn a_disk_is_pushed_and_pulled_as_kubevirt_has_it_and_as_one_file() {
    let registry = Registry::start();
    let daemon = Daemon::start();
    let image = pattern(20 << 20, 5);
    fs::write(daemon.path("image"), &image).unwrap();
    daemon.ok("create a --size 1G");
    daemon.ok("import a image");
    daemon.ok(&format!("export a {}", registry.place("images/vm1:v1")));
    let index = registry.get("images/vm1/manifests/v1");
    assert_eq!(index["mediaType"], INDEX);
    assert_eq!(
        index["artifactType"],
        "application/vnd.kubevirt.virtualmachine.v1"
    );
    assert_eq!(index["manifests"][0]["platform"]["os"], "linux");
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let manifest = registry.get(&format!("images/vm1/manifests/{digest}"));
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.kubevirt.disk.raw+zstd");
    assert_eq!(layer["annotations"]["io.kubevirt.disk.name"], "vm1");
    assert_eq!(layer["annotations"]["io.kubevirt.disk.size"], "1Gi");
    let config = manifest["config"]["digest"].as_str().unwrap();
    let machine = registry.get(&format!("images/vm1/blobs/{config}"));
    assert_eq!(machine["kind"], "VirtualMachine");
    // The layer is what `zstd -d` makes the disk of.
    let blob = registry.url(&format!(
        "images/vm1/blobs/{}",
        layer["digest"].as_str().unwrap()
    ));
    let pipe = format!(
        "curl -sf {blob} | zstd -dc | head -c {} | sha256sum",
        image.len()
    );
    let output = Command::new("sh").args(["-c", &pipe]).output().unwrap();
    let wanted = digest_of(&image);
    assert_eq!(text(&output.stdout).split(' ').next().unwrap(), wanted);
    daemon.ok(&format!(
        "create b --image {}",
        registry.place("images/vm1:v1")
    ));
    assert!(daemon.run("export b -").stdout == daemon.run("export a -").stdout);
    let said = daemon.refused(&format!("export a {}", registry.place("images/vm1:v1")), 1);
    assert!(said.contains("--overwrite"), "{said}");
    // One file, and by its digest.
    let place = registry.place("files/vm1:v2");
    daemon.ok(&format!("export a {place} --format qcow2"));
    let manifest = registry.get("files/vm1/manifests/v2");
    assert_eq!(manifest["layers"][0]["annotations"][TITLE], "vm1.qcow2");
    daemon.ok(&format!("create c --image {place}"));
    assert!(daemon.run("export c -").stdout == daemon.run("export a -").stdout);
    let known = daemon.json("show c").to_string();
    assert!(
        known.contains(manifest["layers"][0]["digest"].as_str().unwrap()),
        "{known}"
    );
    assert_eq!(daemon.json("pool")["disks"], 3);
}

pub(super) fn digest_of(bytes: &[u8]) -> String {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, bytes).unwrap();
    digest(&file).replace("sha256:", "")
}

#[test]
fn disks_that_others_pushed_are_found() {
    let registry = Registry::start();
    let disk = pattern(3 << 20, 5);
    let other = pattern(1 << 20, 6);
    // A container disk, packed in each way, below a layer without a disk.
    for (packer, suffix) in [("", ""), ("gzip", "+gzip"), ("zstd", "+zstd")] {
        let kind = format!("{TAR}{suffix}");
        let files: [(&str, &[u8]); 2] = [("etc/passwd", b"root"), ("disk/disk.img", &disk)];
        let with = registry.blob("disks", &kind, &archive(&files, packer));
        let without = registry.blob("disks", &kind, &archive(&[("bin/sh", b"elf")], packer));
        registry.image("disks", "container", &[with.clone(), without.clone()]);
        let place = registry.place("disks:container");
        assert!(content(&place, None).unwrap() == disk, "{packer}");
        registry.image("disks", "none", &[without]);
        let error = content(&registry.place("disks:none"), None).unwrap_err();
        assert!(error.contains("no file in the folder /disk"), "{error}");
        let files: [(&str, &[u8]); 2] = [("disk/a.img", &disk), ("disk/b.img", &other)];
        let two = registry.blob("disks", &kind, &archive(&files, packer));
        registry.image("disks", "two", &[two]);
        let error = content(&registry.place("disks:two"), None).unwrap_err();
        assert!(error.contains("several files"), "{error}");
        assert!(content(&registry.place("disks:two#b.img"), None).unwrap() == other);
    }
    // KubeVirt's artifact, for two architectures, one of which has two disks.
    let zstd = |name: &str, content: &[u8]| {
        let mut layer = registry.blob("vms", "application/vnd.kubevirt.disk.raw+zstd", content);
        layer["annotations"] = json!({ "io.kubevirt.disk.name": name });
        layer
    };
    let (one, two) = (zstd("root", &disk), zstd("data", &other));
    let platform = |mut it: Value, name: &str| {
        it["platform"] = json!({ "architecture": name, "os": "linux" });
        it
    };
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [
        platform(registry.image("vms", "", std::slice::from_ref(&one)), "amd64"),
        platform(registry.image("vms", "", &[one, two]), "arm64"),
    ] });
    let pushed = registry.manifest("vms", "v1", INDEX, &index);
    let place = registry.place("vms:v1");
    assert!(content(&place, Some("amd64")).unwrap() == disk);
    let format = opened(&place, Some("amd64")).unwrap().format;
    assert_eq!(format.unwrap().name(), "zst");
    let error = content(&place, Some("linux/arm64")).unwrap_err();
    assert!(error.contains("2 disks (root, data)"), "{error}");
    let data = content(&registry.place("vms:v1#data"), Some("arm64"));
    assert!(data.unwrap() == other);
    let error = content(&place, Some("s390x")).unwrap_err();
    assert!(error.contains("linux/amd64, linux/arm64"), "{error}");
    let digest = pushed["digest"].as_str().unwrap();
    let pinned = registry.place(&format!("vms@{digest}"));
    assert!(content(&pinned, Some("amd64")).unwrap() == disk);
    let error = content(&registry.place("vms:v2"), None).unwrap_err();
    assert!(
        error.contains("404") && error.contains("check the name"),
        "{error}"
    );
}

/// A registry of one image with one file, which wants tokens that are valid for some requests, and
/// redirects to where blobs are, by URLs that are valid for some requests too.
fn strict(blob: &'static [u8], digest: &str, valid: usize) -> Site {
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "layers": [{
        "mediaType": "a/b", "digest": digest, "size": blob.len(), "annotations": { TITLE: "f" },
    }] });
    let (uses, issued) = (Mutex::new(HashMap::new()), AtomicUsize::new(0));
    let is_valid = move |what: &str| {
        let mut uses = uses.lock().unwrap();
        let used: &mut usize = uses.entry(what.to_owned()).or_default();
        *used += 1;
        *used <= valid
    };
    Site::start(move |number, request: &Request| {
        let host = request.header("host").unwrap();
        if let Some(query) = request.path.strip_prefix("/token?") {
            assert!(query.contains("service=reg") && query.contains("scope=repository%3Aa%3Apull"));
            let number = issued.fetch_add(1, Ordering::SeqCst);
            let body = json!({ "token": format!("t{number}") }).to_string();
            return Reply::status(200).body(body.as_bytes());
        }
        if request.path.starts_with("/cdn/") {
            assert_eq!(request.header("authorization"), None);
            return match is_valid(&request.path) {
                true => object(request, blob, "\"other\""),
                false => Reply::status(403),
            };
        }
        let token = request.header("authorization");
        if !token.is_some_and(&is_valid) {
            let wants = format!("Bearer realm=\"http://{host}/token\",service=\"reg\"");
            return Reply::status(401).with("WWW-Authenticate", &wants);
        }
        match request.path.contains("/manifests/") {
            true => Reply::status(200).body(manifest.to_string().as_bytes()),
            false => {
                let to = format!("http://localhost:{}/cdn/{number}", port(host));
                Reply::status(307).with("Location", &to)
            }
        }
    })
}

fn port(host: &str) -> &str {
    host.rsplit(':').next().unwrap()
}

#[test]
fn tokens_and_redirects_that_run_out_are_asked_for_once_more() {
    let blob: &'static [u8] = Box::leak(pattern(50 << 20, 5).into_boxed_slice());
    let digest = format!("sha256:{}", digest_of(blob));
    let site = strict(blob, &digest, 3);
    let place = format!("oci://127.0.0.1:{}/a:v1", site.port);
    assert!(content(&place, None).unwrap() == blob);
    let tokens = site.seen();
    let tokens = tokens.iter().filter(|it| it.path.starts_with("/token"));
    assert!(tokens.count() > 2);
}

#[test]
fn what_a_registry_says_wrongly_is_one_line() {
    let blob: &'static [u8] = Box::leak(pattern(5 << 20, 5).into_boxed_slice());
    let wrong = format!("sha256:{}", "0".repeat(64));
    let site = strict(blob, &wrong, 1000);
    let place = format!("oci://127.0.0.1:{}/a:v1", site.port);
    let error = content(&place, None).unwrap_err();
    assert!(
        error.contains(&wrong) && error.contains("digest"),
        "{error}"
    );
    // Another manifest than the one that was asked for.
    let error = content(&format!("oci://127.0.0.1:{}/a@{wrong}", site.port), None).unwrap_err();
    assert!(error.contains("damaged"), "{error}");
    for (reply, wanted) in [
        (Reply::status(401), "which credentials"),
        (
            Reply::status(401).with("WWW-Authenticate", "Basic realm=x"),
            "docker login",
        ),
        (
            Reply::status(401).with("WWW-Authenticate", "Digest realm=x"),
            "isn't known",
        ),
        (Reply::status(200).body(b"<html>"), "manifest can't be read"),
        (Reply::status(200).body(b"{}"), "neither a disk"),
        (
            Reply::status(200).body(br#"{"layers":[{"mediaType":"a/b","digest":"md5:1"}]}"#),
            "no SHA-256",
        ),
        (
            Reply::status(404).body(br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
            "MANIFEST_UNKNOWN",
        ),
    ] {
        let site = Site::start(move |_, _| reply.clone());
        let error = content(&format!("oci://127.0.0.1:{}/a:v1", site.port), None).unwrap_err();
        assert!(error.contains(wanted) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_push_that_is_given_up_has_no_tag_and_ends_its_upload() {
    let registry = Registry::start();
    let how = Writing {
        patience: Patience::default(),
        overwrite: false,
        most_bytes: 1 << 30,
        format: Written::Raw,
        disk_bytes: 1 << 30,
        platform: None,
        keeper: None,
    };
    let place = registry.place("given/up:v1");
    let place = Place::parse(Path::new(&place)).unwrap();
    let mut output = create(&place, &how).unwrap();
    output.write_all(&pattern(20 << 20, 5)).unwrap();
    drop(output);
    let uploads = registry
        .folder
        .path()
        .join("data/docker/registry/v2/repositories/given/up/_uploads");
    // The registry keeps an empty folder.
    let mut left = fs::read_dir(uploads).unwrap().map(|it| it.unwrap().path());
    assert!(left.all(|upload| !upload.join("data").exists()));
    assert!(opened(&place.to_string(), None).is_err());
    // Pieces that get lost are sent again, from what has arrived.
    let tries = AtomicUsize::new(0);
    let site = Site::start(move |_, request| match request.method.as_str() {
        "HEAD" if request.path.contains("/blobs/") => Reply::status(200),
        "HEAD" => Reply::status(404),
        "POST" => Reply::status(202).with("Location", "/up"),
        "GET" => Reply::status(204)
            .with("Location", "/up")
            .with("Range", "0-999999"),
        "PATCH" if tries.fetch_add(1, Ordering::SeqCst) == 0 => Reply::status(503),
        "PATCH" if request.header("content-range").unwrap().starts_with("0-") => {
            panic!("it has these bytes")
        }
        _ => Reply::status(201).with("Location", "/up"),
    });
    let place = format!("oci://127.0.0.1:{}/a:v1", site.port);
    let mut output = create(&Place::parse(Path::new(&place)).unwrap(), &how).unwrap();
    output.write_all(&pattern(3 << 20, 5)).unwrap();
    output.finish().unwrap();
    let seen = site.seen();
    let last = seen.last().unwrap();
    assert!(
        last.path.ends_with("/manifests/v1") && last.method == "PUT",
        "{last:?}"
    );
    let again = seen
        .iter()
        .filter_map(|it| it.header("content-range"))
        .nth(1);
    assert_eq!(again, Some("1000000-3145727"));
}
