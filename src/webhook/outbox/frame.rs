//! How a decision lies in a file: its length, number and time, a checksum over all of it, and its JSON.

use sha2::{Digest as _, Sha256};

/// Bytes before the JSON: length, number, time, checksum.
pub const HEAD: usize = 4 + 8 + 8 + CHECKSUM;
const CHECKSUM: usize = 8;
/// Longer ones are nobody's.
const LONGEST: usize = 16 << 20;

/// A decision on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its number, by which the order is kept.
    pub number: u64,
    /// When it was taken in, in milliseconds since 1970.
    pub millis: u64,
    /// The decision as JSON.
    pub json: Box<[u8]>,
}

impl Frame {
    /// Returns the bytes that it takes in a file.
    pub fn size(&self) -> u64 {
        u64::try_from(HEAD.saturating_add(self.json.len())).unwrap_or(u64::MAX)
    }

    /// Writes it behind what is there.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        let length = u32::try_from(self.json.len()).unwrap_or(u32::MAX).to_le_bytes();
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.millis.to_le_bytes());
        bytes.extend_from_slice(&checksum(length, self.number, self.millis, &self.json));
        bytes.extend_from_slice(&self.json);
    }

    /// Reads the one that bytes begin with; none where it is cut short or damaged.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (millis, rest) = rest.split_first_chunk::<8>()?;
        let (sum, rest) = rest.split_first_chunk::<CHECKSUM>()?;
        let size = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|size| *size <= LONGEST)?;
        let json = rest.get(..size)?;
        let (number, millis) = (u64::from_le_bytes(*number), u64::from_le_bytes(*millis));
        (checksum(*length, number, millis, json) == *sum).then(|| Self { number, millis, json: json.into() })
    }
}

fn checksum(length: [u8; 4], number: u64, millis: u64, json: &[u8]) -> [u8; CHECKSUM] {
    let mut hash = Sha256::new();
    hash.update(length);
    hash.update(number.to_le_bytes());
    hash.update(millis.to_le_bytes());
    hash.update(json);
    let mut sum = [0; CHECKSUM];
    sum.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame { number: 7, millis: 1_700_000_000_000, json: (*b"{\"uid\":\"u\"}").into() }
    }

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = Vec::new();
        frame().write(&mut bytes);
        assert_eq!(u64::try_from(bytes.len()).unwrap(), frame().size());
        bytes.extend_from_slice(b"what follows");
        assert_eq!(Frame::read(&bytes), Some(frame()));
    }

    #[test]
    fn what_is_cut_short_or_damaged_anywhere_is_nothing() {
        let mut bytes = Vec::new();
        frame().write(&mut bytes);
        for end in 0..bytes.len() {
            assert_eq!(Frame::read(&bytes[..end]), None, "{end}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Frame::read(&damaged), None, "{at}");
        }
    }
}
