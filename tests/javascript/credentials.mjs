// An operator, an account with JetStream, and a user of it, made with the official library. Prints their JWTs, and the
// user's creds file.

import { createAccount, createOperator, createUser, encodeAccount, encodeOperator, encodeUser, fmtCreds } from "@nats-io/jwt";

const [operator, system, account, user] = [createOperator(), createAccount(), createAccount(), createUser()];
const account_limits = { subs: -1, conn: -1, leaf: -1, imports: -1, exports: -1, data: -1, payload: -1, wildcards: true };
const everything = { limits: { ...account_limits, mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 } };
const systemJwt = await encodeAccount("system", system, {}, { signer: operator });
const accountJwt = await encodeAccount("stories", account, everything, { signer: operator });
const userJwt = await encodeUser("ada", user, account, {}, {});
const operatorJwt = await encodeOperator("a story", operator, { system_account: system.getPublicKey() });
console.log(JSON.stringify({
  operator: operatorJwt,
  system: systemJwt,
  system_id: system.getPublicKey(),
  account: accountJwt,
  account_id: account.getPublicKey(),
  creds: new TextDecoder().decode(fmtCreds(userJwt, user)),
}));
