import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { startFakeSetup } from '../../harness/fake-setup.ts';
import { eventStream } from '../../harness/upstream-handlers.ts';

/** Parts of a stream that a proxy would change if it parsed and rewrote the stream. */
const PIECES = [
  'retry: 1500\n\n',
  ': keep-alive\n\n',
  ':\n\n',
  'id: 1\ndata: one\n\n',
  'data: two lines\ndata: of one event\n\n',
  'event: message\r\ndata: with carriage returns\r\n\r\n',
  'data:no space\n\n',
  'data\n\n',
  'unknown: field\ndata: ünïcödé 🙂\n\n',
  'id\ndata: half of an ev',
  'ent, and the other half\n\n',
  'data: with nothing after it',
];

for (const method of ['GET', 'POST']) {
  test(`relays an event stream in response to ${method} unchanged and without delay`, async (t) => {
    const setup = await startFakeSetup();
    t.after(setup.close);
    const upstream = eventStream();
    setup.upstream.handler = upstream.handler;
    const answer = await setup.open({
      method,
      headers: await setup.bearer(),
      ...(method === 'POST' && { body: '{}' }),
    });
    assert.equal(answer.headers['content-type'], 'text/event-stream');
    assert.equal(answer.headers['content-encoding'], undefined);
    let received = Buffer.alloc(0);
    answer.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
    });
    let sent = '';
    for (const piece of PIECES) {
      upstream.write(piece);
      sent += piece;
      // The upstream writes the next part only after this one has arrived.
      await eventually(`"${piece}" has arrived`, () => received.length >= Buffer.byteLength(sent));
      assert.equal(received.toString('utf8'), sent);
    }
    const ended = new Promise((resolve) => answer.once('end', resolve));
    for (const stream of upstream.streams) stream.end();
    await ended;
    assert.equal(received.toString('utf8'), sent);
  });
}
