//! `/certificates`, and the metrics of those that are obtained by ACME.

use polygate_gateway::CertificateStatus;
use serde_json::{Value, json};

use crate::acme::DomainStatus;
use crate::clock::rfc3339;
use crate::families::{Families, family, labels, sample};
use crate::state::State;

/// All certificates in use, and what is done to obtain some.
pub(super) fn view(state: &State) -> Value {
    let gateway = state.gateway();
    let clients = gateway.as_ref().and_then(|gateway| gateway.tls_status()).unwrap_or_default();
    let upstreams = gateway.as_ref().map(|gateway| gateway.upstream_tls_status()).unwrap_or_default();
    let shown = clients.certificates.iter().map(|one| certificate(one, "clients"));
    let shown = shown.chain(upstreams.certificates.iter().map(|one| certificate(one, "upstreams")));
    json!({
        "certificates": shown.collect::<Vec<_>>(),
        "acme": state.acme.domains().iter().map(domain).collect::<Vec<_>>(),
    })
}

/// One that is in use; `to` says who is shown it.
fn certificate(one: &CertificateStatus, to: &str) -> Value {
    json!({
        "shown_to": to,
        "source": if one.obtained { "acme" } else { "file" },
        "file": one.file,
        "names": one.names,
        "issuer": one.issuer,
        "not_before": rfc3339(one.not_before),
        "not_after": rfc3339(one.not_after),
        "staple": one.staple.as_ref().map(|staple| json!({
            "file": staple.file,
            "good_until": staple.until.map(rfc3339),
            "problem": staple.problem,
        })),
    })
}

fn domain(domain: &DomainStatus) -> Value {
    json!({
        "domain": domain.name,
        "state": word(domain),
        "not_after": domain.not_after.map(rfc3339),
        "last_try": domain.last_try.map(rfc3339),
        "last_error": domain.last_error,
        "failures": domain.failures,
        "next_try": rfc3339(domain.next_try),
    })
}

/// How it stands with a domain.
fn word(domain: &DomainStatus) -> &'static str {
    match (domain.failures, domain.not_after) {
        (0, Some(_)) => "good",
        (0, None) => "pending",
        _ => "failing",
    }
}

/// The metrics of certificates that are obtained; their expiry stands with that of all others.
pub(super) fn metrics(out: &mut Families, state: &State) {
    let domains = state.acme.domains();
    let (obtained, failed) = state.acme.orders();
    if domains.is_empty() && obtained + failed == 0 {
        return;
    }
    family(out, "polygate_acme_orders_total", "counter", "Orders of certificates, by outcome.");
    for (outcome, count) in [("ok", obtained), ("failed", failed)] {
        sample(out, "polygate_acme_orders_total", labels(&[("outcome", outcome)]), count);
    }
    let help = "Tries in a row that failed to obtain a certificate for a domain.";
    family(out, "polygate_acme_failures", "gauge", help);
    for domain in &domains {
        sample(out, "polygate_acme_failures", labels(&[("domain", &domain.name)]), domain.failures);
    }
}
