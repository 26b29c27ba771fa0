import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { cacheFile, compileProgram, runScript } from '../dist/program.js';

/** A start takes long where the processor is emulated, as in a build for another architecture. */
const WAIT_MS = 60_000;
const PAUSE_MS = 500;

/**
 * Starts the built program in this process, and keeps what V8 compiled meanwhile in a file beside it. Later starts with the same
 * Node and the same V8 flags compile nothing. Flags of memory do not count.
 */
const bundle = fileURLToPath(new URL('../dist/cambist.cjs', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'cambist-code-cache-'));
const config = join(directory, 'cambist.yaml');
const clientSecret = join(directory, 'client-secret');
const admin = join(directory, 'admin');

// Most starts read the metadata of an authorization server and respond to a readiness probe, so this one does too.
const authorizationServer = createServer((_, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ issuer, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks` }));
}).listen(0, '127.0.0.1');
await once(authorizationServer, 'listening');
const issuer = `http://127.0.0.1:${authorizationServer.address().port}`;

writeFileSync(clientSecret, 'a secret');
writeFileSync(
  config,
  `version: 1
listen: 127.0.0.1:0
admin: unix:${admin}
authorization_servers:
  any:
    issuer: ${issuer}
    client_id: any
    client_auth: { method: client_secret_basic, client_secret: { file: ${clientSecret} } }
routes:
  - { name: any, match: { path: / }, upstream: http://127.0.0.1:9 }
`,
);
process.argv.splice(2, Infinity, 'run', '--config', config);
const script = compileProgram(bundle);
runScript(script, bundle);
process.once('exit', () => rmSync(directory, { recursive: true }));

// A start takes a fifth of a second. Functions that run later are compiled when they run.
setTimeout(() => probe(WAIT_MS), 2000);

/** Writes the cache once the program is ready. Before that, it would lack functions. */
function probe(leftMs) {
  const again = () => {
    if (leftMs === 0) throw new Error(`not ready after ${WAIT_MS / 1000} seconds`);
    setTimeout(() => probe(leftMs - PAUSE_MS), PAUSE_MS);
  };
  get({ socketPath: admin, path: '/readyz' }, (response) => {
    response.resume().once('end', response.statusCode === 200 ? writeCache : again);
  }).once('error', again);
}

function writeCache() {
  // `run` has turned pretenuring off. A start has it on, and V8 compares the flags.
  setFlagsFromString('--allocation-site-pretenuring');
  writeFileSync(cacheFile(bundle), script.createCachedData());
  process.exit();
}
