//! Golden images: `image`, and `create` from one.

use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::driver::data::pattern;
use crate::harness::eventually;
use crate::verbs::{Daemon, text};

const MIB: usize = 1 << 20;

/// The digest of a file with these bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    let digits = hash.iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", digits.collect::<String>())
}

/// A `create` that reads its image from a pipe.
fn create(daemon: &Daemon, name: &str, digest: &str, stdin: Stdio) -> Child {
    let words = ["create", name, "--image", "-", "--digest", digest];
    let mut command = daemon.command(&words);
    let command = command.stdin(stdin).stdout(Stdio::null());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Wait until some of an image has arrived.
fn comes(daemon: &Daemon, least_bytes: u64) {
    eventually("some of it came", || {
        let images = daemon.json("image list");
        images[0]["import"]["done_bytes"].as_u64() > Some(least_bytes)
    });
}

#[test]
fn an_image_is_pulled_listed_forked_and_removed_by_name_and_by_digest() {
    let daemon = Daemon::start();
    let bytes = pattern(3 * MIB + 700, 1);
    fs::write(daemon.path("debian.raw"), &bytes).unwrap();
    let digest = digest(&bytes);
    let said = daemon.ok("image pull debian.raw --name debian");
    assert_eq!(said, "image://debian is on this host: 3M mapped\n");
    let short = &digest[..19];
    let list = daemon.ok("image list");
    assert!(list.contains("debian") && list.contains(short), "{list}");
    assert!(daemon.ok("list").lines().count() < 2);
    for (number, source) in [
        "image://debian",
        &format!("image://{digest}"),
        &format!("image://{short}"),
    ]
    .iter()
    .enumerate()
    {
        daemon.ok(&format!("create vm{number} --image {source}"));
        let mut whole = bytes.clone();
        whole.resize(bytes.len().next_multiple_of(512), 0);
        assert!(daemon.run(&format!("export vm{number} -")).stdout == whole);
    }
    daemon.ok("create vm0 --image image://debian");
    daemon.ok(&format!(
        "create large --size 10M --image gone.raw --digest {digest}"
    ));
    assert_eq!(daemon.json("show large")["size_bytes"], 10 * MIB);
    assert_eq!(
        daemon.json("show large")["parent"],
        format!("image://{digest}")
    );
    let small = daemon.refused("create small --size 1M --image image://debian", 2);
    assert!(small.contains("does not fit into 1M"), "{small}");
    let shown = daemon.ok(&format!("image show {short}"));
    assert!(
        shown.contains("large vm0 vm1 vm2") && shown.contains(&digest),
        "{shown}"
    );
    let refused = daemon.refused("image rm debian", 4);
    assert!(refused.contains("\"large\" and 3 more"), "{refused}");
    assert!(refused.contains("--force"), "{refused}");
    daemon.ok("destroy large vm0 vm1 vm2");
    // Pulling it again reads nothing, and can name it no other way.
    daemon.ok(&format!("image pull gone.raw --digest {digest} --keep"));
    assert_eq!(daemon.json("image show debian")["keep"], true);
    daemon.refused(
        &format!("image pull gone.raw --digest {digest} --name other"),
        4,
    );
    daemon.ok(&format!("image rm {short}"));
    daemon.refused("image show debian", 3);
    daemon.refused("create vm --image image://debian", 3);
    assert_eq!(daemon.json("pool")["charged_bytes"], 0);
}

#[test]
fn creates_of_one_image_at_the_same_time_read_it_once() {
    let daemon = Daemon::start();
    let bytes = pattern(4 * MIB, 1);
    let digest = digest(&bytes);
    let mut first = create(&daemon, "vm0", &digest, Stdio::piped());
    let mut pipe = first.stdin.take().unwrap();
    pipe.write_all(&bytes[..3 * MIB]).unwrap();
    comes(&daemon, MIB as u64);
    // The others have nothing to read, so none of them could fetch it.
    let name = |number: usize| format!("vm{number}");
    let others = (1..16).map(|number| create(&daemon, &name(number), &digest, Stdio::null()));
    let mut others: Vec<Child> = others.collect();
    std::thread::sleep(std::time::Duration::from_millis(300));
    for other in &mut others {
        assert!(other.try_wait().unwrap().is_none(), "it does not wait");
    }
    pipe.write_all(&bytes[3 * MIB..]).unwrap();
    drop(pipe);
    for child in [first].into_iter().chain(others) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let forks = daemon.json("image list")[0]["forks"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(forks, 16);
    for number in [0, 15] {
        assert!(daemon.run(&format!("export vm{number} -")).stdout == bytes);
    }
    let charged = daemon.json("pool")["charged_bytes"].as_u64().unwrap();
    assert!(charged < 5 * MIB as u64, "{charged}");
}

#[test]
fn if_the_client_that_fetches_is_killed_the_next_one_takes_over() {
    let daemon = Daemon::start();
    let bytes = pattern(4 * MIB, 1);
    let digest = digest(&bytes);
    let mut first = create(&daemon, "vm0", &digest, Stdio::piped());
    let mut pipe = first.stdin.take().unwrap();
    pipe.write_all(&bytes[..3 * MIB]).unwrap();
    comes(&daemon, MIB as u64);
    let mut second = create(&daemon, "vm1", &digest, Stdio::piped());
    let mut other = second.stdin.take().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    other.write_all(&bytes).unwrap();
    drop(other);
    let output = second.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(daemon.run("export vm1 -").stdout == bytes);
    daemon.refused("show vm0", 3);
    // An image that can't be opened holds up no other client.
    daemon.ok("destroy vm1");
    daemon.ok(&format!("image rm {digest}"));
    let line = format!("create vm --image nothing --digest {digest}");
    let said = daemon.refused(&line, 1);
    assert!(said.contains("nothing"), "{said}");
    fs::write(daemon.path("image"), &bytes).unwrap();
    let began = std::time::Instant::now();
    daemon.ok(&format!("create vm --image image --digest {digest}"));
    assert!(began.elapsed().as_secs() < 5);
}

/// Nothing is left of an image that was refused.
fn is_nothing_left(daemon: &Daemon) {
    eventually("nothing is left", || {
        daemon.json("image list") == Value::Array(Vec::new())
            && daemon.json("pool")["charged_bytes"] == 0
    });
    assert_eq!(daemon.json("list"), Value::Array(Vec::new()));
}

#[test]
fn an_image_with_another_digest_or_without_room_leaves_nothing() {
    let daemon = Daemon::start();
    let bytes = pattern(2 * MIB, 1);
    let right = digest(&bytes);
    let wrong = digest(b"something else");
    fs::write(daemon.path("image"), &bytes).unwrap();
    for line in [
        format!("image pull image --digest {wrong}"),
        format!("create vm --image image --digest {wrong}"),
    ] {
        let said = daemon.refused(&line, 1);
        assert!(said.contains(&right) && said.contains(&wrong), "{said}");
        is_nothing_left(&daemon);
    }
    let fed = daemon.feed(&format!("image pull - --digest {wrong}"), &bytes);
    assert!(text(&fed.stderr).contains(&wrong), "{fed:?}");
    is_nothing_left(&daemon);
    let said = daemon.refused("image pull image --digest sha256:12", 2);
    assert!(said.contains("64 hexadecimal digits"), "{said}");
    // More than the pool has.
    let file = fs::File::create(daemon.path("large")).unwrap();
    file.set_len(2 << 30).unwrap();
    let mut file = std::io::BufWriter::new(file);
    for _ in 0..1100 {
        file.write_all(&[7; MIB]).unwrap();
    }
    file.flush().unwrap();
    let large = format!("image pull large --digest {wrong}");
    let said = daemon.refused(&large, 5);
    assert!(said.contains("memory limit"), "{said}");
    is_nothing_left(&daemon);
    // And what is no image.
    fs::write(daemon.path("empty"), b"").unwrap();
    daemon.refused("image pull empty", 1);
    daemon.refused("image pull nothing", 1);
    is_nothing_left(&daemon);
}

#[test]
fn options_that_can_not_go_with_an_image_of_the_host_are_refused() {
    let daemon = Daemon::start();
    fs::write(daemon.path("image"), pattern(8192, 1)).unwrap();
    let digest = digest(&pattern(8192, 1));
    daemon.ok("image pull image --name a");
    for (line, why) in [
        (
            format!("create vm --image image://a --digest {digest}"),
            "is an image of this host",
        ),
        (
            "create vm --image image://a --image-id 7".into(),
            "is an image of this host",
        ),
        (
            "create vm --image image://a --format raw".into(),
            "is an image of this host",
        ),
        (
            format!("create vm --image image --digest {digest} --image-id 7"),
            "says which image",
        ),
        (
            format!("create vm --image image --digest {digest} --backing image"),
            "cover a base",
        ),
        ("image pull image --follow-backing".into(), "cover a base"),
        ("image pull image --name a/b".into(), "is not a name"),
    ] {
        let said = daemon.refused(&line, 2);
        assert!(said.contains(why), "{line}: {said}");
    }
    // A file of that name is meant by its path.
    fs::create_dir(daemon.path("image:")).unwrap();
    fs::write(daemon.path("image:/a"), pattern(4096, 2)).unwrap();
    daemon.ok("create vm --image ./image://a");
    assert!(daemon.run("export vm -").stdout == pattern(4096, 2));
    // The same file taken for another format is another image.
    let said = daemon.refused("image pull image --format raw", 4);
    assert!(said.contains("as raw"), "{said}");
}

/// The image ends, and has a hole, within a block of 4096 bytes.
#[test]
fn a_fork_may_have_blocks_of_4096_bytes_and_tools_read_the_same_of_it() {
    let daemon = Daemon::start();
    let mut bytes = pattern(2 * MIB + 1536, 1);
    bytes[5120..7168].fill(0);
    fs::write(daemon.path("image"), &bytes).unwrap();
    daemon.ok("image pull image --name a");
    daemon.ok("create vm --block-size 4096 --image image://a");
    let again = daemon.ok("create vm --block-size 4096 --image image://a");
    assert!(again.contains("exists already"), "{again}");
    let shown = daemon.json("show vm");
    assert_eq!(shown["block_size"], 4096);
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    assert_eq!(shown["size_bytes"], bytes.len());
    let is_same = |line: &str, name: &str| {
        daemon.ok(line);
        assert!(fs::read(daemon.path(name)).unwrap() == bytes, "{line}");
    };
    is_same("export vm raw", "raw");
    is_same("nbd vm -- nbdcopy {uri} copied", "copied");
    is_same(
        "nbd vm -- qemu-img convert -f raw -O raw {uri} converted",
        "converted",
    );
    daemon.ok("nbd vm --rw -- qemu-img compare -f raw -F raw {uri} raw");
    daemon.ok("export vm vm.qcow2");
    let map = daemon.json("map vm");
    assert_eq!(map[0]["length_bytes"], bytes.len(), "{map}");
    // What is written is a block's, and a reset brings back the image, with the disk's blocks.
    let wrote = daemon.feed("write vm 4096", &[7; 4096]);
    assert!(wrote.status.success(), "{wrote:?}");
    let half = daemon.feed("write vm 512", &[7; 512]);
    assert!(half.status.success(), "{half:?}");
    assert_ne!(daemon.run("export vm -").stdout, bytes);
    daemon.ok("reset vm");
    assert!(daemon.run("export vm -").stdout == bytes);
    assert_eq!(daemon.json("show vm")["block_size"], 4096);
}

#[test]
fn a_fork_has_the_content_id_of_its_image_which_is_the_same_on_other_hosts() {
    let (here, there) = (Daemon::start(), Daemon::start());
    for host in [&here, &there] {
        fs::write(host.path("image"), pattern(2 * MIB, 1)).unwrap();
        host.ok("image pull image --name base");
        host.ok("create vm --image image://base");
    }
    let id = |host: &Daemon, name: &str| host.json(&format!("show {name}"))["content_id"].clone();
    assert_eq!(id(&here, "vm").as_str().unwrap().len(), 32);
    assert_eq!(id(&here, "vm"), id(&there, "vm"));
    // So a change of one host's fork fits that of the other.
    here.ok("snapshot vm fresh");
    let wrote = here.feed("write vm 8192", &[7; 4096]);
    assert!(wrote.status.success(), "{wrote:?}");
    here.ok("snapshot vm later");
    let changed = id(&here, "vm@later");
    assert_ne!(changed, id(&here, "vm@fresh"));
    here.ok("export vm@later change.zst --since fresh");
    fs::copy(here.path("change.zst"), there.path("change.zst")).unwrap();
    // A disk that is larger than the image has other content, and so has one that was written to.
    there.ok("create large --size 10M --image image://base");
    assert_eq!(id(&there, "large"), Value::Null);
    there.refused("import large change.zst --base", 4);
    there.ok("import vm change.zst --base");
    assert_eq!(id(&there, "vm"), changed);
    assert!(here.run("export vm -").stdout == there.run("export vm -").stdout);
    there.refused("import vm change.zst --base", 4);
    // An image that was exported names its content.
    here.ok("export vm@later later.zst");
    here.ok("image pull later.zst --name later");
    here.ok("create next --image image://later");
    assert_eq!(id(&here, "next"), changed);
}
