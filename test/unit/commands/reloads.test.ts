import assert from 'node:assert/strict';
import fs, { mkdir, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { App } from '../../../src/app.ts';
import { UsageError } from '../../../src/commands/command.ts';
import { createReloads, logLevelOf } from '../../../src/commands/reloads.ts';
import type { Config } from '../../../src/config/config.ts';
import { loadConfig, parseConfig } from '../../../src/config/load.ts';
import { createLogger } from '../../../src/observability/logger.ts';
import { readTeams } from '../../../src/teams/team-files.ts';
import { deferred, eventually } from '../../harness/eventually.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

const textOf = (name: string) =>
  `version: 1\nroutes: [{ name: ${name}, upstream: 'http://127.0.0.1:1', credential: none, match: { path: / } }]\n`;

/** An app that notes what it is told to serve, behind a config file that it is told of. */
async function startReloads(t: TestContext, serve: (config: Config) => void, text = textOf('first')) {
  const folder = temporaryFolder(t);
  const file = join(folder, 'cambist.yaml');
  await writeFile(file, text);
  const configs: Config[] = [];
  const lines: string[] = [];
  const served: (string | undefined)[] = [];
  let failures = 0;
  const rereads: string[] = [];
  const app: Partial<App> = {
    reload(config) {
      serve(config);
      configs.push(config);
      served.push(config.routes[0]?.name);
      return [];
    },
    wasUsed: () => true,
    reloadFailed() {
      failures += 1;
    },
    rereadTls(changed = []) {
      rereads.push(...changed);
    },
    reopenFiles() {},
    logLevel: { configure() {} },
  };
  const reloads = createReloads(file, createLogger('info', { write: (line) => void lines.push(line) }));
  t.after(() => reloads.close());
  // Nothing else keeps the process alive while a watcher of no process does its work.
  const keepAlive = setInterval(() => undefined, 50);
  t.after(() => clearInterval(keepAlive));
  const { config } = await readTeams(await loadConfig(file));
  reloads.begin(app as App, config ?? assert.fail());
  return {
    file,
    served,
    configs,
    failures: () => failures,
    rereads,
    logText: () => lines.join(''),
    logLines: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

test('a reload that throws is a failed one: the config before serves on, and the next change is taken', async (t) => {
  const { file, served, failures, logText } = await startReloads(t, (config) => {
    if (config.routes[0]?.name === 'broken') throw new Error('no good');
  });
  await writeFile(file, textOf('broken'));
  process.emit('SIGHUP');
  await eventually('it failed', () => failures() > 0);
  assert.equal(served.length, 0);
  assert.match(logText(), /"no good"[\s\S]*config reload failed; keeping the previous config/);
  await writeFile(file, textOf('fixed'));
  process.emit('SIGHUP');
  await eventually('it is served', () => served.includes('fixed'));
  assert.ok(!served.includes('broken'));
});

test('a config with an error is a failed reload, and the log counts errors alone and names their places', async (t) => {
  const { file, served, failures, logLines } = await startReloads(t, () => {});
  const warned =
    'authorization_servers: { main: { token_endpoint: http://sts, client_auth: { method: client_secret_post,';
  await writeFile(file, `version: 1\n${warned} client_secret: { file: /nowhere } }, client_id: x } }\nroutes: 7\n`);
  process.emit('SIGHUP');
  await eventually('it failed', () => failures() > 0);
  assert.equal(served.length, 0);
  assert.deepEqual(
    // SIGHUP and the watcher may each reload it.
    logLines()
      .slice(0, 3)
      .map(({ level, line, path, errors }) => ({ level, line, path, errors })),
    [
      { level: 'warn', line: 2, path: 'authorization_servers.main.client_auth.client_secret.file', errors: undefined },
      { level: 'error', line: 3, path: 'routes', errors: undefined },
      { level: 'error', line: undefined, path: undefined, errors: 1 },
    ],
  );

  await unlink(file);
  process.emit('SIGHUP');
  const missing = () => logLines().find(({ msg }) => String(msg).includes('no such file'));
  await eventually('it is missed', () => missing() !== undefined);
  const gone = missing() ?? assert.fail();
  for (const field of ['line', 'column', 'path']) assert.ok(!(field in gone), field);
});

test('takes the log level from CAMBIST_LOG_LEVEL before the config, and refuses an invalid one', (t) => {
  const { env } = process;
  t.after(() => {
    process.env = env;
  });
  const route = 'routes: [{ name: a, match: { path: /a }, upstream: http://a:1, credential: none }]';
  const { config = assert.fail() } = parseConfig(`version: 1\nlog: { level: warn }\n${route}`, 'cambist.yaml');
  const { CAMBIST_LOG_LEVEL: _, ...others } = env;
  process.env = others;
  assert.equal(logLevelOf(config), 'warn');
  process.env = { ...others, CAMBIST_LOG_LEVEL: 'debug' };
  assert.equal(logLevelOf(config), 'debug');
  process.env = { ...others, CAMBIST_LOG_LEVEL: 'loud' };
  assert.throws(() => logLevelOf(config), UsageError);
});

const UPSTREAM = 'https://backend.example.com';

/** A gateway of two teams, which have a folder each. */
async function startTeams(t: TestContext) {
  const base = temporaryFolder(t);
  const names = ['one', 'two'];
  const folders = names.map((name) => join(base, name));
  const entries = names.map((name, index) => {
    return { name, folder: join(base, name), paths: [`/${index}`], upstreams: [UPSTREAM], files: [base] };
  });
  /** Writes a file with one route, or an invalid file. */
  const write = (index: number, route: string | undefined, more: object = {}) => {
    const written = { name: route, match: { path: `/${index}` }, upstream: UPSTREAM, credential: 'none', ...more };
    const text = route === undefined ? 'routes: [' : JSON.stringify({ routes: [written] });
    return writeFile(join(folders[index] ?? assert.fail(), 'a.yaml'), text);
  };
  for (const folder of folders) await mkdir(folder);
  await write(0, 'first');
  await write(1, 'first');
  const started = await startReloads(t, () => {}, JSON.stringify({ version: 1, routes_from: entries }));
  const served = () => started.configs.at(-1)?.routes.map(({ name }) => name) ?? [];
  return { ...started, folders, ca: join(base, 'ca.pem'), write, names: served };
}

test('reloads when a TLS file of the main file changes', async (t) => {
  const ca = join(temporaryFolder(t), 'ca.pem');
  await writeFile(ca, 'first');
  const route = { name: 'a', match: { path: '/' }, upstream: UPSTREAM, credential: 'none', tls: { ca: { file: ca } } };
  const { served } = await startReloads(t, () => {}, JSON.stringify({ version: 1, routes: [route] }));
  // The second reload begins after the first has looked at the file.
  for (let i = 0; i < 2; i += 1) process.emit('SIGHUP');
  await eventually('both are served', () => served.length === 2);
  await writeFile(ca, 'second');
  await eventually('the config is served again', () => served.length === 3);
});

test('closes the region of a team whose file becomes invalid, and opens it again, while the main file is invalid', async (t) => {
  const { file, write, names, configs, failures, logText } = await startTeams(t);
  await writeFile(file, 'version: 2');
  await eventually('the main file is refused', () => failures() > 0);
  await write(0, undefined);
  await eventually('the region is closed', () => configs.at(-1)?.teams[0]?.isOpen === false);
  assert.deepEqual(names(), ['two/first']);
  await eventually('the log says so', () => /one.a\.yaml:1:\d+: .*the routes of a team are invalid/s.test(logText()));
  await write(0, 'fixed');
  await eventually('the region is open', () => names().includes('one/fixed'));
  assert.deepEqual(names(), ['one/fixed', 'two/first']);
});

test('logs a hundred problems of a team, with its name, and the number of the others', async (t) => {
  const { folders, logLines } = await startTeams(t);
  const routes = Array.from({ length: 150 }, () => 7);
  await writeFile(join(folders[0] ?? '', 'a.yaml'), JSON.stringify({ routes }));
  const rest = () => logLines().find(({ msg }) => msg === 'and 50 more problems: run "cambist validate"');
  await eventually('the log says so', () => rest() !== undefined);
  assert.equal(rest()?.team, 'one');
  const problems = logLines().filter(({ msg, team }) => team === 'one' && String(msg).includes('a.yaml:1:'));
  assert.equal(problems.length, 100);
});

test('applies the change of a team while the folder of another never comes to rest', async (t) => {
  const { write, names, configs } = await startTeams(t);
  let writes = 0;
  let isOver = false;
  // One write at a time, so that none of them ends after the last change.
  const burst = async (): Promise<void> => {
    while (!isOver) {
      await write(0, `r${writes++}`);
      await delay(10);
    }
  };
  t.after(() => {
    isOver = true;
  });
  const bursting = burst();
  await eventually('there were many changes', () => writes > 50);
  await write(1, 'second');
  await eventually('the other team is served', () => names().includes('two/second'));
  isOver = true;
  await bursting;
  await write(0, 'last');
  await eventually('the last change is served', () => names().includes('one/last'));
  assert.ok(configs.length < writes, `${configs.length} reloads of ${writes} changes`);
});

test('applies the main file while a certificate of a team never comes to rest, and reads the certificate again', async (t) => {
  const { file, ca, rereads, names, write } = await startTeams(t);
  let writes = 0;
  const change = (): Promise<void> => {
    writes += 1;
    return writeFile(ca, String(writes));
  };
  await change();
  await write(0, 'own-ca', { tls: { ca: { file: ca } } });
  await eventually('the route is served', () => names().includes('one/own-ca'));
  const burst = setInterval(() => void change(), 10);
  t.after(() => clearInterval(burst));
  await eventually('there were many changes', () => writes > 50);
  const { routes_from: entries, ...others } = JSON.parse(await readFile(file, 'utf8')) as { routes_from: object[] };
  await writeFile(file, JSON.stringify({ ...others, routes_from: entries.slice(0, 1) }));
  await eventually('the main file is served', () => !names().includes('two/first'));
  clearInterval(burst);
  rereads.length = 0;
  await change();
  await eventually('the certificate is read again', () => rereads.includes(ca));
});

test('reads again only TLS files that changed, also while the region was closed', async (t) => {
  const { ca, write, rereads, names, configs } = await startTeams(t);
  await writeFile(ca, 'first');
  const writeRoute = (name: string) => write(0, name, { tls: { ca: { file: ca } } });
  await writeRoute('own-ca');
  await eventually('the route is served', () => names().includes('one/own-ca'));
  rereads.length = 0;
  await writeRoute('renamed');
  await eventually('the change is served', () => names().includes('one/renamed'));
  assert.deepEqual(rereads, []);
  await write(0, undefined);
  await eventually('the region is closed', () => configs.at(-1)?.teams[0]?.isOpen === false);
  await writeFile(ca, 'second');
  await writeRoute('renamed');
  await eventually('the region is open', () => names().includes('one/renamed'));
  assert.deepEqual(rereads, [ca]);
});

test('reads a folder once for all changes while it is read', async (t) => {
  const { folders, write, configs, names } = await startTeams(t);
  const held = deferred<void>();
  const { opendir } = fs;
  let readings = 0;
  t.mock.method(fs, 'opendir', async (...args: Parameters<typeof opendir>) => {
    if (args[0] === folders[0]) {
      readings += 1;
      if (readings === 1) await held.promise;
    }
    return opendir(...args);
  });
  t.after(syncBuiltinESMExports);
  syncBuiltinESMExports();
  await write(0, 'held');
  await eventually('the folder is being read', () => readings > 0);
  const earlier = configs.length;
  for (let reload = 1; reload <= 8; reload += 1) {
    process.emit('SIGHUP');
    await eventually('the main file is reloaded', () => configs.length >= earlier + reload);
  }
  assert.equal(readings, 1 + 8, 'each reload of the main file reads it as well');
  held.resolve();
  await write(0, 'last');
  await eventually('the last change is served', () => names().includes('one/last'));
  for (const route of ['a', 'b', 'c']) {
    await write(1, route);
    await eventually('the other team is served meanwhile', () => names().includes(`two/${route}`));
  }
  assert.ok(readings < 1 + 8 + 5, `${readings} readings`);
});

test('follows files that come and go, folders that come and go, and entries of the main file', async (t) => {
  const { file, folders, write, names, configs } = await startTeams(t);
  const [one = ''] = folders;
  await write(0, 'later');
  await rename(join(one, 'a.yaml'), join(one, 'b.yaml'));
  await eventually('the files are served', () => names().includes('one/later'));
  await rename(one, `${one}-away`);
  await eventually('the region is closed', () => configs.at(-1)?.teams[0]?.isOpen === false);
  await rename(`${one}-away`, one);
  await eventually('the region is open', () => names().includes('one/later'));
  const { version, routes_from: entries } = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown[]>;
  await writeFile(file, JSON.stringify({ version, routes_from: entries?.slice(1) }));
  await eventually('the team is gone', () => configs.at(-1)?.teams.length === 1);
  await write(1, 'second');
  await eventually('the other team is served', () => names().includes('two/second'));
});

test('applies a change that arrives while the main file is read', async (t) => {
  const { file, write, names, configs } = await startTeams(t);
  for (let round = 0; round < 5; round += 1) {
    await writeFile(file, `${await readFile(file, 'utf8')} `);
    process.emit('SIGHUP');
    await write(0, `round${round}`);
    await eventually('both are served', () => names().includes(`one/round${round}`));
  }
  assert.ok(configs.every(({ teams }) => teams.length === 2));
});
