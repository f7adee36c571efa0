//! Native side of Blob and FormData: joining bytes, text, and the multipart format.

use rquickjs::{Array, Ctx, Exception, Function, Object, Result, String as JsString, Value};

use super::bytes::{Usv, View, uint8_array};
use super::multipart;

/// Puts the functions of `js/blob.js` on `native`.
pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("encode", Function::new(ctx.clone(), encode)?)?;
    native.set("concat", Function::new(ctx.clone(), concat)?)?;
    native.set("toText", Function::new(ctx.clone(), to_text)?)?;
    native.set("boundary", Function::new(ctx.clone(), multipart::boundary)?)?;
    native.set("partHead", Function::new(ctx.clone(), part_head)?)?;
    native.set("partsEnd", Function::new(ctx.clone(), parts_end)?)?;
    native.set("formType", Function::new(ctx.clone(), |text: Usv| multipart::form_type(&text.0))?)?;
    native.set("parseMultipart", Function::new(ctx.clone(), parse_multipart)?)
}

fn encode<'js>(ctx: Ctx<'js>, text: Usv) -> Result<Value<'js>> {
    uint8_array(&ctx, text.0.as_bytes())
}

fn concat<'js>(ctx: Ctx<'js>, parts: Vec<View<'js>>) -> Result<Value<'js>> {
    let mut out = Vec::new();
    for part in &parts {
        part.with(|bytes| out.extend_from_slice(bytes))?;
    }
    uint8_array(&ctx, &out)
}

/// UTF-8 with replacement, without a byte order mark ("UTF-8 decode").
fn to_text<'js>(ctx: Ctx<'js>, bytes: View<'js>) -> Result<JsString<'js>> {
    bytes.with(|bytes| {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        JsString::from_str(ctx.clone(), &String::from_utf8_lossy(bytes))
    })?
}

fn part_head<'js>(
    ctx: Ctx<'js>,
    boundary: Usv,
    name: Usv,
    filename: Option<Usv>,
    content_type: Option<Usv>,
) -> Result<Value<'js>> {
    let file = filename.zip(content_type);
    let file = file.as_ref().map(|(name, kind)| (name.0.as_str(), kind.0.as_str()));
    uint8_array(&ctx, multipart::part_head(&boundary.0, &name.0, file).as_bytes())
}

fn parts_end<'js>(ctx: Ctx<'js>, boundary: Usv) -> Result<Value<'js>> {
    uint8_array(&ctx, format!("\r\n--{}--\r\n", boundary.0).as_bytes())
}

fn parse_multipart<'js>(ctx: Ctx<'js>, bytes: View<'js>, boundary: Usv) -> Result<Array<'js>> {
    let parts = bytes
        .with(|bytes| multipart::parse(bytes, boundary.0.as_bytes()))?
        .map_err(|error| Exception::throw_type(&ctx, &format!("The multipart body is malformed: {error}")))?;
    let out = Array::new(ctx.clone())?;
    for (index, part) in parts.into_iter().enumerate() {
        let at = index * 5;
        out.set(at, part.name)?;
        match part.filename {
            Some(filename) => out.set(at + 1, filename)?,
            None => out.set(at + 1, Value::new_undefined(ctx.clone()))?,
        }
        out.set(at + 2, part.content_type)?;
        out.set(at + 3, part.content.start)?;
        out.set(at + 4, part.content.end)?;
    }
    Ok(out)
}
