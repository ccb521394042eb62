//! Figures as bars.

use std::error::Error;
use std::io;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::spread::Spread;

/// Sizes, in pixels.
const WIDTH: u32 = 760;
const BAR: u32 = 28;
const HEAD: u32 = 48;
const FOOT: u32 = 24;
const NAMES: u32 = 140;
/// Room for numbers behind the longest bar.
const NUMBERS: f64 = 140.0;

/// How much of its line a bar takes.
const THICKNESS: f64 = 0.6;

const GATEWAY: RGBColor = RGBColor(0x12, 0x8c, 0x7e);
const OTHERS: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const INK: RGBColor = RGBColor(0x24, 0x2a, 0x30);

/// A bar for each server.
pub(super) struct Bars {
    /// What is shown, with its unit.
    pub(super) title: String,
    /// Name and figure of each, from above.
    pub(super) bars: Vec<(String, Spread)>,
    /// The name of the one that stands out.
    pub(super) emphasis: String,
}

impl Bars {
    /// An SVG: medians as bars, the quartiles as a line.
    pub(super) fn draw(&self) -> io::Result<String> {
        let mut svg = String::new();
        let height = HEAD + FOOT + BAR * self.bars.len() as u32;
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        self.draw_on(&area).map_err(|error| io::Error::other(error.to_string()))?;
        drop(area);
        Ok(svg)
    }

    fn draw_on<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    ) -> Result<(), Box<dyn Error + 'a>> {
        area.fill(&WHITE)?;
        let style = |size: u32, at: Pos| ("sans-serif", size).into_font().color(&INK).pos(at);
        let left = style(17, Pos::new(HPos::Left, VPos::Top));
        area.draw(&Text::new(self.title.clone(), (12, 14), left))?;
        let longest = self.bars.iter().map(|(_, it)| it.high).fold(f64::MIN_POSITIVE, f64::max);
        let scale = (f64::from(WIDTH - NAMES) - NUMBERS) / longest;
        let x = |value: f64| (f64::from(NAMES) + value * scale) as i32;
        for (index, (name, spread)) in self.bars.iter().enumerate() {
            let top = f64::from(HEAD) + f64::from(BAR) * (index as f64 + (1.0 - THICKNESS) / 2.0);
            let (top, bottom) = (top as i32, (top + f64::from(BAR) * THICKNESS) as i32);
            let middle = i32::midpoint(top, bottom);
            let color = if *name == self.emphasis { GATEWAY } else { OTHERS };
            let bar = [(x(0.0), top), (x(spread.median), bottom)];
            area.draw(&Rectangle::new(bar, color.filled()))?;
            let line = vec![(x(spread.low), middle), (x(spread.high), middle)];
            area.draw(&PathElement::new(line, INK.stroke_width(2)))?;
            let right = style(14, Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(name.clone(), (NAMES as i32 - 8, middle), right))?;
            let number = super::report::number(spread.median);
            let behind = style(14, Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(number, (x(spread.high.max(spread.median)) + 8, middle), behind))?;
        }
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let spread = |median| Spread { median, low: median, high: median };
        let bars = Bars {
            title: "bytes".into(),
            bars: vec![("a".into(), spread(50.0)), ("b & c".into(), spread(100.0))],
            emphasis: "a".into(),
        };
        let svg = bars.draw().unwrap();
        let widths = svg.split("<rect ").skip(2).map(|rect| {
            let width = rect.split_once("width=\"").unwrap().1;
            width.split_once('"').unwrap().0.parse::<i32>().unwrap()
        });
        assert_eq!(widths.collect::<Vec<_>>(), [240, 480]);
        assert!(svg.contains("b &amp; c") && svg.contains("100.0"), "{svg}");
    }
}
