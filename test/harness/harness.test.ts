import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { readDemoOptions } from './demo-options.ts';
import { createLeakWatch } from './leaks.ts';
import { sumSamples } from './metric-samples.ts';

const SECRET = 'correct horse/battery+staple';
const JWT = `eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.${'SignatureOfThisToken'.repeat(4)}`;

const LEAKS: [form: string, secret: string, text: string][] = [
  ['unencoded', SECRET, `client_secret=${SECRET}&`],
  ['urlencoded', SECRET, `client_secret=${encodeURIComponent(SECRET)}`],
  ['in JSON', 'a "quoted" secret', JSON.stringify({ secret: 'a "quoted" secret' })],
  ['in base64', SECRET, Buffer.from(SECRET).toString('base64')],
  ['in Basic, after a client id', SECRET, `Basic ${Buffer.from(`cambist:${SECRET}`).toString('base64')}`],
  ['in Basic, shifted by one byte', SECRET, `Basic ${Buffer.from(`a-cambist:${SECRET}`).toString('base64')}`],
  ['in Basic, shifted by two bytes', SECRET, `Basic ${Buffer.from(`my-cambist:${SECRET}...`).toString('base64')}`],
  ['in base64url', SECRET, Buffer.from(`xx${SECRET}yy`).toString('base64url')],
  ['truncated, as a token', JWT, `token ${JWT.slice(0, 80)}…`],
  ['without its beginning, as a token', JWT, `…${JWT.slice(-40)}`],
];

for (const [form, secret, text] of LEAKS) {
  test(`finds a secret ${form}, and reports it without the secret`, () => {
    const watch = createLeakWatch();
    watch.remember(secret);
    assert.throws(
      () => watch.assertNoLeak({ stdout: text }),
      ({ name, message }: Error) =>
        name === 'AssertionError' && message.startsWith('stdout contains') && !message.includes(secret),
    );
  });
}

test('accepts text without secrets, including the public parts of a token', () => {
  const watch = createLeakWatch();
  watch.remember(SECRET);
  watch.remember(JWT);
  watch.assertNoLeak({
    stdout: `{"sub":"alice","detail":"${JWT.split('.')[1]}"}`,
    metrics: 'cambist_requests_total 1',
  });
});

test('rejects a secret that is too short to search for', () => {
  assert.throws(() => createLeakWatch().remember('short'), RangeError);
});

const TEXT = `# HELP hits_total How many.
# TYPE hits_total counter
hits_total{route="github",result="hit"} 3
hits_total{route="github",result="miss"} 1
hits_total{route="docs",result="hit"} 2
# HELP age_seconds How long.
# TYPE age_seconds histogram
age_seconds_bucket{le="1",route="a \\"b\\""} 4
age_seconds_bucket{le="+Inf",route="a \\"b\\""} 5
age_seconds_count{route="a \\"b\\""} 5
# TYPE entries gauge
entries 7
`;

const SUMS: [name: string, labels: Record<string, string>, sum: number][] = [
  ['hits_total', {}, 6],
  ['hits_total', { result: 'hit' }, 5],
  ['hits_total', { route: 'github', result: 'miss' }, 1],
  ['hits_total', { route: 'nowhere' }, 0],
  ['age_seconds_bucket', { le: '+Inf' }, 5],
  ['age_seconds_count', {}, 5],
  ['entries', {}, 7],
];

for (const [name, labels, sum] of SUMS) {
  test(`sums the samples of ${name} with labels ${JSON.stringify(labels)} to ${sum}`, () => {
    assert.equal(sumSamples(TEXT, name, labels), sum);
  });
}

test('throws for a missing metric instead of returning 0', () => {
  assert.throws(() => sumSamples(TEXT, 'hits'), /no metric "hits"/);
});

const WRONG_USAGE: [args: string[], message: RegExp][] = [
  [['--port', '65536'], /Invalid --port "65536"/],
  [['--port', 'any'], /Invalid --port "any"/],
  [['--backend', 'http://127.0.0.1:9000/mcp'], /--backend requires --keep/],
  [['--keep', '--consent', '--backend', 'http://127.0.0.1:9000/mcp'], /--backend has no effect with --consent/],
  [['--keep', '--backend', 'nowhere'], /Invalid --backend "nowhere"/],
];

test('the demo rejects invalid options, and accepts a port and a backend', () => {
  for (const [args, message] of WRONG_USAGE) assert.throws(() => readDemoOptions(args), message);
  const options = readDemoOptions(['--keep', '--port', '0', '--backend', 'http://127.0.0.1:9000/mcp']);
  assert.deepEqual(
    { ...options },
    { keep: true, port: '0', backend: 'http://127.0.0.1:9000/mcp', consent: false, help: false },
  );
});

test('a run of tests says on stderr what it has finished', async () => {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const args = ['--import', 'tsx', 'test/run.ts', 'unit', '--only', 'clock'];
  const { stderr } = await promisify(execFile)(process.execPath, args, { env });
  assert.match(stderr, /^… \d+ s: 1 of 1 processes finished\. Running: none$/m);
});
