//! Headers: an ordered list of fields as they were received, with an index for well-known names.
//!
//! One growable arena holds the bytes of a head; a field is a pair of ranges into it. A head that came from the
//! wire costs one copy of its bytes and no allocation per field; names keep their case and order, because some
//! worlds show both. Values are bytes: each world decodes them as its original does. Fields stand in the arena as lines
//! of HTTP/1.1 wherever that is possible, so that a head goes out in a few large pieces.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::known::Known;

/// Headers, in order, names as received.
///
/// Lookups ignore ASCII case (RFC 9110 5.1). Removed and replaced fields leave garbage in the arena, which is
/// reclaimed once it outweighs the live bytes, so that a plugin that sets a field in a loop cannot grow a head
/// without bound.
#[derive(Clone, Default)]
pub struct Headers {
    arena: Vec<u8>,
    fields: Vec<Field>,
    garbage: usize,
}

/// One field's place in the arena.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: u32,
    value: u32,
    name_len: u16,
    known: Known,
    /// It stands in the arena as `name: value` and a line end.
    is_line: bool,
    value_len: u32,
}

impl Field {
    /// The bytes of the arena that are this field alone.
    fn size(&self) -> usize {
        self.name_len as usize + self.value_len as usize + if self.is_line { AROUND } else { 0 }
    }
}

/// What stands between a field's name and its value.
const COLON: &[u8] = b": ";
/// What stands behind it.
const LINE_END: &[u8] = b"\r\n";
/// Bytes of a line that are neither name nor value.
const AROUND: usize = COLON.len() + LINE_END.len();

/// What becomes of a field when its head is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes out as it is.
    Keep,
    /// It does not.
    Leave,
    /// It goes out with this value.
    Number(u64),
}

/// Garbage below this many bytes is never worth a compaction.
const COMPACT_ABOVE: usize = 4096;

/// A name or value that cannot stand in a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// The name is not a token (RFC 9110 5.6.2) or is longer than [`Headers::MAX_NAME`].
    #[error("invalid header name")]
    Name,
    /// The value holds a control character other than tab (RFC 9110 5.5).
    #[error("invalid header value")]
    Value,
}

impl Headers {
    /// Bytes of the longest name that a field can have.
    pub const MAX_NAME: usize = u16::MAX as usize;

    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// No fields, with room for `fields` fields of `bytes` bytes in all.
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        Self { arena: Vec::with_capacity(bytes), fields: Vec::with_capacity(fields), garbage: 0 }
    }

    /// Takes over a head's bytes. Fields are added with [`push_range`](Self::push_range).
    pub fn from_arena(arena: Vec<u8>, fields: usize) -> Self {
        Self { arena, fields: Vec::with_capacity(fields), garbage: 0 }
    }

    /// Adds a field that already stands in the arena given to [`from_arena`](Self::from_arena): `name` and
    /// `value` are byte ranges of it. The caller has checked both for validity.
    ///
    /// A field that stands there as `name: value` and CRLF is written as it stands.
    ///
    /// Ranges outside of the arena, and names that are longer than [`MAX_NAME`](Self::MAX_NAME), are ignored.
    pub fn push_range(&mut self, name: std::ops::Range<usize>, value: std::ops::Range<usize>) {
        let Some(known) = self.arena.get(name.clone()).map(Known::of) else { return };
        if self.arena.get(value.clone()).is_none() || name.len() > Self::MAX_NAME {
            return;
        }
        let is_line = name.end + COLON.len() == value.start
            && self.arena[name.end..value.start] == *COLON
            && self.arena[value.end..].starts_with(LINE_END);
        self.fields.push(Field {
            name: name.start as u32,
            name_len: name.len() as u16,
            value: value.start as u32,
            value_len: value.len() as u32,
            known,
            is_line,
        });
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Bytes of all names and values.
    pub fn bytes(&self) -> usize {
        self.fields.iter().map(|f| f.name_len as usize + f.value_len as usize).sum()
    }

    /// The fields in order: name as received, value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> + Clone + '_ {
        self.fields.iter().map(|f| (self.name_of(f), self.value_of(f)))
    }

    /// The fields in order, with the well-known name if it is one.
    pub fn iter_known(&self) -> impl ExactSizeIterator<Item = (Known, &str, &[u8])> + Clone + '_ {
        self.fields.iter().map(|f| (f.known, self.name_of(f), self.value_of(f)))
    }

    /// As [`iter_known`](Self::iter_known), names as bytes: for heads on their way to the wire.
    pub fn iter_raw(&self) -> impl ExactSizeIterator<Item = (Known, &[u8], &[u8])> + Clone + '_ {
        self.fields.iter().map(|f| (f.known, self.name_bytes(f), self.value_of(f)))
    }

    /// Writes the fields in order, each as a line of HTTP/1.1. `fate` says what becomes of those with a well-known name;
    /// all others are kept.
    pub fn write(&self, out: &mut BytesMut, mut fate: impl FnMut(Known, &[u8]) -> Fate) {
        // Lines that stand one behind the other in the arena, and are still to be written.
        let mut run = 0..0;
        for field in &self.fields {
            let fate = match field.known {
                Known::Other => Fate::Keep,
                known => fate(known, self.value_of(field)),
            };
            match fate {
                Fate::Keep if field.is_line => {
                    let start = field.name as usize;
                    if start != run.end {
                        out.extend_from_slice(&self.arena[run]);
                        run = start..start;
                    }
                    run.end = start + field.size();
                }
                Fate::Leave => {}
                Fate::Keep | Fate::Number(_) => {
                    out.extend_from_slice(&self.arena[run]);
                    run = 0..0;
                    out.extend_from_slice(self.name_bytes(field));
                    out.extend_from_slice(COLON);
                    match fate {
                        Fate::Number(number) => {
                            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                        }
                        _ => out.extend_from_slice(self.value_of(field)),
                    }
                    out.extend_from_slice(LINE_END);
                }
            }
        }
        out.extend_from_slice(&self.arena[run]);
    }

    /// Hands out every field in order: the well-known name if it is one, the name, and the value as a part of one
    /// buffer that all values share, without a copy. They keep that buffer, a whole head, alive. Names come as bytes, as with
    /// [`iter_raw`](Self::iter_raw).
    pub fn for_each_shared(self, mut take: impl FnMut(Known, &[u8], Bytes)) {
        let arena = Bytes::from(self.arena);
        for field in self.fields {
            let (name, value) = (field.name as usize, field.value as usize);
            let name = &arena[name..name + field.name_len as usize];
            take(field.known, name, arena.slice(value..value + field.value_len as usize));
        }
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let known = Known::of(name.as_bytes());
        self.fields.iter().find(|f| self.matches(f, known, name)).map(|f| self.value_of(f))
    }

    /// The first value of `name` when it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// The first value of a well-known name: compares one byte a field.
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        self.fields.iter().find(|f| f.known == known).map(|f| self.value_of(f))
    }

    /// All values of a well-known name, in order.
    pub fn all_known(&self, known: Known) -> impl Iterator<Item = &[u8]> + Clone + '_ {
        self.fields.iter().filter(move |f| f.known == known).map(|f| self.value_of(f))
    }

    /// All values of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        let known = Known::of(name.as_bytes());
        self.fields.iter().filter(move |f| self.matches(f, known, name)).map(|f| self.value_of(f))
    }

    /// Whether a field of that name exists.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Adds a field at the end.
    ///
    /// # Errors
    /// When the name is not a token or the value holds control characters: nothing is changed then.
    pub fn append(&mut self, name: &str, value: &[u8]) -> Result<(), InvalidHeader> {
        check_name(name.as_bytes())?;
        check_value(value)?;
        let field = self.store(name, value);
        self.fields.push(field);
        Ok(())
    }

    /// Replaces all fields of `name` by one. It takes the place of the first, or the end if there was none.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), InvalidHeader> {
        check_name(name.as_bytes())?;
        self.put(Known::of(name.as_bytes()), name, value)
    }

    /// [`set`](Self::set) of a name that was checked.
    fn put(&mut self, known: Known, name: &str, value: &[u8]) -> Result<(), InvalidHeader> {
        check_value(value)?;
        let first = self.fields.iter().position(|f| self.matches(f, known, name));
        let Some(first) = first else {
            let field = self.store_known(known, name, value);
            self.fields.push(field);
            return Ok(());
        };
        if self.fields[first + 1..].iter().any(|f| self.matches(f, known, name)) {
            self.remove_from(first + 1, known, name);
        }
        let old = self.fields[first];
        self.garbage += old.size();
        let new = self.store_known(known, name, value);
        self.fields[first] = new;
        Ok(())
    }

    /// [`append`](Self::append) of a well-known name, in lower case.
    ///
    /// # Errors
    /// As there; [`Known::Other`] is no name.
    pub fn append_known(&mut self, known: Known, value: &[u8]) -> Result<(), InvalidHeader> {
        check_known(known)?;
        check_value(value)?;
        let field = self.store_known(known, known.name(), value);
        self.fields.push(field);
        Ok(())
    }

    /// [`set`](Self::set) of a well-known name, in lower case.
    ///
    /// # Errors
    /// As with [`append_known`](Self::append_known).
    pub fn set_known(&mut self, known: Known, value: &[u8]) -> Result<(), InvalidHeader> {
        check_known(known)?;
        self.put(known, known.name(), value)
    }

    /// Removes all fields of `name`; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let known = Known::of(name.as_bytes());
        self.remove_from(0, known, name)
    }

    /// Removes all fields of a well-known name; says whether there was one.
    pub fn remove_known(&mut self, known: Known) -> bool {
        let before = self.fields.len();
        self.retain_fields(|_, f| f.known != known);
        before != self.fields.len()
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &[u8]) -> bool) {
        self.retain_fields(|this, f| keep(this.name_of(f), this.value_of(f)));
    }

    /// Removes every field.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.arena.clear();
        self.garbage = 0;
    }

    fn remove_from(&mut self, start: usize, known: Known, name: &str) -> bool {
        let mut index = 0;
        let before = self.fields.len();
        self.retain_fields(|this, f| {
            index += 1;
            index <= start || !this.matches(f, known, name)
        });
        before != self.fields.len()
    }

    fn retain_fields(&mut self, mut keep: impl FnMut(&Self, &Field) -> bool) {
        let mut fields = std::mem::take(&mut self.fields);
        let mut garbage = 0;
        fields.retain(|f| {
            let kept = keep(self, f);
            if !kept {
                garbage += f.size();
            }
            kept
        });
        self.fields = fields;
        self.garbage += garbage;
    }

    #[inline]
    fn matches(&self, field: &Field, known: Known, name: &str) -> bool {
        match known {
            Known::Other => {
                field.known == Known::Other
                    && field.name_len as usize == name.len()
                    && self.name_bytes(field).eq_ignore_ascii_case(name.as_bytes())
            }
            known => field.known == known,
        }
    }

    fn store(&mut self, name: &str, value: &[u8]) -> Field {
        self.store_known(Known::of(name.as_bytes()), name, value)
    }

    fn store_known(&mut self, known: Known, name: &str, value: &[u8]) -> Field {
        if self.garbage > COMPACT_ABOVE && self.garbage * 2 > self.arena.len() {
            self.compact();
        }
        let start = self.arena.len();
        self.arena.reserve(name.len() + value.len() + AROUND);
        put_line(&mut self.arena, name.as_bytes(), value);
        Field {
            name: start as u32,
            name_len: name.len() as u16,
            value: (start + name.len() + COLON.len()) as u32,
            value_len: value.len() as u32,
            known,
            is_line: true,
        }
    }

    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.bytes() + AROUND * self.fields.len() + COMPACT_ABOVE);
        for field in &mut self.fields {
            let name = field.name as usize..field.name as usize + field.name_len as usize;
            let value = field.value as usize..field.value as usize + field.value_len as usize;
            field.name = arena.len() as u32;
            field.value = field.name + name.len() as u32 + COLON.len() as u32;
            field.is_line = true;
            put_line(&mut arena, &self.arena[name], &self.arena[value]);
        }
        self.arena = arena;
        self.garbage = 0;
    }

    #[inline]
    fn name_bytes(&self, field: &Field) -> &[u8] {
        let start = field.name as usize;
        &self.arena[start..start + field.name_len as usize]
    }

    #[inline]
    fn name_of(&self, field: &Field) -> &str {
        // Names are tokens, hence ASCII: the check is of a few bytes.
        std::str::from_utf8(self.name_bytes(field)).unwrap_or("")
    }

    #[inline]
    fn value_of(&self, field: &Field) -> &[u8] {
        let start = field.value as usize;
        &self.arena[start..start + field.value_len as usize]
    }
}

fn put_line(arena: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    arena.extend_from_slice(name);
    arena.extend_from_slice(COLON);
    arena.extend_from_slice(value);
    arena.extend_from_slice(LINE_END);
}

fn check_known(known: Known) -> Result<(), InvalidHeader> {
    if known == Known::Other { Err(InvalidHeader::Name) } else { Ok(()) }
}

/// Refuses what is not a token.
///
/// # Errors
/// [`InvalidHeader::Name`].
#[inline]
pub fn check_name(name: &[u8]) -> Result<(), InvalidHeader> {
    let ok = !name.is_empty() && name.len() <= Headers::MAX_NAME && name.iter().all(|&b| TOKEN[b as usize]);
    if ok { Ok(()) } else { Err(InvalidHeader::Name) }
}

/// Refuses control characters other than tab.
///
/// # Errors
/// [`InvalidHeader::Value`].
#[inline]
pub fn check_value(value: &[u8]) -> Result<(), InvalidHeader> {
    // Without an early end, so that many bytes are looked at together.
    let bad = |b: u8| (b < 0x20 && b != b'\t') || b == 0x7f;
    if value.iter().fold(false, |any, &b| any | bad(b)) { Err(InvalidHeader::Value) } else { Ok(()) }
}

/// [`is_token`] of every byte.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_token(byte as u8);
        byte += 1;
    }
    table
};

/// Whether `byte` may stand in a token (RFC 9110 5.6.2).
pub const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || byte.is_ascii_alphanumeric()
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(n, v)| (n, String::from_utf8_lossy(v)))).finish()
    }
}

/// Equal when names (ignoring case) and values are equal in the same order.
impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().zip(other.iter()).all(|(a, b)| a.0.eq_ignore_ascii_case(b.0) && a.1 == b.1)
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    /// Fields that cannot stand in a head are left out.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(iter: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in iter {
            // Left out as documented: there is no error to give here.
            let _ = headers.append(name.as_ref(), value.as_ref());
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Headers {
        [("Host", "a"), ("X-One", "1"), ("x-one", "2"), ("Accept", "*/*")].into_iter().collect()
    }

    #[test]
    fn keeps_order_and_case_and_ignores_it_in_lookups() {
        let h = sample();
        assert_eq!(h.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["Host", "X-One", "x-one", "Accept"]);
        assert_eq!(h.get("x-ONE"), Some(&b"1"[..]));
        assert_eq!(h.get_all("X-ONE").count(), 2);
        assert_eq!(h.known(Known::Host), Some(&b"a"[..]));
    }

    #[test]
    fn set_takes_the_place_of_the_first_and_removes_the_rest() {
        let mut h = sample();
        h.set("x-one", b"3").unwrap();
        let all: Vec<_> = h.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
        assert_eq!(all[1], ("x-one".to_owned(), b"3".to_vec()));
        assert_eq!(all.len(), 3);
        assert!(h.remove("HOST") && !h.remove("host"));
    }

    #[test]
    fn refuses_what_would_split_a_head() {
        let mut h = Headers::new();
        assert_eq!(h.append("a b", b""), Err(InvalidHeader::Name));
        assert_eq!(h.append("", b""), Err(InvalidHeader::Name));
        assert_eq!(h.append("a", b"x\r\ny: z"), Err(InvalidHeader::Value));
        assert_eq!(h.set("a", b"\0"), Err(InvalidHeader::Value));
        assert!(h.is_empty());
    }

    /// The head as it is written, `host` left out and `content-length` made 7.
    fn written(headers: &Headers) -> String {
        let mut out = BytesMut::new();
        headers.write(&mut out, |known, _| match known {
            Known::Host => Fate::Leave,
            Known::ContentLength => Fate::Number(7),
            _ => Fate::Keep,
        });
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// Fields as they came: each line of `head` is one, `name:value` with whatever spaces stand around the value.
    fn received(head: &str) -> Headers {
        let mut headers = Headers::from_arena(head.as_bytes().to_vec(), 8);
        let mut start = 0;
        for line in head.split_inclusive("\r\n") {
            let (name, value) = line.split_once(':').unwrap();
            let at = start + line.len() - value.trim_start().len();
            headers.push_range(start..start + name.len(), at..at + value.trim().len());
            start += line.len();
        }
        headers
    }

    #[test]
    fn heads_are_written_field_by_field_whatever_stands_around_them() {
        let mut h =
            received("A: 1\r\nHost: x\r\nb:2\r\nC:  3\r\nContent-Length: 4\r\nd: 5 \r\nE: 6\r\nf:\r\n");
        let plain = "A: 1\r\nb: 2\r\nC: 3\r\nContent-Length: 7\r\nd: 5\r\nE: 6\r\nf: \r\n";
        assert_eq!(written(&h), plain);
        assert_eq!(h.fields.iter().filter(|f| f.is_line).count(), 4);
        h.set("b", b"two").unwrap();
        h.append("g", b"").unwrap();
        h.remove("E");
        let changed = "A: 1\r\nb: two\r\nC: 3\r\nContent-Length: 7\r\nd: 5\r\nf: \r\ng: \r\n";
        assert_eq!(written(&h), changed);
        h.compact();
        assert_eq!(written(&h), changed);
        assert_eq!(h.garbage, 0);
        assert!(h.fields.iter().all(|f| f.is_line));
        assert_eq!(written(&Headers::new()), "");
    }

    #[test]
    fn values_are_handed_out_without_a_copy() {
        let mut h = sample();
        h.set("x-two", b"").unwrap();
        let arena = h.arena.as_ptr() as usize..h.arena.as_ptr() as usize + h.arena.len();
        let mut seen = Vec::new();
        h.for_each_shared(|known, name, value| {
            assert!(value.is_empty() || arena.contains(&(value.as_ptr() as usize)));
            seen.push((known, String::from_utf8(name.to_vec()).unwrap(), value));
        });
        assert_eq!(seen[0], (Known::Host, "Host".to_owned(), Bytes::from_static(b"a")));
        assert_eq!(seen[2], (Known::Other, "x-one".to_owned(), Bytes::from_static(b"2")));
        assert_eq!(seen[4], (Known::Other, "x-two".to_owned(), Bytes::new()));
    }

    #[test]
    fn a_loop_of_sets_does_not_grow_the_arena() {
        let mut h = sample();
        for n in 0..100_000 {
            h.set("x-count", n.to_string().as_bytes()).unwrap();
        }
        assert!(h.arena.len() < 3 * COMPACT_ABOVE, "{}", h.arena.len());
        assert_eq!(h.get_str("x-count"), Some("99999"));
        assert_eq!(h.get_str("host"), Some("a"));
    }
}
