//! The proxy between this process and an API server.
//!
//! kubectl takes `proxy-url` of the kubeconfig's cluster. Without it, it reads `HTTPS_PROXY` and
//! `NO_PROXY` as Go's `httpproxy` does. kube 5.0 reads the same variables, but compares `NO_PROXY`
//! with the proxy's own host, fails on an empty entry, and leaves a pod's service account without a
//! proxy. So this module chooses the proxy, and kube connects through it.

use std::fmt::{self, Display};
use std::net::IpAddr;

use hyper::Uri;
use ipnet::IpNet;

use super::error::{ConnectError, Obstacle};

/// A proxy to connect through.
#[derive(Clone)]
pub(super) struct Proxy {
    /// May hold a user name and a password. `Display` leaves them out, and there is no `Debug`.
    pub(super) url: Uri,
    pub(super) origin: Origin,
}

/// Where the user named the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Kubeconfig,
    Variable(&'static str),
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubeconfig => f.write_str("proxy-url in the kubeconfig"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// `the proxy http://proxy.example:3128 (HTTPS_PROXY)`.
impl Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {} ({})", without_credentials(&self.url), self.origin)
    }
}

/// Scheme, host and port of a URL.
pub(super) fn without_credentials(url: &Uri) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}", url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default())
}

/// The proxy for an API server, by `proxy-url` or the environment's variables.
pub(super) fn choose(
    server: &Uri,
    proxy_url: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, ConnectError> {
    if let Some(url) = proxy_url.filter(|url| !url.is_empty()) {
        return parse(url, Origin::Kubeconfig).map(Some);
    }
    let first_set = |names: [&'static str; 2]| {
        let set = |name| Some((name, variable(name).filter(|value| !value.is_empty())?));
        names.into_iter().find_map(set)
    };
    let names = if is_plain_http(server) {
        ["HTTP_PROXY", "http_proxy"]
    } else {
        ["HTTPS_PROXY", "https_proxy"]
    };
    let Some((name, url)) = first_set(names) else { return Ok(None) };
    let no_proxy = first_set(["NO_PROXY", "no_proxy"]).map_or_else(String::new, |(_, value)| value);
    if is_exempt(server, &no_proxy) {
        return Ok(None);
    }
    parse(&url, Origin::Variable(name)).map(Some)
}

fn is_plain_http(server: &Uri) -> bool {
    server.scheme_str() == Some("http")
}

/// Reads a proxy's URL. Go takes `proxy.example:3128` for `http://proxy.example:3128`.
fn parse(text: &str, origin: Origin) -> Result<Proxy, ConnectError> {
    // The text may hold a password, so no message quotes it.
    let error = |problem: &str| {
        let advice = "write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT";
        ConnectError::new(Obstacle::Proxy, format!("{origin} {problem}"), advice)
    };
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => ("http", 80),
        "https" => ("https", 443),
        // kube knows the first name only; both leave it to the proxy to resolve host names.
        "socks5" | "socks5h" => ("socks5", 1080),
        _ => return Err(error("has a scheme that doctor does not support")),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if scheme == "socks5" && authority.contains('@') {
        return Err(error("has a user name, but doctor cannot log in to a SOCKS5 proxy"));
    }
    let read = |text: String| {
        text.parse::<Uri>().ok().filter(|url| url.host().is_some_and(|host| !host.is_empty()))
    };
    let url = match read(format!("{scheme}://{authority}/")) {
        // kube takes port 80 for a SOCKS5 proxy without a port.
        Some(url) if url.port().is_none() => {
            read(format!("{scheme}://{authority}:{default_port}/"))
        }
        url => url,
    };
    url.map(|url| Proxy { url, origin }).ok_or_else(|| error("is not the URL of a proxy"))
}

/// Whether `NO_PROXY`, or the host alone, keeps an API server from being reached through a proxy of
/// the environment.
fn is_exempt(server: &Uri, no_proxy: &str) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let port = server.port_u16().unwrap_or(if is_plain_http(server) { 80 } else { 443 });
    host == "localhost"
        || address.is_some_and(|address| address.is_loopback())
        || no_proxy
            .split(',')
            .any(|entry| exempts(&entry.trim().to_ascii_lowercase(), &host, address, port))
}

/// Whether one entry of `NO_PROXY` names a host: `*`, a network, an address or a domain; the latter
/// two with a port or without.
fn exempts(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Ok(network) = entry.parse::<IpNet>() {
        return address.is_some_and(|address| network.contains(&address));
    }
    let (name, entry_port) = match entry.rsplit_once(':') {
        // `2001:db8::1` is an address without a port.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port),
        _ => (entry, ""),
    };
    if !entry_port.is_empty() && entry_port != port.to_string() {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    if let Ok(named) = name.parse::<IpAddr>() {
        return address == Some(named.to_canonical());
    }
    // `.example` and `*.example` leave out the domain itself, `example` includes it.
    let domain = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    let rest = host.strip_suffix(domain);
    rest.is_some_and(|rest| domain.starts_with('.') || rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy that is chosen, or what is wrong.
    fn chosen(server: &str, proxy_url: Option<&str>, variables: &[(&str, &str)]) -> String {
        let variable = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        match choose(&server.parse().unwrap(), proxy_url, variable) {
            Ok(Some(proxy)) => proxy.to_string(),
            Ok(None) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_kubeconfig_comes_before_the_environment_and_upper_case_before_lower_case() {
        let server = "https://api.example:6443";
        for (server, proxy_url, variables, expected) in [
            (server, None, &[][..], "none"),
            (
                server,
                None,
                &[("HTTPS_PROXY", "http://a:1"), ("https_proxy", "http://b:1")],
                "the proxy http://a:1 (HTTPS_PROXY)",
            ),
            (
                server,
                None,
                &[("HTTPS_PROXY", ""), ("https_proxy", "http://b:1")],
                "the proxy http://b:1 (https_proxy)",
            ),
            (server, None, &[("HTTP_PROXY", "http://a:1"), ("ALL_PROXY", "http://b:1")], "none"),
            (
                "http://api.example",
                None,
                &[("HTTP_PROXY", "http://a:1")],
                "the proxy http://a:1 (HTTP_PROXY)",
            ),
            (
                "http://api.example",
                None,
                &[("http_proxy", "http://a:1")],
                "the proxy http://a:1 (http_proxy)",
            ),
            ("http://api.example", None, &[("HTTPS_PROXY", "http://a:1")], "none"),
            (
                server,
                None,
                &[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", ""), ("no_proxy", "api.example")],
                "none",
            ),
            (
                server,
                None,
                &[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "b"), ("no_proxy", "api.example")],
                "the proxy http://a:1 (HTTPS_PROXY)",
            ),
            (
                server,
                Some(""),
                &[("HTTPS_PROXY", "http://a:1")],
                "the proxy http://a:1 (HTTPS_PROXY)",
            ),
            // As kubectl: what the kubeconfig says is not subject to NO_PROXY.
            (
                "https://127.0.0.1:6443",
                Some("http://k:1"),
                &[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "*")],
                "the proxy http://k:1 (proxy-url in the kubeconfig)",
            ),
        ] {
            assert_eq!(
                chosen(server, proxy_url, variables),
                expected,
                "{server} {proxy_url:?} {variables:?}"
            );
        }
    }

    #[test]
    fn a_proxy_is_read_as_go_reads_it_and_shown_without_its_password() {
        let forms = "write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT";
        for (url, expected) in [
            ("http://proxy.example", "the proxy http://proxy.example:80 (HTTPS_PROXY)".to_owned()),
            (
                "https://proxy.example/",
                "the proxy https://proxy.example:443 (HTTPS_PROXY)".to_owned(),
            ),
            ("proxy.example:3128", "the proxy http://proxy.example:3128 (HTTPS_PROXY)".to_owned()),
            (
                "HTTP://u:secret@proxy.example:3128/x?y",
                "the proxy http://proxy.example:3128 (HTTPS_PROXY)".to_owned(),
            ),
            (
                "socks5://proxy.example",
                "the proxy socks5://proxy.example:1080 (HTTPS_PROXY)".to_owned(),
            ),
            (
                "socks5h://[2001:db8::1]:9",
                "the proxy socks5://[2001:db8::1]:9 (HTTPS_PROXY)".to_owned(),
            ),
            (
                "socks4://proxy.example:1",
                format!("HTTPS_PROXY has a scheme that doctor does not support; {forms}"),
            ),
            ("http://", format!("HTTPS_PROXY is not the URL of a proxy; {forms}")),
            ("http://u:secret@", format!("HTTPS_PROXY is not the URL of a proxy; {forms}")),
            (
                "http://u:secret@proxy.example:port",
                format!("HTTPS_PROXY is not the URL of a proxy; {forms}"),
            ),
            (
                "socks5://u:secret@proxy.example:1",
                format!(
                    "HTTPS_PROXY has a user name, but doctor cannot log in to a SOCKS5 proxy; {forms}"
                ),
            ),
        ] {
            assert_eq!(
                chosen("https://api.example", None, &[("HTTPS_PROXY", url)]),
                expected,
                "{url}"
            );
        }
        // kube logs in by what the URL holds.
        let proxy = choose(
            &Uri::from_static("https://api.example"),
            Some("http://u:secret@proxy.example:3128"),
            |_| None,
        );
        assert_eq!(proxy.unwrap().unwrap().url, "http://u:secret@proxy.example:3128/");
    }

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        let no_proxy = "foobar.com, .barbaz.net,*.wildcard.io,,Upper.Example, 192.168.1.1,192.168.1.2:81, 192.168.1.3:6443,10.0.0.0/30,\
                        2001:db8::52:0:1,[2001:db8::52:0:2]:443,[2001:db8::52:0:3]:6443,[2001:db8::52:0:4],2002:db8:a::45/64,ported.io:443,\
                        ported.com:6443,:6443,.,.svc,::ffff:192.168.1.7,";
        for (host, expected) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.0.0.2", true),
            ("[::1]", true),
            ("[::2]", false),
            ("192.168.1.1", true),
            ("192.168.1.2", false),
            ("192.168.1.3", true),
            ("192.168.1.4", false),
            ("192.168.1.7", true),
            ("10.0.0.2", true),
            ("10.0.0.4", false),
            ("[2001:db8::52:0:1]", true),
            ("[2001:db8::52:0:2]", false),
            ("[2001:db8::52:0:3]", true),
            ("[2001:db8::52:0:4]", true),
            ("[2001:db8::52:0:5]", false),
            ("[2002:db8:a::123]", true),
            ("[fe80::424b:c8be:1643:a1b6]", false),
            ("barbaz.net", false),
            ("www.barbaz.net", true),
            ("foobar.com", true),
            ("FOOBAR.com", true),
            ("www.foobar.com", true),
            ("foofoobar.com", false),
            ("baz.com", false),
            ("upper.example", true),
            ("localhost.net", false),
            ("local.localhost", false),
            ("wildcard.io", false),
            ("nested.wildcard.io", true),
            ("awildcard.io", false),
            ("ported.io", false),
            ("ported.com", true),
            ("kubernetes.default.svc", true),
            ("svc", false),
            ("other.example", false),
        ] {
            let server = format!("https://{host}:6443").parse().unwrap();
            assert_eq!(is_exempt(&server, no_proxy), expected, "{host}");
            let everything = format!("{no_proxy},*");
            assert!(is_exempt(&server, &everything), "{host}");
        }
        // Without a port, that of the scheme.
        for (server, no_proxy, expected) in [
            ("https://api.example", "api.example:443", true),
            ("https://api.example", "api.example:80", false),
            ("http://api.example", "api.example:80", true),
        ] {
            assert_eq!(
                is_exempt(&server.parse().unwrap(), no_proxy),
                expected,
                "{server} {no_proxy}"
            );
        }
    }
}
