// Says and hears through our adapter. Arguments: NATS address, HTTP address, token. Prints what it heard and what was
// refused.

import { NotTaken, connect } from "./changebus.mjs";

const [nats, http, token] = process.argv.slice(2);

let bus = await connect(nats, { app: "ci" });
await bus.say("javascript.nats", { n: 1 }, { id: "js-1", about: "a job" });
await bus.say("javascript.nats", { n: 1 }, { id: "js-1", about: "a job" });
let heard;
for await (const event of bus.hear("result.run.*.closed", "javascript")) {
  heard = event;
  break;
}
await bus.close();

bus = await connect(http, { app: "ci", token });
await bus.say("javascript.http", { n: 2 }, { id: "js-2" });
await bus.say("javascript.http", { n: 2 }, { id: "js-2" });
let refused = null;
try {
  await bus.say("javascript.http", "x".repeat(2_000_000));
} catch (why) {
  if (!(why instanceof NotTaken)) throw why;
  refused = why.message;
}
console.log(JSON.stringify({ heard, refused }));
