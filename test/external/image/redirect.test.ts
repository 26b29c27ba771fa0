import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { runProgram, succeeded } from '../../harness/run-command.ts';
import { entriesOf, LIMITS, RESTRICTED } from './podman.ts';

const IMAGE = 'cambist-redirect:test';
const MIB = 1024 * 1024;

/** The restrictions of the init container in `deploy/packets.md`. */
const ADMIN = [...RESTRICTED, '--cap-add=NET_ADMIN'];
const RULES = ['--uid', '65532', '--redirect', '443:15443', '--redirect', '80:15080'];

/** The network of a pod, which its containers share. */
async function startPod(t: TestContext) {
  const pod = spawn('unshare', ['-n', process.execPath, '-e', 'console.log("ready"); setInterval(() => {}, 1e6)']);
  t.after(() => pod.kill());
  await once(pod.stdout, 'data');
  return (flags: readonly string[], ...args: readonly string[]) =>
    runProgram('podman', ['run', '--rm', `--network=ns:/proc/${pod.pid}/ns/net`, ...LIMITS, ...flags, ...args]);
}

test('redirects with no capability but NET_ADMIN, and gives the same rules a second time', async (t) => {
  const run = await startPod(t);
  const list = () => run([...ADMIN, '--entrypoint=nft'], IMAGE, '-y', 'list', 'ruleset');
  const first = succeeded(await run(ADMIN, IMAGE, ...RULES));
  assert.match(first, /^cambist-redirect: redirected TCP to ports 443 80 except that of user 65532/);
  const { stdout: rules } = await list();
  assert.match(rules, /tcp dport 443 redirect to :15443\n\t\ttcp dport 80 redirect to :15080/);
  succeeded(await run(ADMIN, IMAGE, ...RULES));
  assert.equal((await list()).stdout, rules);
});

test('fails without NET_ADMIN, and without arguments', async (t) => {
  const run = await startPod(t);
  const { code, stderr } = await run(RESTRICTED, IMAGE, ...RULES);
  assert.equal(code, 1);
  assert.match(stderr, /^cambist-redirect: the kernel refused the rules; this container needs NET_ADMIN/);
  assert.match((await run(ADMIN, IMAGE)).stderr, /^cambist-redirect: missing --uid/);
});

test('contains nft, a shell, their libraries and one script', async (t) => {
  const files = (await entriesOf(IMAGE)).filter(({ mode }) => mode.startsWith('-'));
  const programs = files.map(({ path }) => path).filter((path) => /^(?:usr\/)?s?bin\//.test(path));
  assert.deepEqual(programs.sort(), ['usr/bin/cambist-redirect', 'usr/bin/dash', 'usr/sbin/nft']);
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  t.diagnostic(`${(total / MIB).toFixed(1)} MiB in ${files.length} files`);
  assert.ok(total < 8 * MIB, `${total} bytes`);
});
