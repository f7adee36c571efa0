//! TLS towards upstreams, against nginx and openssl: who is shown what, who is believed, files that are replaced.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Gateway, Project, free_port, skip};

/// An authority that signs for servers and clients.
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "trial authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    /// Writes a certificate and its key into a project, each in one step.
    fn issue(&self, project: &Project, name: &str, common_name: &str, names: &[&str]) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        for (ending, text) in [("key", key.serialize_pem()), ("pem", certificate.pem())] {
            let path = format!("certs/{name}.{ending}");
            project.write(&format!("{path}.new"), &text);
            std::fs::rename(project.root().join(format!("{path}.new")), project.root().join(path)).unwrap();
        }
    }
}

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where files of the project are.
fn path(project: &Project, name: &str) -> PathBuf {
    project.root().join("certs").join(name)
}

/// nginx that wants certificates of clients on the first port, and speaks TLS 1.2 alone on the second; `None` when it
/// is not installed. It answers with the client's name, the name it was asked for, and the connection's number.
fn nginx(project: &Project, ports: [u16; 2], test: &str) -> Option<Server> {
    let file = |name: &str| path(project, name).display().to_string();
    let server = |port: u16, more: &str| {
        format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {}; {more}
             location / {{ return 200 \"$ssl_client_s_dn $ssl_server_name $connection\"; }} }}\n",
            file("server.pem"),
            file("server.key")
        )
    };
    let mutual = format!("ssl_client_certificate {}; ssl_verify_client on;", file("ca.pem"));
    let configuration = format!(
        "daemon off; master_process off; pid {pid}; error_log stderr; events {{}}
         http {{ access_log off; client_body_temp_path {tmp}; proxy_temp_path {tmp}; fastcgi_temp_path {tmp};
         uwsgi_temp_path {tmp}; scgi_temp_path {tmp};\n{} {} }}",
        server(ports[0], &mutual),
        server(ports[1], "ssl_protocols TLSv1.2;"),
        pid = file("nginx.pid"),
        tmp = file("tmp"),
    );
    project.write("certs/nginx.conf", &configuration);
    let spawned =
        Command::new("nginx").arg("-c").arg(path(project, "nginx.conf")).args(["-e", "stderr"]).spawn();
    let Ok(child) = spawned else {
        skip(test, "nginx is not installed");
        return None;
    };
    Some(Server(child))
}

const UPSTREAMS: &str = r#"
[connection.tls]
ca-files = ["certs/ca.pem"]

[upstreams.mutual]
url = "https://127.0.0.1:PORT"
tls = { cert = "certs/client.pem", key = "certs/client.key", server-name = "up.test" }
check = { path = "/", interval = "50ms" }

[upstreams.anonymous]
url = "https://127.0.0.1:PORT"
check = { path = "/", interval = "50ms", unhealthy = 1 }

[upstreams.stranger]
url = "https://127.0.0.1:PORT"
tls = { ca-files = ["certs/other.pem"] }
check = { interval = "50ms", unhealthy = 1 }
panic = 100

[upstreams.misnamed]
url = "https://127.0.0.1:PORT"
tls = { server-name = "other.test" }

[upstreams.unverified]
url = "https://127.0.0.1:PORT"
tls = { verify = false, ca-files = ["certs/other.pem"], cert = "certs/client.pem", key = "certs/client.key" }

[upstreams.modern]
url = "https://127.0.0.1:OLD"
tls = { min-version = "1.3" }

[upstreams.old]
url = "https://127.0.0.1:OLD"
"#;

fn forwards_to(upstream: &str) -> Value {
    json!({
        "export": "urlForwardHandler", "module": "$import(@polygate/runtime)", "options": { "upstream": upstream },
    })
}

/// The only endpoint of an upstream.
fn endpoint(gateway: &Gateway, name: &str) -> Value {
    let all = gateway.admin("/upstreams")["upstreams"].as_array().unwrap().clone();
    all.into_iter().find(|upstream| upstream["name"] == name).unwrap()["endpoints"][0].clone()
}

#[test]
fn upstreams_that_want_certificates_get_them_and_are_verified() {
    let (port, old) = (free_port(), free_port());
    let authority = Authority::new();
    let settings = UPSTREAMS.replace("PORT", &port.to_string()).replace("OLD", &old.to_string());
    let mut project = Project::new()
        .forward("/plain", &format!("https://127.0.0.1:{old}"), &[], &[])
        .file("certs/ca.pem", &authority.pem)
        .file("certs/other.pem", &Authority::new().pem)
        .file("polygate.toml", &settings);
    let names = ["mutual", "anonymous", "stranger", "misnamed", "unverified", "modern", "old"];
    for name in names {
        project = project.route("get", &format!("/{name}"), forwards_to(name), &[], &[]);
    }
    authority.issue(&project, "server", "server", &["up.test", "127.0.0.1"]);
    authority.issue(&project, "client", "first", &[]);
    let Some(_nginx) =
        nginx(&project, [port, old], "upstreams_that_want_certificates_get_them_and_are_verified")
    else {
        return;
    };
    let gateway = Gateway::start("run", project.root(), &["--workers", "1"]);
    // The health check of an upstream is made as its requests are.
    gateway.wait(|| (gateway.get("/mutual").status == 200).then_some(()), "nginx");
    let first = gateway.get("/mutual").body;
    assert!(first.starts_with("CN=first up.test "), "{first}");
    assert_eq!(gateway.get("/mutual").body, first, "the connection is kept");
    let reason = |path: &str| {
        let reply = gateway.get(path);
        (reply.status, reply.json()["reason"].as_str().map(str::to_owned))
    };
    let failed = (502, Some("upstream_tls".to_owned()));
    for path in ["/stranger", "/misnamed", "/modern"] {
        assert_eq!(reason(path), failed, "{path}");
    }
    let unverified = gateway.get("/unverified").body;
    assert!(unverified.starts_with("CN=first  "), "an address is no name to ask for: {unverified}");
    assert_ne!(unverified, first, "connections of other settings are not shared");
    assert_eq!((gateway.get("/old").status, gateway.get("/plain").status), (200, 200));
    // The checks before nginx was there failed for another reason.
    let disbelieved = || {
        let stranger = endpoint(&gateway, "stranger");
        let why = stranger["why"].as_str().unwrap_or_default();
        (stranger["healthy"] == false && why.contains("upstream_tls")).then_some(())
    };
    gateway.wait(disbelieved, "the check that does not believe");
    // nginx answers those that show no certificate with 400.
    gateway.wait(
        || (endpoint(&gateway, "anonymous")["why"] == "status 400").then_some(()),
        "the check without a certificate",
    );
    assert_eq!(endpoint(&gateway, "mutual")["healthy"], true);
    let status = gateway.admin("/status");
    assert_eq!(status["upstream_tls"]["unverified"], json!(["upstreams.unverified"]));
    assert_eq!(status["upstream_tls"]["certificates"][0]["issuer"], "CN=trial authority");
    assert!(gateway.output().contains("whoever answers"), "{}", gateway.output());

    authority.issue(&project, "client", "second", &[]);
    let refreshed = |count: u64| {
        let told = || gateway.admin("/status")["upstream_tls"]["refreshes"]["ok"].as_u64().unwrap();
        gateway.wait(|| (told() >= count).then_some(()), "the new certificate");
    };
    refreshed(1);
    let second = gateway.wait(
        || Some(gateway.get("/mutual").body).filter(|body| body.starts_with("CN=second up.test ")),
        "the new certificate on a new connection",
    );
    assert_eq!(gateway.get("/mutual").body, second);
    // What is wrong is refused, and said; what was good goes on.
    project.write("certs/client.key", "-----BEGIN PRIVATE KEY-----\ngarbage\n");
    gateway.await_output("new certificates of upstreams refused");
    assert!(gateway.admin_text("/metrics").contains("polygate_upstream_certificates_stale 1"));
    assert_eq!(gateway.get("/mutual").body, second);
    authority.issue(&project, "client", "third", &[]);
    refreshed(2);
    assert!(gateway.admin_text("/metrics").contains("polygate_upstream_certificates_stale 0"));
}

#[test]
fn a_server_that_refuses_us_after_the_handshake_has_its_own_reason() {
    let test = "a_server_that_refuses_us_after_the_handshake_has_its_own_reason";
    let authority = Authority::new();
    let project = Project::new().file("certs/ca.pem", &authority.pem);
    authority.issue(&project, "server", "server", &["127.0.0.1"]);
    authority.issue(&project, "client", "client", &[]);
    let file = |name: &str| path(&project, name).display().to_string();
    let spawned = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-Verify", "1", "-verify_return_error", "-www"])
        .args(["-CAfile", &file("ca.pem"), "-cert", &file("server.pem"), "-key", &file("server.key")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = spawned else { return skip(test, "openssl is not installed") };
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let _server = Server(child);
    let address = said.find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned)).unwrap();
    // It must be able to go on speaking.
    std::thread::spawn(move || said.for_each(drop));
    let settings = format!(
        "[connection]\nca-file = \"certs/ca.pem\"\n[upstreams.without]\nurl = \"https://{address}\"\n
         [upstreams.with]\nurl = \"https://{address}\"\n
         [upstreams.with.tls]\ncert = \"certs/client.pem\"\nkey = \"certs/client.key\"\n"
    );
    let project = project
        .file("polygate.toml", &settings)
        .route("get", "/with", forwards_to("with"), &[], &[])
        .route("get", "/without", forwards_to("without"), &[], &[]);
    let gateway = project.run();
    let refused = gateway.get("/without");
    assert_eq!(
        (refused.status, &refused.json()["reason"]),
        (502, &json!("upstream_tls")),
        "{}",
        refused.body
    );
    let taken = gateway.get("/with");
    assert_eq!(taken.status, 200);
    assert!(taken.body.contains("CN = client") || taken.body.contains("CN=client"), "{}", taken.body);
}
