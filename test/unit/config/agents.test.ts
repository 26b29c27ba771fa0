import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertProblems, messagesOf, SERVER } from './sample.ts';

const KEYS = '{ header: x-agent-token, issuer: "https://cluster.example.com", audience: cambist }';
const KNOWN = 'known: { billing: { subject: billing }, support: { subject: support } }';
const TOKEN = `token: ${KEYS}, ${KNOWN}`;
const BY_CERTIFICATE = 'known: { support: { spiffe_id: "spiffe://example.org/support" } }';
const TLS = 'tls: { certificate: { file: ./a }, private_key: { file: ./b }, client_ca: { file: ./c } }';
const LISTEN = `listen: { address: "127.0.0.1:8443", ${TLS} }`;
const VERIFY = 'subject_token: { verify: { issuer: "https://cluster.example.com", audience:';

/** The errors of a config with these `agents`. Behind `|` come keys of its route, and then top-level keys. */
function errorsOf(line: string): string[] {
  const [agents, route = '', top = ''] = line.trim().split(' | ');
  const written = `{ name: a, match: { path: /a }, upstream: "https://a.example.com", ${route} }`;
  const text = `version: 1\n${SERVER}agents: { ${agents} }\n${top}\nroutes:\n  - ${written}\n`;
  return messagesOf(text).filter((each) => !each.startsWith('warning'));
}

test('accepts agents with tokens, several agents of a route, and callers with the issuer of agents', () => {
  for (const route of ['agents: [billing]', 'agents: [billing, support]']) {
    assert.deepEqual(errorsOf(`${TOKEN} | ${route}`), []);
  }
  for (const audience of ['[cambist, users]', 'any', 'users']) {
    assert.deepEqual(errorsOf(`${TOKEN} | ${VERIFY} ${audience} } }`), []);
  }
});

test('refuses a route without any agent, which would otherwise serve all, or with an unknown one', () => {
  const table = `
${TOKEN} | agents: []
→ routes[0].agents: must not be empty
${TOKEN} | agents: [biling]
→ routes[0].agents[0]: unknown agent: known agents are billing, support`;
  assertProblems(table, errorsOf);
});

test('refuses tokens of agents that could be tokens of callers, and two entries for one token', () => {
  const ofCaller = KEYS.replace('x-agent-token', 'authorization');
  const entries = ['x-agent-token', 'X-Agent-Token', 'x-other'].map((header) => KEYS.replace('x-agent-token', header));
  const two = `token: [${KEYS}, ${KEYS.replace('cluster', 'ci')}]`;
  const table = `
token: ${ofCaller}, ${KNOWN}
→ agents.token.header: is already the subject token header: use another header
token: [${ofCaller}], ${KNOWN}
→ agents.token[0].header: is already the subject token header: use another header
${TOKEN} | ${VERIFY} cambist } }
→ routes[0].subject_token.verify: accepts only tokens with the issuer and audience of agents.token, so every caller would be refused as an agent: use another audience here or there
token: [${entries}], ${KNOWN}
→ agents.token[1]: has the header and the issuer of an earlier entry: name its audience there
${two}, known: { a: { subject: a }, b: { subject: b, issuer: "https://ci.example.com" }, c: { subject: c, issuer: "https://idp.example.com" } }
→ agents.known.a: missing key "issuer": agents.token names several issuers, so name the one of this agent
→ agents.known.c.issuer: is not the issuer of any agents.token: correct it
${TOKEN.replace(', audience: cambist', '')}
→ agents.token: missing key "audience": add it (the \`aud\` must contain one of these)`;
  assertProblems(table, errorsOf);
});

test('refuses an agent without an identity, with that of another one in whatever form, or with one that is not read', () => {
  const table = `
token: ${KEYS}, known: { a: { service_account: team-a/a }, b: { subject: "system:serviceaccount:team-a:a" } }
→ agents.known.b: has an identity of agents.known.a: remove it from one
token: ${KEYS}, known: { a: {} }
→ agents.known.a: has no identity: set service_account, spiffe_id or subject
certificate: true, ${BY_CERTIFICATE} | actor_token: { from: agent } | ${LISTEN}
→ routes[0].actor_token: needs the token of an agent: set agents.token, or file instead of from
certificate: true, ${KNOWN} |  | ${LISTEN}
→ agents.known.billing: is known by its token, which cambist does not read: set agents.token
→ agents.known.support: is known by its token, which cambist does not read: set agents.token
token: ${KEYS}, ${BY_CERTIFICATE}
→ agents.known.support: is known by its certificate, which cambist does not read: set agents.certificate or agents.forwarded`;
  assertProblems(table, errorsOf);
});

test('refuses agents by certificate where no listener reads certificates, and names each that may', () => {
  const table = `
forwarded: { from: ["spiffe://example.org/proxy"] }, ${BY_CERTIFICATE}
→ agents.forwarded: needs certificates of clients: set tls.client_ca, or tls: spiffe, for listen, decisions.http.listen or decisions.grpc.listen
certificate: true, ${BY_CERTIFICATE}
→ agents.certificate: needs certificates of clients: set tls.client_ca, or tls: spiffe, for listen`;
  assertProblems(table, errorsOf);
});
