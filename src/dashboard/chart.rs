//! Charts, drawn by the server: shapes as SVG that stretches, words around it as text, and a table of the same numbers.

use std::fmt::Write as _;

use super::words::number;

/// The plot's own units: it is stretched to where it stands.
pub const WIDTH: f64 = 1000.0;
/// Its height.
pub const HEIGHT: f64 = 160.0;
const BARS: f64 = 48.0;

/// One moment of a trend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// When, in seconds.
    pub second: i64,
    /// When, in words.
    pub label: String,
    /// What was open.
    pub open: u64,
    /// What came.
    pub opened: u64,
    /// What was fixed.
    pub fixed: u64,
}

/// A bar: where it begins, how wide and how high it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// The class of its colour.
    pub class: &'static str,
    /// From the left.
    pub x: f64,
    /// From above.
    pub y: f64,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

/// What was open over time, and what came and went.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// The line.
    pub line: String,
    /// The area below it.
    pub area: String,
    /// What came and went.
    pub bars: Vec<Bar>,
    /// The numbers at the side, the largest first.
    pub scale: Vec<String>,
    /// The largest number of the bars.
    pub most: String,
    /// The moments at the beginning and the end.
    pub ends: (String, String),
    /// What it shows, in a sentence.
    pub words: String,
    /// The same as a table, the newest first.
    pub points: Vec<Point>,
}

/// Returns a number to be drawn.
#[allow(clippy::cast_precision_loss, reason = "a plot has a thousand places")]
pub fn real(value: u64) -> f64 {
    value as f64
}

impl Trend {
    /// Draws moments, the oldest first; none with fewer than two.
    pub fn new(points: Vec<Point>) -> Option<Self> {
        let (first, last) = (points.first()?, points.last().filter(|_| points.len() > 1)?);
        let span = last.second.saturating_sub(first.second).max(1);
        let top = nice(points.iter().map(|point| point.open).max().unwrap_or_default());
        let most = points.iter().map(|point| point.opened.max(point.fixed)).max().unwrap_or_default().max(1);
        let x = |point: &Point| {
            let passed = u64::try_from(point.second.saturating_sub(first.second)).unwrap_or_default();
            real(passed) / real(span.unsigned_abs()) * WIDTH
        };
        let y = |point: &Point| HEIGHT - real(point.open) / real(top) * HEIGHT;
        let line = points.iter().enumerate().fold(String::new(), |mut line, (index, point)| {
            let _ = write!(line, "{}{:.1} {:.1}", if index == 0 { "M" } else { "L" }, x(point), y(point));
            line
        });
        let width = (WIDTH / real(u64::try_from(points.len()).unwrap_or(1)) / 3.0).clamp(1.0, 14.0);
        let bar = |point: &Point, class, value: u64, offset: f64| {
            let height = real(value) / real(most) * BARS;
            let left = (x(point) + offset).clamp(0.0, WIDTH - width);
            Bar { class, x: left, y: BARS - height, width, height }
        };
        let bars = points.iter().flat_map(|point| {
            let both = [bar(point, "new", point.opened, -width), bar(point, "fixed", point.fixed, 0.0)];
            both.into_iter().filter(|bar| bar.height > 0.0)
        });
        Some(Self {
            area: format!("{line}L{WIDTH} {HEIGHT}L0 {HEIGHT}Z"),
            bars: bars.collect(),
            line,
            scale: vec![number(top), number(top / 2), "0".to_owned()],
            most: number(most),
            ends: (first.label.clone(), last.label.clone()),
            words: format!("Open findings, from {} to {}", number(first.open), number(last.open)),
            points: points.into_iter().rev().collect(),
        })
    }
}

/// Returns a round even number that is not less.
pub fn nice(value: u64) -> u64 {
    let mut step: u64 = 1;
    while step.saturating_mul(10) <= value {
        step = step.saturating_mul(10);
    }
    let steps = [2, 4, 6, 8, 10, 12, 16, 20];
    steps.into_iter().map(|times| step.saturating_mul(times)).find(|round| *round >= value).unwrap_or(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn point(second: i64, open: u64, opened: u64, fixed: u64) -> Point {
        Point { second, label: second.to_string(), open, opened, fixed }
    }

    #[test]
    fn a_trend_begins_with_two_moments() {
        assert_eq!(Trend::new(vec![]), None);
        assert_eq!(Trend::new(vec![point(0, 1, 1, 0)]), None);
        let trend = Trend::new(vec![point(0, 20, 10, 0), point(50, 10, 0, 5), point(100, 16, 3, 0)]).unwrap();
        assert_eq!(trend.line, "M0.0 0.0L500.0 80.0L1000.0 32.0");
        assert_eq!(trend.scale, ["20", "10", "0"]);
        assert_eq!(trend.bars.len(), 3);
        assert!(trend.bars.iter().all(|bar| bar.x >= 0.0 && bar.x + bar.width <= WIDTH), "{:?}", trend.bars);
        assert_eq!(trend.points[0].second, 100);
    }

    #[test]
    fn scales_end_at_round_numbers() {
        for (value, expected) in [(0, 2), (1, 2), (7, 8), (10, 20), (35, 40), (99, 100), (101, 200), (1234, 2000)] {
            assert_eq!(nice(value), expected, "{value}");
        }
    }
}
