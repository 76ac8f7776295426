//! Lists: what narrows them, and pages of them that a cursor goes on with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value as Json;

use super::session::{Cells, Param, Row, Session};
use super::{Page, StoreError, Stored, TimeSort};

/// Rows of a page, whatever is asked for.
const MOST: usize = 10_000;

/// A query under way: what it reads, and the conditions that rows must meet.
#[derive(Debug, Clone)]
pub(super) struct Select {
    columns: String,
    from: &'static str,
    conditions: Vec<String>,
    group: Option<String>,
    /// What groups must meet, and not their rows.
    of_groups: Vec<String>,
    params: Vec<Param>,
}

impl Select {
    pub(super) fn new(columns: impl Into<String>, from: &'static str) -> Self {
        Self {
            columns: columns.into(),
            from,
            conditions: Vec::new(),
            group: None,
            of_groups: Vec::new(),
            params: Vec::new(),
        }
    }

    /// Takes a parameter in and returns how a condition writes it.
    pub(super) fn bind(&mut self, param: impl Into<Param>) -> String {
        self.params.push(param.into());
        format!("${}", self.params.len())
    }

    pub(super) fn only(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    pub(super) fn is(&mut self, expression: &str, param: impl Into<Param>) {
        let param = self.bind(param);
        self.only(format!("{expression} = {param}"));
    }

    /// Keeps rows with one of the values; none is no condition.
    pub(super) fn any_of<T: Into<Param>>(&mut self, expression: &str, values: impl IntoIterator<Item = T>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() {
            self.within(expression, values);
        }
    }

    /// Keeps rows with one of the values; none keeps no row.
    pub(super) fn within<T: Into<Param>>(&mut self, expression: &str, values: impl IntoIterator<Item = T>) {
        let values: Vec<String> = values.into_iter().map(|value| self.bind(value)).collect();
        self.only(match values.as_slice() {
            [] => "1 = 0".to_owned(),
            [only] => format!("{expression} = {only}"),
            many => format!("{expression} IN ({})", many.join(", ")),
        });
    }

    /// Begins another query whose parameters go on from those of this one.
    pub(super) fn beside(params: Vec<Param>, columns: impl Into<String>, from: &'static str) -> Self {
        Self { params, ..Self::new(columns, from) }
    }

    pub(super) fn group_by(&mut self, columns: impl Into<String>) {
        self.group = Some(columns.into());
    }

    pub(super) fn since(&mut self, column: &str, since: Option<Timestamp>) {
        if let Some(since) = since {
            let since = self.bind(since);
            self.only(format!("{column} >= {since}"));
        }
    }

    /// Keeps rows whose time is after the first and not after the second.
    pub(super) fn came(&mut self, column: &str, came: Option<(Timestamp, Timestamp)>) {
        if let Some((after, until)) = came {
            let (after, until) = (self.bind(after), self.bind(until));
            self.only(format!("{column} > {after} AND {column} <= {until}"));
        }
    }

    /// Keeps rows whose text holds one of the pieces, as they are written; none is no condition.
    pub(super) fn holds_one(&mut self, column: &str, pieces: &[String]) {
        let pieces: Vec<String> = pieces.iter().map(|piece| self.bind(holding(piece))).collect();
        if !pieces.is_empty() {
            let each = pieces.iter().map(|piece| format!("{column} LIKE {piece} ESCAPE '!'"));
            self.only(format!("({})", each.collect::<Vec<_>>().join(" OR ")));
        }
    }

    /// Keeps rows in which each word of a text stands in one of the columns, in any case of A to Z.
    ///
    /// `holds_word` is a function of the schema on PostgreSQL, and of each connection to SQLite.
    pub(super) fn words(&mut self, columns: &[&str], text: Option<&str>) {
        for word in text.into_iter().flat_map(str::split_whitespace) {
            let word = self.bind(word.to_ascii_lowercase());
            self.only(format!("holds_word({word}, {})", columns.join(", ")));
        }
    }

    /// Returns the statement with what follows its conditions, and its parameters.
    pub(super) fn build(self, tail: &str) -> (String, Vec<Param>) {
        let all_of = |word: &str, conditions: &[String]| match conditions {
            [] => String::new(),
            some => format!(" {word} {}", some.join(" AND ")),
        };
        let (rows, groups) = (all_of("WHERE", &self.conditions), all_of("HAVING", &self.of_groups));
        let group = self.group.map(|columns| format!(" GROUP BY {columns}")).unwrap_or_default();
        (format!("SELECT {} FROM {}{rows}{group}{groups} {tail}", self.columns, self.from), self.params)
    }

    /// Returns what it finds.
    pub(super) async fn rows(self, session: &mut dyn Session, tail: &str) -> Stored<Vec<Row>> {
        let (sql, params) = self.build(tail);
        session.rows(&sql, params).await
    }
}

/// Returns the pattern of texts that hold a piece, with what LIKE takes for wildcards escaped.
fn holding(piece: &str) -> String {
    format!("%{}%", piece.replace('!', "!!").replace('%', "!%").replace('_', "!_"))
}

/// What a list is ordered by: columns that are never null, the last of them unique.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    /// Tells cursors of one order from those of others.
    pub(super) tag: &'static str,
    /// The columns.
    pub(super) columns: &'static [&'static str],
    /// Whether the greatest comes first.
    pub(super) is_descending: bool,
}

impl Order {
    /// Returns the order of what happened, by columns that begin with its time; a tag for each direction.
    pub(super) const fn of_time(
        [newest, oldest]: [&'static str; 2],
        columns: &'static [&'static str],
        sort: TimeSort,
    ) -> Self {
        match sort {
            TimeSort::Newest => Self { tag: newest, columns, is_descending: true },
            TimeSort::Oldest => Self { tag: oldest, columns, is_descending: false },
        }
    }

    fn tail(&self, limit: usize) -> String {
        let direction = if self.is_descending { " DESC" } else { "" };
        let columns: Vec<String> = self.columns.iter().map(|column| format!("{column}{direction}")).collect();
        format!("ORDER BY {} LIMIT {limit}", columns.join(", "))
    }

    fn cursor(&self, key: &[Param]) -> String {
        let values = key.iter().map(|value| match value {
            Param::Null => Json::Null,
            Param::Int(number) => (*number).into(),
            Param::Text(text) => text.as_str().into(),
        });
        let parts: Vec<Json> = std::iter::once(Json::from(self.tag)).chain(values).collect();
        URL_SAFE_NO_PAD.encode(Json::from(parts).to_string())
    }

    /// Returns the key at which a list goes on; the database is asked only with what [`Self::cursor`] could have written.
    fn key(&self, cursor: &str) -> Option<Vec<Param>> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let parts: Vec<Json> = serde_json::from_slice(&bytes).ok()?;
        let (tag, values) = parts.split_first()?;
        let key: Vec<Param> = values
            .iter()
            .map(|value| match value {
                Json::String(text) => Some(text.as_str().into()),
                value => value.as_i64().map(Param::Int),
            })
            .collect::<Option<_>>()?;
        let fits = key.len() == self.columns.len()
            && key.iter().zip(self.columns).all(|(value, column)| matches!(value, Param::Int(_)) == is_number(column));
        (tag.as_str() == Some(self.tag) && fits).then_some(key)
    }

    /// Keeps rows after a key.
    fn after(&self, select: &mut Select, key: &[Param]) {
        let key: Vec<String> = key.iter().map(|value| select.bind(value.clone())).collect();
        let than = if self.is_descending { '<' } else { '>' };
        let condition = format!("({}) {than} ({})", self.columns.join(", "), key.join(", "));
        if self.columns.contains(&COUNT) {
            select.of_groups.push(condition);
        } else {
            select.only(condition);
        }
    }
}

/// How many rows a group has.
pub(super) const COUNT: &str = "COUNT(*)";

/// Columns of orders that hold numbers.
fn is_number(column: &str) -> bool {
    [
        COUNT,
        "gravity",
        "number",
        "first_seen",
        "audit.id",
        "decided",
        "judged",
        "judged.id",
        "changed",
        "mode_change.id",
    ]
    .contains(&column)
}

impl From<&Param> for Param {
    fn from(param: &Param) -> Self {
        param.clone()
    }
}

/// Returns a page of what several queries find together.
///
/// Each walks an index in order and stops at the limit, where one query with `OR` would have to sort everything.
pub(super) async fn page<T>(
    session: &mut dyn Session,
    parts: Vec<Select>,
    order: Order,
    (cursor, limit): (Option<&str>, usize),
    read: fn(&mut Cells) -> Stored<T>,
) -> Stored<Page<T>> {
    let limit = limit.clamp(1, MOST);
    let after = cursor.map(|cursor| order.key(cursor).ok_or(StoreError::Cursor)).transpose()?;
    let mut found = Vec::new();
    for mut part in parts {
        part.columns = format!("{}, {}", part.columns, order.columns.join(", "));
        if let Some(key) = &after {
            order.after(&mut part, key);
        }
        for row in part.rows(session, &order.tail(limit.saturating_add(1))).await? {
            let mut cells = row.cells();
            let item = read(&mut cells)?;
            found.push((cells.rest(), item));
        }
    }
    found.sort_by(|(a, _), (b, _)| if order.is_descending { b.cmp(a) } else { a.cmp(b) });
    let is_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| is_more).map(|(key, _)| order.cursor(key));
    Ok(Page { items: found.into_iter().map(|(_, item)| item).collect(), next })
}
