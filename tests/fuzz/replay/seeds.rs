//! Initial inputs: a valid one for each thing that a target can do, and one for each fault that
//! fuzzing would take long to find.

use std::fs;
use std::path::Path;

use super::checks;

fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A disk, features, and requests: kind and cuts, what is unusual about it, fields.
fn requests() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for disk in 0..6 {
        for kind in 0..16 {
            let near = [kind, 0, 5, 1, 1, 9];
            let cut = [kind | 0x70, 0, 5, 1, 1, 9, 7, 5, 0, 9, 0];
            let odd = [kind | 0x10, 0x0f, 1, 8, 1, 3, 2, 1, 2, 3, 4];
            seeds.push(cat(&[&[disk, 3], &near, &cut, &odd]));
            seeds.push(cat(&[&[disk, 0], &near, &odd, &cut]));
        }
        // Many segments, and the longest possible write.
        seeds.push(cat(&[&[disk, 3], &[9, 0, 5, 0, 254, 5, 0, 5, 9, 3]]));
        seeds.push(cat(&[
            &[disk, 3],
            &[12, 0, 5, 0, 255, 5, 0, 5, 9, 8, 1, 0, 0, 0],
        ]));
        let writes = (0..16).map(|i| [3, 0, 5, i * 16, 1 + i, 32]);
        seeds.push(cat(&[&[disk, 3], &writes.collect::<Vec<_>>().concat()]));
    }
    seeds
}

/// A ring's size and options, chains, and the device's side.
fn rings() -> Vec<Vec<u8>> {
    const SERVE: [u8; 7] = [10, 7, 3, 9, 0, 0, 0];
    const TELL: [u8; 2] = [8, 7];
    let mut seeds = Vec::new();
    for size in [0, 1, 4, 7, 10, 55, 59, 60, 61, 62, 63] {
        for options in [0, 1, 2, 3, 7] {
            // Three readable and five writable descriptors of 64 bytes, offered as head 0.
            let chain = [1, 0, 0, 8, 3, 6, 0, 0x40, 64, 0];
            // The same in an indirect table that descriptor 9 refers to.
            let table = [1, 4, 0, 8, 3, 6, 0, 0x40, 64, 0];
            let refers = [0, 0x20, 9, 2, 8, 4, 0];
            let (first, second) = ([2, 0, 0], [2, 9, 0]);
            let halves = [10, 1, 0xe3, 0, 0, 0, 0];
            let good = [
                &chain[..],
                &first,
                &SERVE,
                &TELL,
                &table,
                &refers,
                &second,
                &SERVE,
            ];
            seeds.push(cat(&[&[size, options], &good.concat(), &TELL, &halves]));
            // Loops, heads and indexes that are too large, both flags, tables of odd length.
            let looped = [0, 0xa0, 0, 6, 0, 0x40, 8, 1, 0];
            let both = [0, 0x20, 9, 2, 8, 5, 0];
            let short = [0, 0x40, 9, 2, 8, 0, 4, 0];
            for wrong in [&looped[..], &both, &short] {
                let offers = [&first[..], &second].concat();
                seeds.push(cat(&[
                    &[size, options],
                    &table,
                    wrong,
                    &offers,
                    &SERVE,
                    &TELL,
                ]));
                seeds.push(cat(&[
                    &[size, options],
                    &table,
                    wrong,
                    &second,
                    &SERVE,
                    &[9, 3],
                    &SERVE,
                ]));
            }
            seeds.push(cat(&[&[size, options], &[2, 0xff, 0xff], &SERVE]));
            seeds.push(cat(&[&[size, options], &[4, 0xff, 0x7f], &SERVE, &TELL]));
            seeds.push(cat(&[
                &[size, options | 16],
                &[0x11, 4, 0, 0x23, 8, 0, 0xff],
                &SERVE,
            ]));
        }
    }
    seeds
}

/// A descriptor of the ring's table, or of an indirect table with `which` 0xa4: its index, the
/// address and length of the buffer, its flags and the next index.
fn put(which: u8, index: u8, at: u16, len: u8, flags: u8, next: u8) -> Vec<u8> {
    let [low, high] = at.to_le_bytes();
    vec![0, which, index, 6, low, high, len, flags, next]
}

/// The descriptors of a plain request.
fn three(which: u8, first: u8, header: u16, data_flags: u8) -> Vec<u8> {
    [
        put(which, first, header, 16, 1, first + 1),
        put(which, first + 1, 0x4100, 64, data_flags, first + 2),
        put(which, first + 2, 0x4200, 1, 2, 0),
    ]
    .concat()
}

/// Plain and nearly plain requests, which a worker takes together or one by one.
fn plain_rings() -> Vec<Vec<u8>> {
    let (read, write) = (0x4800, 0x4000);
    let headers = [
        [5, 6, 0, 0x48, 4, 0, 0, 0, 0],
        [5, 6, 0, 0x40, 4, 1, 0, 0, 0],
    ]
    .concat();
    let reads = three(0xa0, 0, read, 3);
    let writes = three(0xa0, 3, write, 1);
    let table = [three(0xa4, 0, read, 3), vec![0, 0x20, 9, 2, 3, 4, 0]].concat();
    let write_table = [three(0xa4, 0, write, 1), vec![0, 0x20, 9, 2, 3, 4, 0]].concat();
    let offer = |heads: &[u8]| {
        heads
            .iter()
            .flat_map(|&head| [2, head, 0])
            .collect::<Vec<_>>()
    };
    let serve = |turn: u8| [10, turn, 3, 9, 0, 0, 0, 8, 7];
    let mut seeds = Vec::new();
    for size in [4, 7, 10, 55, 59] {
        for options in [0, 2, 3, 6] {
            let all = [&[size, options], &headers[..], &reads, &writes, &table].concat();
            let writing = [&[size, options], &headers[..], &write_table].concat();
            let mixed = offer(&[0, 3, 9, 3, 0]);
            for turn in [0xff, 0xfa, 0x87, 0x8f, 0x97] {
                seeds.push(cat(&[&all, &mixed, &serve(turn)]));
                seeds.push(cat(&[&writing, &offer(&[9, 9]), &serve(turn)]));
                seeds.push(cat(&[&all, &offer(&[0; 16]), &serve(turn), &serve(0xff)]));
                // A request of another shape, or none at all, between plain ones.
                for odd in [12, 0xff] {
                    seeds.push(cat(&[&all, &offer(&[0, 3, odd, 0]), &serve(turn)]));
                }
            }
            // One property of the second of three requests makes it not plain.
            for wrong in [
                put(0xa0, 3, write, 17, 1, 4),
                put(0xa0, 3, write, 16, 3, 4),
                put(0xa0, 3, write, 16, 0, 4),
                put(0xa0, 3, write, 16, 1, 0xff),
                put(0xa0, 3, read, 16, 1, 4),
                put(0xa0, 4, 0x4100, 0, 1, 5),
                put(0xa0, 4, 0x4100, 64, 3, 5),
                put(0xa0, 5, 0x4200, 2, 2, 0),
                put(0xa0, 5, 0x4200, 1, 0, 0),
                put(0xa0, 5, 0x4200, 1, 3, 6),
                vec![0, 0, 4, 6, 0, 0x41, 1, 0, 1, 0, 1, 5],
                vec![0, 0xa0, 4, 3, 32, 64, 1, 5],
                vec![0, 0xa0, 5, 1, 0xff, 0xff, 1, 2, 0],
            ] {
                seeds.push(cat(&[&all, &wrong, &offer(&[0, 3, 0]), &serve(0xff)]));
            }
            for wrong in [
                put(0xa4, 0, read, 16, 1, 2),
                put(0xa4, 1, 0x4100, 64, 7, 2),
                vec![0, 0x20, 9, 2, 4, 4, 0],
                vec![0, 0x20, 9, 0x12, 3, 4, 0],
                vec![0, 0x20, 9, 2, 3, 5, 0],
            ] {
                seeds.push(cat(&[&all, &wrong, &offer(&[0, 9, 0]), &serve(0xff)]));
            }
        }
    }
    seeds
}

/// How a ring and its region begin, and what driver and device do then.
fn regions() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for how in 0..0x20 {
        let work: Vec<u8> = (0..8).flat_map(|i| [0, i, 2, i, 7, i * 3, 5]).collect();
        seeds.push(cat(&[
            &[how],
            &[0xf0, 0xff][..usize::from(how >> 2 & 2)],
            &work,
        ]));
        let wild = [0, 0, 1, 2, 0, 8, 1, 4, 0, 3, 2, 8, 0, 2, 3, 0, 0, 1];
        seeds.push(cat(&[&[how | 0x20], &wild, &work]));
        // Plain requests, taken together; killed at each place in between.
        let offers: Vec<u8> = (0..12).flat_map(|head| [0, head]).collect();
        let serve = [0x72, 5, 5];
        let more: Vec<u8> = (0..3)
            .flat_map(|i| [0, how + i, 0xff, how * 2 + i])
            .collect();
        let start = &[0xf0, 0xff][..usize::from(how >> 2 & 2)];
        let plain = [how | 0x40];
        seeds.push(cat(&[&plain, start, &offers, &serve, &more, &serve]));
        seeds.push(cat(&[
            &plain,
            start,
            &offers,
            &[0xff, how * 2],
            &offers,
            &[7, how],
        ]));
        seeds.push(cat(&[&[how | 0x60], &wild, &offers, &serve, &more, &serve]));
        seeds.push(cat(&[&[0xe0, how << 3], &[9, 0, 0, 0, 0, 0, 0, 0]]));
        seeds.push(cat(&[&[0xe0, how], &[3, 0, 77, 0, 1, 0, 0, 0]]));
    }
    seeds
}

/// An export, the client's flags, options, and requests; last the size of pieces.
fn conversations() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    // Structured replies, all contexts, GO.
    let contexts = [11, 3, 0, 5, 6, 0, 9];
    let go = [4, 4, 0, 9];
    for export in [0, 8, 9, 10, 26, 0xe8] {
        for option in 0..16 {
            let plain = [option, 0, 0, 0, 0, 9, 9];
            let odd = [option, 3, 1, 5, 3, 0, 1, 2, 3];
            let options = [&[7, 9][..], &contexts, &plain, &[7, 9], &go].concat();
            seeds.push(cat(&[&[export, 0], &options, &[0, 0, 0, 1, 9]]));
            seeds.push(cat(&[&[export, option], &odd, &plain]));
        }
        for command in 0..20 {
            for how in [0, 2, 3, 4, 8, 0x70] {
                let request = [command, how, 2, 7, 1, 5, 1, 0, 0, 0, 0, 0, 0, 0];
                let begun = [&[export, 0, 7, 9][..], &contexts, &go].concat();
                seeds.push(cat(&[&begun, &request, &request, &[0, 0, 0, 15]]));
                seeds.push(cat(&[&[export | 0xe0, 0, 0, 0, 9], &request, &request]));
            }
        }
    }
    seeds
}

/// Messages to a session that has been brought up, or hasn't.
fn sessions() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for code in 0..31 {
        for how in [0, 1, 0x91, 0xa3, 0xb1] {
            for fields in [0, 0x61, 0xc3, 0xe5, 0xff] {
                let message = [0, code, how, fields, fields, fields, fields];
                seeds.push(cat(&[&[9, 7], &message, &[15, 1]]));
                seeds.push(cat(&[&[9, 0], &message, &[9, 1]]));
            }
        }
        seeds.push(cat(&[&[0, 0, 0, 0, code, 0, 0]]));
        seeds.push(cat(&[&[10, code, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]]));
    }
    // Kicks, writes, memory that goes away, a changed configuration, and rings that are served.
    let more = [
        11, 0, 12, 0, 2, 2, 9, 0, 11, 0, 15, 0, 14, 13, 0, 0, 11, 0, 0, 9, 0, 0,
    ];
    seeds.push(cat(&[&[9, 2, 15, 0, 0, 17, 0, 0], &more]));
    seeds.push(cat(&[&[9, 6, 9, 5, 15, 0], &more]));
    seeds
}

/// A target: its name, its check, and its seeds.
type Target = (
    &'static str,
    fn(&[u8]) -> checks::reached::Reached,
    Vec<Vec<u8>>,
);

#[test]
fn seeds_are_run_and_written_where_asked() {
    let targets: [Target; 7] = [
        ("qcow2", checks::image::qcow2, super::images::qcow2s()),
        ("frames", checks::image::frames, super::images::frames()),
        ("nbd", checks::nbd::check, conversations()),
        ("request", checks::request::check, requests()),
        (
            "ring",
            checks::ring::check,
            [rings(), plain_rings()].concat(),
        ),
        ("inflight", checks::inflight::check, regions()),
        ("session", checks::session::check, sessions()),
    ];
    for (target, check, seeds) in targets {
        super::alone(|| run(target, check, &seeds));
    }
}

fn run(target: &str, check: fn(&[u8]) -> checks::reached::Reached, seeds: &[Vec<u8>]) {
    for (number, seed) in seeds.iter().enumerate() {
        check(seed);
        if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
            let folder = Path::new(&folder).join(target);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("seed-{number:04}")), seed).unwrap();
        }
    }
}
