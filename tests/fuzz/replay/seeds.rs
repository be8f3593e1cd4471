//! Inputs to begin with: one that is good for each thing that a target can do, and one that is
//! wrong in each way that fuzzing would take long to find.

use std::fs;
use std::path::Path;

use super::checks;

fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A disk, features, and requests: kind and cuts, what is odd about it, fields.
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
        // Many segments; and as much as can be written.
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
            // The same in a table of its own, to which descriptor 9 refers.
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
        seeds.push(cat(&[&[0xe0, how << 3], &[9, 0, 0, 0, 0, 0, 0, 0]]));
        seeds.push(cat(&[&[0xe0, how], &[3, 0, 77, 0, 1, 0, 0, 0]]));
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

/// A target: its name, what it does with an input, and its seeds.
type Target = (
    &'static str,
    fn(&[u8]) -> checks::reached::Reached,
    Vec<Vec<u8>>,
);

#[test]
fn seeds_are_run_and_written_where_asked() {
    let targets: [Target; 4] = [
        ("request", checks::request::check, requests()),
        ("ring", checks::ring::check, rings()),
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
