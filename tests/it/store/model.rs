//! Random operations on several disks against a plain model, byte for byte and sector for sector.

use proptest::prelude::*;
use ramblk::store::{DiskSpec, SectorSize, Shrink, Store};

/// A step on a disk; positions and lengths are in the disk's own sectors.
#[derive(Clone, Debug)]
enum Step {
    Write { at: u64, count: u64, byte: u8 },
    Discard { at: u64, count: u64 },
    Zero { at: u64, count: u64, unmap: bool },
    Resize { sectors: u64 },
}

/// A little over two blocks of 2 MiB, so that heads, whole blocks and tails all occur.
const MOST_BYTES: u64 = 5 << 20;

fn step(most: u64) -> impl Strategy<Value = Step> {
    let start = prop_oneof![
        0..most,
        0..64.min(most),
        (most / 5 * 2)..(most / 5 * 2 + 32)
    ];
    let count = prop_oneof![4 => 1..20u64, 1 => 1..most];
    (start, count, any::<u8>(), any::<bool>(), 0..10u8).prop_map(
        move |(at, count, byte, unmap, kind)| match kind {
            0..=4 => Step::Write {
                at,
                count,
                byte: byte | 1,
            },
            5..=6 => Step::Discard { at, count },
            7..=8 => Step::Zero { at, count, unmap },
            _ => Step::Resize { sectors: at + 1 },
        },
    )
}

/// A sector of the model: `None` is unmapped.
type Model = Vec<Option<u8>>;

fn apply(model: &mut Model, step: &Step) {
    let mut set = |at: u64, count: u64, value| {
        let at = usize::try_from(at).unwrap();
        model[at..at + usize::try_from(count).unwrap()].fill(value);
    };
    match *step {
        Step::Write { at, count, byte } => set(at, count, Some(byte)),
        Step::Discard { at, count }
        | Step::Zero {
            at,
            count,
            unmap: true,
        } => set(at, count, None),
        Step::Zero {
            at,
            count,
            unmap: false,
        } => set(at, count, Some(0)),
        Step::Resize { sectors } => model.resize(usize::try_from(sectors).unwrap(), None),
    }
}

/// Whether the step lies inside a disk of this size.
fn fits(step: &Step, sectors: u64) -> bool {
    match *step {
        Step::Write { at, count, .. }
        | Step::Discard { at, count }
        | Step::Zero { at, count, .. } => at + count <= sectors,
        Step::Resize { .. } => true,
    }
}

fn check(sector_size: SectorSize, steps: &[Step]) -> Result<(), TestCaseError> {
    let sector_bytes = usize::try_from(sector_size.bytes()).unwrap();
    let store = Store::new(64 << 20).unwrap();
    let spec = DiskSpec::new(sector_size, MOST_BYTES);
    let disk = store.create("model", &spec).unwrap();
    let mut model: Model = vec![None; usize::try_from(MOST_BYTES).unwrap() / sector_bytes];
    for step in steps {
        let result = match *step {
            Step::Write { at, count, byte } => {
                let bytes = vec![byte; usize::try_from(count).unwrap() * sector_bytes];
                // In two pieces, which end inside a page.
                let (one, two) = bytes.split_at(sector_bytes.min(bytes.len()));
                disk.write(at, &[one, two])
            }
            Step::Discard { at, count } => disk.discard(at, count),
            Step::Zero { at, count, unmap } => disk.write_zeroes(at, count, unmap),
            Step::Resize { sectors } => disk.resize(sectors, Shrink::Allow).map(drop),
        };
        prop_assert_eq!(result.is_ok(), fits(step, model.len() as u64), "{:?}", step);
        if result.is_ok() {
            apply(&mut model, step);
        }
    }
    let mut bytes = vec![0xee; model.len() * sector_bytes];
    disk.read(0, &mut [&mut bytes]).unwrap();
    for (at, (sector, expected)) in bytes.chunks(sector_bytes).zip(&model).enumerate() {
        let expected = expected.unwrap_or(0);
        prop_assert!(sector.iter().all(|&byte| byte == expected), "sector {}", at);
    }
    let mut mapped = vec![false; model.len()];
    for extent in disk
        .extents()
        .unwrap()
        .map(Result::unwrap)
        .filter(|extent| extent.mapped)
    {
        let start = usize::try_from(extent.start_sector).unwrap();
        mapped[start..start + usize::try_from(extent.sectors).unwrap()].fill(true);
    }
    let expected: Vec<bool> = model.iter().map(Option::is_some).collect();
    prop_assert_eq!(mapped, expected);
    let count = model.iter().flatten().count() * sector_bytes;
    prop_assert_eq!(disk.get_info().unwrap().mapped_bytes, count as u64);
    store.destroy("model").unwrap();
    prop_assert_eq!(store.charged_bytes(), 0, "memory was lost");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        // A failure prints its smallest input; that becomes a test with a name, not a file of
        // seeds.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_disk_of_512_byte_sectors_is_its_model(
        steps in prop::collection::vec(step(MOST_BYTES / 512), 1..60)
    ) {
        check(SectorSize::S512, &steps)?;
    }

    #[test]
    fn a_disk_of_4096_byte_sectors_is_its_model(
        steps in prop::collection::vec(step(MOST_BYTES / 4096), 1..60)
    ) {
        check(SectorSize::S4096, &steps)?;
    }
}
