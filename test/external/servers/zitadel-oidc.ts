import { dirname } from 'node:path';
import { freePort } from '../../harness/http-server.ts';
import { startServer } from '../../harness/server-process.ts';
import { installZitadelOidc } from '../installs.ts';

const START_TIMEOUT_MS = 120_000;

/** Must match `zitadel-oidc/main.go`. */
export const ZITADEL_SECRET = 'throwaway+secret%2Fof cambist';
/** The service user of zitadel/oidc's example. */
const SERVICE_USER = { name: 'sid1', secret: 'verysecret' };

/** zitadel/oidc, built from Go modules. */
export async function startZitadelOidc() {
  const command = await installZitadelOidc();
  const address = `127.0.0.1:${await freePort()}`;
  const issuer = `http://${address}`;
  const server = await startServer({
    command,
    args: [address],
    cwd: dirname(command),
    readyUrl: `${issuer}/.well-known/openid-configuration`,
    startTimeoutMs: START_TIMEOUT_MS,
  });
  return { issuer, jwksUri: `${issuer}/keys`, signIn: () => signIn(`${issuer}/oauth/token`), close: server.close };
}

async function signIn(endpoint: string): Promise<string> {
  const basic = Buffer.from(`${SERVICE_USER.name}:${SERVICE_USER.secret}`).toString('base64');
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'openid' }),
  });
  const { access_token: token } = (await response.json()) as { access_token?: string };
  if (token === undefined) throw new Error(`sign-in failed with status ${response.status}`);
  return token;
}
