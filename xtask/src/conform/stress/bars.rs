//! Figures, held against what they may be.

use crate::Outcome;

/// The lines of a table, as they are found.
#[derive(Default)]
pub(super) struct Bars {
    missed: Vec<String>,
}

impl Bars {
    /// What the lines that follow are about.
    pub(super) fn about(&self, what: &str) {
        println!("\n{what}");
    }

    /// One line: what was measured, the figure, what it should be, and whether it is.
    pub(super) fn hold(&mut self, what: &str, figure: &str, bar: &str, is_met: bool) {
        let verdict = if is_met { "ok" } else { "MISSED" };
        println!("  {what:42} {figure:>30}   {bar:>22}   {verdict}");
        if !is_met {
            self.missed.push(format!("{what}: {figure}"));
        }
    }

    /// One line without a bar.
    pub(super) fn note(&self, what: &str, figure: &str) {
        println!("  {what:42} {figure:>30}");
    }

    pub(super) fn conclude(self) -> Outcome {
        match self.missed.as_slice() {
            [] => Ok(()),
            missed => Err(format!("{} bars were missed: {}", missed.len(), missed.join("; "))),
        }
    }
}
