import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, SERVER } from './sample.ts';

const TOKEN = 'token: { header: x-agent-token, issuer: "https://cluster.example.com", audience: cambist }';
const KNOWN = 'known: { billing: { subject: billing }, support: { subject: support } }';
const BY_CERTIFICATE = 'known: { support: { spiffe_id: "spiffe://example.org/support" } }';
const TLS = 'tls: { certificate: { file: ./a }, private_key: { file: ./b }, client_ca: { file: ./c } }';

/** The problems of a config with this `agents`, on a route with these keys. */
function problems(agents: string, route = '', top = ''): string[] {
  const written = `version: 1\n${SERVER}agents: { ${agents} }\n${top}routes:\n`;
  const all = problemsOf(`${written}  - { name: a, match: { path: /a }, upstream: "https://a.example.com"${route} }\n`);
  return all.map((each) => each.replace(/^\d+:\d+: /, '')).filter((each) => !each.startsWith('warning'));
}

const CASES: readonly (readonly [string, readonly [string, string?, string?], readonly string[]])[] = [
  ['accepts agents with tokens', [`${TOKEN}, ${KNOWN}`, ', agents: [billing]'], []],
  ['accepts several agents of a route', [`${TOKEN}, ${KNOWN}`, ', agents: [billing, support]'], []],
  [
    'refuses a route without any agent, which would otherwise serve all',
    [`${TOKEN}, ${KNOWN}`, ', agents: []'],
    ['routes[0].agents: must not be empty'],
  ],
  [
    'refuses an unknown agent',
    [`${TOKEN}, ${KNOWN}`, ', agents: [biling]'],
    ['routes[0].agents[0]: unknown agent: known agents are billing, support'],
  ],
  [
    "refuses the header of the caller's token",
    [`${TOKEN.replace('x-agent-token', 'authorization')}, ${KNOWN}`],
    ['agents.token.header: is already the subject token header: use another header'],
  ],
  [
    'refuses to verify callers as tokens of agents, because each would be refused',
    [`${TOKEN}, ${KNOWN}`, ', subject_token: { verify: { issuer: "https://cluster.example.com", audience: cambist } }'],
    [
      'routes[0].subject_token.verify: accepts only tokens with the issuer and audience of agents.token, so every caller would be refused as an agent: use another audience here or there',
    ],
  ],
  ...['[cambist, users]', 'any', 'users'].map(
    (audience) =>
      [
        `accepts callers with the issuer of agents and the audience ${audience}`,
        [
          `${TOKEN}, ${KNOWN}`,
          `, subject_token: { verify: { issuer: "https://cluster.example.com", audience: ${audience} } }`,
        ],
        [],
      ] as const,
  ),
  [
    'names the entry of a list',
    [`token: [${TOKEN.slice('token: '.length).replace('x-agent-token', 'authorization')}], ${KNOWN}`],
    ['agents.token[0].header: is already the subject token header: use another header'],
  ],
  [
    'refuses a second entry for one header and issuer, and accepts another header',
    [
      `token: [${['x-agent-token', 'X-Agent-Token', 'x-other'].map((header) => TOKEN.slice('token: '.length).replace('x-agent-token', header))}], ${KNOWN}`,
    ],
    ['agents.token[1]: has the header and the issuer of an earlier entry: name its audience there'],
  ],
  [
    'asks for the issuer of an agent where there are several, and refuses one that issues no tokens of agents',
    [
      `token: [${['cluster', 'ci'].map((host) => TOKEN.slice('token: '.length).replace('cluster', host))}], ` +
        `known: { a: { subject: a }, b: { subject: b, issuer: "https://ci.example.com" }, c: { subject: c, issuer: "https://idp.example.com" } }`,
    ],
    [
      'agents.known.a: missing key "issuer": agents.token names several issuers, so name the one of this agent',
      'agents.known.c.issuer: is not the issuer of any agents.token: correct it',
    ],
  ],
  [
    'refuses one identity of two agents, in whatever form',
    [`${TOKEN}, known: { a: { service_account: team-a/a }, b: { subject: "system:serviceaccount:team-a:a" } }`],
    ['agents.known.b: has an identity of agents.known.a: remove it from one'],
  ],
  [
    'refuses an agent without identity',
    [`${TOKEN}, known: { a: {} }`],
    ['agents.known.a: has no identity: set service_account, spiffe_id or subject'],
  ],
  [
    'refuses a route that sends the token of agents which have none',
    [
      `certificate: true, ${BY_CERTIFICATE}`,
      ', actor_token: { from: agent }',
      `listen: { address: "127.0.0.1:8443", ${TLS} }\n`,
    ],
    ['routes[0].actor_token: needs the token of an agent: set agents.token, or file instead of from'],
  ],
  [
    'reports no error that follows from one of the token',
    [`${TOKEN.replace(', audience: cambist', '')}, ${KNOWN}`],
    ['agents.token: missing key "audience": add it (the `aud` must contain one of these)'],
  ],
  [
    'refuses an agent with a token where no token is configured',
    [`certificate: true, ${KNOWN}`, '', `listen: { address: "127.0.0.1:8443", ${TLS} }\n`],
    [
      'agents.known.billing: is known by its token, which cambist does not read: set agents.token',
      'agents.known.support: is known by its token, which cambist does not read: set agents.token',
    ],
  ],
  [
    'refuses an agent with a certificate alone where no certificate counts',
    [`${TOKEN}, ${BY_CERTIFICATE}`],
    [
      'agents.known.support: is known by its certificate, which cambist does not read: set agents.certificate or agents.forwarded',
    ],
  ],
  [
    'names every listener whose clients may have certificates',
    [`forwarded: { from: ["spiffe://example.org/proxy"] }, ${BY_CERTIFICATE}`],
    [
      'agents.forwarded: needs certificates of clients: set tls.client_ca, or tls: spiffe, for listen, decisions.http.listen or decisions.grpc.listen',
    ],
  ],
  [
    'refuses agents by certificate without client certificates',
    [`certificate: true, ${BY_CERTIFICATE}`],
    ['agents.certificate: needs certificates of clients: set tls.client_ca, or tls: spiffe, for listen'],
  ],
];

for (const [name, given, expected] of CASES) {
  test(name, () => assert.deepEqual(problems(...given), expected));
}
