//! What statements take and give, the same for every dialect.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as WordError, StrDeserializer};

use super::{StoreError, Stored};

/// A value that goes into a statement or comes out of it; there are no others in the schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Param {
    /// Nothing.
    Null,
    /// Numbers, truths and times.
    Int(i64),
    /// Everything else.
    Text(String),
}

/// A connection within a transaction.
#[async_trait]
pub(super) trait Session: Send {
    /// Returns what a statement finds; its parameters are written `$1`, `$2`, ….
    async fn rows(&mut self, sql: &str, params: Vec<Param>) -> Stored<Vec<Row>>;

    /// Runs a statement and returns how many rows it changed.
    async fn run(&mut self, sql: &str, params: Vec<Param>) -> Stored<u64>;

    /// Runs a statement once for each of the parameters, and returns how many rows that changed.
    async fn run_each(&mut self, sql: &str, each: Vec<Vec<Param>>) -> Stored<u64>;
}

/// One row.
#[derive(Debug)]
pub(super) struct Row(pub(super) Vec<Param>);

impl Row {
    /// Returns its columns, from left to right.
    pub(super) fn cells(self) -> Cells {
        Cells(self.0.into_iter())
    }
}

/// The columns of a row, taken from left to right.
#[derive(Debug)]
pub(super) struct Cells(std::vec::IntoIter<Param>);

impl Cells {
    pub(super) fn text(&mut self) -> Stored<String> {
        self.text_if_any()?.ok_or_else(|| unreadable("text is missing"))
    }

    pub(super) fn text_if_any(&mut self) -> Stored<Option<String>> {
        match self.0.next() {
            Some(Param::Text(text)) => Ok(Some(text)),
            Some(Param::Null) => Ok(None),
            other => Err(unreadable(format!("{other:?} is no text"))),
        }
    }

    pub(super) fn int(&mut self) -> Stored<i64> {
        self.int_if_any()?.ok_or_else(|| unreadable("a number is missing"))
    }

    pub(super) fn int_if_any(&mut self) -> Stored<Option<i64>> {
        match self.0.next() {
            Some(Param::Int(number)) => Ok(Some(number)),
            Some(Param::Null) => Ok(None),
            other => Err(unreadable(format!("{other:?} is no number"))),
        }
    }

    pub(super) fn count(&mut self) -> Stored<u64> {
        self.int().map(|number| u64::try_from(number).unwrap_or_default())
    }

    pub(super) fn is_set(&mut self) -> Stored<bool> {
        self.int().map(|number| number != 0)
    }

    pub(super) fn time(&mut self) -> Stored<Timestamp> {
        self.time_if_any()?.ok_or_else(|| unreadable("a time is missing"))
    }

    pub(super) fn time_if_any(&mut self) -> Stored<Option<Timestamp>> {
        let time = |nanoseconds: i64| Timestamp::from_nanosecond(nanoseconds.into()).map_err(unreadable);
        self.int_if_any()?.map(time).transpose()
    }

    pub(super) fn json<T: DeserializeOwned>(&mut self) -> Stored<T> {
        serde_json::from_str(&self.text()?).map_err(unreadable)
    }

    pub(super) fn json_if_any<T: DeserializeOwned>(&mut self) -> Stored<Option<T>> {
        self.text_if_any()?.map(|text| serde_json::from_str(&text).map_err(unreadable)).transpose()
    }

    /// Returns a value that is written as one word.
    pub(super) fn word<T: DeserializeOwned>(&mut self) -> Stored<T> {
        let text = self.text()?;
        T::deserialize(StrDeserializer::<WordError>::new(&text)).map_err(unreadable)
    }

    /// Returns what is left.
    pub(super) fn rest(self) -> Vec<Param> {
        self.0.collect()
    }
}

/// What is stored is not what this program writes.
#[allow(clippy::needless_pass_by_value, reason = "handed to map_err, which gives it away")]
pub(super) fn unreadable(cause: impl ToString) -> StoreError {
    StoreError::Failed { context: "the store holds what cannot be read", cause: cause.to_string() }
}

/// Returns the word of a value that is written as one.
pub(super) fn word<T: Serialize>(value: &T) -> Stored<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        other => Err(unwritable(format!("{other:?} is no word"))),
    }
}

/// Returns a value as JSON, for what is only ever read whole.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Stored<String> {
    serde_json::to_string(value).map_err(unwritable)
}

#[allow(clippy::needless_pass_by_value, reason = "handed to map_err, which gives it away")]
fn unwritable(cause: impl ToString) -> StoreError {
    StoreError::Failed { context: "what is to be stored cannot be written", cause: cause.to_string() }
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        // PostgreSQL has no place for it, and one such message must not keep a whole batch out.
        Self::Text(if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text })
    }
}

impl From<&String> for Param {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<i64> for Param {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Param {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Param {
    fn from(is_set: bool) -> Self {
        Self::Int(is_set.into())
    }
}

impl From<Timestamp> for Param {
    fn from(time: Timestamp) -> Self {
        let nanoseconds = time.as_nanosecond();
        let end = if nanoseconds < 0 { i64::MIN } else { i64::MAX };
        Self::Int(i64::try_from(nanoseconds).unwrap_or(end))
    }
}

impl<T: Into<Self>> From<Option<T>> for Param {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
