//! The two programs as their users see them: options, exit codes, sockets, signals.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::driver::status::IOERR;

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");
const VHOST_USER_RAMBLK: &str = env!("CARGO_BIN_EXE_vhost-user-ramblk");

fn run(program: &str, words: &[&str]) -> Output {
    Command::new(program).args(words).output().unwrap()
}

/// As a shell's foreground job, which ignores no signal, whatever the tests were started as.
fn start(words: &[&str]) -> Child {
    Command::new("env")
        .args(["--default-signal=HUP,INT", RAMBLK, "run"])
        .args(words)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Send a signal, and return the exit code and how long the end took.
fn end(mut child: Child, signal: Signal) -> (Option<i32>, Duration) {
    let began = Instant::now();
    rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
    (child.wait().unwrap().code(), began.elapsed())
}

/// A vhost-user GET_FEATURES, written by hand. Returns whether the other end answers.
fn answers(stream: &mut UnixStream) -> bool {
    use std::io::{Read, Write};
    let request: Vec<u8> = [1u32, 1, 0]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    let mut reply = [0; 20];
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(&request).is_ok()
        && stream.read_exact(&mut reply).is_ok()
        && reply[..4] == 1u32.to_ne_bytes()
}

/// Run `ramblk run` with the words of `line`, in `dir`. It must exit with this code and print one
/// line on stderr, which is returned.
fn refused(dir: &Path, line: &str, code: i32) -> String {
    let output = Command::new(RAMBLK)
        .arg("run")
        .args(line.split_whitespace())
        .current_dir(dir)
        .output()
        .unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{line}: {stderr}");
    assert!(stderr.starts_with("error: "), "{line}: {stderr}");
    assert!(output.stdout.is_empty());
    stderr
}

#[test]
fn wrong_words_are_one_line_on_stderr_and_exit_code_2() {
    let dir = TempDir::new().unwrap();
    let long = format!("--size 1M --socket-path {}", "x".repeat(108));
    for (line, hint) in [
        ("--size 0 --socket-path s", "multiple of 512"),
        ("--size 1000 --socket-path s", "multiple of 512"),
        (
            "--size 513K --block-size 4096 --socket-path s",
            "multiple of 4096",
        ),
        ("--size 65T --socket-path s", "between"),
        ("--size 1GB --socket-path s", "write 1G"),
        ("--size many --socket-path s", "512M"),
        ("--socket-path s", "--size"),
        ("--size 1M", "--socket-path"),
        (&long, "107"),
        ("--size 1M --socket-path s --fd 3", "be combined"),
        ("--size 1M --socket-path s --block-size 1024", "512 or 4096"),
        ("--size 1M --socket-path s --queues 0", "--queues"),
        (
            "--size 1M --socket-path s --serial 123456789012345678901",
            "20 bytes",
        ),
        ("--size 1M --socket-path s --memory-limit 4K", "64K"),
        ("--size 1M --socket-path s --colour red", "--colour"),
    ] {
        let stderr = refused(dir.path(), line, 2);
        assert!(stderr.contains(hint), "{line}: {stderr}");
    }
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing is created"
    );
}

#[test]
fn what_the_system_refuses_is_one_line_and_exit_code_1() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), b"precious").unwrap();
    let _listener = UnixListener::bind(at("live")).unwrap();
    fs::write(at("image.qcow2"), b"QFI\xfb\0\0\0\x03 and so on").unwrap();
    fs::write(at("big"), vec![1; 8192]).unwrap();
    for (line, hint) in [
        ("--size 1M --socket-path file", "is not a socket"),
        ("--size 1M --socket-path live", "in use"),
        ("--size 1M --socket-path no/such/dir/s", "directory"),
        ("--size 1M --socket-path s --image nothing", "No such file"),
        (
            "--size 1M --socket-path s --image image.qcow2",
            "is damaged",
        ),
        ("--size 4K --socket-path s --image big", "does not fit"),
        ("--size 1M --fd 777", "--fd 777"),
        // A number that was not passed must not become one of ramblk's own descriptors.
        ("--size 1M --fd 3", "--fd 3"),
        ("--size 1M --fd 4", "--fd 4"),
    ] {
        let stderr = refused(dir.path(), line, 1);
        assert!(stderr.contains(hint), "{line}: {stderr}");
    }
    assert_eq!(fs::read(at("file")).unwrap(), b"precious");
    assert!(
        UnixStream::connect(at("live")).is_ok(),
        "the other process's socket is untouched"
    );
    assert!(!at("s").exists());
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = run(RAMBLK, &["run", "--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("--socket-path"));
    assert!(text(&run(RAMBLK, &["--version"]).stdout).contains(env!("CARGO_PKG_VERSION")));
    let bare = run(RAMBLK, &[]);
    assert_eq!(bare.status.code(), Some(2));
    assert!(text(&bare.stderr).contains("Usage: ramblk"));
}

#[test]
fn sigterm_ends_within_a_second_and_removes_the_socket() {
    let dir = TempDir::new().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let socket = dir.path().join("s");
        let child = start(&["--size", "1G", "--socket-path", path(&socket)]);
        wait_until("the socket is there", || {
            UnixStream::connect(&socket).is_ok()
        });
        let mut client = UnixStream::connect(&socket).unwrap();
        assert!(answers(&mut client));
        let (code, took) = end(child, signal);
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(!socket.exists());
    }
}

#[test]
fn only_our_own_socket_is_removed() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    let child = start(&["--size", "1M", "--socket-path", path(&socket)]);
    wait_until("the socket listens", || {
        UnixStream::connect(&socket).is_ok()
    });
    // Another program takes the path over.
    fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    assert_eq!(end(child, Signal::TERM).0, Some(0));
    assert!(UnixStream::connect(&socket).is_ok());
}

#[test]
fn a_socket_left_by_a_killed_process_is_replaced() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    let words = ["--size", "1M", "--socket-path", path(&socket)];
    let child = start(&words);
    wait_until("the socket is there", || {
        UnixStream::connect(&socket).is_ok()
    });
    end(child, Signal::KILL);
    assert!(socket.exists() && UnixStream::connect(&socket).is_err());
    let child = start(&words);
    wait_until("it is served again", || {
        UnixStream::connect(&socket).is_ok_and(|mut stream| answers(&mut stream))
    });
    end(child, Signal::TERM);
}

#[test]
fn the_socket_is_for_owner_and_group() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    let words = ["--size", "1M", "--socket-path", path(&socket)];
    for (more, mode) in [(&[][..], 0o660), (&["--socket-mode", "0600"][..], 0o600)] {
        let child = start(&[&words[..], more].concat());
        wait_until("the socket listens", || {
            UnixStream::connect(&socket).is_ok()
        });
        let about = fs::metadata(&socket).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, mode);
        end(child, Signal::TERM);
    }
    let refused = run(
        RAMBLK,
        &[&["run"], &words[..], &["--socket-mode", "0066"]].concat(),
    );
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_command_gets_the_socket_and_its_exit_code_is_ours() {
    let check = "test -S \"$0\" && test \"$1\" = path={socket} && exit 7";
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    let given = ["run", "--size", "1M", "--socket-path", path(&socket), "--"];
    let private = ["run", "--size", "1M", "--"];
    for front in [&given[..], &private[..]] {
        let words = [front, &["sh", "-c", check, "{socket}", "path={socket}"]].concat();
        assert_eq!(run(RAMBLK, &words).status.code(), Some(7), "{front:?}");
    }
    assert!(!socket.exists());
    let killed = run(
        RAMBLK,
        &["run", "--size", "1M", "--", "sh", "-c", "kill -KILL $$"],
    );
    assert_eq!(killed.status.code(), Some(128 + 9));
    let missing = run(RAMBLK, &["run", "--size", "1M", "--", "/no/such/program"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/no/such/program"));
}

#[test]
fn sigterm_ends_the_command_too_even_a_stubborn_one() {
    let dir = TempDir::new().unwrap();
    let pid_file = dir.path().join("pid");
    let script = format!(
        "trap '' TERM; echo $$ > {}; while :; do sleep 0.1; done",
        path(&pid_file)
    );
    let child = start(&["--size", "1M", "--", "sh", "-c", &script]);
    wait_until("the command runs", || {
        fs::read_to_string(&pid_file).is_ok_and(|pid| pid.len() > 1)
    });
    let (code, took) = end(child, Signal::TERM);
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(1), "{took:?}");
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn capabilities_are_json_whatever_else_is_on_the_line() {
    let output = run(
        VHOST_USER_RAMBLK,
        &["--nonsense", "--print-capabilities", "--fd", "x"],
    );
    assert_eq!(output.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["type"], "block");
    assert_eq!(
        json["features"],
        serde_json::json!(["read-only", "blk-file"])
    );
}

#[test]
fn the_description_for_qemu_is_valid_and_names_a_block_back_end() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/50-ramblk-block.json");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(json["type"], "block");
    assert!(json["description"].is_string());
    let binary = json["binary"].as_str().unwrap();
    assert_eq!(Path::new(binary).file_name().unwrap(), "vhost-user-ramblk");
}

/// Run a program with `fd` as its descriptor of the same number, which `std` closes otherwise.
fn with_fd(program: &str, fd: OwnedFd, words: &[&str]) -> Child {
    let number = fd.as_raw_fd().to_string();
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).unwrap();
    Command::new(program)
        .args(words)
        .args(["--fd", &number])
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_listening_descriptor_is_served_until_sigterm() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let child = with_fd(VHOST_USER_RAMBLK, listener.into(), &["--size", "1M"]);
    for _ in 0..3 {
        assert!(answers(&mut UnixStream::connect(&socket).unwrap()));
    }
    assert_eq!(end(child, Signal::TERM).0, Some(0));
    assert!(socket.exists(), "it was not ours to remove");
}

#[test]
fn a_connected_descriptor_is_served_until_it_is_closed() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut child = with_fd(VHOST_USER_RAMBLK, theirs.into(), &["--size", "1M"]);
    assert!(answers(&mut ours));
    drop(ours);
    wait_until("it ends", || {
        fs::metadata(format!("/proc/{}", child.id())).is_err() || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
            stat.contains(") Z ")
        }
    });
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_block_file_becomes_a_read_only_disk_of_its_size() {
    let dir = TempDir::new().unwrap();
    let (file, socket) = (dir.path().join("image"), dir.path().join("s"));
    let bytes = pattern(3 << 20, 77);
    fs::write(&file, &bytes).unwrap();
    let child = Command::new(VHOST_USER_RAMBLK)
        .args([
            "--read-only",
            "--blk-file",
            path(&file),
            "--socket-path",
            path(&socket),
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the socket is there", || {
        UnixStream::connect(&socket).is_ok()
    });
    let mut disk = Disk::attach_with(&socket, ALL, 1, 256);
    assert_eq!(disk.q().read(0, bytes.len()), Ok(bytes));
    assert_eq!(disk.q().read((3 << 20) / 512, 512), Err(IOERR), "the end");
    assert_eq!(disk.q().write(0, &[0; 512]), Err(IOERR));
    assert_eq!(end(child, Signal::TERM).0, Some(0));
}

#[test]
fn a_verb_waits_a_second_for_a_daemon_that_starts_and_ping_does_not() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("api.sock");
    let began = Instant::now();
    let pinged = run(RAMBLK, &["ping", "--api-socket", path(&socket)]);
    assert_eq!(pinged.status.code(), Some(6));
    let at_once = began.elapsed();
    let began = Instant::now();
    let in_vain = run(RAMBLK, &["list", "--api-socket", path(&socket)]);
    assert_eq!(in_vain.status.code(), Some(6));
    assert!(began.elapsed() >= Duration::from_secs(1).max(at_once));

    // The shell starts both at the same moment, as it does with a block that somebody pastes.
    let script = "cd \"$1\" && \"$0\" serve --run-dir . --api-socket api.sock 2>log & \
                  \"$0\" create vm1 --size 1M --api-socket \"$1/api.sock\"; code=$?; \
                  kill $!; wait; exit $code";
    let made = run("sh", &["-c", script, RAMBLK, path(folder.path())]);
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn a_processor_that_only_a_later_worker_would_have_ends_the_start_too() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("vhost.sock");
    let began = Instant::now();
    let words = "run --size 1M --workers 2 --pin 0,1000 --socket-path";
    let words: Vec<&str> = words.split(' ').chain([path(&socket)]).collect();
    let output = run(RAMBLK, &words);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("processor 1000") && said.contains("--pin"),
        "{said}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}
