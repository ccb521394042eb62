//! Who has the path of a Unix socket.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The path of a socket that is this process's alone: an empty file beside it, `PATH.lock`, which
/// is locked (flock(2)) for as long as this is there, and removed at the end.
///
/// The kernel gives a lock up with whoever holds it, however that ends, and knows it in all
/// namespaces: containers that share a folder lock each other out, though each may be process 1.
#[derive(Debug)]
pub struct SocketLock {
    path: PathBuf,
    /// Locked while it is open.
    file: File,
}

impl SocketLock {
    /// Takes the path of a socket. `None` if another has it, or has just given it up; that may be
    /// within this process.
    ///
    /// # Errors
    /// The lock's file cannot be made, opened or locked, or is no lock. If it is in the way, that
    /// is said, with what to do.
    pub fn take(socket: &Path) -> io::Result<Option<Self>> {
        let path = beside(socket);
        let file = open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let lock = Self { path, file };
        // Whoever had it before may have removed it since it was opened here. A lock on a file that
        // has no name keeps nobody out.
        Ok(lock.is_there().then_some(lock))
    }

    /// Whether its file has its name.
    fn is_there(&self) -> bool {
        let (own, found) = (self.file.metadata(), fs::symlink_metadata(&self.path));
        matches!((own, found), (Ok(own), Ok(found))
            if (own.dev(), own.ino()) == (found.dev(), found.ino()))
    }
}

impl Drop for SocketLock {
    fn drop(&mut self) {
        // Still locked: nobody else removes it, and who opens it now finds out that it has no name.
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The name of the lock of a socket.
fn beside(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Opens a lock's file, which is made if it is not there. Nobody but its user may, so that nobody
/// else keeps a gateway from starting.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let opened = options.mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        // Another user's, a link, a folder, a socket. What the folder of all of them refuses is not
        // of this file.
        Some(libc::EACCES | libc::EPERM | libc::ELOOP | libc::EISDIR | libc::ENXIO)
            if fs::symlink_metadata(path).is_ok() =>
        {
            in_the_way(path, &error.to_string())
        }
        _ => error,
    })?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > 0 {
        return Err(in_the_way(path, "it is no lock"));
    }
    Ok(file)
}

fn in_the_way(path: &Path, why: &str) -> io::Error {
    let path = path.display();
    io::Error::other(format!(
        "{path}, which locks it, is in the way ({why}): remove that file if no gateway of another \
         user runs there and nobody needs it, or take another path"
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// An empty folder of a test, and a path in it.
    fn folder(test: &str) -> (PathBuf, PathBuf) {
        let name = format!("tidegate-lock-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        let path = folder.join("x.sock");
        (folder, path)
    }

    #[test]
    fn a_path_is_one_holders_at_a_time() {
        let (folder, path) = folder("one");
        let first = SocketLock::take(&path).unwrap().unwrap();
        assert!(SocketLock::take(&path).unwrap().is_none());
        assert_eq!(fs::metadata(beside(&path)).unwrap().mode() & 0o7777, 0o600);
        drop(first);
        assert!(!beside(&path).exists(), "it is removed");
        // As a crash leaves it.
        drop(File::create(beside(&path)).unwrap());
        let next = SocketLock::take(&path).unwrap().unwrap();
        // Who has opened what is then removed has a lock that is nobody's.
        let late = open(&beside(&path)).unwrap();
        drop(next);
        late.try_lock().unwrap();
        let late = SocketLock { path: beside(&path), file: late };
        assert!(!late.is_there());
        let third = SocketLock::take(&path).unwrap().unwrap();
        drop(late);
        assert!(third.is_there(), "it is another's");
        drop(third);
        fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn what_is_no_lock_stays() {
        let (folder, path) = folder("none");
        let lock = beside(&path);
        let expect_refusal = || {
            let error = SocketLock::take(&path).unwrap_err().to_string();
            assert!(error.contains("x.sock.lock, which locks it, is in the way ("), "{error}");
        };
        fs::write(&lock, "a text").unwrap();
        expect_refusal();
        assert_eq!(fs::read_to_string(&lock).unwrap(), "a text");
        fs::remove_file(&lock).unwrap();
        symlink(folder.join("elsewhere"), &lock).unwrap();
        expect_refusal();
        assert!(!folder.join("elsewhere").exists());
        fs::remove_file(&lock).unwrap();
        drop(UnixListener::bind(&lock).unwrap());
        expect_refusal();
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        expect_refusal();
        fs::remove_dir_all(folder).unwrap();
    }
}
