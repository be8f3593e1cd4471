//! Each message that the page of symptoms quotes is a text of the programs.
//!
//! A quoted message has `…` where the program puts a value. What is between these must stand in one
//! string of the sources, in that order.

use std::fs;
use std::str::FromStr;

use proc_macro2::{TokenStream, TokenTree};

use crate::house::tidy::{root, sources};

const PAGE: &str = "docs/guide/troubleshooting.md";

/// The strings of a token stream, without comments for readers of the code.
fn strings(tokens: TokenStream, into: &mut Vec<String>) {
    let mut is_doc = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => strings(group.stream(), into),
            TokenTree::Literal(literal) if !is_doc => {
                if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                    into.push(text.value());
                }
            }
            TokenTree::Ident(name) => is_doc = name == "doc",
            _ => {}
        }
    }
}

/// The messages of a page: the lines of its blocks of `text`.
fn messages(page: &str) -> Vec<&str> {
    let blocks = page.split("```text\n").skip(1);
    blocks
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .collect()
}

/// Whether the parts of a message stand in a text, in this order.
fn is_of(message: &str, text: &str) -> bool {
    let mut rest = text;
    for part in message.split('…') {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    true
}

/// The messages that no source has.
fn unknown<'a>(page: &'a str, sources: &[String]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for source in sources {
        strings(TokenStream::from_str(source).unwrap(), &mut found);
    }
    let mut messages = messages(page);
    messages.retain(|message| !found.iter().any(|text| is_of(message, text)));
    messages
}

#[test]
fn messages_that_the_page_of_symptoms_quotes_are_those_of_the_programs() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let sources: Vec<String> = sources("src").into_iter().map(|(_, text)| text).collect();
    let unknown = unknown(&page, &sources);
    assert!(unknown.is_empty(), "{PAGE} quotes:\n{}", unknown.join("\n"));
    let count = messages(&page).len();
    assert!(count >= 15, "{count} messages");
}

#[test]
fn a_message_that_no_source_has_is_found() {
    let source = "/// no such disk, in a comment\nfn f() { g(\"disk {name} is \\\n   in use\") }";
    let of = |message: &'static str| {
        let page = format!("```text\n{message}\n```\n").leak();
        unknown(page, &[source.to_owned()]).len()
    };
    assert_eq!(of("disk … is in use"), 0);
    assert_eq!(of("is … disk"), 1);
    assert_eq!(of("no such disk"), 1);
}
