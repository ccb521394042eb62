//! Files that cannot be used, which certificate a client is shown, and what is told of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{DnType, SanType, SerialNumber, date_time_ymd};
use rustls::pki_types::UnixTime;

use super::super::tests::{Authority, Folder, pem};
use super::*;

/// Reads a certificate, for these names.
fn held(
    cert: impl AsRef<Path>,
    key: impl AsRef<Path>,
    names: &[&str],
) -> Result<HeldCertificate, WrongFile> {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    HeldCertificate::read(cert.as_ref(), key.as_ref(), &names, UnixTime::now())
}

/// What is said of a file that cannot be used.
fn wrong(cert: &Path, key: &Path) -> (PathBuf, String) {
    let error = held(cert, key, &[]).unwrap_err();
    assert_eq!(error.to_string(), format!("{} {}", error.file.display(), error.what));
    (error.file, error.what)
}

#[test]
fn files_that_cannot_be_used_are_told_with_what_to_do() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let files = folder.write_pair("right", &authority.issue(&["a.org"], |_| {}));
    let other = folder.write_pair("other", &authority.issue(&["b.org"], |_| {}));
    let (cert, key) = (files.cert.as_path(), files.key.as_path());
    held(cert, key, &[]).unwrap();
    let says = |one: &Path, with: &Path, at: &Path, text: &str| {
        let (file, what) = wrong(one, with);
        assert!(what.contains(text), "{what}");
        assert_eq!(file, at);
    };
    let none = cert.with_file_name("none.pem");
    says(&none, key, &none, "is not there");
    says(cert, &none, &none, "is not there");
    let parent = cert.parent().unwrap();
    says(parent, key, parent, "is a directory");
    says(Path::new("/dev/null"), key, Path::new("/dev/null"), "is not a file");
    let empty = folder.write("empty", "");
    says(&empty, key, &empty, "is empty");
    let large = folder.write("large", vec![b'\n'; (1 << 20) + 1]);
    says(&large, key, &large, "more than 1 MiB");
    let text = folder.write("text", "no certificate at all\n");
    says(&text, key, &text, "has to be PEM");
    says(key, cert, key, "are `cert` and `key` exchanged?");
    says(cert, cert, cert, "are `cert` and `key` exchanged?");
    let der = folder.write("der", authority.certificate());
    says(&der, key, &der, "seems to be DER");
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = folder.write("encrypted", encrypted);
    says(cert, &encrypted, &encrypted, "openssl pkey");
    let cut = std::fs::read_to_string(cert).unwrap().replace("-----END", "");
    let cut = folder.write("cut", cut);
    says(&cut, key, &cut, "broken PEM");
    // Nothing of a key is told.
    let text = std::fs::read_to_string(key).unwrap();
    for broken in
        [text.replace('\n', " "), text.replace("\n-----END", "-----END"), text[..99].into()]
    {
        let broken = folder.write("broken", broken);
        let what = "is broken PEM: a section has no line `-----END …-----`; write it anew";
        says(cert, &broken, &broken, what);
    }
    let odd = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
    let odd = folder.write("odd", odd);
    says(cert, &odd, &odd, "is not supported");
    says(cert, &other.key, cert, "is not the certificate of the key in");
    let [first, second] =
        [&other.cert, &files.cert].map(|file| std::fs::read_to_string(file).unwrap());
    let order = folder.write("order", first + &second);
    says(&order, key, &order, "in front of them");
    let garbage = folder.write("garbage", pem(&[0x30, 3, 1, 1, 1]));
    says(&garbage, key, &garbage, "broken certificate");
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let expired =
        authority.issue(&["a.org"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let expired = folder.write_pair("expired", &expired);
    let (file, what) = wrong(&expired.cert, &expired.key);
    assert!(what.contains("has expired") && what.contains("2020"), "{what}");
    assert_eq!(file, expired.cert);
    let early = authority.issue(&["a.org"], |params| params.not_before = date_time_ymd(4000, 1, 1));
    let early = folder.write_pair("early", &early);
    let (_, what) = wrong(&early.cert, &early.key);
    assert!(what.contains("not valid before"), "{what}");
}

#[test]
fn facts_and_doubts_are_told() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let pair = authority.issue(&["A.org", "*.b.org"], |_| {});
    let files = folder.write_pair("one", &pair);
    let facts = held(&files.cert, &files.key, &[]).unwrap().facts;
    assert_eq!(facts.names, ["a.org", "*.b.org"]);
    assert_eq!(facts.doubts, Vec::<String>::new());
    assert_eq!(facts.fingerprint.len(), 64);
    let day = 24 * 60 * 60;
    let before = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    assert_eq!(facts.days_left(before(facts.not_after - 3 * day)), 3);
    assert_eq!(facts.days_left(before(facts.not_after + 1)), -1);

    let doubts = |names: &[&str]| held(&files.cert, &files.key, names).unwrap().facts.doubts;
    assert_eq!(doubts(&["a.org", "x.b.org", "*.b.org"]), Vec::<String>::new());
    for name in ["b.org", "x.y.b.org", "x.a.org", "c.org"] {
        assert!(doubts(&[name])[0].contains(name), "{name}");
    }
    std::fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    assert!(doubts(&[])[0].contains("chmod o-r"));
    let nameless = folder.write_pair("nameless", &authority.issue(&[], |_| {}));
    let facts = held(&nameless.cert, &nameless.key, &[]).unwrap().facts;
    assert!(facts.doubts[0].contains("no names"), "{:?}", facts.doubts);
}

#[test]
fn a_client_is_shown_what_it_asks_for() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let made = |name: &str, names: &[&str]| {
        let files = folder.write_pair(name, &authority.issue(names, |_| {}));
        held(&files.cert, &files.key, &[]).unwrap()
    };
    let all = [made("a", &["a.org", "*.a.org"]), made("b", &["b.org", "x.a.org"])];
    let own = made("own", &["own.org", "b.org"]);
    let by_name = Arc::new(ByName::new(&all));
    let shared = Chooser::new(None, &by_name, &all[0].key);
    let with_own = Chooser::new(Some(&own), &by_name, &all[0].key);
    let is = |chooser: &Chooser, name: Option<&str>, held: &HeldCertificate| {
        assert!(Arc::ptr_eq(chooser.choose(name), &held.key), "{name:?}");
    };
    is(&shared, Some("a.org"), &all[0]);
    is(&shared, Some("A.ORG."), &all[0]);
    is(&shared, Some("y.a.org"), &all[0]);
    is(&shared, Some("x.a.org"), &all[1]);
    is(&shared, Some("b.org"), &all[1]);
    is(&shared, Some("y.x.a.org"), &all[0]);
    is(&shared, None, &all[0]);
    is(&with_own, Some("b.org"), &own);
    is(&with_own, Some("x.a.org"), &all[1]);
    for name in [None, Some("y.x.a.org"), Some("c.org"), Some(""), Some("."), Some(".a.org")] {
        is(&with_own, name, &own);
    }
}

#[test]
fn a_peer_is_told_within_bounds() {
    let authority = Authority::new();
    let (certificate, _) = authority.issue(&["device.org"], |params| {
        let subject = &mut params.distinguished_name;
        subject.push(DnType::CommonName, "device\r\nSet-Cookie: x");
        subject.push(DnType::OrganizationName, "o".repeat(600));
        params.serial_number = Some(SerialNumber::from(vec![1, 0xab]));
        let uri = "urn:device:7".try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(uri));
        params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 7].into()));
        params.subject_alt_names.push(SanType::Rfc822Name("a@device.org".try_into().unwrap()));
        params.subject_alt_names.push(SanType::DnsName("l".repeat(300).try_into().unwrap()));
        let many = (0..100).map(|at| SanType::DnsName(format!("{at}.org").try_into().unwrap()));
        params.subject_alt_names.extend(many);
    });
    let peer = PeerCertificate::of(&[certificate]).unwrap();
    assert!(peer.subject.starts_with("CN=device\u{fffd}\u{fffd}Set-Cookie"), "{}", peer.subject);
    assert!(peer.subject.len() <= 512);
    assert_eq!(
        peer.names[..5],
        ["device.org", "urn:device:7", "10.0.0.7", "a@device.org", "0.org"]
    );
    assert_eq!((peer.names.len(), peer.names_left_out), (16, 105 - 16));
    assert!(peer.held() <= PeerCertificate::BYTES as u64, "{} bytes", peer.held());
    assert_eq!((peer.serial.as_str(), peer.fingerprint_sha256.len()), ("01ab", 64));
    let (certificate, _) = authority.issue(&[], |params| {
        let long = |at: u32| format!("{}.{at:02}.org", "l".repeat(200)).try_into().unwrap();
        params.subject_alt_names.extend((0..16).map(|at| SanType::DnsName(long(at))));
    });
    let peer = PeerCertificate::of(&[certificate]).unwrap();
    assert_eq!((peer.names.len(), peer.names_left_out), (4, 12), "of 207 bytes each, in 1,024");
    assert!(peer.held() <= PeerCertificate::BYTES as u64, "{} bytes", peer.held());
    let (certificate, _) = authority.issue(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, "#a, O=b+c\\ ");
        params.distinguished_name.push(DnType::OrganizationName, "d");
    });
    let peer = PeerCertificate::of(&[certificate]).unwrap();
    assert_eq!(peer.subject, "CN=\\#a\\, O=b\\+c\\\\\\ , O=d");
    assert_eq!(PeerCertificate::of(&[]), None);
    let odd = PeerCertificate::of(&[vec![1, 2, 3].into()]).unwrap();
    assert!(odd.names.is_empty() && odd.subject.is_empty());
}
