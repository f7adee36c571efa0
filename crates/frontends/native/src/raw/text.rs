//! Values that are written as text: durations, sizes, addresses.

use std::borrow::Cow;
use std::net::SocketAddr;

use ipnet::IpNet;
use polygate_pipeline::ByteSize;
use polygate_plan::Networks;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// What reads a text value: its name in a schema's `format`, what people are told is expected, a pattern for
/// editors, and whether plain numbers are taken as well.
pub(crate) struct Format {
    pub(crate) name: &'static str,
    pub(crate) expected: &'static str,
    pattern: Option<&'static str>,
    numbers: bool,
    pub(crate) valid: fn(&str) -> bool,
}

/// All formats; the checker looks them up by name.
pub(crate) static FORMATS: [&Format; 4] = [&DURATION, &SIZE, &ADDRESS, &NETWORK];

static DURATION: Format = Format {
    name: "polygate-duration",
    expected: "a duration such as 50ms, 5s, 1m or 1h",
    pattern: Some("^[0-9]+(us|ms|s|m|h)$"),
    numbers: false,
    valid: |text| duration(text).is_some(),
};

static SIZE: Format = Format {
    name: "polygate-size",
    expected: "a size such as 64KiB, 16MiB or 1GiB, or a number of bytes",
    pattern: Some("^[0-9]+ ?(B|K|k|KiB|M|MiB|G|GiB)?$"),
    numbers: true,
    valid: |text| text.parse::<ByteSize>().is_ok(),
};

static ADDRESS: Format = Format {
    name: "polygate-address",
    expected: "an address such as 127.0.0.1:8080 or [::1]:8080",
    pattern: None,
    numbers: false,
    valid: |text| text.parse::<SocketAddr>().is_ok(),
};

static NETWORK: Format = Format {
    name: "polygate-network",
    expected: "an IP address such as 10.0.0.1 or a network such as 10.0.0.0/8",
    pattern: None,
    numbers: false,
    valid: |text| Networks::parse(text).is_some(),
};

/// A duration, such as `50ms`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Duration(pub(crate) std::time::Duration);

/// A number of bytes, such as `64KiB`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size(pub(crate) ByteSize);

/// An IP address and a port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address(pub(crate) SocketAddr);

/// An IP address, or a network in the notation of CIDR.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network(pub(crate) IpNet);

fn duration(text: &str) -> Option<std::time::Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let micros: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return None,
    };
    Some(std::time::Duration::from_micros(number.parse::<u64>().ok()?.checked_mul(micros)?))
}

macro_rules! text_value {
    ($type:ident, $format:expr, $read:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Written {
                    Text(String),
                    Number(u64),
                }
                let text = match Written::deserialize(from)? {
                    Written::Text(text) => text,
                    Written::Number(number) => number.to_string(),
                };
                let read: fn(&str) -> Option<_> = $read;
                read(&text).map(Self).ok_or_else(|| de::Error::custom($format.expected))
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let format: &Format = &$format;
                let mut schema = if format.numbers {
                    json_schema!({ "type": ["string", "integer"], "minimum": 0, "format": format.name })
                } else {
                    json_schema!({ "type": "string", "format": format.name })
                };
                if let Some(pattern) = format.pattern {
                    schema.insert("pattern".to_owned(), pattern.into());
                }
                schema
            }
        }
    };
}

text_value!(Duration, DURATION, duration);
text_value!(Size, SIZE, |text| text.parse().ok());
text_value!(Address, ADDRESS, |text| text.parse().ok());
text_value!(Network, NETWORK, Networks::parse);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("50ms"), Some(std::time::Duration::from_millis(50)));
        assert_eq!(duration("2h"), Some(std::time::Duration::from_secs(7200)));
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "99999999999999999999h", "9999999999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
