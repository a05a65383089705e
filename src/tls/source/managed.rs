//! A CA that all replicas share by a Secret, without an operator and without a leader.
//!
//! Each replica signs its own leaf in memory. What must not happen is that an API server meets a
//! leaf whose CA it does not know yet, for each of them learns of a `caBundle` by a watch. So a new
//! CA goes through three states, all of them in the Secret, which every replica changes only from
//! the version that it has read: *next* (in the bundle, signing nothing), *current* (signing),
//! *previous* (still in the bundle, for leaves that are not renewed yet).
//!
//! A CA that is not valid at the moment, because it expired or is not valid yet, is worth nothing:
//! API servers reject its leaves. Replicas treat it as if it were not in the Secret. They put back
//! the last valid CA that they remember. Where no replica has one, as after an API server that was
//! away past the end of every CA, the first replica to write makes a new one and all others take
//! it. Replicas agree on "the moment" because all of them go by the API server's [`Clock`]: it is
//! the API server that judges the certificates. So a replica on a node with a wrong clock neither
//! shares a CA that is not valid yet, nor replaces one that it alone believes to have expired, and
//! it signs leaves that the API server accepts. It reports its clock as a problem.
//!
//! Whatever others do to the two objects, a replica writes them a few times and then [now and
//! then](Writes).
//!
//! The process may get and update that one Secret, and get and patch that one
//! MutatingWebhookConfiguration, of which only `caBundle` is ever touched.

mod authorities;
mod writes;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use serde_json::json;
use tower::util::MapResponseLayer;

use super::{Look, Replacement};
use crate::tls::authority::Authority;
use crate::tls::clock::Clock;
use crate::tls::leaf::{LeafIssuer, LeafTemplate};
use authorities::{Authorities, Ca, Stored};
use writes::Writes;

/// An API server learns of a new `caBundle` by a watch: within this time, or it has lost its
/// connection to etcd.
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

/// The shared CA, and the leaves of this replica.
pub(in crate::tls) struct Managed {
    manager: Manager,
    template: LeafTemplate,
    /// `None` until the CA was read for the first time.
    leaves: Option<LeafIssuer>,
}

impl Managed {
    pub(super) fn new(settings: ManagedCa, template: LeafTemplate, clock: Arc<Clock>) -> Self {
        Self { manager: Manager::new(settings, clock), template, leaves: None }
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.template.lifetime
    }

    /// Looks after the shared CA. An API server that is away changes nothing about the leaves of
    /// the CA that was read last.
    pub(super) async fn look(&mut self, clock: &Clock) -> Look {
        let current = self.manager.manage().await.map_err(|error| error.to_string());
        // By the clock that the API server's answers may just have corrected.
        let now = clock.now();
        let (replacement, problem) = match &mut self.leaves {
            Some(leaves) => leaves.follow(current.map(Some), now),
            None => match current.and_then(|authority| self.start(authority, now)) {
                Ok(first) => (Some(first), None),
                Err(problem) => (None, Some(problem)),
            },
        };
        let is_rejected = self.leaves.is_none() || self.manager.is_rejected();
        Look { replacement, problem, is_changed: false, is_rejected }
    }

    /// Signs the first leaf.
    fn start(&mut self, authority: Arc<Authority>, now: SystemTime) -> Result<Replacement, String> {
        let (leaves, certificate) = LeafIssuer::start(self.template.clone(), authority, now)
            .map_err(|error| error.to_string())?;
        self.leaves = Some(leaves);
        Ok(Replacement { certificate, reason: "there is another CA" })
    }
}

/// Keeps Secret and `caBundle` up to date, as one replica sees them.
struct Manager {
    settings: ManagedCa,
    clock: Arc<Clock>,
    client: Option<Client>,
    /// As last read or written: put back where the Secret loses it.
    known: Option<Authorities>,
    /// Since when the bundle has the next CA without a break, as this replica saw it.
    next_in_bundle: Option<(Ca, Instant)>,
    /// The bundle was seen without what it must hold, and could not be put right.
    bundle_lacks: bool,
    secret_writes: Writes,
    registration_writes: Writes,
}

/// Why the CA could not be brought up to date.
#[derive(Debug, thiserror::Error)]
enum ManageError {
    #[error(
        "no API server is configured: {0}; run in a pod with a service account, or set KUBECONFIG"
    )]
    NoCluster(String),
    #[error(
        "Secret {0}/{1} does not exist; make it: kubectl create secret generic {1} --namespace {0}"
    )]
    NoSecret(String, String),
    #[error(
        "MutatingWebhookConfiguration {0} does not exist; make it, and this process fills in its caBundle"
    )]
    NoRegistration(String),
    #[error("{what}: {}", causes(source))]
    Api { what: &'static str, source: Box<kube::Error> },
    #[error(
        "something else changes {0} all the time; find it and stop it: kubectl get {0} --output yaml --show-managed-fields. \
         This process tries again twice a minute"
    )]
    Contended(String),
    #[error("cannot make a CA: {0}")]
    Generate(#[from] rcgen::Error),
}

/// An error with its causes: kube's alone says that it could not connect, and not why.
fn causes(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

impl ManageError {
    fn api(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { what, source: Box::new(source) }
    }
}

impl Manager {
    fn new(settings: ManagedCa, clock: Arc<Clock>) -> Self {
        let now = Instant::now();
        Self {
            settings,
            clock,
            client: None,
            known: None,
            next_in_bundle: None,
            bundle_lacks: false,
            secret_writes: Writes::new(now),
            registration_writes: Writes::new(now),
        }
    }

    /// Brings Secret and `caBundle` up to date, and gives the CA whose leaves an API server takes.
    async fn manage(&mut self) -> Result<Arc<Authority>, ManageError> {
        let client = self.client().await?;
        match self.settle(&client).await {
            Ok(authorities) => {
                self.spread(&client, &authorities).await?;
                Ok(authorities.current.authority)
            }
            // Without its Secret the CA lives on in this process, and the bundle can still be
            // looked after.
            Err(error) => {
                if let Some(known) = self.known.clone() {
                    // What is wrong with the Secret is said; whether the bundle is right is
                    // remembered.
                    let _ = self.spread(&client, &known).await;
                }
                Err(error)
            }
        }
    }

    /// Whether API servers reject what this process serves, as far as it knows.
    fn is_rejected(&self) -> bool {
        self.bundle_lacks
    }

    async fn client(&mut self) -> Result<Client, ManageError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let mut config =
            Config::infer().await.map_err(|error| ManageError::NoCluster(error.to_string()))?;
        config.connect_timeout = Some(API_TIMEOUT);
        config.read_timeout = Some(API_TIMEOUT);
        let clock = self.clock.clone();
        let client =
            ClientBuilder::try_from(config).map_err(ManageError::api("the API server's client"))?;
        let client = client
            .with_layer(&MapResponseLayer::new(move |response| learn_time(&clock, response)))
            .build();
        self.client = Some(client.clone());
        Ok(client)
    }

    /// Makes the Secret what it should be.
    async fn settle(&mut self, client: &Client) -> Result<Authorities, ManageError> {
        let ManagedCa { namespace, secret: name, .. } = &self.settings;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        for _ in 0..ATTEMPTS {
            let secret =
                secrets.get_opt(name).await.map_err(ManageError::api("cannot read the Secret"))?;
            let Some(mut secret) = secret else {
                return Err(ManageError::NoSecret(namespace.clone(), name.clone()));
            };
            let now = self.clock.now();
            let stored = Stored::read(secret.data.as_ref(), now);
            let has_spread = |next: &Ca| has_spread(self.next_in_bundle.as_ref(), next);
            let wanted = Authorities::wanted(
                &stored,
                self.known.as_ref(),
                has_spread,
                now,
                self.settings.lifetime,
            )?;
            if stored.is(&wanted) {
                self.known = Some(wanted.clone());
                return Ok(wanted);
            }
            if !self.secret_writes.is_allowed(Instant::now()) {
                break;
            }
            wanted.write(secret.data.get_or_insert_default());
            // With the version that was read: who comes second reads again.
            match secrets.replace(name, &PostParams::default(), &secret).await {
                Ok(_) => {
                    self.secret_writes.count();
                    tracing::info!(
                        secret = name,
                        reason = stored.unusable.join("; "),
                        "the CA in the Secret was written"
                    );
                    self.known = Some(wanted.clone());
                    return Ok(wanted);
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(ManageError::api("cannot update the Secret")(error)),
            }
        }
        Err(ManageError::Contended(format!("secret {name} --namespace {namespace}")))
    }

    /// Makes the bundle hold what it must, and looks at it afterwards.
    async fn spread(
        &mut self,
        client: &Client,
        authorities: &Authorities,
    ) -> Result<(), ManageError> {
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let name = &self.settings.registration;
        let bundle = ByteString(authorities.bundle().into_bytes());
        // A second look, after the patch, tells whether it is there.
        for _ in 0..2 {
            let registration = registrations
                .get_opt(name)
                .await
                .map_err(ManageError::api("cannot read the MutatingWebhookConfiguration"))?;
            let Some(registration) = registration else {
                return Err(ManageError::NoRegistration(name.clone()));
            };
            let webhooks = registration.webhooks.unwrap_or_default();
            let lacks = |webhook: &MutatingWebhook| {
                let live = webhook.client_config.ca_bundle.as_ref();
                live.is_none_or(|live| !authorities.are_in(&live.0))
            };
            if !webhooks.iter().any(lacks) {
                self.bundle_lacks = false;
                match &authorities.next {
                    None => self.next_in_bundle = None,
                    Some(next)
                        if self.next_in_bundle.as_ref().is_some_and(|(seen, _)| seen == next) => {}
                    Some(next) => self.next_in_bundle = Some((next.clone(), Instant::now())),
                }
                return Ok(());
            }
            self.next_in_bundle = None;
            self.bundle_lacks = true;
            if !self.registration_writes.is_allowed(Instant::now()) {
                break;
            }
            let webhooks: Vec<_> = webhooks
                .iter()
                .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}}))
                .collect();
            // Merged by name, so that nothing but the bundle is touched; and only where nobody has
            // changed it in between.
            let version = registration.metadata.resource_version;
            let patch = Patch::Strategic(
                json!({"metadata": {"resourceVersion": version}, "webhooks": webhooks}),
            );
            match registrations.patch(name, &PatchParams::default(), &patch).await {
                Ok(_) => {
                    self.registration_writes.count();
                    tracing::info!(registration = name, "the caBundle was written");
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => {
                    return Err(ManageError::api("cannot patch the MutatingWebhookConfiguration")(
                        error,
                    ));
                }
            }
        }
        Err(ManageError::Contended(format!("mutatingwebhookconfiguration {name}")))
    }
}

fn has_spread(next_in_bundle: Option<&(Ca, Instant)>, next: &Ca) -> bool {
    next_in_bundle
        .is_some_and(|(seen, since)| seen == next && since.elapsed() >= BUNDLE_SPREADS_WITHIN)
}

/// Each response says what time it is for the API server.
fn learn_time<B>(clock: &Clock, response: axum::http::Response<B>) -> axum::http::Response<B> {
    let date = response.headers().get(axum::http::header::DATE).and_then(|date| date.to_str().ok());
    if let Some(said) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
        clock.learn(said, SystemTime::now());
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::http::{Method, Request, Response, StatusCode};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use serde_json::Value;
    use tower::service_fn;

    use super::super::tests::{authority, leaves};
    use super::*;

    /// A registration without a bundle, as an API server has it that answers each patch with this
    /// status.
    fn api_server(answer: StatusCode, patches: Arc<Mutex<Vec<Value>>>) -> Client {
        let service = service_fn(move |request: Request<Body>| {
            let patches = patches.clone();
            async move {
                let read = json!({
                    "metadata": {"name": "r", "resourceVersion": "7"},
                    "webhooks": [{"name": "w", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {}}],
                });
                let (status, body) = if request.method() == Method::PATCH {
                    let patch = request.into_body().collect().await.unwrap().to_bytes();
                    patches.lock().unwrap().push(serde_json::from_slice(&patch).unwrap());
                    let conflict = json!({"kind": "Status", "status": "Failure", "code": answer.as_u16(), "reason": "Conflict"});
                    (answer, if answer.is_success() { read } else { conflict })
                } else {
                    (StatusCode::OK, read)
                };
                Ok::<_, std::convert::Infallible>(
                    Response::builder()
                        .status(status)
                        .body(Body::from(body.to_string().into_bytes()))
                        .unwrap(),
                )
            }
        });
        Client::new(service, "n")
    }

    fn unavailable() -> Client {
        let service = service_fn(|_: Request<Body>| async {
            let response = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE);
            Ok::<_, std::convert::Infallible>(response.body(Body::empty()).unwrap())
        });
        Client::new(service, "n")
    }

    /// An API server that is away changes nothing about the leaves of the CA that was read last.
    #[tokio::test]
    async fn without_an_api_server_the_leaf_is_renewed_and_the_problem_is_said() {
        let (now, clock) = (SystemTime::now(), Clock::default());
        let hour = Duration::from_secs(3600);
        let [template, due] =
            [24, 1].map(|hours| LeafTemplate::new(&leaves(hours * hour)).unwrap());
        let authority = authority(now - hour, 24 * hour);
        let first = |template: &LeafTemplate| {
            LeafIssuer::start(template.clone(), authority.clone(), now - hour).unwrap().0
        };
        for (leaves, is_renewed, is_rejected) in [
            (None, false, true),
            (Some(first(&template)), false, false),
            (Some(first(&due)), true, false),
        ] {
            let mut manager = manager();
            manager.client = Some(unavailable());
            let mut source = Managed { manager, template: template.clone(), leaves };
            let look = source.look(&clock).await;
            assert_eq!(look.replacement.is_some(), is_renewed);
            assert_eq!((look.is_changed, look.is_rejected), (false, is_rejected));
            let problem = look.problem.unwrap();
            assert!(problem.starts_with("cannot read the Secret: "), "{problem}");
        }
    }

    fn manager() -> Manager {
        let [namespace, secret, registration] = ["n", "s", "r"].map(str::to_owned);
        let settings =
            ManagedCa { namespace, secret, registration, lifetime: Duration::from_secs(3600) };
        Manager::new(settings, Arc::default())
    }

    fn authorities() -> Authorities {
        Authorities::wanted(
            &Stored::default(),
            None,
            |_| false,
            SystemTime::now(),
            Duration::from_secs(3600),
        )
        .unwrap()
    }

    /// Another replica may have put the next CA into the bundle in between, and it must not get
    /// lost.
    #[tokio::test]
    async fn the_bundle_is_written_only_over_what_was_read_and_only_so_often() {
        // A conflict is tried a second time at once, and is no write.
        for (answer, expected_patches) in [(StatusCode::OK, 3), (StatusCode::CONFLICT, 20)] {
            let patches = Arc::new(Mutex::new(Vec::new()));
            let (client, authorities, mut manager) =
                (api_server(answer, patches.clone()), authorities(), manager());
            for _ in 0..10 {
                let error = manager.spread(&client, &authorities).await.unwrap_err().to_string();
                assert!(
                    error.starts_with(
                        "something else changes mutatingwebhookconfiguration r all the time"
                    ),
                    "{error}"
                );
                assert!(manager.is_rejected());
            }
            let bundle = ByteString(authorities.bundle().into_bytes());
            let webhooks = json!([{"name": "w", "clientConfig": {"caBundle": bundle}}]);
            let expected = json!({"metadata": {"resourceVersion": "7"}, "webhooks": webhooks});
            assert_eq!(*patches.lock().unwrap(), vec![expected; expected_patches], "{answer}");
        }
    }
}
