import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { runProgram } from '../../harness/run-command.ts';
import { HOST } from './setup.ts';

const INSIDE = fileURLToPath(new URL('names-inside.ts', import.meta.url));

/** As the kubelet writes both files of a pod with hostAliases. */
const HOSTS = `127.0.0.1 localhost\n127.0.0.1 ${HOST} unrouted.example.com passed.example.com\n`;
const RESOLV_CONF = 'nameserver 127.0.0.1\nsearch search.test\noptions ndots:5\n';

test('an agent without proxy variables reaches cambist by name, and cambist the backend by DNS alone', async (t) => {
  const folder = temporaryFolder(t);
  await writeFile(join(folder, 'hosts'), HOSTS);
  await writeFile(join(folder, 'resolv.conf'), RESOLV_CONF);
  const script = [
    'ip link set lo up',
    `mount --bind ${folder}/hosts /etc/hosts`,
    `mount --bind ${folder}/resolv.conf /etc/resolv.conf`,
    `exec ${process.execPath} --import tsx ${INSIDE}`,
  ].join(' && ');
  const { code, stdout, stderr } = await runProgram('unshare', ['-rmn', 'bash', '-c', script]);
  assert.equal(code, 0, stderr);
  const result = JSON.parse(stdout);
  assert.equal(result.hosts, true);
  assert.deepEqual(result.routed, { code: 0, stdout: '403' }, 'cambist responds where no route has the path');
  assert.equal(result.called.code, 0);
  assert.equal(result.called.stdout, '200', 'the backend accepted the token');
  assert.equal(result.verified, 1);
  assert.equal(result.unrouted.code, 35, 'the handshake is refused');
  assert.equal(result.passed.code, 60, "curl sees the backend's certificate, which names another host");
  assert.equal(result.connected.code, 60, 'a tunnel by CONNECT finds the backend by DNS as well');
  assert.equal(result.tunnels, 2);
  assert.ok(result.arrivals >= 1);
  assert.equal(result.leaked, false);
  assert.equal(result.doctor.healthy, true, JSON.stringify(result.doctor));
  assert.ok(result.asked.includes('mcp.example.com.search.test'), 'a search domain was applied');
});
