//! `record`: logs of what changes a disk, replayed by the rules of dm-log-writes.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use tempfile::TempDir;

use ramblk::crash::log::{Log, NEVER, What};

use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk, request_header, segment};
use crate::driver::kind;
use crate::driver::ring::{Ring, readable_at, writable_at};
use crate::harness::eventually;
use crate::verbs::{Daemon, text};

const SIZE: usize = 1 << 20;

/// A log as `log_writes.h` of Linux has it, and nothing of ramblk's own part.
struct Foreign<'l> {
    log: &'l [u8],
    sector_bytes: usize,
    entries: u64,
}

impl<'l> Foreign<'l> {
    fn new(log: &'l [u8]) -> Self {
        assert_eq!(number(log, 0), 0x6a_7366_7773_6872, "WRITE_LOG_MAGIC");
        assert_eq!(number(log, 8), 1, "WRITE_LOG_VERSION");
        let sector_bytes = u32::from_le_bytes(log[24..28].try_into().unwrap()) as usize;
        let entries = number(log, 16);
        Self {
            log,
            sector_bytes,
            entries,
        }
    }

    /// Replay it as `replay-log` does, up to a mark or to its end. Returns the marks on the way.
    fn replay(&self, disk: &mut [u8], until: Option<&str>) -> Vec<String> {
        let mut at = self.sector_bytes;
        let mut marks = Vec::new();
        for _ in 0..self.entries {
            let header = &self.log[at..at + self.sector_bytes];
            let [sector, sectors, flags, length] = [0, 8, 16, 24].map(|at| number(header, at));
            at += self.sector_bytes;
            let start = sector as usize * self.sector_bytes;
            let bytes = sectors as usize * self.sector_bytes;
            if flags & 8 != 0 {
                let mark = text(&header[32..32 + length as usize]);
                if until == Some(&mark) {
                    return marks;
                }
                marks.push(mark);
            } else if flags & 4 != 0 {
                disk[start..start + bytes].fill(0);
            } else {
                disk[start..start + bytes].copy_from_slice(&self.log[at..at + bytes]);
                at += bytes;
            }
        }
        assert_eq!(at, self.log.len(), "nothing follows the last entry");
        marks
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn exported(daemon: &Daemon, disk: &str) -> Vec<u8> {
    daemon.run(&format!("export {disk} -")).stdout
}

#[test]
fn a_log_replays_to_what_the_guest_left_by_the_rules_of_dm_log_writes() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let mut disk = Disk::attach_with(&daemon.socket("a"), ALL, 1, 64);
    disk.q().write(0, &pattern(8192, 1)).unwrap();
    let started = daemon.json("record start a");
    assert_eq!(started["base"], "a@recording");
    assert_eq!(started["mark_sector"], (SIZE - 4096) / 512);
    let refused = daemon.refused("record start a", 4);
    assert!(refused.contains("record rm"), "{refused}");

    disk.q().write(8, &pattern(4096, 2)).unwrap();
    disk.q().write(100, &pattern(512, 3)).unwrap();
    disk.q().flush().unwrap();
    disk.q().write(100, &pattern(1024, 4)).unwrap();
    let command = daemon
        .command(&["record", "mark", "a", "half way"])
        .output();
    assert!(command.unwrap().status.success());
    let half = exported(&daemon, "a");
    disk.q()
        .discard(&[segment(0, 4, 0), segment(200, 8, 0)])
        .unwrap();
    disk.q().write_zeroes(&[segment(9, 2, 0)]).unwrap();
    let mut mark = b"ramblk-mark: acked 17\n".to_vec();
    mark.resize(512, 0);
    let at = (SIZE as u64 - 4096) / 512;
    disk.q().write(at, &mark).unwrap();
    assert_eq!(
        disk.q().read(at, 512),
        Ok(vec![0; 512]),
        "a mark stays off the disk"
    );
    disk.q().write(at, &pattern(512, 5)).unwrap();
    disk.q().flush().unwrap();
    let shown = daemon.json("record stop a");
    disk.q().write(300, &pattern(512, 6)).unwrap();
    let counts = ["state", "entries", "writes", "flushes", "marks"].map(|key| shown[key].clone());
    assert_eq!(
        serde_json::json!(counts),
        serde_json::json!(["ended", 11, 4, 2, 2])
    );

    check_log(&daemon, &half);
}

/// Check the log of disk `a`, which had the content `half` at a mark, and got another block since.
fn check_log(daemon: &Daemon, half: &[u8]) {
    daemon.ok("record export a recorded");
    let bytes = fs::read(daemon.path("recorded")).unwrap();
    let log = Foreign::new(&bytes);
    let mut replayed = exported(daemon, "a@recording");
    assert_eq!(log.replay(&mut replayed, None), ["half way", "acked 17"]);
    let mut whole = exported(daemon, "a");
    whole[300 * 512..301 * 512].fill(0);
    assert!(replayed == whole, "the whole log");
    let mut replayed = exported(daemon, "a@recording");
    log.replay(&mut replayed, Some("half way"));
    assert!(replayed == half, "up to a mark");

    let own = Log::read(&bytes[..], SIZE as u64).unwrap();
    assert!(own.has_moments);
    let moments: BTreeMap<u64, &What> = own
        .requests
        .iter()
        .map(|it| (it.submitted, &it.what))
        .collect();
    assert_eq!(
        moments.len(),
        10,
        "both ranges of the discard were submitted at once"
    );
    assert!(
        own.requests
            .iter()
            .all(|it| it.submitted < it.completed && it.completed != NEVER)
    );
}

#[test]
fn a_full_log_ends_the_recording_and_keeps_what_it_has() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    daemon.ok("create b --size 1M");
    daemon.refused("record start a --limit 4K", 2);
    daemon.ok("record start a --limit 64K");
    let mut disk = Disk::attach_with(&daemon.socket("a"), ALL, 1, 64);
    for round in 0..40_u8 {
        disk.q()
            .write(u64::from(round) * 8, &pattern(4096, round))
            .unwrap();
    }
    let shown = daemon.json("record show a");
    assert_eq!(shown["state"], "ended");
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.contains("its log is full"), "{reason}");
    let refused = daemon.refused("record mark a late", 4);
    assert!(refused.contains("its log is full"), "{refused}");
    daemon.ok("record export a recorded");
    let log = Log::read(&fs::read(daemon.path("recorded")).unwrap()[..], SIZE as u64).unwrap();
    let count = log.requests.len() as u64;
    assert!((8..40).contains(&count), "{count} entries");
    assert_eq!(shown["entries"], count);
    for round in 0..40_u8 {
        assert_eq!(
            disk.q().read(u64::from(round) * 8, 4096),
            Ok(pattern(4096, round)),
            "the disk has all"
        );
    }
    daemon.refused("record show b", 3);
    daemon.ok("record rm a");
    daemon.refused("record show a", 3);
    daemon.refused("show a@recording", 3);
    daemon.ok("record start a");
}

#[test]
fn what_replaces_content_in_another_way_ends_the_recording() {
    let daemon = Daemon::start();
    for (line, reason) in [
        ("reset a --to recording", "the disk was reset"),
        (
            "fault add a rot --range 0+1M",
            "bits of the disk were made wrong at rest",
        ),
        ("resize a 2M", "the disk was resized"),
        ("import a image", "the disk's content was replaced"),
    ] {
        fs::write(daemon.path("image"), pattern(4096, 1)).unwrap();
        daemon.ok("create a --size 1M --image image");
        daemon.ok("record start a");
        daemon.ok(line);
        let shown = daemon.json("record show a");
        assert_eq!(
            (&shown["state"], &shown["reason"]),
            (&"ended".into(), &reason.into()),
            "{line}"
        );
        daemon.ok("destroy a --snapshots");
    }
}

#[test]
fn a_killed_daemon_keeps_a_whole_log() {
    let state = TempDir::new_in("/dev/shm").unwrap();
    let options = ["--state-dir", state.path().to_str().unwrap()];
    let mut daemon = Daemon::start_with(&options);
    daemon.ok("create a --size 1M");
    daemon.ok("record start a");
    {
        let mut disk = Disk::attach_with(&daemon.socket("a"), ALL, 1, 64);
        for round in 0..20_u8 {
            disk.q()
                .write(u64::from(round) * 8, &pattern(4096, round))
                .unwrap();
            disk.q().flush().unwrap();
        }
    }
    daemon.kill_and_start(&options);
    let shown = daemon.json("record show a");
    assert_eq!(shown["reason"], "the daemon ended while it recorded");
    assert_eq!(
        (&shown["writes"], &shown["flushes"]),
        (&20.into(), &20.into())
    );
    daemon.ok("record export a recorded");
    let bytes = fs::read(daemon.path("recorded")).unwrap();
    let mut replayed = exported(&daemon, "a@recording");
    Foreign::new(&bytes).replay(&mut replayed, None);
    assert!(replayed == exported(&daemon, "a"));
    daemon.ok("destroy a --snapshots");
    daemon.ok("create a --size 1M");
    daemon.refused("record show a", 3);
}

#[test]
fn a_log_of_qemu_is_taken_and_others_are_refused_in_a_line() {
    let daemon = Daemon::start();
    let [image, log] = ["image", "qemu.log"].map(|name| daemon.path(name));
    for file in [&image, &log] {
        fs::File::create(file)
            .unwrap()
            .set_len(SIZE as u64)
            .unwrap();
    }
    let options = format!(
        "driver=blklogwrites,file.driver=file,file.filename={},log.driver=file,log.filename={}",
        image.display(),
        log.display()
    );
    let commands = [
        "write -P 7 0 8k",
        "flush",
        "write -z 4k 4k",
        "write -P 9 64k 512",
        "flush",
    ];
    let mut qemu = Command::new("qemu-io");
    qemu.args(["--image-opts", &options]);
    for command in commands {
        qemu.args(["-c", command]);
    }
    let done = qemu.output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));

    daemon.ok("create a --size 1M");
    let imported = daemon.json("record import a qemu.log");
    assert_eq!(imported["state"], "ended");
    assert_eq!(imported["writes"], 3, "{imported}");
    daemon.refused("record import a qemu.log", 4);
    daemon.ok("record export a again");
    let (bytes, again) = (
        fs::read(&log).unwrap(),
        fs::read(daemon.path("again")).unwrap(),
    );
    assert!(bytes == again, "a foreign log stays as it is");
    let mut replayed = vec![0; SIZE];
    let read = Log::read(&bytes[..], SIZE as u64).unwrap();
    assert!(!read.has_moments);
    for request in read
        .requests
        .iter()
        .filter(|request| request.what == What::Write)
    {
        let [at, start, length] = [request.data_at, request.start_bytes, request.length_bytes];
        let data = &bytes[at as usize..][..length as usize];
        replayed[start as usize..][..length as usize].copy_from_slice(data);
    }
    assert!(replayed == fs::read(&image).unwrap());

    explore_foreign(&daemon);
    check_refusals(&daemon, &bytes, &read);
}

/// The log of QEMU is explored as our own: 9 is written after a flush that made 7 stable.
fn explore_foreign(daemon: &Daemon) {
    let explore = |script: &str| {
        let words = ["crash-explore", "a", "-o", "json", "--", "sh", "-c", script];
        let output = daemon
            .command(&[&words[..], &["check", "{file}"]].concat())
            .output();
        let output = output.unwrap();
        let report: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
        (output.status.code(), report)
    };
    let at = |offset: u64| {
        format!(
            "$(tail -c +{} \"$1\" | head -c 1 | od -An -tu1 | tr -d ' ')",
            offset + 1
        )
    };
    let nine_is_on_seven = format!("[ {} != 9 ] || [ {} = 7 ]", at(64 << 10), at(0));
    let (code, report) = explore(&nine_is_on_seven);
    assert_eq!(code, Some(0), "{report}");
    assert!(report["distinct"].as_u64().unwrap() > 4, "{report}");
    let (code, report) = explore(&format!("[ {} != 7 ]", at(0)));
    assert_eq!(code, Some(1), "{report}");
    assert!(report["found"].as_array().unwrap().len() > 1, "{report}");
}

#[test]
fn what_a_recording_began_with_stays_as_long_as_the_recording() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    daemon.ok("snapshot a recording");
    let refused = daemon.refused("record start a", 4);
    let remedy = "rename it: 'ramblk rename a@recording NEW'";
    assert!(refused.contains(remedy), "{refused}");
    daemon.ok("rename a@recording a@mine");
    daemon.ok("record start a");
    for _ in 0..2 {
        let refused = daemon.refused("destroy a@recording", 4);
        let remedy = "('ramblk record rm a'), or use --force";
        assert!(refused.contains(remedy), "{refused}");
        // Also once it has ended.
        daemon.ok("record stop a");
    }
    daemon.ok("destroy --force a@recording");
    daemon.ok("record rm a");
    // A snapshot of that name that belongs to no recording is like any other.
    daemon.ok("snapshot a recording");
    daemon.ok("destroy a@recording");
    daemon.ok("record start a");
    daemon.ok("destroy a --snapshots");
}

/// What is no log of a disk is refused, and leaves nothing.
fn check_refusals(daemon: &Daemon, bytes: &[u8], read: &Log) {
    daemon.ok("create small --size 64K");
    let refused = daemon.refused("record import small qemu.log", 2);
    assert!(refused.contains("of another disk"), "{refused}");
    let end = read
        .requests
        .iter()
        .map(|it| it.data_at + it.length_bytes)
        .max()
        .unwrap();
    fs::write(daemon.path("cut"), &bytes[..end as usize - 512]).unwrap();
    daemon.ok("create b --size 1M");
    let refused = daemon.refused("record import b cut", 2);
    assert!(refused.contains("the log is cut off"), "{refused}");
    let refused = daemon.refused("record import b image", 2);
    assert!(refused.contains("no log of dm-log-writes"), "{refused}");
    daemon.refused("record show b", 3);
    daemon.refused("show b@recording", 3);
}

/// Put a flush into a ring, behind what [`Ring::lay_out`] uses.
fn put_flush(ring: &mut Ring) {
    let (header, status) = (ring.area(0x40), ring.area(0x140));
    ring.mem.write(header, &request_header(kind::FLUSH, 0));
    let head = ring.direct(8, &[readable_at(header, 16), writable_at(status, 1)]);
    ring.put(head);
}

fn put_write(ring: &mut Ring, sector: u64) {
    let pieces = ring.lay_out(kind::OUT, sector, &[1; 512], 0);
    let head = ring.direct(0, &pieces);
    ring.put(head);
}

/// A flush that was submitted before a write had completed doesn't cover it, whatever comes first
/// then.
#[test]
fn a_log_knows_what_was_in_flight_with_a_flush() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M --queues 2");
    let mut disk = Disk::attach_with(&daemon.socket("a"), ALL, 2, 64);
    daemon.ok("record start a");
    let [one, two] = &mut disk.queues[..] else {
        panic!("two queues");
    };
    // In one batch.
    put_write(one, 0);
    put_flush(one);
    one.publish();
    one.kick();
    (0..2).for_each(|_| _ = one.wait());
    // In two queues. The flush is there before the write is, and may be carried out after it.
    put_flush(two);
    two.publish();
    put_write(one, 8);
    one.publish();
    one.kick();
    two.kick();
    one.wait();
    two.wait();
    // Behind a fault.
    daemon.ok("fault add a stall --op flush");
    put_flush(two);
    two.publish();
    two.kick();
    eventually("the flush waits", || daemon.json("stats a")["held"] == 1);
    one.write(16, &[1; 512]).unwrap();
    daemon.ok("fault clear a");
    two.wait();
    daemon.ok("record stop a");
    daemon.ok("record export a recorded");
    let log = fs::read(daemon.path("recorded")).unwrap();
    let log = Log::read(&log[..], SIZE as u64).unwrap();
    let of = |what: &What| {
        let mut all: Vec<_> = log.requests.iter().filter(|it| it.what == *what).collect();
        all.sort_by_key(|it| it.submitted);
        all
    };
    let (writes, flushes) = (of(&What::Write), of(&What::Flush));
    assert_eq!((writes.len(), flushes.len()), (3, 3));
    for (write, flush) in writes.iter().zip(flushes) {
        assert!(flush.submitted < write.completed, "{write:?}, {flush:?}");
        assert!(write.completed != NEVER && flush.completed != NEVER);
    }
}
