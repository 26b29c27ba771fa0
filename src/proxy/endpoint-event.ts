/** Passes a stream on piece by piece, with one change in it at most. */
export interface Rewriter {
  /** What can go on now; nothing while it is not clear what a part of it means. */
  push(chunk: Buffer): Buffer;
  /** What was held back when the stream ended. */
  rest(): Buffer;
}

/** How much of a stream is held back while its first event is not whole: a URL, and room for what may stand around it. */
const MAX_HELD_BYTES = 8192;

/** Lines of the first event. An `endpoint` event has two, and every piece of the stream makes us read them again. */
const MAX_LINES = 32;

const NOTHING = Buffer.alloc(0);
const BYTE_ORDER_MARK = /^\xef\xbb\xbf/;

/**
 * Changes the URL in the `endpoint` event with which a server of the old HTTP+SSE transport opens its stream. Only the first
 * event can be it; every other byte goes on as it came.
 * @param rewrite the URL as the caller has to see it; undefined leaves it
 * @see MCP 2024-11-05, "HTTP with SSE"; WHATWG HTML section 9.2.6 for the syntax
 */
export function createEndpointRewriter(rewrite: (url: string) => string | undefined): Rewriter {
  let held = '';
  let done = false;

  return {
    push(chunk) {
      if (done) return chunk;
      held += chunk.toString('latin1');
      const { state, passable, data } = readFirstEvent(held);
      if (state === 'open' && held.length - passable <= MAX_HELD_BYTES) {
        const passed = held.slice(0, passable);
        held = held.slice(passable);
        return Buffer.from(passed, 'latin1');
      }
      done = true;
      const text = data === undefined ? held : replaced(held, data, rewrite);
      held = '';
      return Buffer.from(text, 'latin1');
    },
    rest() {
      done = true;
      return held === '' ? NOTHING : Buffer.from(held, 'latin1');
    },
  };
}

type Span = readonly [start: number, end: number];

interface FirstEvent {
  /** `open`: not whole yet. */
  readonly state: 'open' | 'ended';
  /** How much from the beginning belongs to no event. */
  readonly passable: number;
  /** Where the URL stands, in an `endpoint` event that is whole. */
  readonly data: Span | undefined;
}

function readFirstEvent(text: string): FirstEvent {
  let name = '';
  let data: Span | undefined;
  let hasMoreData = false;
  let passable = 0;
  let lines = 0;
  let at = BYTE_ORDER_MARK.test(text) ? 3 : 0;
  for (;;) {
    if (lines > MAX_LINES) return { state: 'ended', passable, data: undefined };
    const end = text.slice(at).search(/[\r\n]/) + at;
    if (end < at) return { state: 'open', passable, data: undefined };
    const line = text.slice(at, end);
    // A line feed that comes later than its carriage return is one more empty line, which changes nothing.
    const next = end + (text.startsWith('\r\n', end) ? 2 : 1);
    if (line === '') {
      if (data !== undefined) {
        return { state: 'ended', passable, data: name === 'endpoint' && !hasMoreData ? data : undefined };
      }
      name = '';
    }
    const [, field, space = ''] = /^([^:]+)(?::( ?))?/.exec(line) ?? [];
    if (field === 'event') {
      name = line.slice('event:'.length + space.length);
      if (name !== 'endpoint') return { state: 'ended', passable, data: undefined };
    } else if (field === 'data') {
      hasMoreData = data !== undefined;
      data = [Math.min(at + 'data:'.length + space.length, end), end];
    } else if (data === undefined && name === '') {
      passable = next;
    }
    if (data !== undefined || name !== '') lines += 1;
    at = next;
  }
}

function replaced(text: string, [start, end]: Span, rewrite: (url: string) => string | undefined): string {
  const url = rewrite(Buffer.from(text.slice(start, end), 'latin1').toString('utf8'));
  return url === undefined ? text : text.slice(0, start) + url + text.slice(end);
}
