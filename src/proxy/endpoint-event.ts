/** Passes a stream on piece by piece and changes it at most once. */
export interface Rewriter {
  /** Returns the bytes that can be passed on now. */
  push(chunk: Buffer): Buffer;
  /** Returns the bytes still buffered when the stream ends. */
  rest(): Buffer;
}

/** Limit for buffering an incomplete first event: a URL, and room for other fields. */
const MAX_BUFFERED_BYTES = 8192;

/** Limit for the lines of the first event, which are parsed again with every piece of the stream. An `endpoint` event has two. */
const MAX_LINES = 32;

const NOTHING = Buffer.alloc(0);
const BYTE_ORDER_MARK = /^\xef\xbb\xbf/;

/**
 * Rewrites the URL in the `endpoint` event that opens the stream of an HTTP+SSE server. Only the first event can be one. All
 * other bytes pass unchanged.
 * @param rewrite returns the URL for the caller; undefined leaves it unchanged
 * @see MCP 2024-11-05, "HTTP with SSE"; WHATWG HTML section 9.2.6 for the syntax
 */
export function createEndpointRewriter(rewrite: (url: string) => string | undefined): Rewriter {
  let buffered = '';
  let done = false;

  return {
    push(chunk) {
      if (done) return chunk;
      buffered += chunk.toString('latin1');
      const { state, passable, data } = readFirstEvent(buffered);
      if (state === 'open' && buffered.length - passable <= MAX_BUFFERED_BYTES) {
        const passed = buffered.slice(0, passable);
        buffered = buffered.slice(passable);
        return Buffer.from(passed, 'latin1');
      }
      done = true;
      const text = data === undefined ? buffered : replaced(buffered, data, rewrite);
      buffered = '';
      return Buffer.from(text, 'latin1');
    },
    rest() {
      done = true;
      return buffered === '' ? NOTHING : Buffer.from(buffered, 'latin1');
    },
  };
}

type Span = readonly [start: number, end: number];

interface FirstEvent {
  /** `open`: not complete yet. */
  readonly state: 'open' | 'ended';
  /** Length of the text before the event. */
  readonly passable: number;
  /** Position of the URL in a complete `endpoint` event. */
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
    // A line feed in a later piece than its carriage return counts as another empty line, which changes nothing.
    const next = end + (text.startsWith('\r\n', end) ? 2 : 1);
    if (line === '') {
      if (data !== undefined) {
        return { state: 'ended', passable, data: name === 'endpoint' && !hasMoreData ? data : undefined };
      }
      name = '';
      lines = 0;
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
