import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { installCaddy } from '../installs.ts';
import { testDataPlane } from './cases.ts';

testDataPlane({
  kind: 'caddy',
  asksSockets: true,
  downStatus: 503,
  async prepare({ text, folder, port }) {
    const file = join(folder, 'Caddyfile');
    const config = text
      .replace('{\n', '{\n\tadmin off\n\tpersist_config off\n')
      .replace('\n:8080 {', `\n:${port} {\n\tbind 127.0.0.1\n`);
    await writeFile(file, config);
    return [await installCaddy(), 'run', '--adapter', 'caddyfile', '--config', file];
  },
});
