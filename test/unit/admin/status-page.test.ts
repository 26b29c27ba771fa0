import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { html } from '../../../src/admin/markup.ts';
import { PAGE_SCRIPT } from '../../../src/admin/page-assets.ts';
import { statusPage } from '../../../src/admin/status-page.ts';
import { SAMPLE_STATUS } from './sample-status.ts';

/** The visible text of a page. */
function readable(page: string): string {
  return page
    .replace(/<[^>]*>/g, ' ')
    .replace(/&quot;/g, '"')
    .replace(/\s+/g, ' ');
}

test('shows everything without a script', () => {
  const text = readable(statusPage(SAMPLE_STATUS));
  for (const words of [
    'cambist 1.2.3 ● ready',
    'Requests 12,345 3 in flight',
    'Served from cache 99 % of 200',
    'Tokens in the cache 7 of at most 10,000',
    'keycloak ● available 20 1 12.5 ms',
    'github exchange at keycloak 12,345 1 2 3 4 99 %',
    'github ERR_UPSTREAM_TLS 2026-11-24 12:05:00 UTC 3 Do this.',
    'Active version 0a1b2c3d',
    'Last reload none yet',
    'Expiry of the actor token of route "github" 2026-11-24 13:00:00 UTC',
  ]) {
    assert.ok(text.includes(words), words);
  }
  assert.doesNotMatch(text, /attention/);
});

test('shows problems at the top, with their fixes', () => {
  const page = statusPage({
    ...SAMPLE_STATUS,
    ready: false,
    missing: [{ check: 'routes.docs.tls', status: 'ERR_CREDENTIAL_UNAVAILABLE', fix: 'Put the file there.' }],
    authorization_servers: [{ name: 'keycloak', state: 'down', exchanges: 1, failures: 1 }],
    config: { ...SAMPLE_STATUS.config, last_reload: { at: SAMPLE_STATUS.started_at, result: 'failure' } },
  });
  const text = readable(page);
  const attention = text.slice(text.indexOf('Needs attention'), text.indexOf('Requests'));
  for (const words of [
    'routes.docs.tls is not ready yet: ERR_CREDENTIAL_UNAVAILABLE . Put the file there.',
    'Authorization server keycloak is down. Check that',
    'The last config reload failed.',
  ]) {
    assert.ok(attention.includes(words), words);
  }
  assert.ok(text.includes('▲ not ready'));
  assert.ok(text.includes('keycloak ▲ down 1 1 –'));
});

test('shows a reload as applied in part, and names the keys that need a restart', () => {
  const waiting = { ...SAMPLE_STATUS.config, waits_for_restart: ['listen', 'limits.max_header_size'] };
  const at = SAMPLE_STATUS.started_at;
  const text = readable(
    statusPage({ ...SAMPLE_STATUS, config: { ...waiting, last_reload: { at, result: 'success' } } }),
  );
  const attention = text.slice(text.indexOf('Needs attention'), text.indexOf('Requests'));
  assert.ok(attention.includes('but not in effect: listen , limits.max_header_size . Restart cambist'), attention);
  assert.match(text, /Last reload 2026-11-24 12:00:00 UTC ○ applied in part/);
  assert.match(text, /Needs a restart listen , limits\.max_header_size/);
  const failed = readable(
    statusPage({ ...SAMPLE_STATUS, config: { ...waiting, last_reload: { at, result: 'failure' } } }),
  );
  assert.match(failed, /▲ failed[\s\S]+Needs a restart listen/);
});

test('says that there are no routes, servers and failures', () => {
  const text = readable(statusPage({ ...SAMPLE_STATUS, routes: [], authorization_servers: [], failures: [] }));
  for (const words of ['No routes.', 'No route uses one.', 'None since the process started.']) {
    assert.ok(text.includes(words), words);
  }
});

test('escapes markup in names', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('<', '>', '"', "'", '&', 'a', ' ', '/', '=') }), (text) => {
      const { text: element } = html`<p title="${text}">${text}</p>`;
      const [, title = '', content = ''] =
        /^<p title="([^"<>']*)">([^<>]*)<\/p>$/.exec(element) ?? assert.fail(element);
      assert.equal(title, content);
      const back = content.replace(
        /&(lt|gt|quot|#39|amp);/g,
        (_, name: string) => ({ lt: '<', gt: '>', quot: '"', '#39': "'" })[name] ?? '&',
      );
      assert.equal(back, text);
    }),
  );
});

test('contains no inline script or style, which the policy forbids', () => {
  const page = statusPage(SAMPLE_STATUS);
  assert.doesNotMatch(page, /<script(?! src="status\.js" defer><\/script>)|<style|\sstyle=|\son\w+=/);
});

test('inserts text and never HTML by its script', () => {
  assert.doesNotMatch(PAGE_SCRIPT, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function/);
});

test('names an existing path of the report in each number', () => {
  const page = statusPage(SAMPLE_STATUS);
  const paths = [...page.matchAll(/data-(?:figure|part|whole|rate)="([^"]+)"/g)].map(([, path = '']) => path);
  assert.ok(paths.length > 15);
  for (const path of paths.filter((name) => name !== 'exchanges')) {
    const value = path
      .split('.')
      .reduce<unknown>((part, key) => (part as Record<string, unknown> | undefined)?.[key], SAMPLE_STATUS);
    assert.equal(typeof value, 'number', path);
  }
});
