const LENGTH = /\r\ncontent-length: *(\d+)/i;
const CHUNKED = /\r\ntransfer-encoding: *chunked/i;
const LAST_CHUNK = '0\r\n\r\n';

/**
 * Finds where HTTP messages begin and end, and looks at nothing else: what measures must cost less than what it measures.
 * Chunks are told by their end alone, so a body must not hold `0`, CR, LF, CR, LF itself.
 */
export function createMessageReader(
  onHead: (head: string) => void,
  onEnd: (head: string) => void,
): (chunk: Buffer) => void {
  let partial: Buffer | undefined;
  let head: string | undefined;
  let chunked = false;
  let missing = 0;
  let tail = '';

  function readHead(data: Buffer): Buffer | undefined {
    const end = data.indexOf('\r\n\r\n');
    if (end < 0) {
      partial = data;
      return undefined;
    }
    head = data.toString('latin1', 0, end);
    const length = LENGTH.exec(head);
    chunked = length === null && CHUNKED.test(head);
    missing = length === null ? 0 : Number(length[1]);
    tail = '';
    onHead(head);
    return data.subarray(end + 4);
  }

  function isWhole(body: Buffer): boolean {
    if (!chunked) {
      missing -= body.length;
      return missing <= 0;
    }
    tail = (tail + body.toString('latin1', Math.max(0, body.length - LAST_CHUNK.length))).slice(-LAST_CHUNK.length);
    return tail === LAST_CHUNK;
  }

  return (chunk) => {
    let body: Buffer | undefined = chunk;
    if (head === undefined) {
      const data = partial === undefined ? chunk : Buffer.concat([partial, chunk]);
      partial = undefined;
      body = readHead(data);
    }
    if (body === undefined || head === undefined || !isWhole(body)) return;
    const ended = head;
    head = undefined;
    onEnd(ended);
  };
}
