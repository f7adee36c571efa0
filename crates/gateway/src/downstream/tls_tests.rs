//! Encrypted connections over real sockets: handshakes, names, sessions, certificates of clients, their limits.

use std::sync::Arc;

use polygate_pipeline::{Body, Client, Response, Scheme, SubjectName, TlsVersion};
use polygate_plan::{ClientAuth, Tls};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider as provider;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tests::{Fake, run};
use super::*;
use crate::metrics::HandshakeMetrics;
use crate::tls::Acceptor;
use crate::tls::testing::{Authority, Folder, Issued};

/// A listener for TLS in the test's own thread, that answers with what it knows of the client.
struct Gate {
    address: SocketAddr,
    secure: Secure,
    metrics: WorkerMetrics,
}

fn gate(tls: &Tls, settings: &Settings) -> Gate {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, metrics) = (listener.local_addr().unwrap(), WorkerMetrics::default());
    let secure = Secure::new(acceptor(tls, None));
    let service = Fake::of_client(|request, client: Client| {
        let mut response = Response::new(polygate_pipeline::StatusCode::OK);
        assert_eq!(request.target.scheme(), Scheme::Https);
        response.body = Body::full(match client.tls.as_ref().and_then(|tls| tls.client.as_ref()) {
            Some(client) => format!("{} {:?} {}", client.subject, client.names, client.fingerprint),
            None => "anonymous".to_owned(),
        });
        response
    });
    Listener::spawn(listener, Some(secure.clone()), service, Stop::default(), metrics.clone(), settings);
    Gate { address, secure, metrics }
}

fn acceptor(tls: &Tls, before: Option<&Acceptor>) -> Arc<Acceptor> {
    let (acceptor, found) = Acceptor::load(tls, before);
    assert_eq!(found, []);
    Arc::new(acceptor.unwrap())
}

fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    Arc::new(client(authority).with_no_client_auth())
}

fn showing(authority: &Authority, issued: &Issued) -> Arc<ClientConfig> {
    let key = PrivatePkcs8KeyDer::from(issued.key.serialize_der()).into();
    Arc::new(client(authority).with_client_auth_cert(vec![issued.der()], key).unwrap())
}

fn client(authority: &Authority) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    client_with(authority, provider())
}

fn client_with(
    authority: &Authority,
    provider: CryptoProvider,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    // Without a suite of a version there is nothing that it could be spoken with.
    let spoken = |version| provider.cipher_suites.iter().any(|suite| suite.version().version == version);
    let versions: Vec<_> = [&rustls::version::TLS13, &rustls::version::TLS12]
        .into_iter()
        .filter(|version| spoken(version.version))
        .collect();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&versions);
    builder.unwrap().with_root_certificates(roots)
}

impl Gate {
    async fn connect(&self, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(config.clone()).connect(name, stream).await
    }

    /// The body that a client gets.
    async fn ask(&self, config: &Arc<ClientConfig>) -> std::io::Result<String> {
        let mut stream = self.connect("a.test", config).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await?;
        let mut all = String::new();
        // To the end means to its close_notify: anything else is an error of rustls.
        stream.read_to_string(&mut all).await?;
        Ok(all.split("\r\n\r\n").nth(1).unwrap().to_owned())
    }

    fn handshakes(&self) -> HandshakeMetrics {
        self.metrics.snapshot().handshakes
    }

    async fn until(&self, done: impl Fn(HandshakeMetrics) -> bool) {
        while !done(self.handshakes()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A folder with the certificate of `a.test`, and the authority that signed it.
fn house() -> (Folder, Authority, Tls) {
    let (folder, authority) = (Folder::new(), Authority::new("trial authority"));
    let files = folder.write("a", &authority.issue("a", &["a.test"]));
    (folder, authority, Tls { certificates: vec![files], ..Tls::default() })
}

#[test]
fn sessions_are_resumed_also_with_another_acceptor() {
    run(async {
        let (folder, authority, tls) = house();
        let gate = gate(&tls, &Settings::default());
        let config = trusting(&authority);
        assert_eq!(gate.ask(&config).await.unwrap(), "anonymous");
        let kind = |stream: &TlsStream<TcpStream>| stream.get_ref().1.handshake_kind();
        let stream = gate.connect("a.test", &config).await.unwrap();
        assert_eq!(kind(&stream), Some(HandshakeKind::Resumed));
        // A new certificate ends no session; other authorities for clients end all.
        folder.write("a", &authority.issue("a", &["a.test", "b.test"]));
        let next = acceptor(&tls, Some(&gate.secure.acceptor()));
        assert!(!next.is_same(&gate.secure.acceptor()));
        gate.secure.replace(next);
        assert_eq!(gate.ask(&config).await.unwrap(), "anonymous");
        assert_eq!(gate.handshakes().resumed, 2);
        let file = folder.file("ca.pem", &authority.pem);
        let strict = Tls { client_auth: ClientAuth::Optional(file), ..tls };
        gate.secure.replace(acceptor(&strict, Some(&gate.secure.acceptor())));
        assert_eq!(gate.ask(&config).await.unwrap(), "anonymous");
        assert_eq!((gate.handshakes().full, gate.handshakes().resumed), (2, 2));
    });
}

#[test]
fn cipher_suites_are_chosen_by_our_order_unless_the_client_lacks_instructions_for_aes() {
    use rustls::crypto::aws_lc_rs::cipher_suite::*;
    run(async {
        let (_folder, authority, tls) = house();
        let gate = gate(&tls, &Settings::default());
        let (aes_128, aes_256) = (TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384);
        let chacha = TLS13_CHACHA20_POLY1305_SHA256;
        let old_128 = TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
        let old_256 = TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
        let old_chacha = TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
        for (offered, expected) in [
            (vec![aes_256, chacha, aes_128], aes_128),
            (vec![aes_256, chacha], aes_256),
            (vec![aes_256], aes_256),
            (vec![chacha, aes_256, aes_128], chacha),
            (vec![chacha], chacha),
            (vec![old_256, old_chacha, old_128], old_128),
            (vec![old_chacha, old_256, old_128], old_chacha),
            (vec![aes_256, aes_128, old_256, old_128], aes_128),
        ] {
            let names = format!("{offered:?}");
            let provider = CryptoProvider { cipher_suites: offered, ..provider() };
            let config = Arc::new(client_with(&authority, provider).with_no_client_auth());
            let stream = gate.connect("a.test", &config).await.unwrap();
            let chosen = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
            assert_eq!(chosen, expected.suite(), "{names}");
        }
    });
}

#[test]
fn keys_are_exchanged_as_the_client_prefers() {
    use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
    run(async {
        let (_folder, authority, tls) = house();
        let gate = gate(&tls, &Settings::default());
        // One of them is out of reach of quantum computers too (draft-ietf-tls-ecdhe-mlkem).
        for (offered, expected) in [
            (vec![X25519MLKEM768, X25519], X25519MLKEM768),
            (vec![X25519, X25519MLKEM768], X25519),
            (vec![SECP256R1], SECP256R1),
        ] {
            let provider = CryptoProvider { kx_groups: offered, ..provider() };
            let config = Arc::new(client_with(&authority, provider).with_no_client_auth());
            let stream = gate.connect("a.test", &config).await.unwrap();
            let agreed = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
            assert_eq!(agreed.name(), expected.name());
        }
    });
}

#[test]
fn clients_show_certificates() {
    run(async {
        let (folder, authority, mut tls) = house();
        let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
        let file = folder.file("ca.pem", &clients.pem);
        let known = clients.issue("device 7", &["d7.test", "192.0.2.7"]);
        let config = showing(&authority, &known);
        let names = [SubjectName::Dns("d7.test".into()), SubjectName::Ip([192, 0, 2, 7].into())];
        let fingerprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &known.der());
        let hex: String = fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = format!("CN=device 7,O=Example\\, Inc. {names:?} {hex}");

        tls.client_auth = ClientAuth::Required(file.clone());
        let gate_required = gate(&tls, &Settings::default());
        assert_eq!(gate_required.ask(&config).await.unwrap(), expected);
        // Also when the session is resumed.
        assert_eq!(gate_required.ask(&config).await.unwrap(), expected);
        assert_eq!(gate_required.handshakes().resumed, 1);
        let stranger = showing(&authority, &strangers.issue("device 7", &["d7.test"]));
        for refused in [trusting(&authority), stranger.clone()] {
            let error = gate_required.ask(&refused).await.unwrap_err().to_string();
            // The client learns why: it gets an alert, not a reset.
            assert!(error.contains("alert"), "{error}");
        }
        gate_required.until(|handshakes| handshakes.failed == 2).await;

        tls.client_auth = ClientAuth::Optional(file);
        let gate = gate(&tls, &Settings::default());
        assert_eq!(gate.ask(&config).await.unwrap(), expected);
        assert_eq!(gate.ask(&trusting(&authority)).await.unwrap(), "anonymous");
        assert!(gate.ask(&stranger).await.is_err());
    });
}

#[test]
fn handshakes_have_a_time_and_a_cap() {
    run(async {
        let (_folder, authority, tls) = house();
        let mut settings = Settings::default();
        settings.limits.handshakes = 2;
        settings.timeouts.handshake = Duration::from_millis(200);
        let gate = gate(&tls, &settings);
        let config = trusting(&authority);
        let mut silent = Vec::new();
        for count in 1..=2 {
            silent.push(TcpStream::connect(gate.address).await.unwrap());
            gate.until(|handshakes| handshakes.running == count).await;
        }
        assert!(gate.connect("a.test", &config).await.is_err());
        assert_eq!(gate.handshakes().refused, 1);
        for stream in &mut silent {
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        }
        assert_eq!((gate.handshakes().timed_out, gate.handshakes().running), (2, 0));
        assert_eq!(gate.ask(&config).await.unwrap(), "anonymous");
    });
}

#[test]
fn what_is_no_handshake_is_counted_and_closed() {
    run(async {
        let (_folder, authority, tls) = house();
        let gate = gate(&Tls { min_version: TlsVersion::Tls13, ..tls }, &Settings::default());
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        // An alert record (RFC 8446 5.1 and 6), not a response in cleartext.
        assert_eq!(answer.first(), Some(&21), "{answer:?}");
        gate.until(|handshakes| handshakes.failed == 1).await;
        let provider = crate::tls::provider();
        let old = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let error = gate.connect("a.test", &Arc::new(old)).await.unwrap_err().to_string();
        assert!(error.contains("ProtocolVersion"), "{error}");
        assert_eq!(gate.ask(&trusting(&authority)).await.unwrap(), "anonymous");
    });
}

#[test]
fn a_large_response_to_a_slow_reader_is_whole() {
    run(async {
        let (_folder, authority, tls) = house();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let service = Fake::of_client(|_, _| {
            let mut response = Response::new(polygate_pipeline::StatusCode::OK);
            response.body = Body::full(vec![b'x'; 8 << 20]);
            response
        });
        let secure = Secure::new(acceptor(&tls, None));
        let (stop, metrics) = (Stop::default(), WorkerMetrics::default());
        Listener::spawn(listener, Some(secure.clone()), service, stop, metrics.clone(), &Settings::default());
        let gate = Gate { address, secure, metrics };
        let mut stream = gate.connect("a.test", &trusting(&authority)).await.unwrap();
        // Two on one connection: the last bytes of the first must not wait in the encryption.
        for _ in 0..2 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
            // Until nothing more fits into the sockets' buffers.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let mut body = vec![0; 8 << 20];
            stream.read_exact(&mut body).await.unwrap();
            assert!(body.iter().all(|&byte| byte == b'x'));
        }
    });
}

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\r\n";

/// A listener behind a proxy that answers with the ends of the connection as it knows them.
fn introduced(tls: Option<&Tls>, settings: &Settings) -> Gate {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, metrics) = (listener.local_addr().unwrap(), WorkerMetrics::default());
    let service = Fake::of_client(|_, client: Client| {
        let mut response = Response::new(polygate_pipeline::StatusCode::OK);
        response.body = Body::full(format!("{} {} {}", client.ip, client.peer, client.local));
        response
    });
    let secure = tls.map(|tls| Secure::new(acceptor(tls, None)));
    let service = service.introduced();
    Listener::spawn(listener, secure.clone(), service, Stop::default(), metrics.clone(), settings);
    // Of no use on a listener without TLS.
    let secure = secure.unwrap_or_else(|| Secure::new(acceptor(&Tls::default(), None)));
    Gate { address, secure, metrics }
}

#[test]
fn a_proxy_says_whose_a_connection_is() {
    run(async {
        let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        let (_folder, authority, tls) = house();
        let plain = introduced(None, &Settings::default());
        let mut stream = TcpStream::connect(plain.address).await.unwrap();
        stream.write_all(&[HEADER, request].concat()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("192.0.2.7 192.0.2.7:56324 198.51.100.2:443"), "{answer}");

        let encrypted = introduced(Some(&tls), &Settings::default());
        let mut stream = TcpStream::connect(encrypted.address).await.unwrap();
        stream.write_all(HEADER).await.unwrap();
        let name = ServerName::try_from("a.test").unwrap();
        let mut stream = TlsConnector::from(trusting(&authority)).connect(name, stream).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("192.0.2.7 192.0.2.7:56324 198.51.100.2:443"), "{answer}");
    });
}

#[test]
fn a_crowd_behind_a_proxy_is_counted_by_what_the_proxy_says() {
    run(async {
        let mut settings = Settings::default();
        settings.limits.connections_per_address = std::num::NonZeroUsize::new(1);
        let gate = introduced(None, &settings);
        let connect = async |source: &str| {
            let mut stream = TcpStream::connect(gate.address).await.unwrap();
            let header = format!("PROXY TCP4 {source} 198.51.100.2 56324 443\r\n");
            stream.write_all(header.as_bytes()).await.unwrap();
            stream
        };
        let hears = async |stream: &mut TcpStream| {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
            stream.read_u8().await.unwrap()
        };
        let mut one = connect("192.0.2.7").await;
        assert_eq!(hears(&mut one).await, b'H');
        let mut again = connect("192.0.2.7").await;
        assert_eq!(again.read(&mut [0; 8]).await.unwrap(), 0, "turned away");
        let mut other = connect("192.0.2.8").await;
        assert_eq!(hears(&mut other).await, b'H');
        assert_eq!(gate.metrics.snapshot().refused_per_address, 1);
    });
}

#[test]
fn who_has_too_many_connections_gets_no_handshake() {
    run(async {
        let (_folder, authority, tls) = house();
        let mut settings = Settings::default();
        settings.limits.connections_per_address = std::num::NonZeroUsize::new(1);
        let gate = gate(&tls, &settings);
        let held = gate.connect("a.test", &trusting(&authority)).await.unwrap();
        assert!(gate.connect("a.test", &trusting(&authority)).await.is_err());
        let counts = gate.metrics.snapshot();
        let handshakes = HandshakeMetrics { full: 1, ..HandshakeMetrics::default() };
        assert_eq!((counts.refused_per_address, counts.handshakes), (1, handshakes));
        drop(held);
        while gate.metrics.snapshot().connections > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        gate.connect("a.test", &trusting(&authority)).await.unwrap();
    });
}

#[test]
fn a_proxy_that_does_not_say_it_is_not_served() {
    run(async {
        let mut settings = Settings::default();
        settings.timeouts.proxy_header = Duration::from_millis(200);
        let gate = introduced(None, &settings);
        let refused = |count: u64| {
            let metrics = gate.metrics.clone();
            async move {
                while metrics.snapshot().proxy_headers_refused < count {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        };
        // No header, half of one, and silence.
        for (count, bytes) in [(1, &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..]), (2, &HEADER[..20]), (3, b"")] {
            let mut stream = TcpStream::connect(gate.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            // What was not read makes the end a reset.
            let _ = stream.read_to_end(&mut answer).await;
            assert_eq!(answer, b"");
            refused(count).await;
        }
        // One that only looks whether somebody listens is not counted.
        drop(TcpStream::connect(gate.address).await.unwrap());
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        refused(4).await;
        while gate.metrics.snapshot().connections > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(gate.metrics.snapshot().proxy_headers_refused, 4);
    });
}

#[test]
fn an_encrypted_connection_that_rests_goes_on() {
    run(async {
        let (_folder, authority, tls) = house();
        let gate = gate(&tls, &Settings::default());
        let mut stream = gate.connect("a.test", &trusting(&authority)).await.unwrap();
        for _ in 0..2 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"anonymous") {
                answer.push(stream.read_u8().await.unwrap());
            }
            // Longer than a connection is idle before it gives its memory back.
            tokio::time::sleep(Duration::from_millis(1_200)).await;
        }
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "the end is answered with the end");
    });
}
