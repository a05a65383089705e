//! Which cluster doctor connects to, and as which user.
//!
//! As with kubectl, KUBECONFIG is a list of files, and doctor skips those that do not exist.
//! Without any file, it uses the service account of the pod that it runs in. kube 5.0 fails on a
//! missing file, and takes the service account also where a kubeconfig is broken. It also asks the
//! environment for a proxy ([`super::proxy`] says why that does not do), so its `Config` is filled
//! in here.

use std::path::{Path, PathBuf};
use std::{env, fs};

use hyper::Uri;
use hyper::header::HeaderValue;
use kube::Config;
use kube::config::{
    AuthInfo, Cluster, ExecAuthCluster, InClusterError, Kubeconfig, KubeconfigError,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};

use super::cause::{load_problem, reason};
use super::error::{ConnectError, Obstacle};
use super::proxy;
use super::route::{AUTHORITY, Route};
use super::user::User;
use crate::doctor::finding::some_of;

const ANOTHER: &str = "correct it, or name another one by --kubeconfig";

/// The files to read.
#[derive(Debug)]
enum Files {
    /// `--kubeconfig`.
    Named(PathBuf),
    /// KUBECONFIG.
    Listed(Vec<PathBuf>),
    /// kubectl's own, below the home directory.
    Default(Option<PathBuf>),
}

impl Files {
    fn find(named: Option<&Path>) -> Self {
        if let Some(file) = named {
            return Self::Named(file.to_owned());
        }
        let list = env::var_os("KUBECONFIG").unwrap_or_default();
        let listed: Vec<PathBuf> =
            env::split_paths(&list).filter(|file| !file.as_os_str().is_empty()).collect();
        if listed.is_empty() {
            Self::Default(env::home_dir().map(|home| home.join(".kube/config")))
        } else {
            Self::Listed(listed)
        }
    }

    fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Named(file) | Self::Default(Some(file)) => std::slice::from_ref(file),
            Self::Listed(files) => files,
            Self::Default(None) => &[],
        }
    }

    /// Why there is no cluster: none of the files exists.
    fn missing(&self) -> ConnectError {
        let [message, advice] = match self {
            Self::Named(file) => [
                format!("the kubeconfig {} does not exist", file.display()),
                "correct --kubeconfig".to_owned(),
            ],
            Self::Listed(files) => {
                let names: Vec<String> =
                    files.iter().map(|file| file.display().to_string()).collect();
                let advice = "correct KUBECONFIG, or use --kubeconfig FILE".to_owned();
                [format!("no file in KUBECONFIG exists: {}", names.join(", ")), advice]
            }
            Self::Default(file) => {
                let file = file
                    .as_ref()
                    .map_or_else(|| "~/.kube/config".to_owned(), |file| file.display().to_string());
                let message = format!(
                    "no cluster is configured: {file} does not exist, and doctor does not run in a pod"
                );
                [message, "use --kubeconfig FILE, or set KUBECONFIG".to_owned()]
            }
        };
        ConnectError::new(Obstacle::Kubeconfig, message, advice)
    }
}

/// The configuration for a cluster, and the way there.
pub(super) fn load(
    named: Option<&Path>,
    context: Option<&str>,
) -> Result<(Config, Route), ConnectError> {
    let files = Files::find(named);
    let may_be_pod = context.is_none() && !matches!(files, Files::Named(_));
    let (mut config, user, proxy_url) = match merge(files.paths())? {
        Some(kubeconfig)
            if !(kubeconfig.contexts.is_empty() && kubeconfig.current_context.is_none()) =>
        {
            select(kubeconfig, context)?
        }
        // An empty file, such as /dev/null, is none.
        found => match (if may_be_pod { service_account()? } else { None }, found) {
            (Some((config, user)), _) => (config, user, None),
            (None, Some(_)) => return Err(no_context("has no contexts", &[])),
            (None, None) => return Err(files.missing()),
        },
    };
    let proxy =
        proxy::choose(&config.cluster_url, proxy_url.as_deref(), |name| env::var(name).ok())?;
    config.proxy_url = proxy.as_ref().map(|proxy| proxy.url.clone());
    let route = Route {
        server: proxy::without_credentials(&config.cluster_url),
        host: config.cluster_url.host().unwrap_or_default().to_owned(),
        proxy,
        has_authority: config.root_cert.is_some(),
        user,
    };
    Ok((config, route))
}

/// Reads files as one, the first to set a thing winning; `None` where none exists.
fn merge(files: &[PathBuf]) -> Result<Option<Kubeconfig>, ConnectError> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        let read = match Kubeconfig::read_from(file) {
            Err(KubeconfigError::ReadConfig(error, _))
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                continue;
            }
            read => read,
        };
        let next = match (merged, read) {
            (Some(earlier), Ok(kubeconfig)) => earlier.merge(kubeconfig),
            (None, read) | (Some(_), read @ Err(_)) => read,
        };
        merged = Some(next.map_err(|error| unusable(file, &error))?);
    }
    Ok(merged)
}

/// Why a file cannot be used.
fn unusable(file: &Path, error: &KubeconfigError) -> ConnectError {
    let file = file.display();
    let message = match error {
        KubeconfigError::ReadConfig(error, _) => {
            format!("the kubeconfig {file} cannot be read: {}", reason(error))
        }
        KubeconfigError::Parse(error) => {
            let line = error
                .location()
                .map_or_else(String::new, |location| format!(", line {}", location.line()));
            let problem = error.without_snippet().to_string();
            let problem: Vec<&str> = problem.split_whitespace().collect();
            format!("{file}{line} is not valid in a kubeconfig: {}", problem.join(" "))
        }
        KubeconfigError::KindMismatch | KubeconfigError::ApiVersionMismatch => {
            format!("{file} has another kind or apiVersion than the file before it in KUBECONFIG")
        }
        error => format!("the kubeconfig {file} cannot be used: {error}"),
    };
    ConnectError::new(Obstacle::Kubeconfig, message, ANOTHER)
}

/// The cluster and the user of a context, by default the current one.
fn select(
    kubeconfig: Kubeconfig,
    context: Option<&str>,
) -> Result<(Config, User, Option<String>), ConnectError> {
    let Kubeconfig { clusters, auth_infos, contexts, current_context, .. } = kubeconfig;
    let known: Vec<String> = contexts.iter().map(|context| context.name.clone()).collect();
    let Some(name) = context.map(str::to_owned).or(current_context).filter(|name| !name.is_empty())
    else {
        return Err(no_context("has no current-context", &known));
    };
    let context = contexts
        .into_iter()
        .find(|context| context.name == name)
        .and_then(|context| context.context);
    let Some(context) = context else {
        return Err(no_context(&format!("has no context {name}"), &known));
    };
    let cluster = clusters
        .into_iter()
        .find(|cluster| cluster.name == context.cluster)
        .and_then(|cluster| cluster.cluster);
    let Some(cluster) = cluster else {
        let message = format!(
            "the kubeconfig has no cluster {}, which its context {name} names",
            context.cluster
        );
        return Err(ConnectError::new(
            Obstacle::Kubeconfig,
            message,
            "add the cluster, or choose another context by --context",
        ));
    };
    // As with kubectl, a context without a user is anonymous.
    let user_name = context.user.unwrap_or_default();
    let user = auth_infos
        .into_iter()
        .find(|user| user.name == user_name)
        .and_then(|user| user.auth_info)
        .unwrap_or_default();
    let (mut config, user) = configure(&cluster, user_name, user)?;
    if let Some(namespace) = context.namespace.filter(|namespace| !namespace.is_empty()) {
        config.default_namespace = namespace;
    }
    Ok((config, user, cluster.proxy_url))
}

/// What is wrong with the choice of a context, with the contexts to choose from.
fn no_context(problem: &str, known: &[String]) -> ConnectError {
    let advice = if known.is_empty() {
        ANOTHER.to_owned()
    } else {
        format!("choose one by --context: {}", some_of(known))
    };
    ConnectError::new(Obstacle::Kubeconfig, format!("the kubeconfig {problem}"), advice)
}

fn configure(
    cluster: &Cluster,
    user_name: String,
    user: AuthInfo,
) -> Result<(Config, User), ConnectError> {
    let error =
        |message: String, advice: &str| ConnectError::new(Obstacle::Kubeconfig, message, advice);
    let address = "write https://HOST:PORT as server of the cluster in the kubeconfig";
    let server = cluster.server.as_deref().unwrap_or_default();
    let is_url =
        |url: &Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    let Some(url) = server.parse::<Uri>().ok().filter(is_url) else {
        return Err(error(
            format!("the address of the API server is {server:?}, which is not a URL"),
            address,
        ));
    };
    let described = ExecAuthCluster::try_from(cluster).map_err(|problem| match problem {
        KubeconfigError::LoadCertificateAuthority(problem) => {
            unreadable_authority(&load_problem(&problem))
        }
        problem => error(format!("the kubeconfig cannot be used: {problem}"), ANOTHER),
    })?;
    let mut config = Config::new(url);
    if let Some(pem) = &described.certificate_authority_data {
        let certificates: Result<Vec<CertificateDer>, _> =
            CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
        let Some(certificates) = certificates else {
            return Err(unreadable_authority("it is not a certificate in PEM"));
        };
        config.root_cert =
            Some(certificates.iter().map(|certificate| certificate.to_vec()).collect());
    }
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or_default();
    config.tls_server_name = cluster.tls_server_name.clone().filter(|name| !name.is_empty());
    config.auth_info = AuthInfo { token: token(&user, &user_name)?, token_file: None, ..user };
    if let Some(exec) = &mut config.auth_info.exec
        && exec.provide_cluster_info
    {
        exec.cluster = Some(described);
    }
    let AuthInfo { exec, auth_provider, .. } = &config.auth_info;
    let command_of_provider =
        auth_provider.as_ref().and_then(|provider| provider.config.get("cmd-path"));
    let user = User {
        name: Some(user_name),
        command: exec
            .as_ref()
            .and_then(|exec| exec.command.as_ref())
            .or(command_of_provider)
            .cloned(),
        install_hint: exec
            .as_ref()
            .and_then(|exec| exec.install_hint.clone())
            .filter(|hint| !hint.trim().is_empty()),
    };
    Ok((config, user))
}

/// The token of a user, or that in a file. As in client-go, whitespace around it does not count;
/// kube keeps it, and panics on a token that cannot be sent (5.0).
fn token(user: &AuthInfo, user_name: &str) -> Result<Option<SecretString>, ConnectError> {
    let error = |message: String, advice: &str| {
        Err(ConnectError::new(Obstacle::Credentials, message, advice))
    };
    let inline = user
        .token
        .as_ref()
        .map(|token| token.expose_secret().to_owned())
        .filter(|token| !token.trim().is_empty());
    let text = match (inline, &user.token_file) {
        (Some(token), _) => token,
        (None, Some(file)) => match fs::read_to_string(file) {
            Ok(text) => text,
            Err(problem) => {
                let message = format!(
                    "the token of user {user_name} of the kubeconfig cannot be read from {file}: {}",
                    reason(&problem)
                );
                return error(message, "correct tokenFile in the kubeconfig, or log in again");
            }
        },
        (None, None) => return Ok(None),
    };
    let token = text.trim();
    if HeaderValue::from_str(token).is_err() {
        let message = format!(
            "the token of user {user_name} of the kubeconfig contains a line break or another control character"
        );
        return error(message, "write it without that character, or log in again");
    }
    Ok(Some(token.into()))
}

fn unreadable_authority(problem: &str) -> ConnectError {
    ConnectError::new(
        Obstacle::Kubeconfig,
        format!("the CA certificate in the kubeconfig cannot be read: {problem}"),
        AUTHORITY,
    )
}

/// The service account of the pod that this process runs in; `None` outside of a pod.
fn service_account() -> Result<Option<(Config, User)>, ConnectError> {
    let problem = match Config::incluster() {
        Ok(config) => {
            return Ok(Some((config, User { name: None, command: None, install_hint: None })));
        }
        Err(InClusterError::ReadEnvironmentVariable(_)) => return Ok(None),
        Err(
            InClusterError::ReadDefaultNamespace(error)
            | InClusterError::ReadCertificateBundle(error),
        ) => reason(&error),
        Err(problem) => problem.to_string(),
    };
    let message = format!("the service account of this pod cannot be used: {problem}");
    let advice = "set automountServiceAccountToken: true for the pod, or use --kubeconfig FILE";
    Err(ConnectError::new(Obstacle::Kubeconfig, message, advice))
}
