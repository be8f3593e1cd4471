//! The configuration file (TOML): `[daemon]`, `[[group]]` and `[[disk]]`. Sizes are numbers of
//! bytes or strings as on the command line. An unknown key is an error, which names the line and
//! the known keys.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | the file as a whole, its section `[daemon]`, and its errors |
//! | `declared` | the sections `[[group]]` and `[[disk]]`, from and to the API's types |
//! | `history` | the history of a disk as the file writes it |
//! | `mistakes` | all mistakes of a file, for `serve --check` |
//! | `told` | a mistake in words, with its line and its key |
//! | `values` | sizes, modes and processors as the file writes them |

mod declared;
mod history;
mod mistakes;
mod told;
mod values;

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::declared::{Exported, FileDisk, FileGroup};
pub(in crate::cli) use self::mistakes::examine_file;
pub(in crate::cli) use self::told::Mistake;
pub(in crate::cli) use self::values::{Mode, Pin, Sandbox, Size};
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
    /// Path of the socket for clients that only read.
    pub(in crate::cli) api_ro_socket: Option<PathBuf>,
    /// Mode of that socket, as in `"0660"`.
    pub(in crate::cli) api_ro_mode: Option<Mode>,
    /// Group of that socket.
    pub(in crate::cli) api_ro_group: Option<String>,
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
    /// Where to serve metrics over TCP, as in `"127.0.0.1:9111"`.
    pub(in crate::cli) metrics_listen: Option<SocketAddr>,
    /// Labels that metrics have.
    pub(in crate::cli) metrics_labels: Option<Vec<String>>,
    /// What the daemon can still do once it has started.
    pub(in crate::cli) sandbox: Option<Sandbox>,
}

/// The keys of `[daemon]`.
pub(in crate::cli) const DAEMON_KEYS: [&str; 18] = [
    "run_dir",
    "api_socket",
    "api_ro_socket",
    "api_ro_mode",
    "api_ro_group",
    "state_dir",
    "lock_memory",
    "memory_limit",
    "huge_pages",
    "workers",
    "pin",
    "poll_us",
    "import_timeout",
    "socket_mode",
    "socket_group",
    "metrics_listen",
    "metrics_labels",
    "sandbox",
];

/// The keys of a disk, as the reader itself tells them.
#[cfg(test)]
pub(in crate::cli) fn disk_keys() -> Vec<String> {
    known_keys("[[disk]]\nname = \"a\"\n")
}

#[cfg(test)]
fn known_keys(table: &str) -> Vec<String> {
    let wrong = toml::from_str::<WholeFile>(&format!("{table}no_such_key = 1\n"));
    let told = wrong
        .map(|_| ())
        .map_err(|error| error.message().to_owned());
    let told = told.err().unwrap_or_default();
    let keys = told.split('`').skip(1).step_by(2).map(str::to_owned);
    keys.filter(|key| key != "no_such_key").collect()
}

/// Parse a file. `path` is for messages.
///
/// # Errors
/// A message of one line, with the number of the line.
pub(in crate::cli) fn parse_file(text: &str, path: &Path) -> Result<File, String> {
    toml::de::Deserializer::parse(text)
        .and_then(read_parsed)
        .map(File::from)
        .map_err(|error| format!("{}: {}", path.display(), told::told(text, &error)))
}

/// Read a parsed file. All that reads files reads them here, so that this code is there once.
fn read_parsed(parsed: toml::de::Deserializer<'_>) -> Result<WholeFile, toml::de::Error> {
    WholeFile::deserialize(parsed)
}

/// Read and parse a file, or stdin if it is `-`.
///
/// # Errors
/// It can't be read or parsed.
pub(in crate::cli) fn read_file(path: &Path) -> Result<File, Error> {
    parse_file(&read_text(path)?, path).map_err(Error::Usage)
}

fn read_text(path: &Path) -> Result<String, Error> {
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
    Ok(text)
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

impl From<WholeFile> for File {
    fn from(whole: WholeFile) -> Self {
        Self {
            daemon: whole.daemon,
            declaration: Declaration {
                groups: whole.group.into_iter().map(Into::into).collect(),
                disks: whole.disk.into_iter().map(Into::into).collect(),
            },
        }
    }
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

    #[test]
    fn the_keys_of_the_daemon_are_all_that_the_reader_knows() {
        let mut known = known_keys("[daemon]\n");
        let mut named = DAEMON_KEYS.map(str::to_owned);
        known.sort();
        named.sort();
        assert_eq!(known, named);
        assert!(disk_keys().len() > 15, "{:?}", disk_keys());
    }

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

    /// The keys that a table has, which the error about a wrong one lists.
    fn keys(table: &str) -> Vec<String> {
        let error = parse(&table.replace('?', "no_such_key = 1")).unwrap_err();
        let (_, listed) = error.split_once("expected ").unwrap();
        let listed = listed.lines().next().unwrap();
        let listed = listed.split('`').skip(1).step_by(2).map(str::to_owned);
        // Names for programs: people write the shorter ones.
        listed.filter(|key| !key.contains("_bytes")).collect()
    }

    #[test]
    fn the_sample_that_packages_install_has_every_key_and_is_read_with_and_without_them() {
        let sample = include_str!("../../../scripts/packaging/ramblk.toml");
        assert_eq!(parse(sample).unwrap(), File::default());
        // With each key that is commented out.
        let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
        let whole: Vec<&str> = sample
            .lines()
            .map(|line| {
                line.strip_prefix('#')
                    .filter(|rest| is_key(rest))
                    .unwrap_or(line)
            })
            .collect();
        let file = parse(&whole.join("\n")).unwrap();
        assert_eq!(file.daemon.memory_limit, Some(Size(8 << 30)));
        let (groups, disks) = (file.declaration.groups.len(), file.declaration.disks.len());
        assert_eq!((groups, disks), (1, 1));
        for (table, least) in [
            ("[daemon]\n?", 14),
            ("[[group]]\nname = \"a\"\n?", 2),
            ("[[disk]]\nname = \"a\"\n?", 20),
            ("[[group]]\nname = \"a\"\nlimits = { ? }", 3),
            ("[[group]]\nname = \"a\"\nlimits = { total = { ? } }", 3),
            ("[[disk]]\nname = \"a\"\nhistory = { ? }", 3),
        ] {
            let keys = keys(table);
            assert!(keys.len() >= least, "{table}: {keys:?}");
            for key in keys {
                let is_there = |line: &&str| {
                    let words = line.split_whitespace().next() != Some("#");
                    words && line.split(['{', ',', ' ']).any(|word| word == key)
                };
                assert!(whole.iter().any(is_there), "{key} is missing");
            }
        }
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
            assert!(error.starts_with("disks.toml: line "), "{error}");
            assert!(!error.contains('\n'), "{error}");
            for hint in hints {
                assert!(error.contains(hint), "{text}: {error}");
            }
        }
    }
}
