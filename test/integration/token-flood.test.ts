import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { platform } from 'node:process';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deferred } from '../harness/deferred.ts';
import { eventually } from '../harness/eventually.ts';
import type { Behaviour } from '../harness/fake-authorization-server.ts';
import { type Gateway, startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';

/** macOS has no loopback address but 127.0.0.1. */
const options = { skip: platform === 'darwin' };

const FLOODER = '127.0.0.2';
const NEWCOMER = '127.0.0.3';
const FLOOD_CONNECTIONS = 150;
const FLOOD_PAUSE_MS = 100;
const NEWCOMERS = 20;
/** Between two looks, each of which is a call with an exchange. */
const PAUSE_MS = 250;

/** Requests of one peer's unknown callers that an authorization server gets at a time. */
const MAX_IN_FLIGHT_OF_PEER = 48;
/** No request times out, also where a busy machine takes seconds for a response. */
const TIMEOUT = '60s';

/** Responses of an authorization server to a made-up token. */
const RESPONSES: Record<string, Behaviour> = {
  'is slow to refuse made-up tokens': {
    kind: 'response',
    status: 400,
    body: { error: 'invalid_grant' },
    delayMs: 200,
  },
  'responds to made-up tokens with 500': { kind: 'response', status: 500, delayMs: 200 },
  'responds to made-up tokens with 429': { kind: 'response', status: 429, headers: { 'retry-after': '30' } },
  'closes the connections of made-up tokens': { kind: 'reset' },
};

async function start(t: TestContext, madeUp: Behaviour) {
  const gateway = await startGateway(t);
  const { authorizationServer, app, config } = gateway;
  const { local } = config.authorization_servers;
  app.reloadTo({ ...config, authorization_servers: { local: { ...local, timeout: TIMEOUT } } });
  authorizationServer.behaviour = ({ form }) => (isMadeUp(form) ? madeUp : { kind: 'issue' });
  const accepted = await authorizationServer.mint({ subject: 'accepted' });
  assert.equal(await send(gateway, FLOODER, accepted), 200);
  return { ...gateway, accepted };
}

const isMadeUp = (form: URLSearchParams): boolean => form.get('subject_token')?.startsWith('made-up') === true;

function send({ app }: Gateway, localAddress: string, token: string, session = 'first'): Promise<number> {
  const headers = { authorization: `Bearer ${token}`, 'mcp-session-id': session };
  return call(`${app.url}/github`, { headers, localAddress }).then(({ status }) => status);
}

/** Calls with a new made-up token on each connection, again and again. */
function flood(gateway: Gateway): { responses(): number; stop(): Promise<void> } {
  let stopped = false;
  let responses = 0;
  const loop = async (): Promise<void> => {
    while (!stopped) {
      await send(gateway, FLOODER, `made-up-${randomUUID()}`);
      responses += 1;
      // Without a pause, responses that come at once keep a busy machine from serving others for seconds.
      await delay(FLOOD_PAUSE_MS);
    }
  };
  const loops = Promise.all(Array.from({ length: FLOOD_CONNECTIONS }, loop));
  return {
    responses: () => responses,
    stop: async () => {
      stopped = true;
      await loops;
    },
  };
}

/** Each call needs an exchange of its own: its caller or its session is new. */
async function assertServesOthers(gateway: Awaited<ReturnType<typeof start>>): Promise<void> {
  const { authorizationServer, accepted, app } = gateway;
  const tokens = await Promise.all(
    Array.from({ length: NEWCOMERS }, (_, i) => authorizationServer.mint({ subject: `new-${i}` })),
  );
  const statuses = await Promise.all(tokens.map((token) => send(gateway, NEWCOMER, token)));
  assert.deepEqual(statuses, Array(NEWCOMERS).fill(200));
  assert.equal(await send(gateway, FLOODER, accepted, 'second'), 200);
  assert.equal(sumSamples(await app.metrics(), 'cambist_authorization_server_available'), 1);
  const outages = app.logs.filter((line) => line.authorization_server !== undefined && line.route === undefined);
  assert.deepEqual(outages, []);
}

for (const [name, behaviour] of Object.entries(RESPONSES)) {
  test(
    `serves new and accepted callers while one peer floods an authorization server that ${name}`,
    options,
    async (t) => {
      const gateway = await start(t, behaviour);
      const flooding = flood(gateway);
      try {
        // An outage would rightly be reported once no caller has had a token for ten seconds.
        await eventually(
          'a hundred responses to the flood',
          async () => {
            assert.equal(await send(gateway, FLOODER, gateway.accepted, randomUUID()), 200);
            return flooding.responses() >= 100;
          },
          undefined,
          PAUSE_MS,
        );
        await assertServesOthers(gateway);
      } finally {
        await flooding.stop();
      }
    },
  );
}

test(
  'serves new and accepted callers while one peer floods an authorization server that does not respond to made-up tokens',
  options,
  async (t) => {
    const { promise: released, resolve: release } = deferred<void>();
    const gateway = await start(t, { kind: 'response', status: 400, until: released });
    const { authorizationServer } = gateway;
    const madeUp = () => authorizationServer.requests.filter(({ form }) => isMadeUp(form)).length;
    const flooding = flood(gateway);
    try {
      await eventually('as many requests as one peer may have', () => madeUp() >= MAX_IN_FLIGHT_OF_PEER);
      await assertServesOthers(gateway);
      assert.equal(madeUp(), MAX_IN_FLIGHT_OF_PEER);
    } finally {
      release();
      await flooding.stop();
    }
  },
);
