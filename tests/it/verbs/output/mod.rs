//! What the terminal shows, and what it completes.

mod advice;
mod completions;
mod examples;
mod help;
mod json;
mod terminal;
mod words;
