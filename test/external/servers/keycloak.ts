import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../../harness/http-server.ts';
import { startServer } from '../../harness/server-process.ts';
import { installKeycloak } from '../installs.ts';
import { requestToken } from './agent.ts';

/** A start with other features builds the server, which takes minutes on a busy machine. Only a failing test waits this long. */
const START_TIMEOUT_MS = 600_000;

/** The processes are short-lived, so the optimizing compiler would cost more time than it saves. */
export const JAVA_OPTIONS = '-XX:TieredStopAtLevel=1';

/** The first administrator. The commands of the pages use the name. */
export const ADMIN = { name: 'admin', password: 'throwaway-password-of-admin' };

export type Realm = Readonly<Record<string, unknown>> & { readonly realm: string };

export type Keycloak = Awaited<ReturnType<typeof startKeycloak>>;

export async function committedRealm(): Promise<Realm> {
  const text = await readFile(new URL('../../../config/keycloak-realm.json', import.meta.url), 'utf8');
  return JSON.parse(text) as Realm;
}

/**
 * Starts Keycloak from Maven Central, in development mode, with an in-memory database and these realms.
 * @param env more environment variables
 */
export async function startKeycloak(realms: readonly Realm[], env: Record<string, string> = {}) {
  const home = await installKeycloak();
  const imports = join(home, 'data/import');
  await rm(join(home, 'data'), { recursive: true, force: true });
  await mkdir(imports, { recursive: true });
  for (const realm of realms) await writeFile(join(imports, `${realm.realm}.json`), JSON.stringify(realm));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer({
    command: 'bash',
    args: [
      'bin/kc.sh',
      'start-dev',
      '--import-realm',
      '--db=dev-mem',
      '--cache=local',
      '--http-host=127.0.0.1',
      `--http-port=${port}`,
    ],
    env: {
      JAVA_OPTS_APPEND: JAVA_OPTIONS,
      KC_BOOTSTRAP_ADMIN_USERNAME: ADMIN.name,
      KC_BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
      ...env,
    },
    cwd: home,
    readyUrl: `${url}/realms/${realms[0]?.realm ?? 'master'}/.well-known/openid-configuration`,
    startTimeoutMs: START_TIMEOUT_MS,
  });
  const issuer = (realm: string) => `${url}/realms/${realm}`;
  const openid = (realm: string) => `${issuer(realm)}/protocol/openid-connect`;
  return {
    url,
    /** The folder of its command-line tools. */
    bin: join(home, 'bin'),
    issuer,
    /** The folder of the endpoints of a realm. */
    openid,
    jwksUri: (realm: string) => `${openid(realm)}/certs`,
    /** Signs in a user with the direct grant. */
    signIn: (realm: string, client: string, { name, password }: typeof ADMIN) => {
      const form = { grant_type: 'password', client_id: client, scope: 'openid', username: name, password };
      return requestToken(`${openid(realm)}/token`, form);
    },
    close: server.close,
  };
}
