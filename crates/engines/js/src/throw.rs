//! Errors of native operations, to be thrown inside the VM later.

use rquickjs::function::Constructor;
use rquickjs::{Ctx, Error, Exception, Value};

use crate::kept::Kept;

/// What an operation fails with; it becomes a JavaScript error once the VM is entered.
#[derive(Debug)]
pub enum OpError {
    /// A `TypeError`.
    Type(String),
    /// A `RangeError`.
    Range(String),
    /// A plain `Error`.
    Error(String),
    /// A `DOMException` of this name.
    Dom {
        /// Its name, such as `AbortError`.
        name: &'static str,
        /// Its message.
        message: String,
    },
    /// A value that JavaScript gave, such as the reason of an abort.
    Value(Kept),
}

impl OpError {
    /// Throws it: gives what a native function returns to throw.
    pub fn throw(self, ctx: &Ctx<'_>) -> Error {
        match self {
            Self::Type(message) => Exception::throw_type(ctx, &message),
            Self::Range(message) => Exception::throw_range(ctx, &message),
            Self::Error(message) => Exception::throw_message(ctx, &message),
            Self::Dom { name, message } => throw_dom(ctx, name, &message),
            Self::Value(kept) => match kept.get(ctx) {
                Some(value) => ctx.throw(value),
                None => Exception::throw_message(ctx, "the value is gone"),
            },
        }
    }
}

impl From<rquickjs::Error> for OpError {
    fn from(error: rquickjs::Error) -> Self {
        Self::Error(error.to_string())
    }
}

/// Throws a `DOMException`.
pub fn throw_dom(ctx: &Ctx<'_>, name: &str, message: &str) -> Error {
    let made = ctx
        .globals()
        .get::<_, Constructor<'_>>("DOMException")
        .and_then(|constructor| constructor.construct::<_, Value<'_>>((message, name)));
    match made {
        Ok(exception) => ctx.throw(exception),
        Err(error) => error,
    }
}
