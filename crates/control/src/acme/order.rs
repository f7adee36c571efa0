//! One order: from a domain to a certificate with its key.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeHandle, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use polygate_gateway::{Answering, Challenges};
use polygate_plan::{Acme, AcmeChallenge, AcmeKey};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};

use super::agent::Trouble;

/// How long the authority may take to look at the answers, and again to issue.
const PATIENCE: Duration = Duration::from_secs(120);

/// Obtains a certificate: the chain, and behind it the key (PEM).
///
/// # Errors
/// Why there is none. Nothing of the order is left behind.
pub(super) async fn obtain(
    account: &Account,
    settings: &Acme,
    domain: &str,
    challenges: &Arc<Challenges>,
) -> Result<String, Trouble> {
    let identifiers = [Identifier::Dns(domain.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    // Answered until the authority has made up its mind.
    let answering = answer(&mut order, settings, domain, challenges).await?;
    let retries = RetryPolicy::new().backoff(1.5).timeout(PATIENCE);
    let status = order.poll_ready(&retries).await;
    drop(answering);
    match status {
        Ok(OrderStatus::Ready) => {}
        outcome => return Err(why_not(&mut order, outcome).await),
    }
    let key = match settings.key {
        AcmeKey::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        AcmeKey::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
    }
    .map_err(own)?;
    let mut params = CertificateParams::new(vec![domain.to_owned()]).map_err(own)?;
    // Names stand in the extension; a subject of ours would be thrown away.
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(own)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&retries).await?;
    Ok(format!("{}\n{}", chain.trim_end(), key.serialize_pem()))
}

fn own(error: rcgen::Error) -> Trouble {
    Trouble::local(error.to_string())
}

/// Answers what the authority wants to see, and tells it to look.
async fn answer(
    order: &mut Order,
    settings: &Acme,
    domain: &str,
    challenges: &Arc<Challenges>,
) -> Result<Vec<Answering>, Trouble> {
    let (kind, name) = match settings.challenge {
        AcmeChallenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        AcmeChallenge::Http01 => (ChallengeType::Http01, "http-01"),
    };
    let mut answering = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            // It remembers an earlier answer.
            AuthorizationStatus::Valid => continue,
            status => return Err(Trouble::refused(format!("the authorization is {status:?}"))),
        }
        let challenge = authorization.challenge(kind.clone());
        let mut challenge =
            challenge.ok_or_else(|| Trouble::refused(format!("the authority does not offer {name}")))?;
        answering.push(match settings.challenge {
            AcmeChallenge::Http01 => {
                challenges.answer_http(&challenge.token, challenge.key_authorization().as_str())
            }
            AcmeChallenge::TlsAlpn01 => by_certificate(&challenge, domain, challenges)?,
        });
        challenge.set_ready().await?;
    }
    Ok(answering)
}

/// A certificate that shows the authority what it has asked for (RFC 8737 3).
fn by_certificate(
    challenge: &ChallengeHandle<'_>,
    domain: &str,
    challenges: &Arc<Challenges>,
) -> Result<Answering, Trouble> {
    let key = KeyPair::generate().map_err(own)?;
    let mut params = CertificateParams::new(vec![domain.to_owned()]).map_err(own)?;
    let digest = challenge.key_authorization().digest();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let certificate = params.self_signed(&key).map_err(own)?;
    let answered = challenges.answer_alpn(domain, certificate.der().to_vec(), key.serialize_der());
    answered.map_err(Trouble::local)
}

/// Why an order was refused: what the authority says of the challenge.
async fn why_not(order: &mut Order, outcome: Result<OrderStatus, instant_acme::Error>) -> Trouble {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { break };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return Trouble::refused(problem.to_string());
        }
    }
    match outcome {
        Ok(status) => Trouble::refused(format!("the order is {status:?}")),
        Err(error) => error.into(),
    }
}
