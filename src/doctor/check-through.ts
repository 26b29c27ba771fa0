import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import { connect, isIP } from 'node:net';
import * as tls from 'node:tls';
import type { Listen } from '../config/addresses.ts';
import { endpointOf } from '../host-names.ts';
import { type Finding, problem } from './finding.ts';
import { type Arrival, type Outcome, throughFindings } from './through-findings.ts';
import { type Probe, type ProbeFacts, throughProbes } from './through-probes.ts';
import { codeOf } from './unreachable.ts';

export interface ThroughOptions extends Omit<ProbeFacts, 'path' | 'madeUp'> {
  /** The URL of the route at the data plane, as agents call it. */
  readonly url: URL;
  readonly echo: Listen;
  readonly isStopped: boolean;
}

const MARK = 'x-cambist-doctor';
/** Longer than a data plane waits for a decision. */
const RESPONSE_MS = 30_000;
/** The longest body that is read. */
const MAX_LENGTH = 64 * 1024;
const MAX_HEADER_BYTES = 256 * 1024;
/** Connections that carry tokens of all callers at the same time. */
const CONNECTIONS = 4;

/**
 * Sends tokens of callers and made-up ones through a data plane to an echo in the place of the backend, and judges what arrives.
 * Shows no token.
 */
export async function checkThrough(options: ThroughOptions): Promise<Finding[]> {
  const { route, url, tokens, agentToken, isStopped } = options;
  const run = randomBytes(16).toString('hex');
  const madeUp = `made-up-${run}`;
  const probes = throughProbes({ ...options, path: url.pathname === '/' ? route.match.path : url.pathname, madeUp });
  /** The arrivals by the number of the request, which the data plane may have repeated. */
  const arrivals: Arrival[][] = [];
  const strays: Arrival[] = [];
  const ofRun = new RegExp(`${run}-(\\d+)`);
  const echo = await openEcho(options.echo, (arrival) => {
    const [, at = ''] = ofRun.exec(`${arrival.target} ${arrival.headers.join(' ')}`) ?? [];
    (arrivals[Number(at || -1)] ?? strays).push(arrival);
  }).catch((error: unknown) => codeOf(error));
  if (typeof echo === 'string') {
    const fix = 'give --echo an address of this machine, and let the data plane forward the route there';
    return [problem('echo_unavailable', `the echo cannot listen (${echo})`, { fix })];
  }

  const client = createClient(url);

  /** Gives a request a mark that no other has. A data plane may drop a header, or a query. */
  function mark(probe: Probe) {
    const value = `${run}-${arrivals.length}`;
    const path = `${probe.path}${probe.path.includes('?') ? '&' : '?'}${MARK}=${value}`;
    const headers = [['Host', url.host], ...probe.headers, [MARK, value]] as const;
    const arrived: Arrival[] = [];
    arrivals.push(arrived);
    return { sent: { ...probe, path, headers }, outcome: { probe, arrivals: arrived, status: '', refusal: undefined } };
  }

  async function send(probe: Probe): Promise<Outcome> {
    const { sent, outcome } = mark(probe);
    return { ...outcome, ...(await client.send(sent)) };
  }

  async function sendAtOnce(): Promise<Outcome[]> {
    const marked = probes.atOnce.map(mark);
    await client.sendAtOnce(marked.map(({ sent }) => sent));
    return marked.map(({ outcome }) => outcome);
  }

  try {
    const outcomes: Outcome[] = [];
    // If not even the first one arrives, the others prove nothing.
    const goesOn = () => isStopped || arrivals[0]?.length !== 0;
    for (const probe of probes.plain) if (goesOn()) outcomes.push(await send(probe));
    if (goesOn()) {
      outcomes.push(...(await Promise.all(Array.from({ length: CONNECTIONS }, sendAtOnce))).flat());
      for (const probe of probes.others) outcomes.push(await send(probe));
    }
    const sent = [...tokens, madeUp, ...(agentToken === undefined ? [] : [agentToken])];
    return throughFindings(outcomes, strays, sent, options);
  } finally {
    client.close();
    echo.closeAllConnections();
    echo.close();
  }
}

/** A client of the data plane. */
function createClient(url: URL) {
  const isSecure = url.protocol === 'https:';
  const { Agent, request } = isSecure ? https : http;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const address = endpointOf(url);
  return {
    /** All on one connection, one after the other. */
    async send({ method, path, headers }: Probe): Promise<Pick<Outcome, 'status' | 'refusal'>> {
      const signal = AbortSignal.timeout(RESPONSE_MS);
      try {
        const sent = request({ ...address, agent, method, path, headers: headers.flat(), signal }).end();
        const [response] = (await once(sent, 'response')) as [http.IncomingMessage];
        return { status: String(response.statusCode), refusal: /ERR_[A-Z_]+/.exec(await readBody(response))?.[0] };
      } catch (error) {
        return { status: codeOf(error), refusal: undefined };
      }
    },
    /** On one connection, without waiting for responses. */
    async sendAtOnce(probes: readonly Probe[]): Promise<void> {
      const texts = probes.map(({ method, path, headers }, at) => {
        const lines = headers.map((pair) => pair.join(': '));
        if (at === probes.length - 1) lines.push('Connection: close');
        return [`${method} ${path} HTTP/1.1`, ...lines, '', ''].join('\r\n');
      });
      const socket = isSecure
        ? tls.connect({ ...address, servername: isIP(address.host) === 0 ? address.host : undefined })
        : connect(address);
      socket.setTimeout(RESPONSE_MS, () => socket.destroy()).on('error', () => socket.destroy());
      let received = '';
      socket.setEncoding('latin1').on('data', (part: string) => {
        received = (received + part).slice(0, MAX_LENGTH);
        // Envoy waits a second before it closes.
        if (received.split('HTTP/1.').length > probes.length) socket.destroy();
      });
      socket.write(texts.join(''));
      await new Promise((resolve) => socket.once('close', resolve));
    },
    close: () => agent.destroy(),
  };
}

/** Opens a backend that shows its clients nothing of what arrives. */
async function openEcho(listen: Listen, arrived: (arrival: Arrival) => void) {
  const server = http.createServer({ maxHeaderSize: MAX_HEADER_BYTES }, async (request, response) => {
    try {
      const body = await readBody(request);
      const { rawHeaders: raw, url: target = '' } = request;
      const headers = raw.flatMap((name, at) =>
        at % 2 === 0 ? [[name.toLowerCase(), raw[at + 1] ?? ''] as const] : [],
      );
      arrived({ target, headers, body });
      response.end('cambist doctor\n');
    } catch {
      response.destroy();
    }
  });
  server.listen(listen.kind === 'unix' ? { path: listen.path } : { host: listen.host, port: listen.port });
  await once(server, 'listening');
  return server;
}

async function readBody(request: http.IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request) if (body.length < MAX_LENGTH) body += String(chunk);
  return body;
}
