//! What an embedding program brings along.

use std::fmt;
use std::sync::Arc;

use crate::config::{self, Listener, Route};
use crate::protocol::foreign::{Protocol, ProtocolFactory};
use crate::protocol::serve::{Handler, HandlerFactory};
use crate::transport::{Layer, LayerFactory};

/// What a program adds to a gateway: each shard makes its own, on its own thread.
///
/// ```
/// use tidegate::gateway::Program;
/// use tidegate::handler::{Context, Handler, Piece};
///
/// struct Upper;
///
/// impl Handler for Upper {
///     fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
///         let upper = context.bytes(&piece).to_ascii_uppercase();
///         let _ = context.send_piece(piece.kind, piece.part, &upper);
///     }
/// }
///
/// let program = Program::default().handler("/upper", || Upper);
/// ```
#[derive(Clone)]
pub struct Program {
    pub(crate) handlers: Arc<HandlerFactory>,
    /// The paths that a handler was given for: each is one of the configuration's.
    pub(crate) paths: Vec<String>,
    /// `None` where no listener can have one.
    pub(crate) layers: Option<Arc<LayerFactory>>,
    pub(crate) protocols: Arc<ProtocolFactory>,
}

impl Program {
    /// Makes the handler of the routes whose path is `path`, as the configuration has it, such as
    /// `/rooms/{room}`. If it has none of that path, the gateway does not start.
    #[must_use]
    pub fn handler<H: Handler + 'static>(
        mut self,
        path: impl Into<String>,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Self {
        let path = config::normal_path(&path.into()).into_owned();
        self.paths.push(path.clone());
        let others = self.handlers;
        self.handlers = Arc::new(move |route: &Route| match route.path == path {
            true => Some(Box::new(make())),
            false => others(route),
        });
        self
    }

    /// Makes the handler of a route; with `None`, it has the one that the configuration names. A
    /// route whose handler is [`RouteHandler::Embedded`](crate::config::RouteHandler::Embedded) has
    /// only this one: without it, the gateway does not start. What was said before of handlers
    /// holds for routes that this makes none for.
    #[must_use]
    pub fn handlers(
        mut self,
        make: impl Fn(&Route) -> Option<Box<dyn Handler>> + Send + Sync + 'static,
    ) -> Self {
        let others = self.handlers;
        self.handlers = Arc::new(move |route: &Route| make(route).or_else(|| others(route)));
        self
    }

    /// The first path that a handler was given for and no route has.
    pub(crate) fn stray_path(&self, routes: &[Route]) -> Option<&str> {
        let mut paths = self.paths.iter();
        let stray = paths.find(|path| routes.iter().all(|route| route.path != **path))?;
        Some(stray)
    }

    /// Makes what is between the sockets of a listener and what is spoken on them; with `None`,
    /// they are plain.
    #[must_use]
    pub fn layers(
        mut self,
        make: impl Fn(&Listener) -> Option<Box<dyn Layer>> + Send + Sync + 'static,
    ) -> Self {
        self.layers = Some(Arc::new(make));
        self
    }

    /// Makes what is spoken on the connections of a listener; with `None`, it is HTTP, and what
    /// that leads to.
    #[must_use]
    pub fn protocols(
        mut self,
        make: impl Fn(&Listener) -> Option<Box<dyn Protocol>> + Send + Sync + 'static,
    ) -> Self {
        self.protocols = Arc::new(make);
        self
    }
}

impl Default for Program {
    /// Nothing is added.
    fn default() -> Self {
        Self {
            handlers: Arc::new(|_: &Route| None),
            paths: Vec::new(),
            layers: None,
            protocols: Arc::new(|_: &Listener| None),
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Program")
    }
}
