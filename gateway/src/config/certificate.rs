//! A `[[certificate]]`: what the gateway proves to clients of the layer `tls` who it is with.

use std::path::PathBuf;

use toml::de::DeValue;

use super::built::BuiltWrong;
use super::reader::{Origin, Setting, TableReader, expected};
use super::stack::values::{built_file_name, check_file_name};
use super::value;
use crate::units::quote;

/// The most names of a certificate that are written for it.
const NAMES_MAX: usize = 1024;
/// The most characters of a domain's name (RFC 1035 section 2.3.4), and of one of its labels.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// A chain of certificates and the private key of its first, both as PEM (RFC 7468), and for whom
/// they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The file of the certificates, the gateway's own first. One that is relative is relative to
    /// the working directory.
    pub cert: PathBuf,
    /// The file of the private key.
    pub key: PathBuf,
    /// The names that clients ask for (RFC 6066 section 3) which are answered with it, at most
    /// 1024: domains in lower case, of which the first label may be `*`, which is any one label. No
    /// name is of two certificates. Empty, the default, for the names that the certificate has.
    pub names: Vec<String>,
}

impl Certificate {
    /// That of the names that it has.
    #[must_use]
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: cert.into(), key: key.into(), names: Vec::new() }
    }

    /// Checks what a program has put together, which is `field` of the configuration.
    pub(super) fn check(&self, field: &str, earlier: &[Self]) -> Result<(), BuiltWrong> {
        built_file_name(format!("{field}.cert"), &self.cert)?;
        built_file_name(format!("{field}.key"), &self.key)?;
        let right = check_names(&self.names).and_then(|()| check_others(&self.names, earlier));
        right.map_err(|wrong| BuiltWrong(format!("{field}.names: {wrong}")))
    }
}

/// Reads one `[[certificate]]`, `earlier` being the ones before it.
pub(super) fn read(mut table: TableReader<'_, '_>, earlier: &[Certificate]) -> Option<Certificate> {
    let cert = table.require("cert", "cert = \"/etc/tidegate/cert.pem\"", file);
    let key = table.require("key", "key = \"/etc/tidegate/key.pem\"", file);
    let Setting { value: names, origin } = table.read("names", Vec::new(), names);
    if let (Origin::Written(offset), Err(wrong)) = (origin, check_others(&names, earlier)) {
        let path = table.path("names");
        table.report().error(offset, path, wrong);
    }
    table.finish();
    Some(Certificate { cert: cert.value?, key: key.value?, names })
}

fn file(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let name = PathBuf::from(value::text(value)?);
    check_file_name(&name).map(|()| name)
}

fn names(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let DeValue::Array(list) = value else {
        return Err(expected("an array of strings, such as [\"example.org\"]", value));
    };
    if list.is_empty() {
        return Err("is empty: leave the key out for the names that the certificate has".into());
    }
    let name = |(index, value): (usize, &toml::Spanned<DeValue<'_>>)| {
        let text = value::text(value.get_ref()).map_err(|wrong| format!("[{index}] {wrong}"))?;
        Ok(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase())
    };
    let names = list.iter().enumerate().map(name).collect::<Result<Vec<_>, String>>()?;
    check_names(&names).map(|()| names)
}

/// Checks the names of one certificate.
fn check_names(names: &[String]) -> Result<(), String> {
    if names.len() > NAMES_MAX {
        return Err(format!("must be at most {NAMES_MAX} names, are {}", names.len()));
    }
    for (index, name) in names.iter().enumerate() {
        check_name(name).map_err(|wrong| format!("[{index}] {wrong}"))?;
        if names[..index].contains(name) {
            return Err(format!("[{index}] {name} is there twice: keep one"));
        }
    }
    Ok(())
}

/// Checks that no name is an earlier certificate's too.
fn check_others(names: &[String], earlier: &[Certificate]) -> Result<(), String> {
    for name in names {
        let has = |other: &Certificate| other.names.contains(name);
        if let Some(index) = earlier.iter().position(has) {
            return Err(format!("{name} is a name of certificate[{index}] too: keep one"));
        }
    }
    Ok(())
}

/// Checks that a client may ask for it: RFC 6066 section 3 has "fully qualified DNS hostname[s]",
/// of which those of other scripts are written as their A-labels.
fn check_name(name: &str) -> Result<(), String> {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let may_stand =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(may_stand)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_domain = name.len() <= NAME_MAX && labels.split('.').all(is_label);
    // RFC 6066 section 3: "Literal IPv4 and IPv6 addresses are not permitted in HostName".
    let is_address = labels
        .rsplit('.')
        .next()
        .is_some_and(|last| !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()));
    match is_domain && !is_address {
        true => Ok(()),
        false => Err(format!(
            "must be a domain's name, such as \"example.org\" or \"*.example.org\", of letters, \
             digits and `-`, is {}",
            quote(name)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_domains() {
        for name in ["example.org", "*.example.org", "localhost", "xn--bcher-kva.example", "a_b.c"]
        {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let long = format!("{}.org", "a".repeat(64));
        let deep = vec!["a"; 128].join(".");
        for name in [
            "",
            "*",
            "*.",
            ".org",
            "a..b",
            "a.*.org",
            "*a.org",
            "-a.org",
            "a-.org",
            "A.org",
            "b\u{fc}cher.org",
            "10.0.0.1",
            "::1",
            "a b",
            "a.org:443",
            &long,
            &deep,
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_a_program_has_put_together_is_checked() {
        let named =
            |name: &str| Certificate { names: vec![name.into()], ..Certificate::new("c", "k") };
        assert_eq!(named("a.org").check("certificates[0]", &[]), Ok(()));
        for (certificate, wrong) in [
            (Certificate::new("", "k"), "certificates[1].cert: must be the name of a file"),
            (Certificate::new("c", "\0"), "certificates[1].key: must be the name of a file"),
            (named("A.org"), "certificates[1].names: [0] must be a domain's name"),
            (named("a.org"), "certificates[1].names: a.org is a name of certificate[0] too"),
        ] {
            let error = certificate.check("certificates[1]", &[named("a.org")]).unwrap_err();
            assert!(error.to_string().starts_with(wrong), "{error}");
        }
    }
}
