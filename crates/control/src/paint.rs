//! Colours of the terminal, or none.

use std::fmt;

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// An error.
    Red,
    /// A success.
    Green,
    /// A warning.
    Yellow,
    /// Places and names.
    Blue,
    /// Redirects and links.
    Cyan,
    /// Emphasis.
    Bold,
    /// What matters less.
    Dim,
    /// An error's title.
    BoldRed,
    /// A warning's title.
    BoldYellow,
}

impl Look {
    /// The parameters of the SGR sequence (ECMA-48, 8.3.117).
    const fn code(self) -> &'static str {
        match self {
            Look::Red => "31",
            Look::Green => "32",
            Look::Yellow => "33",
            Look::Blue => "34",
            Look::Cyan => "36",
            Look::Bold => "1",
            Look::Dim => "2",
            Look::BoldRed => "1;31",
            Look::BoldYellow => "1;33",
        }
    }
}

impl Paint {
    /// With colours, or without.
    pub const fn new(coloured: bool) -> Self {
        Self(coloured)
    }

    /// `text` in that look.
    pub fn on<T: fmt::Display>(self, look: Look, text: T) -> Painted<T> {
        Painted { look: self.0.then_some(look), text }
    }
}

/// Text with a look.
pub struct Painted<T> {
    look: Option<Look>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.look {
            Some(look) => {
                write!(f, "\x1b[{}m", look.code())?;
                self.text.fmt(f)?;
                f.write_str("\x1b[0m")
            }
            None => self.text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_on_or_off() {
        assert_eq!(Paint::new(false).on(Look::Red, "x").to_string(), "x");
        assert_eq!(Paint::new(true).on(Look::Red, "x").to_string(), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::new(true).on(Look::Dim, format_args!("{:>3}", 1)).to_string(), "\x1b[2m  1\x1b[0m");
    }
}
