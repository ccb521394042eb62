//! The file that lines go to: opened anew when it is told to, and put aside when it is large.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Who may read a file that is made: its lines say who has come from where.
const MODE: u32 = 0o640;

/// When a file is put aside, and how many of those are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    pub(super) max_size: u64,
    pub(super) keep: u32,
}

/// A file that is written to at its end.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Of a regular file that may be put aside.
    rotation: Option<Rotation>,
    /// The bytes that it has, or, where it could not be put aside, has since.
    size: u64,
}

/// What came of writing a piece.
pub(super) struct Rotated {
    /// Why the file was not put aside, if it should have been.
    pub(super) failed: Option<io::Error>,
}

impl LogFile {
    /// Opens the file, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be.
    pub(super) fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let file = open(path)?;
        let found = file.metadata()?;
        let rotation = rotation.filter(|_| found.is_file());
        Ok(Self { path: path.to_path_buf(), file, rotation, size: found.len() })
    }

    /// Opens it anew, by its name: whatever was moved away is left to whoever did.
    ///
    /// # Errors
    /// It cannot be: then all goes on as it was.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path, self.rotation)?;
        Ok(())
    }

    /// Puts the file aside if it would grow beyond its size by so many bytes.
    pub(super) fn make_room(&mut self, bytes: usize) -> Rotated {
        let Some(Rotation { max_size, keep }) = self.rotation else {
            return Rotated { failed: None };
        };
        if self.size == 0 || self.size + bytes as u64 <= max_size {
            return Rotated { failed: None };
        }
        let failed = self.put_aside(keep).err();
        if failed.is_some() {
            // It grows on, and is tried again once as much has come.
            self.size = 0;
        }
        Rotated { failed }
    }

    fn put_aside(&mut self, keep: u32) -> io::Result<()> {
        for number in (1..keep).rev() {
            match fs::rename(self.aside(number), self.aside(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match fs::rename(&self.path, self.aside(1)) {
            // Somebody has moved it away: that is as good.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.reopen(),
        }
    }

    /// The name of the file that was put aside so many times ago.
    fn aside(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }

    /// Writes the beginning of a piece.
    ///
    /// # Errors
    /// Nothing of it was written.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let written = self.file.write(piece)?;
        self.size += written as u64;
        Ok(written)
    }
}

impl AsFd for LogFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens a file to be written to at its end. Of a FIFO that nobody reads that is an error, and
/// where it is full, so is writing: nothing here waits in the kernel.
fn open(path: &Path) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.append(true).create(true).mode(MODE).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    how.open(path)
}

/// Whether the file can be opened. One that was made for that is taken away again.
///
/// # Errors
/// It cannot be.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let was_there = path.exists();
    open(path)?;
    if was_there { Ok(()) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes with this.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn read(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.0.join(name)).ok()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_are_put_aside_and_so_many_are_kept() {
        let folder = Folder::new("aside");
        let rotation = Some(Rotation { max_size: 10, keep: 2 });
        let mut file = LogFile::open(&folder.0.join("a"), rotation).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "much more than ten\n", "six\n"] {
            assert!(file.make_room(line.len()).failed.is_none());
            assert_eq!(file.write(line.as_bytes()).unwrap(), line.len());
        }
        let names = ["a", "a.1", "a.2", "a.3"].map(|name| folder.read(name));
        let texts = ["six\n", "much more than ten\n", "four\n"].map(|text| Some(text.into()));
        assert_eq!(names[..3], texts);
        assert_eq!(names[3], None);
        // What is there counts as well.
        let mut again = LogFile::open(&folder.0.join("a"), rotation).unwrap();
        assert!(again.make_room(7).failed.is_none());
        assert_eq!(folder.read("a.1").as_deref(), Some("six\n"));
    }

    #[test]
    fn what_cannot_be_put_aside_grows_on() {
        let folder = Folder::new("grows");
        fs::create_dir_all(folder.0.join("a.1/b")).unwrap();
        let rotation = Some(Rotation { max_size: 10, keep: 1 });
        let mut file = LogFile::open(&folder.0.join("a"), rotation).unwrap();
        let mut failures = 0;
        for _ in 0..6 {
            failures += u32::from(file.make_room(5).failed.is_some());
            file.write(b"1234\n").unwrap();
        }
        assert_eq!((failures, folder.read("a").map(|text| text.len())), (2, Some(30)));
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = Folder::new("moved");
        let mut file = LogFile::open(&folder.0.join("a"), None).unwrap();
        file.write(b"one\n").unwrap();
        fs::rename(folder.0.join("a"), folder.0.join("b")).unwrap();
        file.write(b"two\n").unwrap();
        file.reopen().unwrap();
        file.write(b"three\n").unwrap();
        assert_eq!(folder.read("b").as_deref(), Some("one\ntwo\n"));
        assert_eq!(folder.read("a").as_deref(), Some("three\n"));
        fs::remove_dir_all(&folder.0).unwrap();
        assert!(file.reopen().is_err() && file.write(b"four\n").is_ok());
    }

    #[test]
    fn a_check_leaves_nothing_behind() {
        let folder = Folder::new("check");
        let path = folder.0.join("a");
        check(&path).unwrap();
        assert!(!path.exists() && check(&folder.0.join("no/a")).is_err());
        fs::write(&path, "kept").unwrap();
        check(&path).unwrap();
        assert_eq!(folder.read("a").as_deref(), Some("kept"));
    }
}
