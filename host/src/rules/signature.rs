//! Signatures of what comes from outside: `t=SECONDS,v1=HEX`, HMAC-SHA256 over `SECONDS.BODY`; and of forges, which sign
//! the body alone.
//!
//! Touches: nothing.
//! Change here: when another service signs otherwise.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Seconds that a signature may be old, or from the future.
const TOLERANCE: i64 = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    #[error("there is no signature")]
    Missing,
    #[error("the signature is not written as it should be")]
    Malformed,
    #[error("the signature is more than {TOLERANCE} s old, or from the future")]
    OutOfTime,
    #[error("the signature is not of this body")]
    Wrong,
}

/// Whether whoever knows the secret signed this body around `now`, in seconds since 1970. Of several `v1` one has to fit.
pub fn verify(secret: &str, header: Option<&str>, body: &[u8], now: i64) -> Result<(), Forged> {
    let header = header.ok_or(Forged::Missing)?;
    let mut time: Option<i64> = None;
    let mut given = vec![];
    for part in header.split(',') {
        match part.trim().split_once('=').ok_or(Forged::Malformed)? {
            ("t", seconds) => time = Some(seconds.parse().map_err(|_| Forged::Malformed)?),
            ("v1", hex) => given.push(bytes(hex).ok_or(Forged::Malformed)?),
            _ => {}
        }
    }
    let time = time.ok_or(Forged::Malformed)?;
    if given.is_empty() || secret.is_empty() {
        return Err(Forged::Malformed);
    }
    if now.abs_diff(time) > TOLERANCE.unsigned_abs() {
        return Err(Forged::OutOfTime);
    }
    let fits = |signature: &Vec<u8>| mac(secret, time, body).verify_slice(signature).is_ok();
    match given.iter().any(fits) {
        true => Ok(()),
        false => Err(Forged::Wrong),
    }
}

/// Whether whoever knows the secret signed this body; the signature, in hex and after `sha256=` where that stands before it.
pub fn verify_body(secret: &str, header: Option<&str>, body: &[u8]) -> Result<[u8; 32], Forged> {
    let header = header.ok_or(Forged::Missing)?.trim();
    let hex = header.strip_prefix("sha256=").unwrap_or(header);
    let given = bytes(hex).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let given = given.ok_or(Forged::Malformed)?;
    if secret.is_empty() {
        return Err(Forged::Malformed);
    }
    let mut mac = keyed(secret);
    mac.update(body);
    match mac.verify_slice(&given) {
        Ok(()) => Ok(given),
        Err(_) => Err(Forged::Wrong),
    }
}

/// In hex.
pub fn sign_body(secret: &str, body: &[u8]) -> String {
    let mut mac = keyed(secret);
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

pub fn sign(secret: &str, seconds: i64, body: &[u8]) -> String {
    let code = mac(secret, seconds, body).finalize().into_bytes();
    format!("t={seconds},v1={}", hex(&code))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(secret: &str, seconds: i64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = keyed(secret);
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    mac
}

fn keyed(secret: &str) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of HMAC may have any length")
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    hex.len()
        .is_multiple_of(2)
        .then(|| pairs.map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// From GitHub's documentation of webhooks.
    #[test]
    fn a_forge_signs_the_body_alone() {
        let signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
        for header in [signature.to_owned(), format!("sha256={signature}")] {
            assert!(verify_body(secret, Some(&header), body).is_ok());
            assert_eq!(
                verify_body(secret, Some(&header), b"Hello"),
                Err(Forged::Wrong)
            );
            assert_eq!(
                verify_body("other", Some(&header), body),
                Err(Forged::Wrong)
            );
        }
        assert_eq!(verify_body(secret, None, body), Err(Forged::Missing));
        for bad in ["", "sha256=", "sha1=00", "zz", &signature[2..]] {
            assert_eq!(
                verify_body(secret, Some(bad), body),
                Err(Forged::Malformed),
                "{bad}"
            );
        }
        assert_eq!(
            verify_body("", Some(signature), body),
            Err(Forged::Malformed)
        );
    }

    #[test]
    fn what_was_signed_in_time_is_believed_and_nothing_else() {
        let good = sign("secret", NOW, b"{}");
        let check =
            |secret, header: &str, body: &[u8], now| verify(secret, Some(header), body, now);
        assert_eq!(check("secret", &good, b"{}", NOW + 300), Ok(()));
        assert_eq!(
            check("secret", &good, b"{}", NOW + 301),
            Err(Forged::OutOfTime)
        );
        assert_eq!(
            check("secret", &good, b"{}", NOW - 301),
            Err(Forged::OutOfTime)
        );
        assert_eq!(check("secret", &good, b"{ }", NOW), Err(Forged::Wrong));
        assert_eq!(check("other", &good, b"{}", NOW), Err(Forged::Wrong));
        let rolled = format!(
            "t={NOW},v1=00,{}",
            good.split_once(',').expect("two parts").1
        );
        assert_eq!(check("secret", &rolled, b"{}", NOW), Ok(()));
        assert_eq!(verify("secret", None, b"{}", NOW), Err(Forged::Missing));
        let unkeyed = sign("", NOW, b"{}");
        assert_eq!(check("", &unkeyed, b"{}", NOW), Err(Forged::Malformed));
        for bad in [
            "",
            "t=1",
            "v1=00",
            "t=x,v1=00",
            "t=1,v1=0",
            "t=1,v1=zz",
            "nonsense",
            "t=1,v1=é",
        ] {
            assert_eq!(
                check("secret", bad, b"{}", NOW),
                Err(Forged::Malformed),
                "{bad}"
            );
        }
    }

    #[test]
    fn garbage_is_refused_and_nothing_worse() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let length = random.usize(0..60);
            let all = ['t', 'v', '1', '=', ',', '0', 'f', ' ', 'é', '-'];
            let header: String = (0..length)
                .map(|_| all[random.usize(0..all.len())])
                .collect();
            assert!(verify("secret", Some(&header), b"x", NOW).is_err());
        }
    }
}
