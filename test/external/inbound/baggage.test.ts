import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { withHandle } from '../../../src/inbound/baggage.ts';
import { handleOfRequest, handleText } from '../../../src/inbound/handle-text.ts';
import { SDKS } from './sdks.ts';

const HANDLE = handleOfRequest(handleText('h'.repeat(43)), 7);

/** Each was refused by an SDK, or has another reading at one. */
const HOSTILE = [
  ...['x=%zz', 'x=%', 'x=%ff', 'x=%ed%a0%80', 'x=%c3%28', 'x%=1', '%ff=1', 'x=1;', 'x=1;=', 'x=1;;p', 'x=1;p=%zz'],
  ...['x=1;%ff', 'x=1;(p)=1', '(x)=1', 'x', '=', ';', 'x=a"b', 'x=a\\b', 'x = 1 ; p = 2', 'x=%00', 'x=%0a'],
  'x=%2c%3b%3d%22',
  ...[`x=${'x'.repeat(4200)}`, `x=${'%20'.repeat(1300)}`, `x=1;p=${'y'.repeat(4090)}`, `${'k'.repeat(4094)}=1`],
  ...[`x=${'\t'.repeat(5000)}"`, `x=1${';p'.repeat(2000)}`, Array.from({ length: 300 }, (_, i) => `k${i}=1`).join()],
  Array.from({ length: 60 }, (_, i) => `k${i}=${'%c3%a9'.repeat(20)}`).join(),
];

const PARTS = [...'a=;, \t%+(!~1/@', 'cambist', '%41', '%c3%a9', '%ff'];

/** Members in any state between well-formed and random. */
const ANY_BAGGAGE = fc.string({ unit: fc.constantFrom(...PARTS), maxLength: 40 });

test('no baggage of a caller makes an SDK of OpenTelemetry drop the handle', async (t) => {
  const sent = [...HOSTILE, ...HOSTILE.map((member) => `ok=1,${member},last=1`), ...fc.sample(ANY_BAGGAGE, 20_000)];
  const given = sent.map((value) => withHandle([value], HANDLE, []));
  for (const [name, install] of Object.entries(SDKS)) {
    await t.test(name, async () => {
      const passed = await (await install())(given);
      assert.equal(passed.length, given.length);
      for (const [index, value] of passed.entries()) {
        const handles = value.split(',').filter((member) => member.startsWith('cambist='));
        assert.deepEqual(handles, [`cambist=${HANDLE}`], `${sent[index]}\n${given[index]}\n${value}`);
      }
    });
  }
});
