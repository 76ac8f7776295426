//! Which objects an exemption is about.

use std::collections::BTreeMap;

use globset::{Glob, GlobBuilder, GlobMatcher};

use super::labels::LabelSelector;
use super::written::MatchSpec;
use crate::policy::authority::NamePattern;
use crate::policy::kinds::{GroupVersionKind, KindSelector};

/// The objects that an exemption is about: everything that it says of them must hold.
#[derive(Debug, Clone, Default)]
pub struct Criteria {
    namespaces: Option<Vec<GlobMatcher>>,
    kinds: Option<Vec<KindSelector>>,
    names: Option<Vec<GlobMatcher>>,
    selector: Option<LabelSelector>,
    containers: Option<Vec<GlobMatcher>>,
    images: Option<Vec<GlobMatcher>>,
    users: Option<Vec<NamePattern>>,
}

/// An object that a rule found something in.
#[derive(Debug, Clone, Default)]
pub struct Subject<'a> {
    /// Its kind.
    pub kind: GroupVersionKind,
    /// Whether it holds a pod template.
    pub has_template: bool,
    /// The namespace that it is judged in; none outside of namespaces, and where nobody says.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: BTreeMap<&'a str, &'a str>,
    /// Who asks for it to be admitted; none outside of admission.
    pub user: Option<&'a str>,
}

/// The container that something was found in; outside of containers it has neither.
#[derive(Debug, Clone, Copy, Default)]
pub struct Container<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Its image.
    pub image: Option<&'a str>,
}

impl Criteria {
    /// Reads them; the error is the key that is at fault, the word that is, and what is wrong with it.
    pub(super) fn read(spec: &MatchSpec) -> Result<Self, (&'static str, String, String)> {
        if let Some(cause) = spec.selector.as_ref().and_then(|selector| selector.check().err()) {
            return Err(("selector", "selector".into(), cause));
        }
        Ok(Self {
            namespaces: each("namespaces", spec.namespaces.as_ref(), name_glob)?,
            kinds: each("kinds", spec.kinds.as_ref(), |text| text.parse::<KindSelector>().map_err(|e| e.to_string()))?,
            names: each("names", spec.names.as_ref(), name_glob)?,
            selector: spec.selector.clone(),
            containers: each("containers", spec.containers.as_ref(), name_glob)?,
            images: each("images", spec.images.as_ref(), image_glob)?,
            users: each("users", spec.users.as_ref(), NamePattern::new)?,
        })
    }

    /// Returns whether nothing is asked, so that every object is meant.
    pub(super) fn is_empty(&self) -> bool {
        let Self { namespaces, kinds, names, selector, containers, images, users } = self;
        namespaces.is_none()
            && kinds.is_none()
            && names.is_none()
            && selector.is_none()
            && containers.is_none()
            && images.is_none()
            && users.is_none()
    }

    /// Returns whether namespaces are named, and this one is among them; none where none are named.
    pub(super) fn names_namespace(&self, namespace: Option<&str>) -> Option<bool> {
        let globs = self.namespaces.as_ref()?;
        Some(namespace.is_some_and(|name| globs.iter().any(|glob| glob.is_match(name))))
    }

    /// Returns whether an object is meant, whatever its namespace, its containers and whoever asks: what does not change
    /// while the object does not.
    pub(super) fn mean(&self, subject: &Subject<'_>) -> bool {
        let is_kind = |kind: &KindSelector| kind.matches(&subject.kind, subject.has_template);
        any(self.kinds.as_ref(), is_kind)
            && any(self.names.as_ref(), |glob| glob.is_match(subject.name))
            && self.selector.as_ref().is_none_or(|selector| selector.matches(|key| subject.labels.get(key).copied()))
    }

    /// Returns whether whoever asks is meant; where users are named nobody is, outside of admission.
    pub(super) fn mean_user(&self, user: Option<&str>) -> bool {
        any(self.users.as_ref(), |pattern| user.is_some_and(|user| pattern.matches(user)))
    }

    /// Returns whether a violation is meant in this container; where containers are, one outside of them is not.
    pub(super) fn mean_container(&self, container: Container<'_>) -> bool {
        any(self.containers.as_ref(), |glob| container.name.is_some_and(|name| glob.is_match(name)))
            && any(self.images.as_ref(), |glob| container.image.is_some_and(|image| glob.is_match(image)))
    }
}

fn any<T>(list: Option<&Vec<T>>, is_one: impl Fn(&T) -> bool) -> bool {
    list.is_none_or(|list| list.iter().any(is_one))
}

fn each<T>(
    key: &'static str,
    texts: Option<&Vec<String>>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<Vec<T>>, (&'static str, String, String)> {
    let Some(texts) = texts else { return Ok(None) };
    if texts.is_empty() {
        // A template that puts nothing in must not mean everything.
        return Err((key, key.to_owned(), "is empty; leave it out to mean all".into()));
    }
    let read = |text: &String| read(text).map_err(|cause| (key, text.clone(), cause));
    texts.iter().map(read).collect::<Result<_, _>>().map(Some)
}

fn name_glob(text: &str) -> Result<GlobMatcher, String> {
    let glob = Some(text).filter(|text| !text.is_empty()).map(Glob::new);
    glob_of(text, glob)
}

/// In an image `*` stands for no slash, so that `nginx*` is not `nginx.example.com/anything`; `**` stands for all.
fn image_glob(text: &str) -> Result<GlobMatcher, String> {
    let build = |text| GlobBuilder::new(text).literal_separator(true).build();
    glob_of(text, Some(text).filter(|text| !text.is_empty()).map(build))
}

fn glob_of(text: &str, glob: Option<Result<Glob, globset::Error>>) -> Result<GlobMatcher, String> {
    let glob = glob.ok_or_else(|| "\"\" names nothing".to_owned())?;
    glob.map(|glob| glob.compile_matcher()).map_err(|error| format!("\"{text}\" is not a pattern: {}", error.kind()))
}
