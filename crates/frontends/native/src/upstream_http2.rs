//! `http2` of `[connection]` and `[upstreams.NAME]`: caps of HTTP/2 with a target.

use polygate_pipeline::{ByteSize, Diagnostic};
use polygate_plan as plan;

use crate::raw::upstreams::UpstreamHttp2;
use crate::settings::{FILE, set};
use crate::source::Project;
use crate::tree::Node;

/// The smallest window and buffer.
const LEAST: ByteSize = ByteSize::kib(1);

/// Takes over what is written.
pub(crate) fn apply(to: &mut plan::UpstreamHttp2, from: &UpstreamHttp2) {
    set(&mut to.connections, from.connections);
    set(&mut to.streams, from.streams);
    set(&mut to.waiting, from.waiting);
    set(&mut to.stream_window, from.stream_window.map(|size| size.0));
    set(&mut to.send_buffer, from.send_buffer.map(|size| size.0));
    set(&mut to.stream_errors, from.stream_errors);
}

/// Reports what does not go together, at the node and path of the table around `http2`.
pub(crate) fn check(http2: &plan::UpstreamHttp2, around: (&Node, &str), project: &mut Project<'_>) {
    let (node, path) = around;
    let Some(node) = node.get("http2") else { return };
    // The connection's window holds those of all its streams, and none is larger than 2^31-1 (RFC 9113 6.9.1).
    let streams = u64::from(http2.streams.max(1));
    for (name, size, most) in [
        ("stream-window", http2.stream_window, plan::MAX_HTTP2_WINDOW / streams),
        ("send-buffer", http2.send_buffer, plan::MAX_HTTP2_WINDOW),
    ] {
        if (LEAST.bytes()..=most).contains(&size.bytes()) {
            continue;
        }
        let at = node.get(name).unwrap_or(node);
        let problem = Diagnostic::error("bad-value", format!("{size} is no size for {name}"));
        let problem = problem.at(FILE, Some(at.span)).field(format!("{path}.http2.{name}"));
        let expected = match name {
            "stream-window" => format!("{LEAST} to {most} bytes, so that {streams} streams share 2047MiB"),
            _ => format!("{LEAST} to 2047MiB"),
        };
        project.report(problem.expected(expected));
    }
}
