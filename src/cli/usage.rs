//! What is wrong with a command line, in a sentence.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::values::size::parse_size;

/// The sentence for clap's error on this command line, with what to do.
pub(super) fn sentence(error: &clap::Error, program: &clap::Command, words: &[OsString]) -> String {
    if error.kind() == ErrorKind::InvalidSubcommand {
        return no_verb(error, program, words);
    }
    let (at, verb) = verb(program, words);
    let what = what(error, program, at, &verb);
    format!("{what}; see '{verb} --help'")
}

/// Whether this command line is that of a process that serves disks, and so has a log.
pub(super) fn serves(program: &clap::Command, words: &[OsString]) -> bool {
    const VERBS: [&str; 2] = ["run", "serve"];
    !program.has_subcommands() || VERBS.contains(&verb(program, words).0.get_name())
}

/// The sentence for a word that is no verb, with what may have been meant.
fn no_verb(error: &clap::Error, program: &clap::Command, words: &[OsString]) -> String {
    let word = listed(error, ContextKind::InvalidSubcommand, "");
    let known = words.iter().position(|it| it.to_str() == Some(&word));
    let (before, behind) = words.split_at(known.unwrap_or(words.len()));
    let (at, verb) = verb(program, before);
    let next = behind.get(1).and_then(|next| at.find_subcommand(next));
    let near = meant(at, &word);
    let hint = match next {
        Some(next) if near.is_empty() => {
            format!("; write '{verb} {} {word}'", next.get_name())
        }
        None if near.is_empty() && at.get_name() != program.get_name() => {
            let verbs = at.get_subcommands().map(clap::Command::get_name);
            let verbs: Vec<&str> = verbs.filter(|&name| name != "help").collect();
            format!(": its verbs are {}", verbs.join(", "))
        }
        _ => near,
    };
    format!("{verb} has no verb '{word}'{hint}; see '{verb} --help'")
}

/// The last known verb of the command line, and the program with all of them.
fn verb<'p>(program: &'p clap::Command, words: &[OsString]) -> (&'p clap::Command, String) {
    let (mut at, mut verb) = (program, program.get_name().to_owned());
    for word in words.iter().skip(1) {
        if let Some(below) = at.find_subcommand(word) {
            verb = format!("{verb} {}", below.get_name());
            at = below;
        }
        if !at.has_subcommands() {
            break;
        }
    }
    (at, verb)
}

fn what(error: &clap::Error, program: &clap::Command, at: &clap::Command, verb: &str) -> String {
    let get = |kind| error.get(kind).map(ContextValue::to_string);
    let option = get(ContextKind::InvalidArg).unwrap_or_default();
    let option = plain(&option);
    let value = get(ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if is_negative(&option) => {
            format!("{verb} has no option '{option}', and nothing that it takes is below 0")
        }
        ErrorKind::UnknownArgument if option.starts_with('-') => {
            let near = || near(error, ContextKind::SuggestedArg, &option);
            let hint = elsewhere(program, at, &option).map_or_else(near, str::to_owned);
            format!("{verb} has no option '{option}'{hint}")
        }
        ErrorKind::UnknownArgument => {
            format!("{verb} takes no argument '{option}'{}", place(at, &option))
        }
        ErrorKind::MissingRequiredArgument => {
            let needed = listed(error, ContextKind::InvalidArg, " and ");
            format!("{verb} needs {needed}{}", values(at, &needed))
        }
        ErrorKind::MissingSubcommand => {
            let verbs = listed(error, ContextKind::ValidSubcommand, ", ");
            format!("{verb} needs a verb: {verbs}")
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("{option} needs a value"),
        ErrorKind::InvalidValue => {
            let values = listed(error, ContextKind::ValidValue, ", ");
            format!("{option} can't be '{value}': it is one of {values}")
        }
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error).map(ToString::to_string);
            format!(
                "{option} can't be '{value}': {}",
                why.map_or_else(String::new, |it| reason(&it))
            )
        }
        ErrorKind::ArgumentConflict => {
            let other = listed(error, ContextKind::PriorArg, " and ");
            match other == option || other.is_empty() {
                true => format!("{option} can be given only once"),
                false => format!("{option} can't be combined with {other}"),
            }
        }
        ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues | ErrorKind::TooManyValues => {
            format!("{option} has the wrong number of values")
        }
        ErrorKind::NoEquals => format!("{option} needs its value after an equals sign"),
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".into(),
        _ => first_line(&error.to_string()),
    }
}

/// `, which is one of ...` for an option that has fixed values.
fn values(at: &clap::Command, option: &str) -> String {
    let long = option.strip_prefix("--").unwrap_or_default();
    let long = long.split(' ').next();
    let found = at.get_arguments().find(|it| it.get_long() == long);
    let values = found
        .map(clap::Arg::get_possible_values)
        .unwrap_or_default();
    let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(", which is one of {}", names.join(", ")),
    }
}

/// Whether a word begins as a number below 0.
fn is_negative(word: &str) -> bool {
    let digits = word.strip_prefix('-');
    digits.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// A parser's message. Messages of Rust's number parsers become plain words.
fn reason(why: &str) -> String {
    if let Some((_, range)) = why.split_once(" is not in ") {
        let (least, most) = range.split_once("..").unwrap_or((range, ""));
        let most = most.trim_start_matches('=');
        return match most.len() {
            1..10 => format!("give a whole number from {least} to {most}"),
            _ => format!("give a whole number from {least} on"),
        };
    }
    match why {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "give a whole number".into()
        }
        "number too large to fit in target type" => "give a smaller number".into(),
        why => why.to_owned(),
    }
}

/// Verbs of other programs, with what ramblk calls them: the first one that is a verb there.
const OTHERS: [(&str, &[&str]); 7] = [
    ("delete", &["destroy", "rm"]),
    ("remove", &["destroy", "rm"]),
    ("rm", &["destroy"]),
    ("start", &["serve"]),
    ("clone", &["fork"]),
    ("info", &["show"]),
    ("inspect", &["show"]),
];

/// `; did you mean '...'?` for a word that is no verb of `at`.
fn meant(at: &clap::Command, word: &str) -> String {
    let other = OTHERS.iter().find(|(other, _)| *other == word);
    let mut verbs = other.map_or(&[] as &[&str], |(_, verbs)| verbs).iter();
    if let Some(verb) = verbs.find(|verb| at.find_subcommand(verb).is_some()) {
        return format!("; did you mean '{verb}'?");
    }
    // `help` has no suggestions of its own.
    let again = at.clone().try_get_matches_from([at.get_name(), word]);
    let near = |error| near(&error, ContextKind::SuggestedSubcommand, word);
    again.err().map_or_else(String::new, near)
}

/// `; did you mean '...'?` for words that are like `word`: the best one, or two that are as good.
fn near(error: &clap::Error, kind: ContextKind, word: &str) -> String {
    let known = match error.get(kind) {
        Some(ContextValue::Strings(words)) => words.clone(),
        Some(ContextValue::String(word)) => vec![word.clone()],
        _ => Vec::new(),
    };
    let most = word.trim_start_matches('-').len().div_ceil(3).min(3);
    let near = known.into_iter().map(|it| (mistakes(word, &it), it));
    let near: Vec<(usize, String)> = near.filter(|(it, _)| *it <= most).collect();
    let best = near.iter().map(|(mistakes, _)| *mistakes).min();
    // clap has the likeliest last.
    let near = near.iter().rev().filter(|(it, _)| Some(*it) == best);
    let near: Vec<&str> = near.take(2).map(|(_, word)| word.as_str()).collect();
    match near.is_empty() {
        true => String::new(),
        false => format!("; did you mean '{}'?", near.join("' or '")),
    }
}

/// How many letters of `word` are missing, too many or wrong if `meant` is meant. The beginning of
/// a word has none.
fn mistakes(word: &str, meant: &str) -> usize {
    if !word.is_empty() && meant.starts_with(word) {
        return 0;
    }
    let meant: Vec<char> = meant.chars().collect();
    let mut row: Vec<usize> = (0..=meant.len()).collect();
    for (above, letter) in word.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for (at, other) in meant.iter().enumerate() {
            let wrong = diagonal + usize::from(letter != *other);
            diagonal = row[at + 1];
            row[at + 1] = wrong.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[meant.len()]
}

/// Where a word belongs that a verb doesn't take by itself.
fn place(at: &clap::Command, word: &str) -> String {
    if at.get_arguments().any(clap::Arg::is_last_set) {
        return "; put the command behind --".into();
    }
    match at.get_name() {
        "apply" => format!("; use -f {word}"),
        "create" if has(at, "size") && parse_size(word).is_ok() => format!("; use --size {word}"),
        _ => String::new(),
    }
}

/// The verb with an option for disks that `set` hasn't.
fn elsewhere(program: &clap::Command, at: &clap::Command, option: &str) -> Option<&'static str> {
    let long = option.strip_prefix("--")?;
    // The one of groups has limits.
    if at.get_name() != "set" || has(at, "iops") {
        return None;
    }
    match long {
        "size" => Some("; use 'ramblk resize' for the size"),
        _ if has(program.find_subcommand("limit")?, long) => {
            Some("; use 'ramblk limit' for limits")
        }
        _ => None,
    }
}

/// Whether a verb has this option.
fn has(verb: &clap::Command, long: &str) -> bool {
    verb.get_arguments().any(|it| it.get_long() == Some(long))
}

fn listed(error: &clap::Error, kind: ContextKind, between: &str) -> String {
    match error.get(kind) {
        Some(ContextValue::Strings(words)) => {
            let words: Vec<String> = words.iter().map(|word| plain(word)).collect();
            words.join(between)
        }
        Some(ContextValue::String(word)) => plain(word),
        Some(word) => plain(&word.to_string()),
        None => String::new(),
    }
}

/// An option as you type it: `--size SIZE`, not `--size <SIZE>`.
fn plain(option: &str) -> String {
    option.replace(['<', '>'], "")
}

/// Clap's own message.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}
