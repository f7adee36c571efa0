//! Budgets: what one policy may spend, whatever its language, and what happens when it is spent.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one call of a policy may spend. Defaults are for a production gateway and the same in `dev` and `run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// CPU time of one call, over all its resumptions. Default 50 ms.
    pub cpu: Duration,
    /// Time of one call from start to answer, without the time in the layers within. Default 10 s.
    pub wall: Duration,
    /// Memory of the virtual machine that runs the policy (shared by the policies of one world). Default 128 MiB.
    pub memory: ByteSize,
    /// Requests that one exchange's call may send. Default 16.
    pub subrequests: u32,
    /// Bytes of a body that the policy may read as a whole. Default 16 MiB.
    pub body: ByteSize,
    /// What happens when the policy fails or its budget is spent.
    pub on_failure: OnFailure,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(50),
            wall: Duration::from_secs(10),
            memory: ByteSize::mib(128),
            subrequests: 16,
            body: ByteSize::mib(16),
            on_failure: OnFailure::Closed,
        }
    }
}

/// What happens when a policy fails or its budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The exchange ends with an error response.
    #[default]
    Closed,
    /// The exchange goes on as if the policy did not stand there. When the policy has already read from a body,
    /// that cannot be, and the exchange ends as with `Closed`.
    Open,
}

/// A number of bytes; written `64KiB`, `16MiB`, `1GiB`, `1000` or `500B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` times 1024 bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` times 1024² bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// As a number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a size such as 64KiB, 16MiB or 1GiB";
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim() {
            "" | "B" => 0,
            "KiB" | "K" | "k" => 10,
            "MiB" | "M" => 20,
            "GiB" | "G" => 30,
            _ => return Err(EXPECTED),
        };
        let number: u64 = number.parse().map_err(|_| EXPECTED)?;
        number.checked_shl(shift).filter(|n| n >> shift == number).map(ByteSize).ok_or(EXPECTED)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 >= 1 << shift && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for text in ["64KiB", "16MiB", "1GiB", "500B", "0B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert_eq!("1000".parse(), Ok(ByteSize(1000)));
        for text in ["", "MiB", "1.5MiB", "-1", "1TB", "99999999999GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
