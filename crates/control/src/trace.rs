//! Lines of the libraries' and the data plane's own log (`tracing`), in the journal's format.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use polygate_plan::LogFormat;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::journal::{Output, Voice};
use crate::level::{self, Levels};
use crate::paint::Paint;

/// Takes events as [`Levels`] says.
pub(crate) struct Trace {
    voice: Voice,
    levels: Arc<Levels>,
}

impl Trace {
    /// Becomes the process's subscriber. One that is there already stays.
    pub(crate) fn start(format: LogFormat, paint: Paint, output: Arc<Output>, levels: Arc<Levels>) {
        let _ = tracing::subscriber::set_global_default(Self {
            voice: Voice::new(format, paint, output),
            levels,
        });
    }
}

impl Subscriber for Trace {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.levels.takes(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.voice.say(level::of(event.metadata().level()), format!("{}{}", line.message, line.fields));
    }

    // Spans are not kept: lines stand for themselves.
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use polygate_pipeline::LogLevel;

    use super::*;
    use crate::journal::testing::Kept;

    #[test]
    fn warnings_of_our_own_become_lines() {
        let kept = Kept::default();
        let voice = Voice::new(LogFormat::Pretty, Paint::new(false), Arc::new(Output::to(kept.clone())));
        let levels = Arc::new(Levels::new(LogLevel::Info));
        let changed = levels.clone();
        tracing::subscriber::with_default(Trace { voice, levels }, || {
            tracing::warn!(target: "polygate_gateway::x", error = "no more files", worker = 1, "cannot accept");
            let more = || tracing::debug!(target: "polygate_gateway::x", "more");
            let others = || tracing::warn!(target: "hyper::x", "others");
            more();
            others();
            changed.set(Some(LogLevel::Debug), Some(vec![("hyper".to_owned(), LogLevel::Warn)]));
            more();
            others();
            changed.set(None, Some(vec![("polygate_gateway".to_owned(), LogLevel::Error)]));
            more();
            others();
        });
        assert_eq!(kept.text(), "cannot accept error=no more files worker=1\nmore\nothers\n");
    }
}
