//! Metrics as they are told to whoever collects them: families of samples. `/metrics` writes them as text, the export sends
//! them with OpenTelemetry's protocol; both show the same.

use std::fmt::{self, Write as _};

use polygate_gateway::Histogram;

/// What the samples of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only ever grows.
    Counter,
    /// Is what it is now.
    Gauge,
    /// Durations.
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

impl From<&str> for Kind {
    fn from(name: &str) -> Self {
        match name {
            "counter" => Kind::Counter,
            "histogram" => Kind::Histogram,
            _ => Kind::Gauge,
        }
    }
}

/// The value of a sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A whole number.
    Whole(u64),
    /// Any other.
    Float(f64),
    /// Durations, in seconds.
    Durations(Box<Histogram>),
}

macro_rules! whole {
    ($($type:ty),+) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Value::Whole(u64::from(value))
            }
        })+
    };
}

whole!(u8, u32, u64);

impl From<&u64> for Value {
    fn from(value: &u64) -> Self {
        Value::Whole(*value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Whole(value) => value.fmt(f),
            Value::Float(value) => value.fmt(f),
            Value::Durations(histogram) => histogram.count.fmt(f),
        }
    }
}

/// Names and values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels(pub(crate) Vec<(&'static str, String)>);

/// What tells samples of a family apart.
pub(crate) fn labels(pairs: &[(&'static str, &str)]) -> Labels {
    Labels(pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
}

impl From<&str> for Labels {
    /// None.
    fn from(_: &str) -> Self {
        Labels::default()
    }
}

impl From<&Labels> for Labels {
    fn from(labels: &Labels) -> Self {
        labels.clone()
    }
}

/// Samples of one thing.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) samples: Vec<(Labels, Value)>,
}

/// All metrics, in the order in which they are told.
#[derive(Debug, Default)]
pub(crate) struct Families(pub(crate) Vec<Family>);

/// Begins a family.
pub(crate) fn family(out: &mut Families, name: &'static str, kind: &str, help: &'static str) {
    out.0.push(Family { name, kind: Kind::from(kind), help, samples: Vec::new() });
}

/// Adds a sample to the family that was begun last, which is `name`.
pub(crate) fn sample(out: &mut Families, name: &str, labels: impl Into<Labels>, value: impl Into<Value>) {
    if let Some(family) = out.0.last_mut() {
        debug_assert_eq!(family.name, name, "a sample belongs to the family before it");
        family.samples.push((labels.into(), value.into()));
    }
}

/// In the text format of Prometheus (exposition format 0.0.4).
pub(crate) fn text(families: &Families) -> String {
    let mut out = String::new();
    for Family { name, kind, help, samples } in &families.0 {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
        for (labels, value) in samples {
            match value {
                Value::Durations(durations) => histogram(&mut out, name, labels, durations),
                value => line(&mut out, name, "", labels, None, value),
            }
        }
    }
    out
}

fn histogram(out: &mut String, name: &str, labels: &Labels, histogram: &Histogram) {
    let mut sum = 0;
    for (bound, count) in Histogram::bounds().iter().zip(histogram.counts) {
        sum += count;
        let bound = (*bound as f64 / 1e6).to_string();
        line(out, name, "_bucket", labels, Some(&bound), sum);
    }
    line(out, name, "_bucket", labels, Some("+Inf"), histogram.count);
    line(out, name, "_sum", labels, None, histogram.sum.as_secs_f64());
    line(out, name, "_count", labels, None, histogram.count);
}

/// `name{label="value",...} value` with backslash, quote and line feed escaped.
fn line(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &Labels,
    bound: Option<&str>,
    value: impl fmt::Display,
) {
    out.push_str(name);
    out.push_str(suffix);
    let own = labels.0.iter().map(|(name, value)| (*name, value.as_str()));
    let mut separator = '{';
    for (name, value) in own.chain(bound.map(|bound| ("le", bound))) {
        let _ = write!(out, "{separator}{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}
