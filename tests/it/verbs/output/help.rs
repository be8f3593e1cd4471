//! Help, completions and manual pages.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::verbs::{RAMBLK, text};

/// Compare with the snapshot in `tests/snapshots`.
fn compare(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn run(words: &[&str]) -> String {
    run_in(RAMBLK, words, 80)
}

/// Run a program as on a terminal of this many columns.
fn run_in(program: &str, words: &[&str], columns: usize) -> String {
    let output = Command::new(program)
        .args(words)
        .env_remove("RAMBLK_API")
        .env("COLUMNS", columns.to_string())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Names of verbs in a help text.
pub(super) fn verbs(words: &[&str]) -> Vec<String> {
    let help = run(&[words, &["--help"]].concat());
    let lines = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    // A description may go on in the next line, further to the right.
    let heads = lines.filter_map(|line| line.strip_prefix("  "));
    let heads = heads.filter(|line| !line.starts_with(' '));
    let names = heads.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_verb_has_its_help() {
    let all = verbs(&[]);
    assert!(all.len() > 25, "{all:?}");
    compare("help", &run(&["--help"]));
    for verb in &all {
        compare(&format!("help-{verb}"), &run(&[verb, "--help"]));
        if ["group", "image"].contains(&verb.as_str()) {
            for below in verbs(&[verb]) {
                compare(
                    &format!("help-{verb}-{below}"),
                    &run(&[verb, &below, "--help"]),
                );
            }
        }
    }
}

/// Every verb, and each verb below another one.
fn all_verbs() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    for verb in verbs(&[]) {
        for below in verbs(&[&verb]) {
            found.push(vec![verb.clone(), below]);
        }
        found.push(vec![verb]);
    }
    found
}

#[test]
fn no_line_of_help_is_wider_than_80_columns_on_a_terminal_of_any_width() {
    let vhost_user = env!("CARGO_BIN_EXE_vhost-user-ramblk");
    let mut faults = Vec::new();
    for columns in [80, 200] {
        for option in ["--help", "-h"] {
            let mut texts = vec![run_in(vhost_user, &[option], columns)];
            for verb in all_verbs() {
                let words: Vec<&str> = verb.iter().map(String::as_str).chain([option]).collect();
                texts.push(run_in(RAMBLK, &words, columns));
            }
            assert!(texts.len() > 30, "{} texts", texts.len());
            let lines = texts.iter().flat_map(|text| text.lines());
            let wide = lines.filter(|line| line.chars().count() > 80);
            faults.extend(wide.map(|line| format!("{columns}: {line}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_handbook_names_every_verb() {
    let handbook = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/reference/cli.md");
    let handbook = fs::read_to_string(handbook).unwrap();
    for verb in verbs(&[]) {
        assert!(
            handbook.contains(&format!("`{verb}")),
            "docs/guide/reference/cli.md lacks {verb}"
        );
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    for (shell, wanted) in [
        ("bash", "__complete"),
        ("zsh", "#compdef ramblk"),
        ("fish", "__complete"),
        ("elvish", "export-config"),
        ("powershell", "export-config"),
    ] {
        let script = run(&["completions", shell]);
        assert!(script.contains(wanted), "{shell}");
    }
}

#[test]
fn every_help_ends_with_two_examples() {
    for verb in all_verbs() {
        let words: Vec<&str> = verb.iter().map(String::as_str).collect();
        if !verb.is_empty() && verbs(&words).is_empty() {
            let help = run(&[&words[..], &["--help"]].concat());
            let (_, examples) = help.split_once("\nExamples:\n").expect("examples");
            let lines = examples.lines().filter(|line| line.starts_with("    "));
            assert_eq!(lines.count(), 2, "{verb:?}: {help}");
        }
    }
}

#[test]
fn manual_pages_are_made_for_every_verb_and_format_and_man_takes_them() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("man1");
    run(&["man", folder.to_str().unwrap()]);
    for verb in verbs(&[]) {
        assert!(folder.join(format!("ramblk-{verb}.1")).exists(), "{verb}");
    }
    compare(
        "man",
        &run(&["man"]).replace(env!("CARGO_PKG_VERSION"), "VERSION"),
    );
    for page in ["ramblk.toml.5", "ramblk-api.7", "ramblk-faults.7"] {
        assert!(folder.join(page).exists(), "{page}");
    }
    for entry in fs::read_dir(&folder).unwrap() {
        let page = entry.unwrap().path();
        sections(&page);
        says_what_it_is(&page);
        lint(&page);
        let output = Command::new("groff")
            .args(["-man", "-ww", "-Tutf8", "-z"])
            .arg(&page)
            .stdin(Stdio::null())
            .output();
        // Without groff there is nothing to compare.
        let Ok(output) = output else { return };
        assert!(output.status.success(), "{page:?}");
        assert_eq!(text(&output.stderr), "", "{page:?}");
    }
}

/// Each page has the sections that readers look for.
fn sections(page: &Path) {
    let text = fs::read_to_string(page).unwrap();
    let is_verb = page.extension().is_some_and(|it| it == "1");
    let of_verbs = ["EXIT STATUS", "FILES", "ENVIRONMENT"];
    let all = ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SEE ALSO"];
    for section in all.iter().chain(of_verbs.iter().filter(|_| is_verb)) {
        let heads = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
        let has = heads.iter().any(|head| text.contains(head));
        assert!(has, "{page:?} has no {section}");
    }
}

/// Its foot names the program, and nothing is left of the guide that readers don't see.
fn says_what_it_is(page: &Path) {
    let text = fs::read_to_string(page).unwrap();
    let head = text.lines().find(|line| line.starts_with(".TH ")).unwrap();
    let source = concat!("\"ramblk ", env!("CARGO_PKG_VERSION"), "\"");
    assert!(head.contains(source), "{page:?}: {head}");
    assert!(!text.contains("<!"), "{page:?}");
}

/// mandoc finds no error in it.
fn lint(page: &Path) {
    let output = Command::new("mandoc")
        .args(["-Tlint", "-Werror"])
        .arg(page)
        .output();
    // Without mandoc there is nothing to compare.
    let Ok(output) = output else { return };
    assert!(output.status.success(), "{}", text(&output.stdout));
}
