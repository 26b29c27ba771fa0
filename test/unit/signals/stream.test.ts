import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Transmitter } from '../../../src/config/optional-sections.ts';
import { TransmitterError, type TransmitterProblem, unexpectedStatus } from '../../../src/signals/problems.ts';
import { createStreamLocator, findStream } from '../../../src/signals/stream.ts';
import type { TransmitterClient } from '../../../src/signals/transmitter-client.ts';
import { transmitterMetadataUrls } from '../../../src/signals/transmitter-metadata.ts';

const ISSUER = 'https://idp.example.com/realms/agents';
const ORIGIN = 'https://idp.example.com';
const METADATA = {
  issuer: ISSUER,
  configuration_endpoint: `${ORIGIN}/streams`,
  status_endpoint: `${ORIGIN}/status?v=1`,
  verification_endpoint: `${ORIGIN}/verify`,
};
const STREAM = {
  stream_id: 's 1',
  aud: ['cambist'],
  delivery: { method: 'urn:ietf:rfc:8936', endpoint_url: `${ORIGIN}/poll/1` },
};
const PUSH = {
  ...STREAM,
  delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: 'https://cambist.example.com/events/idp' },
};

type Reply = object | number | string;

const transmitter = (fields: Partial<Transmitter> = {}): Transmitter => ({
  name: 'idp',
  issuer: ISSUER,
  audience: ['cambist'],
  jwksUri: undefined,
  ca: undefined,
  delivery: 'poll',
  authorization: undefined,
  client: undefined,
  pollEndpoint: undefined,
  pollIntervalMs: 5000,
  backchannelLogout: false,
  ...fields,
});

/** @param replies responses by method and URL; 404 for others */
function clientOf(replies: Readonly<Record<string, Reply>>) {
  const requests: string[] = [];
  const reply = async (method: string, url: string, body?: object) => {
    requests.push(body === undefined ? `${method} ${url}` : `${method} ${url} ${JSON.stringify(body)}`);
    const found = replies[`${method} ${url}`] ?? 404;
    if (typeof found === 'number') return { status: found, retryAfter: undefined, text: '' };
    const status = method === 'POST' ? 201 : 200;
    return { status, retryAfter: undefined, text: typeof found === 'string' ? found : JSON.stringify(found) };
  };
  const client: TransmitterClient = {
    get: ({ text }) => reply('GET', text),
    getOpen: ({ text }) => reply('OPEN', text),
    post: ({ text }, body) => reply('POST', text, body),
    unexpected: (what, response) => unexpectedStatus(what, response, 0),
  };
  return { client, requests };
}

const APPENDED = `OPEN ${ISSUER}/.well-known/ssf-configuration`;
const INSERTED = `OPEN ${ORIGIN}/.well-known/ssf-configuration/realms/agents`;
const LIST = `GET ${ORIGIN}/streams`;
const CREATE = `POST ${ORIGIN}/streams`;
const find = (replies: Readonly<Record<string, Reply>>, fields: Partial<Transmitter> = {}, mayCreate = true) =>
  findStream(transmitter(fields), clientOf(replies).client, { mayCreate });

test('looks for metadata at both places', () => {
  assert.deepEqual(transmitterMetadataUrls(ISSUER), [INSERTED.slice(5), APPENDED.slice(5)]);
  assert.deepEqual(transmitterMetadataUrls(ORIGIN), [`${ORIGIN}/.well-known/ssf-configuration`]);
});

test('finds its stream, wherever the metadata is', async () => {
  for (const place of [INSERTED, APPENDED]) {
    const stream = await find({ [place]: METADATA, [LIST]: [PUSH, STREAM] });
    assert.equal(stream?.pollUrl?.text, `${ORIGIN}/poll/1`);
    assert.equal(stream?.statusUrl?.text, `${ORIGIN}/status?v=1&stream_id=s+1`);
    assert.equal(stream?.verificationUrl?.text, `${ORIGIN}/verify`);
    assert.equal(stream?.id, 's 1');
  }
  assert.equal((await find({ [INSERTED]: '<html>', [APPENDED]: METADATA, [LIST]: STREAM }))?.id, 's 1');
});

test('creates a missing stream for polls, unless it only looks', async () => {
  for (const none of [404, 204, []]) {
    const { client, requests } = clientOf({ [APPENDED]: METADATA, [LIST]: none, [CREATE]: STREAM });
    const stream = await findStream(transmitter(), client, { mayCreate: true });
    assert.equal(stream?.pollUrl?.text, `${ORIGIN}/poll/1`);
    const created = requests.at(-1) ?? '';
    assert.ok(created.startsWith(CREATE) && created.includes('"method":"urn:ietf:rfc:8936"'), created);
    assert.ok(created.includes('caep/event-type/session-revoked'), created);
    assert.equal(await find({ [APPENDED]: METADATA, [LIST]: none, [CREATE]: STREAM }, {}, false), undefined);
    const pushed = find({ [APPENDED]: METADATA, [LIST]: none, [CREATE]: STREAM }, { delivery: 'push' });
    await assert.rejects(pushed, /cambist has no stream there with delivery "push"/);
  }
});

test('finds the stream for push, and polls no URL of it', async () => {
  const stream = await find({ [APPENDED]: METADATA, [LIST]: [PUSH] }, { delivery: 'push' });
  assert.equal(stream?.pollUrl, undefined);
  assert.equal(stream?.id, 's 1');
});

test('discovers nothing where the URL is configured', async () => {
  const { client, requests } = clientOf({});
  const pollEndpoint = 'https://other.example.com/poll';
  const stream = await findStream(transmitter({ pollEndpoint }), client, { mayCreate: true });
  assert.equal(stream?.pollUrl?.text, pollEndpoint);
  assert.deepEqual(requests, []);
});

const deepList = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
const failures: [what: string, replies: Readonly<Record<string, Reply>>, problem: TransmitterProblem, why: RegExp][] = [
  ['no metadata', {}, 'metadata', /status 404/],
  ['metadata of another issuer', { [APPENDED]: { ...METADATA, issuer: ORIGIN } }, 'metadata', /another issuer/],
  ['metadata that is not JSON', { [APPENDED]: 'x' }, 'metadata', /not a JSON object/],
  ['a server that is down', { [INSERTED]: 503, [APPENDED]: METADATA }, 'unreachable', /503/],
  ['no stream management', { [APPENDED]: { issuer: ISSUER } }, 'metadata', /configuration_endpoint/],
  [
    'an endpoint on another host',
    { [APPENDED]: { ...METADATA, configuration_endpoint: 'https://evil.example.com/streams' } },
    'metadata',
    /another host/,
  ],
  [
    'an endpoint without TLS',
    { [APPENDED]: { ...METADATA, status_endpoint: 'http://idp.example.com/status' } },
    'metadata',
    /another host/,
  ],
  [
    'an endpoint with a password',
    { [APPENDED]: { ...METADATA, status_endpoint: 'https://a:b@idp.example.com/status' } },
    'metadata',
    /not a plain URL/,
  ],
  ['a credential that is refused', { [APPENDED]: METADATA, [LIST]: 401 }, 'unauthorized', /401/],
  [
    'a stream for push alone',
    { [APPENDED]: METADATA, [LIST]: [PUSH] },
    'stream',
    /no stream there with delivery "poll"/,
  ],
  ['a list of something else', { [APPENDED]: METADATA, [LIST]: '[1]' }, 'response', /not JSON objects/],
  ['a stream that cannot be created', { [APPENDED]: METADATA, [LIST]: [], [CREATE]: 403 }, 'unauthorized', /403/],
  ['a stream that exists already', { [APPENDED]: METADATA, [LIST]: [], [CREATE]: 409 }, 'stream', /409/],
  ['a stream without an id', { [APPENDED]: METADATA, [LIST]: [{ ...STREAM, stream_id: 5 }] }, 'response', /stream_id/],
  [
    'a stream for another audience',
    { [APPENDED]: METADATA, [LIST]: [{ ...STREAM, aud: 'cambist/s1' }] },
    'audience',
    /not one of "audience"$/,
  ],
  [
    'a stream for another audience, without the text that the transmitter chose',
    { [APPENDED]: METADATA, [LIST]: [{ ...STREAM, aud: ['eyJhbGciOiJFUzI1NiJ9.the-bearer'] }] },
    'audience',
    /^(?!.*bearer)/,
  ],
  [
    'an audience that is a deep list',
    { [APPENDED]: METADATA, [LIST]: JSON.stringify([STREAM]).replace('["cambist"]', deepList) },
    'audience',
    /not one of/,
  ],
  [
    'a delivery method that is an object',
    { [APPENDED]: METADATA, [LIST]: [{ ...STREAM, delivery: { method: { toString: 1 } } }] },
    'stream',
    /no stream there/,
  ],
  [
    'a poll URL on another host',
    {
      [APPENDED]: METADATA,
      [LIST]: [{ ...STREAM, delivery: { ...STREAM.delivery, endpoint_url: 'https://evil.example.com/poll' } }],
    },
    'metadata',
    /another host/,
  ],
  [
    'a stream without a poll URL',
    { [APPENDED]: METADATA, [LIST]: [{ ...STREAM, delivery: { method: 'urn:ietf:rfc:8936' } }] },
    'metadata',
    /not a URL/,
  ],
];
for (const [what, replies, problem, why] of failures) {
  test(`reports ${what}`, async () => {
    await assert.rejects(find(replies), (error) => {
      assert.ok(error instanceof TransmitterError, String(error));
      assert.equal(error.problem, problem);
      assert.match(error.message, why);
      return true;
    });
  });
}

test('remembers its stream until it is forgotten, and looks for it once at a time', async () => {
  const { client, requests } = clientOf({ [INSERTED]: METADATA, [LIST]: [STREAM] });
  const locator = createStreamLocator(transmitter(), client);
  await Promise.all([locator.locate(), locator.locate()]);
  await locator.locate();
  assert.equal(requests.length, 2);
  locator.forget();
  await locator.locate();
  assert.equal(requests.length, 4);
});
