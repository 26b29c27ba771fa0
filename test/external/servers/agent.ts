import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Finding, FindingCode } from '../../../src/doctor/finding.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { SDK_V1 } from '../../harness/agent-client.ts';
import { startCambist } from '../../harness/cambist-process.ts';
import { TOKEN_TIMEOUT } from '../../harness/fake-authorization-server.ts';
import { assertProblem, type CallResponse, call } from '../../harness/http-call.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { runCommand } from '../../harness/run-command.ts';

/** Calls the backend's tool that returns the claims of the received token. */
export async function whoami(url: string, token: string): Promise<Record<string, unknown>> {
  const client = await SDK_V1.connect(url, token);
  const claims = JSON.parse(await client.call('whoami')) as Record<string, unknown>;
  await client.close();
  return claims;
}

/** Sends one request that the backend receives only if the exchange succeeds. */
export function post(url: string, token: string): Promise<CallResponse> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  return call(url, { method: 'POST', headers, body: '{}' });
}

/** @param client its id and secret, joined by a colon. The form names a client without a secret. */
export async function requestToken(endpoint: string, form: Record<string, string>, client?: string) {
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: client === undefined ? {} : { authorization: `Basic ${Buffer.from(client).toString('base64')}` },
    body: new URLSearchParams(form),
  });
  const body = (await response.json()) as Readonly<Record<string, string | undefined>>;
  const { access_token: accessToken, refresh_token: refreshToken = '', id_token: idToken = '', error } = body;
  if (accessToken === undefined) throw new Error(`the token request failed with ${response.status}: ${error}`);
  return { accessToken, refreshToken, idToken };
}

/** `client_auth` with a secret in a file. */
export function basicAuth(directory: string, file: string) {
  return { method: 'client_secret_basic', client_secret: { file: join(directory, file) } };
}

/** A mistake in a setup, the error that callers get, and the finding of `cambist doctor`, with its texts. */
interface Mistake extends Partial<Readonly<Record<'fix' | 'why' | 'what', RegExp>>> {
  readonly mistake: string;
  readonly route: string;
  readonly code: ErrorCode;
  readonly finding: FindingCode;
  /** The default signs in. */
  readonly token?: () => Promise<string>;
}

/** The server may be slow on a busy machine. */
function patient({ authorization_servers: servers, ...rest }: Readonly<Record<string, unknown>>) {
  const slow = Object.entries(servers as object).map(([name, server]) => [name, { ...server, timeout: TOKEN_TIMEOUT }]);
  return { ...rest, authorization_servers: Object.fromEntries(slow) };
}

/**
 * An agent and an operator of cambist at a real authorization server.
 * @param files of cambist
 * @param issue issues a caller's token
 */
export async function startAgent(
  files: Readonly<Record<string, string>>,
  config: (directory: string) => Readonly<Record<string, unknown>>,
  issue: () => Promise<string>,
) {
  const cambist = await startCambist({ after }, { files, config: (directory) => patient(config(directory)) });
  await cambist.ready();
  const leaks = createLeakWatch();
  for (const secret of Object.values(files)) leaks.remember(secret);
  const keep = (token: string): string => {
    leaks.remember(token);
    return token;
  };
  const signIn = async (): Promise<string> => keep(await issue());
  const url = (route: string) => `${cambist.url}/${route}`;
  /** The result of `cambist doctor` for one route, and the claims of the issued token. */
  const examine = async (route: string, token: string) => {
    const file = join(cambist.directory, 'doctor-subject-token');
    await writeFile(file, token);
    const args = ['doctor', '--config', cambist.configFile, '--route', route, '--subject-token-file', file];
    const asJson = await runCommand([...args, '--json']);
    const asText = await runCommand(args);
    const text = [asJson, asText].map(({ stdout, stderr }) => stdout + stderr).join('\n');
    leaks.assertNoLeak({ text, stdout: cambist.stdout(), stderr: cambist.stderr() });
    const { findings } = JSON.parse(asJson.stdout) as { findings: Finding[] };
    const of = (wanted: Finding['severity']) => findings.filter(({ severity }) => severity === wanted);
    const { claims } = findings.find((finding) => finding.claims !== undefined) ?? {};
    return { code: asJson.code, errors: of('error'), warnings: of('warning').map(({ code }) => code), claims };
  };
  const declareMistakes = (mistakes: readonly Mistake[]): void => {
    for (const { mistake, route, code, finding, token = signIn, ...texts } of mistakes) {
      test(`returns ${code} for ${mistake}, and doctor finds ${finding}`, async () => {
        const callers = keep(await token());
        assertProblem(await post(url(route), callers), code);
        const { code: exitCode, errors } = await examine(route, callers);
        assert.deepEqual([exitCode, errors.map((error) => error.code)], [1, [finding]]);
        for (const [name, text] of Object.entries(texts)) assert.match(errors[0]?.[name as 'fix'] ?? '', text);
      });
    }
  };
  return { cambist, leaks, keep, signIn, url, examine, declareMistakes };
}
