import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  answerOf,
  type BareConnection,
  http1Dispatcher,
  startBareUpstream,
  WAYS,
} from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

const LOUD = 'x'.repeat(4_000);

function answer(connection: BareConnection, head: string): void {
  connection.send(answerOf(head.includes('/loud') ? LOUD : 'hello'));
}

for (const [way, tls] of WAYS) {
  test(`what is held back stays as it came, whatever another connection reads meanwhile, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, answer, { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const held = follow(dispatcher, { origin: upstream.origin }, { onHead: (controller) => controller.pause() });
    await eventually('the head', () => held.status === 200);
    assert.equal((await follow(dispatcher, { origin: upstream.origin, path: '/loud' }).over()).body, LOUD);
    held.controller?.resume();
    assert.equal((await held.over()).body, 'hello');
  });

  test(`what a handler keeps stays as it came, whatever is read later, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, answer, { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const kept: Buffer[] = [];
    await follow(dispatcher, { origin: upstream.origin }, { onData: (_, chunk) => kept.push(chunk) }).over();
    await follow(dispatcher, { origin: upstream.origin, path: '/loud' }).over();
    assert.equal(Buffer.concat(kept).toString(), 'hello');
  });
}
