import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawCharts } from './charts.ts';
import type { BenchResult } from './report.ts';

const MACHINE = {
  date: '2026-01-01',
  node: 'v24.1.0',
  os: 'linux',
  cpu: 'A & B',
  cores: 2,
  memoryGib: 1,
  pinned: true,
};
const samplesOf = (perSecond: number[], cpu: number[]) =>
  perSecond.map((value, i) => ({ 'per second': value, 'CPU µs each': cpu[i] }));
const latencies = { 'p50 ms': 0.1, 'p75 ms': 0.2, 'p90 ms': 0.3, 'p95 ms': 0.4, 'p99 ms': 1, 'p99.9 ms': 20 };

const RESULT: BenchResult = {
  machine: MACHINE,
  versions: {},
  cases: [
    {
      name: 'call',
      about: 'a call',
      contestants: [
        { label: 'cambist', samples: samplesOf([20_000, 30_000, 26_000], [36, 40, 38]) },
        { label: 'nginx <1>', samples: samplesOf([60_000, 61_000, 59_000], [14, 15, 16]) },
      ],
      missing: [],
    },
    {
      name: 'latency',
      about: 'latency',
      contestants: [{ label: 'cambist', samples: [latencies, latencies] }],
      missing: [],
    },
  ],
};

const charts = new Map(drawCharts(RESULT).map(({ file, svg }) => [file, svg]));

test('draws throughput, CPU and latencies, each with its title, unit, machine and figures in words', () => {
  assert.deepEqual([...charts.keys()], ['throughput.svg', 'cpu.svg', 'latency.svg']);
  for (const [file, svg] of charts) {
    assert.match(svg, /^<svg .*role="img" aria-labelledby="title description".*<\/svg>\n$/s, file);
    assert.match(svg, /<title id="title">\S.*<\/title>\n<desc id="description">.*cambist.*<\/desc>/, file);
    assert.match(svg, /prefers-color-scheme:dark/, file);
    assert.match(svg, /Medians of \d rounds.*Node 24\.1\.0, A &amp; B, 2026-01-01/, file);
    assert.doesNotMatch(svg, /NaN|undefined|Infinity/, file);
  }
  assert.match(charts.get('cpu.svg') ?? '', /µs of CPU; less is better/);
  assert.match(charts.get('throughput.svg') ?? '', /cambist 26,000; nginx &lt;1&gt; 60,000/);
  assert.match(charts.get('latency.svg') ?? '', /50 % within 0\.1 .*99\.9 % within 20/);
});

test('a bar is as long as its median, and its line spans the middle half', () => {
  const widths = [
    ...(charts.get('throughput.svg') ?? '').matchAll(/<rect class="(?:fill0|others)".* width="([\d.]+)"/g),
  ];
  const [ours = 0, theirs = 0] = widths.map(([, width]) => Number(width));
  assert.ok(Math.abs(theirs / ours - 60 / 26) < 0.01, `${ours} and ${theirs}`);
  const line = /class="mark" d="M([\d.]+) \d+H([\d.]+)/.exec(charts.get('throughput.svg') ?? '');
  assert.ok(Math.abs((Number(line?.[2]) - Number(line?.[1])) / ours - 5 / 26) < 0.01, String(line));
});

test('omits the chart of a case that was not run, or has no figure', () => {
  const [call] = RESULT.cases;
  const without = {
    name: 'call',
    about: '',
    missing: [],
    contestants: [{ label: 'x', samples: [{ 'per second': 1 }] }],
  };
  assert.deepEqual(
    drawCharts({ ...RESULT, cases: [call as (typeof RESULT.cases)[number]] }).map(({ file }) => file),
    ['throughput.svg', 'cpu.svg'],
  );
  assert.deepEqual(
    drawCharts({ ...RESULT, cases: [without] }).map(({ file }) => file),
    ['throughput.svg'],
  );
});
