//! The way to the authority: HTTPS by a blocking client, off the thread that waits for it.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::trust;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// Speaks with one authority.
pub(super) struct Http(ureq::Agent);

impl Http {
    /// A client that trusts the authorities of `ca_file`, or those of the system.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let tls = match ca_file {
            None => trust::in_the_system(),
            Some(file) => {
                let bad = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
                let found = CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))?;
                let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| bad(&error))?;
                trust::in_authorities(&found)
            }
        };
        let agent = ureq::Agent::config_builder()
            .https_only(true)
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .tls_config(tls)
            .build()
            .new_agent();
        Ok(Self(agent))
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

impl HttpClient for Http {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answer {
        let agent = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let sent = tokio::task::spawn_blocking(move || {
                let mut answer = match body.is_empty() {
                    true => agent.run(Request::from_parts(parts, ()))?,
                    false => agent.run(Request::from_parts(parts, &body[..]))?,
                };
                let read = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec()?;
                Ok::<_, ureq::Error>(answer.map(|_| Full::new(Bytes::from(read))))
            });
            let answer = sent.await.map_err(|error| Error::Other(error.into()))?;
            answer.map(BytesResponse::from).map_err(|error| Error::Other(error.into()))
        })
    }
}
