//! What disks cost beyond their bytes, requests of a whole large disk, and opening an arena again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ramblk::store::{Store, StoreOptions};

use crate::measure::{self, Failure, GIB, KIB, MIB, PAGE_BYTES, Plan, SECTOR_BYTES, TIB};
use crate::measure::{Target, median};
use crate::report::{self, Line};

/// Memory beyond the mapped bytes: of a full disk, of one sector in every 2 MiB, of an empty disk.
pub(crate) fn metadata(plan: Plan) -> Result<Vec<Line>, Failure> {
    let size_bytes = if plan.quick { GIB / 4 } else { GIB };
    Ok(vec![full(size_bytes)?, sparse()?, empty()?])
}

fn full(size_bytes: u64) -> Result<Line, Failure> {
    let before_bytes = [measure::private_bytes(), measure::host_bytes()];
    let store = Store::new(2 * size_bytes)?;
    let disk = measure::create(&store, "disk", size_bytes)?;
    measure::fill(&disk, size_bytes)?;
    let mapped_bytes = disk.get_info()?.mapped_bytes;
    let charged = store.charged_bytes().saturating_sub(mapped_bytes) as f64;
    let heap = measure::private_bytes().saturating_sub(before_bytes[0]);
    let host = measure::host_bytes().saturating_sub(before_bytes[1]);
    let size = report::bytes(mapped_bytes as f64);
    let detail = format!(
        "charged {}; heap and stacks {}; all that the host gave beside the mapped bytes {}",
        report::bytes(charged),
        report::bytes(heap as f64),
        report::bytes(host.saturating_sub(mapped_bytes) as f64)
    );
    let part = charged / mapped_bytes as f64;
    Ok(Line::percent(
        format!("metadata of a full disk of {size}"),
        part,
        detail,
        0.3,
    ))
}

fn sparse() -> Result<Line, Failure> {
    let (size_bytes, step_bytes) = (8 * GIB, 2 * MIB);
    let store = Store::new(GIB)?;
    let disk = measure::create(&store, "disk", size_bytes)?;
    let before_bytes = store.charged_bytes();
    let writes = size_bytes / step_bytes;
    let sector = [0xa5; SECTOR_BYTES as usize];
    // Not at the start of each 2 MiB, which would be the best case.
    let at = |write| write * step_bytes + write * 7 * SECTOR_BYTES % step_bytes;
    (0..writes).try_for_each(|write| Target::write(&disk, at(write), &sector))?;
    let each = store.charged_bytes().saturating_sub(before_bytes) as f64 / writes as f64;
    let detail = format!("charged per write; {writes} writes");
    Ok(Line::size(
        "one 512-byte write in every 2 MiB",
        each,
        detail,
        8 * KIB,
    ))
}

fn empty() -> Result<Line, Failure> {
    // Memory is allocated a few pages at a time: with one disk this would measure the allocator's
    // step.
    let disks: u64 = 64;
    let keys: Vec<String> = (0..disks).map(|disk| format!("disk-{disk}")).collect();
    let store = Store::new(GIB)?;
    let before_bytes = [store.charged_bytes(), measure::host_bytes()];
    let made = keys.iter().map(|key| measure::create(&store, key, TIB));
    let _disks = made.collect::<Result<Vec<_>, _>>()?;
    let each = |now, before: u64| now as f64 / disks as f64 - before as f64 / disks as f64;
    let charged = each(store.charged_bytes(), before_bytes[0]);
    let host = each(measure::host_bytes(), before_bytes[1]);
    let (charged_text, host_text) = (report::bytes(charged), report::bytes(host));
    let detail = format!("{disks} disks; charged {charged_text}, private and file {host_text}");
    Ok(Line::size(
        "an empty disk of 1 TiB",
        charged.max(host),
        detail,
        64 * KIB,
    ))
}

/// Requests over a whole disk of 1 TiB that has few pages, far from each other.
pub(crate) fn whole_range(plan: Plan) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for pages in [16, 1024] {
        lines.extend(whole_range_with(plan, pages)?);
    }
    Ok(lines)
}

fn whole_range_with(plan: Plan, pages: u64) -> Result<Vec<Line>, Failure> {
    let store = Store::new(GIB)?;
    let disk = measure::create(&store, "disk", TIB)?;
    let page = [0xa5; PAGE_BYTES as usize];
    let sectors = TIB / SECTOR_BYTES;
    type Request<'a> = (&'a str, &'a dyn Fn() -> Result<(), ramblk::store::Error>);
    let requests: [Request<'_>; 3] = [
        ("write zeroes", &|| disk.write_zeroes(0, sectors, false)),
        ("write zeroes, unmap", &|| {
            disk.write_zeroes(0, sectors, true)
        }),
        ("discard", &|| disk.discard(0, sectors)),
    ];
    let mut taken_ns = [const { Vec::new() }; 3];
    for _ in 0..plan.short_rounds() {
        for ((_, request), taken_ns) in requests.iter().zip(&mut taken_ns) {
            disk.discard(0, sectors)?;
            // Each in another part of its stretch.
            let at = |number| number * (TIB / pages) + number * PAGE_BYTES;
            (0..pages).try_for_each(|number| Target::write(&disk, at(number), &page))?;
            let start = Instant::now();
            request()?;
            taken_ns.push(measure::nanos(start.elapsed()));
        }
    }
    let lines = requests.iter().zip(&taken_ns).map(|((name, _), taken_ns)| {
        let what = format!("{name} of a whole 1 TiB disk with {pages} pages");
        let worst = taken_ns.iter().copied().fold(0.0, f64::max);
        let detail = format!(
            "median of {}, worst {}",
            taken_ns.len(),
            report::time(worst)
        );
        Line::time(what, median(taken_ns), detail, 1e6)
    });
    Ok(lines.collect())
}

/// An arena's file, removed at the end in any case.
struct ArenaFile(PathBuf);

impl Drop for ArenaFile {
    fn drop(&mut self) {
        // It may not exist.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// From a file full of disks to the first byte read.
pub(crate) fn reopen(plan: Plan) -> Result<Vec<Line>, Failure> {
    let size_bytes = plan.large_bytes();
    let name = format!("ramblk-bench-{}", std::process::id());
    let file = ArenaFile(PathBuf::from("/dev/shm").join(name));
    let options = StoreOptions::new(size_bytes + size_bytes / 32 + 64 * MIB);
    let store = Store::create_at(&file.0, &options)?;
    let disk = measure::create(&store, "disk", size_bytes)?;
    measure::fill(&disk, size_bytes)?;
    drop(disk);
    drop(store);
    let mut opened_ns = Vec::new();
    let mut closed = Duration::ZERO;
    for _ in 0..plan.long_rounds().max(2) {
        let start = Instant::now();
        let store = Store::open_at(&file.0, &options)?;
        let disk = store.open("disk")?;
        let mut sector = [0; SECTOR_BYTES as usize];
        Target::read(&disk, size_bytes - SECTOR_BYTES, &mut sector)?;
        opened_ns.push(measure::nanos(start.elapsed()));
        if sector != [0xa5; SECTOR_BYTES as usize] {
            return Err("what was written is not there".into());
        }
        drop(disk);
        let start = Instant::now();
        drop(store);
        closed = closed.max(start.elapsed());
    }
    let worst = opened_ns.iter().copied().fold(0.0, f64::max);
    let detail = format!(
        "median of {}, worst {}, with the first read; closing takes {}",
        opened_ns.len(),
        report::time(worst),
        report::time(measure::nanos(closed))
    );
    let what = format!(
        "opening an arena with {} mapped",
        report::bytes(size_bytes as f64)
    );
    Ok(vec![Line::time(what, median(&opened_ns), detail, 500e6)])
}
