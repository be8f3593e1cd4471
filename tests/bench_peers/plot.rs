//! The figures as bars: each peer's throughput, relative to the peer of the row's bar.

use std::path::Path;

use plotters::prelude::{BLACK, Color, RGBColor, WHITE};
use plotters::prelude::{IntoDrawingArea, IntoFont, PathElement, Rectangle, SVGBackend, Text};
use plotters::style::TextStyle;

use crate::measure::Failure;
use crate::table::{Column, Line};

const WIDTH: i32 = 900;
/// Where the bars begin; their labels are left of it.
const LEFT: i32 = 380;
const RIGHT: i32 = WIDTH - 60;
const TOP: i32 = 60;
const BAR: i32 = 11;
const GAP: i32 = 14;
/// The scale is logarithmic, between these two.
const LEAST: f64 = 0.02;
const MOST: f64 = 10.0;

const COLOURS: [RGBColor; 5] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x7f, 0x7f, 0x7f),
    RGBColor(0xbc, 0xbd, 0x22),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x2c, 0xa0, 0x2c),
];

fn x(value: f64) -> i32 {
    let part = (value.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + (f64::from(RIGHT - LEFT) * part) as i32
}

/// Draw all lines that have a comparison.
pub(crate) fn draw(path: &Path, lines: &[Line]) -> Result<(), Failure> {
    let lines: Vec<&Line> = lines
        .iter()
        .filter(|line| !line.relative.is_empty())
        .collect();
    let bars: usize = lines.iter().map(|line| line.relative.len()).sum();
    let bottom = TOP + bars as i32 * BAR + lines.len() as i32 * GAP;
    let size = (WIDTH.cast_unsigned(), (bottom + 40).cast_unsigned());
    let area = SVGBackend::new(path, size).into_drawing_area();
    let text = |size: i32| TextStyle::from(("sans-serif", size).into_font());
    area.fill(&WHITE)?;
    let title = "throughput, as a multiple of the peer that the bar is about (log scale)";
    area.draw(&Text::new(title, (10, 8), text(15)))?;
    for (at, column) in Column::ALL.into_iter().enumerate() {
        let left = 10 + at as i32 * 130;
        let (from, to) = ((left, 34), (left + 10, 44));
        area.draw(&Rectangle::new([from, to], COLOURS[at].filled()))?;
        area.draw(&Text::new(column.name(), (left + 15, 32), text(13)))?;
    }
    for tick in [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0] {
        let faint = BLACK.mix(if tick == 1.0 { 0.8 } else { 0.15 });
        area.draw(&PathElement::new(
            vec![(x(tick), TOP), (x(tick), bottom)],
            faint,
        ))?;
        area.draw(&Text::new(
            tick.to_string(),
            (x(tick) - 8, bottom + 8),
            text(12),
        ))?;
    }
    let mut y = TOP + GAP / 2;
    for line in lines {
        area.draw(&Text::new(line.what.clone(), (10, y), text(13)))?;
        for (column, value) in &line.relative {
            let colour = COLOURS[*column as usize].filled();
            area.draw(&Rectangle::new(
                [(LEFT, y), (x(*value), y + BAR - 1)],
                colour,
            ))?;
            let label = format!("{value:.2}");
            area.draw(&Text::new(label, (x(*value) + 4, y - 1), text(11)))?;
            y += BAR;
        }
        y += GAP;
    }
    area.present()?;
    Ok(())
}
