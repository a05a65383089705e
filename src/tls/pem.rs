//! A certificate and its key in PEM files, as two flags name them.

use std::borrow::Cow;
use std::path::PathBuf;

use super::TlsError;
use super::certificate::Mismatch;
use crate::watched::WatchedFile;

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug)]
pub struct PemFiles {
    /// The certificate, or a chain that begins with it.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The flags that name the two files, for errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct PemFlags {
    pub(super) cert: &'static str,
    pub(super) key: &'static str,
}

/// Both files, read again when they change.
pub(super) struct WatchedPem {
    flags: PemFlags,
    cert: WatchedFile<Vec<u8>>,
    key: WatchedFile<Vec<u8>>,
}

impl WatchedPem {
    /// Reads both files for the first time.
    pub(super) fn read(files: PemFiles, flags: PemFlags) -> Self {
        let PemFiles { cert, key } = files;
        let [cert, key] = [cert, key].map(|path| {
            let mut file = WatchedFile::new(path, |path| std::fs::read(path));
            file.read();
            file
        });
        Self { flags, cert, key }
    }

    /// Reads both files again. Returns whether one of them has changed.
    pub(super) async fn read_again(&mut self) -> bool {
        let is_cert_changed = self.cert.read_again().await;
        self.key.read_again().await || is_cert_changed
    }

    /// The certificate and the key, or which of the files cannot be read.
    pub(super) fn contents(&self) -> Result<(&[u8], &[u8]), TlsError> {
        let cert = self.cert.contents().map_err(|reason| self.in_cert(reason))?;
        let key = self.key.contents().map_err(|reason| self.in_key(reason))?;
        Ok((cert, key))
    }

    /// The key's file, as the commands in an error name it.
    pub(super) fn key_file(&self) -> Cow<'_, str> {
        self.key.path().to_string_lossy()
    }

    /// An error in the certificate's file.
    pub(super) fn in_cert(&self, reason: impl Into<String>) -> TlsError {
        let (option, path) = (self.flags.cert, self.cert.path().to_owned());
        TlsError::File { option, path, reason: reason.into() }
    }

    /// An error in the key's file.
    pub(super) fn in_key(&self, reason: impl Into<String>) -> TlsError {
        let (option, path) = (self.flags.key, self.key.path().to_owned());
        TlsError::File { option, path, reason: reason.into() }
    }

    pub(super) fn mismatch(&self, mismatch: Mismatch) -> TlsError {
        match mismatch {
            Mismatch::Order(position) => self
                .in_cert(format!("the certificate of the key is number {position}; put it first")),
            Mismatch::Key => {
                let PemFlags { cert: cert_option, key: key_option } = self.flags;
                let [cert, key] = [&self.cert, &self.key].map(|file| file.path().to_owned());
                TlsError::Mismatch { cert_option, cert, key_option, key }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_change_of_either_file_counts_and_an_error_names_flag_and_file() {
        let directory = tempfile::tempdir().unwrap();
        let [cert, key] = ["cert", "key"].map(|name| directory.path().join(name));
        let flags = PemFlags { cert: "--a", key: "--b" };
        let files = PemFiles { cert: cert.clone(), key: key.clone() };
        fs::write(&cert, "1").unwrap();
        let mut pem = WatchedPem::read(files, flags);
        let no_such_file = "No such file or directory (os error 2)";
        let (cert_name, key_name) = (cert.display(), key.display());
        let error = |pem: &WatchedPem| pem.contents().unwrap_err().to_string();
        assert_eq!(error(&pem), format!("--b {key_name}: {no_such_file}"));
        assert!(!pem.read_again().await, "nothing has changed since the first read");

        fs::write(&key, "2").unwrap();
        assert!(pem.read_again().await);
        assert_eq!(pem.contents().unwrap(), (&b"1"[..], &b"2"[..]));
        fs::remove_file(&cert).unwrap();
        assert!(pem.read_again().await);
        assert_eq!(error(&pem), format!("--a {cert_name}: {no_such_file}"));
        assert!(!pem.read_again().await);

        assert_eq!(pem.key_file(), key_name.to_string());
        assert_eq!(pem.in_cert("x").to_string(), format!("--a {cert_name}: x"));
        assert_eq!(pem.in_key("x").to_string(), format!("--b {key_name}: x"));
        for (mismatch, expected) in [
            (
                Mismatch::Order(3),
                format!("--a {cert_name}: the certificate of the key is number 3; put it first"),
            ),
            (
                Mismatch::Key,
                format!(
                    "--b {key_name} does not belong to the certificate in --a {cert_name}; \
                     give the key that the certificate was made with"
                ),
            ),
        ] {
            assert_eq!(pem.mismatch(mismatch).to_string(), expected);
        }
    }
}
