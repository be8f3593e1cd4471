//! The verbs of the command line with URLs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::site::{Reply, Site, object};
use crate::driver::data::pattern;
use crate::verbs::content::golden::digest;
use crate::verbs::{Daemon, text};

#[test]
fn a_disk_is_made_from_an_image_on_another_host() {
    let image: &'static [u8] = Box::leak(pattern(9 << 20, 3).into_boxed_slice());
    let site = Site::start(move |_, request| match request.path.as_str() {
        "/disk.raw?sig=secret" => object(request, image, "\"v1\""),
        "/whole?sig=secret" => Reply::status(200).body(image),
        _ => Reply::status(404),
    });
    let daemon = Daemon::start();
    let url = site.url("/disk.raw?sig=secret");
    daemon.ok(&format!("create a --image {url}"));
    assert!(daemon.run("export a -").stdout == image);
    // It is the same image, and no signature is kept.
    let again = daemon.ok(&format!("create a --image {url}"));
    assert!(again.contains("exists already"), "{again}");
    let shown = daemon.json("show a").to_string();
    assert!(
        shown.contains("/disk.raw") && !shown.contains("secret"),
        "{shown}"
    );
    daemon.ok("create b --size 9M");
    let said = daemon.ok(&format!("import b {}", site.url("/whole?sig=secret")));
    assert!(
        said.contains("/whole") && !said.contains("secret"),
        "{said}"
    );
    assert!(daemon.run("export b -").stdout == image);
    let said = daemon.refused(&format!("create c --image {}", site.url("/other")), 1);
    assert!(said.contains("404") && said.lines().count() == 1, "{said}");
    daemon.refused("show c", 3);
    daemon.refused("create c --image s3://bucket", 2);
    let about = daemon.json(&format!("image inspect {url}"));
    assert_eq!(about["size_bytes"], image.len(), "{about}");
    assert_eq!(about["name"], site.url("/disk.raw"), "{about}");
}

#[test]
fn an_image_is_pulled_by_the_digest_that_is_found_while_it_is_fetched() {
    let image: &'static [u8] = Box::leak(pattern(9 << 20, 3).into_boxed_slice());
    let fetched = Arc::new(AtomicUsize::new(0));
    let sent = Arc::clone(&fetched);
    let site = Site::start(move |_, request| match request.path.as_str() {
        "/ranges.raw" => object(request, image, "\"v1\""),
        "/whole.raw" => {
            sent.fetch_add(1, Ordering::SeqCst);
            Reply::status(200).body(image)
        }
        _ => Reply::status(404),
    });
    let daemon = Daemon::start();
    let wanted = digest(image);
    for path in ["/ranges.raw", "/whole.raw"] {
        let pulled = daemon.json(&format!("image pull {} --name a", site.url(path)));
        assert_eq!(pulled["digest"], wanted, "{path}");
        daemon.ok("create a --image image://a");
        assert!(daemon.run("export a -").stdout == image, "{path}");
        daemon.ok("destroy a");
        daemon.ok("image rm a");
    }
    // One request may look whether it can be read in parts.
    assert!(fetched.load(Ordering::SeqCst) <= 2, "{fetched:?}");
    let fed = daemon.feed("image pull - --name piped", image);
    assert!(fed.status.success(), "{fed:?}");
    assert_eq!(daemon.json("image show piped")["digest"], wanted);
    daemon.ok("image rm piped");
    daemon.refused(&format!("image pull {}", site.url("/other")), 1);
    assert_eq!(daemon.json("image list"), serde_json::json!([]));
}

#[test]
fn an_image_that_changes_midway_is_read_once_more_from_its_beginning() {
    let old: &'static [u8] = Box::leak(pattern(40 << 20, 1).into_boxed_slice());
    let new: &'static [u8] = Box::leak(pattern(40 << 20, 2).into_boxed_slice());
    let changed = AtomicBool::new(false);
    let site = Site::start(move |number, request| {
        if number == 6 {
            changed.store(true, Ordering::SeqCst);
        }
        match changed.load(Ordering::SeqCst) {
            false => object(request, old, "\"v1\""),
            true => object(request, new, "\"v2\""),
        }
    });
    let daemon = Daemon::start();
    let made = daemon.run(&format!("create a --image {}", site.url("/disk.raw")));
    let said = text(&made.stderr);
    assert!(made.status.success(), "{said}");
    assert!(said.contains("starting over"), "{said}");
    assert!(daemon.run("export a -").stdout == new);
}
