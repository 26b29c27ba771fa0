import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { installTraefik } from '../installs.ts';
import { testDataPlane } from './cases.ts';
import { filesOf } from './data-plane.ts';

testDataPlane({
  kind: 'traefik',
  asksSockets: false,
  // Traefik takes no other status for a fault of the service that it asks.
  downStatus: 500,
  async prepare({ text, folder, port, secret }) {
    const { 'traefik.yaml': main = '', 'cambist.yaml': dynamic = '' } = filesOf(text);
    const file = join(folder, 'cambist.yaml');
    await writeFile(file, dynamic);
    await writeFile(
      join(folder, 'traefik.yaml'),
      main.replace(':8080', `127.0.0.1:${port}`).replace('/etc/traefik/cambist.yaml', file),
    );
    const program = await installTraefik();
    return ['env', `CAMBIST_DECISION_SECRET=${secret}`, program, `--configFile=${join(folder, 'traefik.yaml')}`];
  },
});
