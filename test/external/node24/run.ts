import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installNode24 } from '../installs.ts';

const TESTS = fileURLToPath(new URL('../../', import.meta.url));

/**
 * The tests of the bytes on the wire, of TLS listeners, and of decisions by gRPC. How Node parses and closes connections differs between its versions. The
 * callers that leave one at a time are in this folder, because `npm test` has them all at the same time: integration/disconnects.test.ts.
 */
const FILES =
  /^(integration\/(hostile\/|tunnel|unusual-requests|listener-tls|svid|decisions-grpc|ext-proc)|external\/(framing|node24)\/).*\.test\.ts$/;

const files = readdirSync(TESTS, { recursive: true, encoding: 'utf8' }).filter((name) => FILES.test(name));
const args = ['--import', 'tsx', '--test', '--test-concurrency=3', ...files.sort().map((name) => join(TESTS, name))];
const child = spawn(await installNode24(), args, { stdio: 'inherit' });
[process.exitCode] = (await once(child, 'exit')) as [number];
