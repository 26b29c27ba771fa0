import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRequestTarget } from '../../../src/routing/request-target.ts';
import { whyNot } from '../../../src/routing/why-not.ts';
import { routeOf } from './sample-routes.ts';

const github = routeOf('github', { host: 'github.tools.svc', path: '/mcp' });
const wildcard = routeOf('wildcard', { host: '*.tools.svc', path: '/mcp' });
const any = routeOf('any', { path: '/' });

test('names a different host', () => {
  const target = parseRequestTarget('/mcp', ['docs.svc']);
  assert.equal(whyNot(github, target, any), 'its host github.tools.svc is not docs.svc');
  assert.equal(whyNot(wildcard, target, any), 'its host *.tools.svc is not docs.svc');
  const labelless = parseRequestTarget('/mcp', ['.tools.svc']);
  assert.equal(whyNot(wildcard, labelless, any), 'its host *.tools.svc is not .tools.svc');
});

test('names the host that a request without one lacks', () => {
  assert.equal(whyNot(github, parseRequestTarget('/mcp', []), any), 'it wants the host github.tools.svc');
});

test('names a path that is not a prefix in whole segments', () => {
  const target = parseRequestTarget('/mcpx', ['github.tools.svc']);
  assert.equal(whyNot(github, target, any), 'its path /mcp is not a prefix of /mcpx in whole segments');
});

test('reports an invalid request path', () => {
  const target = parseRequestTarget('/mcp/..%2fadmin', ['github.tools.svc']);
  assert.match(whyNot(any, target, undefined), /the request path is invalid/);
});

test('names the route that wins, and why', () => {
  const target = parseRequestTarget('/mcp/x', ['github.tools.svc']);
  assert.equal(whyNot(wildcard, target, github), 'the host of "github" is more specific');
  assert.equal(whyNot(any, target, wildcard), 'the host of "wildcard" is more specific');
  const deeper = routeOf('deeper', { path: '/mcp' });
  assert.equal(whyNot(any, target, deeper), 'the path of "deeper" is longer');
});

test('reports that servers read the path differently', () => {
  const target = parseRequestTarget('/%6dcp', ['github.tools.svc']);
  assert.match(
    whyNot(any, target, undefined),
    /some servers read the request path or the MCP name as one that has other routes/,
  );
});
