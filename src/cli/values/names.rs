//! Names in numbers, as in `vm-{001..200}`.

/// The most names that patterns may make.
const MOST_NAMES: usize = 100_000;

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// From the first number to the last, each with at least this number of digits.
    Range {
        first: u64,
        last: u64,
        digits: usize,
    },
    /// One of several words.
    Words(Vec<String>),
    /// The name of the disk that is forked.
    Source,
}

/// A name, or a pattern of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct NamePattern(Vec<Part>);

impl NamePattern {
    /// The pattern that a word is: text with `{1..9}`, `{a,b}` and `{name}` in it.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("give a name, or a pattern as in 'vm-{001..200}'".into());
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((inside, behind)) = after.split_once('}') else {
                return Err(format!("{text:?} has a {{ without its }}"));
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(part(text, inside)?);
            rest = behind;
        }
        if rest.contains('}')
            || parts
                .iter()
                .any(|it| matches!(it, Part::Text(t) if t.contains('}')))
        {
            return Err(format!("{text:?} has a }} without its {{"));
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        let pattern = Self(parts);
        match pattern.count() {
            Some(count) if count <= MOST_NAMES => Ok(pattern),
            count => {
                let many = count.map_or_else(|| "too many".to_owned(), |it| it.to_string());
                Err(format!(
                    "{text:?} makes {many} names: make at most {MOST_NAMES} at once"
                ))
            }
        }
    }

    /// How many names it makes, if that is a number.
    fn count(&self) -> Option<usize> {
        self.0.iter().try_fold(1_usize, |count, part| {
            count.checked_mul(match part {
                Part::Text(_) | Part::Source => 1,
                Part::Range { first, last, .. } => {
                    usize::try_from(last - first).ok()?.checked_add(1)?
                }
                Part::Words(words) => words.len(),
            })
        })
    }

    /// Whether the name of what is forked is in it.
    pub(in crate::cli) fn names_source(&self) -> bool {
        self.0.contains(&Part::Source)
    }

    /// All names, in order. `source` is the name of what is forked.
    pub(in crate::cli) fn names(&self, source: &str) -> Vec<String> {
        let mut names = vec![String::new()];
        for part in &self.0 {
            let values: Vec<String> = match part {
                Part::Text(text) => vec![text.clone()],
                Part::Source => vec![source.to_owned()],
                Part::Words(words) => words.clone(),
                Part::Range {
                    first,
                    last,
                    digits,
                } => (*first..=*last)
                    .map(|number| format!("{number:0digits$}"))
                    .collect(),
            };
            let longer = names.iter().flat_map(|name| {
                let values = values.iter();
                values.map(move |value| format!("{name}{value}"))
            });
            names = longer.collect();
        }
        names
    }
}

/// What stands between braces.
fn part(text: &str, inside: &str) -> Result<Part, String> {
    if inside == "name" {
        return Ok(Part::Source);
    }
    if let Some((first, last)) = inside.split_once("..") {
        let number = |word: &str| word.parse::<u64>().ok().filter(|_| !word.starts_with('+'));
        let (Some(from), Some(to)) = (number(first), number(last)) else {
            return Err(format!(
                "{{{inside}}} in {text:?} is not a range: write two numbers, as in {{001..200}}"
            ));
        };
        if from > to {
            return Err(format!(
                "{{{inside}}} in {text:?} makes no name: begin with the smaller number"
            ));
        }
        // Zeros in front of either number are kept, as a shell does it.
        let padded = [first, last].into_iter().filter(|it| it.starts_with('0'));
        return Ok(Part::Range {
            first: from,
            last: to,
            digits: padded.map(str::len).max().unwrap_or(1),
        });
    }
    let words: Vec<String> = inside.split(',').map(str::to_owned).collect();
    if words.len() < 2 || words.iter().all(String::is_empty) {
        return Err(format!(
            "{{{inside}}} in {text:?} makes no name: write a range as in {{1..9}}, words as in \
             {{a,b}}, or {{name}} for the name of what is forked"
        ));
    }
    Ok(Part::Words(words))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        NamePattern::parse(text).unwrap().names("golden")
    }

    #[test]
    fn a_pattern_makes_the_names_that_a_shell_would() {
        assert_eq!(names("vm"), ["vm"]);
        assert_eq!(names("vm-{8..10}"), ["vm-8", "vm-9", "vm-10"]);
        assert_eq!(names("vm-{08..10}"), ["vm-08", "vm-09", "vm-10"]);
        assert_eq!(names("vm-{8..010}"), ["vm-008", "vm-009", "vm-010"]);
        assert_eq!(names("{web,db}{1..2}"), ["web1", "web2", "db1", "db2"]);
        assert_eq!(names("{name}-{a,}x"), ["golden-ax", "golden-x"]);
        assert_eq!(names("vm-{001..200}").len(), 200);
        assert_eq!(names("{0..0}"), ["0"]);
    }

    #[test]
    fn a_pattern_of_no_names_or_too_many_is_refused_with_what_to_write() {
        for (text, word) in [
            ("", "give a name"),
            ("vm-{", "without its }"),
            ("vm-}", "without its {"),
            ("vm-{1..2}}", "without its {"),
            ("vm-{}", "makes no name"),
            ("vm-{7}", "makes no name"),
            ("vm-{9..1}", "smaller number"),
            ("vm-{a..c}", "not a range"),
            ("vm-{1..}", "not a range"),
            ("vm-{-1..2}", "not a range"),
            ("vm-{1..100001}", "100001 names"),
            ("{1..1000}-{1..1000}", "1000000 names"),
            ("{0..18446744073709551615}", "too many names"),
            ("{1..99999999999}{1..99999999999}", "too many names"),
        ] {
            let refused = NamePattern::parse(text).unwrap_err();
            assert!(refused.contains(word), "{text}: {refused}");
        }
    }
}
