//! All mistakes of a file, each with its line, and what can be read of the rest.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::{File, read_parsed, read_text};
use crate::cli::error::Error;

/// The most mistakes that are looked for. Each takes another reading.
const MOST_MISTAKES: usize = 100;

/// How the reader begins what it says of a key that it doesn't know.
const UNKNOWN: &str = "unknown field";

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Mistake {
    /// Where it is, if that is known.
    line: Option<usize>,
    what: String,
    /// Whether it is a key that this version doesn't know.
    pub(in crate::cli) is_unknown_key: bool,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// Read a file, and find all of its mistakes. What is wrong is left out of the file.
///
/// # Errors
/// It can't be read.
pub(in crate::cli) fn examine_file(path: &Path) -> Result<(File, Vec<Mistake>), Error> {
    Ok(examine(&read_text(path)?))
}

fn examine(text: &str) -> (File, Vec<Mistake>) {
    let line_of = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
    let mistake = |error: &toml::de::Error| Mistake {
        line: error.span().map(|span| line_of(span.start)),
        what: error.message().trim_end().replace('\n', ", "),
        is_unknown_key: false,
    };
    let (mut tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let told = errors.iter().take(MOST_MISTAKES).map(mistake);
        return (File::default(), told.collect());
    }
    let mut mistakes = Vec::new();
    while mistakes.len() < MOST_MISTAKES {
        let error = match read_parsed(Deserializer::from(tree.clone())) {
            Ok(whole) => return (whole.into(), mistakes),
            Err(error) => error,
        };
        let path = error.span().map(|span| path_to(tree.get_ref(), span));
        let path = path.unwrap_or_default();
        let mut found = mistake(&error);
        found.is_unknown_key = found.what.starts_with(UNKNOWN);
        if found.is_unknown_key {
            let key: String = path.iter().map(ToString::to_string).collect();
            let key = key.trim_start_matches('.');
            found.what = format!("this version doesn't know the key {key:?}");
        }
        mistakes.push(found);
        if !cut_table(tree.get_mut(), &path) {
            break;
        }
    }
    (File::default(), mistakes)
}

/// A step on the path to a value.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, ".{key}"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// The path to the smallest key or value whose text contains that at `span`; empty if none does.
/// `serde_path_to_error` would know it without a search, but is a fifth of a megabyte of code here.
fn path_to(table: &DeTable<'_>, span: Range<usize>) -> Vec<Step> {
    let mut search = Search {
        span,
        at: Vec::new(),
        found: Vec::new(),
        found_bytes: usize::MAX,
    };
    search.table(table);
    search.found
}

struct Search {
    span: Range<usize>,
    at: Vec<Step>,
    found: Vec<Step>,
    found_bytes: usize,
}

impl Search {
    fn table(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            self.at.push(Step::Key(key.get_ref().to_string()));
            self.text(&key.span());
            self.value(value);
            self.at.pop();
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>) {
        self.text(&value.span());
        match value.get_ref() {
            DeValue::Table(table) => self.table(table),
            DeValue::Array(array) => {
                for (index, value) in array.iter().enumerate() {
                    self.at.push(Step::Index(index));
                    self.value(value);
                    self.at.pop();
                }
            }
            _ => {}
        }
    }

    /// What has come so far has its text here.
    fn text(&mut self, here: &Range<usize>) {
        let contains = here.start <= self.span.start && self.span.end <= here.end;
        // Of those with the same text the innermost is what is meant.
        if contains && here.len() <= self.found_bytes {
            self.found_bytes = here.len();
            self.found.clone_from(&self.at);
        }
    }
}

/// Remove what a path leads to. Returns whether anything was removed.
fn cut_table(table: &mut DeTable<'_>, path: &[Step]) -> bool {
    let Some((Step::Key(key), rest)) = path.split_first() else {
        return false;
    };
    let is_cut_below = table.get_mut(key.as_str()).is_some_and(|at| cut(at, rest));
    is_cut_below || table.remove(key.as_str()).is_some()
}

fn cut(value: &mut Spanned<DeValue<'_>>, path: &[Step]) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => cut_table(table, path),
        DeValue::Array(array) => {
            let Some((Step::Index(index), rest)) = path.split_first() else {
                return false;
            };
            if array.get_mut(*index).is_some_and(|at| cut(at, rest)) {
                return true;
            }
            let had = array.len();
            let others = std::mem::replace(array, DeArray::new());
            let others = others.into_iter().enumerate();
            let others = others.filter(|(at, _)| at != index).map(|(_, it)| it);
            *array = others.collect();
            array.len() < had
        }
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_found_and_the_rest_is_read() {
        let text = "colour = 1\n\
                    [daemon]\n\
                    poll_us = 7\n\
                    shape = \"round\"\n\
                    socket_mode = \"rw\"\n\
                    [[disk]]\n\
                    name = \"a\"\n\
                    size = \"1G\"\n\
                    siez = \"1G\"\n\
                    limits = { read = { iops = 5, sway = 2 } }\n\
                    [[disk]]\n\
                    size = \"1G\"\n\
                    [[disk]]\n\
                    name = \"b\"\n\
                    size = \"1GB\"\n";
        let (file, mistakes) = examine(text);
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let unknown = mistakes.iter().filter(|it| it.is_unknown_key).count();
        assert_eq!(unknown, 4, "{told:?}");
        for wanted in [
            "line 1: this version doesn't know the key \"colour\"",
            "line 4: this version doesn't know the key \"daemon.shape\"",
            "line 9: this version doesn't know the key \"disk[0].siez\"",
            "line 10: this version doesn't know the key \"disk[0].limits.read.sway\"",
        ] {
            assert!(told.iter().any(|it| it == wanted), "{wanted}: {told:?}");
        }
        for start in ["line 5: ", "line 11: missing field", "line 15: "] {
            assert!(told.iter().any(|it| it.starts_with(start)), "{told:?}");
        }
        assert_eq!(mistakes.len(), 7, "{told:?}");
        assert_eq!(file.daemon.poll_us, Some(7));
        let names: Vec<_> = file.declaration.disks.iter().map(|it| &it.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn what_is_no_toml_is_told_by_line_and_the_number_of_mistakes_has_a_bound() {
        let (_, mistakes) = examine("[daemon]\nworkers = = 2\n");
        assert!(
            mistakes[0].to_string().starts_with("line 2: "),
            "{mistakes:?}"
        );
        let many: String = (0..1000).map(|at| format!("key{at} = 1\n")).collect();
        assert_eq!(examine(&many).1.len(), MOST_MISTAKES);
        assert_eq!(examine(""), (File::default(), Vec::new()));
    }
}
