import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rename, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect as connectPlainly, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { reviewAdmission } from '../../src/kubernetes/admission.ts';
import type { Json } from '../../src/kubernetes/json.ts';
import { injectPod } from '../../src/kubernetes/pod-injection.ts';
import { POD } from '../../src/kubernetes/pod-layout.ts';
import { readCertificate, watchCertificate } from '../../src/kubernetes/webhook-certificate.ts';
import { createWebhookMetrics } from '../../src/kubernetes/webhook-metrics.ts';
import { createWebhookAdmin, createWebhookServer, renewCertificate } from '../../src/kubernetes/webhook-server.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { type Certificate, createCertificateAuthority } from '../harness/certificates.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { callWebhook, OPTED_IN, podReview } from '../harness/injected-pod.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { sumSamples } from '../harness/metric-samples.ts';

const authority = createCertificateAuthority();

/** Starts the webhook's two servers on free ports, with the certificate in files. */
async function startWebhook(t: TestContext) {
  const directory = temporaryFolder(t);
  const files = { cert: join(directory, 'tls.crt'), key: join(directory, 'tls.key') };
  const install = async ({ cert, key }: Partial<Certificate>): Promise<void> => {
    for (const [file, content] of [[files.cert, cert] as const, [files.key, key] as const]) {
      if (content === undefined) continue;
      await writeFile(`${file}.new`, content);
      await rename(`${file}.new`, file);
    }
  };
  await install(authority.issueServer());
  const lines: string[] = [];
  const logger = createLogger('info', { write: (line) => void lines.push(line), linesLost: () => 3 });
  const metrics = createWebhookMetrics('0.1.0', logger.linesLost);
  const certificate = await readCertificate(files);
  metrics.certificateLoaded(certificate.expiresAt);
  const injection = { flags: { image: 'r/cambist:1' }, layout: POD, version: '0.1.0', optIn: true, update: false };
  const review = (body: Json) => reviewAdmission(body, (pod) => injectPod(pod, injection));
  let ready = true;
  const server = createWebhookServer({ certificate, review, metrics, logger, isReady: () => ready });
  let onClosing = async (): Promise<void> => {};
  server.addHook('preClose', () => onClosing());
  const admin = createWebhookAdmin(metrics, () => ready, logger);
  await server.listen({ host: '127.0.0.1', port: 0 });
  const adminUrl = await admin.listen({ host: '127.0.0.1', port: 0 });
  const watched = watchCertificate(files, (next) => renewCertificate(server, next), { metrics, logger, pollMs: 50 });
  const clients: Socket[] = [];
  t.after(async () => {
    for (const socket of clients) socket.destroy();
    watched.close();
    await server.close();
    await admin.close();
  });
  const { port } = server.server.address() as AddressInfo;
  const url = `https://127.0.0.1:${port}/mutate?timeout=5s`;
  return {
    port,
    lines,
    install,
    adminUrl,
    /** Closes the webhook, which waits for `during`. */
    close(during: () => Promise<void>): Promise<void> {
      onClosing = during;
      return server.close();
    },
    /** Opens connections that send nothing. They close after the test. */
    silentTo(at: number, count: number): Socket[] {
      const silent = Array.from({ length: count }, () => connectPlainly({ host: '127.0.0.1', port: at }));
      for (const socket of silent) clients.push(socket.on('error', () => {}).resume());
      return silent;
    },
    /** Opens a verified TLS connection, and sends a text. It closes after the test. */
    async send(text: string): Promise<TLSSocket> {
      const socket = connect({ host: '127.0.0.1', port, ca: authority.cert, servername: 'localhost' });
      clients.push(socket.on('error', () => {}).resume());
      await once(socket, 'secureConnect');
      socket.write(text);
      return socket;
    },
    setReady: (now: boolean) => {
      ready = now;
    },
    metric: async (name: string, labels?: Record<string, string>) =>
      sumSamples(await metrics.exposition.write(), name, labels),
    call: (body: string, more: { contentType?: string; method?: string } = {}) =>
      callWebhook({ url, ca: authority.cert, body, ...more }),
  };
}

test('returns the uid and a patch for a pod that opted in, over verified TLS', async (t) => {
  const webhook = await startWebhook(t);
  const { status, headers, body } = await webhook.call(podReview(OPTED_IN));
  assert.equal(status, 200);
  assert.match(headers['content-type'] ?? '', /^application\/json/);
  const { response } = JSON.parse(body);
  assert.equal(response.uid, '705ab4f5-6393-11e8-b7cc-42010a800002');
  assert.equal(response.allowed, true);
  const patch = JSON.parse(Buffer.from(response.patch, 'base64').toString());
  assert.deepEqual(
    patch.map(({ op, path }: { op: string; path: string }) => `${op} ${path}`),
    [
      'add /metadata/annotations',
      'add /spec/initContainers',
      'add /spec/volumes',
      'add /spec/terminationGracePeriodSeconds',
    ],
  );
  assert.equal(await webhook.metric('cambist_webhook_requests_total', { result: 'injected' }), 1);
  assert.equal(await webhook.metric('cambist_webhook_request_duration_seconds_count'), 1);
});

test('logs a line for each review, without the content of the pod', async (t) => {
  const webhook = await startWebhook(t);
  const secret = 'a-value-that-only-this-pod-has';
  const containers = [{ name: 'agent', image: 'a', env: [{ name: 'KEY', value: secret }] }];
  await webhook.call(podReview({ ...OPTED_IN, spec: { containers } }));
  const last = () => JSON.parse(webhook.lines.at(-1) ?? '');
  const { level, msg, result, namespace, pod } = last();
  assert.deepEqual([level, msg, result, namespace, pod], ['info', 'admission review', 'injected', 'agents', 'agent-']);
  await webhook.call(podReview({ ...OPTED_IN, spec: { containers, hostNetwork: true } }));
  assert.deepEqual([last().level, last().result], ['warn', 'refused']);
  assert.ok(!webhook.lines.join('').includes(secret));
});

test('returns 400, 404 or 415 for an invalid request', async (t) => {
  const webhook = await startWebhook(t);
  const cases: [string, { contentType?: string; method?: string }, number][] = [
    ['{', {}, 400],
    ['', {}, 400],
    ['null', {}, 400],
    ['{"kind":"Pod"}', {}, 400],
    ['{"__proto__":{"a":1}}', {}, 400],
    [`${'['.repeat(100_000)}${']'.repeat(100_000)}`, {}, 400],
    [podReview(OPTED_IN), { contentType: 'text/plain' }, 415],
    [podReview(OPTED_IN), { contentType: 'application/yaml' }, 415],
    ['', { method: 'GET' }, 404],
  ];
  for (const [body, more, status] of cases) {
    const response = await webhook.call(body, more);
    assert.equal(response.status, status, `${body.slice(0, 30)} ${JSON.stringify(more)}`);
  }
  assert.equal(await webhook.metric('cambist_webhook_requests_total', { result: 'injected' }), 0);
  assert.equal((await webhook.call(podReview(OPTED_IN))).status, 200);
});

test('refuses a body of more than 3 MiB, and accepts a slightly smaller one', async (t) => {
  const webhook = await startWebhook(t);
  const padded = (bytes: number): string => podReview({ ...OPTED_IN, padding: 'x'.repeat(bytes) });
  const large = await webhook.call(padded(3 * 1024 * 1024)).catch((error: NodeJS.ErrnoException) => error.code);
  // The connection may close while the client is still writing.
  assert.ok(typeof large === 'string' ? ['EPIPE', 'ECONNRESET'].includes(large) : large?.status === 413);
  assert.equal((await webhook.call(padded(3 * 1024 * 1024 - 2048))).status, 200);
});

test('closes connections that stop halfway, and serves others meanwhile, and one that was silent until now', async (t) => {
  const webhook = await startWebhook(t);
  const silent = await webhook.send('');
  const half = 'POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{';
  const stopped = [await webhook.send('POST'), await webhook.send(half), ...webhook.silentTo(webhook.port, 1)];
  const closed = stopped.map((socket) => once(socket, 'close'));
  assert.equal((await webhook.call(podReview(OPTED_IN))).status, 200);
  await soon('slow connections close', Promise.all(closed));
  const response = once(silent, 'data');
  silent.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match(String(await soon('the silent one gets a response', response)), /^HTTP\/1.1 404 /);
});

test('responds to a request that arrives while it closes, on a connection that was silent until then', async (t) => {
  const webhook = await startWebhook(t);
  const silent = await webhook.send('');
  await webhook.close(async () => {
    const response = once(silent, 'data');
    silent.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.match(String(await soon('a response', response)), /^HTTP\/1.1 404 /);
  });
});

test('reviews a pod and responds to health checks while silent connections use up the limits, and says so in the log', async (t) => {
  const webhook = await startWebhook(t);
  const silent = webhook.silentTo(webhook.port, 600);
  await soon('the oldest closes', once(silent[0] as Socket, 'close'));
  assert.equal((await webhook.call(podReview(OPTED_IN))).status, 200);
  await eventually('no more than 512 are open', () => silent.filter(({ destroyed }) => !destroyed).length <= 512);
  assert.ok(webhook.lines.some((line) => line.includes('too many connections to the webhook')));
  const [oldest] = webhook.silentTo(Number(new URL(webhook.adminUrl).port), 300);
  await soon('the oldest closes', once(oldest as Socket, 'close'));
  assert.equal((await fetch(`${webhook.adminUrl}/livez`)).status, 200);
});

test('reads bodies of 24 MiB at a time, and closes the oldest uploads beyond that', async (t) => {
  const webhook = await startWebhook(t);
  const start = 'POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';
  const upload = (framing: string) => webhook.send(`${start}${framing}\r\n\r\n`);
  const [oldest, next] = [await upload('Content-Length: 3145728'), await upload('Transfer-Encoding: chunked')];
  const closed = [oldest, next].map((socket) => once(socket, 'close'));
  const later: TLSSocket[] = [];
  for (let i = 0; i < 8; i += 1) later.push(await upload('Content-Length: 3145728'));
  await soon('the two oldest uploads close', Promise.all(closed));
  assert.ok(later.every(({ destroyed }) => !destroyed));
  assert.equal((await webhook.call(podReview(OPTED_IN))).status, 200);
});

test('serves a new certificate to new connections, without a restart', async (t) => {
  const webhook = await startWebhook(t);
  const { serial } = await webhook.call(podReview(OPTED_IN));
  const next = authority.issueServer({ validUntilSeconds: 7200 });
  await webhook.install(next);
  await eventually('the new certificate is served', async () => (await webhook.call('{}')).serial !== serial);
  assert.equal((await webhook.call(podReview(OPTED_IN))).status, 200);
  assert.ok((await webhook.metric('cambist_webhook_certificate_reloads_total', { result: 'success' })) >= 1);
  const expiry = await webhook.metric('cambist_webhook_certificate_expiry_timestamp_seconds');
  assert.ok(expiry > Date.now() / 1000 + 3700);
});

test('keeps the previous certificate while the new one is invalid or lacks its key', async (t) => {
  const webhook = await startWebhook(t);
  const { serial } = await webhook.call('{}');
  const next = authority.issueServer();
  const failures = () => webhook.metric('cambist_webhook_certificate_reloads_total', { result: 'failure' });
  await webhook.install({ cert: 'no certificate' });
  await eventually('the failed reload is counted', async () => (await failures()) === 1);
  await webhook.install({ cert: next.cert });
  await eventually('a certificate without its key counts as failed', async () => (await failures()) === 2);
  assert.equal((await webhook.call('{}')).serial, serial);
  assert.ok(webhook.lines.some((line) => /"message":"key .* does not belong to certificate/.test(line)));
  await webhook.install({ key: next.key });
  await eventually('the pair is served', async () => (await webhook.call('{}')).serial !== serial);
});

test('serves health and metrics on a separate port, without TLS', async (t) => {
  const webhook = await startWebhook(t);
  const status = async (path: string) => (await fetch(`${webhook.adminUrl}${path}`)).status;
  assert.equal(await status('/livez'), 200);
  assert.equal(await status('/readyz'), 200);
  webhook.setReady(false);
  assert.equal(await status('/readyz'), 503);
  assert.equal(await status('/livez'), 200);
  const metrics = await fetch(`${webhook.adminUrl}/metrics`);
  assert.match(metrics.headers.get('content-type') ?? '', /text\/plain; version=0\.0\.4/);
  const text = await metrics.text();
  assert.match(text, /cambist_build_info\{version="0\.1\.0"\} 1/);
  assert.equal(sumSamples(text, 'cambist_log_lines_lost_total'), 3);
});
