//! The tables in `docs`, compared with the code: the functions and tests that they name exist, the
//! built program offers exactly what they say, every message that the session handles has a row,
//! and so has every test switch and variable.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use syn::visit::Visit;
use vhost::vhost_user::message::FrontendReq;

use super::tidy::{root, sources};
use crate::driver::client::{Client, PATIENCE, code};
use crate::driver::disk::ALL;
use crate::driver::wire::{Answer, NEED_REPLY};
use crate::harness::Ramblk;

const PAGES: [&str; 2] = [
    "docs/internals/virtio-blk.md",
    "docs/internals/vhost-user.md",
];

/// A table of a page: each row by the names of its columns.
pub(super) type Row = BTreeMap<String, String>;

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_matches('|');
    inner
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

/// Every row of every table of a page.
fn rows(page: &str) -> Vec<Row> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let mut found = Vec::new();
    let mut columns: Option<Vec<String>> = None;
    for line in text.lines() {
        if !line.starts_with('|') {
            columns = None;
        } else if let Some(columns) = &columns {
            let cells = cells(line);
            assert_eq!(cells.len(), columns.len(), "{page}, cells of: {line}");
            if !line.starts_with("|--") {
                found.push(columns.iter().cloned().zip(cells).collect());
            }
        } else {
            columns = Some(cells(line));
        }
    }
    found
}

/// The rows of the tables with this `column`, which says what the table is about.
pub(super) fn table(page: &str, column: &str) -> Vec<Row> {
    let mut rows = rows(page);
    rows.retain(|row| row.contains_key(column));
    assert!(!rows.is_empty(), "{page} has no table with a {column}");
    rows
}

/// The names in a cell: the text between backticks.
pub(super) fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// What the source defines: functions as `Type::name` or `module::name`, and tests.
#[derive(Default)]
struct Defined {
    functions: BTreeSet<String>,
    tests: BTreeSet<String>,
    /// The current file, and the type whose methods are being visited.
    module: String,
    owner: Option<String>,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|a| a.path().is_ident("test"))
}

fn type_name(of: &syn::Type) -> Option<String> {
    match of {
        syn::Type::Path(path) => {
            let last = path.path.segments.last()?;
            match &last.arguments {
                // A trait implemented for `Arc<T>` counts as a method of `T`.
                syn::PathArguments::AngleBracketed(inner) if last.ident == "Arc" => {
                    match inner.args.first()? {
                        syn::GenericArgument::Type(of) => type_name(of),
                        _ => None,
                    }
                }
                _ => Some(last.ident.to_string()),
            }
        }
        _ => None,
    }
}

impl<'a> Visit<'a> for Defined {
    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        let name = function.sig.ident.to_string();
        if is_test(&function.attrs) {
            self.tests.insert(name);
        } else {
            self.functions.insert(format!("{}::{name}", self.module));
        }
    }

    fn visit_item_impl(&mut self, implementation: &'a syn::ItemImpl) {
        self.owner = type_name(&implementation.self_ty);
        syn::visit::visit_item_impl(self, implementation);
        self.owner = None;
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        if let Some(owner) = &self.owner {
            let name = &function.sig.ident;
            self.functions.insert(format!("{owner}::{name}"));
        }
    }
}

impl Defined {
    fn in_folder(folder: &str) -> Self {
        Self::in_files(sources(folder))
    }

    fn in_files(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut defined = Self::default();
        for (name, text) in files {
            let stem = name.trim_end_matches("/mod.rs").trim_end_matches(".rs");
            defined.module = stem.rsplit('/').next().unwrap().to_owned();
            defined.visit_file(&syn::parse_file(&text).unwrap());
        }
        defined
    }
}

#[test]
fn functions_and_tests_named_in_the_tables_exist_and_no_row_lacks_either() {
    let source = Defined::in_folder("src");
    let tests = Defined::in_folder("tests").tests;
    let all_tests: BTreeSet<&String> = source.tests.union(&tests).collect();
    let mut wrong = Vec::new();
    for page in PAGES {
        let rows = rows(page);
        assert!(rows.len() > 50, "the tables of {page} are gone");
        for row in rows {
            let named = |column: &str| -> Vec<String> {
                let cell = row.get(column).map_or("", String::as_str);
                names(cell).into_iter().map(str::to_owned).collect()
            };
            let (functions, tests) = (named("function"), named("test"));
            if functions.is_empty() || tests.is_empty() {
                wrong.push(format!("{page}: no function or no test: {row:?}"));
            }
            let missing_function = |name: &&String| !source.functions.contains(*name);
            let missing_test = |name: &&String| !all_tests.contains(*name);
            let missing = functions.iter().filter(missing_function);
            let missing = missing.chain(tests.iter().filter(missing_test));
            wrong.extend(missing.map(|name| format!("{page}: {name} does not exist")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The bits that a table says are offered by a disk started with `option`, if any.
fn offered(column: &str, option: Option<&str>) -> u64 {
    let mut bits = 0;
    for row in table("docs/internals/vhost-user.md", column) {
        let bit: u32 = row["bit"].parse().unwrap();
        let when = row["offered"].as_str();
        let told = option.is_some_and(|option| when == format!("with `{option}`"));
        let known = ["always", "no"].contains(&when) || when.starts_with("with `--");
        assert!(known, "{column} {bit} is offered {when}?");
        assert_eq!(bits & 1 << bit, 0, "{column} {bit} has two rows");
        bits |= u64::from(when == "always" || told) << bit;
    }
    bits
}

#[test]
fn the_features_in_the_table_are_those_that_the_program_offers() {
    let options = table("docs/internals/vhost-user.md", "feature");
    let options = options.iter().filter_map(|row| {
        let option = names(row["offered"].as_str()).first().copied()?;
        Some(option.to_owned())
    });
    let options: BTreeSet<Option<String>> = options.map(Some).chain([None]).collect();
    assert!(options.len() >= 3, "{options:?}");
    for option in &options {
        let ramblk = Ramblk::run(&option.as_deref().into_iter().collect::<Vec<_>>());
        let found = Client::connect(ramblk.socket()).features();
        let expected = offered("feature", option.as_deref());
        let difference = found ^ expected;
        assert_eq!(difference, 0, "{option:?}: difference {difference:#x}");
    }
}

#[test]
fn the_protocol_features_in_the_table_are_those_that_the_program_offers() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::connect(ramblk.socket());
    let found = client.get(code::GET_PROTOCOL_FEATURES).u64();
    let difference = found ^ offered("protocol feature", None);
    assert_eq!(difference, 0, "difference {difference:#x}");
}

/// Whether a handler only refuses.
fn refuses(handler: &syn::ImplItemFn) -> bool {
    let [syn::Stmt::Expr(syn::Expr::Call(call), None)] = &handler.block.stmts[..] else {
        return false;
    };
    matches!(&*call.func, syn::Expr::Path(path) if path.path.is_ident("unsupported"))
}

/// The session's message handlers, and whether each only refuses.
fn handlers() -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    for (_, text) in sources("src/vhost_user") {
        for item in syn::parse_file(&text).unwrap().items {
            let syn::Item::Impl(it) = item else { continue };
            let handles = it.trait_.as_ref().is_some_and(|(_, path, _)| {
                let last = path.segments.last();
                last.is_some_and(|segment| segment.ident == "VhostUserBackendReqHandlerMut")
            });
            for item in it.items.iter().filter(|_| handles) {
                if let syn::ImplItem::Fn(handler) = item {
                    found.insert(handler.sig.ident.to_string(), refuses(handler));
                }
            }
        }
    }
    assert!(found.len() > 25, "the session's handlers are gone");
    found
}

#[test]
fn every_message_of_the_protocol_has_its_row_and_every_handler_its_message() {
    let mut handlers = handlers();
    let rows = table("docs/internals/vhost-user.md", "message");
    let mut codes = BTreeSet::new();
    for row in &rows {
        let code: u32 = row["code"].parse().unwrap();
        assert!(codes.insert(code), "message {code} has two rows");
        let known = FrontendReq::try_from(code).map(|known| format!("{known:?}"));
        assert_eq!(
            known.as_ref(),
            Ok(&row["message"]),
            "name of message {code}"
        );
        let refused = row["answer"].starts_with("refused");
        for name in names(&row["function"]) {
            let Some(handler) = name.strip_prefix("Session::") else {
                continue;
            };
            let refuses = handlers.remove(handler);
            assert_eq!(refuses, Some(refused), "message {code}, {handler}");
        }
    }
    assert!(handlers.is_empty(), "handlers without a row: {handlers:?}");
    let all = (0..1000).filter(|code| FrontendReq::try_from(*code).is_ok());
    assert_eq!(codes, all.collect(), "messages with a row, and all");
}

#[test]
fn messages_that_the_table_calls_refused_are() {
    let ramblk = Ramblk::run(&[]);
    let rows = table("docs/internals/vhost-user.md", "message");
    let refused = |row: &&Row| row["answer"].starts_with("refused");
    for row in rows.iter().filter(refused) {
        let code: u32 = row["code"].parse().unwrap();
        for size in [0, 8, 16, 40] {
            let client = Client::negotiated(ramblk.socket(), ALL);
            client.send(code, NEED_REPLY, &vec![0; size], &[]);
            let answer = client.wire.receive(PATIENCE);
            let refused = matches!(&answer, Answer::Message(reply) if reply.u64() != 0);
            assert!(refused, "message {code} of {size} bytes: {answer:?}");
            assert!(client.answers(), "after message {code} of {size} bytes");
            client.send(code, 0, &vec![0; size], &[]);
            let goes_on = match row["answer"].as_str() {
                "refused; else skipped" => true,
                "refused; else ends" => false,
                other => panic!("message {code}: {other}"),
            };
            assert_eq!(client.answers(), goes_on, "without NEED_REPLY: {code}");
        }
    }
}

#[test]
fn the_threat_model_has_every_row_and_names_every_attack_and_no_other() {
    let rows = table("docs/internals/threat-model.md", "input");
    let wanted = (1..=28)
        .map(|n| format!("G{n}"))
        .chain((1..=20).map(|n| format!("F{n}")))
        .chain((1..=7).map(|n| format!("N{n}")))
        .chain((1..=7).map(|n| format!("I{n}")));
    for id in wanted {
        let found = rows.iter().filter(|row| row["row"] == id).count();
        assert_eq!(found, 1, "rows {id}");
    }
    let named: BTreeSet<&str> = rows.iter().flat_map(|row| names(&row["test"])).collect();
    let defined = |folders: &[&str]| {
        let mut all = Defined::default();
        for (_, text) in folders.iter().flat_map(|folder| sources(folder)) {
            all.visit_file(&syn::parse_file(&text).unwrap());
        }
        all.tests
    };
    let known = defined(&["tests/hostile", "tests/it", "tests/kill"]);
    let unknown: Vec<_> = named
        .iter()
        .filter(|name| !known.contains(**name))
        .collect();
    assert!(unknown.is_empty(), "no such tests: {unknown:?}");
    let attacks = defined(&["tests/hostile"]);
    let missing: Vec<_> = attacks
        .iter()
        .filter(|name| !named.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "attacks without a row: {missing:?}");
}

/// The files of a cell of a walk. Each stands in the folder of the one before it, or in the nearest
/// folder around that in which there is such a file.
fn walked<'f>(cell: &str, files: &'f BTreeMap<String, BTreeSet<String>>) -> Vec<&'f str> {
    let mut folder = "src".to_owned();
    let mut found = Vec::new();
    for name in names(cell) {
        let path = loop {
            let path = format!("{folder}/{name}");
            if let Some((path, _)) = files.get_key_value(&path) {
                break path;
            }
            let around = folder.rsplit_once('/').map(|(around, _)| around.to_owned());
            folder = around.unwrap_or_else(|| panic!("no file {name} of {cell}"));
        };
        folder = path.rsplit_once('/').unwrap().0.to_owned();
        found.push(path.as_str());
    }
    found
}

#[test]
fn the_walks_of_the_architecture_name_functions_in_the_files_beside_them() {
    let files: BTreeMap<String, BTreeSet<String>> = sources("src")
        .into_iter()
        .map(|(name, text)| {
            let functions = Defined::in_files([(name.clone(), text)]).functions;
            (name, functions)
        })
        .collect();
    let rows = table("docs/internals/architecture.md", "hop");
    assert!(rows.len() > 30, "the walks are gone");
    let mut wrong = Vec::new();
    for row in &rows {
        let (functions, walked) = (names(&row["function"]), walked(&row["file"], &files));
        let hop = &row["hop"];
        assert!(!functions.is_empty(), "no function: {row:?}");
        for function in &functions {
            if !walked.iter().any(|file| files[*file].contains(*function)) {
                wrong.push(format!("{hop}: no {function} in {walked:?}"));
            }
        }
        for file in &walked {
            if !functions.iter().any(|name| files[*file].contains(*name)) {
                wrong.push(format!("{hop}: none of {functions:?} in {file}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The variables that a text names: `RAMBLK_TEST` and the like.
fn variables(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
    text.split(|c| !is_part(c))
        .filter(|word| word.len() > "RAMBLK_".len() && word.starts_with("RAMBLK_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_page_for_contributors_has_exactly_the_switches_and_variables_of_the_code() {
    const PAGE: &str = "docs/CONTRIBUTING.md";
    let mut code = String::new();
    for (_, text) in [sources("src"), sources("tests")].concat() {
        code += &text;
    }
    for entry in fs::read_dir(root().join("scripts")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            code += &fs::read_to_string(path).unwrap();
        }
    }
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    assert_eq!(variables(&page), variables(&code));

    let build = fs::read_to_string(root().join("src/build.rs")).unwrap();
    let (_, rest) = build.split_once("const SWITCHES: ").unwrap();
    let (_, rest) = rest.split_once("] = [").unwrap();
    let (switches, _) = rest.split_once(']').unwrap();
    let known: BTreeSet<&str> = switches.split('"').skip(1).step_by(2).collect();
    let rows = table(PAGE, "`RAMBLK_TEST`");
    let listed: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| names(&row["`RAMBLK_TEST`"]))
        .collect();
    assert_eq!(listed, known);
}
