//! How much memory a JSON text takes once it is parsed, told without parsing it.
//!
//! A hostile object is small as text and large in memory: `{"a":0}` is eight bytes, and a map with room for eleven.

/// Bytes of a map's node, which has room for eleven entries, and of what counts its references.
const OBJECT: usize = 600;
/// Bytes of a list and of what counts its references.
const LIST: usize = 64;
/// Bytes of a value in a list, of a key, or of a text beside its letters.
const VALUE: usize = 48;

/// Returns an upper bound of the bytes that a JSON text takes as a value, in one pass over it.
pub fn of_json(text: &str) -> usize {
    let mut weight = text.len();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        weight = weight.saturating_add(match byte {
            b'{' => OBJECT,
            b'[' => LIST,
            b',' | b':' => VALUE,
            b'"' => {
                skip_text(&mut bytes);
                VALUE
            }
            _ => 0,
        });
    }
    weight
}

/// Goes on to the end of a text whose opening quote has been read.
fn skip_text(bytes: &mut impl Iterator<Item = u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_a_text_is_made_of() {
        for (text, maps, lists, values) in [
            ("", 0, 0, 0),
            ("null", 0, 0, 0),
            (r#""{[,:\"{""#, 0, 0, 1),
            ("[1,2]", 0, 1, 1),
            (r#"{"a":{"b":[]},"c":1}"#, 2, 1, 7),
            (r#""never ends \"#, 0, 0, 1),
        ] {
            let expected = text.len() + maps * OBJECT + lists * LIST + values * VALUE;
            assert_eq!(of_json(text), expected, "{text}");
        }
    }
}
