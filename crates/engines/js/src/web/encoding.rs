//! Native side of TextEncoder and TextDecoder (WHATWG Encoding standard), over encoding_rs.

use std::cell::RefCell;

use encoding_rs::{CoderResult, DecoderResult, Encoding, UTF_8};
use rquickjs::{Array, Ctx, Exception, Function, Object, Result, String as JsString, Value};

use super::bytes::{Usv, View, lossy, replace_surrogates, uint8_array, with_wtf8};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Puts the functions of `js/encoding.js` on `native`.
pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("encode", Function::new(ctx.clone(), encode)?)?;
    native.set("encodeInto", Function::new(ctx.clone(), encode_into)?)?;
    native.set("decodeUtf8", Function::new(ctx.clone(), decode_utf8)?)?;
    native.set("label", Function::new(ctx.clone(), label)?)?;
    native.set("decoder", Function::new(ctx.clone(), decoder)?)?;
    Ok(())
}

fn encode<'js>(ctx: Ctx<'js>, text: JsString<'js>) -> Result<Value<'js>> {
    with_wtf8(text, |bytes| {
        if std::str::from_utf8(bytes).is_ok() {
            uint8_array(&ctx, bytes)
        } else {
            uint8_array(&ctx, &replace_surrogates(bytes))
        }
    })?
}

/// The code units of `text` that fit into `room` bytes of UTF-8, and those bytes.
fn encode_into<'js>(ctx: Ctx<'js>, text: JsString<'js>, room: usize) -> Result<Array<'js>> {
    let text = with_wtf8(text, lossy)?;
    let (mut read, mut written) = (0, 0);
    for character in text.chars() {
        if written + character.len_utf8() > room {
            break;
        }
        written += character.len_utf8();
        read += character.len_utf16();
    }
    let out = Array::new(ctx.clone())?;
    out.set(0, read)?;
    out.set(1, uint8_array(&ctx, &text.as_bytes()[..written])?)?;
    Ok(out)
}

fn invalid(ctx: &Ctx<'_>) -> rquickjs::Error {
    Exception::throw_type(ctx, "The encoded data was not valid")
}

/// Decodes a whole input at once.
fn decode_utf8<'js>(ctx: Ctx<'js>, bytes: View<'js>, fatal: bool, ignore_bom: bool) -> Result<JsString<'js>> {
    bytes.with(|bytes| {
        let bytes = if ignore_bom { bytes } else { bytes.strip_prefix(BOM).unwrap_or(bytes) };
        match std::str::from_utf8(bytes) {
            Ok(text) => JsString::from_str(ctx.clone(), text),
            Err(_) if fatal => Err(invalid(&ctx)),
            Err(_) => JsString::from_str(ctx.clone(), &String::from_utf8_lossy(bytes)),
        }
    })?
}

/// The lower-case name of the encoding that `label` means, if any.
fn label(label: Usv) -> Option<String> {
    Encoding::for_label_no_replacement(label.0.as_bytes()).map(|found| found.name().to_ascii_lowercase())
}

/// A decoder for a stream: a function of `(bytes, stream)`.
fn decoder<'js>(ctx: Ctx<'js>, name: Usv, fatal: bool, ignore_bom: bool) -> Result<Function<'js>> {
    let encoding = Encoding::for_label_no_replacement(name.0.as_bytes()).unwrap_or(UTF_8);
    let fresh = if ignore_bom {
        encoding.new_decoder_without_bom_handling()
    } else {
        encoding.new_decoder_with_bom_removal()
    };
    let state = RefCell::new(fresh);
    Function::new(ctx, move |ctx: Ctx<'js>, bytes: View<'js>, stream: bool| -> Result<String> {
        let mut decoder = state.borrow_mut();
        let decoded = bytes.with(|bytes| decode_chunk(&mut decoder, bytes, !stream, fatal))?;
        decoded.ok_or_else(|| invalid(&ctx))
    })
}

/// Decodes one chunk; none when it is malformed and that is fatal.
fn decode_chunk(decoder: &mut encoding_rs::Decoder, bytes: &[u8], last: bool, fatal: bool) -> Option<String> {
    let mut out = String::new();
    let mut rest = bytes;
    loop {
        let room = if fatal {
            decoder.max_utf8_buffer_length_without_replacement(rest.len())
        } else {
            decoder.max_utf8_buffer_length(rest.len())
        }?;
        out.reserve(room);
        if fatal {
            let (result, read) = decoder.decode_to_string_without_replacement(rest, &mut out, last);
            rest = &rest[read..];
            match result {
                DecoderResult::InputEmpty => return Some(out),
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => return None,
            }
        } else {
            let (result, read, _) = decoder.decode_to_string(rest, &mut out, last);
            rest = &rest[read..];
            match result {
                CoderResult::InputEmpty => return Some(out),
                CoderResult::OutputFull => {}
            }
        }
    }
}
