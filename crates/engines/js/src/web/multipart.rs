//! multipart/form-data (RFC 7578, as the WHATWG HTML standard writes it and the Fetch standard reads it).

use std::ops::Range;

use aws_lc_rs::rand;

/// Most parts of one body.
const MAX_PARTS: usize = 10_000;
/// Longest head of one part, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Longest boundary, in bytes (RFC 2046, 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// One part; its content is a range of the body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    /// Present for files.
    pub(super) filename: Option<String>,
    /// `text/plain` when the part does not say.
    pub(super) content_type: String,
    pub(super) content: Range<usize>,
}

/// A fresh boundary.
pub(super) fn boundary() -> String {
    let mut bytes = [0; 16];
    // Without entropy the boundary is a fixed one, which is still a valid boundary.
    let _ = rand::fill(&mut bytes);
    let mut out = String::from("----polygate-");
    for byte in bytes {
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// The delimiter and head of a part; `file` is its name and type. The first part's delimiter has a line break before
/// it too: an empty preamble.
pub(super) fn part_head(boundary: &str, name: &str, file: Option<(&str, &str)>) -> String {
    let mut out = format!("\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", escape(name));
    if let Some((filename, content_type)) = file {
        let content_type: String = content_type.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        out.push_str(&format!("; filename=\"{}\"\r\nContent-Type: {content_type}", escape(filename)));
    }
    out.push_str("\r\n\r\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('\n', "%0A").replace('\r', "%0D").replace('"', "%22")
}

/// `urlencoded`, or `multipart:` and the boundary, or none when the content type is of no form.
pub(super) fn form_type(content_type: &str) -> Option<String> {
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let essence = essence.trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Some("urlencoded".to_owned());
    }
    if !essence.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary")?;
    (!boundary.is_empty() && boundary.len() <= MAX_BOUNDARY).then(|| format!("multipart:{boundary}"))
}

/// The value of a `name=value` or `name="value"` parameter.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['=', ';']).unwrap_or(rest.len());
        let found = rest[..end].trim();
        if !rest[end..].starts_with('=') {
            rest = &rest[end..];
            continue;
        }
        let (value, after) = value(&rest[end + 1..]);
        if found.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

/// A token or a quoted string, and what follows it. Browsers do not escape backslashes in names, so a backslash only
/// escapes a quote.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut out = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (out, &quoted[at + 1..]),
            '\\' if characters.peek().is_some_and(|&(_, next)| next == '"') => {
                out.push('"');
                characters.next();
            }
            _ => out.push(character),
        }
    }
    (out, "")
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find(haystack.get(from..)?, needle).map(|at| from + at)
}

/// The parts of `body`.
///
/// # Errors
/// What is out of place, in words.
pub(super) fn parse(body: &[u8], boundary: &[u8]) -> Result<Vec<Part>, &'static str> {
    let mut delimiter = b"\r\n--".to_vec();
    delimiter.extend_from_slice(boundary);
    let opening = &delimiter[2..];
    // The first delimiter may stand at the very start; anything before it is a preamble.
    let mut at = if body.starts_with(opening) {
        opening.len()
    } else {
        find(body, &delimiter, 0).ok_or("no boundary")? + delimiter.len()
    };
    let mut parts = Vec::new();
    loop {
        let rest = body.get(at..).ok_or("it ends within a boundary")?;
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if !rest[padding..].starts_with(b"\r\n") {
            return Err("no line break after a boundary");
        }
        let head = at + padding + 2;
        let blank = find(body, b"\r\n\r\n", head.saturating_sub(2)).ok_or("a part's head does not end")?;
        if blank.saturating_sub(head) > MAX_HEAD {
            return Err("a part's head is too long");
        }
        let content = blank + 4;
        let end = find(body, &delimiter, content.saturating_sub(2)).ok_or("a part does not end")?;
        if parts.len() == MAX_PARTS {
            return Err("too many parts");
        }
        parts.push(part(body.get(head..blank).unwrap_or_default(), content..end.max(content))?);
        at = end + delimiter.len();
    }
}

fn part(head: &[u8], content: Range<usize>) -> Result<Part, &'static str> {
    let head = String::from_utf8_lossy(head);
    let mut found = None;
    let mut content_type = None;
    for line in head.split("\r\n") {
        let (name, rest) = line.split_once(':').ok_or("a header without a colon")?;
        if name.trim().eq_ignore_ascii_case("content-disposition") {
            let (kind, parameters) = rest.split_once(';').unwrap_or((rest, ""));
            if !kind.trim().eq_ignore_ascii_case("form-data") {
                return Err("a part that is not form-data");
            }
            let name = parameter(parameters, "name").ok_or("a part without a name")?;
            found = Some((unescape(&name), parameter(parameters, "filename").map(|name| unescape(&name))));
        } else if name.trim().eq_ignore_ascii_case("content-type") {
            content_type = Some(rest.trim().to_owned());
        }
    }
    let (name, filename) = found.ok_or("a part without a Content-Disposition")?;
    Ok(Part {
        name,
        filename,
        content_type: content_type.unwrap_or_else(|| "text/plain".to_owned()),
        content,
    })
}

fn unescape(text: &str) -> String {
    text.replace("%0A", "\n").replace("%0D", "\r").replace("%22", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &[u8], parts: &[Part]) -> Vec<(String, Option<String>, String)> {
        let text = |part: &Part| String::from_utf8_lossy(&body[part.content.clone()]).into_owned();
        parts.iter().map(|part| (part.name.clone(), part.filename.clone(), text(part))).collect()
    }

    #[test]
    fn a_body_of_a_browser_is_read() {
        let body = b"--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--X\r\n\
            Content-Disposition: form-data; name=\"f%22\"; filename=\"\xC3\xA9.txt\"\r\nContent-Type: text/x\r\n\r\n\
            --not\r\nthe end\r\n--X--\r\n";
        let parts = parse(body, b"X").unwrap();
        assert_eq!(
            texts(body, &parts),
            [("a".into(), None, "1".into()), ("f\"".into(), Some("é.txt".into()), "--not\r\nthe end".into())]
        );
        assert_eq!(parts[1].content_type, "text/x");
    }

    #[test]
    fn an_empty_part_and_an_empty_form_are_read() {
        let body = b"--X\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--X--";
        assert_eq!(texts(body, &parse(body, b"X").unwrap()), [("a".into(), None, String::new())]);
        assert_eq!(parse(b"--X--\r\n", b"X").unwrap(), []);
    }

    #[test]
    fn every_truncation_is_refused_and_none_panics() {
        let whole = b"--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nabc\r\n--X--";
        for length in 0..whole.len() {
            assert!(parse(&whole[..length], b"X").is_err(), "{length}");
        }
    }

    #[test]
    fn form_types() {
        assert_eq!(
            form_type("multipart/form-data; charset=x; boundary=\"a b\"").as_deref(),
            Some("multipart:a b")
        );
        assert_eq!(form_type("Multipart/Form-Data;BOUNDARY=ab;q").as_deref(), Some("multipart:ab"));
        assert_eq!(form_type("multipart/form-data"), None);
        assert_eq!(
            form_type("application/x-www-form-urlencoded; charset=utf-8").as_deref(),
            Some("urlencoded")
        );
        assert_eq!(form_type("text/plain"), None);
    }
}
