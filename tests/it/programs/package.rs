//! What packages install: the tree that `scripts/package` makes, with the program of this build.
//! `scripts/check-package` tries the packages themselves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");

/// The tree of all packages.
fn staged() -> TempDir {
    let folder = TempDir::new().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package");
    let output = Command::new(script)
        .args(["--stage", RAMBLK])
        .arg(folder.path().join("tree"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    folder
}

/// The text of a file, unpacked if it is compressed.
fn text(path: &Path) -> String {
    let output = Command::new("zcat").arg("-f").arg(path).output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", path.display());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_tree_of_the_packages_has_all_that_a_host_needs() {
    let folder = staged();
    let tree = folder.path().join("tree");
    for (name, wanted) in [
        ("etc/apparmor.d/ramblk-serve", "profile ramblk-serve"),
        ("etc/ramblk/ramblk.toml", "[daemon]"),
        (
            "usr/lib/systemd/system/ramblk.service",
            "ExecStart=/usr/bin/ramblk serve",
        ),
        ("usr/lib/systemd/system/ramblk.socket", "ListenStream="),
        (
            "usr/lib/systemd/system/ramblk-ro.socket",
            "FileDescriptorName=api-ro",
        ),
        ("usr/lib/sysusers.d/ramblk.conf", "u ramblk"),
        ("usr/lib/tmpfiles.d/ramblk.conf", "d /run/ramblk"),
        ("usr/share/bash-completion/completions/ramblk", "_ramblk"),
        (
            "usr/share/fish/vendor_completions.d/ramblk.fish",
            "complete --command ramblk",
        ),
        ("usr/share/zsh/site-functions/_ramblk", "#compdef ramblk"),
        ("usr/share/man/man1/ramblk.1.gz", ".TH ramblk 1"),
        ("usr/share/man/man1/ramblk-serve.1.gz", "memory\\-limit"),
        ("usr/share/doc/ramblk/README.md", "# ramblk"),
        (
            "usr/share/doc/ramblk/docs/guide/operations.md",
            "# Running a daemon",
        ),
        ("usr/share/doc/ramblk/changelog.gz", "# Changelog"),
        ("usr/share/doc/ramblk/LICENSE-APACHE", "Apache License"),
        ("usr/share/doc/ramblk/LICENSE-MIT", "MIT License"),
        ("usr/share/doc/ramblk/THIRD-PARTY.gz", "\nzstd-sys "),
    ] {
        let path = tree.join(name);
        assert!(text(&path).contains(wanted), "{name} lacks {wanted:?}");
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o777,
            0o644,
            "{name}"
        );
    }
    let program = tree.join("usr/bin/ramblk");
    assert_eq!(
        program.metadata().unwrap().permissions().mode() & 0o777,
        0o755
    );
    // What QEMU's description names is there and answers as QEMU expects.
    let description = text(&tree.join("usr/share/qemu/vhost-user/50-ramblk-block.json"));
    let description: serde_json::Value = serde_json::from_str(&description).unwrap();
    let named = description["binary"].as_str().unwrap();
    let output = Command::new(tree.join(named.trim_start_matches('/')))
        .arg("--print-capabilities")
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["type"], "block");
}

#[test]
fn ramblk_by_the_name_of_the_back_end_program_is_that_program() {
    let folder = TempDir::new().unwrap();
    let link = folder.path().join("vhost-user-ramblk");
    symlink(RAMBLK, &link).unwrap();
    let help = Command::new(&link).arg("--help").output().unwrap();
    let own = Command::new(env!("CARGO_BIN_EXE_vhost-user-ramblk"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(own.status.success());
    assert_eq!(
        String::from_utf8_lossy(&help.stdout),
        String::from_utf8_lossy(&own.stdout)
    );
}

#[test]
fn scripts_of_the_packages_are_sound_shell_for_each_layout_of_this_version() {
    // The layouts come from the store's source: a script with an empty number would refuse nothing.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let limits = fs::read_to_string(root.join("src/store/base/limits.rs")).unwrap();
    for name in ["OLDEST_LAYOUT", "LAYOUT"] {
        let line = format!("pub(crate) const {name}: u64 = ");
        let (_, rest) = limits.split_once(&line).unwrap();
        let (number, _) = rest.split_once(';').unwrap();
        assert!(number.parse::<u64>().unwrap() > 0, "{name}");
    }
    let functions = fs::read_to_string(root.join("scripts/packaging/functions.sh")).unwrap();
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        let text = fs::read_to_string(root.join("scripts/packaging/deb").join(script)).unwrap();
        assert!(text.contains("\n#FUNCTIONS#\n"), "{script}");
        let folder = TempDir::new().unwrap();
        let whole = folder.path().join(script);
        fs::write(&whole, text.replace("#FUNCTIONS#", &functions)).unwrap();
        let output = Command::new("dash").arg("-n").arg(&whole).output();
        let output = output.or_else(|_| Command::new("sh").arg("-n").arg(&whole).output());
        let output = output.unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
    }
}
