//! A shard on a ring as it is before Linux 6.10, where connections are accepted beside the ring.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use tidegate::census::Census;
use tidegate::checks::GatekeeperParts;
use tidegate::config::Config;
use tidegate::gateway::{Program, hub_settings};
use tidegate::hub::{self, Identity, Seed};
use tidegate::kernel::{Uring, Waker};
use tidegate::names::Node;
use tidegate::shard::{
    self, AfterDrain, Assembly, DrainOrder, DrainPlan, ListenerTable, Panel, RouteTable,
};
use tidegate::transport::tls::TlsServers;
use tidegate_tests::{Peer, Request, wait_until};

/// Places of the shard.
const PLACES: usize = 16;

/// Runs a shard that listens on `listener` until `panel` ends it.
fn run(listener: TcpListener, waker: Waker, panel: Arc<Panel>) {
    let text = format!("[limits]\nconnections = {PLACES}\n");
    let config = Arc::new(Config::parse(&text, "before 6.10").expect("it is right"));
    let identity = Identity { node: Node { number: 0, start: 1 }, seed: Seed([1, 2]) };
    let wakers = std::slice::from_ref(&waker);
    let (mut hubs, _door) = hub::open(&hub_settings(&config), identity, wakers);
    let census = Arc::new(Census::new(&config));
    let listening = Arc::new(ListenerTable::new(&config.listeners, &[], &TlsServers::default()));
    let assembly = Assembly {
        index: 0,
        checks: GatekeeperParts::none(),
        access_log: None,
        hub: hubs.pop().expect("one shard"),
        routes: RouteTable::new(&config.routes).into(),
        config,
        listeners: vec![listener.into()],
        waker: waker.clone(),
        panel,
        listening,
        census,
        program: Program::default(),
    };
    let shard = shard::build_on(assembly, Uring::with_plain_accepts).expect("a ring");
    shard.run().expect("the ring works");
}

fn ask(address: SocketAddr) -> Peer {
    let mut peer = Peer::try_connect(address).expect("it listens");
    peer.request(&Request::open("/echo"));
    peer
}

#[test]
fn it_serves_as_many_as_it_may_tells_the_others_so_and_drains() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let (waker, panel) = (Waker::new().expect("a descriptor"), Arc::new(Panel::default()));
    let shard = {
        let (waker, panel) = (waker.clone(), Arc::clone(&panel));
        thread::spawn(move || run(listener, waker, panel))
    };
    for _ in 0..3 {
        let mut peers: Vec<Peer> = (0..PLACES).map(|_| ask(address)).collect();
        for (index, peer) in peers.iter_mut().enumerate() {
            peer.expect_open();
            peer.echo(&format!("the one in place {index}"));
        }
        ask(address).expect_refusal(503);
        drop(peers);
        wait_until("they are gone", || (panel.counters.load().connections == 0).then_some(()));
    }
    let mut last = ask(address);
    last.expect_open();
    let plan = DrainPlan::configured(&Config::default(), AfterDrain::Leave);
    panel.drain(Some(Arc::new(DrainOrder::new(plan, 1, 1))), &waker);
    last.agree_to_close(1012);
    shard.join().expect("it ends");
}
