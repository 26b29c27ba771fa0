import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientCertificateRule, readListen } from '../../../src/config/addresses.ts';
import { words } from '../../harness/words.ts';
import { configOf, problemsOf, routeOf, SERVER, VALID } from './sample.ts';

test('reads an address as host and port, or as the path of a Unix socket', () => {
  const cases = [
    ['127.0.0.1:8180', { kind: 'tcp', host: '127.0.0.1', port: 8180 }],
    ['0.0.0.0:0', { kind: 'tcp', host: '0.0.0.0', port: 0 }],
    ['LocalHost:80', { kind: 'tcp', host: 'localhost', port: 80 }],
    ['[::1]:8180', { kind: 'tcp', host: '::1', port: 8180 }],
    ['[0:0::1]:8180', { kind: 'tcp', host: '::1', port: 8180 }],
    ['unix:/run/cambist.sock', { kind: 'unix', path: '/run/cambist.sock' }],
  ] as const;
  for (const [text, value] of cases) assert.deepEqual(readListen(text), { value }, text);
});

test('refuses an invalid address', () => {
  const unusual = ['a b:80', 'unix:/a\0b', `unix:/${'x'.repeat(107)}`];
  for (const text of words(`
    8180 :8180 *:8180 http://x:80 127.0.0.1 127.0.0.1: 127.0.0.1:65536 300.0.0.1:80 1.2.3:80 [::1::]:80 ::1:80
    unix:run.sock unix:/run/
  `).concat(unusual)) {
    assert.ok('problem' in readListen(text), text);
  }
});

test('refuses the same address for listen and admin', () => {
  for (const [listen, admin, isSame] of [
    ['127.0.0.1:80', '127.0.0.1:80', true],
    ['127.0.0.1:80', 'localhost:80', true],
    ['127.0.0.1:80', '0.0.0.0:80', true],
    ['[::]:80', '127.0.0.1:80', true],
    ['unix:/a', 'unix:/a', true],
    ['127.0.0.1:0', '127.0.0.1:0', false],
    ['127.0.0.1:80', '127.0.0.2:80', false],
    ['unix:/a', 'unix:/b', false],
    ['unix:/a', '127.0.0.1:80', false],
  ] as const) {
    const clash = isSame ? ['14:8: admin: has the same address as listen: change one'] : [];
    assert.deepEqual(problemsOf(`${VALID}listen: "${listen}"\nadmin: "${admin}"\n`), clash);
  }
  assert.deepEqual(problemsOf(`${VALID}listen: 127.0.0.1:9180\n`), [
    '1:1: admin: has the same address as listen: change one',
  ]);
});

test('listens on loopback by default', () => {
  const { listen, admin } = configOf(VALID);
  assert.deepEqual(listen, { kind: 'tcp', host: '127.0.0.1', port: 8180 });
  assert.deepEqual(admin, { kind: 'tcp', host: '127.0.0.1', port: 9180 });
});

test('warns of an upstream that is cambist itself', () => {
  const withListen = (listen: string, upstream: string) =>
    problemsOf(`listen: '${listen}'\n${VALID.replace('https://github-mcp.example.com/mcp', upstream)}`);
  for (const [listen, upstream] of [
    ['127.0.0.1:8180', 'http://127.0.0.1:8180/mcp'],
    ['127.0.0.1:8180', 'http://localhost:8180'],
    ['localhost:80', 'http://127.0.0.1'],
    ['0.0.0.0:8180', 'http://127.0.0.1:8180/mcp'],
    ['[::1]:8180', 'http://[::1]:8180/mcp'],
  ] as const) {
    assert.deepEqual(withListen(listen, upstream), [
      '13:15: warning: routes[0].upstream: is the address of cambist itself, so requests would loop: set the URL of the backend',
    ]);
  }
  for (const [listen, upstream] of [
    ['127.0.0.1:8180', 'http://127.0.0.1:8181/mcp'],
    ['127.0.0.1:8180', 'https://127.0.0.1:8180/mcp'],
    ['0.0.0.0:8180', 'http://github-mcp:8180/mcp'],
    ['127.0.0.1:0', 'http://127.0.0.1:8180/mcp'],
    ['unix:/run/cambist.sock', 'http://127.0.0.1:8180/mcp'],
  ] as const) {
    assert.deepEqual(withListen(listen, upstream), [], `${listen} ${upstream}`);
  }
});

test('reads the mode of Unix sockets', () => {
  const withMode = (mode: string) => `${VALID}listen: unix:/run/cambist/proxy.sock\nsocket_mode: ${mode}\n`;
  assert.equal(configOf(VALID).socketMode, 0o660);
  assert.equal(configOf(withMode('"0600"')).socketMode, 0o600);
  assert.equal(configOf(withMode('"666"')).socketMode, 0o666);
  for (const mode of ['0660', '660', '"0860"', '"0060"', '"rw"', '"01660"']) {
    assert.match(problemsOf(withMode(mode))[0] ?? '', /socket_mode: must be octal permissions in quotes/, mode);
  }
});

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
  const other = /allowed_origins\[0\]: must be the origin of a web page/;
  for (const [origin, problem] of [
    ...words('https://App.example.com https://app.example.com/ https://app.example.com:443').map(
      (origin) => [origin, /\[0\]: must be written as browsers send it: "https:\/\/app\.example\.com"/] as const,
    ),
    ...words(`
      app.example.com https://app.example.com/path https://user@app.example.com https://*.example.com * null https://
    `).map((origin) => [origin, other] as const),
    ['https://a b', other],
  ] as const) {
    const [first, ...more] = problems(`credential: none, allowed_origins: ["${origin}"]`);
    assert.match(first ?? '', problem, origin);
    assert.deepEqual(more, [], origin);
  }
  assert.match(problems('credential: none, allowed_origins: https://a.example.com')[0] ?? '', /must be a list/);
});

test('warns of origins on a route that needs a token of the caller', () => {
  const origins = 'allowed_origins: ["https://app.example.com"]';
  assert.match(
    problems(origins)[0] ?? '',
    /allowed_origins: has no effect on a route that needs a caller's token anyway/,
  );
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

test('reads the public host names of the admin listener', () => {
  const hosts = (list: string) => `${VALID}admin_hosts: ${list}\n`;
  assert.deepEqual(configOf(VALID).adminHosts, []);
  assert.deepEqual(configOf(hosts('[Cambist.example.com, cambist.example.com.]')).adminHosts, ['cambist.example.com']);
  assert.match(problemsOf(hosts('[cambist.example.com:9180]'))[0] ?? '', /admin_hosts\[0\]: must not contain a port/);
  assert.match(problemsOf(hosts('["*.example.com"]'))[0] ?? '', /admin_hosts\[0\]: must be one host name/);
  assert.match(problemsOf(hosts('cambist.example.com'))[0] ?? '', /admin_hosts: must be a list/);
});

const FILES = 'certificate: { file: ./tls.crt }, private_key: { file: ./tls.key }';
const SPIFFE = 'spiffe: { socket: unix:///agent.sock }\n';

test('reads an address with TLS', () => {
  const tls = (keys: string, address = '127.0.0.1:8443') =>
    `${VALID}listen: { address: "${address}", tls: { ${keys} } }\n`;
  const { listen } = configOf(tls(`${FILES}, client_ca: { file: ./ca.pem }`));
  assert.deepEqual(listen.kind === 'tcp' && [listen.port, clientCertificateRule(listen.tls)], [8443, 'required']);
  const svid = configOf(`${SPIFFE}${VALID}listen: { address: "127.0.0.1:8443", tls: spiffe }\n`).listen;
  assert.deepEqual(svid, { kind: 'tcp', host: '127.0.0.1', port: 8443, tls: 'spiffe' });
  const admin = (value: string) => `${SPIFFE}${VALID}admin: { address: "127.0.0.1:1", tls: ${value} }\n`;
  for (const [text, problem] of [
    [tls(`${FILES}, client_certificate: optional`), /client_certificate: has no meaning without client_ca/],
    [tls(FILES, 'unix:/run/a.sock'), /listen\.tls: has no meaning for a Unix socket/],
    [tls('certificate: { file: ./tls.crt }'), /listen\.tls: missing key "private_key"/],
    [`${VALID}listen: { address: "127.0.0.1:1", tls: spiffe }\n`, /tls: needs an SVID of cambist: set spiffe.socket/],
    [admin('spiffe'), /admin\.tls: requires client certificates, which probes do not have: use files/],
    [admin(`{ ${FILES}, client_ca: { file: ./ca } }`), /admin\.tls: requires client cert/],
    [`${VALID}listen: 8443\n`, /listen: must be host:port/],
  ] as const) {
    assert.match(problemsOf(text).join('\n'), problem);
  }
});

test('requires a listener of decisions that only the data plane can use', () => {
  const withHttp = (http: string, more = '') =>
    problemsOf(`${VALID}decisions: { http: { ${http} }${more} }\n`).join('\n');
  for (const http of [
    'listen: "127.0.0.1:8183"',
    `listen: { address: "0.0.0.0:8183", tls: { ${FILES} } }`,
    `listen: { address: "0.0.0.0:8183", tls: { ${FILES}, client_ca: { file: ./c }, client_certificate: optional } }`,
  ]) {
    assert.match(withHttp(http), /decisions\.http\.listen: hands out tokens to every client/, http);
  }
  for (const http of [
    'listen: "unix:/run/d.sock"',
    'listen: "127.0.0.1:8183", secret: { file: ./secret }',
    `listen: { address: "0.0.0.0:8183", tls: { ${FILES}, client_ca: { file: ./c } } }`,
  ]) {
    assert.doesNotMatch(withHttp(http), /error|hands out/, http);
  }
  const grpc = 'grpc: { listen: "127.0.0.1:8184" }';
  assert.match(problemsOf(`${VALID}decisions: { ${grpc} }\n`).join('\n'), /decisions\.grpc\.listen: hands out tokens/);
  assert.match(problemsOf(`${VALID}decisions: { routes_by: match }\n`).join('\n'), /has no listener: set http or grpc/);
  assert.match(withHttp('secret: { file: ./secret }'), /missing key "listen"/);
  assert.match(withHttp('listen: "unix:/a", secret: text'), /must not be in the config itself/);
  assert.match(withHttp('listen: "127.0.0.1:8180", secret: { file: ./s }'), /has the same address as listen/);
});

test('warns of routes that no decision can use', () => {
  const decisions = 'decisions: { http: { listen: "unix:/run/d.sock" } }\n';
  const byTool = VALID.replace(/path: \/\w+/, (path) => `${path}, mcp_name: read`);
  assert.notEqual(byTool, VALID);
  assert.match(
    problemsOf(byTool + decisions).join('\n'),
    /no decision uses this route, because it depends on the message/,
  );
  assert.doesNotMatch(
    problemsOf(`${byTool}${decisions.replace(' }\n', ', routes_by: match }\n')}`).join('\n'),
    /no decision uses/,
  );
});
