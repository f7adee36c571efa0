//! From places in generated code to places in the file as written.

/// Mappings of one module, in the order of the generated code.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mappings {
    /// Generated line and column, written line and column; all from 0.
    tokens: Box<[[u32; 4]]>,
    /// Lines put before the code; without tokens, the code behind them stands as written.
    shift: u32,
}

impl Mappings {
    pub(crate) fn new(tokens: impl Iterator<Item = [u32; 4]>) -> Self {
        Self { tokens: tokens.collect(), shift: 0 }
    }

    /// Code as written, behind `lines` lines of ours.
    pub(crate) fn shifted(lines: u32) -> Self {
        Self { tokens: Box::default(), shift: lines }
    }

    /// The written place of a generated one; lines and columns from 1. `None` for code that nobody wrote.
    pub(crate) fn written(&self, line: u32, column: u32) -> Option<(u32, u32)> {
        let line = line.checked_sub(1 + self.shift)?;
        if self.tokens.is_empty() {
            return (self.shift > 0).then_some((line + 1, column));
        }
        let column = column.saturating_sub(1);
        let after = self.tokens.partition_point(|token| (token[0], token[1]) <= (line, column));
        let token = self.tokens[..after].last().filter(|token| token[0] == line);
        // A place before the line's first token still belongs to that line.
        let token = token.or_else(|| self.tokens.get(after).filter(|token| token[0] == line))?;
        Some((token[2] + 1, token[3] + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_belongs_to_the_last_token_before_it() {
        let map = Mappings::new([[0, 0, 4, 2], [0, 10, 4, 20], [2, 1, 9, 0]].into_iter());
        assert_eq!(map.written(1, 6), Some((5, 3)));
        assert_eq!(map.written(1, 11), Some((5, 21)));
        assert_eq!(map.written(3, 1), Some((10, 1)));
        assert_eq!(map.written(2, 1), None);
    }

    #[test]
    fn shifted_code_keeps_its_columns() {
        let map = Mappings::shifted(3);
        assert_eq!(map.written(4, 7), Some((1, 7)));
        assert_eq!(map.written(2, 1), None);
    }
}
