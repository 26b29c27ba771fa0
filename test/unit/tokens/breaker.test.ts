import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import { createRankedBreaker } from '../../../src/tokens/breaker.ts';
import type { RankedRequester } from '../../../src/tokens/token-request.ts';
import { deferred } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith } from './sample.ts';

/** A caller that the server has accepted, `new` from an address of its own, `local` without one, or one with a made-up token. */
function requesterOf(name: string): RankedRequester {
  if (name === '') return { caller: undefined, peer: undefined, accepted: true };
  if (name.startsWith('local')) return { caller: name, peer: undefined, accepted: false };
  if (name === 'new') return { caller: name, peer: '10.0.0.3', accepted: false };
  if (name.startsWith('made-up')) return { caller: name, peer: '10.0.0.2', accepted: false };
  return {
    caller: name.replace('-there', ''),
    peer: name.endsWith('-there') ? '10.0.0.2' : '10.0.0.1',
    accepted: true,
  };
}

/** `fault` or a status, with a Retry-After behind a slash, or a code of an error. */
function errorOf(what: string): Error {
  const [kind = '', seconds] = what.split('/');
  const retry = seconds === undefined ? {} : { retryAfterSeconds: Number(seconds) };
  if (kind === 'bug') return new Error('bug');
  if (kind === 'fault') return new CambistError('ERR_STS_UNAVAILABLE', 'down', retry);
  if (/^\d+$/.test(kind))
    return new CambistError('ERR_STS_UNAVAILABLE', kind, { serverStatus: Number(kind), ...retry });
  return new CambistError(kind as ErrorCode, 'no');
}

const isDown = failsWith('ERR_STS_UNAVAILABLE', /"main" is considered down/);

/**
 * Plays the steps of a script: `+250` lets time pass. `bob:token` is an attempt of Bob with a token as its result, `bob:fault` one
 * that fails, `bob:down` one that the breaker refuses, and `bob:begin` one that `end=token` or `end=fault` ends later. `off` and
 * `on` are reports that the server is down or up, and `quiet` means that none is made. A step with `*3` is repeated.
 */
async function play(script: string): Promise<void> {
  const clock = createFakeClock();
  const reports: boolean[] = [];
  const breaker = createRankedBreaker('main', clock, (available) => reports.push(available));
  const begun: { work: ReturnType<typeof deferred<string>>; attempt: Promise<string> }[] = [];

  async function step(text: string): Promise<void> {
    const [name, what] = text.includes(':') ? (text.split(':') as [string, string]) : ['', text];
    const run = (attempt: () => Promise<string>) => breaker.run(requesterOf(name), attempt);
    if (what === 'off' || what === 'on' || what === 'quiet') {
      assert.deepEqual(reports.splice(0), what === 'quiet' ? [] : [what === 'on']);
    } else if (what.startsWith('+')) {
      clock.advance(Number(what));
    } else if (what === 'token') {
      assert.equal(await run(async () => 'token'), 'token');
    } else if (what.startsWith('down')) {
      const seconds = what.split('/')[1];
      await assert.rejects(run(assert.fail), (error: CambistError) => {
        isDown(error);
        return seconds === undefined || error.retryAfterSeconds === Number(seconds);
      });
    } else if (what === 'begin') {
      const work = deferred<string>();
      begun.push({ work, attempt: run(() => work.promise) });
    } else if (what.startsWith('end=')) {
      const { work, attempt } = begun.shift() ?? assert.fail('nothing has begun');
      if (what === 'end=token') work.resolve('token');
      else work.reject(errorOf(what.slice('end='.length)));
      await attempt.catch(() => {});
    } else {
      const error = errorOf(what);
      await assert.rejects(
        run(() => Promise.reject(error)),
        (caught) => caught === error,
      );
    }
  }

  for (const [number, text] of script.split(' ').entries()) {
    const [what = '', times = 1] = text.split('*');
    try {
      for (let i = 0; i < Number(times); i += 1) await step(what);
    } catch (error) {
      throw new Error(`step ${number + 1}, ${text}`, { cause: error });
    }
  }
}

const up: ErrorCode[] = ['ERR_SUBJECT_TOKEN_INVALID', 'ERR_CLIENT_REFUSED', 'ERR_STS_RESPONSE_INVALID'];
const neutral: string[] = ['ERR_CREDENTIAL_UNAVAILABLE', 'ERR_INTERNAL', 'bug'] satisfies (ErrorCode | 'bug')[];
const pauses = [250, 500, 1000, 2000, 3000, 3000, 3000].map((ms) => `+${ms - 1} down +1 fault`).join(' ');

const SCRIPTS: Record<string, string> = {
  'reports once that the server is down, and once that it responds again':
    'fault*2 quiet fault off +3000 fault quiet +3000 token on token quiet',
  'a server that names a pause is unavailable, and a server that refuses is available':
    'fault/5 off +5000 ERR_EXCHANGE_REFUSED on',
  'refuses callers at once after three faults in a row, with the time of the next attempt': 'fault*3 down/1',
  'a success resets the count of faults': 'fault*2 token fault*2 token',
  ...Object.fromEntries(up.map((code) => [`${code} shows that the server is up`, `fault*2 ${code} fault*2 token`])),
  ...Object.fromEntries(
    neutral.map((code) => [`${code} says nothing about the server`, `fault*2 ${code}*5 fault down`]),
  ),
  'one probe checks whether the server is back, and closes the breaker': 'fault*3 +250 begin down end=token token',
  'a failed probe extends the pause, up to three seconds': `fault*3 ${pauses}`,
  'a hanging probe delays the next probe by three seconds at most':
    'fault*3 +250 begin +2999 down +1 token +0 end=fault token',
  'a probe that took long is followed by the next at once': 'fault*3 +250 begin +5000 end=fault token',
  'a probe that fails while a later one is in flight admits no other request':
    'fault*3 +250 begin +3000 begin end=fault down end=token token',
  'a probe that fails on our side leaves its turn to the next': 'fault*3 +250 ERR_CREDENTIAL_UNAVAILABLE token',
  'a late success of an earlier attempt closes the breaker': 'begin fault*3 end=token token',
  'concurrent failures count as many faults, and the pause stays bounded': 'begin*64 end=fault*64 down +3000 token',
  'a Retry-After holds for all callers from the first fault on': 'fault/7 +6999 down/1 +1 token',
  'a Retry-After holds although another caller got a response meanwhile': 'begin fault/7 end=token down/7',
  'a later and shorter Retry-After does not replace a longer one': 'begin fault/60 end=fault/1 +2000 down/58',
  'a Retry-After for a probe replaces our own pause':
    'fault*3 +250 fault +500 fault +1000 fault +2000 fault +3000 fault/1 +1000 token',

  'a server that fails for one caller is considered down for that caller only':
    'mallory:500*3 mallory:down bob:token mallory:token',
  'a server that fails for two callers is considered down for all':
    'alice:500*3 bob:500 alice:down bob:down carol:down',
  'a caller whose requests are the only probes does not block others for long':
    'bob:500 mallory:500*2 bob:down +3000 mallory:500 bob:token',
  'a server that does not respond to one caller is considered down for all': 'mallory:fault*3 bob:down',
  'a server with one caller gets one probe at a time, whatever its responses':
    'alice:500*3 alice:down*50 +3000 alice:begin alice:down end=token',
  'a Retry-After for one caller holds for others as well': 'mallory:429/2 bob:down',

  ...Object.fromEntries(
    ['made-up-0:fault*3', 'made-up-0:500 made-up-1:500 made-up-2:500', 'made-up-0:429/30'].map((faults) => [
      `"${faults}" blocks the unknown callers of that peer only`,
      `alice:token ${faults} made-up-9:down new:token alice:token alice-there:token quiet`,
    ]),
  ),
  'refusals of made-up tokens open nothing':
    'made-up-0:ERR_SUBJECT_TOKEN_INVALID*100 made-up-1:token alice:token quiet',
  'a server_error with status 400, which a token may cause, opens nothing for others':
    'made-up-0:400/30 made-up-1:400/30 made-up-2:400/30 made-up-9:token alice:400/30 bob:400/30 alice:400/30 bob:400/30 carol:token quiet',
  'a server_error with status 400 does not show that the server is up':
    'bob:400/30 alice:fault bob:400/30 alice:fault bob:400/30 alice:fault alice:down',
  'refusals of made-up tokens between the faults of accepted callers do not keep the breaker closed':
    'alice:fault made-up-0:ERR_SUBJECT_TOKEN_INVALID alice:fault made-up-1:ERR_SUBJECT_TOKEN_INVALID alice:fault alice:down',
  'a made-up token cannot use up the probe of accepted callers':
    'alice:fault*3 +250 made-up-0:begin made-up-1:down bob:token +0 end=fault',
  'each peer has a probe of its own while the server is down for accepted callers':
    'alice:fault*3 off made-up-0:begin new:token on alice:token quiet end=token',
  'the refusal of a made-up token does not close a breaker that accepted callers opened':
    'alice:fault*3 off made-up-0:ERR_SUBJECT_TOKEN_INVALID alice:down quiet',
  'a pause that the server asks of an accepted caller holds for unknown ones': 'alice:429/30 new:down +30000 new:token',
  'unknown callers are refused at once while a server without accepted callers is down':
    'made-up-0:fault*3 off made-up-1:down +250 made-up-1:token on',
  'an outage that unknown callers alone notice is reported when no caller has had a response for ten seconds':
    'alice:token +9000 made-up-0:fault*3 quiet +3000 made-up-0:fault off alice:token on',
  'callers without an address share one line': 'alice:token local:fault*3 local-too:down new:token',
};

for (const [name, script] of Object.entries(SCRIPTS)) test(name, () => play(script));
