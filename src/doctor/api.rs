//! Reading from the API server.
//!
//! Users of doctor are often not administrators. So a missing permission is a value of its own: it
//! names the verb and the resource, and becomes an `unknown` finding.

mod cause;
mod connection;
mod error;
mod kubeconfig;
mod proxy;
mod route;
mod user;

use std::fmt::Debug;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use super::finding::Finding;

pub(crate) use connection::Connection;
pub(crate) use error::ConnectError;

use cause::Cause;

/// Objects in one answer to a list, as with kubectl.
const PAGE: u32 = 500;

/// Reads from an API server.
pub(super) struct Reader {
    client: Client,
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// The verb and the resource, as kubectl takes them: `get configmaps --namespace spark`.
    action: String,
    /// Empty if the user has no permission.
    reason: String,
}

impl Unreadable {
    pub(super) fn new(
        verb: &str,
        resource: &str,
        namespace: Option<&str>,
        error: &kube::Error,
    ) -> Self {
        let namespace =
            namespace.map_or_else(String::new, |namespace| format!(" --namespace {namespace}"));
        let reason = match error {
            kube::Error::Api(status) if status.code == 403 => String::new(),
            kube::Error::Api(status) => status.message.clone(),
            error => cause(error),
        };
        Self { action: format!("{verb} {resource}{namespace}"), reason }
    }

    /// An `unknown` finding.
    pub(super) fn finding(&self) -> Finding {
        let Self { action, reason } = self;
        if reason.is_empty() {
            let advice = format!("allow it, or ask who may: kubectl auth can-i {action}");
            return Finding::unknown(format!("you may not {action}"), advice);
        }
        Finding::unknown(
            format!("cannot {action}: {reason}"),
            "run it again; if it stays, look at the API server",
        )
    }
}

/// Why a request got no answer.
pub(super) fn cause(error: &kube::Error) -> String {
    Cause::of(error).to_string()
}

impl Reader {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// For the dry runs.
    pub(super) fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A cluster-wide object; `None` if it does not exist.
    pub(super) async fn get<K>(&self, name: &str) -> Result<Option<K>, Unreadable>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        Api::<K>::all(self.client.clone())
            .get_opt(name)
            .await
            .map_err(|error| Unreadable::new("get", &resource::<K>(), None, &error))
    }

    /// An object of a namespace.
    pub(super) async fn get_in<K>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<K>, Unreadable>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        api.get_opt(name)
            .await
            .map_err(|error| Unreadable::new("get", &resource::<K>(), Some(namespace), &error))
    }

    /// Whether an object exists in a namespace. The API server sends only its metadata, so a
    /// Secret's data never leaves it.
    pub(super) async fn exists_in<K>(&self, namespace: &str, name: &str) -> Result<bool, Unreadable>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let found = api.get_metadata_opt(name).await;
        Ok(found
            .map_err(|error| Unreadable::new("get", &resource::<K>(), Some(namespace), &error))?
            .is_some())
    }

    /// All cluster-wide objects of a kind.
    pub(super) async fn list<K>(&self) -> Result<Vec<K>, Unreadable>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let listed = list_pages(&Api::<K>::all(self.client.clone()), "").await;
        listed.map_err(|error| Unreadable::new("list", &resource::<K>(), None, &error))
    }

    /// All objects of a namespace that a selector selects.
    pub(super) async fn list_in<K>(
        &self,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<K>, Unreadable>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let listed =
            list_pages(&Api::<K>::namespaced(self.client.clone(), namespace), labels).await;
        listed.map_err(|error| Unreadable::new("list", &resource::<K>(), Some(namespace), &error))
    }
}

async fn list_pages<K>(api: &Api<K>, labels: &str) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut params = ListParams::default().labels(labels).limit(PAGE);
    let mut objects = Vec::new();
    loop {
        let page = api.list(&params).await?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(objects),
        }
    }
}

/// The resource as kubectl takes it: `endpointslices.discovery.k8s.io`.
fn resource<K: Resource<DynamicType = ()>>() -> String {
    let (plural, group) = (K::plural(&()), K::group(&()));
    if group.is_empty() { plural.into_owned() } else { format!("{plural}.{group}") }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_may_not_be_read_names_verb_and_resource() {
        use k8s_openapi::api::discovery::v1::EndpointSlice;
        let error =
            |code| kube::Error::Api(Box::new(Status::failure("no", "Reason").with_code(code)));
        let unreadable = |code| {
            Unreadable::new("list", &resource::<EndpointSlice>(), Some("spark"), &error(code))
                .finding()
        };
        let expected = "list endpointslices.discovery.k8s.io --namespace spark";
        assert_eq!(unreadable(403).message, format!("you may not {expected}"));
        assert_eq!(unreadable(500).message, format!("cannot {expected}: no"));
        assert_eq!(resource::<Pod>(), "pods");
    }
}
