import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { AgentClient, AgentSdk } from './agent-client.ts';
import { startAuthorizationServer } from './authorization-server.ts';
import { type CambistProcess, startCambist } from './cambist-process.ts';
import { keepParts } from './keep-parts.ts';
import { type McpFixture, startMcpFixture } from './mcp-fixture/server.ts';

/** cambist in front of two fixture servers, each with its own audience. */
export interface FixtureSetup {
  fixtures: Record<FixtureName, McpFixture>;
  cambist: CambistProcess;
  /** The URL of a fixture through cambist. */
  url(name: FixtureName): string;
  /** Issues a caller's token. cambist may exchange it, and the fixtures refuse it. */
  subjectToken(sub?: string): Promise<string>;
  /** Connects as `alice`, or with the given token. */
  connect(sdk: AgentSdk, name: FixtureName, token?: string): Promise<AgentClient>;
}

export type FixtureName = 'github' | 'docs';

/** Starts everything, and closes it in reverse order after the test. */
export async function startFixtureSetup(t: TestContext): Promise<FixtureSetup> {
  const { keep, close } = keepParts();
  t.after(close);
  const secret = randomBytes(24).toString('base64url');
  const clients = { cambist: { method: 'client_secret_basic' as const, secret } };
  const authorizationServer = keep(await startAuthorizationServer({ clients }));
  const startFixture = async (audience: FixtureName) => {
    const fixture = keep(await startMcpFixture(authorizationServer));
    authorizationServer.resources.set(fixture.url, { scopes: ['tools'], audience });
    return fixture;
  };
  const fixtures = { github: await startFixture('github'), docs: await startFixture('docs') };
  const cambist = keep(
    await startCambist({
      config: (directory) => ({
        authorization_servers: {
          local: {
            issuer: authorizationServer.issuer,
            client_id: 'cambist',
            client_auth: { method: 'client_secret_basic', client_secret: { file: join(directory, 'client-secret') } },
            // On a busy machine, fifty exchanges at the same time take longer than the default.
            timeout: '60s',
          },
        },
        routes: Object.entries(fixtures).map(([name, { url }]) => ({
          name,
          match: { path: `/${name}` },
          upstream: url,
        })),
      }),
      files: { 'client-secret': secret },
    }),
  );
  await cambist.ready();
  const url = (name: FixtureName) => `${cambist.url}/${name}`;
  const subjectToken = (sub = 'alice') =>
    authorizationServer.issueSubjectToken({ sub, audience: ['my-agent', 'cambist'] });
  return {
    fixtures,
    cambist,
    url,
    subjectToken,
    connect: async (sdk, name, token) => keep(await sdk.connect(url(name), token ?? (await subjectToken()))),
  };
}
