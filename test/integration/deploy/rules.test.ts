import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ACTS } from '../../external/incident/acts.ts';
import { readStory } from '../../external/incident/story.ts';
import { QUICKENED, quicken, readRuleGroups } from '../../external/prometheus/rules.ts';
import { readDeployFile } from './manifests.ts';

const groups = readRuleGroups();
const rules = groups.flatMap(({ rules: ofGroup }) => ofGroup);
const alerts = [...new Set(rules.map(({ alert }) => alert))];
const runbooks = readDeployFile('runbooks.md');

/** The alerts of the guide: each section's text by its title. */
const sections = new Map(
  runbooks.split(/^#{2,4} /m).flatMap((section) => {
    const [title = '', ...text] = section.split('\n');
    return title.startsWith('Cambist') ? [[title, text.join('\n')] as const] : [];
  }),
);

test('every alert says in a line what is wrong, in sentences what it means, and how bad it is', () => {
  for (const { alert, annotations, labels } of rules) {
    assert.match(alert, /^Cambist[A-Z][A-Za-z]+$/);
    assert.deepEqual(Object.keys(annotations), ['summary', 'description', 'runbook_url'], alert);
    assert.match(annotations.summary ?? '', /[^.\n]$/, alert);
    assert.match(annotations.description ?? '', /\.$/, alert);
    assert.ok(['critical', 'warning'].includes(labels.severity ?? ''), alert);
  }
});

test('every runbook URL leads to the section of its alert in the guide, and every such section has an alert', () => {
  for (const { alert, annotations } of rules) {
    assert.equal(annotations.runbook_url, `https://cambist.dev/deploy/runbooks#${alert.toLowerCase()}`);
  }
  assert.deepEqual([...sections.keys()], alerts);
});

test('every runbook says what it means, and gives something to do', () => {
  for (const [alert, text] of sections) {
    for (const heading of ['**It means**', '**Look**', '**Do**'])
      assert.ok(text.includes(heading), `${alert}: ${heading}`);
  }
});

test('the story of the incident has every act that is rehearsed, and an alert of ours in each', () => {
  const story = readStory(readDeployFile('incident.md'));
  assert.deepEqual(
    [...story.keys()],
    ACTS.map(({ name }) => name),
  );
  for (const [act, text] of story) {
    const [, alert = ''] = /^alert +(\w+): /m.exec(text) ?? [];
    assert.ok(alerts.includes(alert), `${act}: ${alert}`);
  }
});

test('every template of an annotation names a label that the expression leaves on the alert', () => {
  for (const { alert, expr, annotations } of rules) {
    const grouped = /\bby \(([^)]*)\)/.exec(expr)?.[1]?.split(', ');
    // Without a grouping the alert bears all labels of the series.
    const known = grouped === undefined || expr.startsWith('label_replace') ? undefined : grouped;
    for (const [, label = ''] of Object.values(annotations)
      .join(' ')
      .matchAll(/\$labels\.(\w+)/g)) {
      if (known !== undefined) assert.ok(known.includes(label), `${alert}: ${label}`);
    }
  }
});

test('quickened rules differ in time alone, all of it by one factor', () => {
  const [rule] =
    quicken([{ name: 'a', rules: [example('2m', 'rate(a[5m]) < 0.5 * rate(a[1d] offset 1h) * 60')] }], 20)[0]?.rules ??
    [];
  assert.equal(rule?.for, '6000ms');
  assert.equal(rule?.expr, 'rate(a[15000ms]) < 0.5 * rate(a[4320000ms] offset 180000ms) * 60');
  const shape = ({ expr }: { expr: string }) => expr.replace(/\d+(?:[smhd]|ms)\b/g, 'T');
  for (const [index, group] of quicken(groups, QUICKENED).entries()) {
    assert.deepEqual(group.rules.map(shape), groups[index]?.rules.map(shape));
  }
});

function example(wait: string, expr: string) {
  return { alert: 'A', expr, for: wait, labels: {}, annotations: {} };
}
