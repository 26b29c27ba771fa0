import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../find-program.ts';
import { testDataPlane } from './cases.ts';
import { filesOf } from './data-plane.ts';

const UNPACKED = fileURLToPath(new URL('../../../node_modules/.haproxy', import.meta.url));

testDataPlane({
  kind: 'haproxy',
  asksSockets: true,
  downStatus: 503,
  async prepare({ text, folder, port }) {
    const { 'haproxy.cfg': config = '', 'cambist.lua': lua = '' } = filesOf(text);
    await writeFile(join(folder, 'cambist.lua'), lua);
    await writeFile(
      join(folder, 'haproxy.cfg'),
      config
        .replace('/etc/haproxy/cambist.lua', join(folder, 'cambist.lua'))
        .replace('bind :8080', `bind 127.0.0.1:${port}`),
    );
    const program = findProgram('haproxy', join(UNPACKED, 'usr/sbin')) ?? 'haproxy';
    return ['env', `LD_LIBRARY_PATH=${UNPACKED}/lib`, program, '-db', '-f', join(folder, 'haproxy.cfg')];
  },
});
