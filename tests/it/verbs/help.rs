//! Help, completions and manual pages.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{RAMBLK, text};

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
    let handbook = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
    let handbook = fs::read_to_string(handbook).unwrap();
    for verb in verbs(&[]) {
        assert!(
            handbook.contains(&format!("`{verb}")),
            "docs/cli.md lacks {verb}"
        );
    }
}

#[test]
fn completions_are_made_for_every_shell_and_bash_takes_them() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&["completions", shell]);
        assert!(script.contains("export-config"), "{shell}");
    }
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("ramblk.bash");
    fs::write(&file, run(&["completions", "bash"])).unwrap();
    // The shell itself prints its completions.
    let script = r#"
        source "$1"; COMP_WORDS=(ramblk snap); COMP_CWORD=1
        _ramblk ramblk snap ramblk; echo "${COMPREPLY[@]}""#;
    let output = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert_eq!(text(&output.stdout), "snapshot snapshots\n");
}

#[test]
fn manual_pages_are_made_for_every_verb_and_groff_takes_them() {
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
    for entry in fs::read_dir(&folder).unwrap() {
        let page = entry.unwrap().path();
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
