//! The configuration file (TOML): `[daemon]`, `[[group]]` and `[[disk]]`. Sizes are numbers of
//! bytes or strings as on the command line. An unknown key is an error, which names the line and
//! the known keys.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | the file as a whole, its section `[daemon]`, and its errors |
//! | `declared` | the sections `[[group]]` and `[[disk]]`, from and to the API's types |
//! | `history` | the history of a disk as the file writes it |
//! | `values` | sizes, modes and processors as the file writes them |

mod declared;
mod history;
mod values;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::declared::{Exported, FileDisk, FileGroup};
pub(in crate::cli) use self::values::{Mode, Pin, Size};
use crate::cli::error::Error;
use crate::model::{Config, Declaration};

/// The longest configuration that is read.
const MOST_BYTES: u64 = 64 << 20;

/// The content of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct File {
    /// Options of the daemon; only `serve` uses them.
    pub(in crate::cli) daemon: DaemonTable,
    /// Declared disks and groups.
    pub(in crate::cli) declaration: Declaration,
}

/// Options of the daemon, which those of `ramblk serve` override.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::cli) struct DaemonTable {
    /// Path of the API's socket.
    pub(in crate::cli) api_socket: Option<PathBuf>,
    /// Directory of the disks' sockets.
    pub(in crate::cli) run_dir: Option<PathBuf>,
    /// Directory of what outlives a restart, or `none`, or `systemd`.
    pub(in crate::cli) state_dir: Option<String>,
    /// Whether to lock the disks' memory.
    pub(in crate::cli) lock_memory: Option<bool>,
    /// The most memory that all disks may take, in bytes.
    pub(in crate::cli) memory_limit: Option<Size>,
    /// Threads that serve queues.
    pub(in crate::cli) workers: Option<u16>,
    /// The longest time to poll an empty queue, in microseconds.
    pub(in crate::cli) poll_us: Option<u32>,
    /// Whether to use huge pages.
    pub(in crate::cli) huge_pages: Option<bool>,
    /// Mode of the sockets, as in `"0660"`.
    pub(in crate::cli) socket_mode: Option<Mode>,
    /// Group of the sockets.
    pub(in crate::cli) socket_group: Option<String>,
    /// How long a disk waits for its first content while no client sends any, in seconds.
    pub(in crate::cli) import_timeout: Option<u64>,
    /// Processors of the workers, as in `"2,4-7"`.
    pub(in crate::cli) pin: Option<Pin>,
}

/// Parse a file. `path` is for messages.
///
/// # Errors
/// A message of one line, or of several that show the place.
pub(in crate::cli) fn parse_file(text: &str, path: &Path) -> Result<File, String> {
    let whole: WholeFile = toml::from_str(text)
        .map_err(|error| format!("{}: {}", path.display(), error.to_string().trim_end()))?;
    let declaration = Declaration {
        groups: whole.group.into_iter().map(Into::into).collect(),
        disks: whole.disk.into_iter().map(Into::into).collect(),
    };
    Ok(File {
        daemon: whole.daemon,
        declaration,
    })
}

/// Read and parse a file, or stdin if it is `-`.
///
/// # Errors
/// It can't be read or parsed.
pub(in crate::cli) fn read_file(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::File {
        what: "read",
        path: path.to_owned(),
        source,
    };
    let mut from: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(fs::File::open(path).map_err(failed)?)
    };
    let mut text = String::new();
    let read = from.by_ref().take(MOST_BYTES).read_to_string(&mut text);
    read.map_err(failed)?;
    parse_file(&text, path).map_err(Error::Usage)
}

/// Groups and disks as a file that [`parse_file`] reads back.
///
/// # Errors
/// It can't be written as TOML, which is true of no valid configuration.
pub(in crate::cli) fn write_config(config: &Config) -> Result<String, String> {
    let whole = Exported::from(config.clone());
    toml::to_string(&whole).map_err(|error| format!("can't write this as TOML: {error}"))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WholeFile {
    daemon: DaemonTable,
    group: Vec<FileGroup>,
    disk: Vec<FileDisk>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::cli::values::cpus::Cpus;
    use crate::model::{ConfigDisk, ConfigGroup, DeclaredDisk, DiskSettings, Limits, OnFull};

    const EXAMPLE: &str = r#"
        [daemon]
        memory_limit = "8G"
        poll_us = 0
        socket_mode = "0600"
        pin = "1,3-4"

        [[group]]
        name = "tenants"
        limits = { total = { bytes_per_second = "1G" } }

        [[disk]]
        name = "scratch"
        size = "10G"
        quota = "1.5G"
        on_full = "stall"
        group = "tenants"
        labels = { vm = "web-1" }
        limits = { read = { iops = 1000, iops_burst = 50 }, write = { bytes_per_second = "100M" } }

        [[disk]]
        name = "plain"
        size_bytes = 1048576
    "#;

    fn parse(text: &str) -> Result<File, String> {
        parse_file(text, Path::new("disks.toml"))
    }

    #[test]
    fn a_file_says_what_the_command_line_says() {
        let File {
            daemon,
            declaration,
        } = parse(EXAMPLE).unwrap();
        assert_eq!(daemon.memory_limit, Some(Size(8 << 30)));
        assert_eq!((daemon.poll_us, daemon.workers), (Some(0), None));
        assert_eq!(daemon.socket_mode, Some(Mode(0o600)));
        assert_eq!(daemon.pin, Some(Pin(Cpus(vec![1, 3, 4]))));
        let group = declaration.groups[0].limits.over(Limits::default());
        assert_eq!(group.total.bytes_per_second, Some(1 << 30));
        let scratch = &declaration.disks[0];
        assert_eq!(scratch.name, "scratch");
        let settings = scratch.over(DiskSettings::new(0));
        assert_eq!(settings.size_bytes, 10 << 30);
        assert_eq!(settings.quota_bytes, Some(3 << 29));
        assert_eq!(settings.on_full, OnFull::Stall);
        assert_eq!(settings.labels["vm"], "web-1");
        assert_eq!(settings.limits.read.iops_burst, Some(50));
        assert_eq!(settings.limits.write.bytes_per_second, Some(100 << 20));
        let plain = DeclaredDisk {
            name: "plain".into(),
            size_bytes: Some(1 << 20),
            ..DeclaredDisk::default()
        };
        assert_eq!(declaration.disks[1], plain);
    }

    #[test]
    fn none_and_false_take_away() {
        let text = r#"
            [[disk]]
            name = "a"
            quota = "none"
            group = "none"
            labels = { vm = false }
            limits = { read = { iops = "none", bytes_per_second = "none" } }
        "#;
        let declared = parse(text).unwrap().declaration;
        let wanted = r#"{"name": "a", "quota_bytes": null, "group": null, "labels": {"vm": null},
            "limits": {"read": {"iops": null, "bytes_per_second": null}}}"#;
        let wanted: DeclaredDisk = serde_json::from_str(wanted).unwrap();
        assert_eq!(declared.disks, [wanted]);
        for wrong in [
            "quota = \"nothing\"",
            "labels = { vm = true }",
            "size = \"none\"",
        ] {
            let text = format!("[[disk]]\nname = \"a\"\n{wrong}");
            assert!(parse(&text).unwrap_err().contains("line 3"), "{wrong}");
        }
    }

    #[test]
    fn what_is_exported_declares_the_same() {
        let declared = parse(EXAMPLE).unwrap().declaration;
        let disks = declared.disks.iter().map(|disk| ConfigDisk {
            name: disk.name.clone(),
            settings: disk.over(DiskSettings::new(0)),
        });
        let groups = declared.groups.iter().map(|group| ConfigGroup {
            name: group.name.clone(),
            limits: group.limits.over(Limits::default()),
        });
        let config = Config {
            groups: groups.collect(),
            disks: disks.collect(),
        };
        let text = write_config(&config).unwrap();
        assert_eq!(parse(&text).unwrap().declaration, declared, "{text}");
        assert!(text.contains("size = \"10G\""), "{text}");
        assert!(
            !text.contains("block_size"),
            "defaults are left out: {text}"
        );
        assert_eq!(write_config(&Config::default()).unwrap(), "");
    }

    #[test]
    fn mistakes_are_shown_with_their_line_and_what_would_be_right() {
        for (text, hints) in [
            (
                "[[disk]]\nname = \"a\"\nsiez = \"1G\"",
                ["line 3", "`size`"],
            ),
            (
                "[[disk]]\nname = \"a\"\nsize = \"1GB\"",
                ["line 3", "write 1G"],
            ),
            ("[[disk]]\nname = \"a\"\nsize = -1", ["line 3", "negative"]),
            ("[[disk]]\nsize = 1", ["line 1", "missing field `name`"]),
            ("[daemon]\nsocket_mode = \"rw\"", ["line 2", "0660"]),
            ("[daemon]\ncolour = 1", ["line 2", "`poll_us`"]),
            ("[disks]\n", ["line 1", "`disk`"]),
            (
                "[[disk]]\nname = \"a\"\nsize = 1\nsize_bytes = 2",
                ["line 1", "duplicate"],
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("disks.toml: "), "{error}");
            for hint in hints {
                assert!(error.contains(hint), "{text}: {error}");
            }
        }
    }
}
