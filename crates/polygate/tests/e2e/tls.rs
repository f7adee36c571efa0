//! TLS as operators and clients see it: curl and openssl, files that are replaced, what the admin API says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::harness::{Gateway, PATIENCE, Project, skip};

/// An authority, and a project that serves with certificates of its own.
pub(crate) struct House {
    pub(crate) project: Project,
    /// The authority's key (PEM).
    authority: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

const MODULE: &str = "export async function answer(request: Request): Promise<Response> {
  return new Response(request.url + ' ' + request.headers.get('x-forwarded-proto'));
}";

impl House {
    /// With one certificate for each list of names, `certs/0.pem` and so on; `more` goes into `[tls]`.
    pub(crate) fn new(certificates: &[&[&str]], more: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "trial authority");
        let authority = params.self_signed(&key).unwrap();
        let mut settings = format!("[listen]\ntls-address = \"127.0.0.1:0\"\n[tls]\n{more}\n");
        for number in 0..certificates.len() {
            settings.push_str(&format!(
                "[[tls.certificates]]\ncert = \"certs/{number}.pem\"\nkey = \"certs/{number}.key\"\n"
            ));
        }
        let project = Project::new()
            .function("get", "/", "answer")
            .file("modules/main.ts", MODULE)
            .file("polygate.toml", &settings)
            .file("certs/ca.pem", &authority.pem());
        let house = Self { project, authority: key.serialize_pem(), issuer: rcgen::Issuer::new(params, key) };
        for (number, names) in certificates.iter().enumerate() {
            house.issue(&number.to_string(), names);
        }
        house
    }

    /// Writes a certificate and its key, each in one step.
    fn issue(&self, name: &str, names: &[&str]) {
        let (cert, key) = self.certificate(names);
        for (ending, text) in [("key", key), ("pem", cert)] {
            self.project.write(&format!("certs/{name}.{ending}.new"), &text);
            let (from, to) =
                (self.path(&format!("{name}.{ending}.new")), self.path(&format!("{name}.{ending}")));
            std::fs::rename(from, to).unwrap();
        }
    }

    fn certificate(&self, names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "trial");
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.project.root().join("certs").join(name)
    }
}

/// Where it listens for TLS.
pub(crate) fn port(gateway: &Gateway) -> String {
    let address = gateway.admin("/status")["tls"]["address"].as_str().unwrap().to_owned();
    address.rsplit_once(':').unwrap().1.to_owned()
}

/// What curl prints for a URL of `name`: the body, and after it the status.
fn curl(house: &House, gateway: &Gateway, name: &str, more: &[&str]) -> String {
    let port = port(gateway);
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--write-out", " %{http_code}", "--cacert"])
        .arg(house.path("ca.pem"))
        .args(["--resolve", &format!("*:{port}:127.0.0.1"), &format!("https://{name}:{port}/")])
        .args(more)
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `openssl s_client` prints while it asks for a page.
fn openssl(gateway: &Gateway, more: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-connect", &format!("127.0.0.1:{}", port(gateway))])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have given up already.
    let _ = child.stdin.take().unwrap().write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let output = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Reports when a program that the test needs is not here.
fn here(programs: &[&str], test: &str) -> bool {
    let missing = |program: &&&str| {
        Command::new(program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
    };
    match programs.iter().find(missing) {
        Some(program) => {
            skip(test, &format!("{program} is not installed"));
            false
        }
        None => true,
    }
}

#[test]
fn clients_find_the_certificate_of_the_name_they_ask_for() {
    if !here(&["curl", "openssl"], "clients_find_the_certificate_of_the_name_they_ask_for") {
        return;
    }
    let house = House::new(&[&["a.test", "127.0.0.1"], &["*.b.test", "c.test"]], "");
    let gateway = house.project.run();
    for name in ["a.test", "www.b.test", "c.test", "127.0.0.1"] {
        let port = port(&gateway);
        assert_eq!(curl(&house, &gateway, name, &[]), format!("https://{name}:{port}/ https 200"));
    }
    // The other certificate of the same gateway does not make a connection good for its names, whatever is spoken on it.
    for version in ["--http1.1", "--http2"] {
        let arguments = ["-H", "Host: www.b.test", version, "-w", " %{http_version} %{http_code}"];
        let misdirected = curl(&house, &gateway, "a.test", &arguments);
        let spoken = if version == "--http2" { " 2 421" } else { " 1.1 421" };
        assert!(
            misdirected.contains("\"reason\":\"misdirected\"") && misdirected.ends_with(spoken),
            "{misdirected}"
        );
    }
    assert!(curl(&house, &gateway, "c.test", &["-H", "Host: x.b.test"]).ends_with(" 200"));
    // Several streams at a time on one connection.
    let url = format!("https://a.test:{}/", port(&gateway));
    let arguments = ["--http2", "-Z", "-w", "(%{http_version} %{http_code} %{num_connects})", &url, &url];
    let got = curl(&house, &gateway, "a.test", &arguments);
    assert_eq!((got.matches("(2 200 1)").count(), got.matches("(2 200 0)").count()), (1, 2), "{got}");
    let shown = |more: &[&str]| {
        let text = openssl(&gateway, more);
        let start = text.find("-----BEGIN").unwrap_or_else(|| panic!("{text}"));
        text[start..text.find("-----END").unwrap()].to_owned()
    };
    let own = |name: &str| {
        let text = std::fs::read_to_string(house.path(name)).unwrap().replace("\r\n", "\n");
        text[..text.find("-----END").unwrap()].to_owned()
    };
    assert_eq!(shown(&["-servername", "nobody.test"]), own("0.pem"), "the first is the default");
    assert_eq!(shown(&["-noservername"]), own("0.pem"));
    assert_eq!(shown(&["-servername", "x.b.test"]), own("1.pem"));
    for (more, expected) in [
        (vec!["-tls1_2"], "TLSv1.2"),
        (vec!["-tls1_3"], "TLSv1.3"),
        (vec!["-alpn", "http/1.1,foo"], "ALPN protocol: http/1.1"),
        (vec!["-tls1_1"], "alert"),
        (vec!["-alpn", "foo"], "no application protocol"),
    ] {
        let said = openssl(&gateway, &more);
        assert!(said.contains(expected), "{more:?}: {said}");
    }
    // A session is resumed with a ticket, also by another worker.
    let session = house.path("session");
    let session = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let said = openssl(&gateway, &[version, "-sess_out", session]);
        assert!(said.contains("New, TLSv1"), "{said}");
        for _ in 0..4 {
            let said = openssl(&gateway, &[version, "-sess_in", session]);
            assert!(said.contains("Reused, TLSv1"), "{said}");
        }
    }
    let log = gateway.await_output("\"server_name\":\"www.b.test\"");
    assert!(log.contains("\"tls\":{\"version\":\"TLSv1.3\",\"cipher\":\"TLS13_"), "{log}");
    let metrics = gateway.admin_text("/metrics");
    for sample in [
        "polygate_tls_handshakes_total{outcome=\"full\"}",
        "polygate_tls_handshakes_total{outcome=\"failed\"} 2",
        "polygate_certificate_expiry_timestamp_seconds{name=\"a.test\"",
    ] {
        assert!(metrics.contains(sample), "{sample} is not in {metrics}");
    }
}

#[test]
fn clients_with_certificates_are_known() {
    if !here(&["curl"], "clients_with_certificates_are_known") {
        return;
    }
    let house = House::new(&[&["a.test"]], "client-auth = \"required\"\nclient-ca = \"certs/ca.pem\"");
    house.issue("client", &["client.test"]);
    let gateway = house.project.run();
    let (cert, key) = (house.path("client.pem"), house.path("client.key"));
    let own = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    assert!(curl(&house, &gateway, "a.test", &own).ends_with(" 200"));
    let log = gateway.await_output("client_subject");
    assert!(
        log.contains("\"client_subject\":\"CN=trial\"")
            && log.contains("\"client_names\":[{\"dns\":\"client.test\"}]"),
        "{log}"
    );
    let refused = curl(&house, &gateway, "a.test", &[]);
    assert!(refused.contains("certificate required"), "{refused}");
}

#[test]
fn certificates_are_replaced_while_clients_come() {
    let house = House::new(&[&["a.test"]], "");
    let gateway = house.project.run();
    let port = port(&gateway);
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let refreshes = || gateway.admin("/status")["tls"]["refreshes"]["ok"].as_u64().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(Connection::new(&house, &port).get(), 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _over = Over(&over);
        for count in 1..=8 {
            house.issue("0", &["a.test", &format!("n{count}.test"), "127.0.0.1"]);
            gateway.wait(|| (refreshes() >= count).then_some(()), "the new certificate");
        }
    });
    assert!(served.load(Ordering::Relaxed) > 8);
    let status = gateway.admin("/status");
    assert_eq!(status["tls"]["certificates"][0]["names"][1], "n8.test");
    assert_eq!(status["tls"]["refused"], Value::Null);
    let metrics = gateway.admin_text("/metrics");
    assert!(metrics.contains("polygate_tls_handshakes_total{outcome=\"failed\"} 0"), "{metrics}");
}

/// Has the authority say of `certs/0.pem` whether it is good, in `certs/0.ocsp`.
fn have_said(house: &House, revoked: bool) {
    let path = |name: &str| house.path(name).display().to_string();
    house.project.write("certs/ca.key", &house.authority);
    let output =
        Command::new("openssl").args(["x509", "-noout", "-serial", "-in", &path("0.pem")]).output().unwrap();
    let serial = String::from_utf8(output.stdout).unwrap().trim().trim_start_matches("serial=").to_owned();
    let line = match revoked {
        false => format!("V\t400101000000Z\t\t{serial}\tunknown\t/CN=trial\n"),
        true => format!("R\t400101000000Z\t250101000000Z\t{serial}\tunknown\t/CN=trial\n"),
    };
    house.project.write("certs/index.txt", &line);
    let said = Command::new("openssl")
        .args(["ocsp", "-index", &path("index.txt"), "-CA", &path("ca.pem"), "-rsigner", &path("ca.pem")])
        .args(["-rkey", &path("ca.key"), "-issuer", &path("ca.pem"), "-cert", &path("0.pem")])
        .args(["-ndays", "1", "-respout", &path("0.ocsp.new")])
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    std::fs::rename(house.path("0.ocsp.new"), house.path("0.ocsp")).unwrap();
}

#[test]
fn what_the_authority_says_is_stapled() {
    if !here(&["openssl"], "tls::what_the_authority_says_is_stapled") {
        return;
    }
    let house = House::new(&[&["localhost"]], "");
    let settings = std::fs::read_to_string(house.project.root().join("polygate.toml")).unwrap();
    house.project.write("polygate.toml", &format!("{settings}ocsp-file = \"certs/0.ocsp\"\n"));
    // Without a good one the certificate is shown all the same.
    let gateway = house.project.run();
    gateway.await_output("nothing is stapled: the file cannot be read");
    let status = |version: &str| {
        let ca = house.path("ca.pem").display().to_string();
        openssl(&gateway, &["-servername", "localhost", "-status", version, "-CAfile", &ca])
    };
    let none = "OCSP response: no response sent";
    assert!(status("-tls1_3").contains(none), "{}", status("-tls1_3"));
    let problem = || gateway.admin("/certificates")["certificates"][0]["staple"]["problem"].clone();
    assert!(problem().as_str().unwrap().contains("cannot be read"), "{}", problem());
    have_said(&house, false);
    gateway.wait(|| problem().is_null().then_some(()), "it to be taken into use");
    for version in ["-tls1_2", "-tls1_3"] {
        let shown = status(version);
        for line in ["OCSP Response Status: successful", "Cert Status: good", "Verify return code: 0 (ok)"] {
            assert!(shown.contains(line), "{version} {line}: {shown}");
        }
    }
    let metric = "polygate_certificate_staple_expiry_timestamp_seconds{name=\"localhost\"";
    let metrics = gateway.admin_text("/metrics");
    let line = metrics.lines().find(|line| line.starts_with(metric)).unwrap();
    let until: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now + 80_000..now + 90_000).contains(&until), "{line}");
    // What is not good is not shown; neither is what is for another certificate.
    have_said(&house, true);
    gateway.wait(|| problem().as_str()?.contains("revoked").then_some(()), "the revocation");
    assert!(status("-tls1_3").contains(none));
    have_said(&house, false);
    gateway.wait(|| problem().is_null().then_some(()), "it to be good again");
    house.issue("0", &["localhost"]);
    gateway
        .wait(|| problem().as_str()?.contains("for this certificate").then_some(()), "the new certificate");
    assert!(status("-tls1_3").contains(none));
}

#[test]
fn bad_certificates_are_refused_and_the_old_ones_serve_on() {
    let house = House::new(&[&["a.test", "127.0.0.1"]], "");
    let gateway = house.project.run();
    let port = port(&gateway);
    let serves = || Connection::new(&house, &port).get() == 200;
    let mut kept = Connection::new(&house, &port);
    assert_eq!(kept.get(), 200);
    house.project.write("certs/0.pem", "-----BEGIN CERTIFICATE-----\ngarbage\n");
    let status = gateway.wait(
        || Some(gateway.admin("/status")).filter(|status| !status["tls"]["refused"].is_null()),
        "the refusal in /status",
    );
    assert!(status["tls"]["refused"]["diagnostics"].to_string().contains("0.pem"), "{status}");
    gateway.await_output("new certificates refused");
    assert!(serves());
    assert!(gateway.admin_text("/metrics").contains("polygate_certificates_stale 1"));
    // A reload by hand is refused for the same reason.
    gateway.signal("-HUP");
    gateway.await_output("change refused");
    assert!(serves());
    house.issue("0", &["a.test", "127.0.0.1", "mended.test"]);
    gateway.wait(
        || (gateway.admin("/status")["tls"]["certificates"][0]["names"][1] == "mended.test").then_some(()),
        "the mended certificate",
    );
    assert!(serves());
    assert_eq!(kept.get(), 200, "the old connection lives");
    assert!(gateway.admin_text("/metrics").contains("polygate_certificates_stale 0"));
}

/// Ends the clients when a test ends, also when it fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection to `a.test`, without a session to resume.
struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    fn new(house: &House, port: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(house.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("a.test").unwrap();
        Self(StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream))
    }

    /// The status of a request.
    fn get(&mut self) -> u16 {
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        let mut head = String::new();
        let mut reader = BufReader::new(&mut self.0);
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "closed after {head:?}");
        }
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        reader.read_exact(&mut vec![0; length.unwrap()]).unwrap();
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }
}
