//! Code with line numbers, some lines of which matter.

/// How a line stands to what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is only there.
    Plain,
    /// It is what is wrong.
    Hit,
    /// It is part of what is wrong.
    Within,
    /// It is missing.
    Ghost,
    /// It goes.
    Gone,
}

impl Mark {
    /// Returns the class of the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Hit => "hit",
            Self::Within => "within",
            Self::Ghost => "ghost",
            Self::Gone => "gone",
        }
    }

    /// Returns the sign beside the line: colour alone says nothing.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Hit => "▸",
            Self::Ghost => "+",
            Self::Gone => "−",
            Self::Plain | Self::Within => "",
        }
    }

    /// Returns what is read aloud before the line.
    pub const fn aloud(self) -> &'static str {
        match self {
            Self::Hit => "wrong: ",
            Self::Ghost => "missing: ",
            Self::Gone => "removed: ",
            Self::Plain | Self::Within => "",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number; none where it is not in the text.
    pub number: Option<usize>,
    /// What stands before the key.
    pub lead: String,
    /// The key with its colon.
    pub key: String,
    /// The rest.
    pub rest: String,
    /// How it stands to what is told.
    pub mark: Mark,
}

impl Line {
    /// Returns the whole line.
    #[cfg(test)]
    pub fn text(&self) -> String {
        format!("{}{}{}", self.lead, self.key, self.rest)
    }
}

/// A text in which what matters is shown, and the rest is one click away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Code {
    /// What it is, for whoever cannot see it.
    pub label: String,
    /// Lines above what matters.
    pub above: Vec<Line>,
    /// Lines around what matters.
    pub shown: Vec<Line>,
    /// Lines below.
    pub below: Vec<Line>,
}

/// Lines on both sides of what matters.
const AROUND: usize = 14;
/// A text so short is shown whole.
const SHORT: usize = 40;

impl Code {
    /// Folds a text around the lines that matter; one in which none does is shown from its beginning.
    pub fn new(label: impl Into<String>, lines: Vec<Line>) -> Self {
        let label = label.into();
        let matters = |line: &Line| line.mark != Mark::Plain;
        let first = lines.iter().position(matters).unwrap_or_default();
        let last =
            lines.iter().rposition(|line| line.mark != Mark::Plain && line.mark != Mark::Within).unwrap_or(first);
        let (from, to) = (first.saturating_sub(AROUND), last.saturating_add(AROUND).saturating_add(1));
        if lines.len() <= SHORT {
            return Self { label, shown: lines, ..Self::default() };
        }
        let mut code = Self { label, ..Self::default() };
        for (index, line) in lines.into_iter().enumerate() {
            match index {
                index if index < from => code.above.push(line),
                index if index < to => code.shown.push(line),
                _ => code.below.push(line),
            }
        }
        code
    }

    /// Builds a text of which no line matters more than others.
    pub fn plain(label: impl Into<String>, text: &str) -> Self {
        let lines = text.trim_end().lines().enumerate().map(|(index, line)| {
            let (lead, key, rest) = split_key(line);
            Line { number: Some(index.saturating_add(1)), lead, key, rest, mark: Mark::Plain }
        });
        Self { label: label.into(), shown: lines.collect(), ..Self::default() }
    }
}

/// Returns what stands before a YAML key, the key with its colon, and the rest; a line without one is all rest.
fn split_key(line: &str) -> (String, String, String) {
    let content = line.trim_start_matches([' ', '-']);
    let (lead, content) = line.split_at(line.len().saturating_sub(content.len()));
    let end = content.find(": ").or_else(|| content.ends_with(':').then(|| content.len().saturating_sub(1)));
    let is_key = |key: &str| !key.is_empty() && !key.contains(['"', '\'', '{', '#', ' ', '(']);
    match end.and_then(|end| content.split_at_checked(end.saturating_add(1))).filter(|(key, _)| is_key(key)) {
        Some((key, rest)) => (lead.to_owned(), key.to_owned(), rest.to_owned()),
        None => (lead.to_owned(), String::new(), content.to_owned()),
    }
}
