import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';

test('serves no route on the admin listener, and no admin page on the proxy listener', async (t) => {
  const { app, authorization } = await startGateway(t);
  assert.equal((await call(`${app.admin}/github`, { headers: { authorization } })).status, 404);
  for (const path of ['/metrics', '/livez', '/readyz', '/cache']) {
    assert.equal((await call(`${app.url}${path}`)).status, 403, path);
  }
});
