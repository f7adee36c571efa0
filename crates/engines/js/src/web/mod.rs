//! The Web APIs that policies see: URL, encoding, events, timers, crypto, blobs, console.
//!
//! Each group is a prelude script (`js/*.js`) over a few native functions. Scripts are evaluated on first use of one
//! of their globals, so that a new VM pays only for boot and for what its policies touch. A script is one function
//! expression `(function (internal, native) { ... return exports })`: `internal` is an object shared by all preludes
//! and never reachable from user code, `native` holds the script's own Rust functions.

mod blob;
mod bytes;
mod console;
mod crypto;
mod encoding;
pub mod fetch;
mod multipart;
mod performance;
mod script;
mod timers;
mod url;
mod zlib;

#[cfg(test)]
mod tests;

use rquickjs::{Ctx, Object, Result};

#[allow(unused_imports, reason = "for the fetch module")]
pub(crate) use self::bytes::{Usv, View, array_buffer, uint8_array};
pub use self::console::format_values;
#[allow(unused_imports, reason = "for the fetch module")]
pub(crate) use self::script::{Script, internal, register};

/// The scripts of this module, in the order in which they are registered.
const SCRIPTS: &[Script] = &[
    Script {
        name: "url",
        source: include_str!("../../js/url.js"),
        globals: &["URL", "URLSearchParams", "URLPattern"],
        native: Some(url::natives),
    },
    Script {
        name: "encoding",
        source: include_str!("../../js/encoding.js"),
        globals: &["TextEncoder", "TextDecoder", "TextEncoderStream", "TextDecoderStream"],
        native: Some(encoding::natives),
    },
    Script {
        name: "events",
        source: include_str!("../../js/events.js"),
        globals: &[
            "EventTarget",
            "Event",
            "CustomEvent",
            "ErrorEvent",
            "MessageEvent",
            "CloseEvent",
            "ProgressEvent",
            "PromiseRejectionEvent",
            "AbortController",
            "AbortSignal",
            "MessageChannel",
            "MessagePort",
        ],
        native: None,
    },
    Script {
        name: "crypto",
        source: include_str!("../../js/crypto.js"),
        globals: &["crypto", "Crypto", "SubtleCrypto", "CryptoKey"],
        native: Some(crypto::natives),
    },
    Script {
        name: "blob",
        source: include_str!("../../js/blob.js"),
        globals: &["Blob", "File", "FormData"],
        native: Some(blob::natives),
    },
    Script {
        name: "clone",
        source: include_str!("../../js/clone.js"),
        globals: &["structuredClone"],
        native: None,
    },
    Script {
        name: "console",
        source: include_str!("../../js/console.js"),
        globals: &["console", "reportError"],
        native: Some(console::natives),
    },
    Script {
        name: "timers",
        source: include_str!("../../js/timers.js"),
        globals: &[
            "setTimeout",
            "setInterval",
            "setImmediate",
            "clearTimeout",
            "clearInterval",
            "clearImmediate",
        ],
        native: Some(timers::natives),
    },
    Script {
        name: "performance",
        source: include_str!("../../js/performance.js"),
        globals: &["performance", "Performance", "navigator", "Navigator"],
        native: Some(performance::natives),
    },
    Script {
        name: "compression",
        source: include_str!("../../js/compression.js"),
        globals: &["CompressionStream", "DecompressionStream"],
        native: Some(zlib::natives),
    },
];

/// Installs all Web APIs of this module on `ctx`'s global object. Call once per context, before user code.
pub(crate) fn install(ctx: &Ctx<'_>) -> Result<()> {
    script::boot(ctx)?;
    register(ctx, SCRIPTS)?;
    fetch::install(ctx)?;
    let globals = ctx.globals();
    if !globals.contains_key("self")? {
        globals.set("self", globals.clone())?;
    }
    if !globals.contains_key("process")? {
        let process = Object::new(ctx.clone())?;
        let env = Object::new(ctx.clone())?;
        env.set("NODE_ENV", "production")?;
        process.set("env", env)?;
        globals.set("process", process)?;
    }
    Ok(())
}
