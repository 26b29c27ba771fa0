import assert from 'node:assert/strict';
import { createEndpointRewriter } from '../../../src/proxy/endpoint-event.ts';

/** Longest part of an endpoint event that may be buffered. */
const MAX_BUFFERED_BYTES = 8192;

/**
 * Nothing is lost or added but URLs, whatever the size of the pieces, and no client reads a URL that was not rewritten. The first
 * byte of an input says the size.
 */
export function fuzz(data: Buffer): void {
  const bytes = data.subarray(1);
  const same = rewrite(bytes, data[0] ?? 0, (url) => Buffer.from(url).toString('latin1'));
  if (!same.isRefused && !same.text.includes('\xef\xbf\xbd')) assert.equal(same.text, bytes.toString('latin1'));
  const whole = rewrite(bytes, 0, () => REWRITTEN);
  const inPieces = rewrite(bytes, 1 + ((data[0] ?? 0) % 16), () => REWRITTEN);
  assert.equal(inPieces.isRefused, whole.isRefused);
  if (!whole.isRefused) assert.equal(inPieces.text, whole.text);
  const text = Buffer.from(inPieces.text, 'latin1').toString('utf8');
  for (const end of LINE_ENDS) {
    for (const url of endpoints(inPieces.isRefused ? text : `${text}\n\n`, end)) assert.equal(url, REWRITTEN);
  }
}

const REFUSED = 'refused';
const REWRITTEN = '/rewritten';

/** Line ends of the specification, of Go and of Python. */
const LINE_ENDS = [/\r\n|[\r\n]/, /\r?\n/, /\r\n|[\n-\r\x85\u2028\u2029]/];

const BLANK = /^[\s\p{Cc}]+|[\s\p{Cc}]+$/gu;

/** The data of all endpoint events as a lenient client reads them: it keeps a name until an event has data. */
function endpoints(text: string, lineEnd: RegExp): string[] {
  const found: string[] = [];
  let name = '';
  let data: string[] = [];
  const lines = text.split(lineEnd);
  // The last one is incomplete.
  for (const line of lines.slice(0, -1)) {
    const [field, value = ''] = line.split(/:(.*)/s).map((part) => part.replace(BLANK, '').toLowerCase());
    if (field === 'event') name = value;
    else if (field === 'data') data.push(value);
    else if (line === '' && data.join('') !== '') {
      // An empty line in front of a URL changes nothing.
      if (name === 'endpoint') found.push(...data.filter((part) => part !== ''));
      name = '';
      data = [];
    }
  }
  return found;
}

function rewrite(bytes: Buffer, size: number, change: (url: string) => string): { text: string; isRefused: boolean } {
  const rewriter = createEndpointRewriter((url) => {
    if (url === undefined) throw new Error(REFUSED);
    return change(url);
  });
  let text = '';
  try {
    for (let at = 0; at < bytes.length; at += size || bytes.length) {
      const piece = bytes.subarray(at, at + (size || bytes.length));
      text += rewriter.push(Buffer.from(piece)).toString('latin1');
      assert.ok(at + piece.length - text.length <= MAX_BUFFERED_BYTES || text.includes(REWRITTEN));
    }
    return { text: text + rewriter.rest().toString('latin1'), isRefused: false };
  } catch (error) {
    if ((error as Error).message === REFUSED) return { text, isRefused: true };
    throw error;
  }
}
