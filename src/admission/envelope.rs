//! Reading an AdmissionReview: the envelope first, the objects in it only when they are judged.
//!
//! Source: `admission.k8s.io/v1`, <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use serde_json::value::RawValue;

use super::authority::metadata_of;
use super::unchanged;

use crate::engine::{EvalError, Fields as _, Value, json, weight};
use crate::policy::{GroupVersionKind, NamespaceMeta, Operation};

/// The longest `userInfo` that is read, in bytes.
const LONGEST_USER_INFO: usize = 256 << 10;

/// An AdmissionRequest whose objects are still text.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Identifies the request; goes into the answer.
    pub uid: String,
    /// Kind of the object as it is sent to us.
    pub kind: GroupVersionKind,
    /// Kind that the client sent.
    pub request_kind: Option<GroupVersionKind>,
    /// Subresource, for example `ephemeralcontainers`; empty for the object itself.
    pub sub_resource: String,
    /// Name in the request; empty when the API server is to make one.
    pub name: String,
    /// Namespace in the request; a Namespace's own name for a Namespace.
    pub namespace: String,
    /// What is done.
    pub operation: Option<Operation>,
    /// Who asks.
    pub user_info: Value,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    object: Option<Box<RawValue>>,
    old_object: Option<Box<RawValue>>,
    /// Why the objects cannot be read although the envelope can.
    unreadable: Option<String>,
    /// Whether it was larger than what is judged, and may have been cut off.
    is_oversize: bool,
}

/// A body that is no AdmissionReview: the only thing that is answered with HTTP 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an AdmissionReview of admission.k8s.io/v1: {0}")]
pub struct EnvelopeError(String);

impl Default for Envelope {
    fn default() -> Self {
        Self {
            uid: String::new(),
            kind: GroupVersionKind::default(),
            request_kind: None,
            sub_resource: String::new(),
            name: String::new(),
            namespace: String::new(),
            operation: None,
            user_info: Value::Null,
            dry_run: false,
            object: None,
            old_object: None,
            unreadable: None,
            is_oversize: false,
        }
    }
}

impl Envelope {
    /// Reads a body. With a `limit` it was larger than what is judged, and may have been cut off: the envelope is read
    /// as far as it stands there, and the request is answered with a verdict all the same.
    pub fn decode(body: &[u8], limit: Option<usize>) -> Result<Self, EnvelopeError> {
        let mut review = Review::default();
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let read = ReviewSeed(&mut review).deserialize(&mut deserializer).and_then(|()| match limit {
            None => deserializer.end(),
            Some(_) => Ok(()),
        });
        match (read, limit) {
            (Err(error), None) => return Err(EnvelopeError(error.to_string())),
            (_, Some(limit)) => {
                review.request.unreadable = Some(format!("the request is larger than {limit} bytes"));
                review.request.is_oversize = true;
            }
            (Ok(()), None) => {}
        }
        if review.api_version.as_deref().is_some_and(|version| version != "admission.k8s.io/v1") {
            return Err(EnvelopeError(format!("apiVersion is {:?}", review.api_version.unwrap_or_default())));
        }
        match &review.request {
            request if request.uid.is_empty() => Err(EnvelopeError("request.uid is missing".into())),
            request if request.kind.kind.is_empty() => Err(EnvelopeError("request.kind is missing".into())),
            request if request.operation.is_none() => {
                Err(EnvelopeError("request.operation is missing or unknown".into()))
            }
            _ => Ok(review.request),
        }
    }

    /// Returns the object; null where there is none.
    pub fn object(&self) -> Result<Value, EvalError> {
        self.read(self.object.as_deref())
    }

    /// Returns the object as it stood before; null where there was none.
    pub fn old_object(&self) -> Result<Value, EvalError> {
        self.read(self.old_object.as_deref())
    }

    /// Returns name, labels and annotations of the object, also where it cannot be read as a whole.
    pub fn metadata(&self) -> Option<NamespaceMeta> {
        self.object.as_deref().and_then(metadata_of)
    }

    /// Returns name, labels and annotations of the object as it stood before.
    pub fn metadata_before(&self) -> Option<NamespaceMeta> {
        self.old_object.as_deref().and_then(metadata_of)
    }

    fn read(&self, raw: Option<&RawValue>) -> Result<Value, EvalError> {
        if let Some(cause) = &self.unreadable {
            return Err(EvalError::Unreadable(cause.clone()));
        }
        let Some(raw) = raw else { return Ok(Value::Null) };
        json::parse(raw.get()).map_err(|error| {
            let cause = error.to_string();
            EvalError::Unreadable(if cause.starts_with("recursion limit") {
                "the object is nested deeper than 128 levels".into()
            } else {
                format!("the object cannot be read: {cause}")
            })
        })
    }

    /// Returns an upper bound of the bytes that the objects take once they are parsed, in one pass over their text.
    pub fn weight(&self) -> usize {
        let of = |raw: &Option<Box<RawValue>>| raw.as_deref().map_or(0, |raw| weight::of_json(raw.get()));
        if self.unreadable.is_some() { 0 } else { of(&self.object).saturating_add(of(&self.old_object)) }
    }

    /// Says that the objects must not be parsed, and why; rules that look at them are errors then.
    pub fn refuse_objects(&mut self, cause: String) {
        self.unreadable = Some(cause);
    }

    /// Returns whether object and old object are the same text but for what nobody judges. It looks two levels deep, and
    /// so can tell it of objects that are nested too deeply to be read.
    pub fn is_unchanged_text(&self) -> bool {
        let (Some(object), Some(old_object)) = (&self.object, &self.old_object) else { return false };
        let object = unchanged::judged_text(object.get());
        !self.is_oversize && object.is_some() && object == unchanged::judged_text(old_object.get())
    }

    /// Returns what is done; CONNECT stands for what cannot be missing any more.
    pub fn operation(&self) -> Operation {
        self.operation.unwrap_or(Operation::Connect)
    }

    /// Returns the requester's name.
    pub fn user_name(&self) -> &str {
        self.user_info.text("username").unwrap_or_default()
    }
}

#[derive(Default)]
struct Review {
    api_version: Option<String>,
    request: Envelope,
}

/// Fills a review field by field, so that what was read stays when the text ends too early.
struct ReviewSeed<'a>(&'a mut Review);
struct RequestSeed<'a>(&'a mut Envelope);

impl<'de> DeserializeSeed<'de> for ReviewSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReviewSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AdmissionReview")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "apiVersion" => self.0.api_version = map.next_value()?,
                "request" => map.next_value_seed(RequestSeed(&mut self.0.request))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for RequestSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RequestSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AdmissionRequest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let request = self.0;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "uid" => request.uid = text(&mut map)?,
                "kind" => request.kind = map.next_value()?,
                "requestKind" => request.request_kind = map.next_value()?,
                "subResource" => request.sub_resource = text(&mut map)?,
                "name" => request.name = text(&mut map)?,
                "namespace" => request.namespace = text(&mut map)?,
                "operation" => request.operation = operation(&text(&mut map)?),
                "userInfo" => request.user_info = user_info(map.next_value()?)?,
                "dryRun" => request.dry_run = map.next_value::<Option<bool>>()?.unwrap_or(false),
                "object" => request.object = map.next_value()?,
                "oldObject" => request.old_object = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<String, A::Error> {
    Ok(map.next_value::<Option<String>>()?.unwrap_or_default())
}

/// Reads who asks. Unlike the objects it is parsed at once, and real ones are a few hundred bytes long.
fn user_info<E: Error>(raw: Option<&RawValue>) -> Result<Value, E> {
    if raw.is_some_and(|raw| raw.get().len() > LONGEST_USER_INFO) {
        return Err(E::custom(format_args!("request.userInfo is longer than {LONGEST_USER_INFO} bytes")));
    }
    raw.map_or(Ok(Value::Null), |raw| json::parse(raw.get()).map_err(E::custom))
}

fn operation(text: &str) -> Option<Operation> {
    let all = [Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];
    all.into_iter().find(|operation| operation.as_str() == text)
}
