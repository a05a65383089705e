//! What the values of flags may be, with an error that says what to write.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

pub(super) fn count_between(
    least: usize,
    most: usize,
) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let count = text.parse().ok().filter(|count| (least..=most).contains(count));
        count.ok_or_else(|| format!("write a number from {least} to {most}"))
    }
}

pub(super) fn duration_between(
    least: &'static str,
    most: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| {
        let parse = |text| {
            humantime::parse_duration(text)
                .map_err(|error| format!("{error}; write one such as {most}"))
        };
        let duration = parse(text)?;
        let is_between = (parse(least)?..=parse(most)?).contains(&duration);
        if is_between {
            Ok(duration)
        } else {
            Err(format!("write a duration from {least} to {most}"))
        }
    }
}

/// An address and a port, or a host name that stands for one. Of several addresses it is the first
/// IPv4 address: every machine has 127.0.0.1, and some have no ::1.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let Ok(addresses) = text.to_socket_addrs() else {
        return Err(
            "write ADDRESS:PORT, such as 127.0.0.1:8443 for this machine only or 0.0.0.0:8443 for every interface".to_owned()
        );
    };
    let addresses: Vec<SocketAddr> = addresses.collect();
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.copied().ok_or_else(|| {
        "the name has no address; write an IP address, such as 127.0.0.1:8443".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;
    use crate::cli::Cli;

    fn command() -> Command {
        Cli::command().find_subcommand("serve").unwrap().clone()
    }

    /// The first and the last value that a flag takes, and their neighbours.
    #[test]
    fn limits_and_lifetimes_have_bounds_that_help_names() {
        for (flag, below, least, most, above) in [
            ("max-connections", "31", "32", "1000000", "1000001"),
            ("max-body-bytes", "65535", "65536", "68719476736", "68719476737"),
            ("drain-delay", "-1s", "0s", "1h", "1h 1s"),
            ("leaf-lifetime", "9s", "10s", "365d", "366d"),
            #[cfg(feature = "cluster")]
            ("ca-lifetime", "59m", "1h", "36500d", "36501d"),
        ] {
            let is_accepted = |value: &str| {
                command().try_get_matches_from(["serve", &format!("--{flag}={value}")]).is_ok()
            };
            assert_eq!(
                [below, least, most, above].map(is_accepted),
                [false, true, true, false],
                "{flag}"
            );
            let help = command()
                .get_arguments()
                .find(|argument| argument.get_long() == Some(flag))
                .unwrap()
                .get_help()
                .unwrap()
                .to_string();
            assert!(
                help.contains(most)
                    && (least == "0s" || help.contains(&format!("from {least} to"))),
                "{help}"
            );
        }
        for value in ["", "x", "-1", "1e3", "99999999999999999999"] {
            let error = command()
                .try_get_matches_from(["serve", &format!("--max-connections={value}")])
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("--max-connections")
                    && error.contains("write a number from 32 to 1000000"),
                "{error}"
            );
        }
        for value in ["7", "1000000d", "99999999999999999999d", "", "5 parsecs"] {
            let error = command()
                .try_get_matches_from(["serve", &format!("--drain-delay={value}")])
                .unwrap_err()
                .to_string();
            assert!(error.contains("--drain-delay") && error.contains("write"), "{error}");
        }
    }

    #[test]
    fn an_address_may_be_a_host_name() {
        for (text, expected) in [
            ("127.0.0.1:8443", "127.0.0.1:8443"),
            ("[::]:8443", "[::]:8443"),
            ("localhost:8443", "127.0.0.1:8443"),
        ] {
            assert_eq!(socket_address(text).unwrap().to_string(), expected);
        }
        for text in
            ["8443", ":8443", "localhost", "127.0.0.1", "::1:8443:", "https://localhost:8443"]
        {
            let error = socket_address(text).unwrap_err();
            assert!(
                error.starts_with("write ADDRESS:PORT, such as 127.0.0.1:8443"),
                "{text}: {error}"
            );
        }
    }
}
