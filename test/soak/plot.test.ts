import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plot } from './plot.ts';

test('draws each series with its name, and its trend as a dashed line', () => {
  const trend = { mean: 2, slope: 1, error: 0, intercept: 1 };
  const text = plot('a < b', [0, 0.5, 1], [{ title: 'MiB', series: [{ name: 'rss', values: [1, 2, 3], trend }] }]);
  assert.match(text, /^<svg .*<\/svg>\n$/s);
  assert.match(text, /a &lt; b/);
  assert.match(text, />rss</);
  assert.equal(text.match(/<polyline points="(\S+,\S+ ?){3}"/g)?.length, 1);
  assert.equal(text.match(/stroke-dasharray/g)?.length, 1);
  assert.doesNotMatch(text, /NaN|undefined/);
});

test('draws a panel without values', () => {
  assert.doesNotMatch(plot('empty', [], [{ title: 'none', series: [{ name: 'x', values: [] }] }]), /NaN|Infinity/);
});
