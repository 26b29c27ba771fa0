import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { test } from 'node:test';
import { buildConnector } from 'undici';
import wasm from 'undici/lib/llhttp/llhttp_simd-wasm.js';
import { serve } from '../../harness/http-server.ts';

/** cambist uses one module that undici does not export officially, and one undocumented return value. */
const REMEDY =
  'An update of undici changed something that is not part of its public API. Compare `interface Exports` and `env` in ' +
  "src/transport/http1/llhttp.ts, and `SocketConnector` in src/transport/connector.ts, with undici's lib/llhttp, " +
  'lib/dispatcher/client-h1.js and lib/core/connect.js. Adapt them and this test, run test/unit/transport, and pin the new ' +
  'release in package.json. If the module is gone, stay on the pinned release, or build llhttp to WebAssembly from ' +
  'https://github.com/nodejs/llhttp.';

const module = new WebAssembly.Module(wasm);

test('pins the release of undici that was tested', () => {
  const { version } = JSON.parse(readFileSync('node_modules/undici/package.json', 'utf8'));
  assert.equal(JSON.parse(readFileSync('package.json', 'utf8')).dependencies.undici, version, REMEDY);
});

test("undici's build of llhttp exports the functions that are used", () => {
  const source = readFileSync('src/transport/http1/llhttp.ts', 'utf8');
  const used = /interface Exports \{(.*?)\n\}/s.exec(source)?.[1] ?? '';
  const names = [...used.matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)].map(([, name]) => name);
  assert.ok(names.length > 10);
  const exported = new Set(WebAssembly.Module.exports(module).map(({ name }) => name));
  assert.deepEqual(
    names.filter((name) => !exported.has(name ?? '')),
    [],
    REMEDY,
  );
});

test("undici's build of llhttp imports exactly the callbacks that are given", () => {
  const source = readFileSync('src/transport/http1/llhttp.ts', 'utf8');
  const given = [...source.matchAll(/^ {4}(wasm_on_\w+)[(:]/gm)].map(([, name]) => `env.${name}`);
  const imported = WebAssembly.Module.imports(module).map(({ module: from, name }) => `${from}.${name}`);
  assert.deepEqual(imported.sort(), given.sort(), REMEDY);
});

test("undici's connector returns its socket at once", async (t) => {
  const server = createServer((socket) => void socket.destroy());
  const { port } = await serve(t, server);
  const options = { host: `127.0.0.1:${port}`, hostname: '127.0.0.1', protocol: 'http:', port: String(port) };
  const returned: unknown = buildConnector({})(options, () => {});
  assert.ok(returned instanceof Socket, REMEDY);
  await new Promise((resolve) => returned.once('close', resolve).resume());
});

test('imports no other module of undici than its public one and llhttp', () => {
  const imports = readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => [...readFileSync(`src/${file}`, 'utf8').matchAll(/from '(undici\/[^']*)'/g)])
    .map(([, specifier]) => specifier);
  assert.deepEqual(imports, ['undici/lib/llhttp/llhttp_simd-wasm.js'], REMEDY);
});
