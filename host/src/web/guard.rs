//! Who may ask the page for what: under which name it was asked for, from where, and by whom.
//!
//! Touches: nothing.
//! Change here: when people sign in otherwise, or a browser can be turned against them another way.
//!
//! Three questions, in this order. Is it asked for under one of its own names? Another name is what a stranger's site
//! gave our address. Does what changes something come from one of our own pages? Is somebody signed in, where it takes
//! that? Whoever shows a token with the request itself is no browser that was led astray, so the second is not asked.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Http;

/// For so long a session lasts.
const SESSION: SignedDuration = SignedDuration::from_hours(12);
/// The name of the cookie.
pub const COOKIE: &str = "changebus";
/// A shorter token could be guessed.
const SHORTEST: usize = 16;

pub struct Guard {
    listen: SocketAddr,
    names: Vec<String>,
    open_to_readers: bool,
    /// Digests of the tokens, by person.
    people: BTreeMap<String, [u8; 32]>,
    key: [u8; 32],
}

/// What a request says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// It is a GET or a HEAD.
    pub is_safe: bool,
    pub host: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub fetch_site: Option<&'a str>,
    pub authorization: Option<&'a str>,
    pub cookies: Option<&'a str>,
}

/// What it takes to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    /// Signed in, unless everybody on this machine may read.
    Reading,
    SignedIn,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "this page is not known under that name; ask for it by its address, or add the name to http.names"
    )]
    Name,
    #[error(
        "this did not come from one of the pages here; open the page itself, or send `Authorization: Bearer TOKEN`"
    )]
    Elsewhere,
    #[error("this token is nobody's; http.people says who has one")]
    Token,
    #[error("sign in first")]
    Nobody,
}

/// Somebody whose token was shown, now or when they signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    /// What forms have to bring along; none where the token itself came with the request.
    pub form: Option<String>,
}

impl Person {
    pub fn sent(&self, shown: &str) -> bool {
        let Some(form) = &self.form else {
            return true;
        };
        form.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl Guard {
    /// `tokens` by person, `key` from chance: sessions end with the process.
    ///
    /// # Errors
    /// Says whose token cannot be used, and why.
    pub fn new(
        http: &Http,
        listen: SocketAddr,
        tokens: &BTreeMap<String, String>,
        key: [u8; 32],
    ) -> Result<Guard, (String, &'static str)> {
        let mut people: BTreeMap<String, [u8; 32]> = BTreeMap::new();
        for (name, token) in tokens {
            if token.len() < SHORTEST {
                return Err((name.clone(), "it has to have 16 characters at least"));
            }
            let digest = digest(token);
            if people.values().any(|other| *other == digest) {
                return Err((name.clone(), "somebody else has the same"));
            }
            people.insert(name.clone(), digest);
        }
        Ok(Guard {
            listen,
            names: http.names.clone(),
            open_to_readers: http.is_open_to_readers(),
            people,
            key,
        })
    }

    /// The person who asks, if it is known; why not, where the request is not to be answered.
    pub fn judge(
        &self,
        asked: &Asked<'_>,
        takes: Takes,
        now: Timestamp,
    ) -> Result<Option<Person>, Refused> {
        let host = asked.host.filter(|host| self.is_ours(host));
        let host = host.ok_or(Refused::Name)?;
        let bearer = asked.authorization.map(|a| a.strip_prefix("Bearer "));
        if let Some(token) = bearer {
            let name = self.person(token.unwrap_or_default());
            let name = name.ok_or(Refused::Token)?.to_owned();
            return Ok(Some(Person { name, form: None }));
        }
        if !asked.is_safe && !came_from_here(asked, host) {
            return Err(Refused::Elsewhere);
        }
        let person = asked.cookies.and_then(|c| self.in_session(c, now));
        let enough = match takes {
            Takes::Nothing => true,
            Takes::Reading => self.open_to_readers || person.is_some(),
            Takes::SignedIn => person.is_some(),
        };
        enough.then_some(person).ok_or(Refused::Nobody)
    }

    /// Whose token it is. Takes as long for one that is nobody's.
    pub fn person(&self, token: &str) -> Option<&str> {
        let shown = digest(token.trim());
        let mut found = None;
        for (name, digest) in &self.people {
            if digest.ct_eq(&shown).into() {
                found = Some(name.as_str());
            }
        }
        found
    }

    pub fn anybody(&self) -> bool {
        !self.people.is_empty()
    }

    /// The value of the cookie that keeps somebody signed in.
    pub fn session(&self, name: &str, now: Timestamp) -> String {
        let until = now.saturating_add(SESSION).map_or(0, Timestamp::as_second);
        let what = format!("{name}.{until}");
        let seal = self.seal("session", &what);
        format!("{what}.{seal}")
    }

    /// In seconds.
    pub fn session_lasts() -> i64 {
        SESSION.as_secs()
    }

    fn in_session(&self, cookies: &str, now: Timestamp) -> Option<Person> {
        let pairs = cookies.split(';').filter_map(|c| c.trim().split_once('='));
        let (_, value) = pairs.into_iter().find(|(name, _)| *name == COOKIE)?;
        let (what, seal) = value.rsplit_once('.')?;
        let (name, until) = what.split_once('.')?;
        let same: bool = self
            .seal("session", what)
            .as_bytes()
            .ct_eq(seal.as_bytes())
            .into();
        let lasts = until.parse().is_ok_and(|until| now.as_second() < until);
        let is_one = self.people.contains_key(name);
        (same && lasts && is_one).then(|| Person {
            name: name.to_owned(),
            form: Some(self.seal("form", value)),
        })
    }

    fn seal(&self, purpose: &str, what: &str) -> String {
        // Any length is a key for this one.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            return String::new();
        };
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(what.as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    /// The address itself, this machine's own names, and those of the configuration. An address instead of a name cannot
    /// have been given to us by a stranger.
    fn is_ours(&self, host: &str) -> bool {
        let (name, port) = parts(host);
        let name = name.to_ascii_lowercase();
        if name == "localhost" || self.names.contains(&name) {
            return true;
        }
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let Ok(address) = bare.parse::<IpAddr>() else {
            return false;
        };
        let ours = address == self.listen.ip() || self.listen.ip().is_unspecified();
        address.is_loopback() || (ours && port.unwrap_or(80) == self.listen.port())
    }
}

/// Name and port of `name`, `name:port`, `[address]:port`.
fn parts(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (host, None),
        },
        _ => (host, None),
    }
}

/// Browsers say where a form or a script was. What says nothing of it is no browser of these days, and has to show a
/// token.
fn came_from_here(asked: &Asked<'_>, host: &str) -> bool {
    if let Some(site) = asked.fetch_site {
        return site == "same-origin";
    }
    let authority = |scheme: &str, port: u16| {
        let origin = asked.origin?.strip_prefix(scheme)?;
        let (name, at) = parts(origin);
        let (own, own_at) = parts(host);
        Some(name.eq_ignore_ascii_case(own) && at.unwrap_or(port) == own_at.unwrap_or(port))
    };
    let same = authority("http://", 80).or_else(|| authority("https://", 443));
    same.unwrap_or(false)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-that-is-long-enough";

    fn guard(listen: &str, names: &[&str]) -> Guard {
        let listen: SocketAddr = listen.parse().unwrap();
        let http = Http {
            listen: Some(listen),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            people: BTreeMap::new(),
        };
        let tokens = BTreeMap::from([("ada".to_owned(), TOKEN.to_owned())]);
        Guard::new(&http, listen, &tokens, [7; 32]).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-26T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn only_our_own_names_are_answered_to() {
        let local = guard("127.0.0.1:7117", &[]);
        let all = guard("0.0.0.0:7117", &["bus.example.org"]);
        for (host, locally, everywhere) in [
            ("127.0.0.1:7117", true, true),
            ("localhost:7117", true, true),
            ("LOCALHOST", true, true),
            ("localhost:8080", true, true),
            ("[::1]:7117", true, true),
            ("bus.example.org", false, true),
            ("bus.example.org:443", false, true),
            ("192.0.2.7:7117", false, true),
            ("192.0.2.7:80", false, false),
            ("192.0.2.7", false, false),
            ("evil.example:7117", false, false),
            ("localhost.evil.example", false, false),
            ("127.0.0.1.evil.example:7117", false, false),
            ("bus.example.org.evil.example", false, false),
            ("", false, false),
            (":7117", false, false),
            ("localhost:port", false, false),
        ] {
            assert_eq!(local.is_ours(host), locally, "{host} locally");
            assert_eq!(all.is_ours(host), everywhere, "{host} everywhere");
        }
    }

    #[test]
    fn what_changes_something_comes_from_one_of_our_pages() {
        let host = "127.0.0.1:7117";
        for (origin, site, comes) in [
            (Some("http://127.0.0.1:7117"), None, true),
            (Some("http://127.0.0.1:7117"), Some("same-origin"), true),
            (Some("null"), Some("same-origin"), true),
            (None, Some("same-origin"), true),
            (Some("http://127.0.0.1:7117"), Some("cross-site"), false),
            (None, Some("same-site"), false),
            (None, Some("none"), false),
            (None, None, false),
            (Some("null"), None, false),
            (Some("http://evil.example"), None, false),
            (Some("http://127.0.0.1"), None, false),
            (Some("http://127.0.0.1:7118"), None, false),
            (Some("https://127.0.0.1:7117"), None, true),
            (Some("ftp://127.0.0.1:7117"), None, false),
        ] {
            let asked = Asked {
                origin,
                fetch_site: site,
                ..Asked::default()
            };
            assert_eq!(came_from_here(&asked, host), comes, "{origin:?} {site:?}");
        }
        let proxied = Asked {
            origin: Some("https://bus.example.org"),
            ..Asked::default()
        };
        assert!(came_from_here(&proxied, "bus.example.org"));
        assert!(came_from_here(&proxied, "bus.example.org:443"));
        assert!(!came_from_here(&proxied, "bus.example.org:80"));
    }

    #[test]
    fn a_session_is_one_persons_for_twelve_hours_and_cannot_be_made_up() {
        let guard = guard("127.0.0.1:7117", &[]);
        let value = guard.session("ada", now());
        let cookies = format!("other=1; {COOKIE}={value}");
        let person = guard.in_session(&cookies, now()).unwrap();
        assert_eq!(person.name, "ada");
        let form = person.form.clone().unwrap();
        assert!(person.sent(&form) && !person.sent("") && !form.is_empty());
        let later = now() + SESSION;
        assert_eq!(guard.in_session(&cookies, later), None);
        let (what, seal) = value.rsplit_once('.').unwrap();
        let longer = what.replace(".1", ".9");
        for forged in [
            format!("{COOKIE}={longer}.{seal}"),
            format!("{COOKIE}={}.{seal}", what.replace("ada", "bob")),
            format!("{COOKIE}={what}."),
            format!("{COOKIE}={what}"),
            format!("{COOKIE}="),
            format!("{COOKIE}x={value}"),
            format!("{COOKIE}={}", guard.session("eve", now())),
        ] {
            assert_eq!(guard.in_session(&forged, now()), None, "{forged}");
        }
        let other = Guard {
            key: [8; 32],
            ..self::guard("127.0.0.1:7117", &[])
        };
        assert_eq!(other.in_session(&cookies, now()), None);
    }

    #[test]
    fn a_token_is_long_and_one_persons() {
        let tokens = |ada: &str, bob: &str| {
            BTreeMap::from([("ada", ada), ("bob", bob)].map(|(n, t)| (n.to_owned(), t.to_owned())))
        };
        let listen = "127.0.0.1:7117".parse().unwrap();
        let made = |tokens| Guard::new(&Http::default(), listen, &tokens, [7; 32]).err();
        assert_eq!(made(tokens(TOKEN, "short")).unwrap().0, "bob");
        assert_eq!(made(tokens(TOKEN, TOKEN)).unwrap().0, "bob");
        assert!(made(tokens(TOKEN, "another-token-that-is-long")).is_none());
        let guard = guard("127.0.0.1:7117", &[]);
        assert_eq!(guard.person(TOKEN), Some("ada"));
        assert_eq!(guard.person(""), None);
    }
}
