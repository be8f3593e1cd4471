//! The pages of the verbs: what clap knows of them, examples, and what is common to all.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::examples;
use super::guide::CLI;
use super::markdown::{plain, rows};
use super::page::{Page, SOURCE};

/// In the handbook of the command line, the table of exit codes, which is that of the pages.
const CODES: &str = "| code | meaning |";

/// Files, and what they are.
const FILES: [(&str, &str); 5] = [
    (
        "/etc/ramblk/ramblk.toml",
        "The configuration of the service, as in ramblk.toml(5).",
    ),
    (
        "$RUNTIME_DIRECTORY, /run/ramblk, $XDG_RUNTIME_DIR/ramblk",
        "The directory of sockets, RUN_DIR below: of a service, of root, of other users.",
    ),
    ("RUN_DIR/api.sock", "The socket of the API."),
    (
        "RUN_DIR/NAME/vhost.sock",
        "The socket of the disk NAME, for virtual machines.",
    ),
    (
        "RUN_DIR/arena",
        "The disks, if the directory is on a tmpfs and no other place was chosen.",
    ),
];

/// The verbs that read or write images, here or on other hosts.
const IMAGE_VERBS: [&str; 6] = [
    "run",
    "create",
    "import",
    "export",
    "image pull",
    "image inspect",
];

/// Variables that are read, what they are, and the verbs that read them: `""` for all but those
/// that serve.
const ENVIRONMENT: [(&str, &str, &[&str]); 9] = [
    ("RAMBLK_API", "The socket of the daemon's API.", &[""]),
    (
        "RAMBLK_LOG",
        "What to log: error, warn, info, debug, trace or off, or TARGET=LEVEL as in \
         ramblk::daemon=debug, with commas between.",
        &["run", "serve"],
    ),
    (
        "RAMBLK_LOG_FORMAT",
        "How to log: text, the default, or json, an object a line, on stderr; or journald, \
         messages with fields for systemd's journal.",
        &["run", "serve"],
    ),
    (
        "RUNTIME_DIRECTORY",
        "The directory of sockets of a service.",
        &["serve", ""],
    ),
    (
        "XDG_RUNTIME_DIR",
        "Where the directory of sockets of a user lies who is not root.",
        &["serve", ""],
    ),
    (
        "LISTEN_FDS, NOTIFY_SOCKET, FDSTORE",
        "What systemd passes to a service: the API's socket, where to tell that it is ready, and \
         whether it keeps the disks.",
        &["serve"],
    ),
    (
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL",
        "Access to buckets, for images and exports at s3://.",
        &IMAGE_VERBS,
    ),
    (
        "DOCKER_CONFIG, XDG_RUNTIME_DIR, HOME",
        "Where the logins to registries are, for images and exports at oci://.",
        &IMAGE_VERBS,
    ),
    (
        "RAMBLK_FILE, RAMBLK_MARKS, RAMBLK_STATE",
        "Set for the check: the file with the state's content, the marks before the crash, and the \
         state's name.",
        &["crash-explore"],
    ),
];

/// Verbs that serve, and call no daemon.
const SERVING: [&str; 3] = ["run", "serve", "bench"];

/// Verbs whose pages lead to those of formats.
const FORMATS: [(&str, &[&str]); 3] = [
    ("ramblk.toml(5)", &["serve", "apply", "export-config", ""]),
    (
        "ramblk-faults(7)",
        &["fault", "run", "create", "findings", ""],
    ),
    ("ramblk-api(7)", &["openapi", "ping", "events", "wait", ""]),
];

/// The pages of `program` and of all its verbs, by file name.
pub(super) fn pages(program: Command) -> Vec<(String, Vec<u8>)> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    add(&program, "", &[], &mut pages);
    pages
}

/// Add the page of a verb, and of those below it. `beside` are the verbs below the same one.
fn add(command: &Command, verb: &str, beside: &[String], pages: &mut Vec<(String, Vec<u8>)>) {
    let below: Vec<&Command> = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .collect();
    let path = |below: &&Command| format!("{verb} {}", below.get_name()).trim().to_owned();
    let names: Vec<String> = below.iter().map(path).collect();
    let manual = Man::new(command.clone()).source(SOURCE);
    let name = manual.get_filename();
    pages.push((name, page(&manual, command, verb, &names, beside)));
    for (command, verb) in below.iter().zip(&names) {
        add(command, verb, &names, pages);
    }
}

fn page(
    manual: &Man,
    command: &Command,
    verb: &str,
    below: &[String],
    beside: &[String],
) -> Vec<u8> {
    let mut text = Vec::new();
    // Nothing of this can fail: it goes to memory.
    let _ = manual.render_title(&mut text);
    let _ = manual.render_name_section(&mut text);
    text.extend(synopsis(manual, command));
    let _ = manual.render_description_section(&mut text);
    if command.get_arguments().next().is_some() {
        let _ = manual.render_options_section(&mut text);
    }
    if !below.is_empty() {
        let _ = manual.render_subcommands_section(&mut text);
    }
    let mut page = Page::default();
    add_examples(verb, below, &mut page);
    page.section("EXIT STATUS");
    for row in rows(&CLI, CODES) {
        if let [code, meaning] = row[..] {
            page.item(code, &plain(meaning));
        }
    }
    page.section("FILES");
    for (path, what) in FILES {
        page.item(path, what);
    }
    page.section("ENVIRONMENT");
    let kind = if SERVING.contains(&verb) { verb } else { "" };
    for (name, what, verbs) in ENVIRONMENT {
        if verb.is_empty() || verbs.contains(&verb) || verbs.contains(&kind) {
            page.item(name, what);
        }
    }
    page.section("SEE ALSO");
    page.paragraph(&see_also(command, verb, below, beside).join(", "));
    text.extend(page.render_rest());
    text
}

/// The section SYNOPSIS, in which each option has its value, too.
fn synopsis(manual: &Man, command: &Command) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = manual.render_synopsis_section(&mut text);
    let mut text = String::from_utf8_lossy(&text).into_owned();
    // A usage of our own has all that it should have.
    if command.get_overridden_usage().is_some() {
        return text.into_bytes();
    }
    let rendered = |words| Roff::new().text(words).to_roff().trim_end().to_owned();
    for option in command.get_opts() {
        if let (Some(long), Some(values)) = (option.get_long(), option.get_value_names()) {
            let name = bold(format!("--{long}"));
            let value = italic(values.join(" "));
            let alone = rendered(vec![name.clone()]);
            text = text.replace(&alone, &rendered(vec![name, roman(" "), value]));
        }
    }
    text.into_bytes()
}

/// The examples of a verb, or of those below it.
fn add_examples(verb: &str, below: &[String], page: &mut Page) {
    page.section("EXAMPLES");
    let mut found = examples::of(verb);
    if found.is_empty() {
        // Of all verbs there are too many for one page.
        let first = below
            .iter()
            .take(if verb.is_empty() { 8 } else { below.len() });
        found = first
            .flat_map(|verb| examples::of(verb).into_iter().take(1))
            .collect();
    }
    for example in found {
        page.paragraph(&format!("{}:", example.what));
        page.lines(&[example.line]);
    }
}

/// Pages that a reader of this one may want: those above, below and beside it, the formats that it
/// is about, and the verbs that its texts name.
fn see_also(command: &Command, verb: &str, below: &[String], beside: &[String]) -> Vec<String> {
    let of = |verb: &str| format!("ramblk-{}(1)", verb.replace(' ', "-"));
    let mut found = Vec::new();
    if !verb.is_empty() {
        found.push("ramblk(1)".to_owned());
    }
    if let Some((above, _)) = verb.rsplit_once(' ') {
        found.push(of(above));
        found.extend(beside.iter().filter(|it| *it != verb).map(|it| of(it)));
    } else {
        let texts = texts(command);
        let named = beside.iter().filter(|other| {
            let words = [format!("ramblk {other} "), format!("ramblk {other}'")];
            *other != verb && words.iter().any(|words| texts.contains(words.as_str()))
        });
        found.extend(named.map(|it| of(it)));
    }
    found.extend(below.iter().map(|it| of(it)));
    let first = verb.split(' ').next().unwrap_or_default();
    let formats = FORMATS.iter().filter(|(_, verbs)| verbs.contains(&first));
    found.extend(formats.map(|(page, _)| (*page).to_owned()));
    found
}

/// All that a verb's help says.
fn texts(command: &Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    let mut texts = about.map(ToString::to_string).unwrap_or_default();
    for argument in command.get_arguments() {
        let help = argument.get_long_help().or_else(|| argument.get_help());
        texts += &help.map(ToString::to_string).unwrap_or_default();
        texts.push(' ');
    }
    let own = command.get_after_help().map(ToString::to_string);
    texts + &own.unwrap_or_default()
}
