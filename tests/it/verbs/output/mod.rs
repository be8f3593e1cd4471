//! What the terminal shows, and what it completes.

mod completions;
mod examples;
mod help;
mod json;
mod terminal;
mod words;
