//! `Accept-Encoding` (RFC 9110 12.5.3): which coding a client likes best of those that are offered.

use polygate_pipeline::{Headers, Known};
use polygate_plan::{Coding, Compression};

/// Members that are looked at; nobody has so many codings.
const MAX_MEMBERS: usize = 32;

/// The coding with the highest weight; of equal ones, the first in the order of the settings. A client that likes the
/// response as it is better gets it so.
pub(super) fn choose(settings: &Compression, headers: &Headers) -> Option<Coding> {
    headers.known(Known::AcceptEncoding)?;
    let members = || {
        let values = headers.all_known(Known::AcceptEncoding);
        values.flat_map(|value| value.split(|&b| b == b',')).take(MAX_MEMBERS).filter_map(member)
    };
    // A coding's own member counts, and `*` for those without one; in thousandths.
    let weight = |name: &[u8], alias: &[u8]| {
        let is_named = |found: &[u8]| found.eq_ignore_ascii_case(name) || found.eq_ignore_ascii_case(alias);
        let own = members().find(|(found, _)| is_named(found));
        own.or_else(|| members().find(|(found, _)| *found == b"*")).map(|(_, weight)| weight)
    };
    let mut best = None;
    for &coding in &settings.codings {
        let alias = if coding == Coding::Gzip { &b"x-gzip"[..] } else { b"" };
        let weight = weight(coding.as_str().as_bytes(), alias).unwrap_or(0);
        if weight > best.map_or(0, |(_, best)| best) {
            best = Some((coding, weight));
        }
    }
    let (coding, best) = best?;
    let identity = members().find(|(found, _)| found.eq_ignore_ascii_case(b"identity"));
    if identity.is_some_and(|(_, weight)| weight > best) { None } else { Some(coding) }
}

/// A coding and its weight in thousandths; `None` for what is malformed.
fn member(text: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = text.split(|&b| b == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let mut weight = 1000;
    for parameter in parts {
        if let [b'q' | b'Q', b'=', value @ ..] = parameter {
            weight = thousandths(value)?;
        }
    }
    Some((name, weight))
}

/// `0`, `0.5`, `1.000` (RFC 9110 12.4.2).
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut value = u16::from(whole - b'0') * 1000;
    for (digit, unit) in fraction.iter().zip([100, 10, 1]) {
        value += u16::from(digit.is_ascii_digit().then(|| digit - b'0')?) * unit;
    }
    (value <= 1000).then_some(value)
}
