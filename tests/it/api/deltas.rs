//! Identifiers of content, and changes from one content to another.

use std::sync::Arc;

use ramblk::store::Store;
use serde_json::{Value, json};

use super::kit::{Answer, Kit, POOL_BYTES};
use crate::driver::data::pattern;
use crate::driver::disk::Disk;
use crate::driver::memory::MIB;

const PLAIN: &str = "content-type: application/octet-stream";
const FRAMES: &str = "application/vnd.ramblk.extents";
const DELTA: &str = "application/vnd.ramblk.delta";

fn put(kit: &Kit, path: &str, media: &str, body: &[u8]) -> Answer {
    let media = format!("content-type: {media}");
    kit.connect()
        .raw(&format!("PUT /v1/disks/{path}"), &[&media], body)
}

fn get(kit: &Kit, path: &str, media: &str) -> Answer {
    let accept = format!("accept: {media}");
    kit.connect()
        .raw(&format!("GET /v1/disks/{path}"), &[&accept], b"")
}

fn write(kit: &Kit, disk: &str, start: u64, bytes: &[u8]) {
    let path = format!("PATCH /v1/disks/{disk}/data?start_bytes={start}");
    kit.connect().raw(&path, &[PLAIN], bytes).done();
}

fn snapshot(kit: &Kit, disk: &str, name: &str) -> String {
    let path = format!("/v1/disks/{disk}/snapshots/{name}");
    let made = kit.connect().ask("PUT", &path, None).json(201);
    made["content_id"].as_str().unwrap().to_owned()
}

fn show(kit: &Kit, disk: &str, field: &str) -> Value {
    kit.get(&format!("/v1/disks/{disk}")).json(200)[field].clone()
}

fn bytes(kit: &Kit, target: &str) -> Vec<u8> {
    get(kit, target, "application/octet-stream").body
}

#[test]
fn a_disk_has_the_id_of_its_content_until_it_is_written_to() {
    let store = Arc::new(Store::new(POOL_BYTES).unwrap());
    let mut kit = Kit::over(Arc::clone(&store));
    kit.disk("a");
    assert_eq!(show(&kit, "a", "content_id"), Value::Null);
    write(&kit, "a", 0, &[1; 512]);
    let one = snapshot(&kit, "a", "one");
    assert_eq!((one.len(), show(&kit, "a", "content_id")), (32, json!(one)));
    assert_eq!(snapshot(&kit, "a", "again"), one, "nothing has changed");
    write(&kit, "a", 512, &[2; 512]);
    assert_eq!(show(&kit, "a", "content_id"), Value::Null);
    let two = snapshot(&kit, "a", "two");
    assert_ne!(two, one);
    let fork = |name: &str, snapshot: &str| {
        let wanted = json!({"name": name, "snapshot": snapshot});
        kit.post("/v1/disks/a/forks", &wanted).json(201)
    };
    let made = fork("b", "one");
    assert_eq!(
        (&made["content_id"], &made["made_from"]),
        (&json!(one), &json!(one))
    );
    fork("c", "two");
    // Other settings are no other content, and another size is.
    kit.patch("/v1/disks/b", &json!({"labels": {"k": "v"}}))
        .json(200);
    assert_eq!(show(&kit, "b", "content_id"), json!(one));
    kit.patch("/v1/disks/b", &json!({"size_bytes": 2 * MIB}))
        .json(200);
    assert_eq!(show(&kit, "b", "content_id"), Value::Null);
    fork("d", "one");
    let mut guest = Disk::attach(&kit.front_end_socket("c"));
    guest.q().read(0, 512).unwrap();
    assert_eq!(show(&kit, "c", "content_id"), json!(two));
    guest.q().write(0, &[1; 512]).unwrap();
    assert_eq!(show(&kit, "c", "content_id"), Value::Null);
    assert_eq!(show(&kit, "c", "made_from"), json!(two));
    drop(guest);
    // All of it is known to a later process.
    kit.delete("/v1/disks/a/snapshots/one?force=true").done();
    kit.stop();
    drop(kit);
    let kit = Kit::over(store);
    assert_eq!(show(&kit, "a", "content_id"), json!(two));
    assert_eq!(show(&kit, "d", "content_id"), json!(one));
    assert_eq!(show(&kit, "c", "content_id"), Value::Null);
    let back = kit
        .post("/v1/disks/a/reset", &json!({"to": "again"}))
        .json(200);
    assert_eq!(back["content_id"], json!(one));
    let whole = get(&kit, "d/data", FRAMES);
    assert_eq!(whole.header("ramblk-content-id"), Some(&*one));
    let unknown = get(&kit, "c/data", FRAMES);
    assert_eq!(unknown.header("ramblk-content-id"), None);
}

/// The list of these frames, of which those of data that follow each other are one extent.
fn list_of(mut frames: &[u8]) -> Vec<u8> {
    let number =
        |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let mut extents: Vec<(u64, u64)> = Vec::new();
    while !frames.is_empty() {
        let (start, length) = (number(frames, 0), number(frames, 8));
        let is_data = length != 0 && length >> 63 == 0;
        frames = &frames[16 + if is_data { length as usize } else { 0 }..];
        match extents.last_mut() {
            Some((from, so_far)) if is_data && *so_far >> 63 == 0 && *from + *so_far == start => {
                *so_far += length;
            }
            _ => extents.push((start, length)),
        }
    }
    let headers = extents
        .iter()
        .flat_map(|(start, length)| [start.to_le_bytes(), length.to_le_bytes()]);
    headers.flatten().collect()
}

/// Random changes between snapshots of one host arrive at another one, and nothing else does.
#[test]
fn changes_make_of_the_one_content_the_other_wherever_they_are_applied() {
    let seed = std::env::var("RAMBLK_SEED")
        .ok()
        .and_then(|it| it.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let (here, there) = (Kit::new(), Kit::new());
    let mut size = 3 * MIB;
    here.put("/v1/disks/a", &json!({"size_bytes": size}))
        .json(201);
    there
        .put(
            "/v1/disks/b",
            &json!({"size_bytes": size, "block_size": 4096}),
        )
        .json(201);
    let mut last = snapshot(&here, "a", "s0");
    let whole = get(&here, "a/data?snapshot=s0", FRAMES);
    put(
        &there,
        &format!("b/data?content_id={last}"),
        FRAMES,
        &whole.body,
    )
    .done();
    for round in 1..=8 {
        for _ in 0..random.usize(0..6) {
            let start = random.u64(..size);
            let length = usize::try_from((size - start).min(1 << random.u32(0..19))).unwrap();
            let filled = vec![random.u8(..3); length];
            write(&here, "a", start, &filled);
        }
        if round % 3 == 0 {
            size = random.u64(1..8) * MIB;
            here.patch("/v1/disks/a", &json!({"size_bytes": size, "shrink": true}))
                .json(200);
        }
        let now = snapshot(&here, "a", &format!("s{round}"));
        let unit = [4096, 65536][random.usize(..2)];
        let path = format!(
            "a/data?snapshot=s{round}&base=s{}&unit_bytes={unit}",
            round - 1
        );
        let delta = get(&here, &path, DELTA);
        assert_eq!(delta.header("ramblk-content-id"), Some(&*now));
        assert_eq!(delta.header("ramblk-base-id"), Some(&*last));
        let listed = get(&here, &format!("{path}&list=true"), DELTA).body;
        let (list, frames) = listed.split_at(listed.len() - delta.body.len());
        assert!(frames == delta.body, "RAMBLK_SEED={seed}: round {round}");
        assert_eq!(list_of(&delta.body), list, "RAMBLK_SEED={seed}: {round}");
        let query = format!("image=x&image_bytes={size}&content_id={now}&base={last}");
        put(&there, &format!("b/data?{query}"), DELTA, &delta.body).done();
        let same = bytes(&here, &format!("a/data?snapshot=s{round}")) == bytes(&there, "b/data");
        assert!(same, "RAMBLK_SEED={seed}: round {round}");
        assert_eq!(show(&there, "b", "content_id"), json!(now));
        assert_eq!(snapshot(&there, "b", &format!("t{round}")), now);
        if now != last {
            let refused = put(&there, &format!("b/data?{query}"), DELTA, &delta.body);
            refused.problem(409, "conflict");
        }
        last = now;
    }
}

#[test]
fn a_change_of_other_content_than_the_disk_has_is_refused_and_leaves_it_alone() {
    let kit = Kit::new();
    kit.disk("a");
    write(&kit, "a", 0, &pattern(8192, 1));
    let one = snapshot(&kit, "a", "one");
    write(&kit, "a", 4096, &[0; 4096]);
    let two = snapshot(&kit, "a", "two");
    let delta = get(&kit, "a/data?snapshot=two&base=one", DELTA).body;
    // A header of zeros, and the last frame.
    assert_eq!(delta.len(), 32);
    let apply = |disk: &str, base: &str, body: &[u8]| {
        put(
            &kit,
            &format!("{disk}/data?base={base}&content_id={two}"),
            DELTA,
            body,
        )
    };
    let wanted = json!({"name": "b", "snapshot": "one"});
    kit.post("/v1/disks/a/forks", &wanted).json(201);
    let said = apply("b", &two, &delta).problem(409, "conflict");
    assert!(said.contains(&one) && said.contains("reset"), "{said}");
    let before = bytes(&kit, "b/data");
    // Cut off, of another type, and beside a front end.
    apply("b", &one, &delta[..16]).problem(400, "invalid");
    put(&kit, &format!("b/data?base={one}"), FRAMES, &delta).problem(415, "unsupported-media-type");
    put(&kit, "b/data", DELTA, &delta).problem(415, "unsupported-media-type");
    put(&kit, "b/data?base=xyz", DELTA, &delta).problem(400, "invalid");
    let guest = Disk::attach(&kit.front_end_socket("b"));
    put(
        &kit,
        &format!("b/data?base={one}&force=true"),
        DELTA,
        &delta,
    )
    .problem(409, "attached");
    drop(guest);
    crate::harness::eventually("the front end is gone", || {
        show(&kit, "b", "attached") == false
    });
    assert!(bytes(&kit, "b/data") == before);
    apply("b", &one, &delta).done();
    assert!(bytes(&kit, "b/data") == bytes(&kit, "a/data?snapshot=two"));
    assert_eq!(show(&kit, "b", "content_id"), json!(two));
    // One that comes with another size has to say so.
    kit.patch("/v1/disks/a", &json!({"size_bytes": 2 * MIB}))
        .json(200);
    snapshot(&kit, "a", "three");
    let grown = get(&kit, "a/data?snapshot=three&base=two", DELTA).body;
    apply("b", &two, &grown).problem(400, "invalid");
    assert_eq!(show(&kit, "b", "size_bytes"), MIB);
    let plain = "application/octet-stream";
    get(&kit, "a/data?snapshot=two&base=one", plain).problem(406, "invalid");
    get(&kit, "a/data", DELTA).problem(406, "invalid");
    get(&kit, "a/data?base=four", DELTA).problem(404, "not-found");
    get(&kit, "a/data?base=one&unit_bytes=700", DELTA).problem(400, "invalid");
    get(&kit, "a/data?unit_bytes=512", FRAMES).problem(400, "invalid");
}

#[test]
fn a_written_disk_is_charged_for_all_that_it_has() {
    let kit = Kit::new();
    kit.put(
        "/v1/disks/a",
        &json!({"size_bytes": 4 * MIB, "quota_bytes": 2 * MIB}),
    )
    .json(201);
    write(&kit, "a", 0, &pattern(MIB as usize, 1));
    write(&kit, "a", 4096, &[1; 512]);
    let charged = show(&kit, "a", "charged_bytes").as_u64().unwrap();
    assert!(charged < MIB + (64 << 10), "{charged}");
    let path = "PATCH /v1/disks/a/data?start_bytes=1048576";
    let refused = kit
        .connect()
        .raw(path, &[PLAIN], &pattern(3 * MIB as usize, 1));
    refused.problem(507, "over-budget");
}
