//! All mistakes of a file, each with its line, and what can be read of the rest.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::told::{Mistake, Step, key, path_of};
use super::{File, read_parsed, read_text};
use crate::cli::error::Error;

/// The most mistakes that are looked for. Each takes another reading.
const MOST_MISTAKES: usize = 100;

/// Read a file, and find all of its mistakes. What is wrong is left out of the file.
///
/// # Errors
/// It can't be read.
pub(in crate::cli) fn examine_file(path: &Path) -> Result<(File, Vec<Mistake>), Error> {
    Ok(examine(&read_text(path)?))
}

fn examine(text: &str) -> (File, Vec<Mistake>) {
    let (mut tree, errors) = DeTable::parse_recoverable(text);
    let mut mistakes: Vec<Mistake> = errors
        .iter()
        .take(MOST_MISTAKES)
        .map(|error| Mistake::new(text, error, &[]))
        .collect();
    let mut file = File::default();
    while errors.is_empty() && mistakes.len() < MOST_MISTAKES {
        let error = match read_parsed(Deserializer::from(tree.clone())) {
            Ok(whole) => {
                file = whole.into();
                break;
            }
            Err(error) => error,
        };
        let path = path_of(&error, tree.get_ref());
        let mut found = Mistake::new(text, &error, &path);
        if found.is_unknown_key {
            let key = key(&path);
            found.what = format!("this version doesn't know the key {key:?}");
        }
        // They are found in the order in which the reader asks for keys. Sorting them would be
        // seven kilobytes of code.
        let at = mistakes.partition_point(|it| it.line <= found.line);
        mistakes.insert(at, found);
        if !cut_table(tree.get_mut(), &path) {
            break;
        }
    }
    (file, mistakes)
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
        for start in ["line 5: ", "line 11: disk[1]: missing field", "line 15: "] {
            assert!(told.iter().any(|it| it.starts_with(start)), "{told:?}");
        }
        assert_eq!(mistakes.len(), 7, "{told:?}");
        let lines: Vec<_> = mistakes.iter().map(|it| it.line).collect();
        assert!(lines.is_sorted(), "{told:?}");
        assert_eq!(file.daemon.poll_us, Some(7));
        let names: Vec<_> = file.declaration.disks.iter().map(|it| &it.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_told_with_its_key_and_in_no_words_of_the_code() {
        let of = |text: &str| examine(text).1[0].to_string();
        for (text, wanted) in [
            (
                "[daemon]\npoll_us = \"64\"",
                "line 2: daemon.poll_us: give a whole number up to 4294967295, not the string \
                 \"64\"",
            ),
            (
                "[daemon]\nworkers = 70000",
                "line 2: daemon.workers: give a whole number up to 65535, not the integer `70000`",
            ),
            (
                "[[disk]]\nname = \"a\"\nread_only = \"yes\"",
                "line 3: disk[0].read_only: give true or false, not the string \"yes\"",
            ),
            (
                "[daemon]\nrun_dir = [1]",
                "line 2: daemon.run_dir: give a path in quotes, not the list",
            ),
            (
                "[daemon]\nmetrics_labels = \"vm\"",
                "line 2: daemon.metrics_labels: give a list, not the string \"vm\"",
            ),
            (
                "daemon = 1",
                "line 1: daemon: give a table, not the integer `1`",
            ),
            (
                "[[disk]]\nname = \"a\"\non_full = \"stop\"",
                "line 3: disk[0].on_full: `stop` is not possible: give `error` or `stall`",
            ),
        ] {
            assert_eq!(of(text), wanted);
        }
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
