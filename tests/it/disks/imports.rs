//! New content for a disk: all of it, or none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ramblk::daemon::SocketAccess;
use ramblk::daemon::disks::{
    ApplyOptions, DestroyOptions, Disks, DisksOptions, Made, Target, UploadOptions,
};
use ramblk::model::{
    DiskPatch, DiskSettings, DiskState, EventKind, ForkRequest, Image, OnFull, ProblemKind,
    ResetRequest,
};
use ramblk::store::{Store, StoreOptions};
use ramblk::vhost_user::{Hub, WorkerOptions};

use super::{FORCED, World, eventually, says, until};
use crate::driver::disk::{ALL, Disk as Guest};

fn image(id: &str) -> Image {
    Image {
        name: format!("/images/{id}"),
        id: Some(id.to_owned()),
        size_bytes: Some(8192),
    }
}

fn settings() -> DiskSettings {
    DiskSettings::new(1 << 20)
}

/// The first sector and the number of mapped bytes of a disk.
fn look(disks: &Disks, name: &str) -> (u8, u64) {
    let reader = disks.reader(&Target::parse(name).unwrap()).unwrap();
    let mut byte = [0];
    reader.read(0, &mut byte).unwrap();
    (byte[0], disks.get(name).unwrap().mapped_bytes)
}

/// Upload a whole image of 8192 bytes.
fn bring(disks: &Disks, name: &str, id: &str, byte: u8) {
    let upload = disks
        .upload(name, Some(image(id)), None, UploadOptions::default())
        .unwrap();
    upload.write(0, &[byte; 8192]).unwrap();
    disks.commit(&upload, 8192).unwrap();
}

#[test]
fn a_disk_of_half_an_image_is_importing_and_nothing_can_be_done_with_it() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    let (disk, made) = disks.put_from("one", settings(), image("a")).unwrap();
    assert_eq!((disk.state, made), (DiskState::Importing, Made::New));
    let upload = disks
        .upload("one", None, None, UploadOptions::default())
        .unwrap();
    upload.write(0, &[1; 4096]).unwrap();
    let disk = disks.get("one").unwrap();
    let import = disk.import.unwrap();
    assert_eq!((import.done_bytes, import.total_bytes), (4096, Some(8192)));
    assert_eq!((disk.state, import.uploading), (DiskState::Importing, true));
    assert!(!Path::new(&disk.socket).exists());
    let conflict = ProblemKind::Conflict;
    let said = ["importing", "4K of 8K", "/images/a"];
    let target = Target::parse("one").unwrap();
    says(disks.fork("one", ForkRequest::new("two")), conflict, &said);
    says(disks.take_snapshot("one", "s"), conflict, &said);
    says(disks.reader(&target), conflict, &said);
    says(disks.map(&target, 0, 1), conflict, &said);
    says(disks.reset("one", ResetRequest::default()), conflict, &said);
    says(disks.put("one", settings()), conflict, &said);
    let larger = DiskPatch {
        size_bytes: Some(2 << 20),
        ..DiskPatch::default()
    };
    says(disks.patch("one", larger), conflict, &said);
    upload.write(4096, &[2; 4096]).unwrap();
    let mut events = disks.events().listen();
    disks.commit(&upload, 8192).unwrap();
    let event = until(&mut events, EventKind::Imported);
    assert_eq!(event.details["image"].to_string(), "/images/a");
    let disk = disks.get("one").unwrap();
    assert_eq!((disk.state, disk.import), (DiskState::Ok, None));
    assert_eq!(disk.image, Some(image("a")));
    let mut guest = Guest::attach_with(Path::new(&disk.socket), ALL, 1, 64);
    assert_eq!(guest.q().read(8, 4096).unwrap(), [2; 4096]);
}

#[test]
fn a_second_create_takes_the_same_image_only() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    disks.put_from("one", settings(), image("a")).unwrap();
    let again = disks.put_from("one", settings(), image("a")).unwrap();
    assert_eq!(again.1, Made::Existing);
    let conflict = ProblemKind::Conflict;
    let other = disks.put_from("one", settings(), image("b"));
    says(other, conflict, &["importing", "/images/a", "/images/b"]);
    let wrong = disks.upload("one", Some(image("b")), None, UploadOptions::default());
    says(wrong, conflict, &["/images/a", "/images/b"]);
    bring(disks, "one", "a", 1);
    let again = disks.put_from("one", settings(), image("a")).unwrap();
    assert_eq!((again.1, again.0.state), (Made::Existing, DiskState::Ok));
    let other = disks.put_from("one", settings(), image("b"));
    says(other, conflict, &["made from", "/images/a", "/images/b"]);
    // From now on the disk names the imported image.
    bring(disks, "one", "b", 2);
    disks.put_from("one", settings(), image("b")).unwrap();
    world.create("empty");
    let other = disks.put_from("empty", DiskSettings::new(16 << 20), image("a"));
    says(other, conflict, &["was not made from"]);
}

/// Two clients run `create --image` at the same time. One uploads the whole image, and a guest
/// starts to write.
#[test]
fn a_second_create_does_not_replace_what_a_guest_has_written_since() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    let path = disks
        .put_from("one", settings(), image("a"))
        .unwrap()
        .0
        .socket;
    let second = disks.put_from("one", settings(), image("a")).unwrap().0;
    assert_eq!(second.state, DiskState::Importing);
    bring(disks, "one", "a", 1);
    let mut guest = Guest::attach(Path::new(&path));
    guest.q().write(0, &[9; 512]).unwrap();
    drop(guest);
    eventually("it left", || !disks.get("one").unwrap().attached);
    let first_only = UploadOptions {
        importing: true,
        ..UploadOptions::default()
    };
    let late = disks.upload("one", Some(image("a")), None, first_only);
    says(late, ProblemKind::Conflict, &["not importing", "whole"]);
    assert_eq!(look(disks, "one").0, 9);
    // While the disk is importing, this is its image.
    disks.put_from("two", settings(), image("a")).unwrap();
    let upload = disks.upload("two", Some(image("a")), None, first_only);
    disks.commit(&upload.unwrap(), 8192).unwrap();
}

#[test]
fn a_disk_that_was_reset_is_made_from_the_image_that_it_was_made_from_then() {
    let store = Arc::new(Store::new(64 << 20).unwrap());
    let world = World::of(Arc::clone(&store), 100);
    let disks = &world.disks;
    disks.put_from("one", settings(), image("a")).unwrap();
    bring(disks, "one", "a", 1);
    disks.take_snapshot("one", "s").unwrap();
    bring(disks, "one", "b", 2);
    let request = ResetRequest {
        to: Some("s".into()),
        ..ResetRequest::default()
    };
    disks.reset("one", request).unwrap();
    assert_eq!(disks.get("one").unwrap().image, Some(image("a")));
    assert_eq!(look(disks, "one").0, 1);
    // The fork was made from no image, and a reset returns it to that.
    disks.fork("one", ForkRequest::new("fork")).unwrap();
    bring(disks, "fork", "b", 2);
    disks.reset("fork", ResetRequest::default()).unwrap();
    assert_eq!(disks.get("fork").unwrap().image, None);
    drop(world);
    let world = World::of(store, 100);
    assert_eq!(world.disks.get("one").unwrap().image, Some(image("a")));
    assert_eq!(world.disks.get("fork").unwrap().image, None);
}

#[test]
fn what_was_announced_holds_for_an_upload_that_does_not_say_it_again() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    disks.put_from("one", settings(), image("a")).unwrap();
    let unsaid = Image {
        size_bytes: None,
        ..image("a")
    };
    let upload = disks.upload("one", Some(unsaid), None, UploadOptions::default());
    let upload = upload.unwrap();
    says(
        disks.commit(&upload, 4096),
        ProblemKind::Invalid,
        &["8K", "4K"],
    );
}

#[test]
fn an_image_whose_name_has_no_place_beside_the_labels_is_refused_before_it_comes() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    let mut full = settings();
    for at in 0..14 {
        full.labels.insert(format!("key-{at}"), "x".repeat(250));
    }
    disks.put("one", full).unwrap();
    let long = Image {
        name: "n".repeat(255),
        id: Some("i".repeat(255)),
        size_bytes: None,
    };
    let refused = disks.upload("one", Some(long), None, UploadOptions::default());
    says(refused, ProblemKind::Invalid, &["settings take"]);
    let disk = disks.get("one").unwrap();
    assert_eq!((disk.state, disk.import), (DiskState::Ok, None));
}

#[test]
fn a_configuration_with_another_size_of_a_disk_that_is_importing_changes_nothing() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    disks.put_from("one", settings(), image("a")).unwrap();
    let text = r#"{"group": [{"name": "g"}], "disk": [{"name": "one", "size_bytes": 2097152}]}"#;
    let declared = serde_json::from_str(text).unwrap();
    let refused = disks.apply(&declared, ApplyOptions::default());
    says(refused, ProblemKind::Conflict, &["importing", "resize"]);
    assert!(disks.groups().is_empty());
    // This does not prevent a start.
    let starting = ApplyOptions {
        starting: true,
        ..ApplyOptions::default()
    };
    let applied = disks.apply(&declared, starting).unwrap();
    assert_eq!(applied.unchanged, ["one"]);
    assert_eq!(disks.get("one").unwrap().size_bytes, 1 << 20);
}

#[test]
fn a_stream_is_like_no_other_once_it_is_whole() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    let stream = Image {
        id: None,
        size_bytes: None,
        ..image("stdin")
    };
    disks.put_from("one", settings(), stream.clone()).unwrap();
    disks.put_from("one", settings(), stream.clone()).unwrap();
    let upload = disks.upload("one", Some(stream.clone()), None, UploadOptions::default());
    disks.commit(&upload.unwrap(), 512).unwrap();
    let again = disks.put_from("one", settings(), stream);
    says(again, ProblemKind::Conflict, &["can't be told"]);
}

#[test]
fn what_is_empty_cut_short_or_too_long_leaves_the_content_and_no_charge() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    disks.put("one", settings()).unwrap();
    bring(disks, "one", "a", 1);
    let charged = disks.pool().charged_bytes;
    let mut events = disks.events().listen();
    let sized = || {
        let upload = disks
            .upload("one", Some(image("b")), None, UploadOptions::default())
            .unwrap();
        upload.write(0, &[2; 4096]).unwrap();
        upload
    };
    let empty = disks
        .upload("one", None, None, UploadOptions::default())
        .unwrap();
    says(disks.commit(&empty, 0), ProblemKind::Invalid, &["no bytes"]);
    drop(empty);
    let short = disks.commit(&sized(), 4096);
    says(short, ProblemKind::Invalid, &["8K", "4K"]);
    drop(sized());
    let event = until(&mut events, EventKind::ImportFailed);
    assert!(
        event.details["reason"].to_string().contains("no bytes"),
        "{event:?}"
    );
    let long = disks.upload("one", None, Some((1 << 20) + 1), UploadOptions::default());
    says(long, ProblemKind::TooLarge, &["1048577"]);
    let upload = sized();
    let larger = DiskPatch {
        size_bytes: Some(2 << 20),
        ..DiskPatch::default()
    };
    disks.patch("one", larger).unwrap();
    let resized = disks.commit(&upload, 8192);
    says(resized, ProblemKind::Conflict, &["1M", "2M"]);
    drop(upload);
    assert_eq!(look(disks, "one"), (1, 8192));
    assert_eq!(disks.pool().charged_bytes, charged);
}

#[test]
fn a_later_upload_takes_over_and_the_one_before_ends() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    disks.put_from("one", settings(), image("a")).unwrap();
    let first = disks
        .upload("one", Some(image("a")), None, UploadOptions::default())
        .unwrap();
    first.write(0, &[1; 8192]).unwrap();
    let second = disks
        .upload("one", Some(image("a")), None, UploadOptions::default())
        .unwrap();
    second.write(0, &[2; 8192]).unwrap();
    let conflict = ProblemKind::Conflict;
    says(first.write(0, &[3; 512]), conflict, &["took over"]);
    says(disks.commit(&first, 8192), conflict, &["took over"]);
    drop(first);
    assert!(disks.get("one").unwrap().import.unwrap().uploading);
    disks.commit(&second, 8192).unwrap();
    assert_eq!(look(disks, "one"), (2, 8192));
    let late = disks
        .upload("one", None, None, UploadOptions::default())
        .unwrap();
    disks.destroy("one", DestroyOptions::default()).unwrap();
    says(late.write(0, &[3; 512]), conflict, &["destroyed"]);
    says(disks.commit(&late, 8192), conflict, &["destroyed"]);
    drop(late);
    drop(second);
    assert_eq!(disks.pool().charged_bytes, 0);
}

#[test]
fn a_guest_that_attaches_while_content_comes_keeps_its_own() {
    let world = World::new(64 << 20);
    let socket = world.create("one");
    let disks = &world.disks;
    let upload = disks
        .upload("one", None, None, UploadOptions::default())
        .unwrap();
    upload.write(0, &[1; 512]).unwrap();
    let mut guest = Guest::attach_with(&socket, ALL, 1, 64);
    guest.q().write(0, &[9; 512]).unwrap();
    says(disks.commit(&upload, 512), ProblemKind::Attached, &["one"]);
    assert_eq!(guest.q().read(0, 512).unwrap(), [9; 512]);
    drop(upload);
    let forced = disks.upload("one", None, None, FORCED).unwrap();
    forced.write(0, &[1; 512]).unwrap();
    assert_eq!(guest.q().read(0, 512).unwrap(), [9; 512]);
    disks.commit(&forced, 512).unwrap();
    assert_eq!(guest.q().read(0, 512).unwrap(), [1; 512]);
}

#[test]
fn content_that_finds_no_room_fails_at_once_also_on_a_disk_that_stalls() {
    let world = World::new(16 << 20);
    let disks = &world.disks;
    let stalls = DiskSettings {
        on_full: OnFull::Stall,
        quota_bytes: Some(1 << 20),
        ..DiskSettings::new(8 << 20)
    };
    disks.put("one", stalls.clone()).unwrap();
    let upload = disks
        .upload("one", None, None, UploadOptions::default())
        .unwrap();
    let full = upload.write(0, &vec![1; 2 << 20]);
    says(full, ProblemKind::OverBudget, &["quota"]);
    drop(upload);
    disks
        .put_from(
            "two",
            DiskSettings {
                quota_bytes: None,
                ..stalls
            },
            image("a"),
        )
        .unwrap();
    let upload = disks
        .upload("two", None, None, UploadOptions::default())
        .unwrap();
    upload.write(0, &vec![1; 8 << 20]).unwrap();
    let more = disks
        .upload("one", None, None, UploadOptions::default())
        .unwrap();
    let full = (0..8).try_for_each(|at| more.write(at << 20, &vec![1; 1 << 20]));
    says(full, ProblemKind::OverBudget, &[]);
}

#[test]
fn the_charge_of_new_content_is_the_disks_and_its_quota_bounds_it() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    let bounded = DiskSettings {
        quota_bytes: Some(2 << 20),
        ..settings()
    };
    disks.put("one", bounded).unwrap();
    for round in 1..=20 {
        let upload = disks
            .upload("one", None, None, UploadOptions::default())
            .unwrap();
        upload.write(0, &vec![round; 1 << 20]).unwrap();
        disks.commit(&upload, 1 << 20).unwrap();
        assert_eq!(look(disks, "one"), (round, 1 << 20));
        let charged = disks.get("one").unwrap().charged_bytes;
        assert!(charged > 1 << 20, "{charged}");
        assert_eq!(disks.pool().charged_bytes, charged);
    }
    disks.destroy("one", DestroyOptions::default()).unwrap();
    assert_eq!(disks.pool().charged_bytes, 0);
}

fn open(dir: &Path, store: Store, import_timeout: Duration) -> Arc<Disks> {
    let workers = WorkerOptions {
        count: 1,
        poll: Duration::ZERO,
        cpus: Vec::new(),
    };
    let options = DisksOptions {
        run_dir: dir.to_owned(),
        access: SocketAccess::default(),
        most_disks: 100,
        workers: 1,
        limit_from: "a test".to_owned(),
        import_timeout,
    };
    Disks::new(Arc::new(store), Hub::new(&workers).unwrap(), options).unwrap()
}

#[test]
fn a_disk_whose_uploader_is_gone_goes_by_itself_also_after_a_restart() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("arena");
    let options = StoreOptions::new(64 << 20);
    let long = Duration::from_secs(3600);
    let disks = open(dir.path(), Store::create_at(&path, &options).unwrap(), long);
    disks.put_from("one", settings(), image("a")).unwrap();
    disks.put("two", settings()).unwrap();
    bring(&disks, "two", "a", 7);
    let halves = ["one", "two"].map(|name| {
        let upload = disks
            .upload(name, None, None, UploadOptions::default())
            .unwrap();
        upload.write(0, &[1; 8192]).unwrap();
        upload
    });
    // As a crash leaves it: the trees are in the arena, and the process that filled them is gone.
    let copy = dir.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    drop(halves);
    drop(disks);
    let store = Store::open_at(&copy, &options).unwrap();
    assert_eq!(store.keys().len(), 4);
    let disks = open(dir.path(), store, Duration::from_secs(2));
    let disk = disks.get("one").unwrap();
    let import = disk.import.unwrap();
    assert_eq!(disk.state, DiskState::Importing);
    assert_eq!((import.done_bytes, import.total_bytes), (0, Some(8192)));
    assert_eq!(look(&disks, "two"), (7, 8192));
    assert!(disks.get("one").unwrap().charged_bytes < 64 << 10);
    let mut events = disks.events().listen();
    let event = until(&mut events, EventKind::ImportFailed);
    assert!(
        event.details["reason"].to_string().contains("2 s"),
        "{event:?}"
    );
    eventually("it is gone", || disks.get("one").is_err());
    assert_eq!(look(&disks, "two"), (7, 8192));
    // And a disk whose upload breaks off here.
    disks.put_from("one", settings(), image("a")).unwrap();
    drop(
        disks
            .upload("one", None, None, UploadOptions::default())
            .unwrap(),
    );
    eventually("it is gone", || disks.get("one").is_err());
}
