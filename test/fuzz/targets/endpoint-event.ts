import assert from 'node:assert/strict';
import { createEndpointRewriter } from '../../../src/proxy/endpoint-event.ts';

/** Longest part of an endpoint event that may be buffered. */
const MAX_BUFFERED_BYTES = 8192;

/** Nothing is lost or added but URLs, whatever the size of the pieces. The first byte of an input says the size. */
export function fuzz(data: Buffer): void {
  const bytes = data.subarray(1);
  const same = rewrite(bytes, data[0] ?? 0, (url) => Buffer.from(url).toString('latin1'));
  if (same !== REFUSED && !same.includes('\xef\xbf\xbd')) assert.equal(same, bytes.toString('latin1'));
  const whole = rewrite(bytes, 0, () => '/rewritten');
  assert.equal(
    rewrite(bytes, 1 + ((data[0] ?? 0) % 16), () => '/rewritten'),
    whole,
  );
}

const REFUSED = 'refused';

function rewrite(bytes: Buffer, size: number, change: (url: string) => string): string {
  const rewriter = createEndpointRewriter((url) => {
    if (url === undefined) throw new Error(REFUSED);
    return change(url);
  });
  let text = '';
  try {
    for (let at = 0; at < bytes.length; at += size || bytes.length) {
      const piece = bytes.subarray(at, at + (size || bytes.length));
      text += rewriter.push(Buffer.from(piece)).toString('latin1');
      assert.ok(at + piece.length - text.length <= MAX_BUFFERED_BYTES || text.includes('/rewritten'));
    }
    return text + rewriter.rest().toString('latin1');
  } catch (error) {
    if ((error as Error).message === REFUSED) return REFUSED;
    throw error;
  }
}
