//! A CA that all replicas share by a Secret, without an operator and without a leader.
//!
//! Each replica signs its own leaf in memory. What must not happen is that an API server meets a leaf whose CA it does not
//! know yet, for each of them learns of a `caBundle` by a watch. So a new CA goes through three states, all of them in the
//! Secret, which every replica changes only from the version that it has read: *next* (in the bundle, signing nothing),
//! *current* (signing), *previous* (still in the bundle, for leaves that are not renewed yet).
//!
//! The process may get and update that one Secret, and get and patch that one MutatingWebhookConfiguration, of which only
//! `caBundle` is ever touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Config};
use serde_json::json;

use super::authority::{Authority, CaError};

/// An API server learns of a new `caBundle` by a watch: within this time, or it has lost its connection to etcd.
const BUNDLE_SPREADS_WITHIN: Duration = Duration::from_secs(60);

/// An API server that does not answer must not hold up what can be done without it.
const API_TIMEOUT: Duration = Duration::from_secs(10);

/// Another replica may be quicker so often before it is tried again later.
const ATTEMPTS: usize = 5;

/// Where the CA is kept and who has to know it.
#[derive(Clone, Debug)]
pub struct ManagedCa {
    /// The namespace of the Secret.
    pub namespace: String,
    /// The Secret, which must exist and may be empty.
    pub secret: String,
    /// The MutatingWebhookConfiguration.
    pub registration: String,
    /// How long a CA is valid; the next one comes at two thirds of it.
    pub lifetime: Duration,
}

/// What one replica knows of it.
pub(super) struct Manager {
    settings: ManagedCa,
    client: Option<Client>,
    /// As last read or written: put back where the Secret loses it.
    known: Option<Authorities>,
    /// Since when the bundle has the next CA without a break, as this replica saw it.
    next_in_bundle: Option<(String, Instant)>,
    /// The bundle was seen without what it must hold, and could not be put right.
    bundle_lacks: bool,
}

/// A CA as the Secret has it, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ca {
    certificate: String,
    key: String,
}

/// The CAs in the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Authorities {
    current: Ca,
    next: Option<Ca>,
    /// Only its certificate: it signs nothing any more.
    previous: Option<String>,
}

/// Why the CA could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManageError {
    #[error("no API server is configured: {0}; run in a pod with a service account, or set KUBECONFIG")]
    NoCluster(String),
    #[error("Secret {0}/{1} does not exist; make it: kubectl create secret generic {1} --namespace {0}")]
    NoSecret(String, String),
    #[error("MutatingWebhookConfiguration {0} does not exist; make it, and this process fills in its caBundle")]
    NoRegistration(String),
    #[error("{what}: {source}")]
    Api { what: &'static str, source: Box<kube::Error> },
    #[error("other replicas change the Secret all the time; it is tried again")]
    Contended,
    #[error("the CA in the Secret: {0}")]
    Ca(String),
    #[error("cannot make a CA: {0}")]
    Generate(#[from] rcgen::Error),
}

impl ManageError {
    fn api(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { what, source: Box::new(source) }
    }
}

impl Manager {
    pub(super) fn new(settings: ManagedCa) -> Self {
        Self { settings, client: None, known: None, next_in_bundle: None, bundle_lacks: false }
    }

    /// Brings Secret and `caBundle` up to date, and gives the CA whose leaves an API server takes.
    pub(super) async fn manage(&mut self) -> Result<Arc<Authority>, ManageError> {
        let client = self.client().await?;
        let authorities = match self.settle(&client).await {
            Ok(authorities) => authorities,
            // Without its Secret the CA lives on in this process, and the bundle can still be looked after.
            Err(error) => {
                if let Some(known) = self.known.clone() {
                    // What is wrong with the Secret is said; whether the bundle is right is remembered.
                    let _ = self.spread(&client, &known).await;
                }
                return Err(error);
            }
        };
        self.spread(&client, &authorities).await?;
        authorities.current.authority().map(Arc::new).map_err(|error| ManageError::Ca(format!("{error:?}")))
    }

    /// Whether API servers reject what this process serves, as far as it knows.
    pub(super) fn is_rejected(&self) -> bool {
        self.bundle_lacks
    }

    async fn client(&mut self) -> Result<Client, ManageError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let mut config = Config::infer().await.map_err(|error| ManageError::NoCluster(error.to_string()))?;
        config.connect_timeout = Some(API_TIMEOUT);
        config.read_timeout = Some(API_TIMEOUT);
        let client = Client::try_from(config).map_err(ManageError::api("the API server's client"))?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// Makes the Secret what it should be.
    async fn settle(&mut self, client: &Client) -> Result<Authorities, ManageError> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &self.settings.namespace);
        for _ in 0..ATTEMPTS {
            let secret = secrets.get_opt(&self.settings.secret).await.map_err(ManageError::api("cannot read the Secret"))?;
            let Some(mut secret) = secret else {
                return Err(ManageError::NoSecret(self.settings.namespace.clone(), self.settings.secret.clone()));
            };
            let stored = Authorities::read(secret.data.as_ref());
            let wanted = self.wanted(stored.clone())?;
            if stored.as_ref() == Some(&wanted) {
                self.known = Some(wanted.clone());
                return Ok(wanted);
            }
            // With the version that was read: who comes second reads again.
            secret.data = Some(wanted.write());
            match secrets.replace(&self.settings.secret, &PostParams::default(), &secret).await {
                Ok(_) => {
                    tracing::info!(secret = self.settings.secret, "the CA in the Secret was written");
                    self.known = Some(wanted.clone());
                    return Ok(wanted);
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(ManageError::api("cannot update the Secret")(error)),
            }
        }
        Err(ManageError::Contended)
    }

    /// What the Secret should hold, given what it holds.
    fn wanted(&self, stored: Option<Authorities>) -> Result<Authorities, ManageError> {
        let stored = stored.filter(|stored| stored.current.ends().is_some_and(|end| end > SystemTime::now()));
        let Some(mut wanted) = stored.or_else(|| self.known.clone()) else {
            return Ok(Authorities { current: Ca::generate(self.settings.lifetime)?, next: None, previous: None });
        };
        let is_due = wanted.current.ends().is_none_or(|end| end < SystemTime::now() + self.settings.lifetime / 3);
        match &wanted.next {
            None if is_due => wanted.next = Some(Ca::generate(self.settings.lifetime)?),
            Some(next) if self.has_spread(next) => {
                let next = next.clone();
                wanted = Authorities { previous: Some(wanted.current.certificate), current: next, next: None };
            }
            _ => {}
        }
        Ok(wanted)
    }

    fn has_spread(&self, next: &Ca) -> bool {
        let since = self.next_in_bundle.as_ref().filter(|(certificate, _)| *certificate == next.certificate);
        since.is_some_and(|(_, since)| since.elapsed() >= BUNDLE_SPREADS_WITHIN)
    }

    /// Makes the bundle hold what it must, and looks at it afterwards.
    async fn spread(&mut self, client: &Client, authorities: &Authorities) -> Result<(), ManageError> {
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let name = &self.settings.registration;
        let bundle = authorities.bundle();
        // A second look, after the patch, tells whether it is there.
        for _ in 0..2 {
            let registration =
                registrations.get_opt(name).await.map_err(ManageError::api("cannot read the MutatingWebhookConfiguration"))?;
            let Some(registration) = registration else { return Err(ManageError::NoRegistration(name.clone())) };
            let webhooks = registration.webhooks.unwrap_or_default();
            let live = |webhook: &k8s_openapi::api::admissionregistration::v1::MutatingWebhook| {
                webhook.client_config.ca_bundle.as_ref().map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned())
            };
            // More than what must be there may be: it was put there by a replica that knows more, or will be replaced.
            let lacks = |bundle: &str| !authorities.certificates().all(|certificate| bundle.contains(certificate.trim()));
            if !webhooks.iter().any(|webhook| lacks(&live(webhook).unwrap_or_default())) {
                self.bundle_lacks = false;
                match &authorities.next {
                    None => self.next_in_bundle = None,
                    Some(next) if self.next_in_bundle.as_ref().is_some_and(|(seen, _)| *seen == next.certificate) => {}
                    Some(next) => self.next_in_bundle = Some((next.certificate.clone(), Instant::now())),
                }
                return Ok(());
            }
            self.next_in_bundle = None;
            self.bundle_lacks = true;
            let webhooks: Vec<_> = webhooks
                .iter()
                .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": ByteString(bundle.clone().into_bytes())}}))
                .collect();
            // Merged by name, so that nothing but the bundle is touched, whatever becomes of the rest in between.
            let patch = Patch::Strategic(json!({"webhooks": webhooks}));
            registrations
                .patch(name, &PatchParams::default(), &patch)
                .await
                .map_err(ManageError::api("cannot patch the MutatingWebhookConfiguration"))?;
            tracing::info!(registration = name, "the caBundle was written");
        }
        Err(ManageError::Contended)
    }
}

impl Ca {
    fn generate(lifetime: Duration) -> Result<Self, rcgen::Error> {
        let (certificate, key) = Authority::generate("spark-webhook CA", SystemTime::now(), lifetime)?;
        Ok(Self { certificate, key })
    }

    fn ends(&self) -> Option<SystemTime> {
        self.authority().ok().map(|authority| authority.validity().not_after)
    }

    fn authority(&self) -> Result<Authority, CaError> {
        Authority::from_pem(self.certificate.as_bytes(), self.key.as_bytes(), "ca.key")
    }
}

impl Authorities {
    /// `None` where there is no CA that could sign.
    fn read(data: Option<&BTreeMap<String, ByteString>>) -> Option<Self> {
        let text =
            |key: &str| data?.get(key).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok()).filter(|text| !text.is_empty());
        let ca = |certificate: &str, key: &str| Some(Ca { certificate: text(certificate)?, key: text(key)? });
        let is_ca = |ca: &Ca| ca.ends().is_some();
        Some(Self {
            current: ca("ca.crt", "ca.key").filter(is_ca)?,
            next: ca("next.crt", "next.key").filter(is_ca),
            previous: text("previous.crt"),
        })
    }

    fn write(&self) -> BTreeMap<String, ByteString> {
        let next = self.next.as_ref();
        let entries = [
            ("ca.crt", Some(&self.current.certificate)),
            ("ca.key", Some(&self.current.key)),
            ("next.crt", next.map(|next| &next.certificate)),
            ("next.key", next.map(|next| &next.key)),
            ("previous.crt", self.previous.as_ref()),
        ];
        let present =
            entries.into_iter().filter_map(|(key, text)| Some((key.to_owned(), ByteString(text?.clone().into_bytes()))));
        present.collect()
    }

    fn certificates(&self) -> impl Iterator<Item = &str> {
        let next = self.next.as_ref().map(|next| &*next.certificate);
        [Some(&*self.current.certificate), next, self.previous.as_deref()].into_iter().flatten()
    }

    fn bundle(&self) -> String {
        self.certificates().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(lifetime: Duration) -> Manager {
        let [namespace, secret, registration] = ["n", "s", "r"].map(str::to_owned);
        Manager::new(ManagedCa { namespace, secret, registration, lifetime })
    }

    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    #[test]
    fn what_is_written_is_read_again_and_garbage_is_nothing() {
        let ca = || Ca::generate(YEAR).unwrap();
        for authorities in [
            Authorities { current: ca(), next: None, previous: None },
            Authorities { current: ca(), next: Some(ca()), previous: Some(ca().certificate) },
        ] {
            assert_eq!(Authorities::read(Some(&authorities.write())), Some(authorities));
        }
        assert_eq!(Authorities::read(None), None);
        let garbage = |key: &str, value: &str| (key.to_owned(), ByteString(value.as_bytes().to_vec()));
        assert_eq!(Authorities::read(Some(&BTreeMap::from([garbage("ca.crt", "x"), garbage("ca.key", "y")]))), None);
    }

    #[test]
    fn an_empty_secret_gets_a_ca_and_one_that_was_lost_is_put_back() {
        let mut manager = manager(YEAR);
        let first = manager.wanted(None).unwrap();
        assert_eq!(manager.wanted(Some(first.clone())).unwrap(), first, "it is not changed without a reason");
        manager.known = Some(first.clone());
        assert_eq!(manager.wanted(None).unwrap(), first);
        // What another replica has written counts more than what is remembered.
        let other = Authorities { current: Ca::generate(YEAR).unwrap(), next: None, previous: None };
        assert_eq!(manager.wanted(Some(other.clone())).unwrap(), other);
    }

    #[test]
    fn the_next_ca_is_staged_at_two_thirds_and_signs_only_when_the_bundle_has_had_it_for_a_minute() {
        let mut manager = manager(YEAR);
        let old = Authorities { current: Ca::generate(YEAR / 4).unwrap(), next: None, previous: None };
        let staged = manager.wanted(Some(old.clone())).unwrap();
        let next = staged.next.clone().unwrap();
        assert_eq!((&staged.current, &staged.previous), (&old.current, &None));
        assert!(staged.bundle().contains(&next.certificate) && staged.bundle().contains(&old.current.certificate));
        assert_eq!(manager.wanted(Some(staged.clone())).unwrap(), staged, "the bundle has not been seen with it");
        let just_now = Instant::now();
        manager.next_in_bundle = Some((next.certificate.clone(), just_now));
        assert_eq!(manager.wanted(Some(staged.clone())).unwrap(), staged, "not for long enough");
        manager.next_in_bundle = just_now.checked_sub(BUNDLE_SPREADS_WITHIN).map(|since| (next.certificate.clone(), since));
        let promoted = manager.wanted(Some(staged)).unwrap();
        assert_eq!(promoted, Authorities { current: next, next: None, previous: Some(old.current.certificate) });
    }
}
