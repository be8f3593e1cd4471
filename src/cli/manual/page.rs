//! A page of the manual, in the language of `man(7)`.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// Where the pages come from, at the foot of each.
pub(super) const SOURCE: &str = concat!("ramblk ", env!("CARGO_PKG_VERSION"));

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page(Roff);

impl Page {
    /// A page with its head: `NAME(SECTION)`, and what it is about in a few words.
    pub(super) fn new(name: &str, section: &str, about: &str) -> Self {
        let mut page = Self::default();
        page.0.control("TH", [name, section, " ", SOURCE]);
        page.section("NAME");
        page.0.text([roman(format!("{name} - {about}"))]);
        page
    }

    /// Begin a section.
    pub(super) fn section(&mut self, title: &str) {
        self.0.control("SH", [title]);
    }

    /// Begin a part of a section.
    pub(super) fn part(&mut self, title: &str) {
        self.0.control("SS", [title]);
    }

    /// A paragraph. Words between backticks are bold.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.0.control("PP", []);
        self.0.text(inline(text));
    }

    /// A member of a list, whose head is bold.
    pub(super) fn item(&mut self, head: &str, text: &str) {
        self.0.control("TP", []);
        self.0.text([bold(head)]);
        self.0.text(inline(text));
    }

    /// Lines as they are.
    pub(super) fn lines(&mut self, lines: &[&str]) {
        self.0.control("PP", []);
        self.0.control("RS", ["4"]);
        self.0.control("nf", []);
        for line in lines {
            // An empty line would be a request for a paragraph.
            let line = if line.is_empty() { " " } else { line };
            self.0.text([roman(line)]);
        }
        self.0.control("fi", []);
        self.0.control("RE", []);
    }

    /// The page as `man` reads it.
    pub(super) fn render(&self) -> Vec<u8> {
        self.0.render().into_bytes()
    }

    /// The same to be put behind another page, which has what must come first already.
    pub(super) fn render_rest(&self) -> Vec<u8> {
        self.0.to_roff().into_bytes()
    }
}

/// The same page in ASCII, which every version of `man` reads.
pub(super) fn ascii(page: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(page);
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii() {
            true => plain.push(c),
            false => plain.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    plain.into_bytes()
}

/// Text with words between backticks, which become bold.
fn inline(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    let parts = parts.filter(|(_, part)| !part.is_empty());
    let parts = parts.map(|(at, part)| match at % 2 {
        0 => roman(part),
        _ => bold(part),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_as_man_wants_it() {
        let mut page = Page::new("ramblk.toml", "5", "the configuration file");
        page.section("DESCRIPTION");
        page.paragraph("A line with `words` in it.");
        page.item("key", "What it is.");
        page.lines(&[".dangerous", "", "-a 'b'"]);
        let text = String::from_utf8_lossy(&page.render()).into_owned();
        assert!(text.contains(".TH ramblk.toml 5 \" \" \"ramblk"), "{text}");
        assert!(text.contains("A line with \\fBwords\\fR in it."), "{text}");
        assert!(text.contains("\\&.dangerous"), "{text}");
        assert_eq!(ascii("a → b".as_bytes()), b"a \\[u2192] b");
    }
}
