//! A test that calls the operations of a volume as an NBD server would: with offsets and lengths in
//! bytes, its own buffers, and error numbers as answers, without anything of virtio, and with what
//! is public only.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use ramblk::device::block::{Operation, OperationKind, Progress, Refusal, Segment};
use ramblk::device::{
    Attempt, Limit, Limits, OperationStats, Pace, QueueCounters, Serial, User, Volume,
};
use ramblk::store::{ByteRange, Data, DiskSpec, Error, Piece, SectorSize, Sink, Source, Store};

const MIB: usize = 1 << 20;

/// NBD's commands, with the flag of one.
enum Command<'a> {
    Read(&'a mut [u8]),
    Write(&'a [u8]),
    Flush,
    Trim(u64),
    WriteZeroes { len: u64, no_hole: bool },
}

/// A command's buffers and ranges, for as long as it is served.
#[derive(Default)]
struct Job<'a> {
    kind: OperationKind,
    to: Vec<Sink<'a>>,
    from: Vec<Source<'a>>,
    segments: Vec<Segment>,
}

impl<'a> Job<'a> {
    fn new(export: &Export, offset: u64, command: Command<'a>) -> Result<Self, Errno> {
        let mut job = Self::default();
        let (kind, len, unmap) = match command {
            Command::Flush => {
                job.kind = OperationKind::Flush;
                return Ok(job);
            }
            Command::Read(buffer) => {
                job.to.push(Sink::from(&mut *buffer));
                (OperationKind::Read, job.to[0].len() as u64, false)
            }
            Command::Write(buffer) => {
                job.from.push(Source::from(buffer));
                (OperationKind::Write, buffer.len() as u64, false)
            }
            Command::Trim(len) => (OperationKind::Discard, len, true),
            Command::WriteZeroes { len, no_hole } => (OperationKind::WriteZeroes, len, !no_hole),
        };
        job.kind = kind;
        let range = export.range(offset, len)?;
        job.segments.push(Segment { range, unmap });
        Ok(job)
    }

    fn operation(&mut self) -> Operation<'_, 'a> {
        let range = |job: &Self| job.segments[0].range;
        match self.kind {
            OperationKind::Read => Operation::Read {
                range: range(self),
                to: &mut self.to,
            },
            OperationKind::Write => Operation::Write {
                range: range(self),
                from: &mut self.from,
            },
            OperationKind::Discard => Operation::Discard(&self.segments),
            OperationKind::WriteZeroes => Operation::WriteZeroes(&self.segments),
            _ => Operation::Flush,
        }
    }
}

/// NBD's error numbers.
#[derive(Debug, PartialEq, Eq)]
enum Errno {
    Perm,
    Io,
    Inval,
    NoSpace,
}

impl From<Refusal> for Errno {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Error(Error::IsReadOnly { .. }) => Self::Perm,
            Refusal::Error(Error::OutOfRange { .. } | Error::Misaligned { .. }) => Self::Inval,
            Refusal::Error(error) if error.is_out_of_memory() => Self::NoSpace,
            _ => Self::Io,
        }
    }
}

/// One connection's side of an export.
struct Export {
    volume: Volume,
    counters: QueueCounters,
    /// How often a command had to wait.
    waits: u32,
    _store: Store,
}

impl Export {
    fn new(size_bytes: usize, read_only: bool) -> Self {
        let store = Store::new(64 << 20).unwrap();
        let spec = DiskSpec::new(SectorSize::S512, size_bytes as u64);
        let disk = store.create("disk", &spec).unwrap();
        let disk = if read_only {
            disk.into_read_only()
        } else {
            disk
        };
        let volume = Volume::new(disk, Serial::new("export").unwrap());
        Self {
            counters: volume.counters(0),
            volume,
            waits: 0,
            _store: store,
        }
    }

    fn range(&self, offset: u64, len: u64) -> Result<ByteRange, Errno> {
        let range = self.volume.capacity().range_512(offset / 512, len);
        range.map_err(|error| Refusal::from(error).into())
    }

    /// Execute a command and answer it, however long that takes.
    fn serve(&mut self, offset: u64, command: Command<'_>) -> Result<(), Errno> {
        let mut job = Job::new(self, offset, command)?;
        self.counters.take(1);
        let mut attempt = Attempt::default();
        loop {
            let operation = job.operation();
            let asked = operation.asked();
            let mut progress =
                self.volume
                    .execute(User::UNKNOWN, operation, Pace::BesideOthers, attempt);
            while let Ok(Progress::Rest(rest)) = progress {
                // Here a server would serve its other clients.
                let pace = Pace::BesideOthers;
                progress = self
                    .volume
                    .resume(rest, &mut job.from, &mut job.to, pace, attempt);
            }
            let result = match progress {
                Err(Refusal::Wait(reason)) => {
                    self.waits += 1;
                    attempt = loop {
                        let now = Instant::now();
                        if let Some(attempt) = self.volume.may_retry(reason, now) {
                            break attempt;
                        }
                        std::thread::sleep(reason.look_at(now) - now);
                    };
                    continue;
                }
                Err(refusal) => Err(refusal.into()),
                Ok(_) => Ok(()),
            };
            self.counters.answered_one(asked, result.is_ok());
            self.counters.shown(0);
            return result;
        }
    }
}

#[test]
fn commands_of_nbd_are_plain_calls() {
    let mut export = Export::new(8 * MIB, false);
    let data: Vec<u8> = (1..=251).cycle().take(3 * MIB).collect();
    assert_eq!(export.serve(512, Command::Write(&data)), Ok(()));
    let mut read = vec![0; data.len()];
    assert_eq!(export.serve(512, Command::Read(&mut read)), Ok(()));
    assert!(read == data, "three megabytes, in many steps");
    assert_eq!(export.serve(0, Command::Flush), Ok(()));

    assert_eq!(export.serve(4096, Command::Trim(4096)), Ok(()));
    let zeroes = Command::WriteZeroes {
        len: 4096,
        no_hole: true,
    };
    assert_eq!(export.serve(16384, zeroes), Ok(()));
    let mut read = vec![1; 4096];
    for offset in [4096, 16384] {
        assert_eq!(export.serve(offset, Command::Read(&mut read)), Ok(()));
        assert_eq!(read, [0; 4096], "at {offset}");
    }
    let end = 8 * MIB as u64;
    assert_eq!(
        export.serve(end, Command::Read(&mut read)),
        Err(Errno::Inval)
    );

    let total = export.volume.stats().total();
    let done = |it: OperationStats| (it.completed, it.errors, it.bytes);
    assert_eq!(done(total.writes), (1, 0, 3 * MIB as u64));
    assert_eq!(done(total.reads), (3, 0, 3 * MIB as u64 + 8192));
    assert_eq!(done(total.flushes), (1, 0, 0));
    assert_eq!(done(total.discards), (1, 0, 4096));
    assert_eq!(done(total.write_zeroes), (1, 0, 4096));
    assert_eq!(export.waits, 0);
}

#[test]
fn commands_of_nbd_learn_why_they_fail() {
    let mut export = Export::new(MIB, true);
    let write = |export: &mut Export| export.serve(0, Command::Write(&[1; 512]));
    assert_eq!(write(&mut export), Err(Errno::Perm));
    assert_eq!(export.serve(0, Command::Trim(512)), Err(Errno::Perm));
    export.volume.set_failed(true);
    assert_eq!(export.serve(0, Command::Flush), Err(Errno::Io));
    export.volume.set_failed(false);
    assert_eq!(export.serve(0, Command::Flush), Ok(()));
    let mut export = Export::new(128 * MIB, false);
    let data = vec![1; 96 * MIB];
    let full = export.serve(0, Command::Write(&data));
    assert_eq!(full, Err(Errno::NoSpace));
    assert_eq!(export.volume.full_events(), 1);
}

#[test]
fn commands_of_nbd_are_held_to_the_limits_of_the_disk() {
    let mut export = Export::new(MIB, false);
    let total = Limit {
        iops: NonZeroU64::new(200),
        ..Limit::default()
    };
    let (read, write) = (Limit::default(), Limit::default());
    export.volume.set_limits(&Limits { total, read, write });
    let began = Instant::now();
    let mut read = [0; 512];
    for _ in 0..12 {
        assert_eq!(export.serve(0, Command::Read(&mut read)), Ok(()));
    }
    // Two may go at once, and one more each 5 ms.
    assert!(began.elapsed() >= Duration::from_millis(45));
    assert!(export.waits > 0);
    assert_eq!(export.volume.throttled_total(), u64::from(export.waits));
}

#[test]
fn small_commands_go_together() {
    let export = Export::new(MIB, false);
    let (first, second) = ([3; 4096], [4; 4096]);
    let mut batch = export.volume.batch();
    for (offset, data) in [(0, &first), (8192, &second)] {
        let range = export.range(offset, 4096).unwrap();
        batch
            .add(range, Data::Out(Source::from(&data[..])))
            .unwrap();
    }
    batch.run();
    let mut read = [[0; 4096]; 2];
    let mut batch = export.volume.batch();
    for (offset, data) in [0, 8192].into_iter().zip(&mut read) {
        let range = export.range(offset, 4096).unwrap();
        batch
            .add(range, Data::In(Sink::from(&mut data[..])))
            .unwrap();
    }
    batch.run();
    drop(batch);
    assert_eq!(read, [first, second]);
}
