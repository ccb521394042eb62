//! Trying out what a handler decides, without a gateway.

use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, Instant};

use tidegate_proto::http::{RequestHead, Status, parse_request};

use super::{StartError, hub_settings, identity};
use crate::config::{Config, Limits, Route, RouteHandler};
use crate::hub::{self, Finding, Hub};
use crate::kernel::Waker;
use crate::names::Ticket;
use crate::protocol::desk::Desk;
use crate::protocol::refusal::Refusal;
use crate::protocol::request::{PeerCertificate, ProxyFacts, Request};
use crate::protocol::serve::{Decision, Handler};
use crate::protocol::services::{Made, RouteTable, Service, Services};

/// Asks a handler what it decides about requests, for its tests: as a gateway does, but without a
/// socket or a thread. What the handler does by its [`Desk`] comes to nothing, and is let go of
/// once it has decided, so that it can be asked any number of times. What it does with connections
/// is tried out on a gateway: on port 0 of `127.0.0.1` one starts in a moment.
///
/// ```
/// use tidegate::gateway::Trial;
/// use tidegate::prelude::*;
///
/// struct Members;
///
/// impl Handler for Members {
///     fn request(&mut self, request: &Request<'_>, _: &mut Desk<'_>) -> Decision {
///         match request.header("Cookie") {
///             Some(_) => Admission::default().into(),
///             None => Refusal::Forbidden.into(),
///         }
///     }
///
///     fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {}
/// }
///
/// # fn main() -> Result<(), tidegate::gateway::StartError> {
/// let mut trial = Trial::new("/rooms/{room}", Members)?;
/// assert!(matches!(trial.request("/rooms/a", &[("Cookie", "a=b")]), Decision::Admit(_)));
/// assert!(matches!(trial.request("/rooms/a", &[]), Decision::Refuse(Refusal::Forbidden)));
/// // Nobody is asked about what the gateway refuses itself.
/// assert!(matches!(trial.request("/rooms/%ff", &[]), Decision::Refuse(Refusal::InvalidPath)));
/// let page = ("Origin", "https://evil.example");
/// assert!(matches!(trial.request("/rooms/a", &[page]), Decision::Refuse(Refusal::Origin)));
/// # Ok(())
/// # }
/// ```
pub struct Trial {
    services: Services,
    hub: Hub,
    began: Instant,
    client: Option<PeerCertificate>,
    proxied: Option<ProxyFacts>,
}

/// The most bytes of a head; a gateway may be configured for as many.
const HEAD_MAX: usize = 64 << 10;

impl Trial {
    /// Of this handler, on a route whose path is `path`.
    ///
    /// # Errors
    /// The path is no pattern; or the kernel has no descriptor left.
    pub fn new(
        path: impl Into<String>,
        handler: impl Handler + 'static,
    ) -> Result<Self, StartError> {
        let limits = Limits { connections: Limits::CONNECTIONS_MIN, ..Limits::default() };
        let routes = vec![Route::new(path, RouteHandler::Embedded)];
        let config = Config { limits, ..Config::default() }.with_routes(routes);
        config.check().map_err(StartError::Config)?;
        let waker = Waker::new().map_err(StartError::Waker)?;
        let (mut hubs, _) = hub::open(&hub_settings(&config), identity(&config), &[waker]);
        let handler = RefCell::new(Some(Box::new(handler) as Box<dyn Handler>));
        let make = |_: &Route| {
            handler.borrow_mut().take().map(|handler| Made { handler, is_brought: true })
        };
        let services = Services::new(limits.slots(), RouteTable::new(&config.routes).into(), &make);
        let services = services.map_err(StartError::NoHandler)?;
        let hub = hubs.pop().expect("one for each waker");
        Ok(Self { services, hub, began: Instant::now(), client: None, proxied: None })
    }

    /// From now on, who asks has shown this certificate, or none.
    pub fn show(&mut self, certificate: Option<PeerCertificate>) {
        self.client = certificate;
    }

    /// From now on, a proxy has said this of who asks, or nothing.
    pub fn tell(&mut self, proxied: Option<ProxyFacts>) {
        self.proxied = proxied;
    }

    /// What is decided about a WebSocket handshake for `target`, which is a path and may have a
    /// query, with these headers besides its own.
    ///
    /// # Panics
    /// The target, or the name or the value of a header, has a carriage return or a line feed: it
    /// would be another request than the one that is asked about.
    pub fn request(&mut self, target: &str, headers: &[(&str, &str)]) -> Decision {
        self.ask(target, headers, |handler, request, desk| handler.request(request, desk))
    }

    /// What is decided about the same when this was found out.
    ///
    /// # Panics
    /// As for [`request`](Self::request).
    pub fn decided(
        &mut self,
        target: &str,
        headers: &[(&str, &str)],
        finding: Finding,
    ) -> Decision {
        self.ask(target, headers, |handler, request, desk| handler.decided(request, finding, desk))
    }

    /// A ticket to ask a [`Question`](crate::handler::Question) with, that no request has.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket { connection: self.hub.id(0, 0), round: 0 }
    }

    fn ask(
        &mut self,
        target: &str,
        headers: &[(&str, &str)],
        decide: impl FnOnce(&mut dyn Handler, &Request<'_>, &mut Desk<'_>) -> Decision,
    ) -> Decision {
        let head = head(target, headers);
        match parse_request(head.as_bytes(), HEAD_MAX) {
            Ok(Status::Complete(head)) => {
                self.ask_about(&head, decide).unwrap_or_else(Decision::Refuse)
            }
            Ok(Status::Partial) => unreachable!("the head ends with a blank line"),
            Err(error) => Decision::Refuse(error.into()),
        }
    }

    fn ask_about(
        &mut self,
        head: &RequestHead<'_>,
        decide: impl FnOnce(&mut dyn Handler, &Request<'_>, &mut Desk<'_>) -> Decision,
    ) -> Result<Decision, Refusal> {
        let service = self.services.find(head)?;
        let Service { handler, offer, .. } = self.services.get_mut(service);
        offer.check_page(head, false)?;
        let request = Request::new(head, &offer.path)?
            .of_client(self.client.as_ref())
            .through_proxy(self.proxied.as_ref());
        let now: Duration = self.began.elapsed();
        let decision = decide(&mut **handler, &request, &mut Desk::new(&mut self.hub, now));
        // Nobody takes in what it has sent: it would add up, in messages and in the mailbox, until
        // the handler is told that both are full.
        while self.hub.post.receive().is_some() {}
        Ok(decision)
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Trial")
    }
}

/// The head of a handshake.
///
/// # Panics
/// Something has the end of a line within it.
fn head(target: &str, headers: &[(&str, &str)]) -> String {
    let in_one_line = |text: &str| {
        assert!(!text.contains(['\r', '\n']), "{text:?} has a line break, which ends it in a head");
    };
    in_one_line(target);
    let mut head = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    );
    for (name, value) in headers {
        in_one_line(name);
        in_one_line(value);
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::handler::{Admission, Cause, Context, Piece, Publishing, TlsToProxy};
    use crate::hub::Target;

    /// Has others find out who asks.
    struct Asks(Sender<(Ticket, String)>);

    impl Handler for Asks {
        fn request(&mut self, request: &Request<'_>, _: &mut Desk<'_>) -> Decision {
            let (others, name) = (self.0.clone(), request.parameter("name").map(Into::into));
            Decision::later(move |ticket| {
                others.send((ticket, name.unwrap_or_default())).expect("somebody listens");
            })
        }

        fn decided(&mut self, request: &Request<'_>, found: Finding, _: &mut Desk<'_>) -> Decision {
            match found.take::<u32>() {
                Some(state) if request.header("X-Known").is_some() => {
                    Admission::default().with_state(state).into()
                }
                _ => Refusal::Forbidden.into(),
            }
        }

        fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {}
    }

    #[test]
    fn a_handler_is_asked_as_by_a_gateway() {
        let (asks, asked) = channel();
        let mut trial = Trial::new("/of/{name}", Asks(asks)).expect("a pattern");
        let Decision::Later(question) = trial.request("/of/a%20b", &[]) else {
            panic!("it asks others first")
        };
        question.ask(trial.ticket());
        assert_eq!(asked.try_recv(), Ok((trial.ticket(), "a b".to_owned())));
        let known = [("x-known", "yes")];
        let decision = trial.decided("/of/a%20b", &known, Finding::new(7_u32));
        assert!(matches!(decision, Decision::Admit(Admission { state: 7, .. })), "{decision:?}");
        let decision = trial.decided("/of/a%20b", &[], Finding::new(7_u32));
        assert!(matches!(decision, Decision::Refuse(Refusal::Forbidden)), "{decision:?}");
    }

    #[test]
    fn what_a_gateway_refuses_itself_reaches_no_handler() {
        let (asks, asked) = channel();
        let mut trial = Trial::new("/of/{name}", Asks(asks)).expect("a pattern");
        for (target, headers, refusal) in
            [("/other", &[][..], Refusal::NotFound), ("/of/%zz", &[], Refusal::InvalidPath)]
        {
            let decision = trial.request(target, headers);
            assert!(matches!(&decision, Decision::Refuse(it) if *it == refusal), "{decision:?}");
        }
        for (target, headers) in [("of", &[][..]), ("/of/a b", &[]), ("/of/a", &[("a b", "c")])] {
            let decision = trial.request(target, headers);
            let Decision::Refuse(refusal) = decision else { panic!("{decision:?}") };
            assert_eq!(refusal.status(), 400, "{target}");
        }
        assert!(asked.try_recv().is_err());
        let (asks, _) = channel();
        assert!(matches!(Trial::new("no pattern", Asks(asks)), Err(StartError::Config(_))));
    }

    /// Lets in whose certificate a proxy has verified.
    struct Trusts;

    impl Handler for Trusts {
        fn request(&mut self, request: &Request<'_>, _: &mut Desk<'_>) -> Decision {
            let tls = request.proxy_facts().and_then(|facts| facts.tls.as_ref());
            match tls.is_some_and(|tls| tls.is_verified) {
                true => Admission::default().into(),
                false => Refusal::Forbidden.into(),
            }
        }

        fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {}
    }

    #[test]
    fn a_handler_is_told_what_a_proxy_says() {
        let mut trial = Trial::new("/", Trusts).expect("a pattern");
        let facts = |is_verified| {
            let tls = TlsToProxy { is_verified, ..TlsToProxy::default() };
            ProxyFacts { tls: Some(tls), ..ProxyFacts::default() }
        };
        for (told, is_let_in) in
            [(None, false), (Some(facts(true)), true), (Some(facts(false)), false), (None, false)]
        {
            trial.tell(told);
            assert_eq!(matches!(trial.request("/", &[]), Decision::Admit(_)), is_let_in);
        }
    }

    /// Tells others of each request, and ends them.
    struct Tells;

    impl Handler for Tells {
        fn request(&mut self, _: &Request<'_>, desk: &mut Desk<'_>) -> Decision {
            let everyone = Target::Topic("all".parse().expect("a name"));
            let told = desk.publish(&everyone, vec![0; 4096], Publishing::default());
            let told = told.and_then(|()| desk.disconnect(&everyone, Cause::Done));
            let told = told.and_then(|()| desk.disconnect(&Target::All, Cause::Done));
            told.map_or(Refusal::Forbidden.into(), |()| Admission::default().into())
        }

        fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {}
    }

    #[test]
    fn what_a_handler_does_by_its_desk_does_not_add_up() {
        let mut trial = Trial::new("/", Tells).expect("a pattern");
        let memory = trial.hub.memory().limit();
        for _ in 0..=memory / 4096 {
            let decision = trial.request("/", &[]);
            assert!(matches!(decision, Decision::Admit(_)), "{decision:?}");
            assert_eq!((trial.hub.post.waiting(), trial.hub.memory().used()), (0, 0));
        }
    }

    #[test]
    fn line_breaks_are_refused() {
        for (target, name, value) in [
            ("/of/a\r\n\r\n", "a", "b"),
            ("/of/a", "a\n", "b"),
            ("/of/a", "a", "b\r\n\r\n"),
            ("/of/a", "a", "b\r"),
        ] {
            let (asks, asked) = channel();
            let mut trial = Trial::new("/of/{name}", Asks(asks)).expect("a pattern");
            let ask = AssertUnwindSafe(|| trial.request(target, &[(name, value)]));
            let said = catch_unwind(ask).expect_err(target);
            let said = said.downcast_ref::<String>().expect("words");
            assert!(said.contains("has a line break"), "{said}");
            assert!(asked.try_recv().is_err());
        }
    }
}
