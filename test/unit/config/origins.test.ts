import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPublicName } from '../../../src/config/hostnames.ts';
import { configOf, problemsOf, routeOf, SERVER, VALID } from './sample.ts';

const NONE = 'upstream: https://x.example.com\ncredential: none\n';

const problems = (lines: string) =>
  problemsOf(
    `version: 1\n${SERVER}routes:\n  - { name: only, match: { path: / }, upstream: https://x.example.com, ${lines} }\n`,
  ).filter((problem) => !problem.includes('no route uses'));

test('reads origins of web pages, each once', () => {
  const written = ['https://app.example.com', 'http://localhost:3000', 'chrome-extension://abc', 'https://[::1]:8443'];
  const { allowedOrigins } = routeOf(`${NONE}allowed_origins: ${JSON.stringify([...written, written[0]])}\n`);
  assert.deepEqual(allowedOrigins, written);
  assert.deepEqual(routeOf(NONE).allowedOrigins, []);
});

test('refuses an origin that no browser would send in this form', () => {
  for (const [origin, problem] of [
    [
      'https://App.example.com',
      /allowed_origins\[0\]: must be written as browsers send it: "https:\/\/app\.example\.com"/,
    ],
    ['https://app.example.com/', /must be written as browsers send it: "https:\/\/app\.example\.com"/],
    ['https://app.example.com:443', /must be written as browsers send it: "https:\/\/app\.example\.com"/],
    ['app.example.com', /must be the origin of a web page/],
    ['https://app.example.com/path', /must be the origin of a web page/],
    ['https://user@app.example.com', /must be the origin of a web page/],
    ['https://*.example.com', /must be the origin of a web page/],
    ['*', /must be the origin of a web page/],
    ['null', /must be the origin of a web page/],
    ['https://', /must be the origin of a web page/],
    ['https://a b', /must be the origin of a web page/],
  ] as const) {
    const [first, ...more] = problems(`credential: none, allowed_origins: ["${origin}"]`);
    assert.match(first ?? '', problem, origin);
    assert.deepEqual(more, [], origin);
  }
  assert.match(problems('credential: none, allowed_origins: https://a.example.com')[0] ?? '', /must be a list/);
});

test('warns of origins on a route that needs a token of the caller', () => {
  const origins = 'allowed_origins: ["https://app.example.com"]';
  assert.match(problems(origins)[0] ?? '', /allowed_origins: has no effect, because the route needs a caller's token/);
  for (const keys of [
    'credential: none',
    'credential: passthrough',
    'credential: client_credentials',
    'on_missing_subject: client_credentials',
    'subject_token: { file: token }',
  ]) {
    assert.deepEqual(
      problems(`${keys}, ${origins}`).filter((problem) => problem.includes('origins')),
      [],
      keys,
    );
  }
});

test('tells public host names from addresses and internal names', () => {
  for (const host of [
    '127.0.0.1',
    '10.1.2.3',
    '[::1]',
    'localhost',
    'a.svc',
    'a.local',
    'x.internal',
    'app.localhost',
  ]) {
    assert.equal(isPublicName(host), false, host);
  }
  for (const host of ['example.com', '127.0.0.1.example.com', '127.1', 'svc.example.com', 'localhost.example.com']) {
    assert.equal(isPublicName(host), true, host);
  }
});

test('reads the public host names of the admin listener', () => {
  const hosts = (list: string) => `${VALID}admin_hosts: ${list}\n`;
  assert.deepEqual(configOf(VALID).adminHosts, []);
  assert.deepEqual(configOf(hosts('[Cambist.example.com, cambist.example.com.]')).adminHosts, ['cambist.example.com']);
  assert.match(problemsOf(hosts('[cambist.example.com:9180]'))[0] ?? '', /admin_hosts\[0\]: must not contain a port/);
  assert.match(problemsOf(hosts('["*.example.com"]'))[0] ?? '', /admin_hosts\[0\]: must be one host name/);
  assert.match(problemsOf(hosts('cambist.example.com'))[0] ?? '', /admin_hosts: must be a list/);
});
