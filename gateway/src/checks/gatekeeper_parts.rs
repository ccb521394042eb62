//! What the gatekeepers of all shards are made of.

use std::sync::Arc;

use super::known_tokens::KnownTokens;
use super::password_file::PasswordFile;
use super::{Hashers, Issuer, Revocations, Verifiers, WrongKeyFile};
use crate::config::Config;

/// What the gatekeepers of all shards are made of; cheap to clone.
#[derive(Clone)]
pub struct GatekeeperParts {
    pub(super) issuers: Arc<[Arc<Issuer>]>,
    pub(super) tokens: Arc<KnownTokens>,
    pub(super) verifiers: Verifiers,
    pub(super) revocations: Revocations,
    pub(super) passwords: Arc<[Arc<PasswordFile>]>,
    pub(super) hashers: Hashers,
}

impl GatekeeperParts {
    /// Of these issuers, in the order of the configuration, whose signatures these verify.
    #[must_use]
    pub fn new(issuers: Vec<Arc<Issuer>>, verifiers: Verifiers) -> Self {
        Self {
            issuers: issuers.into(),
            tokens: Arc::default(),
            verifiers,
            revocations: Revocations::new(0),
            passwords: Vec::new().into(),
            hashers: Hashers::new(&Config::default()).0,
        }
    }

    /// The same, of tokens that may be taken back by these.
    #[must_use]
    pub fn with_revocations(self, revocations: Revocations) -> Self {
        Self { revocations, ..self }
    }

    /// The issuers.
    #[must_use]
    pub fn issuers(&self) -> Arc<[Arc<Issuer>]> {
        Arc::clone(&self.issuers)
    }

    /// Without issuers of tokens.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Vec::new(), Verifiers::new(0).0)
    }

    /// What hands over passwords that are to be hashed.
    pub(crate) fn hashers(&self) -> &Hashers {
        &self.hashers
    }

    /// Of the issuers of a configuration, its tokens and its passwords.
    ///
    /// # Errors
    /// Each of their files that cannot be used.
    pub fn read(
        config: &Config,
        verifiers: Verifiers,
        hashers: Hashers,
    ) -> Result<Self, Vec<WrongKeyFile>> {
        let (mut issuers, mut wrong) = (Vec::new(), Vec::new());
        for jwt in &config.jwts {
            match Issuer::read(jwt) {
                Ok(issuer) => issuers.push(Arc::new(issuer)),
                Err(files) => wrong.extend(files),
            }
        }
        let tokens = KnownTokens::read(&config.tokens).unwrap_or_else(|files| {
            wrong.extend(files);
            KnownTokens::default()
        });
        let mut passwords = Vec::new();
        for file in &config.passwords {
            match PasswordFile::read(file, &config.hashing) {
                Ok(file) => passwords.push(Arc::new(file)),
                Err(file) => wrong.push(file),
            }
        }
        let (tokens, passwords) = (Arc::new(tokens), passwords.into());
        let parts = Self { tokens, passwords, hashers, ..Self::new(issuers, verifiers) };
        if wrong.is_empty() { Ok(parts) } else { Err(wrong) }
    }

    /// Of the issuers of another configuration, whose files are read anew. Those that are as they
    /// were stay, and those whose endpoint is the same keep the keys that are known from there.
    ///
    /// # Errors
    /// Each of their files that cannot be used.
    pub(crate) fn read_anew(&self, config: &Config) -> Result<Self, Vec<WrongKeyFile>> {
        let read = Self::read(config, self.verifiers.clone(), self.hashers.clone())?;
        let mut read = read.with_revocations(self.revocations.clone());
        read.keep_passwords_of(self);
        let old = |name: &str| self.issuers.iter().find(|one| one.config.name == name);
        let follow = |new: Arc<Issuer>| match old(&new.config.name) {
            Some(old) if old.is_as(&new) => Arc::clone(old),
            Some(old) => {
                new.keep_fetched_of(old);
                new
            }
            None => new,
        };
        let issuers: Vec<_> = read.issuers.iter().cloned().map(follow).collect();
        let is_same = issuers.len() == self.issuers.len()
            && issuers.iter().zip(&*self.issuers).all(|(new, old)| Arc::ptr_eq(new, old));
        read.issuers = if is_same { Arc::clone(&self.issuers) } else { issuers.into() };
        Ok(read)
    }

    /// What the passwords of the file of this name are for.
    pub(super) fn realm(&self, file: &str) -> Arc<str> {
        let named = self.passwords.iter().find(|one| one.config.name == file);
        named.map_or_else(|| "".into(), |one| Arc::clone(&one.realm))
    }

    /// Files of passwords that are as they were stay what they were.
    fn keep_passwords_of(&mut self, old: &Self) {
        let stays = |new: &Arc<PasswordFile>| {
            let same = old.passwords.iter().find(|old| old.is_as(new));
            Arc::clone(same.unwrap_or(new))
        };
        self.passwords = self.passwords.iter().map(stays).collect();
    }
}
