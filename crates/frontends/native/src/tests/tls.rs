//! `[tls]`: what is taken, and what is refused.

use polygate_pipeline::TlsVersion;
use polygate_plan::{AcmeChallenge, AcmeKey, ClientAuth};

use super::{built_in, get, loaded, routes, shown};
use crate::Loaded;

fn settings(text: &str) -> Loaded {
    let routes = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let authorities = "-----BEGIN CERTIFICATE-----\n";
    loaded(&[("config/a.oas.json", &routes), ("polygate.toml", text), ("ca.pem", authorities)], &[])
}

#[test]
fn tls_is_read() {
    let loaded = settings(
        r#"
        [listen]
        tls-address = "0.0.0.0:443"
        [limits]
        handshakes = 7
        [timeouts]
        handshake = "3s"
        [tls]
        min-version = "1.3"
        http2 = false
        client-auth = "required"
        client-ca = "ca.pem"
        refuse-misdirected = false
        [[tls.certificates]]
        cert = "tls/a.pem"
        key = "tls/a.key"
        [[tls.certificates]]
        cert = "/etc/tls/b.pem"
        key = "/etc/tls/b.key"
    "#,
    );
    assert_eq!(shown(&loaded.diagnostics), "");
    let plan = loaded.plan.unwrap();
    assert_eq!(plan.settings.listen.tls_address.unwrap().port(), 443);
    assert_eq!((plan.settings.limits.handshakes, plan.settings.timeouts.handshake.as_secs()), (7, 3));
    let tls = plan.settings.tls.unwrap();
    assert_eq!((tls.min_version, tls.http2, tls.refuse_misdirected), (TlsVersion::Tls13, false, false));
    assert_eq!(tls.client_auth, ClientAuth::Required(plan.root.join("ca.pem")));
    assert_eq!(tls.certificates[0].cert, plan.root.join("tls/a.pem"));
    assert_eq!(tls.certificates[1].key.to_str(), Some("/etc/tls/b.key"));
    assert!(loaded.files.contains(&tls.certificates[0].key), "{:?}", loaded.files);
    assert!(settings("").plan.unwrap().settings.tls.is_none());
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (text, expected) in [
        (
            "[tls]\nclient-auth = \"optional\"",
            r#"polygate.toml:1:1+5 error[missing-field] listen.tls-address: there is no listener for TLS | tls-address = "0.0.0.0:8443" in [listen]
polygate.toml:1:1+5 error[missing-field] tls.certificates: there is no certificate for the TLS listener | [[tls.certificates]] with cert = "FILE" and key = "FILE", or [tls.acme]
polygate.toml:2:15+10 error[missing-field] tls.client-ca: no authority is named that vouches for clients | client-ca = "FILE", a PEM file with certificate authorities
"#,
        ),
        (
            "[listen]\naddress = \"[::]:80\"\ntls-address = \"[::]:80\"\n[tls]\ncertificates = [{ cert = \"a\", key = \"b\" }]\nclient-ca = \"ca.pem\"",
            r#"polygate.toml:3:15+9 error[bad-value] listen.tls-address: cleartext and TLS cannot share an address
polygate.toml:6:13+8 error[misplaced-field] tls.client-ca: client-ca has no effect while client-auth is off | client-auth = "optional" or "required", or no client-ca
"#,
        ),
        (
            "[listen]\ntls-address = \"[::]:80\"\n[tls]\nmin-version = \"1.1\"\nclient-auth = \"yes\"\n[[tls.certificates]]\ncert = \"a\"",
            r#"polygate.toml:4:15+5 error[bad-value] tls.min-version: "1.1" is not possible here | one of 1.2, 1.3 | 1.3?
polygate.toml:5:15+5 error[bad-value] tls.client-auth: "yes" is not possible here | one of off, optional, required
polygate.toml:6:1+20 error[missing-field] tls.certificates[0].key: the field "key" is missing | a string
"#,
        ),
    ] {
        let loaded = settings(text);
        assert!(loaded.plan.is_none());
        assert_eq!(shown(&loaded.diagnostics), expected);
    }
}

#[test]
fn proxies_are_addresses_and_networks() {
    let loaded = settings(
        "[listen]\ntrusted-proxies = [\"10.0.0.0/8\", \"::1\"]\nproxy-protocol = true\n[timeouts]\nproxy-header = \"1s\"",
    );
    assert_eq!(shown(&loaded.diagnostics), "");
    let settings_read = loaded.plan.unwrap().settings;
    assert!(settings_read.listen.proxy_protocol);
    assert_eq!(settings_read.timeouts.proxy_header.as_secs(), 1);
    let trusts = |ip: &str| settings_read.listen.trusted_proxies.contain(ip.parse().unwrap());
    assert!(trusts("10.9.8.7") && trusts("::1") && !trusts("11.0.0.1"));
    for (text, expected) in [
        (
            "[listen]\nproxy-protocol = true",
            "polygate.toml:2:18+4 error[missing-field] listen.trusted-proxies: no proxy is trusted to speak the PROXY protocol | trusted-proxies = [\"10.0.0.0/8\"] in [listen]\n",
        ),
        (
            "[listen]\ntrusted-proxies = [\"10.0.0.0/40\"]",
            "polygate.toml:2:20+13 error[bad-value] listen.trusted-proxies[0]: \"10.0.0.0/40\" cannot be read | an IP address such as 10.0.0.1 or a network such as 10.0.0.0/8\n",
        ),
    ] {
        assert_eq!(shown(&settings(text).diagnostics), expected);
    }
}

#[test]
fn tls_towards_upstreams_is_read() {
    let text = r#"
        [connection]
        ca-file = "ca.pem"
        [connection.tls]
        min-version = "1.3"
        [upstreams.a]
        url = "https://a"
        [upstreams.b]
        url = "https://10.0.0.1"
        [upstreams.b.tls]
        ca-files = ["ca.pem"]
        cert = "ca.pem"
        key = "key.pem"
        server-name = "b.internal"
        min-version = "1.2"
        verify = false
        [upstreams.c]
        url = "https://c"
        tls = { ca-files = ["ca.pem"], system-roots = true }
    "#;
    let routes = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let files = [
        ("config/a.oas.json", routes.as_str()),
        ("polygate.toml", text),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\n"),
        ("key.pem", "-----BEGIN EC PRIVATE KEY-----\n"),
    ];
    let loaded = loaded(&files, &[]);
    assert_eq!(
        shown(&loaded.diagnostics),
        "polygate.toml:16:18+5 warning[unverified-upstream] upstreams.b.tls.verify: servers need not prove who they are: \
         whoever answers is sent requests, secrets included | ca-files with the authority of the servers, and no verify = \
         false\n"
    );
    let plan = loaded.plan.unwrap();
    let tls = |index: usize| &*plan.settings.upstreams[index].connection.tls;
    let ca = plan.root.join("ca.pem");
    assert_eq!(*plan.settings.connection.tls, *tls(0));
    assert_eq!((&tls(0).authorities, tls(0).system_roots), (&vec![ca.clone()], true));
    assert_eq!(tls(0).min_version, TlsVersion::Tls13);
    assert_eq!((tls(1).system_roots, tls(1).verify, tls(1).min_version), (false, false, TlsVersion::Tls12));
    assert_eq!(tls(1).server_name.as_deref(), Some("b.internal"));
    assert_eq!(tls(1).identity.as_ref().unwrap().key, plan.root.join("key.pem"));
    assert_eq!((tls(2).system_roots, tls(2).verify, &tls(2).identity), (true, true, &None));
    assert_eq!(plan.settings.certificate_files().filter(|file| **file == *ca).count(), 5);
}

#[test]
fn tls_towards_upstreams_is_refused() {
    for (text, expected) in [
        (
            "[connection]\nca-file = \"ca.pem\"\ntls = { ca-files = [\"none.pem\"], server-name = \"a\" }",
            r#"polygate.toml:2:11+8 error[two-spellings] connection.ca-file: both ca-file and tls.ca-files stand here | tls.ca-files
polygate.toml:3:21+10 error[unreadable] connection.tls.ca-files[0]: "none.pem" cannot be read: No such file or directory (os error 2) | a PEM file with certificates, relative to the project's folder
polygate.toml:3:48+3 error[misplaced-field] connection.tls.server-name: one name cannot be that of all servers | server-name in [upstreams.NAME.tls]
"#,
        ),
        (
            "[upstreams.a]\nurl = \"http://a\"\n[upstreams.a.tls]\ncert = \"ca.pem\"\nsystem-roots = false\nserver-name = \"a b\"",
            r#"polygate.toml:5:16+5 error[missing-field] upstreams.a.tls.system-roots: no authority is left that vouches for servers | ca-files = ["FILE"] beside it, or system-roots = true
polygate.toml:4:8+8 error[missing-field] upstreams.a.tls.cert: cert stands here without key | key = "FILE" beside it
polygate.toml:6:15+5 error[bad-value] upstreams.a.tls.server-name: "a b" is no name of a server | a name such as shop.internal, or an address
polygate.toml:3:1+17 error[misplaced-field] upstreams.a.tls: tls has no effect without an https target | a target such as https://10.0.0.1:9443, or no tls
"#,
        ),
        (
            "[upstreams.a]\nurl = \"https://a\"\ntls = { cert = \"ca.pem\", key = \"ca.pem\", ca-files = [] }",
            r#"polygate.toml:3:53+2 error[bad-value] upstreams.a.tls.ca-files: no file stands here | at least one PEM file with certificates
polygate.toml:3:32+8 error[bad-value] upstreams.a.tls.key: "ca.pem" holds no private key | a PEM file, relative to the project's folder
"#,
        ),
    ] {
        let loaded = settings(text);
        assert!(loaded.plan.is_none());
        assert_eq!(shown(&loaded.diagnostics), expected);
    }
}

#[test]
fn acme_is_read() {
    let listen = "[listen]\ntls-address = \"[::]:443\"\n";
    let loaded = settings(&format!(
        "{listen}[tls.acme]\ndomains = [\"A.test\", \"b.test\"]\nterms-agreed = true\ncontact = [\"ops@a.test\"]"
    ));
    assert_eq!(shown(&loaded.diagnostics), "");
    let plan = loaded.plan.unwrap();
    let acme = plan.settings.tls.as_ref().unwrap().acme.as_ref().unwrap();
    assert_eq!(acme.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!((acme.challenge, acme.key), (AcmeChallenge::TlsAlpn01, AcmeKey::P256));
    assert_eq!(acme.contact, ["mailto:ops@a.test"]);
    let folder = plan.root.join(".polygate/acme/acme-v02.api.letsencrypt.org_directory");
    assert_eq!(acme.folder, folder);
    assert_eq!(
        (acme.domains[0].name.as_str(), &acme.domains[0].file),
        ("a.test", &folder.join("a.test.pem"))
    );
    assert!(plan.settings.certificate_files().any(|file| *file == folder.join("b.test.pem")));
    let loaded = settings(&format!(
        "{listen}[tls.acme]\ndomains = [\"a.test\"]\nterms-agreed = true\ndirectory = \"https://[::1]:14000/dir\"\n\
         storage = \"/var/acme\"\nchallenge = \"http-01\"\nca-file = \"ca.pem\"\nkey-type = \"p384\"\n\
         external-account = {{ id = \"kid\", key-variable = \"EAB\" }}"
    ));
    assert_eq!(
        shown(&loaded.diagnostics),
        "polygate.toml:11:20+36 error[unset-variable] tls.acme.external-account.key-variable: the variable EAB is not set \
         | the account's HMAC key in base64url\n"
    );
}

#[test]
fn acme_is_refused() {
    let loaded = settings(
        "[listen]\ntls-address = \"[::]:443\"\n[tls.acme]\ndirectory = \"http://a/dir\"\ncontact = [\"me\"]\n\
         domains = [\"*.a.test\", \"a_b.test\", \"10.0.0.1\", \"c.test\", \"C.test\"]",
    );
    assert!(loaded.plan.is_none());
    assert_eq!(
        shown(&loaded.diagnostics),
        r#"polygate.toml:3:1+10 error[missing-field] tls.acme.terms-agreed: the authority's terms of service are not agreed to | terms-agreed = true, once they are
polygate.toml:4:13+14 error[bad-url] tls.acme.directory: "http://a/dir" is no directory of an authority | letsencrypt, letsencrypt-staging, or an https URL
polygate.toml:6:12+10 error[bad-value] tls.acme.domains[0]: no wildcard can be obtained by this challenge: "*.a.test" | a domain such as www.example.com
polygate.toml:6:24+10 error[bad-value] tls.acme.domains[1]: no certificate can be obtained for "a_b.test" | a domain such as www.example.com
polygate.toml:6:36+10 error[bad-value] tls.acme.domains[2]: no certificate can be obtained for "10.0.0.1" | a domain such as www.example.com
polygate.toml:6:58+8 error[duplicate] tls.acme.domains[4]: "C.test" stands here twice | each domain once
polygate.toml:5:12+4 error[bad-value] tls.acme.contact[0]: "me" is no address for mail | an address such as ops@example.com
"#
    );
}
