//! The commands of the pages for users, run as a reader would type them.
//!
//! Each section of a page is one shell, which has a daemon and a folder of its own. Blocks that
//! can't be run say why, in a comment that readers don't see ([`blocks`]).
//!
//! | file | what it is about |
//! |---|---|
//! | `blocks` | which commands a page has, and what becomes of them |
//! | `shell` | a shell in which a section's commands run |
//! | `symptoms` | the messages that a page quotes are those of the programs |

pub(crate) mod blocks;
pub(crate) mod shell;
mod symptoms;

use std::path::Path;
use std::sync::Mutex;

use crate::house::{prose::texts, tidy::root};
use crate::images::pages::CHECKED;

use blocks::{Fate, Section, of_page};

/// How many sections are run at a time.
const AT_A_TIME: usize = 4;

/// The pages whose commands are run.
fn pages() -> Vec<String> {
    let guide = texts(Path::new("docs/guide"), "md").into_iter();
    let mut pages: Vec<String> = guide.map(|(name, _)| name).collect();
    pages.push("README.md".to_owned());
    pages
}

/// All sections with commands, each with its page and what begins it.
fn all_sections() -> Vec<(String, Section, String)> {
    let mut all = Vec::new();
    for page in pages() {
        let mut begin = String::new();
        for section in of_page(&page) {
            let each = section.blocks.iter().filter(|b| b.fate == Fate::Each);
            let more: String = each.map(|block| block.commands.as_str()).collect();
            all.push((page.clone(), section, begin.clone()));
            begin += &more;
        }
    }
    all
}

#[test]
fn commands_of_the_pages_work_as_they_stand() {
    let mut sections = all_sections();
    // Some are run by a test that also looks at what they leave.
    sections.retain(|(page, section, _)| {
        !(page == "docs/guide/images.md" && CHECKED.contains(&section.title.as_str()))
    });
    let left = Mutex::new(sections);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().pop();
                    let Some((page, section, begin)) = next else {
                        break;
                    };
                    if let Err(said) = shell::run_alone(&section, &begin) {
                        let title = &section.title;
                        failed
                            .lock()
                            .unwrap()
                            .push(format!("{page}, {title:?}:\n{said}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn blocks_that_are_not_run_say_why_and_those_run_elsewhere_are() {
    let mut faults = Vec::new();
    for (page, section, _) in all_sections() {
        for block in &section.blocks {
            let first = block.commands.lines().next().unwrap_or_default();
            match &block.fate {
                Fate::NotRun(reason) if reason.len() < 8 => {
                    faults.push(format!("{page}: {first}: {reason:?} is no reason"));
                }
                Fate::RunBy(file) => {
                    let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
                    if !text.contains(&page) || !text.contains(&section.title) {
                        faults.push(format!("{page}: {first}: {file} doesn't run it"));
                    }
                }
                _ => {}
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
