//! Any text as a configuration file.

use std::collections::HashSet;

use tidegate::config::{Config, ConfigErrors, Route, Stack};
use tidegate::gateway;
use tidegate::handler::{Echo, Handler, built_in};
use tidegate::kernel::Driver;
use tidegate::protocol::services::{Made, RouteTable, Services};

/// The whole input is the file.
///
/// # Panics
/// An error does not say what a reader needs, or what passed for a configuration is none.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, "fuzzed.toml") {
        Ok(config) => usable(&config),
        Err(errors) => helpful(&errors, text),
    }
}

/// What is made of a configuration at a start can be made of this one.
fn usable(config: &Config) {
    assert!((1..=64).contains(&config.listeners.len()), "{} listeners", config.listeners.len());
    assert!((1..=1024).contains(&config.routes.len()), "{} routes", config.routes.len());
    let bill = gateway::bill(config, config.shards.resolve(8), Driver::Epoll);
    assert!(bill.total() > bill.per_shard());
    assert!(!bill.to_string().is_empty() && !bill.summary().is_empty());
    let _ = bill.check(config.memory.limit());
    // A route that is for an embedding program has the handler of any.
    let any = || Some(Box::new(Echo) as Box<dyn Handler>);
    let make = |route: &Route| {
        built_in(route).or_else(any).map(|handler| Made { handler, is_brought: false })
    };
    let services =
        Services::new(config.limits.slots(), RouteTable::new(&config.routes).into(), &make);
    assert!(services.is_ok(), "each route has a handler");
    let addresses: Vec<_> =
        config.listeners.iter().map(|listener| listener.address.clone()).collect();
    let listening = config.clone().with_listen(&addresses);
    assert_eq!(listening.listeners.len(), addresses.len(), "two listeners with one address");
    for listener in &config.listeners {
        assert_eq!(
            Stack::parse(&listener.stack.to_string()).as_ref(),
            Ok(&listener.stack),
            "a stack is read as it is written"
        );
    }
}

/// Every error has a place in the file and something to say, once.
fn helpful(errors: &ConfigErrors, text: &str) {
    let lines = text.split('\n').count();
    let mut seen = HashSet::new();
    let mut before = 0;
    for error in errors.iter() {
        assert!((1..=lines).contains(&error.line), "line {} of {lines}", error.line);
        assert!(before <= error.line, "out of order");
        before = error.line;
        assert!(error.column != Some(0), "columns are counted from 1");
        assert!(!error.message.is_empty());
        let shown = error.to_string();
        assert!(!shown.contains(['\n', '\r']), "{shown:?} is not one line");
        assert!(seen.insert(shown.clone()), "{shown:?} is said twice");
    }
    assert!(before > 0, "no errors are no error");
}
