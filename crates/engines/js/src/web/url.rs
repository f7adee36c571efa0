//! Native side of URL, URLSearchParams and URLPattern (WHATWG URL and URL Pattern standards).
//!
//! A URL crosses the border as its serialisation, which is canonical ASCII: `js/url.js` slices the components out of
//! it. URL patterns are compiled here and stay here.

use rquickjs::{Array, Ctx, Exception, Function, Object, Result, Value};
use urlpattern::regexp::RegExp;
use urlpattern::{
    RegexSyntax, UrlPattern, UrlPatternInit, UrlPatternMatchInput, UrlPatternOptions, UrlPatternResult,
};

use super::bytes::Usv;

/// Longest input that is parsed as a URL, in bytes. Longer ones are invalid.
const MAX_URL: usize = 1 << 20;

/// Puts the functions of `js/url.js` on `native`.
pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("parse", Function::new(ctx.clone(), parse)?)?;
    native.set("set", Function::new(ctx.clone(), set)?)?;
    native.set("decode", Function::new(ctx.clone(), |text: Usv| percent_decode(&text.0))?)?;
    native.set("encode", Function::new(ctx.clone(), |text: Usv| form_encode(&text.0))?)?;
    native.set("pattern", Function::new(ctx.clone(), pattern)?)?;
    Ok(())
}

fn parse_url(input: &str, base: Option<&str>) -> Option<url::Url> {
    if input.len() > MAX_URL {
        return None;
    }
    match base {
        None => url::Url::parse(input).ok(),
        Some(base) => url::Url::options().base_url(Some(&url::Url::parse(base).ok()?)).parse(input).ok(),
    }
}

fn parse(input: Usv, base: rquickjs::function::Opt<Usv>) -> Option<String> {
    parse_url(&input.0, base.0.as_ref().map(|b| b.0.as_str())).map(String::from)
}

/// The serialisation of `href` with one component set, or none when the setter ignores `value`.
fn set(href: Usv, component: Usv, value: Usv) -> Option<String> {
    use url::quirks;
    if value.0.len() > MAX_URL {
        return None;
    }
    let mut url = url::Url::parse(&href.0).ok()?;
    let value = value.0.as_str();
    match component.0.as_str() {
        "protocol" => quirks::set_protocol(&mut url, value).ok()?,
        "username" => quirks::set_username(&mut url, value).ok()?,
        "password" => quirks::set_password(&mut url, value).ok()?,
        "host" => quirks::set_host(&mut url, value).ok()?,
        "hostname" => quirks::set_hostname(&mut url, value).ok()?,
        "port" => quirks::set_port(&mut url, value).ok()?,
        "pathname" => quirks::set_pathname(&mut url, value),
        "search" => quirks::set_search(&mut url, value),
        "hash" => quirks::set_hash(&mut url, value),
        _ => return None,
    }
    Some(url.into())
}

/// Percent-decodes, then decodes as UTF-8 with replacement. `+` is not touched.
pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|&b| (b as char).to_digit(16));
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Serialises one name or value as application/x-www-form-urlencoded.
pub(super) fn form_encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

const COMPONENTS: [&str; 8] =
    ["protocol", "username", "password", "hostname", "port", "pathname", "search", "hash"];

/// A component's expression. The linear-time engine, not the backtracking one of the VM: a pattern cannot hang.
struct Expression(regex::Regex);

impl RegExp for Expression {
    fn syntax() -> RegexSyntax {
        RegexSyntax::Rust
    }

    fn parse(pattern: &str, flags: &str, _force_eval: bool) -> std::result::Result<Self, ()> {
        let mut builder = regex::RegexBuilder::new(pattern);
        builder.case_insensitive(flags.contains('i')).build().map(Expression).map_err(|_| ())
    }

    fn matches<'a>(&self, text: &'a str) -> Option<Vec<Option<&'a str>>> {
        let found = self.0.captures(text)?;
        Some(found.iter().skip(1).map(|group| group.map(|m| m.as_str())).collect())
    }

    fn pattern_string(&self) -> &str {
        self.0.as_str()
    }
}

fn init_of(object: &Object<'_>) -> Result<UrlPatternInit> {
    let ctx = object.ctx();
    let text = |key: &str| -> Result<Option<String>> { Ok(object.get::<_, Option<Usv>>(key)?.map(|u| u.0)) };
    let base_url = match text("baseURL")? {
        None => None,
        Some(base) => match parse_url(&base, None) {
            Some(base) => Some(base),
            None => return Err(Exception::throw_type(ctx, "Invalid baseURL")),
        },
    };
    Ok(UrlPatternInit {
        protocol: text("protocol")?,
        username: text("username")?,
        password: text("password")?,
        hostname: text("hostname")?,
        port: text("port")?,
        pathname: text("pathname")?,
        search: text("search")?,
        hash: text("hash")?,
        base_url,
    })
}

/// Compiles a pattern. Returns `{ run(input, base), protocol, ..., hasRegExpGroups }`; `run` returns null or the
/// results by component: `[input, names, values]` in the order of [`COMPONENTS`].
fn pattern<'js>(
    ctx: Ctx<'js>,
    input: Value<'js>,
    base: Option<Usv>,
    ignore_case: bool,
) -> Result<Object<'js>> {
    let base = base.map(|b| b.0);
    let init = match input.as_object() {
        Some(object) => init_of(object)?,
        None => {
            let text: Usv = input.get()?;
            let base = match base {
                None => None,
                Some(base) => match parse_url(&base, None) {
                    Some(base) => Some(base),
                    None => return Err(Exception::throw_type(&ctx, "Invalid baseURL")),
                },
            };
            UrlPatternInit::parse_constructor_string::<Expression>(&text.0, base)
                .map_err(|error| Exception::throw_type(&ctx, &error.to_string()))?
        }
    };
    let options = UrlPatternOptions { ignore_case, ..Default::default() };
    let compiled: UrlPattern<Expression> =
        UrlPattern::parse(init, options).map_err(|error| Exception::throw_type(&ctx, &error.to_string()))?;
    let out = Object::new(ctx.clone())?;
    out.set("protocol", compiled.protocol())?;
    out.set("username", compiled.username())?;
    out.set("password", compiled.password())?;
    out.set("hostname", compiled.hostname())?;
    out.set("port", compiled.port())?;
    out.set("pathname", compiled.pathname())?;
    out.set("search", compiled.search())?;
    out.set("hash", compiled.hash())?;
    out.set("hasRegExpGroups", compiled.has_regexp_groups())?;
    let run = move |ctx: Ctx<'js>, input: Value<'js>, base: Option<Usv>| -> Result<Option<Array<'js>>> {
        let target = match input.as_object() {
            Some(object) => match init_of(object) {
                Ok(init) => UrlPatternMatchInput::Init(init),
                Err(_) => {
                    ctx.catch();
                    return Ok(None);
                }
            },
            None => {
                let text: Usv = input.get()?;
                match parse_url(&text.0, base.as_ref().map(|b| b.0.as_str())) {
                    Some(url) => UrlPatternMatchInput::Url(url),
                    None => return Ok(None),
                }
            }
        };
        match compiled.exec(target) {
            Ok(Some(found)) => groups(&ctx, &found).map(Some),
            _ => Ok(None),
        }
    };
    out.set("run", Function::new(ctx, run)?)?;
    Ok(out)
}

fn groups<'js>(ctx: &Ctx<'js>, found: &UrlPatternResult) -> Result<Array<'js>> {
    let out = Array::new(ctx.clone())?;
    let parts = [
        &found.protocol,
        &found.username,
        &found.password,
        &found.hostname,
        &found.port,
        &found.pathname,
        &found.search,
        &found.hash,
    ];
    debug_assert_eq!(parts.len(), COMPONENTS.len());
    for (index, part) in parts.into_iter().enumerate() {
        let names = Array::new(ctx.clone())?;
        let values = Array::new(ctx.clone())?;
        for (at, (name, value)) in part.groups.iter().enumerate() {
            names.set(at, name.as_str())?;
            match value {
                Some(value) => values.set(at, value.as_str())?,
                None => values.set(at, Value::new_undefined(ctx.clone()))?,
            }
        }
        let entry = Array::new(ctx.clone())?;
        entry.set(0, part.input.as_str())?;
        entry.set(1, names)?;
        entry.set(2, values)?;
        out.set(index, entry)?;
    }
    Ok(out)
}
