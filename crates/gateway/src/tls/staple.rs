//! Stapled responses: the word of the authority that our certificate is not revoked, shown along with it (RFC 6066 8).
//!
//! Here the response is read as far as it takes to know whether it is for our certificate, good, and for how long (RFC 6960
//! 4.2.1). Its signature is for clients to verify.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use x509_parser::asn1_rs::{Any, Class, FromDer};
use x509_parser::time::ASN1Time;

use super::certificate::time;

/// `id-pkix-ocsp-basic`, 1.3.6.1.5.5.7.48.1.1 (RFC 6960 4.2.1).
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 1];

const INTEGER: u32 = 2;
const OCTET_STRING: u32 = 4;
const OBJECT_IDENTIFIER: u32 = 6;
const ENUMERATED: u32 = 10;
const SEQUENCE: u32 = 16;
const GENERALIZED_TIME: u32 = 24;

/// What is stapled to a certificate.
pub(crate) struct Staple {
    /// Its file.
    pub(crate) file: PathBuf,
    /// What can be shown, or why nothing can.
    pub(crate) shown: Result<Shown, String>,
}

/// A response that can be shown.
pub(crate) struct Shown {
    /// The certificate with it.
    pub(super) key: Arc<CertifiedKey>,
    pub(crate) term: Term,
}

/// For how long a response is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term {
    /// When the authority knew it (`thisUpdate`).
    pub(crate) from: SystemTime,
    /// By when there is a newer one (`nextUpdate`).
    pub(crate) until: SystemTime,
}

impl Staple {
    /// Puts a response, of that file, along with the certificate of `key`, whose serial number that is.
    pub(super) fn new(
        file: PathBuf,
        response: Result<Vec<u8>, String>,
        serial: &[u8],
        key: &CertifiedKey,
    ) -> Self {
        let shown = response.and_then(|response| {
            let term = read(&response, serial)?;
            let mut key = key.clone();
            key.ocsp = Some(response);
            Ok(Shown { key: Arc::new(key), term })
        });
        Self { file, shown }
    }

    /// The certificate with the response, as long as it is good: clients refuse an old one, and mostly do without any.
    pub(super) fn key(&self, now: SystemTime) -> Option<&Arc<CertifiedKey>> {
        let shown = self.shown.as_ref().ok()?;
        (shown.term.from <= now && now < shown.term.until).then_some(&shown.key)
    }

    /// What keeps it from being shown.
    pub(crate) fn problem(&self, now: SystemTime) -> Option<&str> {
        match &self.shown {
            Err(problem) => Some(problem),
            Ok(shown) if shown.term.until <= now => Some("the response is out of date"),
            Ok(shown) if shown.term.from > now => Some("the response is not good yet"),
            Ok(_) => None,
        }
    }
}

/// For how long a response says that the certificate of that serial number is good.
///
/// # Errors
/// When it says nothing of the kind.
fn read(response: &[u8], serial: &[u8]) -> Result<Term, String> {
    let single = single(response, serial).ok_or("the file is no OCSP response (DER) for this certificate")?;
    match single.status {
        Status::Good => {}
        Status::Revoked => return Err("the certificate is revoked".to_owned()),
        Status::Unknown => return Err("the authority does not know the certificate".to_owned()),
        Status::Failed(code) => return Err(format!("the response is an error of the responder ({code})")),
    }
    let until = single.until.ok_or("the response does not say until when it is good")?;
    Ok(Term { from: single.from, until })
}

/// What is said of one certificate.
struct Single {
    status: Status,
    from: SystemTime,
    until: Option<SystemTime>,
}

enum Status {
    Good,
    Revoked,
    Unknown,
    /// Nothing is said, for this reason (RFC 6960 4.2.1, OCSPResponseStatus).
    Failed(u8),
}

/// Reads one element of that class and tag, and goes behind it.
fn take<'a>(rest: &mut &'a [u8], class: Class, tag: u32) -> Option<&'a [u8]> {
    let (behind, any) = Any::from_der(rest).ok()?;
    if any.class() != class || any.tag().0 != tag {
        return None;
    }
    *rest = behind;
    Some(any.data)
}

fn universal<'a>(rest: &mut &'a [u8], tag: u32) -> Option<&'a [u8]> {
    take(rest, Class::Universal, tag)
}

fn context<'a>(rest: &mut &'a [u8], tag: u32) -> Option<&'a [u8]> {
    take(rest, Class::ContextSpecific, tag)
}

fn moment(rest: &mut &[u8]) -> Option<SystemTime> {
    let whole = *rest;
    universal(rest, GENERALIZED_TIME)?;
    let (_, at) = ASN1Time::from_der(whole).ok()?;
    Some(time(&at))
}

/// The part of a response that is about a certificate; `None` when there is none, or it is malformed.
fn single(mut response: &[u8], serial: &[u8]) -> Option<Single> {
    let mut outer = universal(&mut response, SEQUENCE)?;
    if !response.is_empty() {
        return None;
    }
    let code = *universal(&mut outer, ENUMERATED)?.first()?;
    if code != 0 {
        return Some(Single { status: Status::Failed(code), from: SystemTime::UNIX_EPOCH, until: None });
    }
    let mut explicit = context(&mut outer, 0)?;
    let mut bytes = universal(&mut explicit, SEQUENCE)?;
    if universal(&mut bytes, OBJECT_IDENTIFIER)? != BASIC {
        return None;
    }
    let mut basic = universal(&mut bytes, OCTET_STRING)?;
    let mut basic = universal(&mut basic, SEQUENCE)?;
    let mut data = universal(&mut basic, SEQUENCE)?;
    // The version, which is written only when it is not the first; who answers, by name or by key; and when.
    let _ = context(&mut data, 0);
    context(&mut data, 1).or_else(|| context(&mut data, 2))?;
    moment(&mut data)?;
    let mut all = universal(&mut data, SEQUENCE)?;
    while let Some(mut one) = universal(&mut all, SEQUENCE) {
        let mut id = universal(&mut one, SEQUENCE)?;
        universal(&mut id, SEQUENCE)?;
        universal(&mut id, OCTET_STRING)?;
        universal(&mut id, OCTET_STRING)?;
        if universal(&mut id, INTEGER)? != serial {
            continue;
        }
        let mut all = [Status::Good, Status::Revoked, Status::Unknown].into_iter().zip(0..);
        let (status, _) = all.find(|(_, tag)| context(&mut one, *tag).is_some())?;
        let from = moment(&mut one)?;
        let until = match context(&mut one, 0) {
            Some(mut explicit) => Some(moment(&mut explicit)?),
            None => None,
        };
        return Some(Single { status, from, until });
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::Issued;
    use super::*;

    /// An element.
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut bytes = vec![tag];
        match content.len() {
            length @ 0..128 => bytes.push(length as u8),
            length => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
        }
        bytes.extend(content);
        bytes
    }

    /// What is said of the certificate of a serial number.
    fn said(serial: &[u8], status: &[u8], until: Option<&str>) -> Vec<u8> {
        let algorithm = der(0x30, &[&der(6, &[&[0x2b, 14, 3, 2, 26]])]);
        let id = der(0x30, &[&algorithm, &der(4, &[&[7; 20]]), &der(4, &[&[8; 20]]), &der(2, &[serial])]);
        let until = until.map(|until| der(0xa0, &[&der(24, &[until.as_bytes()])])).unwrap_or_default();
        der(0x30, &[&id, status, &der(24, &[b"20260101000000Z"]), &until])
    }

    fn response(said: &[Vec<u8>]) -> Vec<u8> {
        let said: Vec<&[u8]> = said.iter().map(Vec::as_slice).collect();
        let who = der(0xa2, &[&der(4, &[&[9; 20]])]);
        let data = der(0x30, &[&who, &der(24, &[b"20260101000000Z"]), &der(0x30, &said)]);
        let basic = der(0x30, &[&data, &der(0x30, &[]), &der(3, &[&[0, 1]])]);
        let bytes = der(0x30, &[&der(6, &[BASIC]), &der(4, &[&basic])]);
        der(0x30, &[&der(10, &[&[0]]), &der(0xa0, &[&bytes])])
    }

    const GOOD: &[u8] = &[0x80, 0];

    #[test]
    fn a_response_says_for_how_long_it_is_good() {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let day = Duration::from_secs(86_400);
        let both = [said(&[4], &[0x82, 0], None), said(&[5], GOOD, Some("20260102000000Z"))];
        let term = read(&response(&both), &[5]).unwrap();
        assert_eq!(term, Term { from: begin, until: begin + day });
        let certificate = Issued::new(&["a.test"]).certificate();
        let staple = Staple::new("f".into(), Ok(response(&both)), &[5], &certificate.key);
        for (at, shown) in
            [(begin - day, false), (begin, true), (begin + day / 2, true), (begin + day, false)]
        {
            assert_eq!(staple.key(at).is_some(), shown);
            assert_eq!(staple.problem(at).is_none(), shown);
        }
        assert_eq!(staple.key(begin).unwrap().ocsp, Some(response(&both)));
    }

    #[test]
    fn what_says_nothing_good_is_not_shown() {
        let until = Some("20260102000000Z");
        let revoked = der(0xa1, &[&der(24, &[b"20260101000000Z"])]);
        let good = response(&[said(&[5], GOOD, until)]);
        for (bytes, serial, why) in [
            (response(&[said(&[5], &revoked, until)]), 5, "revoked"),
            (response(&[said(&[5], &[0x82, 0], until)]), 5, "does not know"),
            (response(&[said(&[5], GOOD, None)]), 5, "until when"),
            (der(0x30, &[&der(10, &[&[3]])]), 5, "error of the responder (3)"),
            (good.clone(), 6, "no OCSP response"),
            ([&good[..], b"x"].concat(), 5, "no OCSP response"),
            (b"-----BEGIN".to_vec(), 5, "no OCSP response"),
        ] {
            let said = read(&bytes, &[serial]).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        // However it is cut off, or changed, it is read without harm.
        for at in 0..good.len() {
            assert!(read(&good[..at], &[5]).is_err(), "{at}");
            for bit in 0..8 {
                let mut changed = good.clone();
                changed[at] ^= 1 << bit;
                let _ = read(&changed, &[5]);
            }
        }
    }
}
