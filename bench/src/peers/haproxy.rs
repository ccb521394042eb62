//! HAProxy as what stands in front of an echo, over TLS or not.

use std::fs;
use std::io;
use std::process::Command;

use super::{Place, succeed};
use crate::tls::Certificate;

/// Says what it is, and becomes HAProxy with the configuration that is its argument.
const SCRIPT: &str = "echo \"$(haproxy -v | sed -n '1s/ [0-9/]* .*//p'), one thread, \
                      in front of an echo whose CPU and memory are not counted\"
exec haproxy -db -f /dev/fd/3 3<<END
$1
END
";

/// Yields what starts it.
///
/// # Errors
/// It is not there, or there is no room for the certificate as it wants it.
pub(super) fn prepare(place: Place<'_>) -> io::Result<Command> {
    succeed(Command::new("haproxy").arg("-v"))?;
    let mut command = Command::new("sh");
    // Without it, HAProxy was only asked for whether it is there.
    let Some(upstream) = place.upstream else { return Ok(command) };
    let tls = place.certificate.map(tls).transpose()?.unwrap_or_default();
    let written = configuration(place.port, &tls, &upstream.to_string());
    command.args(["-c", SCRIPT, "sh", &written]);
    Ok(command)
}

/// What a listener of it has to say for TLS. It wants the certificate and its key in one file.
fn tls(certificate: &Certificate) -> io::Result<String> {
    let both = certificate.folder().join("both.pem");
    let parts = [fs::read(certificate.cert())?, fs::read(certificate.key())?];
    fs::write(&both, parts.concat())?;
    Ok(format!(" ssl crt {} alpn http/1.1 ssl-min-ver TLSv1.3", both.display()))
}

/// One thread that hands WebSocket on. The times are those that its documentation has for it, and
/// for a request those of the gateway.
fn configuration(port: u16, tls: &str, upstream: &str) -> String {
    format!(
        "global
    nbthread 1
    maxconn 9500
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
defaults
    mode http
    maxconn 9500
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    timeout tunnel 1h
    timeout http-request 10s
frontend clients
    bind 0.0.0.0:{port} backlog 4096{tls}
    default_backend echo
backend echo
    server echo {upstream}
"
    )
}
