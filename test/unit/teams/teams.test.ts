import assert from 'node:assert/strict';
import fs, { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { Team } from '../../../src/config/teams.ts';
import { readCredential } from '../../../src/secrets/credential.ts';
import { errorSummary, shownFiles } from '../../../src/teams/shown-files.ts';
import { readTeams } from '../../../src/teams/team-files.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { problemsOf } from '../config/sample.ts';
import { ENTRY, mainOf, ROUTE, teamFolder } from './team-folder.ts';

test('reads the routes of a folder, named after the team', async (t) => {
  const { folder, write, read } = await teamFolder(t);
  await write('b.yaml', [{ ...ROUTE, name: 'second', match: { path: '/billing/second' } }]);
  await write('a.yaml', [ROUTE]);
  await write('.hidden.yaml', ['nonsense']);
  await writeFile(join(folder, 'README.md'), 'nothing');
  const { config, team } = await read();
  assert.deepEqual(
    config.routes.map(({ name, team: owner }) => [name, owner]),
    [
      ['rest', undefined],
      ['billing/ledger', 'billing'],
      ['billing/second', 'billing'],
    ],
  );
  assert.ok(team.isOpen);
  const [, ledger] = config.routes;
  assert.deepEqual(ledger?.credential.kind === 'exchange' && ledger.credential.target, {
    resource: ['https://ledger.billing.example.com/mcp'],
    audience: [],
    scope: undefined,
    requestedTokenType: undefined,
    expectAudience: ['https://ledger.billing.example.com/mcp'],
  });
});

/** Keys that a team tries, and the one that is refused. */
const REFUSED: readonly [what: string, route: object, key: string][] = [
  ['a path beside the region', { match: { path: '/billingx' } }, 'match'],
  ['a path above the region', { match: { path: '/' } }, 'match'],
  ['a path in another case', { match: { path: '/Billing' } }, 'match'],
  ['an escaped path', { match: { path: '/billing/%61' } }, 'match'],
  ['path parameters', { match: { path: '/billing/x;y' } }, 'match'],
  ['a host without a grant', { match: { host: 'a.example.com', path: '/billing' } }, 'match'],
  ['another suffix of the upstream', { upstream: 'https://x.billing.example.com.evil.com' }, 'upstream'],
  ['another port of the upstream', { upstream: 'https://x.billing.example.com:8443' }, 'upstream'],
  ['another scheme', { upstream: 'http://x.billing.example.com', allow_insecure_http: true }, 'upstream'],
  ['the upstream without a label', { upstream: 'https://billing.example.com' }, 'upstream'],
  ['a trailing dot', { upstream: 'https://x.billing.example.com.' }, 'upstream'],
  ['an address', { upstream: 'https://127.0.0.1' }, 'upstream'],
  ['a number as address', { upstream: 'https://2130706433' }, 'upstream'],
  ['an empty label', { upstream: 'https://.billing.example.com' }, 'upstream'],
  ['an escaped slash in the host', { upstream: 'https://evil.com%2f.billing.example.com' }, 'upstream'],
  ['a Unix socket', { upstream: 'unix:/run/docker.sock' }, 'upstream'],
  ['the metadata of another resource', { match: { path: '/.well-known/oauth-protected-resource/other' } }, 'match'],
  ['another server', { authorization_server: 'of-others' }, 'authorization_server'],
  ['the token of the caller', { credential: 'passthrough' }, 'credential'],
  ["cambist's own token", { credential: 'client_credentials' }, 'credential'],
  ["cambist's own token without a caller", { on_missing_subject: 'client_credentials' }, 'credential'],
  ["cambist's own token for lists", { unattended: 'client_credentials' }, 'credential'],
  ['a secret', { credential: 'secret', secret: { file: '/etc/cambist/client-secret' } }, 'secret.file'],
  ['a secret by a path upwards', { secret: { file: '../../../etc/passwd' } }, 'secret.file'],
  ['a CA', { tls: { ca: { file: '/etc/ssl/ca.pem' } } }, 'tls.ca.file'],
  ['a certificate', { tls: { certificate: { file: '/c' }, private_key: { file: '/k' } } }, 'tls.certificate.file'],
  ['an actor token', { actor_token: { file: '/var/run/secrets/token' } }, 'actor_token.file'],
  ['the token of the agent', { actor_token: { from: 'agent' } }, 'actor_token'],
  ['another audience', { audience: 'other' }, 'audience'],
  ['another resource', { resource: 'https://other.example.com' }, 'resource'],
  ['a resource that is not a URL', { resource: 'urn:everything' }, 'resource'],
  ['a second resource', { resource: ['https://ledger.billing.example.com/mcp', 'https://evil.com'] }, 'resource'],
  ['no resource', { resource: [] }, 'resource'],
  ['a scope', { scope: 'admin' }, 'scope'],
  ['a scope after a tab', { scope: 'x\tadmin' }, 'scope'],
  ['the token of a SPIFFE agent', { actor_token: { from: 'spiffe', audience: 'x' } }, 'actor_token'],
  ['a name of another team', { name: '../support/x' }, 'name'],
  ['a scope by step-up', { step_up: ['admin'] }, 'step_up'],
  ['any audience', { expect_audience: 'any' }, 'expect_audience'],
  ['another expected audience', { expect_audience: ['other'] }, 'expect_audience'],
  ['only another expected audience', { expect_audience: { only: 'other' } }, 'expect_audience'],
];

for (const [what, route, key] of REFUSED) {
  test(`refuses ${what} in a route of a team`, async (t) => {
    const { write, read, errors } = await teamFolder(t);
    await write('a.yaml', [{ ...ROUTE, ...route }]);
    const found = await errors();
    assert.ok(found.join('\n').includes(`routes[0].${key}: `), found.join('\n'));
    const { config, team } = await read();
    assert.deepEqual([team.isOpen, team.routes, config.routes.length], [false, [], 1]);
  });
}

const OF_MAIN_FILE = {
  subject_token: { header: 'x-agent-token' },
  chain: { authorization_server: 'main' },
  consent_url: 'https://evil.example.com',
  connection: 'github',
  requested_token_type: 'refresh_token',
  retry_body_limit: '16MiB',
};

test('refuses the keys of a route that only the main file may have', async (t) => {
  const { write, errors } = await teamFolder(t);
  await write('a.yaml', [{ ...ROUTE, ...OF_MAIN_FILE, added_later: 1 }]);
  const found = (await errors()).join('\n');
  for (const key of Object.keys(OF_MAIN_FILE)) {
    assert.ok(found.includes(`routes[0]: "${key}" is not a key for routes of a team`), key);
  }
  assert.ok(found.includes('routes[0]: unknown key "added_later"'));
});

test('says what the entry grants', async (t) => {
  const entry = { hosts: ['mcp.example.com'], audiences: ['billing-mcp'], scopes: [...'abcdef'] };
  const { write, errors } = await teamFolder(t, entry);
  const foreign = { upstream: 'https://other.example.com:8443', audience: 'other', scope: 'admin' };
  await write('a.yaml', [
    { ...ROUTE, ...foreign },
    { ...ROUTE, name: 'own', match: { path: '/' }, credential: 'passthrough' },
  ]);
  const end = ': change it, or let the operator grant it';
  const match = `match: is outside the region of routes_from "billing" (host mcp.example.com, path /billing)${end}`;
  assert.deepEqual(await errors(), [
    `routes[0].${match}`,
    `routes[0].upstream: is not in upstreams of routes_from "billing" (https://*.billing.example.com)${end}`,
    `routes[0].audience: is not in audiences of routes_from "billing" (billing-mcp)${end}`,
    `routes[0].scope: is not in scopes of routes_from "billing" (a, b, c, d, e, …)${end}`,
    `routes[1].${match}`,
    `routes[1].credential: needs "passthrough", which is not in credentials of routes_from "billing" (exchange, none)${end}`,
  ]);
});

const INTO_LIST = 'the route into a list under "routes:"';

test('says how a file begins that is empty, or a route without a list', async (t) => {
  const { folder, errors } = await teamFolder(t);
  await writeFile(join(folder, 'a.yaml'), '# later\n');
  await writeFile(join(folder, 'b.yml'), JSON.stringify(ROUTE));
  assert.deepEqual(await errors(), [
    ': the file is empty: begin it with "routes:"',
    ': missing key "routes": add it',
    ...['name', 'match', 'upstream'].map((key) => `: "${key}" belongs to a route: write ${INTO_LIST}`),
  ]);
});

const GRANTED = {
  hosts: ['*.billing.example.com'],
  audiences: ['billing-mcp'],
  resources: ['https://*.billing.example.com'],
  scopes: ['read', 'write'],
  credentials: ['exchange', 'client_credentials', 'secret', 'passthrough'],
  agents: ['billing'],
};

const AGENTS = {
  agents: {
    token: { header: 'x-agent-token', issuer: 'https://agents.example.com', audience: 'cambist' },
    known: { billing: { subject: 'a' }, support: { subject: 'b' } },
  },
};

test('accepts what the entry grants, and serves its agents alone', async (t) => {
  const { write, read, errors } = await teamFolder(t, GRANTED, AGENTS);
  const routes = [
    { audience: 'billing-mcp', scope: 'read', step_up: ['write'] },
    { resource: 'https://other.billing.example.com/x', expect_audience: { only: ['billing-mcp'] } },
    { credential: 'client_credentials', agents: ['billing'] },
    { credential: 'passthrough' },
  ].map((route, index) => ({
    ...ROUTE,
    name: `r${index}`,
    match: { host: 'x.BILLING.example.com', path: `/billing/${index}` },
    ...route,
  }));
  await write('a.yaml', routes);
  assert.deepEqual(await errors(), []);
  const served = (await read()).team.routes.map(({ agents }) => agents);
  assert.deepEqual(served, Array(4).fill(['billing']));
  await write('a.yaml', [{ ...routes[0], agents: ['support'] }]);
  assert.match((await errors()).join(), /^routes\[0\]\.agents: is not in agents/);
  await write('a.yaml', [{ ...routes[0], match: { host: 'billing.example.com', path: '/billing' } }]);
  assert.match((await errors()).join(), /^routes\[0\]\.match: is outside the region/);
});

test('takes from defaults only what concerns no grant', async (t) => {
  const defaults = {
    scope: 'all',
    audience: 'everyone',
    resource: 'https://everyone.example.com',
    expect_audience: 'any',
    credential: 'passthrough',
    on_missing_subject: 'client_credentials',
    authorization_server: 'of-others',
    step_up: ['admin'],
    subject_token: { header: 'x-user-token' },
    timeouts: { connect: '1s' },
  };
  const { write, read, errors } = await teamFolder(t, {}, { defaults });
  await write('a.yaml', [ROUTE]);
  assert.deepEqual(await errors(), []);
  const [route] = (await read()).team.routes;
  const { authorizationServer, onMissingSubject, target } =
    route?.credential.kind === 'exchange' ? route.credential : assert.fail();
  assert.deepEqual([authorizationServer.name, onMissingSubject, target.scope], ['main', 'deny', undefined]);
  assert.deepEqual([target.audience, target.resource], [[], ['https://ledger.billing.example.com/mcp']]);
  assert.deepEqual([route?.stepUp, route?.subjectToken.header, route?.timeouts.connectMs], [[], 'x-user-token', 1000]);
});

test("refuses cambist's own subject token of defaults without client_credentials", async (t) => {
  const { write, errors } = await teamFolder(t, {}, { defaults: { subject_token: { file: '/token' } } });
  await write('a.yaml', [ROUTE]);
  assert.match((await errors()).join(), /^routes\[0\]\.credential: needs "client_credentials"/);
});

test('reads files below the granted folders alone, whatever links lead to', async (t) => {
  const base = temporaryFolder(t);
  const granted = join(base, 'secrets');
  await mkdir(join(granted, '..data'), { recursive: true });
  await writeFile(join(granted, '..data', 'key'), 'own');
  await writeFile(join(base, 'foreign'), 'foreign');
  await symlink(join('..data', 'key'), join(granted, 'key'));
  const { write, errors, read } = await teamFolder(t, { files: [granted], credentials: ['secret'] });
  const withSecret = (file: string) => write('a.yaml', [{ ...ROUTE, credential: 'secret', secret: { file } }]);
  await withSecret(`${granted}/../foreign`);
  assert.match((await errors()).join(), /^routes\[0\]\.secret\.file: is in no folder/);
  await withSecret(join(granted, 'key'));
  assert.deepEqual(await errors(), []);
  const [route] = (await read()).team.routes;
  const source = route?.credential.kind === 'secret' ? route.credential.source : assert.fail();
  assert.equal((await readCredential(source, 'secret')).reveal(), 'own');
  await rm(join(granted, 'key'));
  await symlink(join('..', 'foreign'), join(granted, 'key'));
  await assert.rejects(readCredential(source, 'secret', true), { code: 'ERR_CREDENTIAL_UNAVAILABLE' });
});

test('reads a thousand files of a folder, or none, and refuses a folder with more, or a missing one', async (t) => {
  const { folder, write, errors, read } = await teamFolder(t);
  await Promise.all(Array.from({ length: 1001 }, (_, index) => write(`${index}.yaml`, [])));
  assert.match((await errors()).join(), /has more than 1000 files/);
  await rm(join(folder, '1000.yaml'));
  const { team } = await read();
  assert.deepEqual([team.isOpen, team.files.length], [true, 1000]);
  await rm(folder, { recursive: true });
  assert.match((await errors()).join(), /does not exist/);
  await mkdir(folder);
  assert.ok((await read()).team.isOpen, 'an empty folder is valid');
});

test('names the other file of two with the same name or the same match', async (t) => {
  const { folder, write, errors } = await teamFolder(t);
  await write('a.yaml', [ROUTE]);
  await write('b.yaml', [ROUTE]);
  assert.deepEqual(await errors(), [
    `routes[0].name: is also the name of ${join(folder, 'a.yaml')}: routes[0]: choose another name`,
    `routes[0].match: matches the same requests as ${join(folder, 'a.yaml')}: routes[0].match: change the host, the path or a condition of one`,
  ]);
});

test('parses a changed file alone, and follows the swap of a mounted ConfigMap', async (t) => {
  const { folder, write, read } = await teamFolder(t);
  const fill = async (name: string, path: string): Promise<void> => {
    await mkdir(join(folder, name));
    await write(`${name}/a.yaml`, [ROUTE]);
    await write(`${name}/b.yaml`, [{ ...ROUTE, name: 'b', match: { path } }]);
  };
  const swap = async (name: string): Promise<void> => {
    await symlink(name, join(folder, '..data_tmp'));
    await rename(join(folder, '..data_tmp'), join(folder, '..data'));
  };
  await fill('..1', '/billing/1');
  await swap('..1');
  for (const name of ['a.yaml', 'b.yaml']) await symlink(join('..data', name), join(folder, name));
  const { team, reread } = await read();
  assert.equal(await reread(), team);
  await fill('..2', '/billing/2');
  await swap('..2');
  await rm(join(folder, '..1'), { recursive: true });
  const next = await reread();
  assert.deepEqual(
    next.routes.map(({ match }) => match.path),
    ['/billing/ledger', '/billing/2'],
  );
  assert.equal(parsedOf(next), parsedOf(team), 'the same text is not parsed again');
});

/** Counts how often files are opened, as if they were written a minute ago. Those read together are opened in any order. */
function countOpens(t: TestContext): () => unknown[] {
  const { wallMs } = systemClock;
  t.mock.method(systemClock, 'wallMs', () => wallMs() + 60_000);
  t.after(syncBuiltinESMExports);
  const { mock } = t.mock.method(fs, 'open');
  syncBuiltinESMExports();
  return () => mock.calls.map(({ arguments: [path] }) => basename(String(path)));
}

test('reads a changed file alone, and no missing one', async (t) => {
  const { folder, write, read } = await teamFolder(t);
  await write('a.yaml', [ROUTE]);
  await write('b.yaml', []);
  const link = join(folder, 'c.yaml');
  await symlink('none', link);
  const opened = countOpens(t);
  const { reread } = await read();
  assert.deepEqual(opened().sort(), ['a.yaml', 'b.yaml']);
  await rm(link);
  await write('b.yaml', [{ ...ROUTE, name: 'b', match: { path: '/billing/b' } }]);
  assert.equal((await reread()).routes.length, 2);
  assert.deepEqual(opened().slice(2), ['b.yaml']);
});

test('reads a file again that was changed just before it was read', async (t) => {
  const { write, read } = await teamFolder(t);
  const beforeMs = Date.now();
  await write('a.yaml', [ROUTE]);
  const { mock } = t.mock.method(systemClock, 'wallMs', () => beforeMs);
  const { team, reread } = await read();
  mock.restore();
  const opened = countOpens(t);
  assert.equal(await reread(), team);
  assert.equal(await reread(), team);
  assert.deepEqual(opened(), ['a.yaml']);
});

/** The first file of a team as it was parsed. */
function parsedOf(team: Team | undefined): unknown {
  return (team?.files[0] as { parsed?: unknown } | undefined)?.parsed ?? assert.fail();
}

test('keeps the parsed files when only the main file changes', async (t) => {
  const { base, write, read } = await teamFolder(t);
  await write('a.yaml', [ROUTE]);
  const { team } = await read();
  const file = join(base, 'cambist.yaml');
  await writeFile(file, (await readFile(file, 'utf8')).replace('"billing"', '"renamed"'));
  const { config } = await readTeams(await loadConfig(file), [team]);
  assert.deepEqual(
    config?.routes.map(({ name }) => name),
    ['rest', 'renamed/ledger'],
  );
  assert.equal(parsedOf(config?.teams[0]), parsedOf(team));
});

const folder = '/teams';
const errorsOf = (entries: readonly object[], more: object = {}) =>
  problemsOf(mainOf(entries, more)).filter((problem) => !problem.includes('warning: '));

test('refuses regions that overlap', () => {
  for (const [one, two, expected] of [
    [{ paths: ['/a'] }, { paths: ['/a/b'] }, true],
    [{ paths: ['/a'] }, { paths: ['/ab'] }, false],
    [{ hosts: ['*.a.com'] }, { hosts: ['x.y.a.com'] }, true],
    [{ hosts: ['*.x.a.com'] }, { hosts: ['*.a.com'] }, true],
    [{ hosts: ['*.a.com'] }, { hosts: ['a.com'] }, false],
    [{ hosts: ['A.com'] }, { hosts: ['a.COM.'] }, true],
    [{ hosts: ['a.com'] }, { paths: ['/a'] }, true],
    [{ hosts: ['a.com'], paths: ['/a'] }, { hosts: ['b.com'], paths: ['/a'] }, false],
    [{ hosts: ['a.com'], paths: ['/a/b'] }, { hosts: ['*.com'], paths: ['/a'] }, true],
  ] as const) {
    const entry = { ...ENTRY, folder, paths: undefined };
    const found = errorsOf([
      { ...entry, ...one },
      { ...entry, ...two, name: 'second' },
    ]);
    assert.equal(found.length > 0, expected, JSON.stringify([one, two]));
    for (const problem of found) assert.match(problem, /: routes_from\[1\]: its region overlaps that of "billing"/);
  }
});

test('refuses a route of the main file inside a region, and names that both have', () => {
  const own = { name: 'own', upstream: 'https://own.example.com', credential: 'none' };
  for (const [match, isInside, entry] of [
    [{ path: '/billing' }, true],
    [{ path: '/billing/x', host: 'a.com' }, true],
    [{ path: '/%62illing' }, true],
    [{ path: '/.well-known/oauth-protected-resource/billing' }, true],
    [{ path: '/' }, false],
    [{ path: '/billings' }, false],
    [{ path: '/billing', host: '*.x.b.com' }, true, { hosts: ['*.b.com'] }],
    [{ path: '/billing' }, false, { hosts: ['*.b.com'] }],
    [{ path: '/', host: '*.b.com' }, false, { hosts: ['*.b.com'] }],
  ] as const) {
    const found = errorsOf([{ ...ENTRY, folder, ...entry }], { routes: [{ ...own, match }] });
    assert.equal(found.length > 0, isInside, JSON.stringify(match));
  }
  const named = { ...own, name: 'billing', match: { path: '/x' } };
  assert.match(errorsOf([{ ...ENTRY, folder }], { routes: [named] }).join(), /is also the name of an entry/);
});

test('refuses an entry without a region, or with grants that do not exist', () => {
  const rows: [object, RegExp][] = [
    [{ paths: undefined }, /has no region/],
    [{ paths: [] }, /paths: must not be empty/],
    [{ hosts: [] }, /hosts: must not be empty/],
    [{ paths: ['/%62'] }, /paths\[0\]: has a spelling/],
    [{ paths: ['/a/..'] }, /paths\[0\]: must not contain "\."/],
    [{ upstreams: ['https://a.com/x'] }, /upstreams\[0\]: must be a scheme and a host/],
    [{ upstreams: ['https://u@a.com'] }, /upstreams\[0\]: must be a scheme/],
    [{ upstreams: ['https://*'] }, /upstreams\[0\]: must be a scheme/],
    [{ upstreams: ['https://*.0.0.1'] }, /upstreams\[0\]: must be a scheme/],
    [{ authorization_servers: ['none'] }, /authorization_servers\[0\]: unknown authorization server/],
    [{ agents: ['none'] }, /agents\[0\]: unknown agent/],
    [{ credentials: ['all'] }, /credentials\[0\]: must be one of/],
  ];
  for (const [entry, expected] of rows) assert.match(errorsOf([{ ...ENTRY, folder, ...entry }]).join(), expected);
  assert.match(
    errorsOf([
      { ...ENTRY, folder },
      { ...ENTRY, folder, paths: ['/other'] },
    ]).join(),
    /routes_from\[1\]\.name: is also the name/,
  );
});

test('refuses a file whose name has unusual characters', async (t) => {
  const { write, errors, read } = await teamFolder(t);
  const names = ['a b.yaml', 'a\n.yaml', 'a\u202e.yaml', 'ä.yaml', '<!channel>.yaml', '"} 1.yaml'];
  for (const name of names) await write(name, [{ ...ROUTE, name: 'odd' }]);
  await write('A-1_b.c.yaml', [ROUTE]);
  assert.deepEqual(
    await errors(),
    names.map(() => ': has a name with other characters than letters, digits, ".", "_" and "-": rename it'),
  );
  const { team } = await read();
  assert.deepEqual(team.isOpen, false);
  const shown = [...shownFiles(team).keys()];
  assert.equal(shown.at(-1), 'billing/A-1_b.c.yaml');
  assert.equal(shown.filter((name) => name === 'billing/a?.yaml').length, 1, 'two files have one name here');
  for (const name of shown) assert.match(name, /^billing\/[\w.?-]+$/);
});

test('shows a hundred files of a team, those with errors first, and the beginning of a long error', async (t) => {
  const { write, folder, read } = await teamFolder(t);
  for (let i = 0; i < 101; i += 1) await write(`f${i}.yaml`, []);
  await writeFile(join(folder, 'z.yaml'), JSON.stringify({ routes: [{ [`<${'x'.repeat(1000)}>`]: { y: 1 } }], x: 1 }));
  const { team } = await read();
  const shown = [...shownFiles(team)];
  assert.equal(shown.length, 100);
  const [[name, file] = assert.fail(), second] = shown;
  assert.deepEqual([name, file.isValid, second?.[1].isValid], ['billing/z.yaml', false, true]);
  const { first, count } = errorSummary(name, file);
  assert.match(first, /^billing\/z\.yaml:1:\d+: /);
  assert.ok(first.length <= 500 && count > 1, `${count}: ${first}`);
  await rm(folder, { recursive: true });
  assert.deepEqual([...shownFiles((await read()).team).keys()], ['billing']);
});
