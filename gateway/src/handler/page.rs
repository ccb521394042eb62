//! The handler `static`: a page that is part of the program.

use tidegate_proto::http::RequestHead;
use tidegate_proto::websocket::handshake::server::Rejection;

use super::{Content, Context, Decision, Desk, Handler, Piece};

static CONSOLE: Content =
    Content { content_type: "text/html; charset=utf-8", body: include_bytes!("page/console.html") };

/// Serves the WebSocket console.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page;

impl Handler for Page {
    fn request(&mut self, head: &RequestHead<'_>, _desk: &mut Desk<'_>) -> Decision {
        match head.method() {
            "GET" | "HEAD" => Decision::Serve(&CONSOLE),
            _ => Decision::Refuse(Rejection::MethodNotAllowed { allow: "GET, HEAD" }.into()),
        }
    }

    /// Never called: no connection is opened here.
    fn message(&mut self, _context: &mut Context<'_, '_>, _piece: Piece<'_>) {}
}
