//! The little of DER that key formats need: SPKI and PKCS#8 heads (RFC 5280, RFC 5208) and integers (PKCS#1).

/// A reader over DER bytes; every method returns none at the first thing out of place.
pub(super) struct Reader<'a>(&'a [u8]);

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        if found != tag {
            return None;
        }
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let count = usize::from(first & 0x7F);
            if count == 0 || count > 4 || rest.len() < count {
                return None;
            }
            let (digits, after) = rest.split_at(count);
            rest = after;
            digits.iter().fold(0, |sum, &digit| sum << 8 | usize::from(digit))
        };
        if rest.len() < length {
            return None;
        }
        let (content, after) = rest.split_at(length);
        self.0 = after;
        Some(content)
    }

    pub(super) fn sequence(&mut self) -> Option<Reader<'a>> {
        self.element(SEQUENCE).map(Reader)
    }

    /// A non-negative integer, big-endian without leading zeros.
    pub(super) fn unsigned(&mut self) -> Option<&'a [u8]> {
        let mut bytes = self.element(INTEGER)?;
        while let [0, rest @ ..] = bytes {
            bytes = rest;
        }
        Some(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One element with its head.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        length @ 0..0x80 => out.push(length as u8),
        length => {
            let digits = length.to_be_bytes();
            let skip = digits.iter().take_while(|&&digit| digit == 0).count();
            out.push(0x80 | (digits.len() - skip) as u8);
            out.extend_from_slice(&digits[skip..]);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A non-negative integer.
pub(super) fn unsigned(mut bytes: &[u8]) -> Vec<u8> {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    let mut content = Vec::with_capacity(bytes.len() + 1);
    if bytes.first().is_none_or(|&first| first >= 0x80) {
        content.push(0);
    }
    content.extend_from_slice(bytes);
    element(INTEGER, &content)
}

/// The content of the algorithm's OID, of its OID parameter if there is one, and the key.
pub(super) type Parts<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// The algorithm (content of its OID), the OID parameter if there is one, and the key bits of a SubjectPublicKeyInfo.
pub(super) fn read_spki(bytes: &[u8]) -> Option<Parts<'_>> {
    let mut outer = Reader::new(bytes);
    let mut info = outer.sequence()?;
    if !outer.is_empty() {
        return None;
    }
    let mut algorithm = info.sequence()?;
    let oid = algorithm.element(OID)?;
    let parameter = algorithm.element(OID);
    let (&unused, key) = info.element(BIT_STRING)?.split_first()?;
    (unused == 0 && info.is_empty()).then_some((oid, parameter, key))
}

/// The algorithm, its OID parameter and the inner key of a PKCS#8 PrivateKeyInfo.
pub(super) fn read_pkcs8(bytes: &[u8]) -> Option<Parts<'_>> {
    let mut info = Reader::new(bytes).sequence()?;
    info.element(INTEGER)?;
    let mut algorithm = info.sequence()?;
    let oid = algorithm.element(OID)?;
    let parameter = algorithm.element(OID);
    Some((oid, parameter, info.element(OCTET_STRING)?))
}

/// A SubjectPublicKeyInfo; `algorithm` is the content of the AlgorithmIdentifier.
pub(super) fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let mut bits = vec![0];
    bits.extend_from_slice(key);
    let mut content = element(SEQUENCE, algorithm);
    content.extend(element(BIT_STRING, &bits));
    element(SEQUENCE, &content)
}

/// A version 1 PrivateKeyInfo; `algorithm` is the content of the AlgorithmIdentifier.
pub(super) fn pkcs8(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let mut content = unsigned(&[0]);
    content.extend(element(SEQUENCE, algorithm));
    content.extend(element(OCTET_STRING, key));
    element(SEQUENCE, &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_at_their_boundaries_survive_a_round_trip() {
        for length in [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x1_0000] {
            let content = vec![7; length];
            let bytes = element(OCTET_STRING, &content);
            assert_eq!(Reader::new(&bytes).element(OCTET_STRING), Some(content.as_slice()));
        }
    }

    #[test]
    fn truncated_input_is_refused_at_every_length() {
        let whole = spki(&element(OID, &[1, 2, 3]), &[9; 200]);
        assert!(read_spki(&whole).is_some());
        for length in 0..whole.len() {
            assert!(read_spki(&whole[..length]).is_none(), "{length}");
        }
    }

    #[test]
    fn integers_are_minimal_and_never_negative() {
        assert_eq!(unsigned(&[0, 0, 0x80]), [INTEGER, 2, 0, 0x80]);
        assert_eq!(unsigned(&[0]), [INTEGER, 1, 0]);
        assert_eq!(unsigned(&[0x7F]), [INTEGER, 1, 0x7F]);
    }
}
