//! The manual: what each `--help` ends with, and the pages of `ramblk man`.
//!
//! Nothing is said twice: options come from the command line, keys of the file from its types,
//! calls of the API from its document, and explanations from the pages in `docs/guide`.
//!
//! | file | what it holds |
//! |---|---|
//! | `examples` | examples of every verb, from `examples.txt`, which the tests run |
//! | `guide` | the pages of the guide that others have parts of |
//! | `page` | a page: its sections, paragraphs and lists |
//! | `markdown` | sections of the guide, as parts of a page |
//! | `verbs` | the pages of the verbs |
//! | `formats` | the pages of the file, of the API and of faults |

mod examples;
mod formats;
mod guide;
mod markdown;
mod page;
mod verbs;

use clap::Command;

pub(in crate::cli) use self::examples::all as examples;

/// The command line `program` with examples at the end of each help.
pub(in crate::cli) fn with_examples(program: Command) -> Command {
    examples::at_the_end_of_help(program)
}

/// All pages about `program`, by file name: those of the verbs, and of the formats.
pub(in crate::cli) fn pages(program: &Command) -> Vec<(String, Vec<u8>)> {
    let mut pages = verbs::pages(program.clone());
    pages.extend(formats::pages(program));
    let pages = pages.into_iter();
    pages
        .map(|(name, page)| (name, page::ascii(&page)))
        .collect()
}

/// The page of `ramblk` itself.
pub(in crate::cli) fn first_page(program: &Command) -> Vec<u8> {
    page(program, "ramblk.1").unwrap_or_default()
}

/// The page with this file name.
pub(in crate::cli) fn page(program: &Command, file: &str) -> Option<Vec<u8>> {
    let mut pages = pages(program).into_iter();
    let found = pages.find(|(name, _)| name == file);
    found.map(|(_, page)| page)
}
