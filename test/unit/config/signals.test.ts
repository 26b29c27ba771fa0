import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../../src/config/load.ts';

const ROUTE = { name: 'a', match: { path: '/' }, upstream: 'http://a.svc', credential: 'none' };
const ISSUER = 'https://idp.example.com';
const POLL = `${ISSUER}/poll`;
const BASIC = { method: 'client_secret_basic', client_secret: { file: '/secret' } };
const SERVERS = {
  idp: { issuer: ISSUER, client_id: 'c', client_auth: BASIC },
  public: { issuer: 'https://public.example.com', client_id: 'c', client_auth: { method: 'none' } },
  proving: { issuer: 'https://proving.example.com', client_id: 'c', client_auth: BASIC, dpop: true },
};

function read(transmitter: object, more: object = {}) {
  const idp = { issuer: ISSUER, audience: 'cambist', ...transmitter };
  const signals = { transmitters: { idp }, ...more };
  const text = JSON.stringify({ version: 1, authorization_servers: SERVERS, signals, routes: [ROUTE] });
  const { config, problems } = parseConfig(text, 'test.yaml');
  return {
    transmitter: config?.signals?.transmitters[0],
    listen: config?.signals?.listen,
    problems: problems
      .map(({ path, message }) => `${path}: ${message}`)
      .filter((problem) => !problem.startsWith('authorization_servers.')),
  };
}

const FILE = { delivery: 'poll', authorization: { file: '/a' } };
const BY_SERVER = { delivery: 'poll', authorization_server: 'idp' };

test('reads a transmitter to poll, which needs no listener', () => {
  const { transmitter, listen, problems } = read({ ...BY_SERVER, poll_endpoint: POLL, scope: 'ssf.read' });
  assert.deepEqual([problems, listen], [[], undefined]);
  const { client, pollIntervalMs } = transmitter ?? assert.fail();
  assert.deepEqual([client?.authorizationServer.name, client?.scope, pollIntervalMs], ['idp', 'ssf.read', 500]);
});

const LISTEN = { listen: '127.0.0.1:8190' };

const PROBLEMS: readonly (readonly [transmitter: object, RegExp, more?: object])[] = [
  [{ delivery: 'poll' }, /idp: needs one credential for polls: set either authorization or authorization_server/],
  [{ ...FILE, ...BY_SERVER }, /idp: needs one credential for polls/],
  [
    { ...BY_SERVER, authorization_server: 'other' },
    /unknown authorization server: known servers are idp, public, prov/,
  ],
  [{ ...BY_SERVER, authorization_server: 'public' }, /authorization_server: "public" has no client_auth/],
  [{ ...BY_SERVER, authorization_server: 'proving' }, /authorization_server: "proving" has dpop/],
  [{ ...FILE, poll_endpoint: 'http://idp.example.com/poll' }, /poll_endpoint: must be https/],
  [{ ...FILE, poll_interval: '100ms' }, /poll_interval: must be at least 250ms/],
  [{ delivery: 'push', poll_interval: '10s' }, /poll_interval: has no meaning for push/, LISTEN],
  [FILE, /idp: missing key "poll_endpoint": set it to the "endpoint_url"/],
  [
    { ...BY_SERVER, ...FILE, delivery: undefined, scope: 'a', poll_endpoint: POLL, backchannel_logout: true },
    /server: has no .*authorization: has no .*scope: has no .*poll_endpoint: has no meaning without delivery/s,
    LISTEN,
  ],
  [{ delivery: 'push' }, /missing key "listen": a transmitter sends to cambist, so set the address for it/],
  [{ backchannel_logout: true }, /missing key "listen"/],
  [FILE, /signals\.listen: has no effect: no transmitter sends to cambist: remove it/, LISTEN],
  [{}, /idp: never gets an event: set delivery for Shared Signals, or backchannel_logout: true/],
];
for (const [transmitter, expected, more] of PROBLEMS) {
  test(`reports ${expected.source.replaceAll('\\', '').slice(0, 60)} for ${JSON.stringify(transmitter)}`, () => {
    assert.match(read(transmitter, more).problems.join('\n'), expected);
  });
}

test('accepts a transmitter whose issuer is not a URL, if jwks_uri is set', () => {
  const { problems } = read({ issuer: 'idp', jwks_uri: `${ISSUER}/jwks`, backchannel_logout: true }, LISTEN);
  assert.deepEqual(problems, []);
});

test('warns of a Keycloak whose disabled users routes serve', () => {
  const keycloak = 'https://idp.example.com/realms/agents';
  const verify = { issuer: keycloak, audience: 'cambist' };
  const secret = { ...ROUTE, credential: 'secret', secret: { file: '/secret' } };
  const routeOf = (name: string, more: object) => ({ ...secret, name, match: { path: `/${name}` }, ...more });
  function warnings(issuer: string, routes: readonly object[]): string {
    const keycloak = { issuer, audience: 'cambist', backchannel_logout: true };
    const authorization_servers = { keycloak: { issuer, client_id: 'c', client_auth: BASIC } };
    const signals = { ...LISTEN, transmitters: { keycloak } };
    const { problems } = parseConfig(JSON.stringify({ version: 1, authorization_servers, signals, routes }), 'c');
    const warned = problems.filter(({ path }) => path.startsWith('signals'));
    return warned.map(({ path, message }) => `${path}: ${message}`).join('\n');
  }
  const exchanged = { ...ROUTE, name: 'exchanged', match: { path: '/x' }, credential: 'exchange' };
  const introspected = { subject_token: { verify: { ...verify, introspection: { cache: '10s' } } } };
  const unaware = [exchanged, routeOf('verified', { subject_token: { verify } })];
  const aware = [routeOf('introspected', introspected), routeOf('open', {})];
  assert.match(
    warnings(keycloak, [...unaware, ...aware]),
    /^signals\.transmitters\.keycloak: Keycloak sends no signal .*: set subject_token\.verify\.introspection for "exchanged", "verified"$/,
  );
  assert.equal(warnings(keycloak, [{ ...exchanged, ...introspected }, ...aware]), '');
  assert.equal(warnings(ISSUER, [exchanged]), '');
});
