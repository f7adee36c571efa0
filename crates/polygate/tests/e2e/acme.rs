//! Certificates by ACME, from Pebble: the test authority of Let's Encrypt, which validates over real sockets.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Gateway, PATIENCE, Project, free_port, skip};

/// The HMAC key that Pebble is told, for account binding.
const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// Where `cargo xtask test` installs it; `None` when it did not, which is reported.
fn tool(name: &str, test: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools").join(name);
    if path.exists() {
        return Some(path);
    }
    skip(test, &format!("{name} is not installed (run `cargo xtask test` where there is Go)"));
    None
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An authority that is about to be, with name service, and the ports of the gateway that it validates.
struct Authority {
    pebble: PathBuf,
    folder: tempfile::TempDir,
    directory: u16,
    management: u16,
    names: u16,
    http: u16,
    tls: u16,
    _names: Running,
}

impl Authority {
    fn new(test: &str) -> Option<Self> {
        let (pebble, names_server) = (tool("pebble", test)?, tool("pebble-challtestsrv", test)?);
        let [directory, management, names, names_management, http, tls] =
            std::array::from_fn(|_| free_port());
        let running = Running::start(
            Command::new(names_server)
                .args(["-dnsserver", &format!("127.0.0.1:{names}")])
                .args(["-management", &format!("127.0.0.1:{names_management}")])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""]),
        );
        await_port(names_management);
        // Where nobody listens.
        let lost = json!({ "host": "lost.test.", "addresses": ["127.0.0.99"] }).to_string();
        let told = curl(&["-d", &lost, &format!("http://127.0.0.1:{names_management}/add-a")]);
        assert!(told.ends_with(" 200"), "{told}");
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        Some(Self { pebble, folder, directory, management, names, http, tls, _names: running })
    }

    /// Its own certificate, by which it is known.
    fn own_certificate(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("cert.pem")).unwrap()
    }

    /// Lets it begin. Its certificates are valid for so many seconds.
    fn start(&self, validity: u64, more: &[(&str, Value)]) -> Running {
        let file = |name: &str| self.folder.path().join(name);
        let mut settings = json!({
            "listenAddress": format!("127.0.0.1:{}", self.directory),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": file("cert.pem"), "privateKey": file("key.pem"),
            "httpPort": self.http, "tlsPort": self.tls, "ocspResponderURL": "", "keyAlgorithm": "ecdsa",
            "retryAfter": { "authz": 1, "order": 1 },
            "profiles": { "default": { "description": "trial", "validityPeriod": validity } },
        });
        for (name, value) in more {
            settings[*name] = value.clone();
        }
        std::fs::write(file("pebble.json"), json!({ "pebble": settings }).to_string()).unwrap();
        let running = Running::start(
            Command::new(&self.pebble)
                .args(["-config", file("pebble.json").to_str().unwrap()])
                .args(["-dnsserver", &format!("127.0.0.1:{}", self.names)])
                // Some nonces are refused all the same, as by its default.
                .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")]),
        );
        await_port(self.management);
        running
    }

    /// What clients that trust it must know.
    fn root(&self, project: &Project) -> PathBuf {
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let pem = curl(&["-k", &url]);
        project.write("root.pem", pem.strip_suffix(" 200").unwrap());
        project.root().join("root.pem")
    }

    fn project(&self, settings: &str) -> Project {
        let redirect = json!({
            "export": "redirectHandler", "module": "$import(@polygate/runtime)", "options": { "location": "/there" },
        });
        let settings = format!(
            "[listen]\ntls-address = \"127.0.0.1:{}\"\n[tls.acme]\nterms-agreed = true\nca-file = \"pebble.pem\"\n\
             directory = \"https://127.0.0.1:{}/dir\"\n{settings}",
            self.tls, self.directory
        );
        Project::new()
            .route("get", "/", redirect.clone(), &[], &[])
            .route("get", "/.well-known/acme-challenge/{token}", redirect, &[], &[])
            .file("pebble.pem", &self.own_certificate())
            .file("polygate.toml", &settings)
    }

    fn serve(&self, project: &Project, variables: &[(&str, &str)]) -> Gateway {
        let address = format!("127.0.0.1:{}", self.http);
        Gateway::start_with("run", project.root(), &["--listen", &address], variables)
    }

    /// What a client of the gateway gets, by TLS.
    fn visit(&self, root: &Path, name: &str) -> String {
        let (resolve, url) = (format!("*:{}:127.0.0.1", self.tls), format!("https://{name}:{}/", self.tls));
        curl(&["--cacert", root.to_str().unwrap(), "--resolve", &resolve, &url])
    }
}

fn await_port(port: u16) {
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < PATIENCE, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What curl prints: the body, or what is wrong, and the status.
fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--write-out", " %{http_code}"])
        .args(arguments)
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
}

/// How it stands with a domain.
fn domain(gateway: &Gateway, name: &str) -> Value {
    let all = gateway.admin("/certificates")["acme"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|domain| domain["domain"] == name).unwrap_or_default()
}

fn await_state(gateway: &Gateway, name: &str, state: &str) -> Value {
    gateway.wait(|| Some(domain(gateway, name)).filter(|domain| domain["state"] == state), state)
}

#[test]
fn certificates_are_obtained_by_tls_alpn_and_renewed() {
    let Some(authority) = Authority::new("certificates_are_obtained_by_tls_alpn_and_renewed") else { return };
    let _pebble = authority.start(15, &[]);
    let project = authority.project("domains = [\"lost.test\", \"a.test\"]");
    let gateway = authority.serve(&project, &[]);
    let good = await_state(&gateway, "a.test", "good");
    gateway.wait(
        || (gateway.admin("/certificates")["certificates"][0]["source"] == "acme").then_some(()),
        "the certificate in use",
    );
    let root = authority.root(&project);
    assert!(authority.visit(&root, "a.test").ends_with(" 302"), "{}", authority.visit(&root, "a.test"));
    let certificate = gateway.admin("/certificates")["certificates"][0].clone();
    assert_eq!(certificate["names"], json!(["a.test"]));
    assert!(certificate["issuer"].as_str().unwrap().contains("Pebble"), "{certificate}");
    let file = PathBuf::from(certificate["file"].as_str().unwrap());
    assert!(file.starts_with(project.root().canonicalize().unwrap().join(".polygate/acme")), "{file:?}");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let account = file.parent().unwrap().join("account.json");
    assert_eq!((mode(&file), mode(&account), mode(file.parent().unwrap())), (0o600, 0o600, 0o700));
    // The other domain cannot be validated: it waits, and says why, and nobody else is the worse for it.
    let lost = await_state(&gateway, "lost.test", "failing");
    assert!(lost["failures"].as_u64().unwrap() >= 1 && lost["not_after"].is_null(), "{lost}");
    assert!(lost["last_error"].as_str().unwrap().contains("127.0.0.99"), "{lost}");
    assert!(lost["next_try"].as_str() > lost["last_try"].as_str(), "{lost}");
    assert!(gateway.output().contains("no certificate was obtained"));
    assert!(gateway.admin_text("/metrics").contains("polygate_acme_failures{domain=\"lost.test\"} 1"));
    // Two thirds of its lifetime later.
    let renewed = gateway.wait(
        || {
            assert_eq!(gateway.get("/").status, 302);
            Some(domain(&gateway, "a.test"))
                .filter(|now| now["not_after"].as_str() > good["not_after"].as_str())
        },
        "the renewal",
    );
    gateway.wait(
        || {
            (gateway.admin("/certificates")["certificates"][0]["not_after"] == renewed["not_after"])
                .then_some(())
        },
        "the renewed certificate in use",
    );
    assert!(authority.visit(&root, "a.test").ends_with(" 302"));
    assert!(gateway.admin_text("/metrics").contains("polygate_acme_orders_total{outcome=\"ok\"} 2"));
}

#[test]
fn certificates_are_obtained_by_http_once_the_authority_is_there() {
    let Some(authority) = Authority::new("certificates_are_obtained_by_http_once_the_authority_is_there")
    else {
        return;
    };
    let storage = tempfile::tempdir().unwrap();
    let settings = format!(
        "domains = [\"b.test\"]\nchallenge = \"http-01\"\nkey-type = \"p384\"\nstorage = {:?}\n\
         external-account = {{ id = \"kid-1\" }}",
        storage.path()
    );
    let project = authority.project(&settings);
    let gateway = authority.serve(&project, &[("ACME_EAB_KEY", EAB_KEY)]);
    let waiting = await_state(&gateway, "b.test", "failing");
    assert!(!waiting["last_error"].as_str().unwrap().is_empty(), "{waiting}");
    // No certificate, no handshake; cleartext is served on.
    let refused = curl(&["-k", &format!("https://127.0.0.1:{}/", authority.tls)]);
    assert!(refused.ends_with(" 000"), "{refused}");
    assert_eq!(gateway.get("/").status, 302);
    assert!(gateway.output().contains("there is no certificate yet"));
    let _pebble = authority.start(
        3600,
        &[
            ("externalAccountBindingRequired", json!(true)),
            ("externalAccountMACKeys", json!({ "kid-1": EAB_KEY })),
        ],
    );
    await_state(&gateway, "b.test", "good");
    let root = authority.root(&project);
    gateway
        .wait(|| authority.visit(&root, "b.test").ends_with(" 302").then_some(()), "the certificate in use");
    // What is no token of ours is the routes' business.
    assert_eq!(gateway.get("/.well-known/acme-challenge/x").status, 302);
    // Another process with the same folder takes what is there, and asks for nothing.
    let other = authority.project(&settings).file(
        "polygate.toml",
        &std::fs::read_to_string(project.root().join("polygate.toml"))
            .unwrap()
            .replace(&format!("127.0.0.1:{}\"\n[tls", authority.tls), "127.0.0.1:0\"\n[tls"),
    );
    let other = Gateway::start_with("run", other.root(), &[], &[("ACME_EAB_KEY", EAB_KEY)]);
    let known = await_state(&other, "b.test", "good");
    assert!(known["last_try"].is_null(), "{known}");
    assert_eq!(other.admin("/certificates")["certificates"][0]["names"], json!(["b.test"]));
}
