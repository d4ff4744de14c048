// ChangeBus for JavaScript programs: say something to it, and hear what it does.
//
//   const bus = await connect("nats://127.0.0.1:4222", { app: "ci" });
//   await bus.say("job.finished", { job: 7, ok: false });
//   for await (const event of bus.hear("result.run.*.closed")) console.log(event.subject, event.data);
//
// Over NATS it needs the packages `@nats-io/transport-node` and `@nats-io/jetstream`. Over HTTP
// (`connect("http://127.0.0.1:7117", { app: "ci", token: "..." })`) it needs nothing, and can only say.
// What may be said and heard: docs/apps.md and docs/events.md of ChangeBus.

/** ChangeBus does not take this message, and says why. */
export class NotTaken extends Error {}

/**
 * `prefix` and `stream` are those of the hosts' `[bus]`; further options go to the NATS client: user, pass, tls,
 * authenticator.
 */
export async function connect(url, { app, token, prefix = "", stream = "CHANGEBUS", ...options }) {
  const names = { app, stream, prefix: prefix && `${prefix}.` };
  if (url.startsWith("http")) return new Bus(names, new Http(url, token));
  const { connect } = await import("@nats-io/transport-node");
  const { jetstream } = await import("@nats-io/jetstream");
  const client = await connect({ servers: url, token, ...options });
  return new Bus(names, new Nats(client, jetstream(client)));
}

class Bus {
  constructor(names, way) {
    Object.assign(this, names, { way });
  }

  /** Returns the message's id once it is kept. Saying it again under the same id is saying it once. */
  async say(event, data, { id = crypto.randomUUID(), about } = {}) {
    const [source, type] = [`/apps/${this.app}`, `app.${this.app}.${event}`];
    const time = new Date().toISOString();
    const message = { specversion: "1.0", id, source, type, time, subject: about, data };
    await this.way.say(this, event, id, JSON.stringify(message));
    return id;
  }

  /**
   * Events under a subject, for ever, each acknowledged when the next is asked for. A named consumer goes on where it
   * was; without a name hearing starts now.
   */
  async *hear(subject = ">", consumer) {
    for await (const message of await this.way.hear(this, subject, consumer)) {
      yield message.json();
      message.ack();
    }
  }

  close() {
    return this.way.close();
  }
}

class Nats {
  constructor(client, stream) {
    Object.assign(this, { client, stream });
  }

  async say(bus, event, id, body) {
    const { headers } = await import("@nats-io/transport-node");
    const kind = headers();
    kind.set("Content-Type", "application/cloudevents+json");
    await this.stream.publish(`${bus.prefix}app.${bus.app}.${event}`, body, { headers: kind, msgID: `${bus.app}/${id}` });
  }

  async hear(bus, subject, name) {
    const manager = await this.stream.jetstreamManager();
    const start = { deliver_policy: name ? "all" : "new", ack_policy: "explicit", durable_name: name };
    const made = await manager.consumers.add(bus.stream, { ...start, filter_subject: `${bus.prefix}${subject}` });
    return (await this.stream.consumers.get(bus.stream, made.name)).consume();
  }

  close() {
    return this.client.close();
  }
}

class Http {
  constructor(url, token) {
    Object.assign(this, { url, token });
  }

  async say(bus, event, _id, body) {
    const headers = { "Content-Type": "application/cloudevents+json", Authorization: `Bearer ${this.token}` };
    const answer = await fetch(`${this.url}/apps/${bus.app}/${event}`, { method: "POST", headers, body });
    if (!answer.ok) throw new NotTaken(`${answer.status}: ${await answer.text()}`);
  }

  hear() {
    throw new Error("hearing needs NATS");
  }

  close() {}
}
