//! TLS towards upstreams. SKETCH.
