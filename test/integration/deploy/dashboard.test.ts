import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Panel, queriesOf, readDashboard } from './dashboard.ts';

const dashboard = readDashboard();
const { panels } = dashboard;

/** Width of Grafana's grid. */
const GRID_COLUMNS = 24;

const withQueries = panels.filter(({ type }) => type !== 'row');

test('the rows check cambist, the authorization server, a backend, the callers, the store and revocations, in that order', () => {
  const rows = panels.filter(({ type }) => type === 'row');
  const titles = [
    'Is cambist the cause?',
    'Is the authorization server the cause?',
    'Is a backend the cause?',
    'Do callers reach the agent?',
    'Does the shared cache work?',
    'Do revocations arrive?',
  ];
  assert.deepEqual(
    rows.map(({ title }) => title),
    titles,
  );
  const heights = rows.map(({ gridPos }) => gridPos.y);
  assert.deepEqual(
    heights,
    [...heights].sort((a, b) => a - b),
  );
});

test('the panels above the rows fit on one screen and name the cause', () => {
  const firstRow = panels.findIndex(({ type }) => type === 'row');
  const verdict = panels.slice(0, firstRow);
  assert.ok(verdict.every(({ gridPos }) => gridPos.y + gridPos.h <= 10));
  for (const party of ['cambist: ', 'Authorization server: ', 'Backend: ', 'Firing alerts']) {
    assert.ok(
      verdict.some(({ title }) => title.startsWith(party)),
      party,
    );
  }
});

test('every panel has a description, a unit, a query and the data source of the variable', () => {
  const datasource = { type: 'prometheus', uid: ['$', '{datasource}'].join('') };
  for (const panel of withQueries) {
    assert.match(panel.description ?? '', /\.$/, panel.title);
    assert.ok(panel.fieldConfig?.defaults.unit, panel.title);
    assert.deepEqual(panel.datasource, datasource, panel.title);
    assert.ok((panel.targets ?? []).length > 0, panel.title);
    for (const target of panel.targets ?? []) assert.deepEqual(target.datasource, datasource, panel.title);
  }
});

test('uses variables for the data source, namespace, pod, route and authorization server', () => {
  const names = dashboard.templating.list.map(({ name }) => name);
  assert.deepEqual(names, ['datasource', 'namespace', 'pod', 'route', 'authorization_server']);
  assert.equal(dashboard.templating.list[0]?.type, 'datasource');
  const text = queriesOf(dashboard)
    .map(({ expr }) => expr)
    .join('\n');
  for (const name of names.slice(1)) assert.ok(text.includes(`=~"$${name}`), name);
  const known = [...names, '__rate_interval'];
  for (const [, name = ''] of text.matchAll(/\$(\w+)/g)) assert.ok(known.includes(name), name);
});

test('panel ids are unique, and no panel overlaps another or leaves the grid', () => {
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const [index, panel] of panels.entries()) {
    const { x, w } = panel.gridPos;
    assert.ok(x >= 0 && x + w <= GRID_COLUMNS, panel.title);
    for (const other of panels.slice(index + 1)) assert.ok(!overlap(panel, other), `${panel.title}, ${other.title}`);
  }
});

test('keeps its uid across imports, and needs no migration by Grafana', () => {
  assert.equal(dashboard.uid, 'cambist');
  assert.ok(dashboard.schemaVersion >= 42);
});

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}
