//! A handler of one's own: it greets everyone by the name that the path has, and sends back
//! whatever they say.
//!
//! `cargo run --example greet` says where to connect to. Ctrl-C drains, and ends it.

use std::error::Error;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidegate::prelude::*;

struct Greet;

impl Handler for Greet {
    fn request(&mut self, request: &Request<'_>, _: &mut Desk<'_>) -> Decision {
        let name = request.parameter("name").unwrap_or_default();
        Admission::default().with_note(name.into_owned()).into()
    }

    fn opened(&mut self, context: &mut Context<'_, '_>, admission: Admission) {
        if let Some(name) = admission.note::<String>() {
            // A connection that cannot take it is closed by the gateway.
            let _ = context.send_text(&format!("hello, {name}"));
        }
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let _ = context.echo(piece);
    }
}

const CONFIGURATION: &str = r#"
    limits.connections = 1000        # of each shard
    admin.address = "off"
    [[listener]]
    address = "127.0.0.1:0"          # any port that is free
    [[route]]
    path = "/greet/{name}"
    handler = "embedded"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::parse(CONFIGURATION, "greet.toml")?;
    let program = Program::default().handler("/greet/{name}", || Greet);
    let gateway = Gateway::start_with(config, program)?;
    println!("ws://{}/greet/ada", gateway.addresses()[0]);
    let (handle, mut signals) = (gateway.handle(), Signals::new([SIGINT, SIGTERM])?);
    thread::spawn(move || signals.forever().for_each(|_| handle.drain()));
    Ok(gateway.join()?)
}
