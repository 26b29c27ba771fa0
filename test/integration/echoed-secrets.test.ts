import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { assertProblem } from '../harness/problem.ts';

/** The form encoding of a secret (RFC 6749 section 2.3.1). */
const formEncoded = (text: string) => encodeURIComponent(text).replaceAll('!', '%21').replaceAll('%20', '+');

for (const secret of ['s3cr3t! of/the+client', 'zQ7!', 'k9']) {
  for (const encoding of ['form', 'raw']) {
    test(`keeps a client secret that the server repeats out of the log: ${secret.length} characters, ${encoding}`, async (t) => {
      process.env.ECHOED_SECRET = secret;
      t.after(() => delete process.env.ECHOED_SECRET);
      const { app, config, authorization, authorizationServer } = await startGateway(t);
      const { local } = config.authorization_servers;
      app.reloadTo({
        ...config,
        authorization_servers: {
          local: {
            ...local,
            client_auth: {
              method: 'client_secret_basic',
              basic_encoding: encoding,
              client_secret: { env: 'ECHOED_SECRET' },
            },
          },
        },
      });
      let credentials = '';
      authorizationServer.behaviour = ({ headers }) => {
        credentials = String(headers.authorization).replace('Basic ', '');
        const repeated = [secret, formEncoded(secret), credentials].map((text) => `<${text}>`).join(' ');
        return {
          kind: 'response',
          status: 401,
          body: { error: `bad ${secret}`, error_description: `wrong ${repeated}` },
        };
      };
      assertProblem(await call(`${app.url}/github`, { headers: { authorization } }), 'ERR_CLIENT_REFUSED');
      const refusals = app.logs
        .filter(({ msg }) => msg === 'request' || msg === 'exchange')
        .map(({ err, oauth_error }) => JSON.stringify([err, oauth_error]));
      assert.ok(refusals.length === 2 && refusals.every((text) => text.includes('[redacted]')), refusals.join());
      for (const text of refusals) {
        for (const part of [secret, formEncoded(secret), credentials]) assert.ok(!text.includes(part), text);
      }
    });
  }
}
