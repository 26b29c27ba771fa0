import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { cacheFile, compileProgram, runScript } from '../dist/program.js';

/**
 * Starts the built program in this process, and keeps what V8 compiled meanwhile in a file beside it. Later starts with the same
 * Node and the same V8 flags compile nothing. Flags of memory do not count.
 */
const bundle = fileURLToPath(new URL('../dist/cambist.cjs', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'cambist-code-cache-'));
const config = join(directory, 'cambist.yaml');
const unused = 'http://127.0.0.1:9';

writeFileSync(
  config,
  `version: 1
listen: 127.0.0.1:0
admin: unix:${directory}/admin
authorization_servers:
  any: { token_endpoint: ${unused}, client_id: any, client_auth: { method: none } }
routes:
  - { name: any, match: { path: / }, upstream: ${unused} }
`,
);
process.argv.splice(2, Infinity, 'run', '--config', config);
const script = compileProgram(bundle);
runScript(script, bundle);
process.once('exit', () => rmSync(directory, { recursive: true }));

// A start takes a fifth of a second. Functions that run later are compiled when they run.
setTimeout(() => {
  // `run` has turned pretenuring off. A start has it on, and V8 compares the flags.
  setFlagsFromString('--allocation-site-pretenuring');
  writeFileSync(cacheFile(bundle), script.createCachedData());
  process.exit();
}, 2000);
