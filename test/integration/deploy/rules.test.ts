import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readReports } from '../../external/incident/report.ts';
import { SCENARIOS } from '../../external/incident/scenarios.ts';
import { readRuleGroups } from '../../external/prometheus/rules.ts';
import { anchorsOf, readProse, tableRows } from '../../harness/pages.ts';
import { readDashboard } from './dashboard.ts';
import { readDeployFile } from './manifests.ts';

const rules = readRuleGroups().flatMap(({ rules: ofGroup }) => ofGroup);
const alerts = [...new Set(rules.map(({ alert }) => alert))];
const RUNBOOK_PAGES = [
  'runbooks.md',
  'runbooks-backend.md',
  'runbooks-agent.md',
  'runbooks-decisions.md',
  'runbooks-teams.md',
];
/** The runbooks, by the names of their alerts. */
const runbooks = new Map(
  RUNBOOK_PAGES.flatMap((page) => readDeployFile(page).split(/^#{2,4} /m)).flatMap((section) => {
    const [title = '', ...text] = section.split('\n');
    return title.startsWith('Cambist') ? [[title, text.join('\n')] as const] : [];
  }),
);

test('every alert has a summary line, a description in sentences and a severity', () => {
  for (const { alert, annotations, labels } of rules) {
    assert.match(alert, /^Cambist[A-Z][A-Za-z]+$/);
    assert.deepEqual(Object.keys(annotations), ['summary', 'description', 'runbook_url'], alert);
    assert.match(annotations.summary ?? '', /[^.\n]$/, alert);
    assert.match(annotations.description ?? '', /\.$/, alert);
    assert.ok(['critical', 'warning'].includes(labels.severity ?? ''), alert);
  }
});

/** The page and the heading to which a runbook URL leads. */
function runbookOf(url: string): { page: string; anchor: string } {
  const { origin, pathname, hash } = new URL(url);
  assert.equal(origin, 'https://cambist.dev');
  return { page: `${pathname.slice(1)}.md`, anchor: hash.slice(1) };
}

test('every runbook URL leads to the heading of its alert, and every runbook has an alert', () => {
  for (const { alert, annotations } of rules) {
    const { page, anchor } = runbookOf(annotations.runbook_url ?? '');
    assert.ok(anchorsOf(readProse(page), '##').includes(anchor), annotations.runbook_url);
    assert.equal(anchor, alert.toLowerCase());
  }
  assert.deepEqual([...runbooks.keys()], alerts);
});

test('the table of the alerts has each with its severities and its runbook', () => {
  const rows = tableRows(readDeployFile('alerts.md'), '| alert ').map(([link, severity]) => ({ link, severity }));
  const expected = alerts.map((alert) => {
    const same = rules.filter((rule) => rule.alert === alert);
    const [page, anchor] = (same[0]?.annotations.runbook_url ?? '').split('/').at(-1)?.split('#') ?? [];
    return {
      link: `[\`${alert}\`](${page}.md#${anchor})`,
      severity: same.map(({ labels }) => labels.severity).join(' or '),
    };
  });
  assert.deepEqual(rows, expected);
});

test('every panel that a runbook or the alerts page quotes is on the dashboard', () => {
  const titles = readDashboard().panels.map(({ title }) => title);
  for (const page of [...RUNBOOK_PAGES, 'alerts.md']) {
    const prose = readProse(`deploy/${page}`).replace(/`[^`]*`/g, '');
    for (const [, title = ''] of prose.matchAll(/"([^"]+)"/g)) {
      assert.ok(titles.includes(title.replace(/\s+/g, ' ')), `${page}: ${title}`);
    }
  }
});

test('every runbook has a meaning, a check and a fix', () => {
  for (const [alert, text] of runbooks) {
    for (const heading of ['**Meaning.**', '**Check', '**Fix'])
      assert.ok(text.includes(heading), `${alert}: ${heading}`);
  }
});

test('the incident page has every scenario, each with one of these alerts', () => {
  const reports = readReports(readDeployFile('incident.md'));
  assert.deepEqual(
    [...reports.keys()],
    SCENARIOS.map(({ name }) => name),
  );
  for (const [scenario, text] of reports) {
    const [, alert = ''] = /^alert +(\w+): /m.exec(text) ?? [];
    assert.ok(alerts.includes(alert), `${scenario}: ${alert}`);
  }
});

test('every annotation template names a label that the expression keeps', () => {
  for (const { alert, expr, annotations } of rules) {
    const grouped = /\bby \(([^)]*)\)/.exec(expr)?.[1]?.split(', ');
    // Without a grouping the alert keeps all labels of the series.
    const known = grouped === undefined || expr.startsWith('label_replace') ? undefined : grouped;
    for (const [, label = ''] of Object.values(annotations)
      .join(' ')
      .matchAll(/\$labels\.(\w+)/g)) {
      if (known !== undefined) assert.ok(known.includes(label), `${alert}: ${label}`);
    }
  }
});
