//! A mistake in a file, on one line: where it is, which key has it, and what would be right.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// How the reader begins what it says of a key that it doesn't know.
const UNKNOWN: &str = "unknown field";

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Mistake {
    /// Where it is, if that is known.
    pub(super) line: Option<usize>,
    pub(super) what: String,
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

/// What the reader says of a text, on one line.
pub(super) fn told(text: &str, error: &toml::de::Error) -> String {
    let tree = DeTable::parse(text);
    let path = tree.map(|tree| path_of(error, tree.get_ref()));
    Mistake::new(text, error, &path.unwrap_or_default()).to_string()
}

impl Mistake {
    /// What the reader says of the value at `path`.
    pub(super) fn new(text: &str, error: &toml::de::Error, path: &[Step]) -> Self {
        let line_of = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
        let what = error.message().trim_end().replace('\n', ", ");
        let is_unknown_key = what.starts_with(UNKNOWN);
        let what = in_words(&what).unwrap_or(what);
        Self {
            line: error.span().map(|span| line_of(span.start)),
            what: match path.is_empty() {
                true => what,
                false => format!("{}: {what}", key(path)),
            },
            is_unknown_key,
        }
    }
}

/// What the reader says of a value, without its names of types.
fn in_words(message: &str) -> Option<String> {
    if let Some((variant, known)) = message
        .strip_prefix("unknown variant ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        return Some(format!("{variant} is not possible: give {known}"));
    }
    let wrong = message.strip_prefix("invalid type: ");
    let wrong = wrong.or(message.strip_prefix("invalid value: "))?;
    let (had, wanted) = wrong.rsplit_once(", expected ")?;
    let had = match had {
        "sequence" => "list",
        "map" => "table",
        had => had,
    };
    let wanted = match wanted {
        "u8" => "a whole number up to 255",
        "u16" => "a whole number up to 65535",
        "u32" => "a whole number up to 4294967295",
        "u64" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "path string" => "a path in quotes",
        "a sequence" => "a list",
        "a map" => "a table",
        wanted if wanted.starts_with("struct ") => "a table",
        wanted => wanted,
    };
    Some(format!("give {wanted}, not the {had}"))
}

/// The path to the key or value that an error is about.
pub(super) fn path_of(error: &toml::de::Error, tree: &DeTable<'_>) -> Vec<Step> {
    let path = error.span().map(|span| path_to(tree, span));
    path.unwrap_or_default()
}

/// A path as people write it: `disk[0].size`.
pub(super) fn key(path: &[Step]) -> String {
    let key: String = path.iter().map(ToString::to_string).collect();
    key.trim_start_matches('.').to_owned()
}

/// A step on the path to a value.
#[derive(Clone, Debug)]
pub(super) enum Step {
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
