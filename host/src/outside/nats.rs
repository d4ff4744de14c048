//! The fleet's stream: what hosts tell each other, and who may write about which project.
//!
//! Touches: network (a NATS server with JetStream), http (its monitoring page).
//! Change here: when the stream is configured otherwise, or another release of the server is asked for.
//!
//! Nothing here is the truth. What is told stands in the teller's own log before, and what is heard is kept in the
//! hearer's log before it is acknowledged, so a server that loses everything costs time only.

use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use async_nats::{Client, ConnectOptions, HeaderMap};
use jiff::Timestamp;
use secrecy::ExposeSecret;

use super::tls;
use crate::config;

mod leases;

pub use leases::{Changes, Entry, Holding, Leases};

/// Subjects begin with one of these words, behind the prefix.
pub const ROOTS: [&str; 5] = ["change", "agent", "result", "digest", "app"];
/// The oldest server whose answers this client understands in full.
const OLDEST: (u32, u32) = (2, 10);
const CONNECTING: Duration = Duration::from_secs(5);
const ANSWERING: Duration = Duration::from_secs(5);
/// The same id within this time is dropped by the server; everybody who reads drops it for ever.
const DUPLICATES: Duration = Duration::from_secs(120);
/// A message that was handed out and not acknowledged comes again after this.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);
/// Handed out at a time.
const IN_FLIGHT: i64 = 1000;
/// Says how a body was packed that would not have fitted otherwise.
const ENCODING: &str = "Content-Encoding";
pub const CONTENT_TYPE: &str = "Content-Type";
const MESSAGE_ID: &str = "Nats-Msg-Id";
pub const CLOUD_EVENT: &str = "application/cloudevents+json";
/// What a packed body may come to; a small message must not fill the memory.
const LARGEST_UNPACKED: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    #[error("bus.{key}: {why}")]
    Setting { key: &'static str, why: String },
    #[error("no NATS server answers at {servers}: {why}")]
    Away { servers: String, why: String },
    #[error(
        "the NATS server at {servers} is version {found}, and this needs {}.{} or newer: Debian 12's package is too \
         old, the NATS project's own releases are not", OLDEST.0, OLDEST.1
    )]
    TooOld { servers: String, found: String },
    #[error(
        "the NATS server at {servers} has no JetStream: start it with `jetstream {{}}` in its configuration"
    )]
    NoJetStream { servers: String },
    #[error(
        "the NATS server may lose what it acknowledged when the power fails ({why}): set `sync_interval: always` in \
         its `jetstream` section, or bus.durability = \"tell\" to go on all the same"
    )]
    Weak { why: String },
    #[error(
        "the stream {stream} is not configured as it was asked for: {what} is {found} and not {wanted}; change it, or \
         name another with bus.stream"
    )]
    OtherStream {
        stream: String,
        what: &'static str,
        found: String,
        wanted: String,
    },
    #[error("{doing}: {why}")]
    Failed { doing: &'static str, why: String },
}

impl NatsError {
    /// Waiting does not help.
    pub fn is_for_good(&self) -> bool {
        !matches!(self, NatsError::Away { .. } | NatsError::Failed { .. })
    }
}

fn failed(doing: &'static str) -> impl Fn(async_nats::Error) -> NatsError {
    move |error| NatsError::Failed {
        doing,
        why: error.to_string(),
    }
}

/// Something to tell.
pub struct Outgoing {
    /// Unique everywhere; the same twice is kept once.
    pub id: String,
    /// Without the prefix.
    pub subject: String,
    pub body: Vec<u8>,
}

/// Why one message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// It never will be.
    #[error("{0}")]
    Never(String),
    /// It may be in a moment.
    #[error("{0}")]
    NotNow(String),
}

/// Something that was told.
pub struct Incoming {
    /// Without the prefix.
    pub subject: String,
    /// As the teller called it; else by its place in the stream, the same for everybody who hears it.
    pub id: String,
    /// Of the message, by name.
    pub headers: Vec<(String, String)>,
    /// Why the body could not be unpacked, where it could not.
    pub body: Result<Vec<u8>, String>,
    /// When it came to the server, by its clock.
    pub published: Timestamp,
    message: jetstream::Message,
}

impl Incoming {
    /// It will not come again.
    pub async fn done(&self) -> Result<(), NatsError> {
        self.message
            .ack()
            .await
            .map_err(failed("acknowledging a message"))
    }

    /// It comes again after a while.
    pub async fn later(&self, after: Duration) -> Result<(), NatsError> {
        self.message
            .ack_with(jetstream::AckKind::Nak(Some(after)))
            .await
            .map_err(failed("putting a message off"))
    }
}

/// What tells one stream from another of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub made: String,
    pub last: u64,
}

/// A server that was found fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub version: String,
    /// What the operator should know about it.
    pub warning: Option<String>,
}

/// A connection to a server that was found fit.
#[derive(Clone)]
pub struct Link {
    client: Client,
    context: jetstream::Context,
    bus: config::Bus,
    /// What the operator should know about the server.
    pub warning: Option<String>,
}

impl Link {
    /// Connects, refuses a server that is unfit, and makes the stream or checks the one that is there.
    pub async fn connect(bus: &config::Bus, host: &str) -> Result<Link, NatsError> {
        let (client, server) = fit(bus, host).await?;
        let context = jetstream::ContextBuilder::new()
            .timeout(ANSWERING)
            .ack_timeout(ANSWERING)
            .build(client.clone());
        let link = Link {
            client,
            context,
            bus: bus.clone(),
            warning: server.warning,
        };
        link.stream().await?;
        Ok(link)
    }

    /// What the server says of itself, or why it is unfit; nothing is made there.
    pub async fn look(bus: &config::Bus, host: &str) -> Result<Server, NatsError> {
        fit(bus, host).await.map(|(_, server)| server)
    }

    /// The stream, made anew where it is gone.
    pub async fn stream(&self) -> Result<Identity, NatsError> {
        let doing = "looking at the stream";
        let stream = self
            .context
            .get_or_create_stream(self.wanted())
            .await
            .map_err(|e| failed(doing)(e.into()))?;
        let info = stream.cached_info();
        self.check(&info.config)?;
        Ok(Identity {
            made: info.created.unix_timestamp_nanos().to_string(),
            last: info.state.last_sequence,
        })
    }

    fn wanted(&self) -> stream::Config {
        let subject = |root: &&str| self.prefixed(&format!("{root}.>"));
        stream::Config {
            name: self.bus.stream.clone(),
            subjects: ROOTS.iter().map(subject).collect(),
            storage: stream::StorageType::File,
            retention: stream::RetentionPolicy::Limits,
            discard: stream::DiscardPolicy::Old,
            max_age: Duration::from_secs(u64::from(self.bus.max_age_days) * 86_400),
            max_bytes: match self.bus.max_mib {
                0 => -1,
                mib => i64::from(mib) << 20,
            },
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            num_replicas: self.bus.replicas,
            duplicate_window: DUPLICATES,
            ..stream::Config::default()
        }
    }

    /// A server that does not know a setting drops it without a word; so what it says it has is what counts.
    fn check(&self, found: &stream::Config) -> Result<(), NatsError> {
        let wanted = self.wanted();
        let compare = |what, found: String, wanted: String| match found == wanted {
            true => Ok(()),
            false => Err(NatsError::OtherStream {
                stream: self.bus.stream.clone(),
                what,
                found,
                wanted,
            }),
        };
        let sorted = |subjects: &[String]| {
            let mut subjects = subjects.to_vec();
            subjects.sort();
            subjects.join(" ")
        };
        compare(
            "subjects",
            sorted(&found.subjects),
            sorted(&wanted.subjects),
        )?;
        let shown = |config: &stream::Config| format!("{:?}", config.storage);
        compare("storage", shown(found), shown(&wanted))?;
        let shown = |config: &stream::Config| format!("{:?}", config.retention);
        compare("retention", shown(found), shown(&wanted))?;
        let shown = |config: &stream::Config| format!("{} replicas", config.num_replicas);
        compare("num_replicas", shown(found), shown(&wanted))
    }

    /// Tells all of it at once, in order; each answer is durable as far as the server is.
    pub async fn tell(&self, messages: Vec<Outgoing>) -> Vec<Result<(), Untold>> {
        let mut sent = Vec::with_capacity(messages.len());
        for message in messages {
            sent.push(self.send(message).await);
        }
        let mut told = Vec::with_capacity(sent.len());
        for answer in sent {
            told.push(match answer {
                Ok(acknowledged) => acknowledged.await.map(drop).map_err(untold),
                Err(error) => Err(error),
            });
        }
        told
    }

    async fn send(
        &self,
        message: Outgoing,
    ) -> Result<jetstream::context::PublishAckFuture, Untold> {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, message.id.as_str());
        headers.insert(CONTENT_TYPE, CLOUD_EVENT);
        let most = self.client.server_info().max_payload;
        // The headers count too.
        let fits = |body: &[u8]| body.len() + 1024 <= most;
        let mut body = message.body;
        if !fits(&body) {
            body =
                zstd::encode_all(body.as_slice(), 3).map_err(|e| Untold::Never(e.to_string()))?;
            headers.insert(ENCODING, "zstd");
        }
        if !fits(&body) {
            let size = body.len();
            return Err(Untold::Never(format!(
                "it is {size} bytes even when packed, and the server takes {most}: raise its `max_payload`"
            )));
        }
        let subject = self.prefixed(&message.subject);
        let sent = self
            .context
            .publish_with_headers(subject, headers, body.into());
        sent.await.map_err(untold)
    }

    /// Everything in the stream that this host has not acknowledged, then whatever comes.
    pub async fn listen(&self, host: &str) -> Result<Intake, NatsError> {
        let doing = "making the consumer";
        let stream = self
            .context
            .get_stream(&self.bus.stream)
            .await
            .map_err(|e| failed(doing)(e.into()))?;
        let name = consumer_of(host);
        let wanted = consumer::pull::Config {
            durable_name: Some(name.clone()),
            deliver_policy: consumer::DeliverPolicy::All,
            ack_policy: consumer::AckPolicy::Explicit,
            ack_wait: ACKNOWLEDGED_WITHIN,
            max_ack_pending: IN_FLIGHT,
            ..consumer::pull::Config::default()
        };
        let consumer = stream
            .get_or_create_consumer(&name, wanted)
            .await
            .map_err(|e| failed(doing)(e.into()))?;
        let messages = consumer
            .messages()
            .await
            .map_err(|e| failed(doing)(e.into()))?;
        Ok(Intake {
            messages,
            prefix: self.prefixed(""),
        })
    }

    /// Whether this host has acknowledged everything up to this place in the stream.
    pub async fn has_heard(&self, host: &str, sequence: u64) -> Result<bool, NatsError> {
        let doing = "looking at the consumer";
        let consumer: consumer::PullConsumer = self
            .context
            .get_consumer_from_stream(consumer_of(host), &self.bus.stream)
            .await
            .map_err(|e| failed(doing)(e.into()))?;
        let info = consumer.cached_info();
        let nothing_left = info.num_pending == 0 && info.num_ack_pending == 0;
        Ok(nothing_left || info.ack_floor.stream_sequence >= sequence)
    }

    /// Who has which project.
    pub async fn leases(&self) -> Result<Leases, NatsError> {
        Leases::open(&self.context, &self.bus).await
    }

    fn prefixed(&self, subject: &str) -> String {
        match self.bus.prefix.as_str() {
            "" => subject.to_owned(),
            prefix => format!("{prefix}.{subject}"),
        }
    }
}

fn untold(error: jetstream::context::PublishError) -> Untold {
    use jetstream::context::PublishErrorKind::{MaxPayloadExceeded, WrongLastMessageId};
    match error.kind() {
        MaxPayloadExceeded | WrongLastMessageId => Untold::Never(error.to_string()),
        _ => Untold::NotNow(error.to_string()),
    }
}

fn consumer_of(host: &str) -> String {
    format!("host-{host}")
}

/// What a host hears.
pub struct Intake {
    messages: consumer::pull::Stream,
    prefix: String,
}

impl Intake {
    /// None when the subscription has ended.
    pub async fn next(&mut self) -> Option<Result<Incoming, NatsError>> {
        use futures::StreamExt;
        let message = self.messages.next().await?;
        Some(
            message
                .map(|message| incoming(message, &self.prefix))
                .map_err(|e| failed("listening")(e.into())),
        )
    }
}

fn incoming(message: jetstream::Message, prefix: &str) -> Incoming {
    let subject = message.subject.as_str();
    let subject = subject.strip_prefix(prefix).unwrap_or(subject).to_owned();
    let headers: Vec<(String, String)> = message
        .headers
        .iter()
        .flat_map(|headers| headers.iter())
        .filter_map(|(name, values)| Some((name.to_string(), values.first()?.to_string())))
        .collect();
    let header = |wanted: &str| {
        let found = headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    };
    let body = match header(ENCODING) {
        None | Some("identity") => Ok(message.payload.to_vec()),
        Some("zstd") => unpack(&message.payload),
        Some(other) => Err(format!(
            "its {ENCODING} is {other:?}; only zstd is understood"
        )),
    };
    let (sequence, nanoseconds) = message.info().map_or((0, 0), |info| {
        (info.stream_sequence, info.published.unix_timestamp_nanos())
    });
    let id = match header(MESSAGE_ID) {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => format!("stream-{nanoseconds}-{sequence}"),
    };
    Incoming {
        subject,
        id,
        body,
        published: Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH),
        headers,
        message,
    }
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let broken = |e: std::io::Error| format!("it does not unpack: {e}");
    let decoder = zstd::Decoder::new(packed).map_err(broken)?;
    let mut body = Vec::new();
    let most = LARGEST_UNPACKED as u64 + 1;
    decoder.take(most).read_to_end(&mut body).map_err(broken)?;
    match body.len() > LARGEST_UNPACKED {
        true => Err(format!("it unpacks to more than {LARGEST_UNPACKED} bytes")),
        false => Ok(body),
    }
}

/// A connection to a server that is new enough, has streams, and loses nothing where that is required.
async fn fit(bus: &config::Bus, host: &str) -> Result<(Client, Server), NatsError> {
    tls::prepare();
    let client = client(bus, host).await?;
    let info = client.server_info();
    let servers = bus.servers.join(", ");
    if version(&info.version).is_none_or(|v| v < OLDEST) {
        let found = info.version;
        return Err(NatsError::TooOld { servers, found });
    }
    if !info.jetstream {
        return Err(NatsError::NoJetStream { servers });
    }
    let warning = match (durability(bus).await, bus.durability) {
        (Ok(()), _) => None,
        (Err(why), config::Durability::Require) => return Err(NatsError::Weak { why }),
        (Err(why), config::Durability::Tell) => Some(why),
    };
    let version = info.version;
    Ok((client, Server { version, warning }))
}

async fn client(bus: &config::Bus, host: &str) -> Result<Client, NatsError> {
    let setting = |key| move |why: String| NatsError::Setting { key, why };
    let secret = |key, secret: &config::Secret| {
        let read = secret.read().map_err(|e| setting(key)(e.to_string()))?;
        Ok::<_, NatsError>(read.expose_secret().to_owned())
    };
    let mut options = ConnectOptions::new()
        .name(format!("changebus/{host}"))
        .connection_timeout(CONNECTING)
        .require_tls(bus.tls);
    if let (Some(user), Some(password)) = (&bus.user, &bus.password) {
        options = options.user_and_password(user.clone(), secret("password", password)?);
    }
    if let Some(token) = &bus.token {
        options = options.token(secret("token", token)?);
    }
    if let Some(path) = &bus.credentials {
        let why = |e: std::io::Error| setting("credentials")(format!("{}: {e}", path.display()));
        options = options.credentials_file(path).await.map_err(why)?;
    }
    if let Some(path) = &bus.tls_ca {
        options = options.add_root_certificates(path.clone());
    }
    if let (Some(certificate), Some(key)) = (&bus.tls_certificate, &bus.tls_key) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    options
        .connect(bus.servers.as_slice())
        .await
        .map_err(|error| NatsError::Away {
            servers: bus.servers.join(", "),
            why: error.to_string(),
        })
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Whether what the server acknowledges survives a power cut, as its monitoring page says.
async fn durability(bus: &config::Bus) -> Result<(), String> {
    let Some(page) = &bus.monitor else {
        return Err("whether it writes at once is not known: bus.monitor is not set".to_owned());
    };
    let page = format!("{}/varz", page.trim_end_matches('/'));
    let asked = async {
        let client = reqwest::Client::builder().timeout(ANSWERING).build()?;
        client
            .get(&page)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await
    };
    let said: serde_json::Value = asked
        .await
        .map_err(|e: reqwest::Error| format!("{page} does not say: {e}"))?;
    match said["jetstream"]["config"]["sync_always"].as_bool() {
        Some(true) => Ok(()),
        _ => {
            let nanoseconds = said["jetstream"]["config"]["sync_interval"].as_u64();
            let seconds = nanoseconds.map_or("?".to_owned(), |n| (n / 1_000_000_000).to_string());
            Err(format!("it writes to disk only every {seconds} s"))
        }
    }
}
