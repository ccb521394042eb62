//! What several tests need.

use tidegate::config::Config;
use tidegate::gateway::Gateway;
use tidegate_bench::server::Choice;

/// A gateway in this process, and how to measure it: the figures mean nothing, because the process
/// that is measured is the one that measures.
pub fn start() -> (Gateway, Choice) {
    let config = Config { pin: tidegate::config::Pin::Never, ..Config::default() };
    let config = config.with_listen(&["127.0.0.1:0".parse().expect("it is an address")]);
    let config = config.with_admin(None);
    let gateway = Gateway::start(config).expect("this machine can run a gateway");
    let url = Some(format!("ws://{}/echo", gateway.addresses()[0]));
    (gateway, Choice { url, pid: Some(std::process::id()), ..Choice::default() })
}
