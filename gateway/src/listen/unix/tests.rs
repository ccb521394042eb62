use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process;

use super::*;

/// An empty folder for a test, and the address of a file in it.
fn folder(test: &str) -> (PathBuf, PathBuf) {
    let folder = std::env::temp_dir().join(format!("tidegate-unix-{test}-{}", process::id()));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("x.sock");
    (folder, path)
}

fn open_at(path: &Path, layer: &UnixLayer) -> Result<ListeningSocket, ListenError> {
    open(&UnixAddress::Path(path.to_owned()), layer, Until::Listening)
}

#[test]
fn it_is_there_with_its_mode_and_owner_and_gone_at_the_end() {
    let (folder, path) = folder("mode");
    let group = fs::metadata(&folder).unwrap().gid();
    let owner = SocketOwner { user: None, group: Some(OwnerName::Number(group)) };
    let layer = UnixLayer { mode: 0o604, owner: Some(owner), ..UnixLayer::default() };
    let socket = open_at(&path, &layer).unwrap();
    let found = fs::symlink_metadata(&path).unwrap();
    assert_eq!((found.mode() & 0o7777, found.gid()), (0o604, group));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "it, and its lock");
    let again = socket.try_clone().unwrap();
    drop(socket);
    let _peer = UnixStream::connect(&path).unwrap();
    assert!(matches!(again.accept().unwrap().1, crate::kernel::Peer::Unix { .. }));
    drop(again);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir(folder).unwrap();
}

#[test]
fn what_was_left_over_is_replaced_and_what_is_in_use_is_not() {
    let (folder, path) = folder("use");
    drop(UnixListener::bind(&path).unwrap());
    let first = open_at(&path, &UnixLayer::default()).unwrap();
    let begun = Instant::now();
    let error = open_at(&path, &UnixLayer::default()).unwrap_err();
    assert!(begun.elapsed() >= PATIENCE);
    let message = error.to_string();
    assert!(message.contains("x.sock is in use") && message.contains("ss -lxp"), "{message}");
    let waiting = path.clone();
    let second = thread::spawn(move || open_at(&waiting, &UnixLayer::default()));
    thread::sleep(PAUSE * 4);
    drop(first);
    assert!(second.join().unwrap().is_ok(), "it is free in a moment");
    let datagrams = UnixDatagram::bind(&path).unwrap();
    let error = open_at(&path, &UnixLayer::default()).unwrap_err();
    assert_eq!(error.error.raw_os_error(), Some(libc::EADDRINUSE));
    drop(datagrams);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "a text").unwrap();
    let error = open_at(&path, &UnixLayer::default()).unwrap_err();
    assert!(error.to_string().contains("is there and is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "a text");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_cannot_be_says_what_to_do() {
    let (folder, path) = folder("wrong");
    let error = open_at(&folder.join("no/x.sock"), &UnixLayer::default()).unwrap_err();
    assert!(error.to_string().contains("RuntimeDirectory="), "{error}");
    let user = Some(OwnerName::Name("nobody-of-that-name".into()));
    let owner = Some(SocketOwner { user, group: None });
    let error = open_at(&path, &UnixLayer { owner, ..UnixLayer::default() }).unwrap_err();
    assert!(error.to_string().contains("there is no user nobody-of-that-name"), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left of it");
    fs::remove_dir(folder).unwrap();
}

#[test]
fn nobody_can_connect_to_what_is_only_bound() {
    let (folder, path) = folder("bound");
    let address = UnixAddress::Path(path.clone());
    let layer = UnixLayer { mode: 0o666, ..UnixLayer::default() };
    let socket = open(&address, &layer, Until::Bound).unwrap();
    assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, 0o666);
    let error = UnixStream::connect(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    drop(socket);
    fs::remove_dir(folder).unwrap();
}

/// The other one does not listen yet when it is looked for.
#[test]
fn of_two_that_start_in_one_moment_one_has_the_path() {
    let (folder, path) = folder("moment");
    let address = UnixAddress::Path(path.clone());
    let first = open(&address, &UnixLayer::default(), Until::Bound).unwrap();
    let error = open_at(&path, &UnixLayer::default()).unwrap_err();
    assert!(error.to_string().contains("x.sock is in use"), "{error}");
    let found = fs::symlink_metadata(&path).unwrap().ino();
    assert!(open_at(&path, &UnixLayer::default()).is_err());
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), found, "it is left alone");
    drop(first);
    drop(open_at(&path, &UnixLayer::default()).unwrap());
    fs::remove_dir(folder).unwrap();
}

#[test]
fn the_longest_path_that_is_configured_is_listened_on() {
    let (folder, _) = folder("long");
    let deep = folder.join("a".repeat(103 - folder.as_os_str().len() - 1));
    fs::create_dir(&deep).unwrap();
    let path = deep.join("x.s");
    assert_eq!(path.as_os_str().len(), 107);
    let address: ListenAddress = format!("unix:{}", path.display()).parse().unwrap();
    let ListenAddress::Unix(address) = address else { panic!("{address} is of IP") };
    let socket = open(&address, &UnixLayer::default(), Until::Listening).unwrap();
    let _peer = UnixStream::connect(&path).unwrap();
    drop(socket);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_abstract_name_is_one_sockets() {
    let name = format!("tidegate-test-{}", process::id());
    let address = UnixAddress::Abstract(name.clone());
    let socket = open(&address, &UnixLayer::default(), Until::Listening).unwrap();
    let _peer = UnixStream::connect_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.accept().unwrap();
    let error = open(&address, &UnixLayer::default(), Until::Listening).unwrap_err();
    assert!(error.to_string().contains("is in use"), "{error}");
    drop(socket);
    assert!(open(&address, &UnixLayer::default(), Until::Listening).is_ok());
}
