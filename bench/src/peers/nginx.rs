//! nginx as what ends TLS in front of an echo.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use super::{Place, succeed};

/// Says what it is, and becomes nginx: its folder, its configuration.
const SCRIPT: &str = "echo \"$(nginx -v 2>&1 | sed 's/.*: //'), one process, as it comes, \
                      in front of an echo whose CPU and memory are not counted\"; \
                      exec nginx -p \"$1\" -e stderr -c \"$1/nginx.conf\"";

/// Writes its configuration beside the certificate; yields what starts it.
///
/// # Errors
/// It is not there, or there is no room for the file.
pub(super) fn prepare(place: Place<'_>) -> io::Result<Command> {
    succeed(Command::new("nginx").arg("-v"))?;
    let mut command = Command::new("sh");
    // Without both, it was only asked for whether it is there.
    if let (Some(certificate), Some(upstream)) = (place.certificate, place.upstream) {
        let folder = certificate.folder();
        let written = configuration(folder, place.port, &upstream.to_string());
        fs::write(folder.join("nginx.conf"), written)?;
        command.args(["-c", SCRIPT, "sh"]).arg(folder);
    }
    Ok(command)
}

/// One process that hands WebSocket on, as nginx's documentation says it is done. Each client takes
/// two of its connections.
fn configuration(folder: &Path, port: u16, upstream: &str) -> String {
    let folder = folder.display();
    let files = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = files.map(|name| format!("{name}_temp_path {folder}/{name};")).join(" ");
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid;
events {{ worker_connections 19900; }}
http {{
    access_log off; {paths}
    server {{
        listen 0.0.0.0:{port} ssl backlog=4096;
        ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
        ssl_protocols TLSv1.3;
        location / {{
            proxy_pass http://{upstream}; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";
            proxy_set_header Host $host; proxy_read_timeout 1h; proxy_send_timeout 1h;
        }}
    }}
}}
"
    )
}
