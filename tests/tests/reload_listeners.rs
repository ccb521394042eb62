//! Listeners that come, go and are otherwise while the gateway runs, by both drivers.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use tidegate_tests::admin::{ask, json_of};
use tidegate_tests::reload::{ALL, echo, refused, reload, reload_with};
use tidegate_tests::tls::{Authority, Files, relay};
use tidegate_tests::{Gateway, Launch, PATIENCE, Peer, Request, Signal, case, wait_until};

/// Starts what it is given as a program that passes sockets on.
const PASSING: &str = env!("CARGO_BIN_EXE_pass-sockets");

const DRIVERS: [&str; 2] = ["io_uring", "epoll"];

/// A configuration with listeners of such stacks at free ports.
fn at_free_ports(driver: &str, stacks: &[&str]) -> String {
    let listener =
        |stack: &&str| format!("[[listener]]\naddress = '127.0.0.1:0'\nstack = '{stack}'\n");
    let listeners: String = stacks.iter().map(listener).collect();
    format!("driver = '{driver}'\n{listeners}{}", echo("/a", ""))
}

fn launch(text: &str) -> Launch {
    Launch::new().config(&format!("{ALL}{text}")).admin()
}

/// Where it listens now.
fn addresses(gateway: &Gateway) -> Vec<SocketAddr> {
    let config = json_of(&ask(gateway, "GET", "/v1/config", &Value::Null));
    let listeners = config["listeners"].as_array().expect("a list").iter();
    let address = |one: &Value| one["address"].as_str().expect("a text").parse().ok();
    listeners.filter_map(address).collect()
}

fn open(address: SocketAddr) -> Peer {
    let (mut peer, response) = Peer::open_at(address, &Request::open("/a"));
    assert_eq!(response.status, 101);
    peer.echo("hello");
    peer
}

/// A connection that has asked for a WebSocket, and what it was answered.
fn asks(address: SocketAddr) -> (Peer, u16) {
    let mut peer = Peer::try_connect(address).expect("it listens");
    peer.request(&Request::open("/a"));
    let status = peer.response_head().status;
    (peer, status)
}

fn status(address: SocketAddr) -> u16 {
    asks(address).1
}

/// Waits until nobody listens there.
#[track_caller]
fn is_closed(address: SocketAddr) {
    wait_until("it is closed", || TcpStream::connect(address).is_err().then_some(()));
}

/// A folder that goes with this.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tidegate-relisten-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let all = fs::read_dir(&self.0).expect("a folder").map(|one| one.expect("a file"));
        let mut all: Vec<_> = all.map(|one| one.file_name().into_string().expect("text")).collect();
        all.sort_unstable();
        all
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn one_comes_and_goes_and_who_came_by_it_stays() {
    for driver in DRIVERS {
        case(driver, || {
            let one = at_free_ports(driver, &["ws!tcp"]);
            let gateway = launch(&one).start_with_addresses(1);
            let first = addresses(&gateway)[0];
            let mut early: Vec<Peer> = (0..4).map(|_| open(first)).collect();
            let two = at_free_ports(driver, &["ws!tcp", "ws!tcp"]);
            let dry = reload_with(&gateway, &two, &json!({"dry_run": true}));
            assert_eq!(addresses(&gateway).len(), 1, "nothing was done");
            let done = reload_with(&gateway, &two, &json!({}));
            assert_eq!((&dry, &done[0]), (&done, &vec!["listener 127.0.0.1:0 (2)".to_owned()]));
            assert_eq!(done[1], [""; 0]);
            let second = addresses(&gateway)[1];
            gateway.expect_log(&["listening on one more address", &second.to_string()]);
            // Both shards have a socket of it.
            let mut late: Vec<Peer> = (0..32).map(|_| open(second)).collect();
            reload(&gateway, &one);
            is_closed(second);
            assert_eq!(addresses(&gateway), [first]);
            for peer in early.iter_mut().chain(&mut late) {
                peer.echo("still here");
            }
            // They can be drained by the address that they came by.
            let drain = json!({"listener": second.to_string(), "rate": 1_000_000});
            assert!(ask(&gateway, "POST", "/v1/drain", &drain).status < 300);
            for peer in &mut late {
                peer.agree_to_close(1012);
            }
            early.iter_mut().for_each(|peer| peer.echo("nobody has asked us to go"));
            // It comes back at another port, and is served as before.
            reload(&gateway, &two);
            let again = addresses(&gateway)[1];
            (0..8).for_each(|_| drop(open(again)));
        });
    }
}

#[test]
fn who_waits_to_be_accepted_when_one_goes_is_answered() {
    for driver in DRIVERS {
        case(driver, || {
            let two = at_free_ports(driver, &["ws!tcp", "ws!tcp"]);
            let gateway = launch(&two).start_with_addresses(2);
            let second = addresses(&gateway)[1];
            gateway.rewrite(&format!("{ALL}{}", at_free_ports(driver, &["ws!tcp"])));
            gateway.signal(Signal::STOP);
            let mut peers: Vec<Peer> = (0..64)
                .map(|_| {
                    let mut peer = Peer::try_connect(second).expect("the kernel takes it");
                    peer.request(&Request::open("/a"));
                    peer
                })
                .collect();
            gateway.signal(Signal::HUP);
            gateway.signal(Signal::CONT);
            for peer in &mut peers {
                assert_eq!(peer.response_head().status, 101);
                peer.echo("it was there before");
            }
            is_closed(second);
        });
    }
}

#[test]
fn who_comes_has_another_stack_and_who_is_there_keeps_its_own() {
    for driver in DRIVERS {
        case(driver, || {
            let (files, authority) = (Files::new(), Authority::new());
            let tls = format!("ws!{}!tcp", files.layer(&authority, ""));
            let plain = at_free_ports(driver, &["ws!tcp"]);
            let gateway = launch(&plain).start_with_addresses(1);
            let address = addresses(&gateway)[0];
            let mut early = open(address);
            let sealed = at_free_ports(driver, &[&tls]);
            let [changed, left] = reload_with(&gateway, &sealed, &json!({}));
            assert_eq!((changed.len(), left.len()), (1, 0), "{changed:?}");
            assert_eq!(addresses(&gateway), [address], "it has its socket");
            let over_tls = || open(relay(address, authority.trusting()).expect("a relay"));
            let mut secret = over_tls();
            early.echo("in plain");
            let shown = ask(&gateway, "GET", "/v1/certificates", &Value::Null);
            assert!(json_of(&shown).to_string().contains("cert.pem"));
            // And back, through others that only differ in limits and networks.
            for more in ["connections = 2\n", "deny = ['127.0.0.0/8']\n"] {
                let text = sealed.replace("[[route]]", &format!("{more}[[route]]"));
                reload(&gateway, &text);
                secret.echo("sealed");
            }
            reload(&gateway, &plain);
            drop(open(address));
            secret.echo("still sealed");
            early.echo("still in plain");
        });
    }
}

#[test]
fn limits_and_networks_of_one_change_and_its_connections_count_on() {
    for driver in DRIVERS {
        case(driver, || {
            let with = |more: &str| {
                format!(
                    "driver = '{driver}'\n[[listener]]\naddress = '127.0.0.1:0'\n{more}{}",
                    echo("/a", "")
                )
            };
            let gateway = launch(&with("connections = 3\n")).start_with_addresses(1);
            let address = addresses(&gateway)[0];
            let mut peers = [open(address), open(address), open(address)];
            assert_eq!(status(address), 503);
            reload(&gateway, &with("connections = 4\n"));
            let fourth = open(address);
            assert_eq!(status(address), 503);
            reload(&gateway, &with("connections = 2\n"));
            fourth.reset();
            peers[0].echo("nobody is sent away");
            assert_eq!(status(address), 503);
            // From nowhere, so many as may.
            reload(&gateway, &with("deny = ['127.0.0.0/8']\n"));
            let mut denied = Peer::try_connect(address).expect("the kernel takes it");
            denied.request(&Request::open("/a"));
            // Before a request without an answer would be given up.
            let began = Instant::now();
            denied.expect_end();
            assert!(began.elapsed().as_secs() < 3, "it was let in");
            peers.iter_mut().for_each(|peer| peer.echo("it came before"));
            reload(&gateway, &with(""));
            drop(open(address));
            // Who is there is counted though nobody was limited meanwhile.
            reload(&gateway, &with("connections = 4\n"));
            // The last one may yet have to end.
            let _fourth = wait_until("there is room for a fourth", || {
                let (peer, status) = asks(address);
                (status == 101).then_some(peer)
            });
            let began = Instant::now();
            while status(address) != 503 {
                assert!(began.elapsed() < PATIENCE, "those who are there are not counted");
            }
        });
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_changes_nothing_and_leaves_nothing() {
    for driver in DRIVERS {
        case(driver, || {
            let folder = Folder::new(&format!("taken-{driver}"));
            let one = at_free_ports(driver, &["ws!tcp"]);
            let gateway = launch(&one).start_with_addresses(1);
            let address = addresses(&gateway)[0];
            let mut peer = open(address);
            let before = gateway.process().descriptors();
            let held = TcpListener::bind("127.0.0.1:0").expect("a port");
            let taken = held.local_addr().expect("an address").to_string();
            let unix = folder.0.join("s").display().to_string();
            let more = format!(
                "[[listener]]\naddress = 'unix:{unix}'\n[[listener]]\naddress = '127.0.0.1:0'\n\
                 [[listener]]\naddress = '{taken}'\n"
            );
            let text = one.replace("[[route]]", &format!("{more}[[route]]"));
            let said = refused(&gateway, &text);
            assert!(said.contains(&taken) && said.contains("is in use"), "{said}");
            let nowhere = more.replace(&taken, "192.0.2.1:80");
            let text = one.replace("[[route]]", &format!("{nowhere}[[route]]"));
            let said = refused(&gateway, &text);
            assert!(said.contains("is not an address of this machine"), "{said}");
            assert_eq!(folder.names(), [""; 0]);
            wait_until("no descriptor is left", || {
                (gateway.process().descriptors() <= before).then_some(())
            });
            assert_eq!(addresses(&gateway), [address]);
            peer.echo("still here");
            drop(open(address));
        });
    }
}

#[test]
fn a_unix_socket_comes_with_its_mode_and_goes_with_its_files() {
    for driver in DRIVERS {
        case(driver, || {
            let folder = Folder::new(&format!("unix-{driver}"));
            let path = folder.0.join("s");
            let one = at_free_ports(driver, &["ws!tcp"]);
            let with = |mode: &str| {
                let more = format!(
                    "[[listener]]\naddress = 'unix:{}'\nstack = 'ws!unix?mode={mode}'\n",
                    path.display()
                );
                one.replace("[[route]]", &format!("{more}[[route]]"))
            };
            let gateway = launch(&one).start_with_addresses(1);
            let connect = || {
                let mut peer = Peer::over(UnixStream::connect(&path).expect("it listens"));
                peer.request(&Request::open("/a"));
                assert_eq!(peer.response_head().status, 101);
                peer.echo("hello");
                peer
            };
            let mode = || fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
            reload(&gateway, &with("600"));
            let mut peers: Vec<Peer> = (0..8).map(|_| connect()).collect();
            assert_eq!((folder.names().len(), mode()), (2, 0o600));
            reload(&gateway, &with("660"));
            assert_eq!((folder.names().len(), mode()), (2, 0o660));
            peers.push(connect());
            reload(&gateway, &one);
            wait_until("its files are gone", || folder.names().is_empty().then_some(()));
            peers.iter_mut().for_each(|peer| peer.echo("still here"));
            // It may come back at once.
            reload(&gateway, &with("600"));
            drop(connect());
        });
    }
}

#[test]
fn a_passed_socket_stays_and_may_be_otherwise() {
    for driver in DRIVERS {
        case(driver, || {
            let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
            let passed = socket.local_addr().expect("an address");
            let text = |limit: &str| {
                format!(
                    "driver = '{driver}'\n[[listener]]\naddress = '127.0.0.1:0'\n{}{}",
                    limit.replace("PASSED", &passed.to_string()),
                    echo("/a", "")
                )
            };
            let both = text("[[listener]]\naddress = 'PASSED'\n");
            let gateway = launch(&both).passing(PASSING, &socket).start_with_addresses(2);
            let mut peer = open(passed);
            let [changed, left] = reload_with(&gateway, &text(""), &json!({}));
            assert_eq!((changed.len(), left), (0, vec![format!("listener {passed}")]));
            peer.echo("still here");
            drop(open(passed));
            gateway.expect_log(&["WARN", "stays until a restart"]);
            let few = text("[[listener]]\naddress = 'PASSED'\nconnections = 1\n");
            reload(&gateway, &few);
            wait_until("one is as many as may be", || (status(passed) == 503).then_some(()));
            peer.echo("still here");
        });
    }
}

#[test]
fn one_address_takes_the_place_of_another_that_overlaps_with_it() {
    for driver in DRIVERS {
        case(driver, || {
            let port = {
                let free = TcpListener::bind("127.0.0.1:0").expect("a port");
                free.local_addr().expect("an address").port()
            };
            let at = |ip: &str| {
                format!(
                    "driver = '{driver}'\n[[listener]]\naddress = '{ip}:{port}'\n{}",
                    echo("/a", "")
                )
            };
            let gateway = launch(&at("127.0.0.1")).start_with_addresses(1);
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let mut peer = open(address);
            reload(&gateway, &at("0.0.0.0"));
            (0..16).for_each(|_| drop(open(SocketAddr::from(([127, 0, 0, 2], port)))));
            peer.echo("still here");
            wait_until("both are one", || {
                Peer::try_connect(address).is_ok().then(|| drop(open(address)))
            });
        });
    }
}

#[test]
fn open_files_are_looked_at_as_at_a_start() {
    let limits = "driver = 'epoll'\n[limits]\nconnections = 16\n";
    let one = at_free_ports("epoll", &["ws!tcp"]).replace("driver = 'epoll'\n", limits);
    let gateway = launch(&one).under(&["prlimit", "--nofile=400:400"]).start_with_addresses(1);
    let more = "[[listener]]\naddress = '127.0.0.1:0'\n".repeat(50);
    let said = refused(&gateway, &one.replace("[[route]]", &format!("{more}[[route]]")));
    assert!(said.contains("open file") && said.contains("ulimit -n"), "{said}");
    assert_eq!(addresses(&gateway).len(), 1);
    let more = "[[listener]]\naddress = '127.0.0.1:0'\n".repeat(2);
    reload(&gateway, &one.replace("[[route]]", &format!("{more}[[route]]")));
    assert_eq!(addresses(&gateway).len(), 3);
}
