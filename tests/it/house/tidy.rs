//! The architecture as a test: rooms and their one direction, where `unsafe` may stand, module
//! docs, and sizes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;

use super::imports::{self, Modules};

/// Each room and the rooms below it, which are all that it may import.
const ROOMS: [(&str, &[&str]); 12] = [
    ("store", &[]),
    ("crash", &["store"]),
    ("model", &[]),
    ("client", &["model"]),
    ("image", &["store"]),
    ("device", &["crash", "store"]),
    ("vhost_user", &["device", "store"]),
    ("nbd", &[]),
    (
        "daemon",
        &[
            "vhost_user",
            "device",
            "crash",
            "image",
            "nbd",
            "store",
            "model",
        ],
    ),
    ("load", &[]),
    ("remote", &["image"]),
    (
        "cli",
        &[
            "daemon", "crash", "client", "model", "image", "load", "nbd", "remote",
        ],
    ),
];

/// Files and folders beside each other that import each other in a circle. `mod` is the folder's
/// own file. `docs/internals/architecture.md` has the same circles, with a reason for each.
const CIRCLES: [(&str, &[&str]); 3] = [
    ("src/device/block", &["batch", "volume"]),
    ("src/device/block", &["counters", "stats"]),
    ("src/vhost_user/queue", &["ring", "taken"]),
];

/// Crates that only some rooms may name.
const CRATES: [(&str, &[&str]); 38] = [
    ("vhost", &["vhost_user", "load"]),
    ("virtio_queue", &["vhost_user"]),
    ("vm_memory", &["vhost_user"]),
    ("vmm_sys_util", &["vhost_user", "load"]),
    ("hdrhistogram", &["load"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("comfy_table", &["cli"]),
    ("humantime", &["cli"]),
    ("indicatif", &["cli"]),
    ("percent_encoding", &["client", "remote"]),
    ("ratatui", &["cli"]),
    ("toml", &["cli"]),
    ("tracing_journald", &["cli"]),
    ("tracing_subscriber", &["cli"]),
    ("blake3", &["daemon", "image", "cli"]),
    ("flate2", &["build", "image", "kept", "remote"]),
    ("liblzma", &["image"]),
    ("base64", &["remote"]),
    ("httpdate", &["remote"]),
    ("reqwest", &["remote"]),
    ("rustls", &["remote"]),
    ("zstd", &["image", "remote"]),
    ("landlock", &["daemon"]),
    ("seccompiler", &["daemon"]),
    ("syscalls", &["daemon"]),
    ("axum", &["daemon"]),
    ("tower", &["daemon"]),
    ("tower_http", &["daemon"]),
    ("utoipa", &["daemon", "model"]),
    ("utoipa_axum", &["daemon"]),
    ("prometheus_client", &["daemon"]),
    ("tokio_stream", &["daemon"]),
    ("tokio", &["daemon", "client", "remote"]),
    ("hyper", &["daemon", "client"]),
    ("hyper_util", &["daemon", "client"]),
    ("signal_hook", &["daemon", "load"]),
];

/// The only files that may say `unsafe`.
const UNSAFE_FILES: [&str; 29] = [
    "src/daemon/api/wire/peer.rs",
    "src/daemon/host/arenas.rs",
    "src/daemon/host/inherit.rs",
    "src/daemon/host/sandbox/attempt.rs",
    "src/daemon/host/sandbox/filter.rs",
    "src/daemon/host/sandbox/trap.rs",
    "src/device/block/clock.rs",
    "src/load/virtqueue/eventfd.rs",
    "src/load/virtqueue/memory.rs",
    "src/static_names.rs",
    "src/store/memory/arena.rs",
    "src/store/base/buf.rs",
    "src/store/base/copy.rs",
    "src/store/memory/mapping.rs",
    "src/vhost_user/queue/chain.rs",
    "src/vhost_user/queue/crash.rs",
    "src/vhost_user/queue/gather.rs",
    "src/vhost_user/memory/guard.rs",
    "src/vhost_user/queue/inflight.rs",
    "src/vhost_user/memory/mapping.rs",
    "src/vhost_user/wire/peek.rs",
    "src/vhost_user/queue/pieces.rs",
    "src/vhost_user/queue/split.rs",
    "src/vhost_user/workers/slice.rs",
    "src/vhost_user/wire/watchdog.rs",
    "tests/bench/yardstick.rs",
    "tests/bench_peers/stock.rs",
    "tests/it/driver/memory.rs",
    "tests/it/sessions/third_party/memory.rs",
];

const MOST_FILE_LINES: usize = 500;
const MOST_FUNCTION_LINES: usize = 70;
const MOST_COLUMNS: usize = 100;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of a folder, with its path from the root.
pub(crate) fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no Rust file");
    found.sort();
    found
}

fn all_sources() -> Vec<(String, String)> {
    [sources("src"), sources("tests")].concat()
}

/// Every identifier, and after each how many `::` follow it at once (0 or 1), in order.
fn words(text: &str) -> Vec<(String, bool)> {
    fn walk(tokens: TokenStream, into: &mut Vec<(String, bool)>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(ident) => {
                    let colon = |tree: Option<&TokenTree>| match tree {
                        Some(TokenTree::Punct(mark)) => mark.as_char() == ':',
                        _ => false,
                    };
                    let path = colon(tokens.get(at + 1)) && colon(tokens.get(at + 2));
                    into.push((ident.to_string(), path));
                }
                TokenTree::Group(group) => walk(group.stream(), into),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(text.parse().expect("tokens"), &mut found);
    found
}

/// The rooms above its own that a file names.
fn upward_imports(modules: &Modules, file: &str) -> Vec<String> {
    let room = file.split('/').nth(1).expect("a room");
    let (_, below) = ROOMS
        .iter()
        .find(|(name, _)| *name == room)
        .expect("a room");
    let rooms = ROOMS.map(|(name, _)| name);
    modules
        .rooms_named_by(file)
        .into_iter()
        .filter(|name| rooms.contains(&name.as_str()))
        .filter(|name| name != room && !below.contains(&name.as_str()))
        .collect()
}

fn says_unsafe(text: &str) -> bool {
    words(text).iter().any(|(word, _)| word == "unsafe")
}

fn has_module_doc(text: &str) -> bool {
    text.lines()
        .next()
        .is_some_and(|line| line.starts_with("//! ") && line.len() > 12)
}

/// Functions of more lines than a screen has.
fn long_functions(text: &str) -> Vec<String> {
    struct Functions(Vec<String>);
    impl Functions {
        fn look(&mut self, name: &syn::Ident, body: &syn::Block) {
            let lines = body.span().end().line - body.span().start().line + 1;
            if lines > MOST_FUNCTION_LINES {
                self.0.push(format!("{name} has {lines} lines"));
            }
        }
    }
    impl<'a> Visit<'a> for Functions {
        fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
            self.look(&function.sig.ident, &function.block);
            syn::visit::visit_item_fn(self, function);
        }
        fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
            self.look(&function.sig.ident, &function.block);
            syn::visit::visit_impl_item_fn(self, function);
        }
    }
    let mut functions = Functions(Vec::new());
    functions.visit_file(&syn::parse_file(text).expect("Rust"));
    functions.0
}

/// The files of rooms.
fn rooms() -> Vec<(String, String)> {
    let mut files = sources("src");
    files.retain(|(name, _)| name.split('/').count() > 2 && !name.starts_with("src/bin/"));
    files
}

#[test]
fn no_room_imports_from_above() {
    let files = rooms();
    let modules = Modules::read(&files);
    for (name, _) in &files {
        let upward = upward_imports(&modules, name);
        assert!(upward.is_empty(), "{name} imports {upward:?}");
    }
}

/// Sub-rooms, and files beside each other, import in one direction.
#[test]
fn files_name_each_other_in_listed_circles_only() {
    let files = rooms();
    let modules = Modules::read(&files);
    let circles = imports::circles(&modules.edges());
    let is_listed = |folder: &str, names: &[String]| {
        let mut listed = CIRCLES.iter().filter(|(listed, _)| *listed == folder);
        listed.any(|(_, members)| names.iter().all(|name| members.contains(&name.as_str())))
    };
    for (folder, names) in &circles {
        assert!(is_listed(folder, names), "a circle in {folder}: {names:?}");
    }
    for (folder, members) in &CIRCLES {
        let is_there = circles.iter().any(|(other, names)| {
            other == folder && members.iter().all(|name| names.iter().any(|at| at == name))
        });
        assert!(is_there, "no circle of {members:?} in {folder} any more");
    }
}

/// The rows of the tables in `text` whose first column has one of these `heads`: the names between
/// backticks in the first cell, and the second cell.
fn table(text: &str, heads: &[&str]) -> Vec<(Vec<String>, String)> {
    let mut rows = Vec::new();
    let mut is_wanted = None;
    for line in text.lines() {
        let line = line.trim_start_matches("//!").trim();
        let Some(cells) = line.strip_prefix('|') else {
            is_wanted = None;
            continue;
        };
        let mut cells = cells.split('|').map(str::trim);
        let (first, second) = (cells.next().unwrap(), cells.next().unwrap_or_default());
        if *is_wanted.get_or_insert_with(|| heads.contains(&first)) {
            let names = first.split('`').skip(1).step_by(2).map(str::to_owned);
            rows.push((names.collect::<Vec<String>>(), second.to_owned()));
        }
    }
    // Without the head of each table, and the line below it.
    rows.retain(|(names, _)| !names.is_empty());
    rows
}

#[test]
fn the_page_of_the_architecture_has_exactly_the_circles_that_stay() {
    let page = fs::read_to_string(root().join("docs/internals/architecture.md")).unwrap();
    let rows = table(&page, &["circle"]);
    let listed: BTreeSet<Vec<String>> = rows
        .iter()
        .map(|(names, reason)| {
            assert!(reason.len() > 10, "no reason for {names:?}");
            let mut names = names.clone();
            names[1..].sort();
            names
        })
        .collect();
    let known = CIRCLES.map(|(folder, members)| {
        let folder = folder.trim_start_matches("src/");
        [&[folder][..], members]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
    });
    assert_eq!(listed, BTreeSet::from(known));
    assert_eq!(listed.len(), rows.len(), "a circle stands there twice");
}

/// What a folder's table lacks of its files and folders, and what it has too many.
fn table_faults(folder: &str, table_of: &str, files: &[(String, String)]) -> Vec<String> {
    let named: BTreeSet<String> = table(table_of, &["file", "folder"])
        .into_iter()
        .flat_map(|(names, _)| names)
        .filter(|name| name != "mod")
        .collect();
    let there: BTreeSet<String> = files
        .iter()
        .filter_map(|(name, _)| name.strip_prefix(&format!("{folder}/")))
        .map(|name| name.split('/').next().unwrap().trim_end_matches(".rs"))
        .filter(|name| *name != "mod")
        .map(str::to_owned)
        .collect();
    let lacks = there.difference(&named);
    let lacks = lacks.map(|name| format!("{folder}: its table lacks `{name}`"));
    let gone = named.difference(&there);
    let gone = gone.map(|name| format!("{folder}: its table names `{name}`, which is not there"));
    lacks.chain(gone).collect()
}

#[test]
fn every_folder_has_a_table_of_exactly_its_files() {
    let files = sources("src");
    let mut faults = Vec::new();
    for (name, text) in &files {
        if let Some(folder) = name.strip_suffix("/mod.rs") {
            faults.extend(table_faults(folder, text, &files));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn crates_of_some_rooms_stay_in_them() {
    for (name, text) in sources("src") {
        for (word, path) in words(&text) {
            let owner = CRATES.iter().find(|(krate, _)| *krate == word && path);
            if let Some((krate, rooms)) = owner {
                let at_home = |room: &&str| {
                    name.starts_with(&format!("src/{room}/")) || name == format!("src/{room}.rs")
                };
                assert!(
                    rooms.iter().any(at_home),
                    "{name} names {krate}, which belongs to {rooms:?}"
                );
            }
        }
    }
}

#[test]
fn unsafe_stands_in_the_listed_files_only() {
    for (name, text) in all_sources() {
        let listed = UNSAFE_FILES.contains(&name.as_str());
        assert_eq!(
            says_unsafe(&text),
            listed,
            "{name}: `unsafe`, and being on the list"
        );
    }
}

/// In a static program rustix finds no vDSO, and makes a system call of each look at the clock.
/// That was a quarter of the time that a request took which came alone.
#[test]
fn the_data_path_looks_at_the_clock_without_a_system_call() {
    for room in ["store", "device", "vhost_user"] {
        for (name, text) in sources(&format!("src/{room}")) {
            let by_rustix = text.contains("clock_gettime") && name != "src/device/block/clock.rs";
            assert!(!by_rustix, "{name}: take Instant, or device/block/clock.rs");
        }
    }
}

#[test]
fn every_file_begins_with_what_it_is() {
    for (name, text) in all_sources() {
        assert!(
            has_module_doc(&text),
            "{name} does not begin with a //! line"
        );
    }
}

#[test]
fn files_functions_and_lines_have_an_end() {
    let mut faults = Vec::new();
    for (name, text) in all_sources() {
        let lines = text.lines().count();
        if lines > MOST_FILE_LINES {
            faults.push(format!("{name} has {lines} lines"));
        }
        for (at, line) in text.lines().enumerate() {
            if line.chars().count() > MOST_COLUMNS {
                faults.push(format!("{name}:{} is too wide", at + 1));
            }
        }
        for long in long_functions(&text) {
            faults.push(format!("{name}: {long}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_checks_themselves_can_fail() {
    let upward = |room: &str, text: &str| {
        let file = format!("src/{room}/part/file.rs");
        upward_imports(&Modules::read(&[(file.clone(), text.to_owned())]), &file)
    };
    assert_eq!(upward("store", "use crate::device::Status;"), ["device"]);
    assert_eq!(upward("device", "use crate::{store, daemon};"), ["daemon"]);
    assert_eq!(upward("device", "fn f() { crate::cli::ramblk() }"), ["cli"]);
    assert_eq!(
        upward("store", "use super::super::super::{device as d};"),
        ["device"]
    );
    assert_eq!(
        upward(
            "store",
            "mod m { pub use super::super::super::super::load::*; }"
        ),
        ["load"]
    );
    assert_eq!(
        upward("store", "fn f() { call!(crate::daemon::run(1)) }"),
        ["daemon"]
    );
    assert!(upward("daemon", "use crate::store::Store;").is_empty());
    assert!(upward("store", "use super::device::Status; fn f() { device::g() }").is_empty());
    let circle = |c: &str| {
        let file = |name: &str, text: &str| (format!("src/store/{name}.rs"), text.to_owned());
        let files = [
            file("mod", "pub use a::Type; pub use b::b;"),
            file("a", "use super::b; fn a() { b::c::g() }"),
            file("b/mod", "pub fn b() {}"),
            file("b/c", c),
        ];
        imports::circles(&Modules::read(&files).edges())
    };
    let found = BTreeSet::from([("src/store".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
    assert_eq!(circle("use crate::store::Type;"), found);
    assert_eq!(circle("use super::super::a::{self, Type};"), found);
    assert_eq!(circle("fn g(of: super::super::Type) {}"), found);
    assert_eq!(circle("pub(crate) use super::super::a::Type;"), found);
    assert!(circle("use super::b; mod tests { use crate::store::a; }").is_empty());
    let handed_on = |text: &str| {
        let d = "use super::a::c::f;";
        let files = [("mod", ""), ("a/mod", text), ("a/c", ""), ("d", d)];
        let files = files.map(|(name, text)| (format!("src/store/{name}.rs"), text.to_owned()));
        imports::circles(&Modules::read(&files).edges())
    };
    assert!(handed_on("pub use c::Type; mod m { pub use super::c::f; }").is_empty());
    assert_eq!(handed_on("pub use super::d::Type;").len(), 1);
    let files = ["m/a.rs", "m/b/mod.rs", "m/b/c.rs", "m/mod.rs", "n/d.rs"];
    let files = files.map(|name| (name.to_owned(), String::new()));
    let listing = "//! What.\n//!\n//! | file | holds |\n//! |---|---|\n//! | `a`, `x` | `y` |";
    assert_eq!(
        table_faults("m", listing, &files),
        [
            "m: its table lacks `b`",
            "m: its table names `x`, which is not there"
        ]
    );
    let blocks = "//! | file | holds |\n//! |---|---|\n//! | `a` | |\n//! | `b` | |\n//!\n\
                  //! | block | holds |\n//! |---|---|\n//! | `z` | |";
    assert!(table_faults("m", blocks, &files).is_empty());
    assert!(says_unsafe("fn f() { unsafe { g() } }"));
    assert!(!says_unsafe(
        "#![allow(unsafe_code)] // unsafe\nfn f() { \"unsafe\"; }"
    ));
    assert!(!has_module_doc("use std::fs;"));
    let long = format!("fn f() {{\n{}}}", "g();\n".repeat(MOST_FUNCTION_LINES));
    assert_eq!(long_functions(&long).len(), 1);
}
