//! Sections of the guide as parts of a page: paragraphs, lists, tables, blocks of lines, and
//! headings below the section's own.

use super::page::Page;

/// The text of a page below a heading, up to the next heading of that rank or a higher one.
pub(super) fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let rank = heading.len() - heading.trim_start_matches('#').len();
    let Some(start) = page.find(&format!("\n{heading}\n")) else {
        return "";
    };
    let text = &page[start + heading.len() + 2..];
    let mut is_code = false;
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        is_code ^= line.starts_with("```");
        let marks = line.len() - line.trim_start_matches('#').len();
        if !is_code && (1..=rank).contains(&marks) {
            break;
        }
        end += line.len();
    }
    &text[..end]
}

/// The rows of the first table with this head, without it: the cells of each.
pub(super) fn rows<'a>(page: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let lines = page.lines().skip_while(|line| *line != head).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(cells).collect()
}

/// Cells of a row. `\|` is no border.
fn cells(row: &str) -> Vec<&str> {
    let row = row.trim().trim_start_matches('|');
    let row = row.strip_suffix('|').unwrap_or(row);
    let mut cells = Vec::new();
    let (mut start, mut before) = (0, ' ');
    for (at, c) in row.char_indices() {
        if c == '|' && before != '\\' {
            cells.push(row[start..at].trim());
            start = at + 1;
        }
        before = c;
    }
    cells.push(row[start..].trim());
    cells
}

/// Add the text to a page.
pub(super) fn add(text: &str, page: &mut Page) {
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("<!--") {
            // A comment, which readers of the guide don't see either.
            let mut last = line;
            while !last.contains("-->") {
                let Some(next) = lines.next() else { return };
                last = next;
            }
        } else if line.starts_with("```") {
            let code: Vec<&str> = lines
                .by_ref()
                .take_while(|it| !it.starts_with("```"))
                .collect();
            page.lines(&code);
        } else if line.starts_with('|') {
            // The head, and the line below it.
            lines.next();
            while let Some(row) = lines.next_if(|it| it.starts_with('|')) {
                add_row(&cells(row), page);
            }
        } else if let Some(title) = line.strip_prefix('#') {
            page.part(&plain(title.trim_start_matches('#').trim()).replace('`', ""));
        } else if !line.trim().is_empty() {
            let is_item = |line: &str| line.starts_with("- ");
            let mut whole = line.trim_start_matches("- ").trim().to_owned();
            let ends = |next: &&str| {
                let next = *next;
                let begins = |mark| next.starts_with(mark);
                next.trim().is_empty() || ["|", "#", "```", "<!--"].into_iter().any(begins)
            };
            while let Some(next) = lines.next_if(|next| !ends(next) && !is_item(next)) {
                whole = whole + " " + next.trim();
            }
            match is_item(line) {
                true => page.item("\u{2022}", &plain(&whole)),
                false => page.paragraph(&plain(&whole)),
            }
        }
    }
}

/// A row: its first cell is what the others are about.
fn add_row(cells: &[&str], page: &mut Page) {
    let mut cells = cells.iter().map(|cell| plain(cell));
    let head = cells.next().unwrap_or_default().replace('`', "");
    let rest: Vec<String> = cells.filter(|cell| !cell.is_empty()).collect();
    page.item(&head, &rest.join(": "));
}

/// Text without links, emphasis and escapes.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('[') {
        let link = rest[start + 1..]
            .split_once("](")
            .and_then(|(name, after)| {
                let (_, after) = after.split_once(')')?;
                (!name.contains(']')).then_some((name, after))
            });
        plain.push_str(&rest[..start]);
        match link {
            Some((name, after)) => {
                plain.push_str(name);
                rest = after;
            }
            None => {
                plain.push('[');
                rest = &rest[start + 1..];
            }
        }
    }
    plain.push_str(rest);
    plain.replace("**", "").replace("\\|", "|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Page\n\n## One\n\nIt has [a link](b.md#c) and **words**,\n\
                        and `code[0]`.\n\n\
                        <!-- before\nhidden -->\n```sh\n# no heading\n.x\n```\n\n### Below\n\n\
                        - first\n  of two\n- second\n\n\
                        | key | what |\n|---|---|\n| `a\\|b` | see [x](y) |\n| c | d |\n\n\
                        ## Two\n\nother\n";

    #[test]
    fn a_section_ends_at_the_next_heading_of_its_rank() {
        let one = section(TEXT, "## One");
        assert!(
            one.contains("# no heading") && one.contains("### Below"),
            "{one}"
        );
        assert!(!one.contains("other") && section(TEXT, "## None").is_empty());
        assert_eq!(section(TEXT, "## Two").trim(), "other");
        assert_eq!(section(TEXT, "### Below").lines().count(), 10);
    }

    #[test]
    fn rows_of_a_table_are_found_by_its_head() {
        let rows = rows(TEXT, "| key | what |");
        assert_eq!(rows, [["`a\\|b`", "see [x](y)"], ["c", "d"]]);
    }

    #[test]
    fn all_of_a_section_stands_in_the_page() {
        let mut page = Page::default();
        add(section(TEXT, "## One"), &mut page);
        let text = String::from_utf8_lossy(&page.render_rest()).into_owned();
        for wanted in [
            "It has a link and words, and \\fBcode[0]\\fR.",
            "\\&.x",
            ".SS Below",
            "first of two",
            "\\fBa|b\\fR\nsee x",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(!text.contains("hidden") && !text.contains("-->"), "{text}");
    }
}
