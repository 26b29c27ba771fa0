import { Agent } from 'node:http';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Random } from '../harness/random.ts';
import { post } from './base.ts';
import { PATHS } from './configs.ts';
import { CALL_HEADER, CALLER_HEADER, REPLY_HEADER } from './hostile-backend.ts';
import type { Ledger } from './ledger.ts';

export interface Caller {
  readonly name: string;
  /** A token of this caller, sometimes a new one. */
  token(): string;
}

/** No action takes longer. */
const ACTION_MS = 4000;

/** A wall clock that does not jump. */
const wallMs = Date.now;

export type Callers = ReturnType<typeof createCallers>;

/** Callers that behave well, badly, or leave. Some share a connection, and all share session ids. */
export function createCallers(
  /** Addresses of the replicas. */
  urls: readonly string[],
  random: Random,
  ledger: Ledger,
  /** Authority that a tunnel may lead to. */
  tunnel: string,
  /** Counts each response by its status, and each connection that ended without one. */
  count: (outcome: string) => void,
) {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const all = ['alice', 'bob', 'carol', 'dave', 'erin'].map((name) => createCaller(name, random, ledger));
  let calls = 0;

  const headersOf = ({ name, token }: Caller): Record<string, string> => {
    calls += 1;
    return {
      host: 'localhost',
      authorization: `Bearer ${token()}`,
      [CALLER_HEADER]: name,
      [CALL_HEADER]: `${name}-${calls}`,
      ...(random.chance(0.5) && { 'mcp-session-id': random.pick(['s1', 's2']) }),
    };
  };

  /** Copies of the token, or headers that must not reach a backend. */
  const addTricks = (headers: Record<string, string>): Record<string, string> => {
    const { authorization = '' } = headers;
    const token = authorization.slice('Bearer '.length);
    const tricks: Record<string, string>[] = [
      { 'x-copy': token },
      { cookie: `session=${token}` },
      { 'proxy-authorization': authorization },
      { connection: 'authorization, x-chaos-call' },
      { 'x-forwarded-authorization': authorization },
      { authorization: token },
      { authorization: `bearer ${token}` },
      { authorization: `Basic ${Buffer.from(`x:${token}`).toString('base64')}` },
      { 'x-request-id': token },
    ];
    return { ...headers, ...random.pick(tricks) };
  };

  const ask = (caller: Caller, path: string, url = random.pick(urls), tricky = false): Promise<number> => {
    const body = 'x'.repeat(random.int(3000));
    const headers = tricky ? addTricks(headersOf(caller)) : headersOf(caller);
    // In the form of a base URL, or of a forward proxy.
    const target = random.chance(0.2) ? `http://localhost${path}` : path;
    const sent = post(url, { agent, path: target, headers, timeout: ACTION_MS }, body, (response) => {
      const replied = response.headers[REPLY_HEADER] ?? '';
      // Empty: a header of the caller dropped the name of the call.
      if (replied !== '' && replied !== headers[CALL_HEADER]) {
        ledger.report(`call ${headers[CALL_HEADER]} got the response to "${replied}"`);
      }
      ledger.checkText(`the response headers of ${caller.name}`, response.rawHeaders.join('\n'));
    });
    if (tricky && random.chance(0.3)) setTimeout(sent.leave, random.int(200));
    return sent.status;
  };

  /** Sends bytes on a connection of its own, leaves at a random time in a random way, and returns all that came. */
  const sendRaw = async (pieces: readonly string[], stayMs: number): Promise<string> => {
    const { hostname, port } = new URL(random.pick(urls));
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    let received = '';
    socket.on('data', (chunk) => {
      received = (received + chunk.toString('latin1')).slice(-200_000);
    });
    socket.on('error', () => {});
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    for (const piece of pieces) {
      if (socket.destroyed) break;
      socket.write(piece, 'latin1');
      if (random.chance(0.3)) await delay(random.int(100));
    }
    await Promise.race([closed, delay(stayMs)]);
    leave(socket, random);
    await Promise.race([closed, delay(500)]);
    socket.destroy();
    return received;
  };

  const head = (method: string, caller: Caller, more: Record<string, string>): [call: string, text: string] => {
    const headers = { ...headersOf(caller), ...more };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    return [headers[CALL_HEADER] ?? '', `${method} ${random.pick(PATHS)} HTTP/1.1\r\n${lines.join('')}\r\n`];
  };

  /** Requests of several callers on one connection, as a gateway sends them. Responses must come in their order. */
  const pipeline = async (): Promise<void> => {
    const order: string[] = [];
    const pieces: string[] = [];
    for (let rest = 1 + random.int(5); rest > 0; rest -= 1) {
      const size = random.pick([0, 10, 5000, 200_000]);
      const [call, text] = head(size === 0 ? 'GET' : 'POST', random.pick(all), { 'content-length': String(size) });
      order.push(call);
      pieces.push(text, 'x'.repeat(random.chance(0.2) ? random.int(size + 1) : size));
    }
    const received = await sendRaw(pieces, random.int(2500));
    ledger.checkText('a pipelined response', received);
    let position = -1;
    for (const [, call = ''] of received.matchAll(/^x-chaos-reply: (\S*)\r$/gim)) {
      const found = order.indexOf(call);
      if (found <= position) ledger.report(`a response to "${call}" came after ${position + 1} of ${order.join(', ')}`);
      position = found;
      count('pipelined');
    }
  };

  const upload = async (): Promise<void> => {
    const [, text] = head('POST', random.pick(all), { 'transfer-encoding': 'chunked' });
    const chunk = 'x'.repeat(random.pick([1, 1000, 60_000]));
    const chunks = Array.from({ length: random.int(40) }, () => `${chunk.length.toString(16)}\r\n${chunk}\r\n`);
    if (random.chance(0.5)) chunks.push('0\r\n\r\n');
    if (random.chance(0.1)) chunks.push('no chunk\r\n');
    await sendRaw([text, ...chunks], random.int(2500));
    count('upload');
  };

  const openWebSocket = async (): Promise<void> => {
    const [, text] = head('GET', random.pick(all), {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
    });
    await sendRaw(random.chance(0.5) ? [text, 'early bytes'] : [text], random.int(1500));
    count('upgrade');
  };

  const openTunnel = async (): Promise<void> => {
    const authority = random.chance(0.7) ? tunnel : 'elsewhere.example:443';
    const connectLine = `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`;
    await sendRaw([connectLine, 'bytes'], random.int(1000));
    count('tunnel');
  };

  const leaveEarly = async (): Promise<void> => {
    const [, text] = head('POST', random.pick(all), { 'content-length': '100000' });
    await sendRaw([text.slice(0, random.int(text.length + 1))], random.int(300));
    count('left');
  };

  const forge = async (): Promise<void> => {
    const caller = random.pick(all);
    const forged = { name: caller.name, token: () => `made-up-${random.hex(20)}` };
    count(`forged ${await ask(forged, random.pick(PATHS))}`);
  };

  return {
    all,
    /** A plain request. @returns its status; 0 without a response */
    ask: (caller: Caller, path: string, url: string) => ask(caller, path, url),
    close: () => agent.destroy(),
    /** One thing that a caller does, chosen by chance. */
    async act(): Promise<void> {
      const kind = random.int(20);
      if (kind < 9) return count(String(await ask(random.pick(all), random.pick(PATHS))));
      if (kind < 11) return count(String(await ask(random.pick(all), random.pick(PATHS), undefined, true)));
      const rare = [openWebSocket, openTunnel, leaveEarly, forge] as const;
      await random.pick([pipeline, pipeline, pipeline, upload, upload, ...rare])();
    },
  };
}

function leave(socket: Socket, random: Random): void {
  const kind = random.int(3);
  if (kind === 0) socket.destroy();
  else if (kind === 1) socket.resetAndDestroy();
  else socket.end();
}

/** Calls after which a caller gets a new token. */
const CALLS_PER_TOKEN = 60;

function createCaller(name: string, random: Random, ledger: Ledger): Caller {
  let token = '';
  let rest = 0;
  return {
    name,
    token() {
      rest -= 1;
      if (rest > 0) return token;
      rest = 1 + random.int(CALLS_PER_TOKEN);
      const exp = Math.floor(wallMs() / 1000) + random.pick([5, 60, 3600]);
      const claims = { sub: name, aud: 'cambist', exp };
      token = ledger.create({ kind: 'subject', owner: name }, random.chance(0.5) ? claims : undefined);
      return token;
    },
  };
}
