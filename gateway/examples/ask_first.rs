//! A request that is decided later: its handler has a runtime of tokio beside the gateway find out
//! whose token it brings. Who brings none, or one that is nobody's, is refused with a status and a
//! header of the handler's own.
//!
//! `cargo run --example ask_first` says where to connect to. Ctrl-C drains, and ends it.

use std::error::Error;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidegate::prelude::*;
use tokio::runtime;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::sleep;

/// What is asked about a request: whose the token is.
struct Asked {
    ticket: Ticket,
    token: String,
}

struct Guarded(Sender<Asked>);

impl Guarded {
    fn refused() -> Decision {
        let response = Response::text(401, "bring a token: ?token=secret-of-ada, say\n");
        let response = response.and_then(|it| it.with("WWW-Authenticate", "Bearer"));
        response.and_then(Refusal::with).unwrap_or(Refusal::Forbidden).into()
    }
}

impl Handler for Guarded {
    fn request(&mut self, request: &Request<'_>, _: &mut Desk<'_>) -> Decision {
        let token = match request.query_value("token") {
            Ok(Some(token)) => token.into_owned(),
            Ok(None) => return Self::refused(),
            Err(refusal) => return refusal.into(),
        };
        let others = self.0.clone();
        // If that is full, nobody finds anything out, and the request is answered with 504.
        Decision::later(move |ticket| _ = others.try_send(Asked { ticket, token }))
    }

    fn decided(&mut self, _: &Request<'_>, user: Finding, _: &mut Desk<'_>) -> Decision {
        match user.take::<Option<Name>>().flatten() {
            Some(user) => Admission::default().of_user(user).into(),
            None => Self::refused(),
        }
    }

    fn opened(&mut self, context: &mut Context<'_, '_>, _: Admission) {
        if let Some(user) = context.user() {
            let _ = context.send_text(&format!("hello, {user}"));
        }
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let _ = context.echo(piece);
    }
}

/// Finds out whose a token is, and tells the request's handler.
async fn look_up(door: Door, asked: Asked) {
    // A program would ask a database here, or whoever has issued the token.
    sleep(Duration::from_millis(100)).await;
    let user = asked.token.strip_prefix("secret-of-").and_then(|name| Name::new(name).ok());
    // While the gateway is too busy to hear it, the request is answered with 504.
    door.found(asked.ticket, user, |_| {});
}

/// Looks up what is asked, all of it at once: `undecided` of the route bounds how much that is.
async fn serve(door: Door, mut questions: Receiver<Asked>) {
    while let Some(asked) = questions.recv().await {
        tokio::spawn(look_up(door.clone(), asked));
    }
}

const CONFIGURATION: &str = r#"
    limits.connections = 1000        # of each shard
    admin.address = "off"
    [[listener]]
    address = "127.0.0.1:0"          # any port that is free
    [[route]]
    path = "/guarded"
    handler = "embedded"
    undecided = 100                  # of each shard: one more is answered with 503
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let (asks, questions) = channel(1000);
    let config = Config::parse(CONFIGURATION, "ask_first.toml")?;
    let program = Program::default().handler("/guarded", move || Guarded(asks.clone()));
    let gateway = Gateway::start_with(config, program)?;
    println!("ws://{}/guarded?token=secret-of-ada", gateway.addresses()[0]);
    let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
    let door = gateway.door();
    thread::spawn(move || runtime.block_on(serve(door, questions)));
    let (handle, mut signals) = (gateway.handle(), Signals::new([SIGINT, SIGTERM])?);
    thread::spawn(move || signals.forever().for_each(|_| handle.drain()));
    Ok(gateway.join()?)
}
