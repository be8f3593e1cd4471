//! What is wrong with a command line, in a sentence.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The sentence for clap's error on this command line, with what to do.
pub(super) fn sentence(error: &clap::Error, program: &clap::Command, words: &[OsString]) -> String {
    let verb = verb(program, words);
    let what = what(error, &verb);
    format!("{what}; see '{verb} --help'")
}

/// The program, and the known verbs of the command line.
fn verb(program: &clap::Command, words: &[OsString]) -> String {
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
    verb
}

fn what(error: &clap::Error, verb: &str) -> String {
    let get = |kind| error.get(kind).map(ContextValue::to_string);
    let option = get(ContextKind::InvalidArg).unwrap_or_default();
    let option = plain(&option);
    let value = get(ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = get(ContextKind::InvalidSubcommand).unwrap_or_default();
            let near = near(error, ContextKind::SuggestedSubcommand);
            format!("{verb} has no verb '{word}'{near}")
        }
        ErrorKind::UnknownArgument if option.starts_with('-') => {
            let near = near(error, ContextKind::SuggestedArg);
            format!("{verb} has no option '{option}'{near}")
        }
        ErrorKind::UnknownArgument => format!("{verb} takes no argument '{option}'"),
        ErrorKind::MissingRequiredArgument => {
            format!(
                "{verb} needs {}",
                listed(error, ContextKind::InvalidArg, " and ")
            )
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

/// `; did you mean '...'?` for similar words.
fn near(error: &clap::Error, kind: ContextKind) -> String {
    match listed(error, kind, "' or '") {
        near if near.is_empty() => near,
        near => format!("; did you mean '{near}'?"),
    }
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
