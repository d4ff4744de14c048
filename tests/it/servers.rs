//! Servers a fleet can be on, and servers it refuses: old and weak ones, and the ways to sign in.
//!
//! Touches: files, processes, git, network (loopback).
//! Change here: when a server asks for another way to sign in, or another one is unfit.

use std::path::Path;

use changebus_tests::fleet::{Fleet, all_adopted};
use changebus_tests::javascript::run_javascript;
use changebus_tests::nats::{Nats, debian_server};

/// What `changebus run` says when it cannot be one of a fleet.
fn refused(fleet: &Fleet) -> String {
    let mut command = fleet.changebus("ada", &["run"]);
    let output = command.output().expect("changebus can be started");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_lose_what_it_acknowledged_or_has_no_stream_is_refused_with_what_to_do() {
    let mut fleet = Fleet::new(&["ada"], 1).await;
    fleet.bus_lines = "durability = \"require\"".to_owned();
    let weak = fleet.path().join("weak");
    let store = format!("jetstream {{ store_dir: {:?} }}", weak.join("data"));
    fleet.nats = Nats::run(&weak, &store);
    let said = refused(&fleet);
    assert!(said.contains("sync_interval: always"), "{said}");
    fleet.nats = Nats::run(&fleet.path().join("bare"), "");
    let said = refused(&fleet);
    assert!(said.contains("has no JetStream"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_password_is_entered_with_it_and_with_a_prefix_of_ones_own() {
    let mut fleet = Fleet::new(&["ada"], 1).await;
    let guarded = fleet.path().join("guarded");
    let lines = format!(
        "authorization {{ user: ada, password: of-a-story }}\n\
         jetstream {{ store_dir: {:?}, sync_interval: always }}",
        guarded.join("data")
    );
    fleet.nats = Nats::run(&guarded, &lines);
    let secret = fleet.path().join("password");
    std::fs::write(&secret, "of-a-story").expect("a file can be written");
    fleet.bus_lines = format!(
        "durability = \"require\"\nuser = \"ada\"\npassword = {{ file = {secret:?} }}\nprefix = \"team.one\"\nstream = \"ONE\""
    );
    let _ada = fleet.daemon("ada");
    fleet
        .until("ada", "the tip is known", |e| {
            all_adopted(e, &fleet.projects)
        })
        .await;
    let options =
        async_nats::ConnectOptions::with_user_and_password("ada".into(), "of-a-story".into());
    let client = options.connect(fleet.nats.url()).await.expect("it answers");
    let stream = async_nats::jetstream::new(client).get_stream("ONE").await;
    let mut stream = stream.expect("it was made");
    let subjects = &stream.info().await.expect("it answers").config.subjects;
    assert!(
        subjects.iter().all(|s| s.starts_with("team.one.")),
        "{subjects:?}"
    );
}

async fn adopted(fleet: &Fleet) {
    let _ada = fleet.daemon("ada");
    let all = |e: &[changebus::event::Event]| all_adopted(e, &fleet.projects);
    fleet.until("ada", "the tip is known", all).await;
    let store =
        changebus::outside::store::Store::open_read_only(&fleet.state("ada").join("events.sqlite"));
    let store = store.expect("a log");
    while store.backlog().await.expect("it can be asked").0 > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A server with these lines and a stream that writes at once.
fn guarded(fleet: &mut Fleet, name: &str, lines: &str) {
    let dir = fleet.path().join(name);
    fleet.nats = Nats::start(&dir, lines);
}

fn written(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_debian_12_is_refused_with_where_to_get_another() {
    let mut fleet = Fleet::new(&["ada"], 1).await;
    let old = fleet.path().join("old");
    let store = format!("jetstream {{ store_dir: {:?} }}", old.join("data"));
    fleet.nats = Nats::run_program(&debian_server(), &old, &store);
    let said = refused(&fleet);
    assert!(
        said.contains("version 2.9.10") && said.contains("2.10 or newer"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_token_is_entered_with_it_and_not_without() {
    let mut fleet = Fleet::new(&["ada"], 1).await;
    guarded(&mut fleet, "token", "authorization { token: of-a-story }");
    let token = fleet.path().join("secret");
    written(&token, "of-a-story\n");
    fleet.bus_lines = format!("token = {{ file = {token:?} }}");
    adopted(&fleet).await;
    written(&token, "of-another");
    let checked = fleet
        .changebus("ada", &["check"])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("authorization"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_certificates_is_entered_with_them_and_believed_only_with_the_right_authority()
 {
    let mut fleet = Fleet::new(&["ada"], 1).await;
    let dir = fleet.path().join("certificates");
    std::fs::create_dir_all(&dir).expect("a directory can be made");
    let file = |name: &str| dir.join(name);
    let authority = Authority::new();
    written(&file("ca.pem"), &authority.certificate);
    written(&file("stranger.pem"), &Authority::new().certificate);
    for name in ["server", "ada"] {
        let (certificate, key) = authority.issue(name);
        written(&file(&format!("{name}.pem")), &certificate);
        written(&file(&format!("{name}.key")), &key);
    }
    let lines = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    guarded(&mut fleet, "tls", &lines);
    let with = |ca: &str| {
        format!(
            "tls = true\ntls_ca = {:?}\ntls_certificate = {:?}\ntls_key = {:?}",
            file(ca),
            file("ada.pem"),
            file("ada.key")
        )
    };
    fleet.bus_lines = with("ca.pem");
    adopted(&fleet).await;
    fleet.bus_lines = with("stranger.pem");
    let checked = fleet
        .changebus("ada", &["check"])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&checked.stdout).to_lowercase();
    assert!(
        said.contains("certificate") || said.contains("tls"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_users_by_their_keys_is_entered_with_a_creds_file() {
    let mut fleet = Fleet::new(&["ada"], 1).await;
    let made = run_javascript("credentials.mjs", &["@nats-io/jwt@0.0.11"], &[]);
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    let creds = fleet.path().join("ada.creds");
    written(&creds, &text("creds"));
    let lines = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}",
        text("operator"),
        text("system_id"),
        text("system_id"),
        text("system"),
        text("account_id"),
        text("account"),
    );
    guarded(&mut fleet, "keys", &lines);
    fleet.bus_lines = format!("credentials = {creds:?}");
    adopted(&fleet).await;
}

/// Somebody who vouches for names.
struct Authority {
    certificate: String,
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "a story");
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let issuer =
            rcgen::CertifiedIssuer::self_signed(params, key).expect("it can vouch for itself");
        Authority {
            certificate: issuer.pem(),
            issuer,
        }
    }

    /// Certificate and key, in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let names = vec![
            name.to_owned(),
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
        ];
        let params = rcgen::CertificateParams::new(names).expect("these are names");
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("it can be vouched for");
        (certificate.pem(), key.serialize_pem())
    }
}
