import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { link, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { type TestContext, test } from 'node:test';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { teamFolder } from './team-folder.ts';

const UPSTREAM = 'https://x.billing.example.com';
const ROUTE = `name: a, match: { path: /billing }, upstream: "${UPSTREAM}"`;

/** A gateway with a folder that a team writes anything into, and one with files that it may name. */
async function start(t: TestContext) {
  const files = temporaryFolder(t);
  return { files, ...(await teamFolder(t, { credentials: ['secret', 'none'], files: [files] })) };
}

/** Repeats a text as often as it fits into the largest file. @param unit gets the number of the repetition */
function filled(head: string, unit: (index: number) => string, tail = ''): string {
  let text = head;
  for (let index = 0; ; index += 1) {
    const next = unit(index);
    if (text.length + next.length + tail.length > 64 * 1024) return text + tail;
    text += next;
  }
}

const patterns = (letter: string) => Array.from({ length: 100 }, (_, index) => letter + index).join();
const LONG = 60_000;
const KEYS = Array.from({ length: 3000 }, (_, n) => `k${n}: 1`).join();

/** The largest files, and the problem with each. */
const BOMBS: readonly [what: string, text: string, problem: RegExp][] = [
  ['aliases', filled('routes: [&a x, ', () => '*a,', ']'), /too many aliases/],
  ['aliases of a route', filled(`routes: [&a { ${ROUTE} }, `, () => '*a,', ']'), /too many aliases/],
  ['merge keys', filled(`routes: [&a { ${ROUTE} }, `, () => '{<<: *a},', ']'), /too many aliases/],
  ['unknown aliases', filled('routes: [', () => '*b,', ']'), /unknown alias/],
  ['anchors with an alias each', filled('routes: [', (n) => `&a${n} 1,*a${n},`, ']'), /has more than 1000 routes/],
  ['aliases of a map with many keys', filled(`routes: [&a { ${KEYS} }, `, () => '*a,', ']'), /too many aliases/],
  // Checks copy texts: such files took up to 900 MiB.
  ['aliases of a long text', filled(`routes: [&a ${'x'.repeat(40_000)}, `, () => '*a,', ']'), /too many aliases/],
  ['aliases of a long key', filled(`routes: [&a { ${'x'.repeat(52_000)}: 1 }, `, () => '*a,', ']'), /too many aliases/],
  ['unknown keys', filled('routes: [{', (n) => `naem${n}: 1,`, '}]'), /unknown key/],
  ['duplicate keys', filled('routes: [{', () => 'name: 1,', '}]'), /duplicate key/],
  ['empty routes', filled('routes: [', () => '{},', ']'), /has more than 1000 routes/],
  ['routes without a value', filled('routes:\n', () => '-\n'), /has more than 1000 routes/],
  ['tags', filled('routes: [{', (n) => `!!str a${n}: !b c,`, '}]'), /unknown tag/],
  ['documents', filled('routes: []\n', () => '---\n'), /second document/],
  ['one route many times', filled('routes:\n', () => `- { ${ROUTE}, credential: none }\n`), /is also the name of/],
  [
    'a route with many combinations of conditions',
    `routes: [{ ${ROUTE.replace('path:', `mcp_name: [${patterns('n')}], mcp_method: [${patterns('m')}], methods: [GET, POST, PUT], path:`)}, credential: none }]`,
    /more than 20000 combinations/,
  ],
  ['a long path', `routes: [{ name: a, match: { path: "/${'%20/'.repeat(LONG / 4)}" } }]`, /outside the region/],
  ['a long host', `routes: [{ name: a, match: { host: "${'a.'.repeat(LONG / 2)}" } }]`, /must be a host name/],
  ['a long name', `routes: [{ name: ${'a-'.repeat(LONG / 2)} }]`, /must consist of lower-case letters/],
  ['a long number', `routes: [{ ${ROUTE}, timeouts: { connect: ${'1'.repeat(LONG)}s } }]`, /must be a duration/],
  ['keys of the prototype', 'routes: []\nconstructor: {}\n', /unknown key "constructor"/],
  ['the prototype', `routes: [{ ${ROUTE}, __proto__: { team: other } }]`, /invalid key/],
  [
    'a key of the prototype in a route',
    `routes: [{ ${ROUTE}, constructor: 1, toString: 1 }]`,
    /unknown key "constructor"/,
  ],
];

for (const [what, text, problem] of BOMBS) {
  // Some of these took minutes, and gigabytes.
  test(`refuses ${what} within seconds`, { timeout: 30_000 }, async (t) => {
    const { folder, read } = await start(t);
    await writeFile(join(folder, 'a.yaml'), text);
    const { team, problems } = await read();
    assert.equal(team.isOpen, false);
    assert.ok(
      problems.some(({ message }) => problem.test(message)),
      JSON.stringify(problems.slice(0, 5)),
    );
  });
}

test('accepts a few aliases, and names that objects inherit', async (t) => {
  const { folder, read } = await start(t);
  const routes = ['constructor', 'tostring', 'valueof'].map(
    (name) => `- { name: ${name}, match: { path: /billing/${name} }, upstream: *u, credential: *c }`,
  );
  const first = `- { name: a, match: { path: /billing/a }, upstream: &u ${UPSTREAM}, credential: &c none }`;
  await writeFile(join(folder, 'constructor.yaml'), `routes:\n${[first, ...routes].join('\n')}`);
  const { team, problems } = await read();
  assert.deepEqual(problems, []);
  assert.deepEqual(
    team.routes.map(({ name, upstream }) => [name, upstream.origin]),
    ['a', 'constructor', 'tostring', 'valueof'].map((name) => [`billing/${name}`, UPSTREAM]),
  );
});

async function sparse(path: string): Promise<void> {
  await writeFile(path, '');
  await truncate(path, 2 ** 40);
}

/** Things in place of a file of routes, and the problem with each. */
const NO_FILES: readonly [what: string, make: (path: string, base: string) => unknown, problem: RegExp][] = [
  ['a link to the main file', (path, base) => symlink(join(base, 'cambist.yaml'), path), /leads out of its folder/],
  ['a relative link', (path) => symlink('../cambist.yaml', path), /leads out of its folder/],
  ['a link to itself', (path) => symlink('a.yaml', path), /cannot be read \(ELOOP\)/],
  ['a link to a missing file', (path) => symlink('none.yaml', path), /does not exist/],
  ['a link to its folder', (path) => symlink('.', path), /is a link that leads out|is not a file/],
  ['a device', (path) => symlink('/dev/zero', path), /leads out of its folder/],
  ['an open file of the process', (path) => symlink('/proc/self/environ', path), /leads out of its folder/],
  ['a hard link', (path, base) => link(join(base, 'cambist.yaml'), path), /has several hard links/],
  ['a pipe', (path) => execFileSync('mkfifo', [path]), /is not a file/],
  ['a file with holes', sparse, /is larger than 64 KiB/],
  ['bytes that are not UTF-8', (path) => writeFile(path, Buffer.from([0xff, 0xfe])), /is not UTF-8/],
];

for (const [what, make, problem] of NO_FILES) {
  test(`refuses ${what} in place of a file of routes`, { timeout: 30_000 }, async (t) => {
    const { base, folder, read } = await start(t);
    await make(join(folder, 'a.yaml'), base);
    const { team, problems } = await read();
    assert.equal(team.isOpen, false);
    assert.match(problems.map(({ message }) => message).join('\n'), problem);
  });
}

test('reads no more of a folder than a team needs', { timeout: 60_000 }, async (t) => {
  const { folder, read } = await start(t);
  const messages = async () => (await read()).problems.map(({ message }) => message).join();
  for (let file = 0; file < 6; file += 1) {
    const routes = Array.from({ length: 200 }, (_, n) => {
      const match = `{ path: /billing/${file}/${n} }`;
      return `- { name: r${file}-${n}, match: ${match}, upstream: "${UPSTREAM}", credential: none }`;
    });
    await writeFile(join(folder, `${file}.yaml`), `routes:\n${routes.join('\n')}`);
  }
  assert.match(await messages(), /^has more than 1000 routes/);
  await rm(join(folder, '5.yaml'));
  const { team } = await read();
  assert.deepEqual([team.isOpen, team.routes.length], [true, 1000]);
  const large = `routes: []\n# ${'x'.repeat(63 * 1024)}`;
  await Promise.all(Array.from({ length: 17 }, (_, n) => writeFile(join(folder, `large${n}.yaml`), large)));
  assert.match(await messages(), /^has more than 1 MiB of routes/);
  await Promise.all(Array.from({ length: 10_001 }, (_, n) => symlink('none', join(folder, `.${n}`))));
  assert.match(await messages(), /^has more than 10000 entries/);
});

for (const [what, target] of [
  ['a file', 'cambist.yaml'],
  ['an empty file', 'empty'],
  ['a folder', 'billing'],
] as const) {
  test(`says of a link to ${what} outside the granted folder nothing but that`, async (t) => {
    const { base, folder, files, read } = await start(t);
    await writeFile(join(base, 'empty'), '');
    const file = join(files, 'key');
    await symlink(relative(files, join(base, target)), file);
    await writeFile(join(folder, 'a.yaml'), `routes: [{ ${ROUTE}, credential: secret, secret: { file: ${file} } }]`);
    const { team, problems } = await read();
    assert.deepEqual([team.isOpen, problems.length], [false, 1]);
    assert.match(problems[0]?.message ?? '', /is a link that leads out/);
  });
}
