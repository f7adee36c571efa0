//! What handshakes with clients are made with.

use std::sync::Arc;
use std::{fmt, io};

use aws_lc_rs::digest;
use polygate_pipeline::{Diagnostic, Severity, Tls as Facts, TlsVersion};
use polygate_plan::{AcmeDomain, CertificateFiles, ClientAuth, Tls};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Acceptor as Greeting, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::{Certificate, authorities};
use super::challenges::Challenges;
use super::peer;
use super::resolver::Resolver;
use super::suites;

/// Certificates and configuration, immutable; shared by the workers.
pub(crate) struct Acceptor {
    /// In which our order of cipher suites holds.
    config: Arc<ServerConfig>,
    /// The same, in which the client's does.
    following: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    /// Over the content of all files, to notice changes.
    digest: Digest,
    sessions: Sessions,
    /// What authorities are answered, when certificates are obtained from one.
    challenges: Option<Arc<Challenges>>,
}

type Digest = [u8; 32];

/// The keys of session tickets, which all workers share and which are changed every six hours; a ticket is good for
/// twice as long at most.
#[derive(Clone)]
struct Sessions {
    /// Over what clients were verified against: a session must not outlive the authorities that vouched for it.
    digest: Digest,
    tickets: Arc<dyn ProducesTickets>,
}

/// The protocols that are offered (ALPN, RFC 7301), the preferred one first.
fn protocols(http2: bool) -> Vec<Vec<u8>> {
    let offered: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    offered.iter().map(|name| name.to_vec()).collect()
}

impl Acceptor {
    /// Reads all files of `tls`. Sessions of `before` can be resumed as long as clients are verified as before.
    /// Not for a worker's own thread.
    ///
    /// The second part holds all that is wrong; with an error among it there is no acceptor.
    pub(crate) fn load(tls: &Tls, before: Option<&Self>) -> (Option<Self>, Vec<Diagnostic>) {
        let mut found = Vec::new();
        let provider = suites::provider();
        let mut content = digest::Context::new(&digest::SHA256);
        let mut certificates: Vec<Certificate> = tls
            .certificates
            .iter()
            .filter_map(|files| Certificate::load(files, &provider, &mut content, &mut found))
            .collect();
        certificates.extend(obtained(tls, &provider, &mut content, &mut found));
        let mut vouching = digest::Context::new(&digest::SHA256);
        vouching.update(format!("{:?}", tls.client_auth).as_bytes());
        let verifier = match verifier(&tls.client_auth, &provider, &mut vouching) {
            Ok(verifier) => verifier,
            Err(problem) => {
                found.push(*problem);
                None
            }
        };
        if found.iter().any(Diagnostic::is_error) {
            return (None, found);
        }
        let vouching = finish(vouching);
        content.update(&vouching);
        let sessions = match before.map(|before| &before.sessions) {
            Some(sessions) if sessions.digest == vouching => Ok(sessions.clone()),
            _ => Ticketer::new().map(|tickets| Sessions { digest: vouching, tickets }),
        };
        let resolver = Arc::new(Resolver::new(certificates));
        let built = sessions.and_then(|sessions| {
            let following = config(tls, provider, verifier, resolver.clone(), sessions.tickets.clone())?;
            let mut config = following.clone();
            config.ignore_client_order = true;
            let (config, following) = (Arc::new(config), Arc::new(following));
            Ok(Self { config, following, resolver, digest: finish(content), sessions, challenges: None })
        });
        match built {
            Ok(acceptor) => (Some(acceptor), found),
            Err(error) => {
                found.push(Diagnostic::error("internal", format!("TLS cannot be set up: {error}")));
                (None, found)
            }
        }
    }

    /// The same, which answers challenges of authorities.
    #[must_use]
    pub(crate) fn answering(mut self, challenges: &Arc<Challenges>) -> Self {
        self.challenges = Some(challenges.clone());
        self
    }

    /// Whether it was made of files with the same content.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// The certificates, the default first.
    pub(crate) fn certificates(&self) -> &[Certificate] {
        self.resolver.certificates()
    }

    /// Makes the handshake of a connection. It has no time limit of its own.
    ///
    /// # Errors
    /// When there is no agreement, with the connection if it can still be used to see the client off; it was told why.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Facts), (io::Error, Option<TcpStream>)> {
        let mut greeting = std::pin::pin!(LazyConfigAcceptor::new(Greeting::default(), stream));
        let hello = match greeting.as_mut().await {
            Ok(hello) => hello,
            Err(error) => return Err((error, greeting.take_io())),
        };
        let challenge =
            self.challenges.as_ref().and_then(|challenges| challenges.alpn(&hello.client_hello()));
        if let Some(config) = challenge {
            // The handshake is all that an authority wants (RFC 8737 3).
            let mut stream = hello.into_stream(config).await.map_err(|error| (error, None))?;
            let _ = stream.shutdown().await;
            return Err((io::Error::other(Challenged), None));
        }
        let (shown, config) = {
            let hello = hello.client_hello();
            let follows = suites::follows_client(hello.cipher_suites(), &self.config);
            let config = if follows { &self.following } else { &self.config };
            (self.resolver.choose(hello.server_name(), hello.signature_schemes()), config)
        };
        let names = shown.map(|shown| shown.names.clone()).unwrap_or_default();
        let handshake = hello.into_stream(config.clone()).into_fallible();
        let stream = handshake.await.map_err(|(error, stream)| (error, Some(stream)))?;
        let facts = peer::facts(stream.get_ref().1, names);
        Ok((stream, facts))
    }
}

/// That a connection was an authority's, which has seen what it wanted.
#[derive(Debug)]
struct Challenged;

impl fmt::Display for Challenged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an authority's challenge was answered")
    }
}

impl std::error::Error for Challenged {}

/// Whether a handshake has no connection because it was an authority's, and was answered.
pub(crate) fn is_challenge(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Challenged>())
}

/// The certificates that were obtained so far. One that cannot be used is as good as none: it will be obtained anew.
fn obtained(
    tls: &Tls,
    provider: &CryptoProvider,
    digest: &mut digest::Context,
    found: &mut Vec<Diagnostic>,
) -> Vec<Certificate> {
    let domains = tls.acme.iter().flat_map(|acme| &acme.domains);
    let there = domains.filter(|domain| domain.file.exists());
    let mut problems = Vec::new();
    let load = |domain: &AcmeDomain| {
        let files = CertificateFiles { cert: domain.file.clone(), key: domain.file.clone(), ocsp: None };
        let certificate = Certificate::load(&files, provider, digest, &mut problems)?;
        Some(Certificate { obtained: true, ..certificate })
    };
    let certificates = there.filter_map(load).collect();
    for problem in &mut problems {
        problem.severity = Severity::Warning;
    }
    found.append(&mut problems);
    certificates
}

fn finish(context: digest::Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

type Verifier = Arc<dyn ClientCertVerifier>;

/// What clients' certificates are verified with; `None` when they are not asked for any.
fn verifier(
    auth: &ClientAuth,
    provider: &Arc<CryptoProvider>,
    digest: &mut digest::Context,
) -> Result<Option<Verifier>, Box<Diagnostic>> {
    let Some(file) = auth.authorities() else { return Ok(None) };
    let bad = |error: &dyn std::fmt::Display| {
        let problem = Diagnostic::error("bad-certificate", format!("clients cannot be verified: {error}"));
        Box::new(
            problem.at(file.display().to_string(), None).expected("a PEM file of certificate authorities"),
        )
    };
    let mut roots = RootCertStore::empty();
    for authority in authorities(file, digest)? {
        roots.add(authority).map_err(|error| bad(&error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = match auth {
        ClientAuth::Required(_) => builder,
        _ => builder.allow_unauthenticated(),
    };
    builder.build().map(Some).map_err(|error| bad(&error))
}

fn config(
    tls: &Tls,
    provider: Arc<CryptoProvider>,
    verifier: Option<Verifier>,
    resolver: Arc<Resolver>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = match tls.min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = protocols(tls.http2);
    config.ticketer = tickets;
    // Sessions live in tickets alone: a store would be one that workers share.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
