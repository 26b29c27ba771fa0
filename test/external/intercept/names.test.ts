import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { runProgram, succeeded } from '../../harness/run-command.ts';
import { HOST } from './setup.ts';

const INSIDE = join(import.meta.dirname, 'names-inside.ts');

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
  succeeded(await runProgram('unshare', ['-rmn', 'bash', '-c', script]));
});
