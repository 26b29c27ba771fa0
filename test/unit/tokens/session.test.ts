import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Route } from '../../../src/config/route.ts';
import { keptTokenKey, resourceDigest, subjectKey, tokenKey } from '../../../src/tokens/session.ts';
import { usedHeapBytes } from '../../harness/heap.ts';
import { chainOf, exchangeOf, JWT, routeOf, serverOf, subjectOf, subjectTokenOf, targetOf } from './sample.ts';

const MEBIBYTE = 1024 * 1024;
const RESOURCE = resourceDigest(routeOf());

test('routes that get the same token have the same resource digest', () => {
  const other = routeOf({
    name: 'other',
    match: { host: 'h', path: '/other', conditions: undefined },
    upstream: { origin: 'http://elsewhere', host: 'elsewhere', path: '' },
    subjectToken: subjectTokenOf({ header: 'x-user-token' }),
    retryBodyLimitBytes: 0,
  });
  assert.equal(resourceDigest(other), RESOURCE);
});

const server = (fields: Parameters<typeof serverOf>[0]): Route =>
  routeOf({ credential: exchangeOf({ authorizationServer: serverOf(fields) }) });
const target = (fields: Parameters<typeof targetOf>[0]): Route =>
  routeOf({ credential: exchangeOf({ target: targetOf(fields) }) });

const splitting: Record<string, Route> = {
  'the authorization server': server({ name: 'other' }),
  'its issuer': server({ issuer: 'https://other.example.com' }),
  'its token endpoint': server({ tokenEndpoint: 'https://idp.example.com/token' }),
  'the client': server({ clientId: 'other' }),
  'client authentication': server({ clientAuth: { method: 'client_secret_post', clientSecret: { env: 'SECRET' } } }),
  'its trust anchor': server({ tls: { ca: '/ca.pem', certificate: undefined, privateKey: undefined } }),
  'the client certificate': server({ tls: { ca: undefined, certificate: '/tls.crt', privateKey: '/tls.key' } }),
  'an extra parameter': server({ extraParams: [['connector_id', 'x']] }),
  'the value of an extra parameter': server({ extraParams: [['connector_id', 'y']] }),
  'the kind of credential': routeOf({
    credential: { kind: 'client_credentials', authorizationServer: serverOf(), target: targetOf() },
  }),
  'the type of the subject token': routeOf({ subjectToken: subjectTokenOf({ type: JWT }) }),
  'another grant': server({ grant: 'jwt_bearer' }),
  'a proof of possession': server({ dpop: true }),
  'a chain': routeOf({ credential: exchangeOf({ chain: chainOf() }) }),
  'another assertion in it': routeOf({ credential: exchangeOf({ chain: chainOf({ assertion: 'jwt' }) }) }),
  'an actor token': routeOf({ credential: exchangeOf({ actorToken: { source: { file: '/actor' }, type: JWT } }) }),
  'another actor token': routeOf({ credential: exchangeOf({ actorToken: { source: { file: '/b' }, type: JWT } }) }),
  'the resource': target({ resource: ['https://docs.example.com/mcp'] }),
  'a second resource': target({ resource: ['https://github.example.com/mcp', 'https://docs.example.com/mcp'] }),
  'the audience': target({ audience: ['github'] }),
  'the same name as resource and as audience': target({ resource: [], audience: ['https://github.example.com/mcp'] }),
  'the scope': target({ scope: 'read' }),
  'the requested type': target({ requestedTokenType: JWT }),
  'the expected audience': target({ expectAudience: ['github'] }),
  'the connection of a token vault': target({ connection: 'github' }),
  'another connection': target({ connection: 'docs' }),
  'the URL for consent': routeOf({ consent: { url: 'https://idp.example.com/consent', hosts: [] } }),
  'another URL for consent': routeOf({ consent: { url: 'https://idp.example.com/other', hosts: [] } }),
  'the scopes of a step-up': routeOf({ stepUp: ['write'] }),
  'other scopes of a step-up': routeOf({ stepUp: ['admin'] }),
  'the expected audiences': target({ expectAudience: ['github', 'docs'] }),
};
test('every difference makes another resource digest', () => {
  const byDigest = new Map([[RESOURCE, 'nothing']]);
  for (const [what, route] of Object.entries(splitting)) {
    const digest = resourceDigest(route);
    assert.equal(byDigest.get(digest), undefined, what);
    byDigest.set(digest, what);
  }
});

test('a route without an issued token has no resource digest', () => {
  assert.equal(resourceDigest(routeOf({ credential: { kind: 'none' } })), '');
  assert.equal(resourceDigest(routeOf({ credential: { kind: 'passthrough' } })), '');
});

test('a key is stable for a subject, session id and resource, and does not contain the token', () => {
  const alice = subjectOf('alice');
  const key = tokenKey({ subject: alice, id: 'one' }, RESOURCE);
  assert.equal(tokenKey({ subject: subjectOf('alice'), id: 'one' }, RESOURCE), key);
  assert.ok(!key.includes(alice.token.reveal()));
});

test('a subject key depends on the subject and the resource', () => {
  const key = (name: string, resource = RESOURCE) => subjectKey(subjectOf(name), resource);
  assert.equal(new Set([key('alice'), key('bob'), key('alice', 'other')]).size, 3);
  assert.equal(key('alice'), key('alice'));
});

test('no two sessions have the same key, whatever ids a client invents', () => {
  const subjects = [subjectOf('alice'), subjectOf('bob'), undefined];
  const ids = [undefined, 'undefined', 'null', subjects[0]?.digest];
  const session = fc.record({
    subject: fc.constantFrom(...subjects),
    id: fc.oneof(fc.string({ unit: fc.constantFrom('a', ':', '#', '"', ',', '\\') }), fc.constantFrom(...ids)),
    resource: fc.constantFrom(RESOURCE, 'other'),
  });
  fc.assert(
    fc.property(session, session, (a, b) => {
      const same = a.subject === b.subject && a.id === b.id && a.resource === b.resource;
      assert.equal(tokenKey(a, a.resource) === tokenKey(b, b.resource), same);
    }),
  );
});

test('a cached key equals a new key', () => {
  const subjects = [subjectOf('alice'), subjectOf('alice'), subjectOf('bob'), undefined];
  const session = fc.record({
    subject: fc.constantFrom(...subjects),
    id: fc.constantFrom(undefined, '', 'one', 'two', 'x'.repeat(257), `${'x'.repeat(256)}y`),
    resource: fc.constantFrom(RESOURCE, 'other'),
  });
  fc.assert(
    fc.property(fc.array(session, { maxLength: 30 }), (sessions) => {
      for (const each of sessions) assert.equal(keptTokenKey(each, each.resource), tokenKey(each, each.resource));
    }),
  );
});

test('long session ids have different keys and are not kept in memory', async () => {
  const subject = subjectOf('alice');
  const longId = (index: number) => String(index).padStart(MEBIBYTE, 'z');
  assert.equal(tokenKey({ subject, id: longId(1) }, RESOURCE), tokenKey({ subject, id: longId(1) }, RESOURCE));
  const callers = Array.from({ length: 30 }, () => subjectOf('alice'));
  const before = usedHeapBytes();
  const keys = callers.map((caller, index) => keptTokenKey({ subject: caller, id: longId(index) }, RESOURCE));
  const grownBytes = usedHeapBytes() - before;
  assert.equal(new Set(keys).size, keys.length);
  assert.equal(tokenKey({ subject, id: longId(0) }, RESOURCE), keys[0]);
  assert.ok(grownBytes < 5 * MEBIBYTE, `${grownBytes} bytes for ${callers.length} callers`);
});
