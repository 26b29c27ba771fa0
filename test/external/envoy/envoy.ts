import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../../harness/http-server.ts';
import { type Lifetime, temporaryFolder } from '../../harness/lifetime.ts';
import { startServer } from '../../harness/server-process.ts';
import { installEnvoy } from '../installs.ts';

/** Starts Envoy with static resources, as in its bootstrap. */
export function startEnvoy(t: Lifetime, resources: Readonly<Record<string, unknown>>): Promise<void> {
  return runEnvoy(t, `static_resources: ${JSON.stringify(resources)}\n`);
}

/** Starts Envoy with a bootstrap in YAML, which has no admin address. */
export async function runEnvoy(t: Lifetime, bootstrap: string): Promise<void> {
  const folder = temporaryFolder(t);
  const admin = await freePort();
  const path = join(folder, 'envoy.yaml');
  await writeFile(path, `${bootstrap}admin: ${JSON.stringify({ address: socketAddress(admin) })}\n`);
  const { close } = await startServer({
    command: await installEnvoy(),
    args: ['--config-path', path, '--log-level', 'warning', '--disable-hot-restart', '--concurrency', '1'],
    cwd: folder,
    readyUrl: `http://127.0.0.1:${admin}/ready`,
  });
  t.after(close);
}

/** An address of this machine. */
export function socketAddress(port: number) {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

/** A typed extension of Envoy's API. @param type without its package `envoy.extensions` */
export function typed(type: string, fields: Readonly<Record<string, unknown>>) {
  return { '@type': `type.googleapis.com/envoy.extensions.${type}`, ...fields };
}
