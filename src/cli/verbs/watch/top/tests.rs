//! Screens of every width, and the picture in `docs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Modifier;

use super::view::{Page, View};
use super::{draw, figures, keys};
use crate::cli::print::samples;
use crate::model::{
    Actor, ActorKind, By, Event, EventKind, HistogramBucket, OperationStats, Stats,
};

fn screen(view: &mut View, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, view)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    let line = |y| {
        (0..area.width)
            .map(|x| buffer[(x, y)].symbol())
            .collect::<String>()
    };
    (0..area.height)
        .map(|y| line(y).trim_end().to_owned())
        .collect()
}

fn press(view: &mut View, code: KeyCode) -> bool {
    keys::press(view, KeyEvent::new(code, KeyModifiers::NONE))
}

/// Counters of a disk with requests of two kinds.
fn stats(disk: &str, reads: u64, writes: u64) -> Stats {
    let bounds = [
        Some(4e-6),
        Some(8e-6),
        Some(16e-6),
        Some(32e-6),
        Some(64e-6),
        None,
    ];
    let spread = |count: u64| {
        [
            count / 10,
            count / 2,
            count / 4,
            count / 10,
            count / 20,
            count / 500,
        ]
    };
    let of = |count: u64, bytes: u64| OperationStats {
        completed: count,
        errors: 0,
        bytes: count * bytes,
        time_ns: count * 9000,
        latency: HistogramBucket::row(bounds.into_iter(), &spread(count)),
    };
    Stats {
        disk: disk.to_owned(),
        operations: [
            ("read".to_owned(), of(reads, 4096)),
            ("write".to_owned(), of(writes, 16384)),
        ]
        .into(),
        ..Stats::default()
    }
}

/// A fleet with names and figures of all lengths, after a second.
fn fleet() -> View {
    let mut view = View::new(Path::new("/run/ramblk/api.sock"));
    let rates: [(&str, &str, u64, u64); 7] = [
        ("build-runner-07", "ci", 812_345, 391_027),
        ("web-1", "shop", 64_120, 12_008),
        ("web-2", "shop", 61_997, 11_640),
        (
            "db-primary-with-a-long-name-of-its-own",
            "shop",
            21_456,
            48_230,
        ),
        ("build-runner-08", "ci", 9, 120_411),
        ("golden", "", 0, 0),
        ("scratch", "", 1, 0),
    ];
    let disks = || {
        let made = rates.iter().enumerate().map(|(at, (name, tenant, ..))| {
            let mut disk = samples::disk(name);
            disk.labels.clear();
            if !tenant.is_empty() {
                disk.labels.insert("tenant".into(), (*tenant).into());
            }
            disk.charged_bytes >>= at * 3;
            (disk.attached, disk.group) = (!tenant.is_empty(), None);
            if !disk.attached {
                disk.front_ends.clear();
            }
            disk
        });
        made.collect::<Vec<_>>()
    };
    let counters = |seconds: u64| {
        let all = rates.iter();
        all.map(|(name, _, reads, writes)| stats(name, reads * seconds, writes * seconds))
            .collect::<Vec<_>>()
    };
    let start = Instant::now();
    let mut pool = samples::pool();
    pool.disks = rates.len();
    view.update(pool.clone(), disks(), counters(100), start);
    view.update(pool, disks(), counters(101), start + Duration::from_secs(1));
    view
}

/// The number at the beginning of a figure, in its base unit.
fn number(figure: &str) -> Option<f64> {
    let figure = figure.trim();
    if figure == "-" {
        return Some(0.0);
    }
    let end = figure.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (digits, unit) = figure.split_at(end.unwrap_or(figure.len()));
    let scale = match unit.trim().trim_end_matches("/s") {
        "" | "B" | "s" => 1.0,
        "K" => 1024.0,
        "M" => 1_048_576.0,
        "G" => 1_073_741_824.0,
        "T" => 1_099_511_627_776.0,
        "us" => 1e-6,
        "ms" => 1e-3,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * scale)
}

#[test]
fn a_screen_shows_what_each_disk_does() {
    let mut view = super::view::tests::seen();
    samples::compare("top", &lines(&screen(&mut view, 106, 7)).join("\n"));
}

#[test]
fn a_screen_of_any_size_can_be_drawn() {
    for page in [
        Page::Disks,
        Page::Help,
        Page::Disk("web-1".into()),
        Page::Sums(By::Group),
    ] {
        for (width, height) in [(1, 1), (10, 2), (40, 3), (300, 100)] {
            let mut view = fleet();
            view.page = page.clone();
            screen(&mut view, width, height);
        }
    }
}

#[test]
fn no_figure_is_cut_on_a_screen_of_any_width() {
    let mut view = fleet();
    let mut most = 0;
    for width in 60..=250_u16 {
        let shown = lines(&screen(&mut view, width, 14));
        let grid = figures::disks(&view);
        let columns = grid.fit(width.into());
        let taken: usize = columns.iter().map(|it| it.width + 1).sum::<usize>() - 1;
        assert!(
            taken <= usize::from(width) && columns.len() >= 5,
            "{width}: {columns:?}"
        );
        assert!(
            columns.len() >= most,
            "{width}: a wider screen shows no less"
        );
        most = columns.len();
        for (row, line) in grid.rows.iter().zip(&shown[3..]) {
            let letters: Vec<char> = format!("{line:<250}").chars().collect();
            let mut at = 0;
            for column in &columns {
                let cell: String = letters[at..at + column.width].iter().collect();
                at += column.width + 1;
                let head = &grid.heads[column.at];
                if head.kind == super::grid::Kind::Text {
                    continue;
                }
                assert_eq!(
                    cell.trim(),
                    row[column.at],
                    "{width}, {}: {line}",
                    head.name
                );
                if head.name != "AGE" && head.kind == super::grid::Kind::Figure {
                    assert!(number(&cell).is_some(), "{width}, {}: {cell:?}", head.name);
                }
            }
        }
        // The first row, from its text alone.
        let reads = columns
            .iter()
            .find(|it| grid.heads[it.at].name == "READ/s")
            .unwrap();
        assert!(shown[3].contains("812345"), "{width}: {}", shown[3]);
        assert!(reads.width >= 6);
        for line in &shown[..2] {
            assert!(!line.contains('…'), "{width}: {line}");
        }
    }
    assert!(most >= 17, "a wide screen shows more: {most}");
    let at_80 = figures::disks(&view).fit(80).len();
    assert!(at_80 >= 8, "what matters fits 80 columns: {at_80}");
}

#[test]
fn a_disk_s_page_has_its_latencies_and_its_past_on_any_width() {
    let mut view = fleet();
    press(&mut view, KeyCode::Enter);
    assert_eq!(view.page, Page::Disk("build-runner-07".into()));
    view.events = Some(vec![Event {
        id: 7,
        run: "00c0ffee".into(),
        time_ns: 1_764_000_000_123_456_789,
        kind: EventKind::Attached,
        disk: Some("build-runner-07".into()),
        actor: Actor {
            kind: ActorKind::FrontEnd,
            uid: Some(0),
            pid: Some(4242),
            process: Some("qemu-system-x86".into()),
            session: Some(1),
        },
        changes: Vec::new(),
        details: [("session".to_owned(), 1_u64.into())].into(),
    }]);
    for width in 60..=250 {
        let shown = lines(&screen(&mut view, width, 30)).join("\n");
        for figure in ["read 812345/s", " 60168", "49.9 %", "process 4242"] {
            assert!(shown.contains(figure), "{width}: {figure}:\n{shown}");
        }
        assert!(shown.contains("█") && shown.contains("2025-11-24T16:00:00.123Z  attached"));
    }
    assert!(press(&mut view, KeyCode::Esc) && view.page == Page::Disks);
}

#[test]
fn keys_filter_pause_and_add_up() {
    let mut view = fleet();
    press(&mut view, KeyCode::Char('/'));
    for letter in "tenant=shop".chars() {
        press(&mut view, KeyCode::Char(letter));
    }
    press(&mut view, KeyCode::Enter);
    let shown = lines(&screen(&mut view, 80, 12)).join("\n");
    assert!(
        shown.contains("web-1") && !shown.contains("golden"),
        "{shown}"
    );
    assert!(press(&mut view, KeyCode::Esc), "the filter goes first");
    press(&mut view, KeyCode::Char('g'));
    press(&mut view, KeyCode::Char('g'));
    let shown = lines(&screen(&mut view, 80, 12)).join("\n");
    assert!(shown.contains("sums by label=tenant"), "{shown}");
    let tenants = |shown: &str| {
        let values = shown.lines().skip(3).filter_map(|it| it.split(' ').next());
        values.take(3).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(tenants(&shown), ["ci", "shop", "-"], "{shown}");
    press(&mut view, KeyCode::Char('n'));
    press(&mut view, KeyCode::Char('n'));
    let reversed = lines(&screen(&mut view, 80, 12)).join("\n");
    assert_eq!(tenants(&reversed), ["-", "shop", "ci"], "{reversed}");
    press(&mut view, KeyCode::Char('i'));
    let ci = shown.lines().find(|line| line.starts_with("ci ")).unwrap();
    assert_eq!(ci.split_whitespace().nth(3), Some("812354"), "{shown}");
    press(&mut view, KeyCode::Enter);
    let ci = (By::Label("tenant".into()), Some("ci".to_owned()));
    assert_eq!((&view.page, &view.only), (&Page::Disks, &Some(ci)));
    let shown = lines(&screen(&mut view, 100, 12)).join("\n");
    assert!(
        shown.contains("tenant=ci: 2") && !shown.contains("web-1"),
        "{shown}"
    );
    press(&mut view, KeyCode::Char('p'));
    assert!(lines(&screen(&mut view, 80, 12))[1].starts_with("PAUSED"));
    press(&mut view, KeyCode::Char('?'));
    assert!(
        lines(&screen(&mut view, 80, 24))
            .join("\n")
            .contains("filter by name")
    );
    press(&mut view, KeyCode::Esc);
    press(&mut view, KeyCode::Esc);
    assert_eq!(
        view.page,
        Page::Sums(By::Label("tenant".into())),
        "back to the sums"
    );
    press(&mut view, KeyCode::Esc);
    assert!(!press(&mut view, KeyCode::Esc), "and then it ends");
}

#[test]
fn a_screen_that_is_too_small_says_which_rows_it_has_and_pages_by_them() {
    let mut view = fleet();
    let status = |view: &mut View| lines(&screen(view, 100, 7))[1].clone();
    assert!(
        status(&mut view).ends_with("1-3 of 7"),
        "{}",
        status(&mut view)
    );
    press(&mut view, KeyCode::PageDown);
    assert!(
        status(&mut view).ends_with("4-6 of 7"),
        "{}",
        status(&mut view)
    );
    press(&mut view, KeyCode::End);
    assert!(
        status(&mut view).ends_with("5-7 of 7"),
        "{}",
        status(&mut view)
    );
    assert!(lines(&screen(&mut view, 100, 20))[1].ends_with("by requests"));
}

/// A screen as an image.
fn svg(buffer: &Buffer) -> String {
    const CELL: (u32, u32) = (9, 19);
    let area = buffer.area;
    let (width, height) = (
        u32::from(area.width) * CELL.0 + 20,
        u32::from(area.height) * CELL.1 + 20,
    );
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<rect width=\"100%\" height=\"100%\" rx=\"6\" \
         fill=\"#16181d\"/>\n<g font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" \
         font-size=\"15\" fill=\"#d6d9de\" xml:space=\"preserve\">\n"
    );
    for y in 0..area.height {
        let top = u32::from(y) * CELL.1 + 10;
        let mut x = 0;
        while x < area.width {
            let style = buffer[(x, y)].modifier;
            let end = (x..area.width).find(|&at| buffer[(at, y)].modifier != style);
            let end = end.unwrap_or(area.width);
            let run: String = (x..end).map(|at| buffer[(at, y)].symbol()).collect();
            let left = u32::from(x) * CELL.0 + 10;
            let long = u32::from(end - x) * CELL.0;
            let mut look = String::new();
            if style.contains(Modifier::REVERSED) {
                let _ = writeln!(
                    text,
                    "<rect x=\"{left}\" y=\"{top}\" width=\"{long}\" height=\"{}\" \
                     fill=\"#2f6f9f\"/>",
                    CELL.1
                );
            }
            if style.contains(Modifier::BOLD) {
                look.push_str(" font-weight=\"bold\"");
            }
            if style.contains(Modifier::UNDERLINED) {
                look.push_str(" text-decoration=\"underline\"");
            }
            if style.contains(Modifier::DIM) {
                look.push_str(" fill=\"#8b919b\"");
            }
            if !run.trim().is_empty() {
                let run = run.replace('&', "&amp;").replace('<', "&lt;");
                let _ = writeln!(
                    text,
                    "<text x=\"{left}\" y=\"{}\" textLength=\"{long}\"{look}>{run}</text>",
                    top + 14
                );
            }
            x = end;
        }
    }
    text + "</g>\n</svg>\n"
}

/// `docs/top.svg` is made by this test: `INSTA_UPDATE=always` writes it.
#[test]
fn the_picture_in_docs_is_a_screen() {
    let mut view = fleet();
    let made = svg(&screen(&mut view, 110, 12));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/top.svg");
    if std::env::var("INSTA_UPDATE").is_ok_and(|it| it == "always") {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/top.svg is old: run this test with INSTA_UPDATE=always"
    );
}
