//! New content for a disk: all of it, or none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ramblk::daemon::SocketAccess;
use ramblk::daemon::disks::{
    ApplyOptions, DestroyOptions, Disks, DisksOptions, Made, Target, UploadOptions, apply, change,
    content, create, describe, destroy, fork, groups, reset, snapshots, upload,
};
use ramblk::model::{
    DiskPatch, DiskSettings, DiskState, EventKind, ForkRequest, Image, OnFull, ProblemKind,
    ResetRequest,
};
use ramblk::store::{Store, StoreOptions};
use ramblk::vhost_user::{Hub, WorkerOptions};

use super::{FORCED, World, eventually, says, until};
use crate::driver::disk::{ALL, Disk as Guest};

/// New content for a disk without a guest.
const PLAIN: UploadOptions = UploadOptions {
    force: false,
    importing: false,
};

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
    let reader = content::reader(disks, &Target::parse(name).unwrap()).unwrap();
    let mut byte = [0];
    reader.read(0, &mut byte).unwrap();
    (byte[0], describe::get(disks, name).unwrap().mapped_bytes)
}

/// Upload a whole image of 8192 bytes.
fn bring(disks: &Disks, name: &str, id: &str, byte: u8) {
    let upload = upload::begin(disks, name, Some(image(id)), None, PLAIN).unwrap();
    upload.write(0, &[byte; 8192]).unwrap();
    upload::commit(disks, &upload, 8192).unwrap();
}

#[test]
fn a_disk_of_half_an_image_is_importing_and_nothing_can_be_done_with_it() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    let (disk, made) = create::put_from(disks, "one", settings(), image("a")).unwrap();
    assert_eq!((disk.state, made), (DiskState::Importing, Made::New));
    let upload = upload::begin(disks, "one", None, None, PLAIN).unwrap();
    upload.write(0, &[1; 4096]).unwrap();
    let disk = describe::get(disks, "one").unwrap();
    let import = disk.import.unwrap();
    assert_eq!((import.done_bytes, import.total_bytes), (4096, Some(8192)));
    assert_eq!((disk.state, import.uploading), (DiskState::Importing, true));
    assert!(!Path::new(&disk.socket).exists());
    let conflict = ProblemKind::Conflict;
    let said = ["importing", "4K of 8K", "/images/a"];
    let target = Target::parse("one").unwrap();
    says(
        fork::fork(disks, "one", ForkRequest::new("two")),
        conflict,
        &said,
    );
    says(snapshots::take(disks, "one", "s"), conflict, &said);
    says(content::reader(disks, &target), conflict, &said);
    says(content::map(disks, &target, 0, 1), conflict, &said);
    says(
        reset::reset(disks, "one", ResetRequest::default()),
        conflict,
        &said,
    );
    says(create::put(disks, "one", settings()), conflict, &said);
    let larger = DiskPatch {
        size_bytes: Some(2 << 20),
        ..DiskPatch::default()
    };
    says(change::patch(disks, "one", larger), conflict, &said);
    upload.write(4096, &[2; 4096]).unwrap();
    let mut events = disks.events().listen();
    upload::commit(disks, &upload, 8192).unwrap();
    let event = until(&mut events, EventKind::Imported);
    assert_eq!(event.details["image"].to_string(), "/images/a");
    let disk = describe::get(disks, "one").unwrap();
    assert_eq!((disk.state, disk.import), (DiskState::Ok, None));
    assert_eq!(disk.image, Some(image("a")));
    let mut guest = Guest::attach_with(Path::new(&disk.socket), ALL, 1, 64);
    assert_eq!(guest.q().read(8, 4096).unwrap(), [2; 4096]);
}

#[test]
fn a_second_create_takes_the_same_image_only() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    create::put_from(disks, "one", settings(), image("a")).unwrap();
    let again = create::put_from(disks, "one", settings(), image("a")).unwrap();
    assert_eq!(again.1, Made::Existing);
    let conflict = ProblemKind::Conflict;
    let other = create::put_from(disks, "one", settings(), image("b"));
    says(other, conflict, &["importing", "/images/a", "/images/b"]);
    let wrong = upload::begin(disks, "one", Some(image("b")), None, PLAIN);
    says(wrong, conflict, &["/images/a", "/images/b"]);
    bring(disks, "one", "a", 1);
    let again = create::put_from(disks, "one", settings(), image("a")).unwrap();
    assert_eq!((again.1, again.0.state), (Made::Existing, DiskState::Ok));
    let other = create::put_from(disks, "one", settings(), image("b"));
    says(other, conflict, &["made from", "/images/a", "/images/b"]);
    // From now on the disk names the imported image.
    bring(disks, "one", "b", 2);
    create::put_from(disks, "one", settings(), image("b")).unwrap();
    world.create("empty");
    let other = create::put_from(disks, "empty", DiskSettings::new(16 << 20), image("a"));
    says(other, conflict, &["was not made from"]);
}

/// Two clients run `create --image` at the same time. One uploads the whole image, and a guest
/// starts to write.
#[test]
fn a_second_create_does_not_replace_what_a_guest_has_written_since() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    let path = create::put_from(disks, "one", settings(), image("a"))
        .unwrap()
        .0
        .socket;
    let second = create::put_from(disks, "one", settings(), image("a"))
        .unwrap()
        .0;
    assert_eq!(second.state, DiskState::Importing);
    bring(disks, "one", "a", 1);
    let mut guest = Guest::attach(Path::new(&path));
    guest.q().write(0, &[9; 512]).unwrap();
    drop(guest);
    eventually("it left", || !describe::get(disks, "one").unwrap().attached);
    let first_only = UploadOptions {
        importing: true,
        ..PLAIN
    };
    let late = upload::begin(disks, "one", Some(image("a")), None, first_only);
    says(late, ProblemKind::Conflict, &["not importing", "complete"]);
    assert_eq!(look(disks, "one").0, 9);
    // While the disk is importing, this is its image.
    create::put_from(disks, "two", settings(), image("a")).unwrap();
    let upload = upload::begin(disks, "two", Some(image("a")), None, first_only);
    upload::commit(disks, &upload.unwrap(), 8192).unwrap();
}

#[test]
fn a_disk_that_was_reset_is_made_from_the_image_that_it_was_made_from_then() {
    let store = Arc::new(Store::new(64 << 20).unwrap());
    let world = World::of(Arc::clone(&store), 100);
    let disks = &world.disks;
    create::put_from(disks, "one", settings(), image("a")).unwrap();
    bring(disks, "one", "a", 1);
    snapshots::take(disks, "one", "s").unwrap();
    bring(disks, "one", "b", 2);
    let request = ResetRequest {
        to: Some("s".into()),
        ..ResetRequest::default()
    };
    reset::reset(disks, "one", request).unwrap();
    assert_eq!(describe::get(disks, "one").unwrap().image, Some(image("a")));
    assert_eq!(look(disks, "one").0, 1);
    // The fork was made from no image, and a reset returns it to that.
    fork::fork(disks, "one", ForkRequest::new("fork")).unwrap();
    bring(disks, "fork", "b", 2);
    reset::reset(disks, "fork", ResetRequest::default()).unwrap();
    assert_eq!(describe::get(disks, "fork").unwrap().image, None);
    drop(world);
    let world = World::of(store, 100);
    assert_eq!(
        describe::get(&world.disks, "one").unwrap().image,
        Some(image("a"))
    );
    assert_eq!(describe::get(&world.disks, "fork").unwrap().image, None);
}

#[test]
fn what_was_announced_holds_for_an_upload_that_does_not_say_it_again() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    create::put_from(disks, "one", settings(), image("a")).unwrap();
    let unsaid = Image {
        size_bytes: None,
        ..image("a")
    };
    let upload = upload::begin(disks, "one", Some(unsaid), None, PLAIN);
    let upload = upload.unwrap();
    says(
        upload::commit(disks, &upload, 4096),
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
    create::put(disks, "one", full).unwrap();
    let long = Image {
        name: "n".repeat(255),
        id: Some("i".repeat(255)),
        size_bytes: None,
    };
    let refused = upload::begin(disks, "one", Some(long), None, PLAIN);
    says(refused, ProblemKind::Invalid, &["settings take"]);
    let disk = describe::get(disks, "one").unwrap();
    assert_eq!((disk.state, disk.import), (DiskState::Ok, None));
}

#[test]
fn a_configuration_with_another_size_of_a_disk_that_is_importing_changes_nothing() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    create::put_from(disks, "one", settings(), image("a")).unwrap();
    let text = r#"{"group": [{"name": "g"}], "disk": [{"name": "one", "size_bytes": 2097152}]}"#;
    let declared = serde_json::from_str(text).unwrap();
    let refused = apply::apply(disks, &declared, ApplyOptions::default());
    says(refused, ProblemKind::Conflict, &["importing", "resize"]);
    assert!(groups::list(disks).is_empty());
    // This does not prevent a start.
    let starting = ApplyOptions {
        starting: true,
        ..ApplyOptions::default()
    };
    let applied = apply::apply(disks, &declared, starting).unwrap();
    assert_eq!(applied.unchanged, ["one"]);
    assert_eq!(describe::get(disks, "one").unwrap().size_bytes, 1 << 20);
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
    create::put_from(disks, "one", settings(), stream.clone()).unwrap();
    create::put_from(disks, "one", settings(), stream.clone()).unwrap();
    let upload = upload::begin(disks, "one", Some(stream.clone()), None, PLAIN);
    upload::commit(disks, &upload.unwrap(), 512).unwrap();
    let again = create::put_from(disks, "one", settings(), stream);
    says(again, ProblemKind::Conflict, &["can't be compared"]);
}

#[test]
fn what_is_empty_cut_short_or_too_long_leaves_the_content_and_no_charge() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    create::put(disks, "one", settings()).unwrap();
    bring(disks, "one", "a", 1);
    let charged = describe::pool(disks).charged_bytes;
    let mut events = disks.events().listen();
    let sized = || {
        let upload = upload::begin(disks, "one", Some(image("b")), None, PLAIN).unwrap();
        upload.write(0, &[2; 4096]).unwrap();
        upload
    };
    let empty = upload::begin(disks, "one", None, None, PLAIN).unwrap();
    says(
        upload::commit(disks, &empty, 0),
        ProblemKind::Invalid,
        &["no bytes"],
    );
    drop(empty);
    let short = upload::commit(disks, &sized(), 4096);
    says(short, ProblemKind::Invalid, &["8K", "4K"]);
    drop(sized());
    let event = until(&mut events, EventKind::ImportFailed);
    assert!(
        event.details["reason"].to_string().contains("no bytes"),
        "{event:?}"
    );
    let long = upload::begin(disks, "one", None, Some((1 << 20) + 1), PLAIN);
    says(long, ProblemKind::TooLarge, &["1048577"]);
    let upload = sized();
    let larger = DiskPatch {
        size_bytes: Some(2 << 20),
        ..DiskPatch::default()
    };
    change::patch(disks, "one", larger).unwrap();
    let resized = upload::commit(disks, &upload, 8192);
    says(resized, ProblemKind::Conflict, &["1M", "2M"]);
    drop(upload);
    assert_eq!(look(disks, "one"), (1, 8192));
    assert_eq!(describe::pool(disks).charged_bytes, charged);
}

#[test]
fn a_later_upload_takes_over_and_the_one_before_ends() {
    let world = World::new(64 << 20);
    let disks = &world.disks;
    create::put_from(disks, "one", settings(), image("a")).unwrap();
    let first = upload::begin(disks, "one", Some(image("a")), None, PLAIN).unwrap();
    first.write(0, &[1; 8192]).unwrap();
    let second = upload::begin(disks, "one", Some(image("a")), None, PLAIN).unwrap();
    second.write(0, &[2; 8192]).unwrap();
    let conflict = ProblemKind::Conflict;
    says(first.write(0, &[3; 512]), conflict, &["replaced this one"]);
    says(
        upload::commit(disks, &first, 8192),
        conflict,
        &["replaced this one"],
    );
    drop(first);
    assert!(
        describe::get(disks, "one")
            .unwrap()
            .import
            .unwrap()
            .uploading
    );
    upload::commit(disks, &second, 8192).unwrap();
    assert_eq!(look(disks, "one"), (2, 8192));
    let late = upload::begin(disks, "one", None, None, PLAIN).unwrap();
    destroy::destroy(disks, "one", DestroyOptions::default()).unwrap();
    says(late.write(0, &[3; 512]), conflict, &["destroyed"]);
    says(upload::commit(disks, &late, 8192), conflict, &["destroyed"]);
    drop(late);
    drop(second);
    assert_eq!(describe::pool(disks).charged_bytes, 0);
}

#[test]
fn a_guest_that_attaches_while_content_comes_keeps_its_own() {
    let world = World::new(64 << 20);
    let socket = world.create("one");
    let disks = &world.disks;
    let upload = upload::begin(disks, "one", None, None, PLAIN).unwrap();
    upload.write(0, &[1; 512]).unwrap();
    let mut guest = Guest::attach_with(&socket, ALL, 1, 64);
    guest.q().write(0, &[9; 512]).unwrap();
    says(
        upload::commit(disks, &upload, 512),
        ProblemKind::Attached,
        &["one"],
    );
    assert_eq!(guest.q().read(0, 512).unwrap(), [9; 512]);
    drop(upload);
    let forced = upload::begin(disks, "one", None, None, FORCED).unwrap();
    forced.write(0, &[1; 512]).unwrap();
    assert_eq!(guest.q().read(0, 512).unwrap(), [9; 512]);
    upload::commit(disks, &forced, 512).unwrap();
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
    create::put(disks, "one", stalls.clone()).unwrap();
    let upload = upload::begin(disks, "one", None, None, PLAIN).unwrap();
    let full = upload.write(0, &vec![1; 2 << 20]);
    says(full, ProblemKind::OverBudget, &["quota"]);
    drop(upload);
    create::put_from(
        disks,
        "two",
        DiskSettings {
            quota_bytes: None,
            ..stalls
        },
        image("a"),
    )
    .unwrap();
    let upload = upload::begin(disks, "two", None, None, PLAIN).unwrap();
    upload.write(0, &vec![1; 8 << 20]).unwrap();
    let more = upload::begin(disks, "one", None, None, PLAIN).unwrap();
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
    create::put(disks, "one", bounded).unwrap();
    for round in 1..=20 {
        let upload = upload::begin(disks, "one", None, None, PLAIN).unwrap();
        upload.write(0, &vec![round; 1 << 20]).unwrap();
        upload::commit(disks, &upload, 1 << 20).unwrap();
        assert_eq!(look(disks, "one"), (round, 1 << 20));
        let charged = describe::get(disks, "one").unwrap().charged_bytes;
        assert!(charged > 1 << 20, "{charged}");
        assert_eq!(describe::pool(disks).charged_bytes, charged);
    }
    destroy::destroy(disks, "one", DestroyOptions::default()).unwrap();
    assert_eq!(describe::pool(disks).charged_bytes, 0);
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
    ramblk::daemon::disks::open(Arc::new(store), Hub::new(&workers).unwrap(), options).unwrap()
}

#[test]
fn a_disk_whose_uploader_is_gone_goes_by_itself_also_after_a_restart() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("arena");
    let options = StoreOptions::new(64 << 20);
    let long = Duration::from_secs(3600);
    let disks = open(dir.path(), Store::create_at(&path, &options).unwrap(), long);
    create::put_from(&disks, "one", settings(), image("a")).unwrap();
    create::put(&disks, "two", settings()).unwrap();
    bring(&disks, "two", "a", 7);
    let halves = ["one", "two"].map(|name| {
        let upload = upload::begin(&disks, name, None, None, PLAIN).unwrap();
        upload.write(0, &[1; 8192]).unwrap();
        upload
    });
    // As a crash leaves it: the trees are in the arena, and the process that filled them is gone.
    let copy = dir.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    drop(halves);
    // A thread of theirs may hold them for a moment longer, and listen.
    disks.close();
    drop(disks);
    let store = Store::open_at(&copy, &options).unwrap();
    assert_eq!(store.keys().len(), 4);
    let disks = open(dir.path(), store, Duration::from_secs(2));
    let disk = describe::get(&disks, "one").unwrap();
    let import = disk.import.unwrap();
    assert_eq!(disk.state, DiskState::Importing);
    assert_eq!((import.done_bytes, import.total_bytes), (0, Some(8192)));
    assert_eq!(look(&disks, "two"), (7, 8192));
    assert!(describe::get(&disks, "one").unwrap().charged_bytes < 64 << 10);
    let mut events = disks.events().listen();
    let event = until(&mut events, EventKind::ImportFailed);
    assert!(
        event.details["reason"].to_string().contains("2 s"),
        "{event:?}"
    );
    eventually("it is gone", || describe::get(&disks, "one").is_err());
    assert_eq!(look(&disks, "two"), (7, 8192));
    // And a disk whose upload breaks off here.
    create::put_from(&disks, "one", settings(), image("a")).unwrap();
    drop(upload::begin(&disks, "one", None, None, PLAIN).unwrap());
    eventually("it is gone", || describe::get(&disks, "one").is_err());
}
