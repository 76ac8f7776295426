//! Container image references, by the grammar of the distribution project (`github.com/distribution/reference`).

/// An image reference taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageReference<'a> {
    /// Registry host and port, when the reference names one.
    pub registry: Option<&'a str>,
    /// Path of the repository, without the registry.
    pub repository: &'a str,
    /// Tag.
    pub tag: Option<&'a str>,
    /// Digest, for example `sha256:…`.
    pub digest: Option<&'a str>,
}

/// Takes a reference apart; none when it does not follow the grammar.
pub fn parse(text: &str) -> Option<ImageReference<'_>> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        // A colon before the last slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let (registry, repository) = match name.split_once('/') {
        Some((first, path)) if is_registry(first) && is_valid_registry(first) => (Some(first), path),
        _ => (None, name),
    };
    let is_bare_digest = registry.is_none() && name.len() == 64 && name.bytes().all(is_lower_hex);
    let valid = !is_bare_digest
        && repository.len() <= 255
        && repository.split('/').all(is_path_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    valid.then_some(ImageReference { registry, repository, tag, digest })
}

fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_valid_registry(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !registry.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_ipv6 = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|inner| inner.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':'))
    };
    let valid_port = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    valid_port && (is_ipv6(host) || host.split('.').all(is_label))
}

/// Lower-case words joined by one dot, one or two underscores, or any number of hyphens.
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = component.split(|c: char| c.is_ascii() && is_word(c as u8)).filter(|part| !part.is_empty());
    let ends = [component.bytes().next(), component.bytes().next_back()];
    ends.into_iter().all(|byte| byte.is_some_and(is_word))
        && separators.into_iter().all(|part| matches!(part, "." | "_" | "__") || part.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

/// Only what the registries' own library knows: its name and its length.
fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(is_lower_hex)
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::{ImageReference, parse};

    type Parts<'a> = (Option<&'a str>, &'a str, Option<&'a str>, Option<&'a str>);

    fn parts(text: &str) -> Option<Parts<'_>> {
        parse(text).map(|ImageReference { registry, repository, tag, digest }| (registry, repository, tag, digest))
    }

    #[test]
    fn takes_references_apart() {
        let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let pinned = format!("ghcr.io/a/b:1.2@{digest}");
        let table = [
            ("nginx", (None, "nginx", None, None)),
            ("nginx:1.27", (None, "nginx", Some("1.27"), None)),
            ("registry:5000/nginx", (Some("registry:5000"), "nginx", None, None)),
            ("registry:5000/team/nginx:v1", (Some("registry:5000"), "team/nginx", Some("v1"), None)),
            ("localhost/app", (Some("localhost"), "app", None, None)),
            ("library/nginx", (None, "library/nginx", None, None)),
            ("[::1]:5000/a", (Some("[::1]:5000"), "a", None, None)),
            ("a_b.c/nginx:1", (None, "a_b.c/nginx", Some("1"), None)),
            (pinned.as_str(), (Some("ghcr.io"), "a/b", Some("1.2"), Some(digest))),
        ];
        for (text, expected) in table {
            assert_eq!(parts(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_reference() {
        for text in [
            "",
            "nginx:",
            ":1",
            "Nginx",
            "a//b",
            "nginx:ta g",
            "a@sha256:12",
            "a..b",
            "-a",
            "a/",
            "${IMAGE}",
            "a___b",
            "a@md5:0123456789abcdef0123456789abcdef",
            "a@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
