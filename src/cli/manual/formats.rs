//! The pages that are about no verb: the configuration file, the API, and faults.

use clap::Command;
use serde_json::Value;

use super::examples;
use super::guide::{API, CLI, TEST_RIG};
use super::markdown::{add, section};
use super::page::Page;
use crate::cli::file::DAEMON_KEYS;
use crate::daemon::api;

/// Keys of `[daemon]` whose option has another name or another sense.
const OTHER_OPTIONS: [(&str, &str); 2] = [
    ("metrics_labels", "metrics_labels"),
    ("huge_pages", "no_huge_pages"),
];

/// Keys of a disk in the file, by the name in the API.
const FILE_KEYS: [(&str, &str); 3] = [
    ("size_bytes", "size"),
    ("quota_bytes", "quota"),
    ("log_limit_bytes", "log_limit"),
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
                page.item(key.trim_end_matches("_ms"), &what);
            }
            continue;
        }
        let other = FILE_KEYS.iter().find(|(name, _)| *name == key);
        // What is null in the API is a word in the file.
        let none = if key == "labels" { "false" } else { "\"none\"" };
        let what = what.replace("`null`", &format!("`{none}`"));
        page.item(other.map_or(key.as_str(), |(_, key)| key), &what);
    }
    page.section("KEYS OF limits.total, limits.read AND limits.write");
    for (key, what) in properties("RatePatch") {
        page.item(&key, &what.replace("`null`", "`\"none\"`"));
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

/// The help of the option of `serve` that a key of `[daemon]` stands for.
fn help_of_key(program: &Command, key: &str) -> String {
    let other = OTHER_OPTIONS.iter().find(|(name, _)| *name == key);
    let id = other.map_or(key, |(_, id)| id);
    let serve = program.find_subcommand("serve");
    let mut options = serve.into_iter().flat_map(Command::get_arguments);
    let option = options.find(|option| option.get_id() == id);
    let help = option.and_then(|it| it.get_long_help().or_else(|| it.get_help()));
    let help = help.map(ToString::to_string).unwrap_or_default();
    match key {
        "huge_pages" => format!("true or false. If it is false: {help}"),
        _ => help,
    }
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
        for key in DAEMON_KEYS {
            let item = page.split_once(&format!("\\fB{key}\\fR\n"));
            assert!(item.is_some(), "{key} is missing: {page}");
            let (_, what) = item.unwrap();
            let what = what.lines().next().unwrap_or_default();
            assert!(what.len() > 20, "{key}: {what}");
        }
        // The reader takes some keys as the API names them, too.
        let keys = crate::cli::file::disk_keys().into_iter();
        for key in keys.filter(|key| !key.ends_with("_bytes")) {
            assert!(
                page.contains(&format!("\\fB{key}\\fR\n")),
                "{key} is missing"
            );
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
