//! The commands of a page: its blocks of `sh`, by section, and what becomes of each.
//!
//! Every block is run unless a comment above it says why not. These comments stand before a block:
//!
//! | comment | meaning |
//! |---|---|
//! | `<!-- not run: REASON -->` | the block isn't run |
//! | `<!-- run by FILE -->` | the test in that file runs it |
//! | `<!-- on the other host -->` | it is for another daemon |
//! | `<!-- begins each section -->` | it is also run at the beginning of each later section |
//! | `<!-- before`, lines, `-->` | commands that are run before it and that readers don't see |

use std::fs;
use std::path::Path;

/// What becomes of a block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It is run, by the daemon of this host.
    Here,
    /// It is run, by the daemon of the other host.
    There,
    /// It is run here, and again before each later section of the page.
    Each,
    /// Another test runs it.
    RunBy(String),
    /// It isn't run, for this reason.
    NotRun(String),
}

/// A block of commands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block {
    /// What is run before it, and isn't shown.
    pub(crate) hidden: String,
    pub(crate) commands: String,
    pub(crate) fate: Fate,
}

/// What stands below one heading of the second level, or above the first one.
#[derive(Debug)]
pub(crate) struct Section {
    /// Empty above the first heading.
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

/// What the comments above a block say.
#[derive(Default)]
struct Above {
    hidden: String,
    fate: Option<Fate>,
}

impl Above {
    /// Take the comment in, if it is one of those in the table above.
    fn add(&mut self, comment: &str) {
        let comment = comment.trim();
        if let Some(commands) = comment.strip_prefix("before\n") {
            self.hidden = format!("{}\n", commands.trim_end());
        } else if let Some(reason) = comment.strip_prefix("not run:") {
            self.fate = Some(Fate::NotRun(reason.trim().to_owned()));
        } else if let Some(file) = comment.strip_prefix("run by ") {
            self.fate = Some(Fate::RunBy(file.trim().to_owned()));
        } else if comment == "on the other host" {
            self.fate = Some(Fate::There);
        } else if comment == "begins each section" {
            self.fate = Some(Fate::Each);
        }
    }
}

/// The sections of a page that have commands.
pub(crate) fn sections(text: &str) -> Vec<Section> {
    let mut sections = vec![Section {
        title: String::new(),
        blocks: Vec::new(),
    }];
    let mut above = Above::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let above = std::mem::take(&mut above);
            if language == "sh" {
                let block = Block {
                    hidden: above.hidden,
                    commands: inside.join("\n") + "\n",
                    fate: above.fate.unwrap_or(Fate::Here),
                };
                sections.last_mut().unwrap().blocks.push(block);
            }
        } else if let Some(comment) = line.strip_prefix("<!--") {
            let mut comment = comment.to_owned();
            while !comment.contains("-->") {
                comment += "\n";
                comment += lines.next().expect("a comment ends");
            }
            above.add(comment.split("-->").next().unwrap());
        } else if let Some(title) = line.strip_prefix("## ") {
            let (title, blocks) = (title.to_owned(), Vec::new());
            sections.push(Section { title, blocks });
        } else if !line.trim().is_empty() {
            above = Above::default();
        }
    }
    sections.retain(|section| !section.blocks.is_empty());
    sections
}

/// The sections of a page of the project that have commands.
pub(crate) fn of_page(name: &str) -> Vec<Section> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    sections(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// What a shell runs in place of a block's lines. `# exit code N` at the end of a line is the exit
/// code that its command must have, and `# until Ctrl-C` ends it as a reader would.
pub(crate) fn as_script(commands: &str) -> String {
    let mut script = String::new();
    for line in commands.lines() {
        let (command, comment) = line.split_once("  # ").unwrap_or((line, ""));
        let command = command.trim_end();
        let code: String = match comment.split_once("exit code ") {
            Some((_, rest)) => rest.chars().take_while(char::is_ascii_digit).collect(),
            None => String::new(),
        };
        if comment.contains("until Ctrl-C") {
            script += &format!("timeout --preserve-status -s INT 1 {command} || test $? = 130\n");
        } else if !code.is_empty() && code != "0" {
            script += &format!("code=0; {command} || code=$?; test $code = {code}\n");
        } else {
            script += line;
            script += "\n";
        }
    }
    script
}

#[test]
fn a_block_is_run_unless_a_comment_above_it_says_why_not() {
    let page = "```sh\na\n```\n## One\n<!-- before\nb\n-->\n```sh\nc\n# ## not a title\n```\n\
                <!-- not run: no -->\n\n```sh\nd\n```\n<!-- not run: no -->\ntext\n```sh\ne\n```\n\
                ## None\n```text\nf\n```\n";
    let sections = sections(page);
    let titles: Vec<&str> = sections.iter().map(|s| s.title.as_str()).collect();
    assert_eq!(titles, ["", "One"]);
    let [first, second, third] = &sections[1].blocks[..] else {
        panic!("{sections:?}");
    };
    assert_eq!((first.hidden.as_str(), &first.fate), ("b\n", &Fate::Here));
    assert_eq!(first.commands, "c\n# ## not a title\n");
    assert_eq!(second.fate, Fate::NotRun("no".to_owned()));
    assert_eq!((third.commands.as_str(), &third.fate), ("e\n", &Fate::Here));
}

#[test]
fn a_command_must_end_with_the_exit_code_that_its_comment_names() {
    let script = as_script("a b   # exit code 4: it has forks\nc  # exit code 0: the same\n");
    assert_eq!(
        script,
        "code=0; a b || code=$?; test $code = 4\nc  # exit code 0: the same\n"
    );
    assert!(as_script("ramblk nbd vm1  # until Ctrl-C\n").starts_with("timeout "));
}
