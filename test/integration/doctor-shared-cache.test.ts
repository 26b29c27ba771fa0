import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freePort } from '../harness/free-port.ts';
import { route, runDoctor } from './doctor-run.ts';

const VARIABLE = 'DOCTOR_SHARED_CACHE_KEY';

test('finds a server that is not there, and a key that is too short', async (t) => {
  t.after(() => {
    delete process.env[VARIABLE];
  });
  const config = {
    cache: { shared: { url: `redis://127.0.0.1:${await freePort()}`, key: { env: VARIABLE } } },
    routes: [route('open', { audience: undefined, credential: 'none' })],
  };
  process.env[VARIABLE] = 'short';
  const short = await runDoctor(t, config);
  assert.deepEqual(short.problems, ['error credential_unavailable', 'error shared_cache_unavailable']);
  process.env[VARIABLE] = 'a key that is long enough by any measure';
  const away = await runDoctor(t, config);
  assert.deepEqual(away.problems, ['error shared_cache_unavailable']);
  const finding = away.finding('shared_cache_unavailable');
  assert.deepEqual(finding.about, { kind: 'shared_cache', name: '' });
  assert.equal(finding.why, 'unreachable: ECONNREFUSED');
  assert.match(finding.fix ?? '', /start the server/);
});

test('finds that replicas cannot share revocations', async (t) => {
  process.env[VARIABLE] = 'a key that is long enough by any measure';
  t.after(() => {
    delete process.env[VARIABLE];
  });
  const transmitter = { issuer: 'http://127.0.0.1:9', audience: 'cambist', backchannel_logout: true };
  const { findings } = await runDoctor(t, {
    cache: { shared: { url: `redis://127.0.0.1:${await freePort()}`, key: { env: VARIABLE } } },
    signals: { listen: '127.0.0.1:0', transmitters: { idp: transmitter } },
    routes: [route('open', { audience: undefined, credential: 'none' })],
  });
  const codes = findings.filter(({ about }) => about.kind === 'shared_cache').map(({ code }) => code);
  assert.deepEqual(codes, ['shared_cache_unavailable', 'revocations_not_shared']);
});
