//! The folder of account and certificates. Nobody but the owner may read it; files are replaced whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::schedule::Validity;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

const ACCOUNT: &str = "account.json";
const LOCK: &str = "lock";

/// The folder of one authority.
pub(super) struct Storage(PathBuf);

/// That this process is the one that speaks with the authority, until dropped. The system lets go of it as well when the
/// process ends in whichever way.
pub(super) struct Lock(#[expect(dead_code, reason = "closing it lets go of the lock")] File);

/// A certificate that was kept.
pub(super) struct Kept {
    pub(super) leaf: CertificateDer<'static>,
    pub(super) validity: Validity,
}

impl Storage {
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Takes the lock; `None` while another process has it. The folder is made when there is none.
    ///
    /// # Errors
    /// When the folder cannot be made or written to.
    pub(super) fn lock(&self) -> io::Result<Option<Lock>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(self.0.join(LOCK))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The account's file; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn account(&self) -> io::Result<Option<Vec<u8>>> {
        match read(&self.0.join(ACCOUNT)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Keeps the account.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn keep_account(&self, content: &[u8]) -> io::Result<()> {
        self.write(&self.0.join(ACCOUNT), content)
    }

    /// Puts the account's file aside, if there is one: its key may be of use to the operator still.
    pub(super) fn forget_account(&self) {
        let path = self.0.join(ACCOUNT);
        let _ = fs::rename(&path, path.with_extension("unknown"));
    }

    /// Writes a file in one step: whoever reads it sees the old or the new one, also after a crash.
    ///
    /// # Errors
    /// When that is not possible; the old one is there still.
    pub(super) fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        // The lock sees to it that nobody else writes it.
        let fresh = path.with_extension("new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(&self.0)?.sync_all()
    }
}

/// The certificate in a file; `None` when there is none that can be used.
pub(super) fn kept(path: &Path) -> Option<Kept> {
    let leaf = CertificateDer::from_pem_slice(&read(path).ok()?).ok()?;
    let validity = {
        let (_, parsed) = X509Certificate::from_der(&leaf).ok()?;
        let time = |seconds: i64| {
            let since = std::time::Duration::from_secs(u64::try_from(seconds).ok()?);
            SystemTime::UNIX_EPOCH.checked_add(since)
        };
        Validity {
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
        }
    };
    Some(Kept { leaf, validity })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_process_at_a_time_writes_files_that_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme/authority");
        let (one, other) = (Storage::new(&path), Storage::new(&path));
        let lock = one.lock().unwrap();
        assert!(lock.is_some() && other.lock().unwrap().is_none());
        assert!(one.account().unwrap().is_none());
        one.keep_account(b"first").unwrap();
        one.keep_account(b"second").unwrap();
        assert_eq!(other.account().unwrap().as_deref(), Some(&b"second"[..]));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join(ACCOUNT)), mode(&path.join(LOCK))), (0o700, 0o600, 0o600));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2, "nothing is left behind");
        drop(lock);
        assert!(other.lock().unwrap().is_some());
    }

    #[test]
    fn what_is_kept_is_read_or_done_without() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.test.pem");
        assert!(kept(&path).is_none());
        fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(kept(&path).is_none());
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 31);
        fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        let validity = kept(&path).unwrap().validity;
        assert_eq!(validity.not_after.duration_since(validity.not_before).unwrap().as_secs(), 30 * 86_400);
    }
}
