//! Snapshots, forks, resets, and uploaded contents.

use std::path::PathBuf;

use ramblk::daemon::disks::{
    DestroyOptions, Target, UploadOptions, content, describe, destroy, fork, reset, snapshots,
    upload,
};
use ramblk::model::{DiskSettings, ForkRequest, MapExtent, ProblemKind, ResetRequest};

use super::{FORCED, World, says};
use crate::driver::disk::Disk as Guest;

fn fork(world: &World, from: &str, snapshot: Option<&str>, new: &str) -> PathBuf {
    let request = ForkRequest {
        snapshot: snapshot.map(str::to_owned),
        ..ForkRequest::new(new)
    };
    PathBuf::from(fork::fork(&world.disks, from, request).unwrap().socket)
}

#[test]
fn a_fork_of_a_running_disk_has_its_content_and_goes_its_own_way() {
    let world = World::new(64 << 20);
    let mut golden = Guest::attach(&world.create("golden"));
    golden.q().write(0, &[1; 4096]).unwrap();
    let charged = describe::pool(&world.disks).charged_bytes;
    let mut one = Guest::attach(&fork(&world, "golden", None, "one"));
    assert!(describe::pool(&world.disks).charged_bytes - charged <= 16 << 10);
    golden.q().write(0, &[2; 512]).unwrap();
    one.q().write(1, &[3; 512]).unwrap();
    assert_eq!(one.q().read(0, 512).unwrap(), [1; 512]);
    assert_eq!(golden.q().read(0, 512).unwrap(), [2; 512]);
    assert_eq!(golden.q().read(1, 512).unwrap(), [1; 512]);
    let disk = describe::get(&world.disks, "one").unwrap();
    assert_eq!(disk.parent.as_deref(), Some("golden"));
    assert_eq!(disk.serial, "one");
}

#[test]
fn a_disk_goes_back_to_a_snapshot_or_to_what_it_was_forked_from() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create("golden"));
    guest.q().write(0, &[1; 512]).unwrap();
    snapshots::take(&world.disks, "golden", "clean").unwrap();
    guest.q().write(0, &[2; 512]).unwrap();
    let mut one = Guest::attach(&fork(&world, "golden", Some("clean"), "one"));
    assert_eq!(one.q().read(0, 512).unwrap(), [1; 512]);
    one.q().write(0, &[3; 512]).unwrap();
    let refused = reset::reset(&world.disks, "one", ResetRequest::default());
    says(refused, ProblemKind::Attached, &["one", "force"]);
    let force = |to: Option<&str>| ResetRequest {
        to: to.map(str::to_owned),
        force: true,
    };
    reset::reset(&world.disks, "one", force(None)).unwrap();
    assert_eq!(one.q().read(0, 512).unwrap(), [1; 512]);
    reset::reset(&world.disks, "golden", force(Some("clean"))).unwrap();
    assert_eq!(guest.q().read(0, 512).unwrap(), [1; 512]);
    says(
        reset::reset(&world.disks, "golden", force(None)),
        ProblemKind::NotFound,
        &["not forked"],
    );
    says(
        reset::reset(&world.disks, "golden", force(Some("x"))),
        ProblemKind::NotFound,
        &["golden@x"],
    );
}

#[test]
fn snapshots_are_their_disks_and_forks_are_not() {
    let world = World::new(64 << 20);
    world.create("golden");
    snapshots::take(&world.disks, "golden", "a").unwrap();
    snapshots::take(&world.disks, "golden", "b").unwrap();
    fork(&world, "golden", Some("a"), "one");
    let twice = snapshots::take(&world.disks, "golden", "a");
    says(twice, ProblemKind::Conflict, &["golden@a"]);
    assert_eq!(
        describe::get(&world.disks, "golden").unwrap().snapshots,
        ["a", "b"]
    );
    snapshots::destroy(&world.disks, "golden", "b", false).unwrap();
    says(
        snapshots::get(&world.disks, "golden", "b"),
        ProblemKind::NotFound,
        &["golden@b"],
    );
    let refused = destroy::destroy(&world.disks, "golden", DestroyOptions::default());
    says(refused, ProblemKind::Conflict, &["(a)", "with it"]);
    let options = DestroyOptions {
        snapshots: true,
        force: true,
        ..DestroyOptions::default()
    };
    destroy::destroy(&world.disks, "golden", options).unwrap();
    assert_eq!(describe::get(&world.disks, "one").unwrap().parent, None);
    assert_eq!(describe::pool(&world.disks).snapshots, 0);
    let long = snapshots::take(&world.disks, "one", &"x".repeat(64));
    says(long, ProblemKind::Invalid, &["shorter"]);
}

#[test]
fn a_map_is_exact_and_comes_in_parts() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create("one"));
    for sector in [1, 3, 5000] {
        guest.q().write(sector, &[1; 512]).unwrap();
    }
    let target = Target::parse("one").unwrap();
    let whole = content::map(&world.disks, &target, 0, 1000).unwrap();
    let extent = |start: u64, sectors: u64, mapped| MapExtent {
        start_bytes: start * 512,
        length_bytes: sectors * 512,
        mapped,
    };
    let expected = [
        extent(0, 1, false),
        extent(1, 1, true),
        extent(2, 1, false),
        extent(3, 1, true),
        extent(4, 4996, false),
        extent(5000, 1, true),
        extent(5001, 32768 - 5001, false),
    ];
    assert_eq!(whole.extents, expected);
    assert_eq!(whole.next_bytes, None);
    for most in 1..=7 {
        let (mut found, mut at) = (Vec::new(), Some(0));
        while let Some(start) = at {
            let part = content::map(&world.disks, &target, start, most).unwrap();
            assert!(part.extents.len() <= most && !part.extents.is_empty());
            found.extend(part.extents);
            at = part.next_bytes;
        }
        assert_eq!(found, expected, "{most}");
    }
    says(
        content::map(&world.disks, &target, 511, 1),
        ProblemKind::Invalid,
        &["511"],
    );
}

#[test]
fn contents_go_in_and_out_and_stay_sparse() {
    let world = World::new(64 << 20);
    world.create("one");
    let upload = upload::begin(&world.disks, "one", None, None, UploadOptions::default()).unwrap();
    let mut bytes = vec![0; 12288];
    bytes[4096..8192].fill(5);
    upload.write(4096, &bytes).unwrap();
    upload.write(1 << 20, &[6; 512]).unwrap();
    assert!(upload.write(1, &[0; 512]).is_err());
    assert!(upload.write(16 << 20, &[1; 512]).is_err());
    assert_eq!(describe::get(&world.disks, "one").unwrap().mapped_bytes, 0);
    upload::commit(&world.disks, &upload, 16 << 20).unwrap();
    assert_eq!(
        describe::get(&world.disks, "one").unwrap().mapped_bytes,
        4096 + 512
    );
    let reader = content::reader(&world.disks, &Target::parse("one").unwrap()).unwrap();
    let next = upload::begin(&world.disks, "one", None, None, UploadOptions::default()).unwrap();
    upload::commit(&world.disks, &next, 512).unwrap();
    assert_eq!(describe::get(&world.disks, "one").unwrap().mapped_bytes, 0);
    assert_eq!(reader.next_mapped(0).unwrap(), Some((8192, 4096)));
    assert_eq!(reader.next_mapped(8193).unwrap(), Some((8193, 4095)));
    let mut odd = [9; 1001];
    reader.read(8000, &mut odd).unwrap();
    assert_eq!((&odd[..192], &odd[192..]), (&[0; 192][..], &[5; 809][..]));
    let pool = describe::pool(&world.disks);
    drop(reader);
    assert!(describe::pool(&world.disks).charged_bytes < pool.charged_bytes);
    let guest = Guest::attach(&PathBuf::from(
        describe::get(&world.disks, "one").unwrap().socket,
    ));
    says(
        upload::begin(&world.disks, "one", None, None, UploadOptions::default()),
        ProblemKind::Attached,
        &["one"],
    );
    upload::begin(&world.disks, "one", None, None, FORCED).unwrap();
    drop(guest);
}

#[test]
fn a_fork_of_a_larger_block_size_keeps_it() {
    let world = World::new(64 << 20);
    let settings = DiskSettings {
        block_size: 4096,
        ..DiskSettings::new(1 << 20)
    };
    world.create_with("one", settings);
    fork(&world, "one", None, "two");
    assert_eq!(describe::get(&world.disks, "two").unwrap().block_size, 4096);
    let upload = upload::begin(&world.disks, "two", None, None, UploadOptions::default()).unwrap();
    // The last block of an image may be incomplete.
    upload.write(4096, &[7; 100]).unwrap();
    upload::commit(&world.disks, &upload, 4196).unwrap();
    let reader = content::reader(&world.disks, &Target::parse("two").unwrap()).unwrap();
    let mut bytes = [1; 200];
    reader.read(4096, &mut bytes).unwrap();
    assert_eq!(
        (&bytes[..100], &bytes[100..]),
        (&[7; 100][..], &[0; 100][..])
    );
}
