//! Examples of every verb, from `examples.txt`.

use clap::Command;
use serde::Serialize;

const TEXT: &str = include_str!("examples.txt");

/// How an example's command is indented in the text, and in a help.
const INDENT: &str = "    ";
/// What keeps an example from the tests.
const NOT_RUN: &str = "not run: ";
/// How many examples a help ends with. The page of a verb has all.
const IN_HELP: usize = 2;

/// An example of a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Example {
    /// The verb, as in `group create`, or the name of a page.
    pub(super) verb: &'static str,
    /// What it does.
    pub(super) what: &'static str,
    /// A command line for a shell.
    pub(super) line: &'static str,
    /// Why the tests can't run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_run: Option<&'static str>,
}

/// All examples, in order.
pub(in crate::cli) fn all() -> Vec<Example> {
    let mut found = Vec::<Example>::new();
    let (mut verb, mut what) = ("", "");
    for line in TEXT.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            verb = name;
        } else if let Some(line) = line.strip_prefix(INDENT) {
            found.push(Example {
                verb,
                what,
                line,
                not_run: None,
            });
        } else if let Some(reason) = line.strip_prefix(NOT_RUN) {
            if let Some(last) = found.last_mut() {
                last.not_run = Some(reason);
            }
        } else {
            what = line;
        }
    }
    found
}

/// The examples of a verb or a page.
pub(super) fn of(verb: &str) -> Vec<Example> {
    let mut found = all();
    found.retain(|example| example.verb == verb);
    found
}

/// The command line `program` with two examples at the end of each verb's help.
pub(super) fn at_the_end_of_help(program: Command) -> Command {
    add(program, "", &all())
}

fn add(mut command: Command, verb: &str, all: &[Example]) -> Command {
    let below = command.get_subcommands().map(|it| it.get_name().to_owned());
    for name in below.collect::<Vec<_>>() {
        let verb = format!("{verb} {name}").trim_start().to_owned();
        command = command.mut_subcommand(name, |below| add(below, &verb, all));
    }
    let own = all.iter().filter(|example| example.verb == verb);
    let own: Vec<String> = own
        .take(IN_HELP)
        .map(|example| format!("  {}:\n{INDENT}{}", example.what, example.line))
        .collect();
    match own.is_empty() {
        true => command,
        false => command.after_help(format!("Examples:\n{}", own.join("\n"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Ramblk;

    /// Pages with examples that are no verbs.
    const PAGES: [&str; 3] = ["ramblk.toml", "ramblk-api", "ramblk-faults"];

    fn verbs(command: &Command, path: &str, found: &mut BTreeSet<String>) {
        for verb in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            let path = format!("{path} {}", verb.get_name()).trim().to_owned();
            match verb.has_subcommands() {
                true => verbs(verb, &path, found),
                false => drop(found.insert(path)),
            }
        }
    }

    #[test]
    fn every_verb_has_two_examples_at_least_and_no_other_has_any() {
        let mut wanted = BTreeSet::from(PAGES.map(str::to_owned));
        verbs(&Ramblk::command(), "", &mut wanted);
        let all = all();
        let mut named: BTreeSet<String> = all.iter().map(|it| it.verb.to_owned()).collect();
        if !cfg!(feature = "top") {
            named.remove("top");
        }
        assert_eq!(named, wanted);
        for verb in &named {
            assert!(of(verb).len() >= IN_HELP, "{verb}");
        }
    }

    #[test]
    fn examples_fit_into_80_columns_and_call_the_verb() {
        for example in all() {
            let width = INDENT.len() + example.line.chars().count();
            assert!(width <= 80, "{}: {width}", example.line);
            let width = 3 + example.what.chars().count();
            assert!(width <= 80, "{}: {width}", example.what);
            assert!(!example.what.is_empty() && !example.what.ends_with('.'));
            let calls = format!("ramblk {}", example.verb);
            let global = example.line.contains("--api-socket");
            let is_page = PAGES.contains(&example.verb);
            assert!(
                example.line.contains(&calls) || global || is_page,
                "{}",
                example.line
            );
        }
    }
}
