import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import { test } from 'node:test';
import { startFakeSetup } from '../harness/fake-setup.ts';
import { sumSamples } from '../harness/metric-samples.ts';

/** The series of a text, without their values. */
function seriesOf(text: string): string[] {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.map((line) => line.slice(0, line.lastIndexOf(' ')));
}

test('exposes the metrics before the first request, in text format 0.0.4', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const response = await fetch(`${setup.cambist.adminUrl}/metrics`);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const text = await response.text();
  assert.doesNotMatch(text, /# EOF|_created/, 'the format is not OpenMetrics');
  assert.match(text, /^cambist_requests_total\{route="tools",method="POST",code="200",outcome="forwarded"\} 0$/m);
  assert.match(text, /^cambist_build_info\{version="\d+\.\d+\.\d+"\} 1$/m);
  assert.equal(sumSamples(text, 'cambist_config_last_reload_successful'), 1);
  const ageSeconds = Date.now() / 1000 - sumSamples(text, 'cambist_config_last_reload_success_timestamp_seconds');
  assert.ok(ageSeconds >= 0 && ageSeconds < 60);
  assert.ok(sumSamples(text, 'process_resident_memory_bytes') > 0);
  for (const line of text.split('\n')) {
    assert.match(line, /^(# (HELP|TYPE) [a-z0-9_]+ .+|[a-z0-9_]+(\{.*\})? [-+.\w]+|)$/);
  }
});

test('lets no caller choose a label value or create series', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const { cambist } = setup;
  const authorization = `Bearer ${await setup.subjectToken()}`;
  // CONNECT opens a tunnel, which other tests cover.
  const methods = METHODS.filter((method) => method !== 'CONNECT');
  const round = async (mark: string) => {
    for (const method of methods) {
      const headers = {
        authorization,
        'mcp-session-id': `session-${mark}`,
        'x-request-id': `id-${mark}`,
        host: `h-${mark}`,
      };
      await setup.call({ method, path: `/tools/path-${mark}?query-${mark}`, headers });
      await setup.call({ method, path: `/elsewhere-${mark}`, headers });
    }
    // Metrics of Node.js change with its handles.
    return seriesOf(await cambist.metrics())
      .filter((key) => key.startsWith('cambist_'))
      .sort();
  };
  const first = await round('canary-one');
  const second = await round('canary-two');
  assert.deepEqual(second, first);
  const text = second.join('\n');
  for (const hostile of ['canary', 'PROPFIND', 'MKCALENDAR', 'alice', 'id-', 'h-']) {
    assert.ok(!text.includes(hostile), hostile);
  }
  assert.ok(text.includes('method="other"'));
  setup.leaks.assertNoLeak({ metrics: await cambist.metrics() });
});
