//! Golden images: what they share, how long they stay, and which client fetches one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ramblk::daemon::disks::golden::{create as from_image, describe as images, fetch, remove};
use ramblk::daemon::disks::{
    DestroyOptions, Disks, ImageName, Made, Target, content, create, describe, destroy, fork,
    reset, snapshots,
};
use ramblk::model::{
    Digest, DiskSettings, EventKind, ForkRequest, GoldenImage, GoldenRequest, GoldenState,
    ProblemKind, ResetRequest,
};
use ramblk::store::{Store, StoreOptions};

use super::{World, eventually, says, until};
use crate::driver::disk::Disk as Guest;

const MIB: u64 = 1 << 20;

fn digest(number: u8) -> Digest {
    Digest::from([number; 32])
}

fn by_digest(number: u8) -> ImageName {
    ImageName::Digest(digest(number))
}

fn request(name: Option<&str>) -> GoldenRequest {
    GoldenRequest {
        source: "/images/a.raw".to_owned(),
        name: name.map(str::to_owned),
        format: None,
        keep: None,
    }
}

/// Pull an image of this many bytes, each of which is its number.
fn pull(disks: &Disks, number: u8, bytes: u64) -> GoldenImage {
    pull_as(disks, number, bytes, &request(None))
}

fn pull_as(disks: &Disks, number: u8, bytes: u64, request: &GoldenRequest) -> GoldenImage {
    let offer = fetch::offer(disks, digest(number), request).unwrap();
    let begun = fetch::begin(disks, digest(number), offer.fetch.unwrap(), None).unwrap();
    for at in (0..bytes).step_by(1 << 20) {
        let length = (bytes - at).min(1 << 20) as usize;
        begun.write(at, &vec![number; length]).unwrap();
    }
    fetch::finish(disks, &begun, bytes).unwrap()
}

/// Create a disk of this many MiB from an image.
fn disk_of(disks: &Disks, name: &str, number: u8, size_mib: u64) {
    let settings = DiskSettings::new(size_mib * MIB);
    from_image::put(disks, name, &settings, &by_digest(number)).unwrap();
}

fn byte_at(disks: &Disks, name: &str, at: u64) -> u8 {
    let reader = content::reader(disks, &Target::parse(name).unwrap()).unwrap();
    let mut byte = [0];
    reader.read(at, &mut byte).unwrap();
    byte[0]
}

fn forced() -> DestroyOptions {
    DestroyOptions {
        force: true,
        ..DestroyOptions::default()
    }
}

fn is_there(disks: &Disks, number: u8) -> bool {
    images::get(disks, &by_digest(number)).is_ok()
}

#[test]
fn disks_of_an_image_share_its_memory_and_may_be_larger() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    let image = pull(disks, 1, 8 * MIB + 100);
    assert_eq!(image.size_bytes, 8 * MIB + 512);
    assert!(image.charged_bytes >= 8 * MIB, "{image:?}");
    let before = describe::pool(disks).charged_bytes;
    let mut events = disks.events().listen();
    for number in 0..10 {
        disk_of(disks, &format!("vm{number}"), 1, 16);
    }
    let each = (describe::pool(disks).charged_bytes - before) / 10;
    assert!(each <= 8192, "{each} bytes for each disk");
    let from = until(&mut events, EventKind::Forked).details["from"].to_string();
    assert_eq!(from, format!("image://{}", digest(1)));
    let disk = describe::get(disks, "vm3").unwrap();
    assert_eq!((disk.size_bytes, disk.parent), (16 * MIB, Some(from)));
    let made_from = disk.image.unwrap();
    assert_eq!(made_from.id, Some(digest(1).to_string()));
    assert_eq!(made_from.size_bytes, Some(8 * MIB + 100));
    for (at, byte) in [(0, 1), (8 * MIB + 99, 1), (8 * MIB + 100, 0), (15 * MIB, 0)] {
        assert_eq!(byte_at(disks, "vm3", at), byte, "at {at}");
    }
    // What one of them writes is its own.
    let mut guest = Guest::attach(Path::new(&disk.socket));
    guest.q().write(0, &[9; 4096]).unwrap();
    assert_eq!((byte_at(disks, "vm3", 0), byte_at(disks, "vm4", 0)), (9, 1));
    // It is no disk, and its forks are listed with it.
    let names = describe::list(disks, &[]).into_iter().map(|disk| disk.name);
    assert!(names.into_iter().all(|name| name.starts_with("vm")));
    let image = images::get(disks, &by_digest(1)).unwrap();
    assert_eq!((image.forks.len(), image.forks[3].as_str()), (10, "vm3"));
    assert!(image.used_ns > image.pulled_ns);
    let pool = describe::pool(disks);
    assert_eq!((pool.images, pool.disks), (1, 10));
    assert!(pool.images_charged_bytes >= 8 * MIB);
}

#[test]
fn a_create_from_an_image_is_idempotent_and_refuses_what_does_not_fit() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    let put = |name: &str, settings: &DiskSettings, which: &ImageName| {
        from_image::put(disks, name, settings, which)
    };
    let settings = DiskSettings::new(4 * MIB);
    let gone = put("vm", &settings, &by_digest(1));
    says(gone, ProblemKind::NotFound, &["no image", "sha256:0101"]);
    pull_as(disks, 1, 4 * MIB, &request(Some("debian")));
    pull(disks, 2, MIB);
    let small = put("vm", &DiskSettings::new(MIB), &by_digest(1));
    says(
        small,
        ProblemKind::Invalid,
        &["4M", "does not fit into 1M", "4194304"],
    );
    let mut blocks = settings.clone();
    blocks.block_size = 4096;
    let (made, _) = put("blocks", &blocks, &by_digest(1)).unwrap();
    assert_eq!(made.block_size, 4096);
    assert_eq!(
        put("blocks", &blocks, &by_digest(1)).unwrap().1,
        Made::Existing
    );
    says(
        put("blocks", &settings, &by_digest(1)),
        ProblemKind::Conflict,
        &["block_size 4096, not 512", "block_size can't be changed"],
    );
    let by_name = ImageName::parse("debian").unwrap();
    assert_eq!(put("vm", &settings, &by_name).unwrap().1, Made::New);
    assert_eq!(
        put("vm", &settings, &by_digest(1)).unwrap().1,
        Made::Existing
    );
    let other = put("vm", &settings, &by_digest(2));
    says(
        other,
        ProblemKind::Conflict,
        &["sha256:0101", "sha256:0202"],
    );
    let larger = put("vm", &DiskSettings::new(8 * MIB), &by_digest(1));
    says(larger, ProblemKind::Conflict, &["size_bytes 4M, not 8M"]);
    create::put(disks, "plain", settings.clone()).unwrap();
    let plain = put("plain", &settings, &by_digest(1));
    says(plain, ProblemKind::Conflict, &["was not made from"]);
    // A disk outlives its image, and is still the one that was asked for.
    drop(remove::remove(disks, &by_digest(1), true).unwrap());
    assert_eq!(
        put("vm", &settings, &by_digest(1)).unwrap().1,
        Made::Existing
    );
    assert_eq!(byte_at(disks, "vm", 4 * MIB - 1), 1);
}

#[test]
fn an_image_with_forks_is_removed_by_force_only_and_they_live_on() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    pull_as(disks, 1, 4 * MIB, &request(Some("debian")));
    disk_of(disks, "vm", 1, 8);
    let mut guest = Guest::attach(Path::new(&describe::get(disks, "vm").unwrap().socket));
    guest.q().write(0, &[9; 4096]).unwrap();
    drop(guest);
    eventually("the guest is gone", || {
        !describe::get(disks, "vm").unwrap().attached
    });
    // A reset brings the image's content back, and keeps the size.
    let (disk, left) = reset::reset(disks, "vm", ResetRequest::default()).unwrap();
    drop(left);
    assert_eq!((disk.size_bytes, byte_at(disks, "vm", 0)), (8 * MIB, 1));
    assert_eq!(disk.image.unwrap().id, Some(digest(1).to_string()));
    let name = ImageName::parse("debian").unwrap();
    let refused = remove::remove(disks, &name, false);
    says(
        refused,
        ProblemKind::Conflict,
        &["\"vm\" was forked from image debian", "force"],
    );
    let mut events = disks.events().listen();
    drop(remove::remove(disks, &name, true).unwrap());
    let event = until(&mut events, EventKind::ImageRemoved);
    assert_eq!(event.details["name"].to_string(), "debian");
    assert_eq!(byte_at(disks, "vm", 4 * MIB - 1), 1);
    assert_eq!(describe::get(disks, "vm").unwrap().parent, None);
    let reset = reset::reset(disks, "vm", ResetRequest::default());
    says(
        reset,
        ProblemKind::NotFound,
        &["what it was forked from is gone"],
    );
    let end = DestroyOptions::default();
    destroy::destroy(disks, "vm", end).unwrap();
    assert_eq!(describe::pool(disks).charged_bytes, 0);
}

#[test]
fn one_client_fetches_an_image_and_the_next_takes_over_if_it_breaks_off() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    let first = fetch::offer(disks, digest(1), &request(Some("a"))).unwrap();
    assert_eq!(first.image.state, GoldenState::Fetching);
    let second = fetch::offer(disks, digest(1), &request(None)).unwrap();
    assert_eq!(second.fetch, None);
    let number = first.fetch.unwrap();
    let wrong = fetch::begin(disks, digest(1), number + 1, None);
    says(wrong, ProblemKind::Conflict, &["under number"]);
    let begun = fetch::begin(disks, digest(1), number, Some(8192)).unwrap();
    let twice = fetch::begin(disks, digest(1), number, None);
    says(twice, ProblemKind::Conflict, &["under number"]);
    begun.write(0, &[1; 4096]).unwrap();
    let coming = images::get(disks, &by_digest(1)).unwrap();
    assert_eq!(coming.import.unwrap().done_bytes, 4096);
    assert_eq!(images::list(disks).len(), 1);
    let early = from_image::put(disks, "vm", &DiskSettings::new(MIB), &by_digest(1));
    says(early, ProblemKind::NotFound, &["no image"]);
    // Others may not have its name meanwhile.
    let named = fetch::offer(disks, digest(2), &request(Some("a")));
    says(
        named,
        ProblemKind::Conflict,
        &["has the name \"a\" already"],
    );
    let mut events = disks.events().listen();
    let short = fetch::finish(disks, &begun, 4096);
    says(short, ProblemKind::Invalid, &["8K", "4K arrived"]);
    drop(begun);
    let failed = until(&mut events, EventKind::ImageFailed);
    assert!(failed.details["reason"].to_string().contains("4K arrived"));
    assert!(!is_there(disks, 1));
    assert_eq!(describe::pool(disks).charged_bytes, 0);
    let next = fetch::offer(disks, digest(1), &request(None)).unwrap();
    let begun = fetch::begin(disks, digest(1), next.fetch.unwrap(), None).unwrap();
    says(
        fetch::finish(disks, &begun, 0),
        ProblemKind::Invalid,
        &["no bytes"],
    );
    drop(begun);
    pull(disks, 1, MIB);
    until(&mut events, EventKind::ImagePulled);
    let present = fetch::offer(disks, digest(1), &request(Some("b"))).unwrap();
    assert_eq!(
        (present.fetch, present.image.name.as_deref()),
        (None, Some("b"))
    );
    let renamed = fetch::offer(disks, digest(1), &request(Some("c")));
    says(renamed, ProblemKind::Conflict, &["can't be changed"]);
    let raw = GoldenRequest {
        format: Some("raw".to_owned()),
        ..request(None)
    };
    let other = fetch::offer(disks, digest(1), &raw);
    says(
        other,
        ProblemKind::Conflict,
        &["without naming its format", "as raw"],
    );
    for source in ["", "a\nb"] {
        let odd = GoldenRequest {
            source: source.to_owned(),
            ..request(None)
        };
        let refused = fetch::offer(disks, digest(3), &odd);
        says(refused, ProblemKind::Invalid, &["can't name an image"]);
    }
}

#[test]
fn images_are_dropped_by_their_last_use_when_memory_is_wanted_but_not_those_in_use_or_kept() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    for number in 1..=5 {
        let keep = (number == 2).then_some(true);
        let wanted = GoldenRequest {
            keep,
            ..request(None)
        };
        pull_as(disks, number, 8 * MIB, &wanted);
    }
    disk_of(disks, "vm3", 3, 8);
    // Number 1 is the oldest, but was used last.
    disk_of(disks, "vm1", 1, 8);
    destroy::destroy(disks, "vm1", DestroyOptions::default()).unwrap();
    let mut events = disks.events().listen();
    let mut guest = Guest::attach(&world.create_with("load", DiskSettings::new(64 * MIB)));
    let mut at = 0;
    let mut fill = |mib: u64| {
        (0..mib * 256).all(|_| {
            at += 1;
            guest.q().write((at - 1) * 8, &[7; 4096]).is_ok()
        })
    };
    assert!(fill(8));
    assert!((1..=5).all(|number| is_there(disks, number)));
    // Images that were just used stay a while, if memory is only short.
    std::thread::sleep(Duration::from_millis(2100));
    for gone in [4, 5, 1] {
        while is_there(disks, gone) {
            assert!(fill(1), "image {gone} is still there");
            // On a busy machine the monitor may be later than the guest.
            if describe::pool(disks).charged_bytes >= 61 * MIB {
                eventually("it is dropped", || !is_there(disks, gone));
            }
        }
        let event = until(&mut events, EventKind::ImageDropped);
        let dropped = event.details["digest"].to_string();
        assert_eq!(dropped, digest(gone).to_string());
    }
    // From here on nothing more can be dropped, and the guest is refused.
    while fill(1) {}
    std::thread::sleep(Duration::from_millis(300));
    assert!(is_there(disks, 2) && is_there(disks, 3));
    drop(guest);
    destroy::destroy(disks, "load", forced()).unwrap();
    assert_eq!(byte_at(disks, "vm3", 8 * MIB - 1), 3);
}

#[test]
fn an_image_whose_fork_was_forked_is_in_use_as_long_as_that_shares_its_memory() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    pull(disks, 1, 24 * MIB);
    disk_of(disks, "one", 1, 24);
    fork::fork(disks, "one", ForkRequest::new("two")).unwrap();
    destroy::destroy(disks, "one", forced()).unwrap();
    // Another image finds no room, and is refused.
    let offer = fetch::offer(disks, digest(2), &request(None)).unwrap();
    let begun = fetch::begin(disks, digest(2), offer.fetch.unwrap(), None).unwrap();
    let fill = || {
        let mut parts = 0..64;
        parts.try_for_each(|at| begun.write(at * MIB, &[2; 1 << 20]))
    };
    says(fill(), ProblemKind::OverBudget, &[]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(is_there(disks, 1));
    drop(begun);
    destroy::destroy(disks, "two", DestroyOptions::default()).unwrap();
    let offer = fetch::offer(disks, digest(2), &request(None)).unwrap();
    let begun = fetch::begin(disks, digest(2), offer.fetch.unwrap(), None).unwrap();
    eventually("it is dropped", || {
        let _ = begun.write(0, &[2; 1 << 20]);
        for at in 1..56 {
            let _ = begun.write(at * MIB, &[2; 1 << 20]);
        }
        !is_there(disks, 1)
    });
}

#[test]
fn images_and_their_forks_are_there_after_a_restart_and_what_was_on_its_way_is_not() {
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("arena");
    let options = StoreOptions::new(64 << 20);
    let store = Arc::new(Store::create_at(&path, &options).unwrap());
    let world = World::of(store, 100);
    let disks = &world.disks;
    let kept = GoldenRequest {
        keep: Some(true),
        ..request(Some("debian"))
    };
    let before = pull_as(disks, 1, 4 * MIB, &kept);
    disk_of(disks, "vm", 1, 8);
    snapshots::take(disks, "vm", "s").unwrap();
    let offer = fetch::offer(disks, digest(2), &request(None)).unwrap();
    let begun = fetch::begin(disks, digest(2), offer.fetch.unwrap(), None).unwrap();
    begun.write(0, &[2; 1 << 20]).unwrap();
    // As a process leaves it that is killed.
    std::fs::copy(&path, file.path().join("copy")).unwrap();
    drop(begun);
    let store = Arc::new(Store::open_at(&file.path().join("copy"), &options).unwrap());
    let again = World::of(store, 100);
    let disks = &again.disks;
    let list = images::list(disks);
    assert_eq!(list.len(), 1, "{list:?}");
    let image = &list[0];
    assert_eq!(image.forks, ["vm"]);
    assert_eq!(
        (image.digest, &image.name, image.keep),
        (digest(1), &kept.name, true)
    );
    assert_eq!(
        (image.pulled_ns, image.size_bytes),
        (before.pulled_ns, before.size_bytes)
    );
    assert!(image.used_ns > image.pulled_ns);
    let disk = describe::get(disks, "vm").unwrap();
    assert_eq!(disk.parent, Some(format!("image://{}", digest(1))));
    assert_eq!(byte_at(disks, "vm", 4 * MIB - 1), 1);
    assert_eq!(byte_at(disks, "vm@s", 0), 1);
    disk_of(disks, "vm2", 1, 4);
    // What was on its way takes no memory.
    assert!(describe::pool(disks).charged_bytes < 5 * MIB);
}
