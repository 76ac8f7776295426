//! What admission answered over the last day, drawn: how many requests in each span, and how long they took.

use std::fmt::Write as _;

use jiff::SignedDuration;

use super::chart::{HEIGHT, WIDTH, nice, real};
use super::decisions::microseconds;
use super::shell::Visit;
use super::words::{When, count, number};
use crate::scan::traffic::{SPAN, Span};

/// Spans that are drawn at least: two hours, so that the first bar is no wall.
const LEAST: usize = 12;
/// Of the plot of durations.
const LOW: f64 = 96.0;
/// What the scale of durations begins with, and may end with, in microseconds; each a hundredfold of the one before.
const SHORTEST: u64 = 100;
const LONGEST: [u64; 3] = [10_000, 1_000_000, 100_000_000];

/// The requests of a day.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// Bars, one path for each answer: the class of its colour, and the word.
    pub bars: Vec<(&'static str, &'static str, String)>,
    /// The numbers at the side of the bars, the largest first.
    pub scale: Vec<String>,
    /// What half of the answers took, and 99 of 100.
    pub half: String,
    /// What 99 of 100 took.
    pub most: String,
    /// The durations at the side, the longest first.
    pub durations: Vec<String>,
    /// When the first known span begins.
    pub since: When,
    /// Where the plot begins.
    pub from: When,
    /// What it shows, in a sentence.
    pub words: String,
    /// How long answers took, in a sentence.
    pub took: String,
    /// The same as a table, the newest first, without spans in which nobody asked.
    pub rows: Vec<Row>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// When the span begins.
    pub when: When,
    /// Allowed, warned of and denied.
    pub counts: [String; 3],
    /// What half, 95 and 99 of 100 answers took at most.
    pub took: [String; 3],
}

impl Traffic {
    /// Draws spans, the newest first; none where nobody asked.
    pub fn new(spans: &[Span], visit: &Visit) -> Option<Self> {
        let first = spans.last()?;
        let before = LEAST.saturating_sub(spans.len());
        let drawn = spans.len().max(LEAST);
        let width = WIDTH / real(u64::try_from(drawn).unwrap_or(1));
        let ahead = SignedDuration::from_secs(SPAN.saturating_mul(i64::try_from(before).unwrap_or_default()));
        let sum = |of: fn(&Span) -> u64| spans.iter().map(of).fold(0, u64::saturating_add);
        let top = nice(spans.iter().map(all).max().unwrap_or_default());
        let slowest = spans.iter().map(|span| span.p99_us).max().unwrap_or_default();
        let longest = LONGEST.into_iter().find(|longest| *longest >= slowest).unwrap_or(LONGEST[2]);
        let mut bars = [("fill-deny", "denied"), ("fill-warn", "warned"), ("fill-off", "allowed")]
            .map(|(class, word)| (class, word, String::new()));
        let mut lines = [String::new(), String::new()];
        let mut is_line = false;
        for (place, span) in (u64::try_from(before).unwrap_or_default()..).zip(spans.iter().rev()) {
            let left = real(place) * width;
            let mut below = HEIGHT;
            for ((.., path), requests) in bars.iter_mut().zip([span.denied, span.warned, span.allowed]) {
                let height = real(requests) / real(top) * HEIGHT;
                below -= height;
                if height > 0.0 {
                    let _ = write!(path, "M{left:.1} {below:.1}h{:.1}v{height:.1}h-{:.1}z", width * 0.8, width * 0.8);
                }
            }
            let has_any = all(span) > 0;
            for (line, took) in lines.iter_mut().zip([span.p50_us, span.p99_us]).filter(|_| has_any) {
                let begin = if is_line { 'L' } else { 'M' };
                let _ = write!(line, "{begin}{left:.1} {y:.1}h{:.1}", width * 0.8, y = height_of(took, longest));
            }
            is_line = has_any;
        }
        let [half, most] = lines;
        let (denied, warned) = (sum(|span| span.denied), sum(|span| span.warned));
        Some(Self {
            bars: bars.into(),
            scale: vec![number(top), number(top / 2), "0".to_owned()],
            half,
            most,
            durations: [longest, middle(longest), SHORTEST].map(microseconds).into(),
            since: visit.when(first.time),
            from: visit.when(first.time.checked_sub(ahead).unwrap_or(first.time)),
            words: format!(
                "{}: {} denied, {} warned of",
                count(sum(all), "request", "requests"),
                number(denied),
                number(warned)
            ),
            took: "How long answers took, half of them and 99 of 100, on a scale of powers of ten".to_owned(),
            rows: spans.iter().filter(|span| all(span) > 0).map(|span| row(span, visit)).collect(),
        })
    }
}

fn all(span: &Span) -> u64 {
    span.allowed.saturating_add(span.warned).saturating_add(span.denied)
}

/// Returns the duration in the middle of the scale, which goes by powers of ten.
fn middle(longest: u64) -> u64 {
    longest.saturating_mul(SHORTEST).isqrt()
}

/// Returns where a duration stands, from above.
fn height_of(took: u64, longest: u64) -> f64 {
    let part =
        (real(took.clamp(SHORTEST, longest)) / real(SHORTEST)).log10() / (real(longest) / real(SHORTEST)).log10();
    LOW - part * LOW
}

fn row(span: &Span, visit: &Visit) -> Row {
    Row {
        when: visit.when(span.time),
        counts: [span.allowed, span.warned, span.denied].map(number),
        took: [span.p50_us, span.p95_us, span.p99_us].map(microseconds),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn span(second: i64, [allowed, warned, denied]: [u64; 3], p99_us: u64) -> Span {
        let time = Timestamp::from_second(second).unwrap();
        Span { time, allowed, warned, denied, p50_us: 1000, p95_us: p99_us, p99_us }
    }

    #[test]
    fn each_span_has_its_bar_and_quiet_ones_break_the_line() {
        let visit = Visit::of(&http::HeaderMap::new(), &"/decisions".parse().unwrap());
        assert_eq!(Traffic::new(&[], &visit), None);
        let one = Traffic::new(&[span(0, [1, 0, 0], 900)], &visit).unwrap();
        assert!(one.bars[2].2.starts_with("M916.7 80.0h66.7"), "at the right: {:?}", one.bars);
        let spans = [
            span(1800, [0, 0, 10], 2_000_000),
            span(1200, [0, 0, 0], 0),
            span(600, [5, 5, 0], 100),
            span(0, [10, 0, 0], 100),
        ];
        let traffic = Traffic::new(&spans, &visit).unwrap();
        let signs = |text: &str, of: char| text.matches(of).count();
        assert_eq!(traffic.bars.iter().map(|(.., path)| signs(path, 'M')).collect::<Vec<_>>(), [1, 1, 2]);
        assert_eq!((signs(&traffic.most, 'M'), signs(&traffic.most, 'L')), (2, 1), "{}", traffic.most);
        assert_eq!(traffic.durations, ["100.0 s", "100.0 ms", "100 µs"]);
        assert_eq!(traffic.rows.len(), 3);
        assert_eq!(traffic.words, "30 requests: 10 denied, 5 warned of");
        assert!((height_of(1000, 10_000) - LOW / 2.0).abs() < 0.01);
    }
}
