//! Images that are pulled without a digest, from buckets and registries that others wrote.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::oci::{Registry, TAR, archive, digest_of};
use super::s3::{BUCKET, Moto, ok, python, refused};
use crate::driver::data::pattern;
use crate::verbs::Daemon;
use crate::verbs::content::golden::digest;

#[test]
fn an_image_in_a_bucket_is_pulled_by_the_digest_that_is_found_while_it_is_fetched() {
    let moto = Moto::start();
    let daemon = Daemon::start();
    let content = pattern(20 << 20, 5);
    let file = daemon.path("image");
    fs::write(&file, &content).unwrap();
    let put = |key: &str, file: &Path| {
        python(&["put", &moto.endpoint, BUCKET, key, file.to_str().unwrap()]);
    };
    put("golden/a.raw", &file);
    daemon.ok("create a --image image");
    daemon.ok("export a packed.qcow2");
    put("golden/a.qcow2", &daemon.path("packed.qcow2"));
    for key in ["golden/a.raw", "golden/a.qcow2"] {
        let line = format!("image pull s3://{BUCKET}/{key} --name base -o json");
        let pulled: Value = serde_json::from_str(&ok(&daemon, &moto.endpoint, &line)).unwrap();
        assert_eq!(pulled["digest"], digest(&moto.get(key)), "{key}");
        daemon.ok("create b --image image://base");
        assert!(daemon.run("export b -").stdout == content, "{key}");
        // Again it is the same image, whose name it keeps.
        let again = format!("image pull s3://{BUCKET}/{key}");
        let again = ok(&daemon, &moto.endpoint, &again);
        assert!(again.starts_with("image://base is on this host"), "{again}");
        daemon.ok("destroy b");
        daemon.ok("image rm base");
    }
    // An object that isn't there, and one that is no image.
    put("golden/empty", Path::new("/dev/null"));
    for (key, why) in [("golden/none", "404"), ("golden/empty", "empty")] {
        let line = format!("image pull s3://{BUCKET}/{key} --name base");
        let said = refused(&daemon, &moto.endpoint, &line);
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(daemon.json("image list"), json!([]));
}

#[test]
fn an_image_in_a_registry_is_pulled_without_a_digest() {
    let registry = Registry::start();
    let daemon = Daemon::start();
    let disk = pattern(3 << 20, 5);
    fs::write(daemon.path("image"), &disk).unwrap();
    daemon.ok("create a --image image");
    // An artifact's digest is known before it is fetched, and a container disk's is not.
    daemon.ok(&format!(
        "export a {} --format qcow2",
        registry.place("files:qcow2")
    ));
    daemon.ok(&format!("export a {}", registry.place("machines:v1")));
    let kind = format!("{TAR}+gzip");
    let packed = archive(&[("disk/disk.img", &disk)], "gzip");
    let layer = registry.blob("disks", &kind, &packed);
    registry.image("disks", "container", &[layer]);
    let file = registry.get("files/manifests/qcow2")["layers"][0]["digest"].clone();
    let index = registry.get("machines/manifests/v1");
    let machine = index["manifests"][0]["digest"].as_str().unwrap();
    let machine = registry.get(&format!("machines/manifests/{machine}"));
    let machine = machine["layers"][0]["digest"].clone();
    let inside = Value::from(format!("sha256:{}", digest_of(&disk)));
    for (rest, digest) in [
        ("files:qcow2", file),
        ("machines:v1", machine),
        ("disks:container", inside),
    ] {
        let place = registry.place(rest);
        let pulled = daemon.json(&format!("image pull {place} --name base"));
        assert_eq!(pulled["digest"], digest, "{place}");
        daemon.ok("create b --image image://base");
        assert!(daemon.run("export b -").stdout == disk, "{place}");
        daemon.ok("destroy b");
        daemon.ok("image rm base");
    }
    daemon.refused(&format!("image pull {}", registry.place("files:none")), 1);
    assert_eq!(daemon.json("image list"), json!([]));
}
