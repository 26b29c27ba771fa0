import assert from 'node:assert/strict';
import { createEndpointRewriter } from '../../../src/proxy/endpoint-event.ts';

/** Longest text that may wait for the end of the first event, and a piece. */
const MAX_BUFFERED_BYTES = 8192;

/** Nothing is lost or added but the URL, whatever the size of its pieces. The first byte of an input says the size. */
export function fuzz(data: Buffer): void {
  const bytes = data.subarray(1);
  assert.deepEqual(rewrite(bytes, 0, (url) => url).text, bytes.toString('latin1'), 'the same URL changes the stream');
  assert.deepEqual(rewrite(bytes, data[0] ?? 0, () => undefined).text, bytes.toString('latin1'));
  const whole = rewrite(bytes, 0, () => '/rewritten');
  const parts = rewrite(bytes, 1 + ((data[0] ?? 0) % 16), () => '/rewritten');
  assert.ok(whole.urls <= 1 && parts.urls <= 1, 'more than one URL is rewritten');
  assert.equal(parts.text, whole.text);
}

function rewrite(
  bytes: Buffer,
  size: number,
  change: (url: string) => string | undefined,
): { text: string; urls: number } {
  let urls = 0;
  const rewriter = createEndpointRewriter((url) => {
    urls += 1;
    // As it stands, if it is not UTF-8.
    const changed = change(url);
    return changed === url && url.includes('\ufffd')
      ? undefined
      : changed === url
        ? Buffer.from(url).toString('latin1')
        : changed;
  });
  let text = '';
  let waiting = 0;
  for (let at = 0; at < bytes.length; at += size || bytes.length) {
    const piece = bytes.subarray(at, at + (size || bytes.length));
    const passed = rewriter.push(Buffer.from(piece)).toString('latin1');
    text += passed;
    waiting += piece.length - passed.length;
    assert.ok(waiting <= MAX_BUFFERED_BYTES + piece.length);
  }
  return { text: text + rewriter.rest().toString('latin1'), urls };
}
