//! The operator's page. It may be fetched without a token: it knows nothing, and asks for one.
//!
//! Its files are compiled in. The browser is told to run what is among them and nothing else, and
//! to put no text in as markup.

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Shared;
use super::body::PathPart;
use super::error::Error;

/// The folder of all files but the first.
const FOLDER: &str = "/page/";

/// Only what is here, and nothing in a frame: a token is typed into this page. An image is its icon
/// alone. Names of users and topics are anybody's, so scripts cannot make markup of text at all.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; form-action 'none'; frame-ancestors 'none'; \
     base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the page.
struct PageFile {
    name: &'static str,
    text: &'static str,
}

/// Declares the files once: their names, and what is in them.
macro_rules! files {
    ($($name:literal,)*) => {
        [$(PageFile { name: $name, text: include_str!(concat!("page/", $name)) }),*]
    };
}

const INDEX: &str = include_str!("page/index.html");

/// All but the index.
const FILES: [PageFile; 27] = files![
    "icon.svg",
    "layout.css",
    "parts.css",
    "api.js",
    "certificates.js",
    "chart.js",
    "configuration.js",
    "connection.js",
    "connections.js",
    "counters.js",
    "dialog.js",
    "dom.js",
    "ends.js",
    "events.js",
    "format.js",
    "gateway.js",
    "links.js",
    "main.js",
    "memory.js",
    "overview.js",
    "poll.js",
    "publish.js",
    "rate.js",
    "reasons.js",
    "shards.js",
    "topic.js",
    "topics.js",
];

/// The paths of the page.
pub(super) fn router() -> Router<Shared> {
    Router::new().route("/", get(index)).route("/page/{name}", get(file))
}

/// Whether a path is one of the page.
pub(super) fn has(path: &str) -> bool {
    path == "/" || path.strip_prefix(FOLDER).is_some_and(|name| find(name).is_some())
}

fn find(name: &str) -> Option<&'static PageFile> {
    FILES.iter().find(|file| file.name == name)
}

async fn index() -> Response {
    respond("index.html", INDEX)
}

async fn file(PathPart(name): PathPart) -> Result<Response, Error> {
    find(&name).map(|file| respond(file.name, file.text)).ok_or_else(Error::no_such_path)
}

fn respond(name: &str, text: &'static str) -> Response {
    let kind = match name.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    ([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)], text).into_response()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::handler::{EndReason, Ground};

    #[test]
    fn what_is_in_the_folder_is_served_and_what_is_served_is_imported() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/page");
        let entries = std::fs::read_dir(folder).expect("the folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().expect("ASCII")).collect();
        names.retain(|name| name != "index.html");
        names.sort();
        let mut served = FILES.map(|file| file.name);
        served.sort_unstable();
        assert_eq!(names, served);
        for name in served {
            let mut texts = FILES.iter().map(|file| file.text).chain([INDEX]);
            assert!(texts.any(|text| text.contains(&format!("/{name}\""))), "{name} is for nobody");
        }
    }

    #[test]
    fn no_file_makes_markup_of_text_or_has_what_the_policy_forbids() {
        for PageFile { name, text } in &FILES {
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text.contains(word), "{name} has {word}");
            }
            let is_wide = |line: &str| line.chars().count() > 100 && name.ends_with(".js");
            assert!(!text.lines().any(is_wide), "{name} is too wide");
            assert!(text.lines().count() <= 450, "{name} is too long");
        }
        for forbidden in [" style=", "<style", " onclick=", "javascript:", "://"] {
            assert!(!INDEX.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn each_reason_has_a_meaning_and_each_meaning_is_of_a_reason() {
        let text = find("reasons.js").expect("the file").text;
        let meanings = |key: &str| -> Vec<&str> {
            let (_, behind) = text.split_once(&format!("\n  {key}: {{\n")).expect("the key");
            let (lines, _) = behind.split_once("\n  },\n").expect("its end");
            let names = lines.lines().map(|line| line.trim_start().split_once(": \""));
            names.map(|pair| pair.expect("a name and what it means").0).collect()
        };
        assert_eq!(meanings("ends"), EndReason::ALL.map(EndReason::name));
        assert_eq!(meanings("refusals"), Ground::ALL.map(Ground::name));
    }

    #[test]
    fn only_files_of_the_page_are_open() {
        for (path, is_open) in [
            ("/", true),
            ("/page/main.js", true),
            ("/page/", false),
            ("/page/index.html", false),
            ("/page/../v1/overview", false),
            ("/page/main.js/", false),
            ("/v1/overview", false),
            ("/metrics", false),
        ] {
            assert_eq!(has(path), is_open, "{path}");
        }
    }
}
