//! Users and what their passwords hash to, from the file that has them.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use super::basic::Credentials;
use super::keys::{WrongKeyFile, contents_up_to};
use super::password_hash::PasswordHash;
use super::{Grant, NotAdmitted};
use crate::config::{Hashing, Jwt, Passwords};
use crate::names::Name;

/// The longest file, in bytes: of some 10,000 users.
const FILE_MAX: u64 = 1 << 20;

/// What is kept of the longest file, in bytes, counted high: the shortest line has 63, and what is
/// kept of a user is a hash and a grant, each some 200 bytes, and twice the name in tables that
/// have just doubled.
pub(super) const HELD_MAX: u64 = 12 << 20;

/// One user.
struct PasswordUser {
    hash: PasswordHash,
    grant: Arc<Grant>,
}

/// The users of a file.
pub(crate) struct PasswordFile {
    pub(super) config: Passwords,
    /// What is asked of those who come without a password.
    pub(super) realm: Arc<str>,
    users: Vec<PasswordUser>,
    /// Where each is among these. Nobody can choose a name for its place here.
    places: HashMap<Box<str>, u32, RandomState>,
    /// The SHA-256 of the file.
    contents: [u8; 32],
}

impl PasswordFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be used. That shows nothing of it.
    pub(super) fn read(config: &Passwords, hashing: &Hashing) -> Result<Self, WrongKeyFile> {
        let read = contents_up_to(&config.file, FILE_MAX).and_then(|bytes| {
            let mut file = Self {
                config: config.clone(),
                realm: config.realm.as_str().into(),
                users: Vec::new(),
                places: HashMap::default(),
                contents: [0; 32],
            };
            file.contents.copy_from_slice(digest(&SHA256, &bytes).as_ref());
            let text = str::from_utf8(&bytes).map_err(|_| "it is no text in UTF-8")?;
            for (number, line) in text.lines().enumerate() {
                file.add(line, hashing.memory)
                    .map_err(|wrong| format!("line {}: {wrong}", number + 1))?;
            }
            match file.users.is_empty() {
                true => Err("it has no user: `htpasswd -nB USER` makes a line".into()),
                false => Ok(file),
            }
        });
        read.map_err(|wrong| WrongKeyFile {
            kind: "passwords",
            issuer: config.name.clone(),
            file: config.file.clone(),
            wrong,
        })
    }

    /// Adds what a line says; nothing of one that is empty, or a comment.
    fn add(&mut self, line: &str, memory: u32) -> Result<(), String> {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (user, hash) = line.split_once(':').ok_or("it is no `USER:HASH`")?;
        let name = Name::new(user)
            .map_err(|_| "a user's name has 1 to 200 bytes without control characters")?;
        let hash = PasswordHash::read(hash, memory)?;
        let place = self.users.len() as u32;
        if self.places.insert(user.into(), place).is_some() {
            return Err("its user has a line before: keep one".into());
        }
        let grant = Arc::new(Grant { user: Some(name), expired: Jwt::EXPIRED, ..Grant::default() });
        self.users.push(PasswordUser { hash, grant });
        Ok(())
    }

    /// Whether it is the same file, with the same in it.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.config == other.config && self.contents == other.contents
    }

    /// What the user of these credentials may do. It takes as long if there is none: then the
    /// password is hashed as that of somebody else, who is always the same for one name, and what
    /// comes out is not looked at.
    ///
    /// # Errors
    /// [`NotAdmitted::WrongPassword`].
    pub(super) fn verify(&self, credentials: &Credentials) -> Result<Arc<Grant>, NotAdmitted> {
        let user = credentials.user();
        let known = self.places.get(user).map(|place| *place as usize);
        let somebody =
            || (self.places.hasher().hash_one(user) % self.users.len().max(1) as u64) as usize;
        let place = known.unwrap_or_else(somebody);
        let user = self.users.get(place).ok_or(NotAdmitted::WrongPassword)?;
        let fits = user.hash.fits(credentials.password());
        match known.is_some() & fits {
            true => Ok(Arc::clone(&user.grant)),
            false => Err(NotAdmitted::WrongPassword),
        }
    }
}

impl fmt::Debug for PasswordFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, users, .. } = self;
        out.debug_struct("PasswordFile")
            .field("config", config)
            .field("users", &users.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Somebody's, at the least cost.
    const HASH: &str = "$2y$04$EGdrhbKUv8Oc9vGiXX0HQOynrPsj5clS/roU46anDf24DEhNWtSCG";

    fn read(name: &str, text: &str) -> Result<PasswordFile, String> {
        let name = format!("tidegate-passwords-{name}-{}", std::process::id());
        let path: PathBuf = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("it is writable");
        let read = PasswordFile::read(&Passwords::new("p", &path), &Hashing::default());
        let _ = std::fs::remove_file(&path);
        read.map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn lines_name_users_and_what_their_passwords_hash_to() {
        let text = format!("# staff\n\nada:{HASH}\r\n\u{e4} b@c:{HASH}\n");
        let file = read("good", &text).expect("right");
        let named = |user: &str| {
            let place = *file.places.get(user).expect("there") as usize;
            file.users[place].grant.user.as_ref().map(ToString::to_string)
        };
        assert_eq!(named("ada").as_deref(), Some("ada"));
        assert_eq!(named("\u{e4} b@c").as_deref(), Some("\u{e4} b@c"));
        assert!(file.is_as(&read("good", &text).expect("right")));
        assert!(!file.is_as(&read("good", &format!("{text}bob:{HASH}\n")).expect("right")));
        assert!(!format!("{file:?}").contains("$2"));
    }

    #[test]
    fn mistakes_name_their_line_and_show_no_password() {
        let twice = format!("ada:{HASH}\nada:{HASH}");
        for (text, wrong) in [
            ("", "it has no user"),
            ("# ada:hunter2\n", "it has no user"),
            ("ada", "line 1: it is no `USER:HASH`"),
            ("\nada:hunter2\n", "line 2: there is no hash of argon2id"),
            ("ada:{SHA}hunter2", "line 1: SHA-1 is too quick"),
            (
                "ada:$2y$31$EGdrhbKUv8Oc9vGiXX0HQOynrPsj5clS/roU46anDf24DEhNWtSCG",
                "line 1: its cost",
            ),
            (":hunter2", "line 1: a user's name"),
            (&format!("ada:{HASH}:hunter2"), "line 1: it is no hash of bcrypt"),
            (&twice, "line 2: its user has a line before"),
        ] {
            let error = read("bad", text).expect_err(text);
            assert!(error.starts_with("passwords p: ") && error.contains(wrong), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let nowhere = Passwords::new("p", "/nowhere/at/all");
        let error = PasswordFile::read(&nowhere, &Hashing::default()).expect_err("no file");
        assert!(error.to_string().contains("it cannot be read"), "{error}");
    }
}
