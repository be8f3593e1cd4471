//! The language as a test: phrases of a private dialect that `docs/CONTRIBUTING.md` tells authors
//! to avoid, in sources, tests, pages and scripts.

use std::fs;
use std::path::Path;

use super::tidy::{root, sources};

/// What not to write, and what to write instead.
const PHRASES: [(&str, &str); 16] = [
    ("are to be", "must be, should be, or are"),
    ("as it were", "nothing"),
    ("at hand", "known, prefetched, or recorded"),
    ("for who", "for the caller, the driver, or the thread that"),
    ("gives back", "returns, or frees"),
    ("gives how", "returns how"),
    ("gives the", "returns the"),
    ("gives what", "returns what"),
    ("is to be", "must be, should be, or is"),
    ("of who", "of the caller, the driver, or the thread that"),
    ("so many", "that many, or the number"),
    ("to who", "to the caller, the driver, or the thread that"),
    ("who asks", "the caller, or the client"),
    ("who has", "the owner, or the thread that has"),
    ("who wants", "the caller, or a driver that wants"),
    ("whoever", "the caller, the client, or any thread that"),
];

/// Words that hide what is meant. Sources and pages avoid them; in tests they may stand.
const VAGUE: [(&str, &str); 6] = [
    ("anew", "again"),
    ("anybody", "any thread, client, or process"),
    ("everybody", "all guests, clients, or threads"),
    ("give back", "return, or free"),
    ("nobody", "no thread, no client, no other disk"),
    ("somebody", "another process, thread, or user"),
];

/// Files that name the phrases.
const EXEMPT: [&str; 2] = ["docs/CONTRIBUTING.md", "tests/it/house/prose.rs"];

/// A line without the marks of a comment.
fn bare(line: &str) -> &str {
    line.trim_start_matches([' ', '/', '!', '#', '-', '|'])
}

/// Whether `phrase` occurs in `text` as whole words, starting before byte `end`.
fn occurs(text: &str, phrase: &str, end: usize) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(phrase).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + phrase.len()..]);
        at < end && !is_word(before.chars().next_back()) && !is_word(after.chars().next())
    })
}

/// The lines in which a forbidden phrase begins, with what to write instead. A phrase may go on in
/// the next line.
fn faults(name: &str, text: &str) -> Vec<String> {
    let lines: Vec<String> = text.lines().map(|line| bare(line).to_lowercase()).collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let next = lines.get(number + 1).map_or("", String::as_str);
        let joined = format!("{line} {next}");
        let vague = VAGUE.iter().filter(|_| !name.starts_with("tests/"));
        for (phrase, instead) in PHRASES.iter().chain(vague) {
            if occurs(&joined, phrase, line.len()) {
                found.push(format!(
                    "{name}:{}: \"{phrase}\", write: {instead}",
                    number + 1
                ));
            }
        }
    }
    found
}

/// The files of a folder and its sub-folders that aren't Rust, by their extension; `""` for none.
fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let found = texts(Path::new(folder), extension);
    assert!(!found.is_empty(), "{folder} has no file with {extension:?}");
    found
}

/// The files below a folder of the project that have this extension, with their names and texts.
pub(crate) fn texts(folder: &Path, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root()).unwrap();
        if path.is_dir() {
            found.extend(texts(name, extension));
        } else if path.extension().unwrap_or_default() == extension {
            let text = fs::read_to_string(&path).unwrap();
            found.push((name.display().to_string(), text));
        }
    }
    found
}

#[test]
fn texts_use_the_words_of_the_field() {
    let readme = fs::read_to_string(root().join(Path::new("README.md"))).unwrap();
    let texts = [
        sources("src"),
        sources("tests"),
        files("docs", "md"),
        files("scripts", ""),
        vec![("README.md".to_owned(), readme)],
    ];
    let faults: Vec<String> = texts
        .iter()
        .flatten()
        .filter(|(name, _)| !EXEMPT.contains(&name.as_str()))
        .flat_map(|(name, text)| faults(name, text))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_phrase_is_found_in_any_case_across_lines_and_only_as_words() {
    assert_eq!(faults("f", "/// Gives the length.").len(), 1);
    assert_eq!(
        faults("src/f", "// Nobody waits. It\n// begins anew.").len(),
        2
    );
    assert_eq!(faults("tests/f", "// Nobody waits.").len(), 0);
    assert_eq!(faults("f", "// takes so\n    // many of them\n").len(), 1);
    assert_eq!(faults("f", "fn so_many_are_fine() {}").len(), 0);
    assert_eq!(faults("f", "//! This is to become a test.").len(), 0);
    assert_eq!(
        faults("f", "a\nis to be\nb")[0],
        "f:2: \"is to be\", write: must be, should be, or is"
    );
}
