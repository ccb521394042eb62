//! What an embedding program brings along.

use std::fmt;
use std::sync::Arc;

use crate::config::{Listener, Route};
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
/// let program = Program::default().handlers(|route| (route.path == "/upper").then(||
/// Box::new(Upper) as _));
/// ```
#[derive(Clone)]
pub struct Program {
    pub(crate) handlers: Arc<HandlerFactory>,
    pub(crate) layers: Arc<LayerFactory>,
    pub(crate) protocols: Arc<ProtocolFactory>,
}

impl Program {
    /// Makes the handler of a route; with `None`, it has the one that the configuration names. A
    /// route whose handler is [`RouteHandler::Embedded`](crate::config::RouteHandler::Embedded) has
    /// only this one: without it, the gateway does not start.
    #[must_use]
    pub fn handlers(
        mut self,
        make: impl Fn(&Route) -> Option<Box<dyn Handler>> + Send + Sync + 'static,
    ) -> Self {
        self.handlers = Arc::new(make);
        self
    }

    /// Makes what is between the sockets of a listener and what is spoken on them; with `None`,
    /// they are plain.
    #[must_use]
    pub fn layers(
        mut self,
        make: impl Fn(&Listener) -> Option<Box<dyn Layer>> + Send + Sync + 'static,
    ) -> Self {
        self.layers = Arc::new(make);
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
            layers: Arc::new(|_: &Listener| None),
            protocols: Arc::new(|_: &Listener| None),
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Program")
    }
}
