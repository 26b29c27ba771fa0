import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../../../src/observability/logger.ts';
import { TransmitterError } from '../../../src/signals/transmitter-client.ts';
import { createHealth } from '../../../src/signals/transmitter-health.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

const MINUTE = 60_000;

function start() {
  const clock = createFakeClock();
  const lines: string[] = [];
  const logger = createLogger('info', { write: (line: string) => void lines.push(line) });
  const health = createHealth('idp', ['poll'], { clock, logger });
  const messages = () => lines.map((line) => (JSON.parse(line) as { msg: string; reason?: string }).reason ?? 'works');
  return { clock, health, messages };
}

test('logs each change once, and is available when no part fails', () => {
  const { clock, health, messages } = start();
  const down = new TransmitterError('unreachable', 'it is down');
  health.failed('poll', down);
  clock.advance(MINUTE);
  health.failed('poll', down);
  health.failed('keys', new TransmitterError('keys', 'no keys'));
  assert.deepEqual(messages(), ['unreachable', 'keys']);
  const { problem, cause, since, available } = health.status();
  assert.deepEqual([problem, cause, available], ['unreachable', 'it is down', false]);
  assert.equal(since, new Date(clock.wallMs() - MINUTE).toISOString());
  health.worked('poll');
  assert.equal(health.isAvailable, false);
  health.worked('keys');
  health.worked('keys');
  assert.equal(health.isAvailable, true);
  assert.deepEqual(messages(), ['unreachable', 'keys', 'works']);
  assert.deepEqual(health.status(), { name: 'idp', channels: ['poll'], available: true });
});

test('forgets that signals could not be verified, because the next one may be hours away', () => {
  const { clock, health, messages } = start();
  const failure = new TransmitterError('keys', 'no keys');
  health.failed('keys', failure);
  clock.advance(9 * MINUTE);
  health.failed('keys', failure);
  clock.advance(9 * MINUTE);
  assert.equal(health.isAvailable, false);
  assert.deepEqual(messages(), ['keys']);
  clock.advance(MINUTE);
  health.sweep();
  health.sweep();
  assert.equal(health.isAvailable, true);
  assert.deepEqual(messages(), ['keys', 'works']);
  health.failed('poll', failure);
  clock.advance(60 * MINUTE);
  assert.equal(health.isAvailable, false);
});

test('tells an unexpected error from a failure of the transmitter, and shows none of its text', () => {
  const { health, messages } = start();
  health.failed('poll', new TypeError('at https://idp.example.com/poll'));
  const { problem, cause, fix } = health.status();
  assert.deepEqual(messages(), ['internal']);
  assert.deepEqual(
    [problem, cause, fix],
    ['internal', 'unexpected error: see the log', 'report it, with the log line'],
  );
});

test('says when the last signal and the last poll were', () => {
  const { clock, health } = start();
  health.signalled();
  clock.advance(MINUTE);
  health.polled();
  const { last_signal_at: signal, last_poll_at: poll } = health.status();
  assert.equal(Date.parse(poll ?? '') - Date.parse(signal ?? ''), MINUTE);
  assert.equal(health.lastSignalMs, clock.wallMs() - MINUTE);
});
