import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { platform } from 'node:process';
import { type TestContext, test } from 'node:test';
import { soon } from '../harness/eventually.ts';
import type { Behaviour } from '../harness/fake-authorization-server.ts';
import { type Gateway, startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';

/** macOS has no loopback address but 127.0.0.1. */
const options = { skip: platform === 'darwin' };

const FLOODER = '127.0.0.2';
const NEWCOMER = '127.0.0.3';
const FLOOD_CONNECTIONS = 400;
const NEWCOMERS = 20;

/** Responses of an authorization server to a made-up token. */
const RESPONSES: Record<string, Behaviour> = {
  'refuses made-up tokens after half a second': {
    kind: 'response',
    status: 400,
    body: { error: 'invalid_grant' },
    delayMs: 500,
  },
  'responds to made-up tokens with 500': { kind: 'response', status: 500, delayMs: 200 },
  'responds to made-up tokens with 429': { kind: 'response', status: 429, headers: { 'retry-after': '30' } },
  'never responds to made-up tokens': { kind: 'hang' },
};

async function start(t: TestContext, madeUp: Behaviour) {
  const gateway = await startGateway(t);
  const { authorizationServer, app, config } = gateway;
  const { local } = config.authorization_servers;
  // Only one that never responds must time out, also where a busy machine takes seconds for a response.
  const timeout = madeUp.kind === 'hang' ? '2s' : '20s';
  app.reloadTo({ ...config, authorization_servers: { local: { ...local, timeout } } });
  authorizationServer.behaviour = ({ form }) =>
    form.get('subject_token')?.startsWith('made-up') ? madeUp : { kind: 'issue' };
  return gateway;
}

function send({ app }: Gateway, localAddress: string, token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` };
  return call(`${app.url}/github`, { headers, localAddress }).then(({ status }) => status);
}

/** Calls with a new made-up token on each connection, again and again. */
function flood(gateway: Gateway): { enough: Promise<void>; stop(): Promise<void> } {
  let stopped = false;
  let responses = 0;
  let reached = (): void => {};
  const enough = new Promise<void>((resolve) => {
    reached = resolve;
  });
  const loop = async (): Promise<void> => {
    while (!stopped) {
      await send(gateway, FLOODER, `made-up-${randomUUID()}`);
      responses += 1;
      if (responses >= 100) reached();
    }
  };
  const loops = Promise.all(Array.from({ length: FLOOD_CONNECTIONS }, loop));
  return {
    enough,
    stop: async () => {
      stopped = true;
      await loops;
    },
  };
}

for (const [name, behaviour] of Object.entries(RESPONSES)) {
  test(
    `serves new and accepted callers while one peer floods an authorization server that ${name}`,
    options,
    async (t) => {
      const gateway = await start(t, behaviour);
      const { app, authorizationServer } = gateway;
      const accepted = await authorizationServer.mint({ subject: 'accepted' });
      assert.equal(await send(gateway, FLOODER, accepted), 200);
      const flooding = flood(gateway);
      try {
        await soon('a hundred responses to the flood', flooding.enough, 20_000);
        const tokens = await Promise.all(
          Array.from({ length: NEWCOMERS }, (_, i) => authorizationServer.mint({ subject: `new-${i}` })),
        );
        const statuses = await Promise.all(tokens.map((token) => send(gateway, NEWCOMER, token)));
        assert.deepEqual(statuses, Array(NEWCOMERS).fill(200));
        // Needs an exchange of its own: the session id is new.
        const again = await call(`${app.url}/github`, {
          headers: { authorization: `Bearer ${accepted}`, 'mcp-session-id': 'second' },
          localAddress: FLOODER,
        });
        assert.equal(again.status, 200);
        assert.equal(sumSamples(await app.metrics(), 'cambist_authorization_server_available'), 1);
        const outages = app.logs.filter((line) => line.authorization_server !== undefined && line.route === undefined);
        assert.deepEqual(outages, []);
      } finally {
        await flooding.stop();
      }
    },
  );
}
