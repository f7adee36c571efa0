//! A small, strict reader of HTTP/1.1 messages, so that what the gateway sends is judged by other eyes than its own.
//!
//! It takes RFC 9112 at its word and nothing beyond: no lenience that the gateway could hide behind.

/// How far a message is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// It needs more bytes.
    More,
    /// It ends here; the body without its framing.
    Whole { end: usize, body: Vec<u8> },
    /// It is no message.
    Malformed(String),
}

/// A message's head, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The first line, without its end.
    pub(crate) line: String,
    /// Names in lower case, and values.
    pub(crate) fields: Vec<(String, String)>,
    /// Where it ends.
    pub(crate) end: usize,
}

impl Head {
    /// Reads a head. `None` needs more bytes.
    pub(crate) fn read(bytes: &[u8]) -> Option<Result<Self, String>> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        Some(Self::parse(&bytes[..end - 4], end))
    }

    fn parse(head: &[u8], end: usize) -> Result<Self, String> {
        let text = std::str::from_utf8(head).map_err(|_| "bytes that are no text".to_owned())?;
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for field in lines.clone() {
            let (name, value) = field.split_once(':').ok_or(format!("a field without colon: {field:?}"))?;
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(format!("a field name {name:?}"));
            }
            fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
        }
        if text.replace("\r\n", "").bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
            return Err("control characters in a head".to_owned());
        }
        Ok(Self { line, fields, end })
    }

    /// The values of a field.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Reads the body behind the head. `bodiless` has none whatever the fields say.
    pub(crate) fn body(&self, bytes: &[u8], bodiless: bool) -> Read {
        let lengths: Vec<_> = self.all("content-length").collect();
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        match (&lengths[..], &codings[..]) {
            _ if bodiless => Read::Whole { end: self.end, body: vec![] },
            ([], []) => Read::Whole { end: self.end, body: vec![] },
            ([length], []) => match length.parse::<usize>() {
                Ok(number) if number.to_string() == **length => {
                    match bytes.get(self.end..self.end + number) {
                        Some(body) => Read::Whole { end: self.end + number, body: body.to_vec() },
                        None => Read::More,
                    }
                }
                _ => Read::Malformed(format!("Content-Length: {length}")),
            },
            ([], ["chunked"]) => chunks(bytes, self.end),
            _ => Read::Malformed(format!("Content-Length {lengths:?}, Transfer-Encoding {codings:?}")),
        }
    }
}

fn chunks(bytes: &[u8], mut at: usize) -> Read {
    let mut body = Vec::new();
    let line = |at: usize| bytes[at..].windows(2).position(|w| w == b"\r\n").map(|found| at + found);
    loop {
        let Some(end) = line(at) else { return Read::More };
        let text = String::from_utf8_lossy(&bytes[at..end]);
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
        let Some(size) = usize::from_str_radix(&text, 16).ok().filter(|_| digits) else {
            return Read::Malformed(format!("a chunk's size {text:?}"));
        };
        at = end + 2;
        if size == 0 {
            break;
        }
        let Some(data) = bytes.get(at..at + size + 2) else { return Read::More };
        if &data[size..] != b"\r\n" {
            return Read::Malformed("a chunk that does not end in CRLF".to_owned());
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
    }
    loop {
        let Some(end) = line(at) else { return Read::More };
        if end == at {
            return Read::Whole { end: end + 2, body };
        }
        at = end + 2;
    }
}

/// Shows bytes so that every one of them can be seen.
pub(crate) fn show(bytes: &[u8]) -> String {
    const MOST: usize = 600;
    let text: String =
        bytes.iter().take(MOST).flat_map(|&b| std::ascii::escape_default(b)).map(char::from).collect();
    if bytes.len() > MOST { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Read {
        match Head::read(bytes) {
            None => Read::More,
            Some(Err(why)) => Read::Malformed(why),
            Some(Ok(head)) => head.body(bytes, false),
        }
    }

    #[test]
    fn reads_strictly() {
        let whole = |end, body: &[u8]| Read::Whole { end, body: body.to_vec() };
        assert_eq!(read(b"GET / HTTP/1.1\r\nA: b\r\n\r\nX"), whole(24, b""));
        assert_eq!(read(b"P\r\nContent-Length: 2\r\n\r\nab"), whole(26, b"ab"));
        assert_eq!(read(b"P\r\nContent-Length: 3\r\n\r\nab"), Read::More);
        let chunked = b"P\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nA: b\r\n\r\nX";
        assert_eq!(read(chunked), whole(chunked.len() - 1, b"ab"));
        for bad in [
            &b"P\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab"[..],
            b"P\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"P\r\nContent-Length: +2\r\n\r\nab",
            b"P\r\nTransfer-Encoding: x\r\n\r\n",
            b"P\r\nTransfer-Encoding: chunked\r\n\r\n2;a\r\nab\r\n0\r\n\r\n",
            b"P\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            b"P\r\nA : b\r\n\r\n",
            b"P\r\nA: b\n\r\n\r\n",
        ] {
            assert!(matches!(read(bad), Read::Malformed(_)), "{}", show(bad));
        }
    }
}
