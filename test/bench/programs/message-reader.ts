const LENGTH = /\r\ncontent-length: *(\d+)/i;
const CHUNKED = /\r\ntransfer-encoding: *chunked/i;
const LAST_CHUNK = '0\r\n\r\n';

/**
 * Finds the headers and the end of HTTP messages. It does nothing else, because the load generator must be cheaper than the proxy.
 * It finds the last chunk by its text, so a body must not contain `0`, CR, LF, CR, LF.
 */
export function createMessageReader(
  onHeaders: (headers: string) => void,
  onEnd: (headers: string) => void,
): (chunk: Buffer) => void {
  let partial: Buffer | undefined;
  let headers: string | undefined;
  let chunked = false;
  let missing = 0;
  let tail = '';

  function readHeaders(data: Buffer): Buffer | undefined {
    const end = data.indexOf('\r\n\r\n');
    if (end < 0) {
      partial = data;
      return undefined;
    }
    headers = data.toString('latin1', 0, end);
    const length = LENGTH.exec(headers);
    chunked = length === null && CHUNKED.test(headers);
    missing = length === null ? 0 : Number(length[1]);
    tail = '';
    onHeaders(headers);
    return data.subarray(end + 4);
  }

  function isComplete(body: Buffer): boolean {
    if (!chunked) {
      missing -= body.length;
      return missing <= 0;
    }
    tail = (tail + body.toString('latin1', Math.max(0, body.length - LAST_CHUNK.length))).slice(-LAST_CHUNK.length);
    return tail === LAST_CHUNK;
  }

  return (chunk) => {
    let body: Buffer | undefined = chunk;
    if (headers === undefined) {
      const data = partial === undefined ? chunk : Buffer.concat([partial, chunk]);
      partial = undefined;
      body = readHeaders(data);
    }
    if (body === undefined || headers === undefined || !isComplete(body)) return;
    const finished = headers;
    headers = undefined;
    onEnd(finished);
  };
}
