import { freePort } from '../../harness/http-server.ts';
import { startServer } from '../../harness/server-process.ts';
import { installSpring } from '../installs.ts';
import { requestToken } from './agent.ts';

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
  });
  return {
    issuer,
    jwksUri: `${issuer}/oauth2/jwks`,
    signIn: () => signIn(issuer),
    async workloadToken(client: 'workload' | 'other-workload' = 'workload') {
      const form = { grant_type: 'client_credentials' };
      return (await requestToken(`${issuer}/oauth2/token`, form, `${client}:throwaway-secret-of-${client}`))
        .accessToken;
    },
    close: server.close,
  };
}

/** Signs in like a browser: authorize, submit the login form, authorize again. Then redeems the code. */
async function signIn(issuer: string): Promise<string> {
  const visit = browser();
  const asked = { response_type: 'code', client_id: 'agent', redirect_uri: CALLBACK, scope: 'mcp' };
  const query = new URLSearchParams(asked);
  const authorize = `${issuer}/oauth2/authorize?${query}`;
  await visit(authorize);
  const page = await (await visit(`${issuer}/login`)).text();
  const csrf = /name="_csrf"[^>]*value="([^"]+)"/.exec(page)?.[1] ?? '';
  await visit(`${issuer}/login`, new URLSearchParams({ ...USER, _csrf: csrf }));
  const back = (await visit(authorize)).headers.get('location') ?? '';
  const code = URL.canParse(back) ? new URL(back).searchParams.get('code') : null;
  if (code === null) throw new Error('sign-in returned no code');
  const form = { grant_type: 'authorization_code', code, redirect_uri: CALLBACK };
  return (await requestToken(`${issuer}/oauth2/token`, form, AGENT)).accessToken;
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
