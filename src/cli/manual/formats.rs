//! The pages that are about no verb: the configuration file, the API, and faults.

use clap::Command;
use serde_json::Value;

use super::examples;
use super::guide::{API, CLI, TEST_RIG};
use super::markdown::{add, section};
use super::page::Page;
use crate::cli::file::DAEMON_KEYS;
use crate::daemon::api;

/// Keys of a disk in the file, by the name in the API.
const FILE_KEYS: [(&str, &str); 5] = [
    ("size_bytes", "size"),
    ("quota_bytes", "quota"),
    ("log_limit_bytes", "log_limit"),
    ("ttl_ms", "ttl"),
    ("grace_ms", "grace"),
];

/// Keys whose values the file writes otherwise than the command line and the API do, or whose words
/// these don't list.
const FILE_TEXTS: [(&str, &str); 10] = [
    (
        "metrics_labels",
        "An array of labels of disks to show in the metric ramblk_disk_info, as label_KEY: \
         [\"tenant\"].",
    ),
    (
        "huge_pages",
        "true, the default, moves fully used memory to huge pages in the background, which costs \
         processor time once and makes random access faster. false uses small pages only.",
    ),
    (
        "share",
        "Front ends that may use it at the same time: \"none\", the default, for one; \"ro\" for \
         any number, read-only; \"rw\" for any number, all writing at their own risk.",
    ),
    (
        "on_full",
        "What happens to a write that finds no memory: it fails in the guest (\"error\", the \
         default), or waits for memory (\"stall\").",
    ),
    (
        "sanitize",
        "What to do about reads of sectors that were never written or were discarded since, and \
         about 256 MiB of writes without a flush: \"off\", the default; \"count\" them; \"log\", \
         which keeps the last ones for `ramblk findings` too; \"fail\", which also fails what is \
         found, but for a missing flush.",
    ),
    (
        "history",
        "Keeps states of the past: { every = \"flush\", keep = 1000, limit = \"2G\" }. `every` is \
         \"flush\", the default, a time (\"500ms\", \"2s\", \"1min\") or an amount written \
         (\"64M\"); `keep` is how many, 1000 by default; `limit` is the most memory for them. \
         \"none\" ends it, and drops what it has kept.",
    ),
    (
        "write_cache",
        "When writes are stable: as soon as they complete (\"stable\", the default), or when a \
         flush covers them (\"volatile\"). It can be changed only while no front end is connected.",
    ),
    (
        "ttl",
        "How long the disk lives, as in \"12h\": then it is destroyed. The time begins when this \
         is set or changed. \"none\" is for ever.",
    ),
    (
        "on_detach",
        "What happens when its last front end has been gone for the grace: \"keep\", the default; \
         \"reset\", to what it was forked from; \"destroy\".",
    ),
    (
        "grace",
        "How long to wait for a front end to come back, as in \"1min\", if `on_detach` is \
         \"reset\" or \"destroy\". \"none\" is the default, 30s. After a restart of the daemon it \
         is a minute at least.",
    ),
];

/// The pages by file name.
pub(super) fn pages(program: &Command) -> Vec<(String, Vec<u8>)> {
    let pages = [
        ("ramblk.toml.5", file(program)),
        ("ramblk-api.7", api()),
        ("ramblk-faults.7", faults()),
    ];
    let pages = pages.map(|(name, page)| (name.to_owned(), page.render()));
    pages.into()
}

fn add_examples(name: &str, page: &mut Page) {
    page.section("EXAMPLES");
    for example in examples::of(name) {
        page.paragraph(&format!("{}:", example.what));
        page.lines(&[example.line]);
    }
}

fn see_also(page: &mut Page, others: &str) {
    page.section("SEE ALSO");
    page.paragraph(others);
}

fn file(program: &Command) -> Page {
    let mut page = Page::new("ramblk.toml", "5", "the configuration file of ramblk");
    page.section("SYNOPSIS");
    page.paragraph("`ramblk serve --config` FILE, `ramblk apply --file` FILE");
    page.section("DESCRIPTION");
    add(section(&CLI, "## The configuration file"), &mut page);
    page.section("KEYS OF [daemon]");
    for key in DAEMON_KEYS {
        page.item(key, &help_of_key(program, key));
    }
    page.section("KEYS OF [[group]]");
    page.item("name", "Its name.");
    page.item("limits", "Limits that its disks share, as those of a disk.");
    page.section("KEYS OF [[disk]]");
    page.paragraph("Sizes are numbers of bytes, or strings as in \"10G\".");
    for (key, what) in properties("DeclaredDisk") {
        // The file has the keys of a life beside the others.
        if key == "life" {
            for (key, what) in properties("LifePatch") {
                key_of_disk(&key, &what, &mut page);
            }
            continue;
        }
        key_of_disk(&key, &what, &mut page);
    }
    page.section("KEYS OF limits.total, limits.read AND limits.write");
    for (key, what) in properties("RatePatch") {
        key_of_disk(&key, &what, &mut page);
    }
    add_examples("ramblk.toml", &mut page);
    page.section("FILES");
    page.item("/etc/ramblk/ramblk.toml", "The file of the service.");
    see_also(
        &mut page,
        "ramblk-serve(1), ramblk-apply(1), ramblk-export-config(1), ramblk-faults(7)",
    );
    page
}

/// A key of a disk by its name in the API, where `what` describes it.
fn key_of_disk(name: &str, what: &str, page: &mut Page) {
    let other = FILE_KEYS.iter().find(|(other, _)| *other == name);
    let key = other.map_or(name, |(_, key)| key);
    if let Some(own) = own_text(key) {
        return page.item(key, own);
    }
    // What is null in the API is a word in the file.
    let none = if key == "labels" { "false" } else { "\"none\"" };
    page.item(key, &what.replace("`null`", &format!("`{none}`")));
}

/// The text that a key has in the file only.
fn own_text(key: &str) -> Option<&'static str> {
    let found = FILE_TEXTS.iter().find(|(name, _)| *name == key);
    found.map(|(_, text)| *text)
}

/// What a key of `[daemon]` means: the help of the option of `serve` that it stands for, unless it
/// has a text of its own.
fn help_of_key(program: &Command, key: &str) -> String {
    if let Some(own) = own_text(key) {
        return own.to_owned();
    }
    let serve = program.find_subcommand("serve");
    let mut options = serve.into_iter().flat_map(Command::get_arguments);
    let option = options.find(|option| option.get_id() == key);
    let help = option.and_then(|it| it.get_long_help().or_else(|| it.get_help()));
    help.map(ToString::to_string).unwrap_or_default()
}

/// The properties of a schema of the API, with what each means.
fn properties(schema: &str) -> Vec<(String, String)> {
    let document = api::document();
    let path = format!("/components/schemas/{schema}/properties");
    let found = document.pointer(&path).and_then(Value::as_object);
    let found = found.into_iter().flatten().map(|(key, value)| {
        // One that may be null has its text beside the other possibility.
        let places = [
            "/description",
            "/oneOf/1/description",
            "/allOf/0/description",
        ];
        let mut texts = places
            .iter()
            .filter_map(|place| value.pointer(place)?.as_str());
        (
            key.clone(),
            texts.next().unwrap_or_default().replace('\n', " "),
        )
    });
    found.collect()
}

fn api() -> Page {
    let mut page = Page::new("ramblk-api", "7", "the API of a daemon, over HTTP");
    page.section("SYNOPSIS");
    page.paragraph("`curl --unix-socket /run/ramblk/api.sock http://ramblk/v1/disks`");
    page.section("DESCRIPTION");
    let intro = API.split_once("\n## ").map_or(&**API, |(intro, _)| intro);
    let intro = intro.split_once('\n').map_or("", |(_, intro)| intro);
    add(intro, &mut page);
    page.section("CALLS");
    let document = api::document();
    let paths = document.pointer("/paths").and_then(Value::as_object);
    for (path, methods) in paths.into_iter().flatten() {
        for (method, call) in methods.as_object().into_iter().flatten() {
            let head = format!("{} {path}{}", method.to_uppercase(), query(call));
            page.item(&head, &about(call));
        }
    }
    page.section("PROBLEMS");
    add(section(&API, "## Problems"), &mut page);
    page.section("BOUNDS");
    add(section(&API, "## Bounds"), &mut page);
    add_examples("ramblk-api", &mut page);
    page.section("ENVIRONMENT");
    page.item("RAMBLK_API", "The socket of the API, for the verbs.");
    page.section("FILES");
    page.item(
        "RUN_DIR/api.sock",
        "The socket, unless another one was chosen.",
    );
    see_also(&mut page, "ramblk(1), ramblk-openapi(1), ramblk-events(1)");
    page
}

/// The parameters of a call's query.
fn query(call: &Value) -> String {
    let parameters = call.pointer("/parameters").and_then(Value::as_array);
    let names = parameters.into_iter().flatten().filter_map(|parameter| {
        let is_query = parameter.pointer("/in")?.as_str()? == "query";
        let name = parameter.pointer("/name")?.as_str()?;
        is_query.then(|| name.to_owned())
    });
    let names: Vec<String> = names.collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("?{}", names.join("&")),
    }
}

/// What a call does, and its answers.
fn about(call: &Value) -> String {
    let text = |name: &str| call.pointer(name).and_then(Value::as_str).unwrap_or("");
    let parts = [text("/summary"), text("/description")];
    let parts: Vec<String> = parts
        .iter()
        .map(|part| part.replace('\n', " ").trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect();
    let answers = call.pointer("/responses").and_then(Value::as_object);
    let answers: Vec<&str> = answers
        .into_iter()
        .flatten()
        .map(|(code, _)| &**code)
        .collect();
    let about = parts.join(" ");
    let about = about.trim_end_matches('.');
    format!("{about}. Answers: {}.", answers.join(", "))
}

fn faults() -> Page {
    let mut page = Page::new(
        "ramblk-faults",
        "7",
        "faults of disks on command, for tests",
    );
    page.section("SYNOPSIS");
    page.paragraph("`ramblk fault add` NAME KIND [OPTION]...");
    page.section("DESCRIPTION");
    add(section(&TEST_RIG, "## Faults"), &mut page);
    add_examples("ramblk-faults", &mut page);
    see_also(
        &mut page,
        "ramblk-fault(1), ramblk-fault-add(1), ramblk-create(1), ramblk-run(1), ramblk.toml(5)",
    );
    page
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Ramblk;

    fn text(page: &Page) -> String {
        String::from_utf8(page.render())
            .unwrap()
            .replace("\\-", "-")
    }

    #[test]
    fn every_key_of_the_file_is_explained() {
        let page = text(&file(&Ramblk::command()));
        for key in file_keys() {
            let item = page.split_once(&format!("\\fB{key}\\fR\n"));
            assert!(item.is_some(), "{key} is missing: {page}");
        }
        // Of every item, also of those that the file doesn't have by itself.
        let (_, keys) = page.split_once(".SH \"KEYS OF [daemon]\"").unwrap();
        let (keys, _) = keys.split_once(".SH EXAMPLES").unwrap();
        let items: Vec<&str> = keys.split(".TP\n").skip(1).collect();
        assert!(items.len() > file_keys().len(), "{keys}");
        for item in items {
            let (key, what) = item.split_once('\n').unwrap();
            let what = what.split(".SH").next().unwrap().trim();
            assert!(what.len() > 8, "{key} has no text");
            for wrong in ["null", "millisecond", "more than once"] {
                assert!(!what.contains(wrong), "{key}: {what}");
            }
        }
    }

    /// The keys of the daemon and of a disk, without those that programs write.
    fn file_keys() -> Vec<String> {
        let keys = DAEMON_KEYS.map(str::to_owned).into_iter();
        let keys = keys.chain(crate::cli::file::disk_keys());
        keys.filter(|key| !key.ends_with("_bytes")).collect()
    }

    #[test]
    fn the_guide_names_every_key_of_the_file_and_every_event() {
        let words = |text: &str| -> BTreeSet<String> {
            let code = text.split('`').skip(1).step_by(2);
            code.map(|it| it.split(' ').next().unwrap_or_default().to_owned())
                .collect()
        };
        let section = section(&CLI, "## The configuration file");
        let (example, rest) = section.split_once("\n```\n").unwrap();
        let (listed, _) = rest.split_once("An unknown key").unwrap();
        let mut named = words(listed);
        named.extend(example.lines().filter_map(|line| {
            let (key, _) = line.split_once(" = ")?;
            Some(key.to_owned())
        }));
        for key in file_keys() {
            assert!(named.contains(&key), "cli.md doesn't name {key}: {named:?}");
        }
        let (_, kinds) = API.split_once("`event` is the kind (").unwrap();
        let (kinds, _) = kinds.split_once(')').unwrap();
        let document = api::document();
        let known = document.pointer("/components/schemas/EventKind/enum");
        let known: BTreeSet<String> = serde_json::from_value(known.unwrap().clone()).unwrap();
        assert_eq!(words(kinds), known, "the events of api.md");
    }

    #[test]
    fn comments_of_the_guide_are_in_no_page() {
        for page in [file(&Ramblk::command()), api(), faults()] {
            let page = text(&page);
            assert!(!page.contains("<!") && !page.contains("-->"), "{page}");
        }
    }

    #[test]
    fn every_call_and_every_kind_of_fault_is_there() {
        let page = text(&api());
        for wanted in [
            "GET /v1/disks",
            "PUT /v1/disks/{name}",
            "GET /metrics",
            "Answers: ",
        ] {
            assert!(page.contains(wanted), "{wanted}");
        }
        for (title, what) in [("PROBLEMS", "would-lose-data"), ("BOUNDS", "503")] {
            let (_, rest) = page.split_once(&format!(".SH {title}")).unwrap();
            assert!(rest.contains(what), "{what}");
        }
        let page = text(&faults());
        for kind in [
            "lost-flush",
            "personality=NAME",
            "rot=N",
            "after-flushes=N",
            "hdd-7200",
        ] {
            assert!(page.contains(kind), "{kind}");
        }
    }
}
