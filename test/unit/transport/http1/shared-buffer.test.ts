import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type BareConnection,
  http1Dispatcher,
  responseOf,
  startBareUpstream,
  WAYS,
} from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

const LONG = 'x'.repeat(4_000);

function respond(connection: BareConnection, headers: string): void {
  connection.send(responseOf(headers.includes('/long') ? LONG : 'hello'));
}

for (const [way, tls] of WAYS) {
  test(`keeps buffered bytes intact while another connection reads, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, respond, { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const paused = follow(dispatcher, { origin: upstream.origin }, { onResponse: (controller) => controller.pause() });
    await eventually('the headers', () => paused.status === 200);
    assert.equal((await follow(dispatcher, { origin: upstream.origin, path: '/long' }).ended()).body, LONG);
    paused.controller?.resume();
    assert.equal((await paused.ended()).body, 'hello');
  });

  test(`keeps chunks intact that a handler retains, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, respond, { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const kept: Buffer[] = [];
    await follow(dispatcher, { origin: upstream.origin }, { onData: (_, chunk) => kept.push(chunk) }).ended();
    await follow(dispatcher, { origin: upstream.origin, path: '/long' }).ended();
    assert.equal(Buffer.concat(kept).toString(), 'hello');
  });
}
