//! Segments of JSON Pointers (RFC 6901).

use std::borrow::Cow;

/// Returns a key as it stands in a pointer.
pub fn escaped(key: &str) -> Cow<'_, str> {
    if key.contains(['~', '/']) { key.replace('~', "~0").replace('/', "~1").into() } else { key.into() }
}

/// Returns the key that a pointer's segment stands for.
pub fn unescaped(segment: &str) -> Cow<'_, str> {
    if segment.contains('~') { segment.replace("~1", "/").replace("~0", "~").into() } else { segment.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_comes_back() {
        for (key, segment) in [("a/b", "a~1b"), ("~1", "~01"), ("m~n/", "m~0n~1"), ("plain", "plain"), ("", "")] {
            assert_eq!(escaped(key), segment);
            assert_eq!(unescaped(segment), key);
        }
    }
}
