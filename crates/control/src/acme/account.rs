//! The account with the authority: made once, kept in the folder.

use base64::Engine;
use base64::prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};

use super::Assignment;
use super::agent::Trouble;
use super::http::Http;
use super::storage::Storage;

/// The account that is kept, or a new one.
///
/// # Errors
/// Why there is none.
pub(super) async fn account(assignment: &Assignment, storage: &Storage) -> Result<Account, Trouble> {
    let settings = &assignment.settings;
    let http = || Http::new(settings.ca_file.as_deref()).map(Box::new).map_err(Trouble::local);
    if let Some(kept) = storage.account().map_err(|error| Trouble::local(format!("the account: {error}")))? {
        let credentials: AccountCredentials = serde_json::from_slice(&kept)
            // The error would show a part of the key.
            .map_err(|_| Trouble::local("the file of the account is damaged".to_owned()))?;
        return Ok(Account::builder_with_http(http()?).from_credentials(credentials).await?);
    }
    let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let external = match &settings.external_account {
        None => None,
        Some(external) => {
            let key = assignment.external_key.as_deref().and_then(decode);
            let key =
                key.ok_or_else(|| Trouble::local(format!("{} is no base64url", external.key_variable)))?;
            Some(ExternalAccountKey::new(external.id.clone(), &key))
        }
    };
    let builder = Account::builder_with_http(http()?);
    let made = builder.create(&new, settings.directory.clone(), external.as_ref()).await;
    let (account, credentials) = made?;
    let content = serde_json::to_vec(&credentials).map_err(|error| Trouble::local(error.to_string()))?;
    storage.keep_account(&content).map_err(|error| Trouble::local(format!("the account: {error}")))?;
    Ok(account)
}

/// A key in base64url, with padding or without.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    BASE64_URL_SAFE_NO_PAD.decode(text).or_else(|_| BASE64_URL_SAFE.decode(text)).ok()
}
