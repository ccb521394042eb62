//! What a password hashes to, as a file has it: by argon2id, scrypt or bcrypt.

use std::ops::RangeInclusive;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash as Phc, Salt};
use argon2::{Algorithm, Argon2, Version};
use bcrypt::HashParts;
use subtle::ConstantTimeEq;

/// What a password hashes to, by which function, and at what cost.
pub(super) enum PasswordHash {
    /// RFC 9106, as a PHC string has it.
    Argon2id { params: argon2::Params, salt: Salt, output: Output },
    /// RFC 7914, likewise.
    Scrypt { params: scrypt::Params, salt: Salt, output: Output },
    /// bcrypt, as crypt(5) has it.
    Bcrypt { cost: u32, salt: [u8; 16], text: [u8; BCRYPT_LENGTH] },
}

/// How long a hash of bcrypt is.
const BCRYPT_LENGTH: usize = 60;

// No hash is to take a second of a core of these days.
/// The most KiB that argon2id may go over, in all its passes together: 256 MiB.
const ARGON2_WORK: u64 = 256 << 10;
/// The most bytes that scrypt may fill, in all its blocks together: what `ln=17,r=8,p=1` fills.
const SCRYPT_WORK: u64 = 128 << 20;
/// The most that bcrypt may cost: 2 to the power of that.
const BCRYPT_COST: RangeInclusive<u32> = 4..=13;

impl PasswordHash {
    /// Reads one, for which hashing may take so many bytes.
    ///
    /// # Errors
    /// It is none, or its cost is beyond bounds: what is wrong, which shows nothing of it.
    pub(super) fn read(text: &str, memory: u32) -> Result<Self, String> {
        match text.split('$').nth(1).filter(|_| text.starts_with('$')) {
            Some("argon2id") => argon2id(text, memory),
            Some("scrypt") => scrypt(text, memory),
            Some("2a" | "2b" | "2y") => bcrypt(text),
            Some("2x") => Err("it is of a bcrypt with a defect (`$2x$`): make it anew".into()),
            Some("argon2i" | "argon2d") => {
                Err("it is of another argon2 than argon2id: make it anew".into())
            }
            Some("apr1" | "1") => Err(weak("MD5")),
            Some("5" | "6") => Err(weak("SHA-2")),
            Some("7" | "y") => {
                Err("yescrypt is not known here: make it anew, with bcrypt or argon2id".into())
            }
            _ if text.starts_with("{SHA}") => Err(weak("SHA-1")),
            _ => {
                Err("there is no hash of argon2id, scrypt or bcrypt: `htpasswd -nB USER` makes a \
                      line"
                    .into())
            }
        }
    }

    /// Whether this is the password. It takes as long if it is not.
    pub(super) fn fits(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2id { params, salt, output } => {
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
                let mut found = [0; Output::MAX_LENGTH];
                let found = &mut found[..output.len()];
                let hashed = argon2.hash_password_into(password, salt.as_ref(), found);
                hashed.is_ok() && found.ct_eq(output.as_bytes()).into()
            }
            Self::Scrypt { params, salt, output } => {
                let mut found = [0; Output::MAX_LENGTH];
                let found = &mut found[..output.len()];
                let hashed = scrypt::scrypt(password, salt.as_ref(), params, found);
                hashed.is_ok() && found.ct_eq(output.as_bytes()).into()
            }
            Self::Bcrypt { cost, salt, text } => {
                let hashed = bcrypt::hash_with_salt_bytes(password, *cost, *salt);
                hashed.is_ok_and(|found| found.ct_eq(text).into())
            }
        }
    }
}

fn weak(function: &str) -> String {
    format!(
        "{function} is too quick: who has the file tries all passwords. Make the line anew, by \
         `htpasswd -nB USER` say"
    )
}

/// The parts of a PHC string.
fn phc(text: &str) -> Result<(Phc, Salt, Output), String> {
    const NONE: &str = "it is no PHC string: `$FUNCTION$PARAMETERS$SALT$HASH`";
    let phc = Phc::new(text).map_err(|_| NONE)?;
    let (salt, output) = (phc.salt.ok_or(NONE)?, phc.hash.ok_or(NONE)?);
    Ok((phc, salt, output))
}

/// The numbers of these names, and of no others.
fn numbers<const N: usize>(params: &ParamsString, names: [&str; N]) -> Result<[u32; N], String> {
    let all = || names.map(|name| format!("`{name}`")).join(", ");
    let wrong = |_| format!("its parameters are not {}", all());
    let number = |name| params.get_decimal(name).ok_or(());
    let mut found = [0; N];
    for (found, name) in found.iter_mut().zip(names) {
        *found = number(name).map_err(wrong)?;
    }
    if params.iter().count() == N { Ok(found) } else { Err(wrong(())) }
}

fn argon2id(text: &str, memory: u32) -> Result<PasswordHash, String> {
    let (phc, salt, output) = phc(text)?;
    if phc.version != Some(Version::V0x13.into()) {
        return Err("its version is another than `v=19`: make it anew".into());
    }
    let [kibibytes, passes, lanes] = numbers(&phc.params, ["m", "t", "p"])?;
    check_memory(u64::from(kibibytes) << 10, memory)?;
    if u64::from(kibibytes) * u64::from(passes) > ARGON2_WORK {
        return Err(format!(
            "one hash would take too long: `m` times `t` must be at most {ARGON2_WORK}"
        ));
    }
    let params = argon2::Params::new(kibibytes, passes, lanes, Some(output.len()));
    let params = params.map_err(|wrong| format!("its parameters are wrong: {wrong}"))?;
    Ok(PasswordHash::Argon2id { params, salt, output })
}

fn scrypt(text: &str, memory: u32) -> Result<PasswordHash, String> {
    const BLOCK: u64 = 128;
    let (phc, salt, output) = phc(text)?;
    let [ln, r, p] = numbers(&phc.params, ["ln", "r", "p"])?;
    let ln = u8::try_from(ln).ok().filter(|ln| (1..32).contains(ln));
    let ln = ln.ok_or("its `ln` must be between 1 and 31")?;
    let (blocks, p) = (BLOCK.saturating_mul(r.into()), u64::from(p));
    let filled = blocks.saturating_mul(1 << ln);
    check_memory(filled.saturating_add(blocks.saturating_mul(p)), memory)?;
    if filled.saturating_mul(p) > SCRYPT_WORK {
        return Err(format!(
            "one hash would take too long: {BLOCK} times `r`, `p` and 2 to the power of `ln` must \
             be at most {SCRYPT_WORK}"
        ));
    }
    let params = scrypt::Params::new(ln, r, p as u32);
    let params = params.map_err(|_| "its parameters are wrong".to_owned())?;
    Ok(PasswordHash::Scrypt { params, salt, output })
}

fn bcrypt(text: &str) -> Result<PasswordHash, String> {
    const NONE: &str = "it is no hash of bcrypt: `$2b$`, two digits, `$`, and 53 letters";
    let parts: HashParts = text.parse().map_err(|_| NONE)?;
    if !text.as_bytes()[4..6].iter().all(u8::is_ascii_digit) {
        return Err(NONE.into());
    }
    let (cost, salt) = (parts.get_cost(), parts.get_salt_raw());
    if !BCRYPT_COST.contains(&cost) {
        let (least, most) = (BCRYPT_COST.start(), BCRYPT_COST.end());
        return Err(format!("its cost must be between {least} and {most}, is {cost}"));
    }
    let text = parts.format_for_version(bcrypt::Version::TwoB);
    let text = text.as_bytes().try_into().map_err(|_| NONE)?;
    Ok(PasswordHash::Bcrypt { cost, salt, text })
}

fn check_memory(needed: u64, memory: u32) -> Result<(), String> {
    match needed > memory.into() {
        true => Err(format!(
            "one hash takes {needed} bytes, and `hashing.memory` allows {memory}: raise that, or \
             make it anew with less"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What other programs make of it: argon2-cffi, passlib and Python's bcrypt.
    const PASSWORD: &str = "correct horse \u{e4}";
    const GOOD: [&str; 6] = [
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQxMjM0NTY3OA$\
         0q5g2oLmsxquU7J0L94USYodM5+B3PQlfsb77x8Wy1o",
        "$argon2id$v=19$m=256,t=3,p=2$c29tZXNhbHQxMjM0NTY3OA$\
         y7s6G2XGDID2tfCgcOI+JvLf+5rdtPNHmMk1D4HlU1U",
        "$scrypt$ln=5,r=2,p=3$p5QyRuhdK+X8/x/D2Jvzfg$0px0DaLAhYe50PaqCKrVtucfD5CbAiJWYYdFsG4huMo",
        "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOynrPsj5clS/roU46anDf24DEhNWtSCG",
        "$2y$04$EGdrhbKUv8Oc9vGiXX0HQOynrPsj5clS/roU46anDf24DEhNWtSCG",
        "$2a$04$EGdrhbKUv8Oc9vGiXX0HQOynrPsj5clS/roU46anDf24DEhNWtSCG",
    ];
    const MEMORY: u32 = 65 << 20;

    #[test]
    fn a_password_fits_its_hash_and_no_other() {
        for text in GOOD {
            let hash = PasswordHash::read(text, MEMORY).unwrap_or_else(|wrong| panic!("{wrong}"));
            assert!(hash.fits(PASSWORD.as_bytes()), "{text}");
            for other in ["", "Correct horse \u{e4}", "correct horse a\u{308}"] {
                assert!(!hash.fits(other.as_bytes()), "{text} {other}");
            }
        }
    }

    #[test]
    fn what_costs_too_much_or_too_little_is_refused() {
        const REST: &str = "c29tZXNhbHQ$SqlVijFGiPG+935vDSGEsA";
        let argon2 = |params: &str| format!("$argon2id$v=19${params}${REST}");
        let scrypt = |params: &str| format!("$scrypt${params}${REST}");
        let bcrypt = |cost: &str| format!("$2b${cost}${}", GOOD[3].rsplit('$').next().unwrap());
        for (text, wrong) in [
            (argon2("m=66561,t=1,p=1"), "one hash takes 68158464 bytes, and `hashing.memory`"),
            (argon2("m=65536,t=5,p=1"), "`m` times `t` must be at most 262144"),
            (argon2("m=4294967295,t=4294967295,p=1"), "one hash takes"),
            (argon2("m=8,t=0,p=1"), "its parameters are wrong"),
            (argon2("m=8,t=1,p=2"), "its parameters are wrong"),
            (argon2("m=8,t=1,p=4294967295"), "its parameters are wrong"),
            (argon2("m=8,t=1"), "its parameters are not `m`, `t`, `p`"),
            (argon2("m=8,t=1,p=1,keyid=AAAA"), "its parameters are not"),
            (argon2("m=x,t=1,p=1"), "its parameters are not"),
            (scrypt("ln=17,r=8,p=1"), "one hash takes"),
            (scrypt("ln=16,r=8,p=3"), "one hash would take too long"),
            (scrypt("ln=63,r=8,p=1"), "its `ln` must be between"),
            (scrypt("ln=31,r=4294967295,p=4294967295"), "one hash takes"),
            (scrypt("ln=1,r=0,p=1"), "its parameters are wrong"),
            (scrypt("ln=1,r=1,p=0"), "its parameters are wrong"),
            (bcrypt("14"), "its cost must be between 4 and 13, is 14"),
            (bcrypt("03"), "its cost must be between 4 and 13, is 3"),
            (bcrypt("+9"), "it is no hash of bcrypt"),
        ] {
            let error = PasswordHash::read(&text, MEMORY).err().unwrap_or_default();
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_hash_is_named_and_not_shown() {
        for (text, wrong) in [
            ("hunter2", "there is no hash of"),
            ("$$", "there is no hash of"),
            ("x$2b$04$", "there is no hash of"),
            ("$2x$04$hunter2", "a defect"),
            ("$2b$04$hunter2", "it is no hash of bcrypt"),
            ("$apr1$hunter2", "MD5 is too quick"),
            ("$6$hunter2", "SHA-2 is too quick"),
            ("{SHA}hunter2", "SHA-1 is too quick"),
            ("$y$hunter2", "yescrypt"),
            ("$argon2i$v=19$m=8,t=1,p=1$hunter2hunter2$hunter2", "another argon2"),
            ("$argon2id$v=16$m=8,t=1,p=1$c29tZXNhbHQ$SqlVijFGiPG+935vDSGEsA", "`v=19`"),
            ("$argon2id$m=8,t=1,p=1$c29tZXNhbHQ$SqlVijFGiPG+935vDSGEsA", "`v=19`"),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ", "no PHC string"),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$hunter2", "no PHC string"),
            ("$argon2id", "no PHC string"),
            ("$scrypt$ln=1,r=1,p=1", "no PHC string"),
        ] {
            let error = PasswordHash::read(text, MEMORY).err().expect(text);
            assert!(error.contains(wrong) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
