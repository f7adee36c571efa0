//! Distinguished names as text (RFC 4514).

use std::fmt::Write as _;

use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The name, its most specific part first: `CN=device 7,OU=Lab,O=Example`.
pub(super) fn distinguished(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.into_iter().rev() {
        for (index, attribute) in part.iter().enumerate() {
            match (index, out.is_empty()) {
                (0, true) => {}
                (0, false) => out.push(','),
                _ => out.push('+'),
            }
            push(&mut out, attribute);
        }
    }
    out
}

fn push(out: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let kind = attribute.attr_type();
    let (abbreviation, text) = (oid2abbrev(kind, oid_registry()), attribute.as_str());
    match (abbreviation, text) {
        (Ok(abbreviation), Ok(text)) => {
            out.push_str(abbreviation);
            out.push('=');
            escape(out, text);
        }
        // Without a name for the kind, or with a value that is no text: the value as it is encoded.
        (abbreviation, _) => {
            let _ = match abbreviation {
                Ok(abbreviation) => write!(out, "{abbreviation}=#"),
                Err(_) => write!(out, "{}=#", kind.to_id_string()),
            };
            for byte in attribute.attr_value().data {
                let _ = write!(out, "{byte:02x}");
            }
        }
    }
}

/// RFC 4514 2.4; control characters as well, so that a name is always one line.
fn escape(out: &mut String, text: &str) {
    let last = text.chars().count().saturating_sub(1);
    for (index, c) in text.chars().enumerate() {
        let special = matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=')
            || (c == '#' && index == 0)
            || (c == ' ' && (index == 0 || index == last));
        if c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "\\{byte:02x}");
            }
        } else {
            if special {
                out.push('\\');
            }
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_pass_for_other_parts() {
        let escaped = |text: &str| {
            let mut out = String::new();
            escape(&mut out, text);
            out
        };
        assert_eq!(escaped("James \"Jim\" Smith, III"), "James \\\"Jim\\\" Smith\\, III");
        assert_eq!(escaped(" x "), "\\ x\\ ");
        assert_eq!(escaped("#a=b#"), "\\#a\\=b#");
        assert_eq!(escaped("a\nCN=root\0"), "a\\0aCN\\=root\\00");
        assert_eq!(escaped("Zo\u{eb}"), "Zo\u{eb}");
    }
}
