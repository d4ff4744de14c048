// Says what GitHub's own schema finds wrong with queries, given as a JSON array of texts.
import { buildSchema, parse, validate } from "graphql";
import { schema } from "@octokit/graphql-schema";

const queries = JSON.parse(process.argv[2]);
// It has a field twice.
const official = buildSchema(schema.idl, { assumeValidSDL: true });
const wrong = queries.flatMap((query) => validate(official, parse(query)).map((error) => error.message));
console.log(JSON.stringify({ wrong }));
