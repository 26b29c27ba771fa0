import { freePort } from '../../harness/http-server.ts';
import { startServer } from '../../harness/server-process.ts';
import { installSpring } from '../installs.ts';

const START_TIMEOUT_MS = 300_000;

/** Must match `spring/src/main/resources/application.yaml`. */
const AGENT = 'agent:throwaway-secret-of-agent';
const USER = { username: 'alice', password: 'throwaway-password-of-alice' };
const CALLBACK = 'http://127.0.0.1:9/callback';
export const SPRING_SECRETS = {
  cambist: 'throwaway-secret-of-cambist',
  'cambist-customized': 'throwaway-secret-of-customized',
} as const;

/** Spring Authorization Server, built from Maven Central. */
export async function startSpring() {
  const folder = await installSpring();
  const port = await freePort();
  const issuer = `http://127.0.0.1:${port}`;
  const server = await startServer({
    command: 'java',
    args: [
      '-XX:TieredStopAtLevel=1',
      '-jar',
      'target/server.jar',
      `--server.port=${port}`,
      `--spring.security.oauth2.authorizationserver.issuer=${issuer}`,
    ],
    cwd: folder,
    readyUrl: `${issuer}/.well-known/openid-configuration`,
    startTimeoutMs: START_TIMEOUT_MS,
  });
  return {
    issuer,
    jwksUri: `${issuer}/oauth2/jwks`,
    signIn: () => signIn(issuer),
    workloadToken: (client: 'workload' | 'other-workload' = 'workload') =>
      requestToken(issuer, `${client}:throwaway-secret-of-${client}`, { grant_type: 'client_credentials' }),
    close: server.close,
  };
}

/** Signs in like a browser: authorize, submit the login form, authorize again. Then redeems the code. */
async function signIn(issuer: string): Promise<string> {
  const visit = browser();
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: 'agent',
    redirect_uri: CALLBACK,
    scope: 'mcp',
  });
  const authorize = `${issuer}/oauth2/authorize?${query}`;
  await visit(authorize);
  const page = await (await visit(`${issuer}/login`)).text();
  const csrf = /name="_csrf"[^>]*value="([^"]+)"/.exec(page)?.[1] ?? '';
  await visit(`${issuer}/login`, new URLSearchParams({ ...USER, _csrf: csrf }));
  const back = (await visit(authorize)).headers.get('location') ?? '';
  const code = URL.canParse(back) ? new URL(back).searchParams.get('code') : null;
  if (code === null) throw new Error('sign-in returned no code');
  return requestToken(issuer, AGENT, { grant_type: 'authorization_code', code, redirect_uri: CALLBACK });
}

/** @param client its id and secret, joined by a colon */
async function requestToken(issuer: string, client: string, form: Record<string, string>): Promise<string> {
  const response = await fetch(`${issuer}/oauth2/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(client).toString('base64')}` },
    body: new URLSearchParams(form),
  });
  const { access_token: token } = (await response.json()) as { access_token?: string };
  if (token === undefined) throw new Error(`the token request failed with status ${response.status}`);
  return token;
}

/** A client that keeps cookies and does not follow redirects. */
function browser() {
  const cookies = new Map<string, string>();
  return async (url: string, form?: URLSearchParams): Promise<Response> => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const headers = { accept: 'text/html', cookie };
    const options = form === undefined ? { headers } : { method: 'POST', headers, body: form };
    const response = await fetch(url, { ...options, redirect: 'manual' });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (name !== undefined && value !== undefined) cookies.set(name, value);
    }
    return response;
  };
}
