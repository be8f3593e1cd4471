//! What pages refer to is there: files of the project, and headings by their anchors.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::prose::texts;
use super::tidy::root;

/// The pages: the README, and all of `docs`.
fn pages() -> Vec<(String, String)> {
    let mut pages = texts(Path::new("docs"), "md");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    pages.push(("README.md".to_owned(), readme));
    pages
}

/// A page's lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of the links of a page, code spans left out.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join("` `");
        let mut rest = outside.as_str();
        while let Some((_, target)) = rest.split_once("](") {
            let Some((target, after)) = target.split_once(')') else {
                break;
            };
            found.push(target.to_owned());
            rest = after;
        }
    }
    found
}

/// The anchors that a page's headings have, as code hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let mut anchors = BTreeSet::new();
    for heading in headings {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut name = anchor.clone();
        let mut number = 0;
        while !anchors.insert(name) {
            number += 1;
            name = format!("{anchor}-{number}");
        }
    }
    anchors
}

/// A path without `.` and `..`.
fn resolved(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole
}

/// What is wrong with the links of a page.
fn faults(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for link in links(text) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let folder = Path::new(name).parent().unwrap_or(Path::new(""));
        let target = match file {
            "" => root().join(name),
            file => root().join(resolved(&folder.join(file))),
        };
        if !file.is_empty() && !target.exists() {
            faults.push(format!("{name}: {link} is not there"));
        } else if !anchor.is_empty() {
            let page = if file.is_empty() {
                text.to_owned()
            } else {
                fs::read_to_string(&target).unwrap()
            };
            if !anchors(&page).contains(anchor) {
                faults.push(format!("{name}: {link} has no such heading"));
            }
        }
    }
    faults
}

#[test]
fn links_of_pages_lead_to_files_and_headings() {
    let faults: Vec<String> = pages()
        .iter()
        .flat_map(|(name, text)| faults(name, text))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_link_without_a_target_is_found() {
    assert!(
        faults(
            "docs/page.md",
            "# A `b` c\n[x](#a-b-c) [y](../README.md#limits)"
        )
        .is_empty()
    );
    assert_eq!(faults("docs/page.md", "[x](#none)").len(), 1);
    assert_eq!(faults("docs/page.md", "see [x](none.md)").len(), 1);
    assert_eq!(
        faults("docs/page.md", "[x](../README.md#none) [y](none)").len(),
        2
    );
    assert!(faults("docs/page.md", "`[x](none)`\n```\n[x](none)\n```").is_empty());
}
